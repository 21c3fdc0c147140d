"""Single flight alone: leaders, followers, and the end of a flight."""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import Callable

import pytest

from dagcache.core import single_flight as module
from dagcache.core.single_flight import ABANDONED, Flight, FlightResult, Flights, Wait, leading


def in_a_thread(action: Callable[[], object]) -> None:
    """Run an action to its end in a thread of its own."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join(30)
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
            thread.join(30)
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


def test_a_leader_does_not_follow_itself() -> None:
    """The wait would be endless; nothing is noted."""
    flights, flight = Flights(), Flight()
    with flight.pending, leading(flight):
        assert flights.follow(flight) is flights.follow(flight, blocks=False) is Wait.ENDLESS
    assert not flights._waiting
    assert not flight.awaited


def test_a_thread_is_not_blocked_by_a_flight_of_another_task_that_it_runs() -> None:
    """A greenlet or a task of this thread leads: it can go on only if this one does not block."""
    flights, flight = Flights(), Flight()
    with flight.pending:
        assert flights.follow(flight) is Wait.BLOCKED
        assert not flights._waiting
        assert flights.follow(flight, blocks=False) is Wait.NOTED
    assert not flights._waiting


def test_a_ring_of_tasks_of_one_thread_is_not_closed() -> None:
    """The load of A waits for B, and the load of B must not wait for A."""
    flights, a, b = Flights(), Flight(), Flight()
    with a.pending, b.pending:
        with leading(a):
            assert flights.follow(b, blocks=False) is Wait.NOTED
        with leading(b):
            assert flights.follow(a, blocks=False) is Wait.ENDLESS
        with leading(a):
            flights.unfollow(b, blocks=False)
        with leading(b):
            assert flights.follow(a, blocks=False) is Wait.NOTED


def test_the_context_of_a_load_does_not_hold_the_flight() -> None:
    """A task that a loader starts may live on, and the flight has the value."""
    flight = Flight()
    with leading(flight):
        context = contextvars.copy_context()
    reference = weakref.ref(flight)
    del flight
    assert reference() is None
    assert context


def test_a_block_that_ends_in_another_context_is_no_error() -> None:
    """As that of a coroutine that the collector closes."""
    flight = Flight()
    block = leading(flight)
    contextvars.copy_context().run(block.__enter__)
    block.__exit__(None, None, None)


def test_a_ring_of_threads_is_not_closed() -> None:
    """The test leads A, the leader of B waits for A: so the test must not wait for B."""
    flights, a, b = Flights(), Flight(), Flight()

    def other() -> None:
        b.leader = threading.current_thread()
        b.pending.acquire()
        assert flights.follow(a) is Wait.NOTED
        asked.set()
        done.wait(30)
        flights.unfollow(a)

    asked, done = threading.Event(), threading.Event()
    with a.pending:
        thread = threading.Thread(target=other)
        thread.start()
        try:
            assert asked.wait(30)
            with leading(a):
                assert flights.follow(b) is Wait.ENDLESS
            assert flights.follow(b) is Wait.BLOCKED, "it would block the thread that leads A"
            a.complete(FlightResult("value"))
            assert flights.follow(b) is Wait.NOTED, "a has landed: its follower moves on, and there is no ring"
        finally:
            done.set()
            thread.join(30)
    assert list(flights._waiting) == [threading.get_ident()]
    flights.unfollow(b)
    assert not flights._waiting


def test_a_flight_that_is_over_may_be_followed_by_its_own_leader() -> None:
    """There is nothing left to wait for."""
    flights, flight = Flights(), Flight()
    flight.complete(FlightResult("value"))
    assert flights.follow(flight) is Wait.NOTED
    assert flight.wait() == FlightResult("value")


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


def test_a_handler_that_waits_in_the_middle_of_a_wait_leaves_the_waits_note() -> None:
    """Else a ring that the outer wait closes would not be seen."""
    flights, outer, inner, mine = Flights(), Flight(), Flight(), Flight()
    with outer.pending, inner.pending, mine.pending:
        outer.leader = inner.leader = threading.main_thread()
        followed: list[Wait] = []

        def wait() -> None:
            mine.leader = threading.current_thread()
            followed.append(flights.follow(outer))
            followed.append(flights.follow(inner))
            flights.unfollow(inner)
            noted.set()
            done.wait(30)
            flights.unfollow(outer)

        noted, done = threading.Event(), threading.Event()
        thread = threading.Thread(target=wait)
        thread.start()
        assert noted.wait(30)
        assert flights.follow(mine) is Wait.BLOCKED, "its leader waits for a flight of this thread"
        done.set()
        thread.join(30)
    assert followed == [Wait.NOTED, Wait.NOTED]
    assert not flights._waiting
