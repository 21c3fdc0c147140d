"""Former name of `dagcache.database.loader`."""

from dagcache.database.loader import SerializedDagLoader as SerializedDagLoader
from dagcache.database.loader import VersionRow as VersionRow
