"""Former name of `dagcache.traces.recording`."""

from dagcache.traces.recording import Recording as Recording
from dagcache.traces.recording import record as record
