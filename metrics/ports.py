"""The ports of the endpoint: one port, or a range of which each process takes the first free one."""

from __future__ import annotations

import re

from dagcache.errors import ConfigError

DEFAULT_PORTS = tuple(range(11780, 11812))
"""Outside of 9100-9999, which Prometheus' list of default ports has allocated entirely, and of its overflow."""

_MOST = 1000
_SPAN = re.compile(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", re.ASCII)


def parse_ports(value: object, setting: str = "metrics_port") -> tuple[int, ...]:
    """The ports to try, in order, from ``"9095"`` or ``"9095-9104"``. ``"0"`` gives none: no endpoint.

    Raises:
        ConfigError: (a ValueError) the value has another form.

    """
    span = None if isinstance(value, bool) else _SPAN.fullmatch(str(value).strip())
    if span is not None:
        first, last = int(span[1]), int(span[2] or span[1])
        if first == last == 0:
            return ()
        if 1 <= first <= last <= 65535 and last - first < _MOST:
            return tuple(range(first, last + 1))
    raise ConfigError(
        setting, value, f"a port from 1 to 65535, a range of up to {_MOST} of them (9095-9104), or 0 for no endpoint"
    )
