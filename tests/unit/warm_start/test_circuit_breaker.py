"""The circuit breaker opens after errors and slow calls, and closes by time."""

from __future__ import annotations

import pytest

from dagcache.warm_start.circuit_breaker import CircuitBreaker
from tests.support.clock import ManualClock


def test_an_oserror_opens_it_for_30_seconds() -> None:
    clock = ManualClock()
    breaker = CircuitBreaker(clock)
    with pytest.raises(OSError, match="disk"), breaker.watch():
        raise OSError("disk")
    assert breaker.is_open()
    clock.advance(29.9)
    assert breaker.is_open()
    clock.advance(0.1)
    assert not breaker.is_open()


def test_other_errors_do_not_open_it() -> None:
    breaker = CircuitBreaker(ManualClock())
    with pytest.raises(ValueError, match="x"), breaker.watch():
        raise ValueError("x")
    assert not breaker.is_open()


def test_a_caller_names_the_errors_that_open_it() -> None:
    breaker = CircuitBreaker(ManualClock(), failures=(KeyError,))
    with pytest.raises(OSError, match="disk"), breaker.watch():
        raise OSError("disk")
    assert not breaker.is_open()
    with pytest.raises(KeyError), breaker.watch():
        raise KeyError("x")
    assert breaker.is_open()


@pytest.mark.parametrize(("seconds", "is_open"), [(0.25, False), (0.26, True)])
def test_a_slow_call_opens_it(seconds: float, is_open: bool) -> None:
    clock, slow = ManualClock(0.0), []
    breaker = CircuitBreaker(clock, lambda: slow.append(1))
    with breaker.watch():
        clock.advance(seconds)
    assert breaker.is_open() == is_open
    assert len(slow) == is_open


def test_it_is_open_while_a_slow_call_lasts() -> None:
    """Another thread need not wait for the kernel as well."""
    clock = ManualClock(0.0)
    breaker = CircuitBreaker(clock)
    with breaker.watch():
        assert not breaker.is_open()
        clock.advance(0.3)
        assert breaker.is_open()


def test_a_clock_that_starts_at_zero_has_no_effect() -> None:
    assert not CircuitBreaker(ManualClock(0.0)).is_open()
