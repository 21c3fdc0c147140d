"""Changes of settings over the usage socket: all of them or none, in force at once, logged, and shown."""

from __future__ import annotations

import json
import logging
import socket
import time
from typing import Any

import pytest

from dagcache import ConfigError, DagCache
from dagcache.inspection import client, protocol
from dagcache.inspection import server as server_module
from dagcache.inspection.changes import change, check
from dagcache.inspection.server import AttributionServer
from dagcache.sizing.durations import parse_seconds
from tests.support.caches import KIB, MIB, make_cache
from tests.support.patience import PATIENCE
from tests.unit.inspection.conftest import path_of


def test_both_settings_are_in_force_at_once(cache: DagCache[Any, Any]) -> None:
    """A smaller budget evicts immediately; the answer has the settings in force."""
    answer = change(cache, {"max_bytes": str(80 * KIB), "ttl": "1h"})
    assert answer["settings"] == {"max_bytes": "81920", "ttl": "3600"}
    assert answer["error"] == ""
    assert cache.max_bytes == 80 * KIB
    assert cache.ttl == 3600
    assert cache.stats().total_bytes <= 80 * KIB
    cache.check_invariants()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_bytes": "much", "ttl": "1h"}, "max_bytes"),
        ({"max_bytes": "1MiB", "ttl": "soon"}, "ttl"),
        ({"ttl": "1h", "mode": "off"}, "mode"),
        ({}, "NAME=VALUE"),
    ],
)
def test_one_value_that_cannot_be_read_changes_nothing(
    cache: DagCache[Any, Any], settings: dict[str, str], named: str
) -> None:
    """The error names the setting and the accepted forms."""
    before = cache.max_bytes, cache.ttl
    answer = change(cache, settings)
    assert named in answer["error"]
    assert (cache.max_bytes, cache.ttl) == before
    assert cache.changed_settings == {}
    with pytest.raises(ConfigError, match=named):
        check(settings)


def test_a_change_is_one_log_line_with_the_values_before(
    cache: DagCache[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """And says that it lasts until the restart."""
    with caplog.at_level(logging.INFO, "dagcache"):
        change(cache, {"ttl": "90m"})
    (record,) = caplog.records
    assert record.getMessage() == (
        "settings of the scheduler were changed over its socket, until it restarts: ttl = 5400 (was 10800)"
    )


def test_a_changed_setting_is_counted_until_it_is_as_configured_again() -> None:
    """For the metrics, and for `top`."""
    cache, _ = make_cache(max_bytes="1MiB", ttl=60)
    assert cache.stats().changed_settings == 0
    change(cache, {"max_bytes": "2MiB", "ttl": "1h"})
    assert cache.changed_settings == {"max_bytes": "2MiB", "ttl": "3600"}
    assert cache.stats().changed_settings == 2
    change(cache, {"max_bytes": "1024KiB", "ttl": "1m"})
    assert cache.stats().changed_settings == 0


def test_the_owner_changes_settings_through_the_socket(server: AttributionServer, cache: DagCache[Any, Any]) -> None:
    """The next usage report has them."""
    answer = client.change(path_of(server), {"max_bytes": "1MiB"})
    assert (answer["component"], answer["error"]) == ("scheduler", "")
    assert client.ask(path_of(server))["max_bytes"] == cache.max_bytes == MIB


def test_a_refusal_comes_back_through_the_socket(server: AttributionServer) -> None:
    """With the reason."""
    assert "ttl" in client.change(path_of(server), {"ttl": "soon"})["error"]


@pytest.mark.parametrize(
    "request_", [b"[]", b'{"set": {"ttl": 5}, "until": 9e9}', b'{"set": []}', b'{"set": 1}', b'{"set": {"ttl": "5"}}']
)
def test_a_request_of_another_shape_gets_no_answer(server: AttributionServer, request_: bytes) -> None:
    """Values are texts, as in the configuration."""
    with client._connected(path_of(server), 20) as connection:
        connection.sendall(request_ + b"\n")
        assert connection.recv(100) == b""


def test_a_request_that_its_client_no_longer_waits_for_changes_nothing(
    server: AttributionServer, cache: DagCache[Any, Any]
) -> None:
    """The process may have been stopped meanwhile; the operator has read that it did not answer."""
    with client._connected(path_of(server), 20) as connection:
        protocol.send_change(connection, {"ttl": "5"}, time.monotonic() - 1)
        assert connection.recv(100) == b""
    assert cache.changed_settings == {}


def test_a_copy_of_the_connection_in_a_forked_child_does_not_delay_the_answer(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the answer is an event of its own."""
    copies: list[socket.socket] = []

    def copied(*arguments: Any) -> dict[str, Any]:
        assert server._listener is not None
        copies.extend(each.dup() for each in server._listener.exchanges._connections)
        return change(*arguments)

    monkeypatch.setattr(server_module, "change", copied)
    assert client.change(path_of(server), {"ttl": "5"}, timeout=PATIENCE / 2)["error"] == ""
    assert len(copies) == 1
    copies[0].close()


def test_zero_is_logged_with_its_meaning(cache: DagCache[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    change(cache, {"max_bytes": "2MiB"})
    with caplog.at_level(logging.INFO, "dagcache"):
        change(cache, {"max_bytes": "0", "ttl": "0"})
        change(cache, {"max_bytes": "1MiB"})
    first, second = (record.getMessage().partition("restarts: ")[2] for record in caplog.records)
    assert first.startswith("max_bytes = 0, unbounded (was 2MiB), ")
    assert first.endswith("ttl = 0, no expiry (was 10800)")
    assert second == "max_bytes = 1MiB (was 0, unbounded)"


@pytest.mark.parametrize("ttl", ["30d", "1234567.5", "0.000001", "0"])
def test_texts_of_settings_can_be_given_back(ttl: str) -> None:
    """With all of their digits."""
    cache, _ = make_cache()
    text = change(cache, {"ttl": ttl})["settings"]["ttl"]
    assert parse_seconds(text) == cache.ttl == parse_seconds(ttl)


@pytest.mark.parametrize(
    ("mode", "max_bytes", "note"),
    [("enforce", "512", "holds next to nothing"), ("observe", "1MiB", "nothing is evicted"), ("enforce", "1MiB", "")],
)
def test_a_change_of_little_use_has_a_note(mode: str, max_bytes: str, note: str) -> None:
    """A forgotten unit, a cache that only observes."""
    cache, _ = make_cache(mode=mode)
    answer = change(cache, {"max_bytes": max_bytes})
    assert note in answer["note"]
    assert bool(answer["note"]) == bool(note)


FLAWED: dict[str, Any] = {
    "component": "c",
    "pid": 1,
    "settings": {"max_bytes": "1", "ttl": "1"},
    "error": "",
    "note": "",
}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "without an answer"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 5000, "not JSON"),
        ({**FLAWED, "settings": {}}, "settings in force"),
        ({**FLAWED, "settings": {"max_bytes": 1, "ttl": "1"}}, "settings in force"),
        ({**FLAWED, "settings": {"max_bytes": "9" * 5000, "ttl": "1"}}, "settings in force"),
        ({**FLAWED, "pid": True}, "settings in force"),
        ({**FLAWED, "error": "x" * 5000}, "does not belong"),
        ({"component": "c"}, "does not belong"),
    ],
)
def test_an_answer_of_another_shape_is_refused_with_a_reason(answer: Any, reason: str) -> None:
    """Root reads the sockets of other users."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ValueError, match=reason):
            protocol.read_change(ours, time.monotonic() + 20)
