"""The setting that says where the endpoint listens."""

from __future__ import annotations

import pytest

from dagcache.errors import ConfigError
from dagcache.metrics.ports import DEFAULT_PORTS, parse_ports


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        ("9095", (9095,)),
        (9095, (9095,)),
        (" 9095 - 9097 ", (9095, 9096, 9097)),
        ("9095-9095", (9095,)),
        ("65535", (65535,)),
        ("0", ()),
        (0, ()),
        ("1-1000", tuple(range(1, 1001))),
    ],
)
def test_a_port_a_range_and_off_are_understood(value: object, ports: tuple[int, ...]) -> None:
    """Spaces do not matter."""
    assert parse_ports(value) == ports


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "65536",
        "99999",
        "9104-9095",
        "0-5",
        "1-1001",
        "9095,9096",
        "http",
        "٩٠٩٥",
        "9" * 5000,
        None,
        True,
        9.5,
    ],
)
def test_anything_else_is_refused_with_the_accepted_forms(value: object) -> None:
    """The message names the setting and the value."""
    with pytest.raises(ConfigError, match=r"(?s)metrics_port = .* accepted: a port from 1 to 65535") as caught:
        parse_ports(value)
    assert caught.value.value is value


def test_the_default_is_enough_for_a_machine_and_outside_of_prometheus_list() -> None:
    """9100-9999 is given away; the core components stand below, the overflow follows."""
    assert len(DEFAULT_PORTS) == 32
    assert not {*range(9090, 10100)} & {*DEFAULT_PORTS}
