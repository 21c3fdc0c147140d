"""Waits across caches: each wait that could never end is refused, and no other one."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache import DagCache, RecursiveLoadError
from dagcache.core.single_flight import Flight, FlightResult
from dagcache.core.waits import WAITS, Caller, Wait, Waits, leading, running
from tests.support import probe
from tests.support.caches import MIB, Weighted, check_settled, make_cache
from tests.support.children import fork, outcome
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("quiet")


def in_threads(*actions: Callable[[], object]) -> None:
    """Run actions to their end, in a thread each."""
    threads = [threading.Thread(target=action, daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a wait did not end"


# ---- the graph alone ----


def test_a_load_does_not_wait_for_itself() -> None:
    """Nothing is noted."""
    waits, flight = Waits(), Flight()
    with flight.pending, leading(flight):
        assert waits.begin(flight, running()) is Wait.ENDLESS
        assert waits.begin(flight, running(), blocks=False) is Wait.ENDLESS
    assert len(waits) == 0
    assert not flight.awaited


def test_a_thread_is_not_blocked_by_a_flight_of_another_task_that_it_runs() -> None:
    """A greenlet or a task of this thread leads: it can go on only if this one does not block."""
    waits, flight = Waits(), Flight()
    with flight.pending:
        assert waits.begin(flight, running()) is Wait.BLOCKED
        assert len(waits) == 0
        assert waits.begin(flight, running(), blocks=False) is Wait.NOTED
    assert len(waits) == 0


def test_a_ring_of_tasks_of_one_thread_is_not_closed() -> None:
    """The load of A waits for B, and the load of B must not wait for A."""
    waits, a, b = Waits(), Flight(), Flight()
    with a.pending, b.pending:
        with leading(a):
            assert waits.begin(b, running(), blocks=False) is Wait.NOTED
        with leading(b):
            assert waits.begin(a, running(), blocks=False) is Wait.ENDLESS
        with leading(a):
            waits.end(b, running(), blocks=False)
        with leading(b):
            assert waits.begin(a, running(), blocks=False) is Wait.NOTED


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


def test_a_flight_that_is_over_may_be_awaited_by_its_own_load() -> None:
    """There is nothing left to wait for."""
    waits, flight = Waits(), Flight()
    flight.complete(FlightResult("value"))
    with leading(flight):
        assert waits.begin(flight, running()) is Wait.NOTED
    assert flight.wait() == FlightResult("value")


class FakeThread:
    """A thread by name only."""

    def __init__(self, ident: int) -> None:
        self.ident = ident

    def is_alive(self) -> bool:
        """It never ends."""
        return True


def caller(thread: FakeThread, *led: Flight) -> Caller:
    """Code in a thread that is a part of flights."""
    return Caller(cast("threading.Thread", thread), led)


@pytest.fixture
def pending() -> Iterator[Callable[[FakeThread], Flight]]:
    """Make a flight under way that a thread leads."""
    made: list[Flight] = []

    def make(thread: FakeThread) -> Flight:
        flight = Flight()
        flight.leader = cast("threading.Thread", thread)
        flight.pending.acquire()
        made.append(flight)
        return flight

    yield make
    for flight in made:
        flight.pending.release()


def test_a_ring_through_a_thread_that_another_task_blocks_is_not_closed(
    pending: Callable[[FakeThread], Flight],
) -> None:
    """Thread 1 leads A in a task, and another task of it waits for B. So the load of B must not wait for A."""
    waits, one, two = Waits(), FakeThread(1), FakeThread(2)
    a, b = pending(one), pending(two)
    assert waits.begin(b, caller(one)) is Wait.NOTED
    assert waits.begin(a, caller(two, b)) is Wait.ENDLESS
    assert waits.begin(a, caller(two)) is Wait.BLOCKED, "another task of the thread that leads B"
    assert waits.begin(a, caller(two), blocks=False) is Wait.NOTED, "the thread goes on with B"
    waits.end(b, caller(one))
    assert waits.begin(a, caller(two, b)) is Wait.NOTED


def test_a_handler_that_waits_in_the_middle_of_a_wait_leaves_the_waits_note(
    pending: Callable[[FakeThread], Flight],
) -> None:
    """Else a ring that the outer wait closes would not be seen."""
    waits, one, two = Waits(), FakeThread(1), FakeThread(2)
    outer, inner, mine = pending(one), pending(one), pending(two)
    assert waits.begin(outer, caller(two)) is waits.begin(inner, caller(two)) is Wait.NOTED
    waits.end(inner, caller(two))
    assert waits.begin(mine, caller(one)) is Wait.BLOCKED, "its leader waits for a flight of this thread"
    waits.end(outer, caller(two))
    assert len(waits) == 0


def test_of_two_threads_that_close_a_ring_at_the_same_time_one_finds_it(
    pending: Callable[[FakeThread], Flight], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the note and the check of the first, the second notes and checks."""
    waits, one, two = Waits(), FakeThread(1), FakeThread(2)
    a, b = pending(one), pending(two)
    found: list[Wait] = []
    judge = Waits._judge

    def interrupted(self: Waits, *arguments: Any) -> Wait:
        monkeypatch.undo()
        found.append(waits.begin(a, caller(two, b)))
        return judge(self, *arguments)

    monkeypatch.setattr(Waits, "_judge", interrupted)
    found.append(waits.begin(b, caller(one, a)))
    assert found == [Wait.ENDLESS, Wait.NOTED]


