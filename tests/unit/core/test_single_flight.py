"""Single flight alone: leaders, followers, and the end of a flight."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dagcache.core import single_flight as module
from dagcache.core.single_flight import ABANDONED, Flight, FlightResult, Flights
from tests.support.patience import PATIENCE


def in_a_thread(action: Callable[[], object]) -> None:
    """Run an action to its end in a thread of its own."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_landed_flight_gives_its_landing() -> None:
    flight = Flight()
    with flight.pending:
        flight.complete(FlightResult("value", b"frozen", "content"))
    assert flight.wait() == flight.wait() == FlightResult("value", b"frozen", "content")


def test_the_first_landing_counts() -> None:
    flight = Flight()
    flight.complete(FlightResult("first"))
    flight.complete(FlightResult("second"))
    flight.abandon()
    assert flight.wait() == FlightResult("first")


def test_a_wait_ends_when_its_time_is_up() -> None:
    """The flight goes on."""
    flight = Flight()
    with flight.pending:
        assert flight.wait(0) is None
        assert flight.wait(0.001) is None
        assert not flight.is_over


def test_a_flight_that_is_diverted_frees_its_followers() -> None:
    """At once, although its leader goes on."""
    flights, flight = Flights(), Flight()
    flights.register("a", flight)
    waited: list[object] = []
    with flight.pending:
        threads = [threading.Thread(target=lambda: waited.append(flight.wait())) for _ in range(5)]
        for thread in threads:
            thread.start()
        flights.invalidate("a")
        for thread in threads:
            thread.join(PATIENCE)
    assert waited == [FlightResult(ABANDONED)] * 5
    assert not flights.retire("a", flight)


def test_a_flight_that_its_leader_let_go_of_is_abandoned() -> None:
    flight = Flight()

    def lead() -> None:
        with flight.pending:
            assert not flight.is_over
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lead()
    assert flight.is_over
    assert flight.wait() == FlightResult(ABANDONED)


def test_a_flight_whose_leader_is_gone_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock is never released, as in a forked child."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0)
    led: list[Flight] = []

    def lead() -> None:
        led.append(Flight())
        led[0].pending.acquire()

    in_a_thread(lead)
    assert led[0].is_over
    assert led[0].wait() == FlightResult(ABANDONED)


def test_a_flight_that_has_landed_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if its leader holds the lock for long after that."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0)
    flight = Flight()
    with flight.pending:
        flight.complete(FlightResult("value"))
        assert flight.wait() == FlightResult("value")


def test_only_flights_under_way_are_found() -> None:
    """One that landed, or was let go of, is none."""
    flights, flight, other = Flights(), Flight(), Flight()
    flights.register("a", flight)
    flights.register("b", other)
    assert flights.get("a") is None
    with flight.pending, other.pending:
        assert flights.get("a") is flight
        assert flights.get("c") is None
        other.complete(FlightResult("value"))
        assert flights.get("b") is None
    assert len(flights) == 2


def test_a_flight_is_current_until_it_is_retired_or_overtaken() -> None:
    """By a newer flight, a change of its key, or a change of everything."""
    flights, flight, newer = Flights(), Flight(), Flight()
    flights.register("a", flight)
    assert flights.retire("a", flight)
    assert not flights.retire("a", flight)
    flights.register("a", flight)
    flights.register("a", newer)
    assert not flights.retire("a", flight)
    assert flights.retire("a", newer)
    flights.register("a", flight)
    flights.invalidate("a")
    assert not flights.retire("a", flight)
    flights.register("a", flight)
    flights.invalidate_all()
    assert not flights.retire("a", flight)
    flights.invalidate("never there")


def test_waiting_goes_on_while_the_leader_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the follower looks whether it is still there."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0)
    flight = Flight()

    class Busy:
        looks = 0

        def acquire(self, *, timeout: float) -> bool:
            self.looks += 1
            if self.looks == 5:
                flight.result = FlightResult("value")
            return self.looks == 5

        def release(self) -> None:
            pass

    flight._gate = Busy()  # type: ignore[assignment]
    with flight.pending:
        assert flight.wait() == FlightResult("value")
