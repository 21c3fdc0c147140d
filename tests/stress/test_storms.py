"""Interrupts and forks by the hundred, in processes of their own: coverage tools do not survive either."""

from __future__ import annotations

import signal
import sys

import pytest

from tools.scorecard.processes import measure


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_interrupts_at_two_thousand_a_second_leave_nothing_behind() -> None:
    """Raised by signals, thrown into threads, and handlers that use the cache; the totals are right in between."""
    told = measure("strikes", 300)
    assert told["raised"] > 200
    assert (told["thrown"], told["handled"]) == (30, 300)
    assert (told["internal_errors"], told["flights"], told["locked"], told["leaks"]) == (0, 0, False, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="which ports a process listens on is read from /proc")
def test_children_of_a_busy_process_end_and_leave_its_port_alone() -> None:
    """None hangs or fails, and the port can be bound again at once although a child lives on."""
    told = measure("forks", 15)
    assert told == {"forks": 15, "hung": 0, "failed": 0, "rebound": True, "failures": []}
