"""Former name of `dagcache.inspection.server` and `dagcache.inspection.client`."""

from dagcache.inspection.client import ask as ask
from dagcache.inspection.server import AttributionServer as AttributionServer
