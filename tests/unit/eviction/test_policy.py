"""Victims and admission."""

from __future__ import annotations

import random
from collections.abc import Iterable
from math import inf

import pytest

import dagcache.eviction.ranking as ranking_module
from dagcache.eviction.access_history import BURST, AccessHistory
from dagcache.eviction.node import Node
from dagcache.eviction.policy import Policy
from dagcache.eviction.ranking import FULL_SCAN, POOL, RANKED, SLICE, eviction_scores

UNIT = 100


def make_node(last_used: float = 0.0, gap: float = 0.0, nbytes: int = UNIT, cost_density: float = 1.0) -> Node:
    """Build a node of an entry with a last use at `last_used` and the gap `gap`."""
    history = AccessHistory(last_used)
    history.gap = gap
    return Node(history, nbytes, cost_density)


def fill(policy: Policy, nodes: list[Node], now: float = 0.0) -> None:
    """Let nodes in while there is room."""
    used = 0
    for node in nodes:
        assert policy.admit(node, used=used, budget=10**12, now=now) == []
        used += node.nbytes


def admit_when_full(policy: Policy, node: Node, now: float) -> list[Node] | None:
    """Offer a newcomer to a policy with nodes that take the whole budget."""
    used = sum(held.nbytes for held in policy)
    return policy.admit(node, used=used, budget=used, now=now)


def make_bursts_the_rule(policy: Policy, now: float) -> None:
    """Teach a policy that rejected values come back at once."""
    for _ in range(20):
        repeated = make_node(now, nbytes=10)
        repeated.history.last_filled = now
        policy.admit(repeated, used=0, budget=1, now=now)


def test_a_newcomer_that_fits_needs_no_victim() -> None:
    """While there is room, every newcomer is admitted without probation."""
    policy = Policy()
    node = make_node()
    assert policy.admit(node, used=0, budget=UNIT, now=0.0) == []
    assert list(policy) == [node]
    assert not node.on_probation


def test_a_newcomer_larger_than_the_budget_passes_through() -> None:
    """No entry leaves for a value that can never fit."""
    policy = Policy()
    fill(policy, [make_node()])
    assert policy.admit(make_node(nbytes=2 * UNIT), used=UNIT, budget=UNIT, now=9.0) is None
    assert len(policy) == 1


def test_the_entry_needed_last_leaves_for_one_needed_sooner() -> None:
    """In a sweep the entry that was just used is the farthest from its next use."""
    policy = Policy()
    just_used, due_soon = make_node(last_used=100.0, gap=60.0), make_node(last_used=50.0, gap=60.0)
    fill(policy, [due_soon, just_used])
    assert admit_when_full(policy, make_node(last_used=100.0, gap=20.0), now=100.0) == [just_used]


def test_a_newcomer_needed_later_than_all_others_passes_through() -> None:
    """A loser displaces nothing."""
    policy = Policy()
    nodes = [make_node(last_used=50.0, gap=60.0) for _ in range(50)]
    fill(policy, nodes)
    assert admit_when_full(policy, make_node(last_used=100.0, gap=60.0), now=100.0) is None
    assert list(policy) == nodes


def test_an_entry_long_overdue_leaves() -> None:
    """An entry without a use for many gaps counts as dead."""
    policy = Policy()
    overdue, due_soon = make_node(last_used=0.0, gap=60.0), make_node(last_used=950.0, gap=60.0)
    fill(policy, [due_soon, overdue])
    assert admit_when_full(policy, make_node(last_used=1000.0, gap=60.0), now=1000.0) == [overdue]


@pytest.mark.parametrize(("matching_pauses", "regular_leaves"), [(1, True), (2, False)])
def test_an_entry_in_a_regular_pause_is_expected_at_its_end(matching_pauses: int, regular_leaves: bool) -> None:
    """Long overdue by its gap, but due soon by its pause, if three pauses were of about one length."""
    policy = Policy()
    regular, other = make_node(last_used=100.0, gap=10.0), make_node(last_used=1000.0, gap=700.0)
    regular.history.pause, regular.history.matching_pauses = 1000.0, matching_pauses
    fill(policy, [regular, other])
    victim = regular if regular_leaves else other
    assert admit_when_full(policy, make_node(last_used=1000.0, gap=10.0), now=1000.0) == [victim]