def test_the_note_of_a_wait_does_not_hold_a_value(pending: Callable[[FakeThread], Flight]) -> None:
    """An interrupt may skip the end of the wait. The next end of a wait of the thread removes the note."""
    waits, one = Waits(), FakeThread(1)
    flight = Flight()
    assert waits.begin(flight, caller(one)) is Wait.NOTED
    reference = weakref.ref(flight)
    del flight
    assert reference() is None
    other = pending(FakeThread(2))
    assert waits.begin(other, caller(one)) is Wait.NOTED, "a note without a flight does not count"
    waits.end(other, caller(one))
    assert len(waits) == 0


class World:
    """Callers of three threads, their flights, and who waits for which: the model of what can still end."""

    def __init__(self) -> None:
        self.waits = Waits()
        threads = [FakeThread(number) for number in (1, 2, 3)]
        self.thread = [threads[number % 3] for number in range(6)]
        self.led: list[list[Flight]] = [[] for _ in range(6)]
        self.waiting: dict[int, tuple[Flight, bool]] = {}

    def caller(self, number: int) -> Caller:
        """The identity of a caller."""
        return caller(self.thread[number], *self.led[number])

    def runs(self, number: int, waiting: dict[int, tuple[Flight, bool]]) -> bool:
        """Whether a caller neither waits nor has a thread that waits."""
        blocked = {self.thread[other] for other, (_, blocks) in waiting.items() if blocks}
        return number not in waiting and self.thread[number] not in blocked

    def ends(self, waiting: dict[int, tuple[Flight, bool]]) -> bool:
        """Whether all waits end, if every caller that runs ends its flights."""
        waiting = dict(waiting)
        while waiting:
            over = {flight for number in range(6) if self.runs(number, waiting) for flight in self.led[number]}
            over |= {flight for flight, _ in waiting.values() if flight.is_over}
            rest = {number: wait for number, wait in waiting.items() if wait[0] not in over}
            if rest == waiting:
                return False
            waiting = rest
        return True

    def lead(self, number: int) -> None:
        """A caller begins a load."""
        flight = Flight()
        flight.leader = cast("threading.Thread", self.thread[number])
        flight.pending.acquire()
        self.led[number].append(flight)

    def land(self, number: int) -> None:
        """A caller ends its latest load, and the waits for it end."""
        if not self.led[number]:
            return
        flight = self.led[number].pop()
        flight.complete(FlightResult("value"))
        for other, (awaited, blocks) in list(self.waiting.items()):
            if awaited is flight:
                self.waits.end(flight, self.caller(other), blocks=blocks)
                del self.waiting[other]

    def wait(self, number: int, other: int, blocks: bool) -> None:
        """A caller wants to wait for the latest load of another one."""
        if not self.led[other]:
            return
        flight = self.led[other][-1]
        found = self.waits.begin(flight, self.caller(number), blocks=blocks)
        wanted = {**self.waiting, number: (flight, blocks)}
        assert (found is Wait.NOTED) == self.ends(wanted)
        if found is Wait.NOTED:
            self.waiting = wanted


