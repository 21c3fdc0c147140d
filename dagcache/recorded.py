"""Former name of `dagcache.traces.reading`."""

from dagcache.traces.reading import Trace as Trace
from dagcache.traces.reading import read_trace as read_trace