def test_an_entry_that_misses_the_end_of_its_pause_is_overdue() -> None:
    """The pause was its last excuse."""
    policy = Policy()
    late, other = make_node(last_used=0.0, gap=10.0), make_node(last_used=1000.0, gap=700.0)
    late.history.pause, late.history.matching_pauses = 900.0, 2
    fill(policy, [late, other])
    assert admit_when_full(policy, make_node(last_used=1000.0, gap=10.0), now=1000.0) == [late]


def test_a_prediction_near_its_date_is_only_half_trusted() -> None:
    """An entry 20 s before its date ranks behind one 45 s before its own, if the first waited much longer."""
    policy = Policy()
    waited_long, waited_little = make_node(last_used=20.0, gap=100.0), make_node(last_used=90.0, gap=55.0)
    fill(policy, [waited_little, waited_long])
    assert admit_when_full(policy, make_node(last_used=100.0, gap=10.0), now=100.0) == [waited_long]


def test_a_newcomer_that_all_nodes_together_cannot_make_room_for_passes_through() -> None:
    """Bytes of the tier that the policy does not hold cannot be freed by it."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=60.0)])
    make_bursts_the_rule(policy, now=30.0)
    newcomer = make_node(last_used=30.0, nbytes=2 * UNIT)
    assert policy.admit(newcomer, used=9 * UNIT, budget=9 * UNIT, now=30.0) is None
    assert len(policy) == 1


def test_bytes_that_save_less_work_leave_first() -> None:
    """Among equally distant uses the one with more bytes per second of work leaves."""
    policy = Policy()
    cheap, dear = (
        make_node(last_used=90.0, gap=60.0, cost_density=9.0),
        make_node(last_used=90.0, gap=60.0, cost_density=2.0),
    )
    fill(policy, [dear, cheap])
    assert admit_when_full(policy, make_node(last_used=100.0, gap=60.0), now=100.0) == [cheap]


@pytest.mark.parametrize("heavier", [0, 1])
def test_one_that_has_become_heavier_leaves_before_its_like(heavier: int) -> None:
    """It costs as much to bring back as before, and takes more room."""
    policy = Policy()
    nodes = [make_node(last_used=90.0, gap=60.0), make_node(last_used=90.0, gap=60.0)]
    fill(policy, nodes)
    policy.reweigh(nodes[heavier], 3 * UNIT)
    policy.check_invariants()
    assert policy.admit(make_node(last_used=100.0, gap=60.0), used=4 * UNIT, budget=4 * UNIT, now=100.0) == [
        nodes[heavier]
    ]


def test_a_superseded_entry_leaves_once_idle() -> None:
    """An older version that is no longer used is garbage, with any gap."""
    policy = Policy()
    old, active = make_node(last_used=0.0, gap=10.0), make_node(last_used=0.0, gap=10.0, cost_density=50.0)
    old.history.superseded = True
    old.history.pause, old.history.matching_pauses = 1e6, 2
    fill(policy, [active, old])
    assert admit_when_full(policy, make_node(last_used=21.0, gap=10.0), now=21.0) == [old]


def test_a_superseded_entry_in_use_stays() -> None:
    """Runs stay on the version they began with."""
    policy = Policy()
    old, other = make_node(last_used=0.0, gap=30.0), make_node(last_used=45.0, gap=60.0)
    old.history.superseded = True
    fill(policy, [old, other])
    assert admit_when_full(policy, make_node(last_used=45.0, gap=10.0), now=45.0) == [other]


def test_an_unknown_newcomer_is_on_probation() -> None:
    """Without a known gap a newcomer has to prove itself."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=60.0) for _ in range(50)])
    newcomer = make_node(last_used=30.0)
    assert admit_when_full(policy, newcomer, now=30.0) is not None
    assert newcomer.on_probation
    policy.check_invariants()


def test_nodes_on_probation_displace_each_other_first_in_first_out() -> None:
    """Probation does not grow at the cost of proven nodes."""
    policy = Policy()
    residents = [make_node(last_used=0.0, gap=1e6) for _ in range(100)]
    fill(policy, residents)
    newcomers = [make_node(last_used=float(now)) for now in range(10, 80)]
    left = [
        node
        for newcomer in newcomers
        for node in admit_when_full(policy, newcomer, now=newcomer.history.burst_start) or []
    ]
    assert left[-10:] == newcomers[len(newcomers) - 10 - _on_probation(policy) : len(newcomers) - _on_probation(policy)]
    assert _on_probation(policy) * UNIT <= policy._admission._probation_limit(100 * UNIT)