@given(
    st.lists(
        st.tuples(st.sampled_from(["lead", "land", "wait"]), st.integers(0, 5), st.integers(0, 5), st.booleans()),
        max_size=40,
    )
)
def test_exactly_the_waits_that_would_never_end_are_refused(steps: list[tuple[str, int, int, bool]]) -> None:
    world = World()
    for action, number, other, blocks in steps:
        if not world.runs(number, world.waiting):
            continue
        if action == "lead":
            world.lead(number)
        elif action == "land":
            world.land(number)
        else:
            world.wait(number, other, blocks)
        assert world.ends(world.waiting)
        blocked = {world.thread[each] for each, (_, blocks) in world.waiting.items() if blocks}
        assert len(world.waits) == len(blocked)


def test_a_forked_child_knows_no_waits() -> None:
    """Its only thread may have the identifier of one that waits in the parent."""
    flight, permission = Flight(), threading.Event()

    def wait() -> None:
        assert WAITS.begin(flight, running()) is Wait.NOTED
        noted.set()
        permission.wait(PATIENCE)
        WAITS.end(flight, running())

    def check() -> None:
        assert len(WAITS) == 0

    noted = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    assert noted.wait(PATIENCE)
    try:
        assert outcome(fork(check)) == "0"
        assert len(WAITS) == 1
    finally:
        permission.set()
        thread.join(PATIENCE)
    assert len(WAITS) == 0


# ---- real caches ----


class Ring:
    """Loads that each ask for the next one's key, in the next cache, once all of them have begun."""

    def __init__(self, *kinds: str, caches: int) -> None:
        self.kinds = kinds
        self.caches: list[DagCache[Any, Any]] = [make_cache(max_bytes=MIB)[0] for _ in range(caches)]
        self.begun: set[int] = set()
        self.refused = 0
        self.found: dict[int, Any] = {}

    def run(self) -> None:
        """Run all to their end: threads, and the tasks in one thread of theirs."""
        tasks = [number for number, kind in enumerate(self.kinds) if kind == "task"]
        actions = [lambda number=number: self.ask(number) for number, kind in enumerate(self.kinds) if kind != "task"]
        in_threads(*actions, *([lambda: asyncio.run(self.ask_all(tasks))] if tasks else []))

    async def ask_all(self, numbers: list[int]) -> None:
        """The lookups of all tasks."""
        await asyncio.gather(*map(self.ask_async, numbers))

    def cache_of(self, number: int) -> DagCache[Any, Any]:
        """The cache of a key."""
        return self.caches[number % len(self.caches)]

    def ask(self, number: int) -> None:
        """The lookup of a thread."""
        if self.kinds[number] == "many":
            self.found[number] = self.cache_of(number).get_or_load_many([number], self.load_many)[number]
        else:
            self.found[number] = self.cache_of(number).get_or_load(number, self.load)

    async def ask_async(self, number: int) -> None:
        """The lookup of a task."""
        self.found[number] = await self.cache_of(number).aget_or_load(number, self.load_async)

    def load(self, number: int) -> Weighted:
        """The load of a thread."""
        self.begun.add(number)
        while len(self.begun) < len(self.kinds):
            threading.Event().wait(0.001)
        try:
            self.ask((number + 1) % len(self.kinds))
        except RecursiveLoadError:
            self.refused += 1
        return Weighted(number)

    def load_many(self, numbers: list[int]) -> dict[int, Weighted]:
        """The load of a thread that asks for many keys."""
        return {number: self.load(number) for number in numbers}

    async def load_async(self, number: int) -> Weighted:
        """The load of a task."""
        self.begun.add(number)
        while len(self.begun) < len(self.kinds):
            await asyncio.sleep(0.001)
        try:
            await self.ask_async((number + 1) % len(self.kinds))
        except RecursiveLoadError:
            self.refused += 1
        return Weighted(number)


