"""How a benchmark reads Airflow's timers."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.statsd import listening, percentile, timings
from tests.support.patience import PATIENCE


def test_a_timer_is_read_in_milliseconds() -> None:
    """As Airflow's client sends it."""
    assert timings(b"bench.loop:233.250000|ms", "bench.loop") == [233.25]


def test_a_packet_may_hold_several_lines_with_rates_and_tags() -> None:
    """All samples of the timer that is asked for, in order."""
    packet = b"bench.loop:1|ms|@0.5\nbench.other:2|ms\nbench.loop:3.5|ms|#executor:local\n"
    assert timings(packet, "bench.loop") == [1.0, 3.5]


@pytest.mark.parametrize(
    "packet", [b"", b"bench.loop", b"bench.loop:", b"bench.loop:4|c", b"bench.loop:x|ms", b"\xff\xfe:1|ms", b":|ms"]
)
def test_what_is_no_sample_of_the_timer_is_left_out(packet: bytes) -> None:
    """Counters, gauges and noise do not end the listener."""
    assert timings(packet, "bench.loop") == []


@given(st.binary())
def test_no_packet_breaks_the_parser(packet: bytes) -> None:
    assert all(isinstance(sample, float) for sample in timings(packet, "bench.loop"))


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)])
def test_percentiles_are_by_the_nearest_rank(percent: float, expected: float) -> None:
    """Of the numbers from 1 to 100, in any order."""
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(samples: list[float], percent: float) -> None:
    """The definition, sample by sample."""
    found = percentile(samples, percent)
    needed = len(samples) * percent / 100
    assert found in samples
    assert sum(sample <= found for sample in samples) >= needed
    assert all(sum(other <= sample for other in samples) < needed for sample in samples if sample < found)


def test_no_samples_have_no_percentile() -> None:
    """Rather than a number that nothing measured."""
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_each_sample_is_handed_over_as_it_comes() -> None:
    """Over a real socket; the listener's thread is gone afterwards."""
    heard: list[float] = []
    complete = threading.Event()

    def hear(sample: float) -> None:
        heard.append(sample)
        if len(heard) == 2:
            complete.set()

    with (
        listening("bench.loop", hear) as port,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for packet in (b"bench.loop:1|ms", b"bench.other:7|ms", b"bench.loop:2|ms"):
            sender.sendto(packet, ("127.0.0.1", port))
        assert complete.wait(PATIENCE)
    assert heard == [1.0, 2.0]
    assert "statsd" not in {thread.name for thread in threading.enumerate()}