def _on_probation(policy: Policy) -> int:
    return sum(node.on_probation for node in policy)


def test_a_use_after_the_burst_ends_probation() -> None:
    """A second use after more than a burst ends the probation."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=60.0) for _ in range(50)])
    newcomer = make_node(last_used=30.0)
    admit_when_full(policy, newcomer, now=30.0)
    newcomer.history.touch(40.0)
    admit_when_full(policy, make_node(last_used=41.0), now=41.0)
    assert not newcomer.on_probation
    assert newcomer in list(policy)


def test_a_use_in_the_same_burst_does_not_end_probation() -> None:
    """Repeated uses within a burst are one use."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=60.0) for _ in range(50)])
    newcomer = make_node(last_used=30.0)
    admit_when_full(policy, newcomer, now=30.0)
    newcomer.history.touch(30.0 + BURST)
    admit_when_full(policy, make_node(last_used=34.0), now=34.0)
    assert newcomer.on_probation


def test_a_newcomer_too_large_for_probation_passes_through() -> None:
    """One large unknown value does not evict all others on probation."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=60.0) for _ in range(500)])
    assert admit_when_full(policy, make_node(last_used=30.0, nbytes=300 * UNIT), now=30.0) is None
    assert len(policy) == 500


def test_where_bursts_are_the_rule_any_size_is_let_in() -> None:
    """If rejected values come back at once, rejection costs more."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=60.0) for _ in range(500)])
    make_bursts_the_rule(policy, now=30.0)
    large = make_node(last_used=30.0, nbytes=300 * UNIT)
    victims = admit_when_full(policy, large, now=30.0)
    assert victims is not None
    assert len(victims) == 300
    assert large.on_probation


def test_a_node_held_for_its_burst_is_safe_for_a_moment() -> None:
    """A held node is not counted in the bytes of probation; afterwards it is."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=60.0) for _ in range(500)])
    make_bursts_the_rule(policy, now=30.0)
    large = make_node(last_used=30.0, nbytes=300 * UNIT)
    admit_when_full(policy, large, now=30.0)
    assert large not in (admit_when_full(policy, make_node(last_used=30.9), now=30.9) or [])
    newcomer = make_node(last_used=31.1)
    assert admit_when_full(policy, newcomer, now=31.1) == [large]
    assert newcomer.on_probation


@pytest.mark.parametrize("bursts", [True, False])
def test_where_bursts_are_the_rule_who_was_just_used_is_needed_at_once(bursts: bool) -> None:
    """A scheduler that has examined twenty runs looks their versions up again; elsewhere it is needed last of all."""
    policy = Policy()
    just_used, due_later = make_node(last_used=99.5, gap=60.0), make_node(last_used=60.0, gap=60.0)
    fill(policy, [just_used, due_later])
    if bursts:
        make_bursts_the_rule(policy, now=99.0)
    victim = due_later if bursts else just_used
    assert policy.next_victim(100.0) is victim
    assert admit_when_full(policy, make_node(last_used=100.0, gap=20.0), now=100.0) == [victim]


def test_a_moment_later_it_is_needed_as_late_as_its_gap_says() -> None:
    """Its burst is taken to be over."""
    policy = Policy()
    just_used, due_later = make_node(last_used=98.9, gap=60.0), make_node(last_used=60.0, gap=60.0)
    fill(policy, [just_used, due_later])
    make_bursts_the_rule(policy, now=99.0)
    assert admit_when_full(policy, make_node(last_used=100.0, gap=20.0), now=100.0) == [just_used]


@pytest.mark.parametrize("count", [FULL_SCAN // 2, FULL_SCAN * 2])
def test_who_is_spared_because_it_was_just_used_is_not_forgotten(count: int) -> None:
    """A moment later it is the worst, and the next ranking may be far off."""
    policy = Policy()
    fill(policy, [make_node(last_used=80.0, gap=60.0) for _ in range(count)])
    policy.shed(1, now=100.0)
    just_used = make_node(last_used=100.0, gap=600.0)
    fill(policy, [just_used], now=100.0)
    make_bursts_the_rule(policy, now=100.0)
    assert just_used not in policy.shed(1, now=100.5)
    assert policy.shed(1, now=101.5) == [just_used]


@pytest.mark.parametrize(("later", "bursts"), [((0.5, 1.0), True), ((20.0,), False)])
def test_only_a_use_at_once_teaches_that_bursts_are_the_rule(later: tuple[float, ...], bursts: bool) -> None:
    """A use one lap later proves the node, and is not evidence of bursts."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=6_000.0) for _ in range(500)])
    for now in range(100, 4_000, 30):
        newcomer = make_node(last_used=float(now))
        assert admit_when_full(policy, newcomer, now=float(now)) is not None
        for seconds in later:
            newcomer.history.touch(now + seconds)
    large = make_node(last_used=4_000.0, nbytes=300 * UNIT)
    assert (admit_when_full(policy, large, now=4_000.0) is not None) is bursts