@pytest.mark.parametrize("caches", [1, 2, 3])
@pytest.mark.parametrize(
    "kinds",
    [
        ("thread", "thread"),
        ("thread", "task", "many"),
        ("task", "task", "thread"),
        ("many", "many", "thread", "thread", "task", "task"),
    ],
    ids="-".join,
)
def test_a_ring_over_several_caches_is_refused(kinds: tuple[str, ...], caches: int) -> None:
    """By at least one of its loads; all lookups end, with their values."""
    ring = Ring(*kinds, caches=caches)
    ring.run()
    assert ring.refused >= 1
    assert {number: value.label for number, value in ring.found.items()} == {n: n for n in range(len(kinds))}
    for cache in ring.caches:
        check_settled(cache)
    assert len(WAITS) == 0


def test_a_ring_over_two_caches_through_a_blocked_event_loop_is_refused() -> None:
    """A task loads A. Another task of its thread blocks for B, of another cache, whose load asks for A."""
    (first, _), (second, _) = make_cache(max_bytes=MIB), make_cache(max_bytes=MIB)
    loads_b = threading.Event()
    refused: list[bool] = []

    async def load_a(key: Any) -> Weighted:
        await asyncio.sleep(0)
        return Weighted(key)

    async def block() -> None:
        assert loads_b.wait(PATIENCE)
        assert second.get_or_load("b", Weighted).label == "b"

    async def work() -> None:
        await asyncio.gather(first.aget_or_load("a", load_a), block())

    def load_b(key: Any) -> Weighted:
        loads_b.set()
        while not probe.waiting_threads(second):
            threading.Event().wait(0.001)
        with pytest.raises(RecursiveLoadError):
            first.get_or_load("a", Weighted)
        refused.append(True)
        return Weighted(key)

    in_threads(lambda: asyncio.run(work()), lambda: second.get_or_load("b", load_b))
    assert refused
    check_settled(first)
    check_settled(second)


def test_chains_over_caches_that_close_no_ring_are_not_refused() -> None:
    """Sixteen threads, each load asks for a smaller key of another cache."""
    caches = [make_cache(max_bytes=MIB)[0] for _ in range(3)]

    def load(number: int) -> Weighted:
        for smaller in range(number - 1, max(-1, number - 3), -1):
            assert caches[smaller % 3].get_or_load(smaller, load).label == smaller
        return Weighted(number)

    found: list[Any] = []
    in_threads(*[lambda top=top: found.append(caches[top % 3].get_or_load(top, load).label) for top in range(16)])
    assert sorted(found) == list(range(16))
    assert sum(cache.stats().loads for cache in caches) == 16
    for cache in caches:
        check_settled(cache)


def test_random_graphs_of_loads_over_caches_come_to_an_end() -> None:
    """Rings among them: each lookup gets a value or is refused, and the loads go on without the refused one."""
    caches = [make_cache(max_bytes=MIB)[0] for _ in range(3)]
    barrier = threading.Barrier(4)

    def load(key: tuple[int, int]) -> Weighted:
        lap, number = key
        for step in (3, 5):
            other = (number * step + 1) % 8
            try:
                caches[other % 3].get_or_load((lap, other), load)
            except RecursiveLoadError:
                continue
        return Weighted(key)

    def work(thread: int) -> None:
        for lap in range(40):
            barrier.wait(PATIENCE)
            number = (thread * 3 + lap) % 8
            assert caches[number % 3].get_or_load((lap, number), load).label == (lap, number)

    in_threads(*[lambda thread=thread: work(thread) for thread in range(4)])
    for cache in caches:
        check_settled(cache)
    assert len(WAITS) == 0
