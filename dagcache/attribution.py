"""Former name of `dagcache.inspection.server`."""

from dagcache.inspection.server import AttributionServer as AttributionServer
from dagcache.inspection.server import ask as ask