def test_newcomers_used_only_once_unlearn_that_bursts_are_the_rule() -> None:
    """The learned number follows the traffic."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=6_000.0) for _ in range(500)])
    make_bursts_the_rule(policy, now=30.0)
    for now in range(40, 240):
        admit_when_full(policy, make_node(last_used=float(now)), now=float(now))
    assert admit_when_full(policy, make_node(last_used=250.0, nbytes=300 * UNIT), now=250.0) is None


@pytest.mark.parametrize("count", [FULL_SCAN // 2, FULL_SCAN * 8])
def test_shedding_gives_the_bytes_asked_for_and_no_node_more(count: int) -> None:
    """Victims are worth what is needed, and the last of them was needed."""
    policy = Policy()
    fill(policy, [make_node(last_used=float(i), gap=900.0, nbytes=50 + i % 100) for i in range(count)])
    victims = policy.shed(3_000, now=5_000.0)
    worth = sum(node.nbytes for node in victims)
    assert worth >= 3_000 > worth - victims[-1].nbytes
    assert len(policy) == count - len(victims)
    policy.check_invariants()


def test_shedding_more_than_there_is_empties_the_policy() -> None:
    """All nodes, those on probation as well, and then it ends."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=60.0) for _ in range(50)])
    admit_when_full(policy, make_node(last_used=30.0), now=30.0)
    assert len(policy.shed(10**9, now=40.0)) == 50
    assert len(policy) == 0


def test_shedding_takes_the_worst_first() -> None:
    """The order of victims is the order of eviction_score."""
    policy = Policy()
    nodes = [make_node(last_used=float(mark), gap=100.0) for mark in (10, 40, 20, 30)]
    fill(policy, nodes)
    assert [node.history.burst_start for node in policy.shed(10**9, now=50.0)] == [40.0, 30.0, 20.0, 10.0]


def test_clearing_takes_out_everything() -> None:
    """No node is held afterwards, and nodes may come back."""
    policy = Policy()
    nodes = [make_node(gap=60.0) for _ in range(5)]
    fill(policy, nodes)
    policy.clear()
    assert len(policy) == 0
    assert {node.index for node in nodes} == {-1}
    policy.check_invariants()
    fill(policy, nodes)
    assert len(policy) == 5


def test_the_next_victim_is_the_worst_and_stays() -> None:
    """The gauge peeks, it does not evict."""
    policy = Policy()
    assert policy.next_victim(0.0) is None
    worst = make_node(last_used=100.0, gap=90.0)
    fill(policy, [make_node(last_used=50.0, gap=60.0), worst, make_node(last_used=55.0, gap=60.0)])
    assert policy.next_victim(100.0) is worst
    assert len(policy) == 3


def _looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many nodes are scored together, call by call."""
    numbers: list[int] = []

    def score(nodes: Iterable[Node], now: float, spared: float) -> list[float]:
        many = list(nodes)
        numbers.append(len(many))
        return eviction_scores(many, now, spared)

    monkeypatch.setattr(ranking_module, "eviction_scores", score)
    return numbers


def test_between_two_rankings_only_the_worst_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven times in eight; the victims are those that a ranking would have found."""
    policy = Policy()
    fill(policy, [make_node(last_used=float(i), gap=900.0) for i in range(200)])
    numbers = _looked_at(monkeypatch)
    victims = [policy.shed(1, now=300.0)[0].history.burst_start for _ in range(16)]
    assert victims == [float(mark) for mark in range(199, 183, -1)]
    assert numbers[0] == 200
    assert all(number <= RANKED for number in numbers[1:8])
    assert numbers[8] == 192


def test_who_came_since_the_last_ranking_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resident just used is, in a sweep, the one needed last."""
    policy = Policy()
    fill(policy, [make_node(last_used=float(i), gap=900.0) for i in range(200)])
    policy.shed(1, now=300.0)
    newcomer = make_node(last_used=300.0, gap=5_000.0)
    fill(policy, [newcomer], now=300.0)
    numbers = _looked_at(monkeypatch)
    assert policy.shed(1, now=301.0) == [newcomer]
    assert numbers == [RANKED]  # one of them has left


def test_a_ranking_is_made_again_when_the_worst_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large need scores all nodes."""
    policy = Policy()
    fill(policy, [make_node(last_used=float(i), gap=900.0) for i in range(200)])
    policy.shed(1, now=300.0)
    numbers = _looked_at(monkeypatch)
    policy.shed(RANKED * UNIT, now=300.0)
    assert numbers[0] == 199


def _swept(count: int) -> Policy:
    """A policy that has just turned a newcomer away: all residents are due in 10 s, and would wait 60 s if used."""
    policy = Policy()
    fill(policy, [make_node(last_used=50.0, gap=60.0) for _ in range(count)])
    assert admit_when_full(policy, make_node(last_used=100.0, gap=60.0, cost_density=2.0), now=100.0) is None
    return policy


@pytest.mark.parametrize("count", [FULL_SCAN // 2, FULL_SCAN * 2])
def test_newcomers_worse_than_any_resident_are_turned_away_without_a_ranking(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sweep most are: the next seven cost nothing, for the eighth the residents are looked at again."""
    policy = _swept(count)
    numbers = _looked_at(monkeypatch)
    worse = [make_node(last_used=100.0, gap=60.0, cost_density=2.0) for _ in range(8)]
    assert [admit_when_full(policy, node, now=100.0) for node in worse[:7]] == [None] * 7
    assert numbers == []
    assert admit_when_full(policy, worse[7], now=100.0) is None
    assert numbers


def test_a_newcomer_that_may_win_is_judged_by_a_ranking() -> None:
    """That others have been turned away does not turn it away."""
    policy = _swept(FULL_SCAN * 2)
    victims = admit_when_full(policy, make_node(last_used=100.0, gap=20.0), now=100.0)
    assert victims is not None
    assert len(victims) == 1


def test_a_ranking_soon_says_nothing_of_who_is_turned_away() -> None:
    """Residents that are overdue by now were not when they were ranked."""
    policy = _swept(FULL_SCAN * 2)
    assert admit_when_full(policy, make_node(last_used=400.0, gap=60.0, cost_density=2.0), now=400.0)


def test_residents_used_since_the_ranking_may_lose_to_a_newcomer() -> None:
    """Just used, they are needed later than they were when they were ranked."""
    policy = _swept(FULL_SCAN // 2)
    for resident in policy:
        resident.history.burst_start = 100.0
    assert admit_when_full(policy, make_node(last_used=100.0, gap=45.0), now=100.0)


def test_where_bursts_are_the_rule_no_newcomer_is_rejected_without_a_ranking() -> None:
    """A rejected value would come back at once, so it may go on probation."""
    policy = _swept(FULL_SCAN * 2)
    make_bursts_the_rule(policy, now=100.0)
    newcomer = make_node(last_used=100.0, gap=60.0, cost_density=2.0)
    assert admit_when_full(policy, newcomer, now=100.0)
    assert newcomer.on_probation


def test_a_newcomer_passed_through_leaves_no_trace() -> None:
    """Seats that were not let in are not held, not even by the pool of candidates."""
    policy = Policy()
    fill(policy, [make_node(last_used=50.0, gap=60.0) for _ in range(FULL_SCAN * 2)])
    newcomer = make_node(last_used=100.0, gap=60.0)
    assert admit_when_full(policy, newcomer, now=100.0) is None
    assert newcomer.index == -1
    assert newcomer not in policy._ranking._pool


def test_a_victim_is_not_kept_alive_by_the_pool() -> None:
    """Victims are dropped at once: their memory must come back."""
    policy = Policy()
    fill(policy, [make_node(last_used=float(i), gap=5_000.0) for i in range(FULL_SCAN * 2)])
    victims = policy.shed(10 * UNIT, now=2_000.0)
    assert policy._ranking._pool
    assert not set(victims) & set(policy._ranking._pool)
    assert not set(victims) & set(policy)


def test_the_sample_finds_the_worst_of_many_within_one_round_of_the_hand() -> None:
    """With more nodes than are looked at per choice, none escapes for longer than a round."""
    policy = Policy()
    nodes = [make_node(last_used=0.0, gap=60.0) for _ in range(FULL_SCAN * 8)]
    worst = nodes[len(nodes) * 3 // 4]
    worst.history.gap = 6_000.0
    fill(policy, nodes)
    rounds = [policy.shed(1, now=30.0) for _ in range(len(nodes) // SLICE)]
    assert [worst] in rounds


def test_a_newcomer_among_many_is_a_candidate_at_once() -> None:
    """In a sweep the latest candidate is needed last; waiting for the hand would waste its bytes."""
    policy = Policy()
    fill(policy, [make_node(last_used=0.0, gap=60.0) for _ in range(FULL_SCAN * 8)])
    policy.shed(1, now=30.0)
    newcomer = make_node(last_used=30.0, gap=6_000.0)
    fill(policy, [newcomer], now=30.0)
    assert policy.shed(1, now=30.0) == [newcomer]


def test_filling_a_large_cache_keeps_the_pool_small() -> None:
    """Newcomers that need no room are never looked at, so they must not pile up as candidates."""
    policy = Policy()
    fill(policy, [make_node(gap=60.0) for _ in range(FULL_SCAN * 8)])
    assert len(policy._ranking._pool) <= 2 * POOL
    policy.check_invariants()


def test_the_same_requests_choose_the_same_victims() -> None:
    """Nothing is left to chance."""
    assert _random_walk(seed=4, steps=2_000) == _random_walk(seed=4, steps=2_000)


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_keeps_the_budget_and_the_books(seed: int) -> None:
    """Admissions, departures and shedding in any order leave totals and indexes right."""
    assert _random_walk(seed, steps=3_000)


def _random_walk(seed: int, steps: int) -> list[int]:
    """Drive a policy at random, check it at every step, and return the bytes of the victims."""
    rng = random.Random(seed)
    policy, used, now = Policy(), 0, 0.0
    left: list[int] = []
    for step in range(steps):
        now += rng.expovariate(2.0)
        budget = rng.choice([40_000, 60_000, 60_000])
        held = list(policy) if rng.random() < 0.5 else []
        if held and rng.random() < 0.1:
            node = rng.choice(held)
            policy.leave(node)
            used -= node.nbytes
        elif held and rng.random() < 0.1:
            node, nbytes = rng.choice(held), rng.randrange(1, 300)
            used += nbytes - node.nbytes
            policy.reweigh(node, nbytes)
            used -= sum(node.nbytes for node in policy.shed(used - budget, now))
        elif rng.random() < 0.003:
            gone = policy.shed(rng.randrange(20_000), now)
            used -= sum(node.nbytes for node in gone)
        else:
            for node in rng.sample(held, min(3, len(held))):
                node.history.touch(now)
            newcomer = make_node(now, rng.choice([0.0, 5.0, 50.0]), rng.randrange(1, 300), rng.random())
            newcomer.history.last_filled = rng.choice([-inf, now - 1.0])
            before = list(policy)
            victims = policy.admit(newcomer, used=used, budget=budget, now=now)
            if victims is None:
                assert set(before) == set(policy)
            else:
                used += newcomer.nbytes - sum(node.nbytes for node in victims)
                assert used <= budget
                assert newcomer not in victims
                left.extend(node.nbytes for node in victims)
        assert used == sum(node.nbytes for node in policy)
        if step % 20 == 0:
            policy.check_invariants()
    assert len(left) > 100
    return left


def test_nodes_without_cost_or_bytes_can_be_shed() -> None:
    """A sizer of the user's may say 0."""
    policy = Policy()
    fill(policy, [make_node(nbytes=0, cost_density=0.0) for _ in range(3)])
    assert len(policy.shed(1, now=10.0)) == 3
