"""Learned weights: the conditions of their use, the walks instead, and the cost of these."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dagcache.sizing.estimate import LearnedSizer, Sized
from dagcache.sizing.walk import Weight, weigh

Row = tuple[float, ...]
TRAINING = 30


class Clock:
    """A timer that only the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time, seconds."""
        return self.now


def true_weight(row: Sequence[float]) -> int:
    """The law that the fake graphs follow."""
    return int(1000 + 40 * row[0] + 7 * sum(row[1:]))


class Bench:
    """A sizer with walks that follow a law and take a second each; the values are rows of features."""

    def __init__(
        self, law: Callable[[Row], float] = true_weight, *, complete: bool = True, headroom: float = 1.0
    ) -> None:
        self.clock = Clock()
        self.law = law
        self.complete = complete
        self.walk_seconds = 1.0
        self.random = random.Random(4)
        self.sizer = LearnedSizer(walk=self.walk, headroom=headroom, timer=self.clock)

    def walk(self, value: object) -> Weight:
        """The fake of an exact walk."""
        assert isinstance(value, tuple)
        assert not self.sizer._lock.entered(), "a walk under the lock stops all other threads"
        self.clock.now += self.walk_seconds
        return Weight(int(self.law(value)), 1, self.complete)

    def row(self) -> Row:
        """Features in the usual range."""
        return (float(self.random.randrange(100, 1000)), float(self.random.randrange(100, 1000)))

    def size(self, row: Row, *, load_seconds: float = 0.0, budget: int = 0) -> Sized:
        """Weigh one."""
        return self.sizer.size(row, row, load_seconds=load_seconds, budget=budget)

    def train(self, walks: int = TRAINING) -> None:
        """Weigh as many as it takes; both ends of the range among them."""
        for row in [(100.0, 100.0), (1000.0, 1000.0), (100.0, 1000.0), (1000.0, 100.0)]:
            assert self.size(row).exact
        for _ in range(walks - 4):
            assert self.size(self.row()).exact


@pytest.fixture
def bench() -> Bench:
    """A trained sizer."""
    bench = Bench()
    bench.train()
    return bench


def test_the_first_thirty_values_are_walked() -> None:
    """Then the model takes over."""
    bench = Bench()
    bench.train()
    assert (bench.sizer.walks, bench.sizer.estimates) == (30, 0)
    assert not bench.size(bench.row()).exact
    assert (bench.sizer.walks, bench.sizer.estimates) == (30, 1)


def test_a_linear_law_is_found_exactly(bench: Bench) -> None:
    """Least squares has no error without noise."""
    for _ in range(20):
        row = bench.row()
        sized = bench.size(row)
        assert sized.nbytes == pytest.approx(true_weight(row), rel=1e-3)
    assert bench.sizer.estimates > 15


def test_noise_averages_out() -> None:
    """With 10 per cent of noise per value the total is within 3."""
    noise = random.Random(1)
    bench = Bench(lambda row: true_weight(row) * noise.uniform(0.9, 1.1))
    bench.train()
    rows = [bench.row() for _ in range(500)]
    total = sum(bench.size(row).nbytes for row in rows)
    assert bench.sizer.estimates > 450
    assert total == pytest.approx(sum(map(true_weight, rows)), rel=0.03)


def test_features_that_say_the_same_thing_do_no_harm() -> None:
    """A pickle's length and its count of objects are nearly proportional."""
    bench = Bench(lambda row: 50 * row[0])
    for number in range(TRAINING):
        size = 100.0 + number
        bench.size((size, 2 * size, 3 * size))
    sized = bench.size((110.0, 220.0, 330.0))
    assert not sized.exact
    assert sized.nbytes == pytest.approx(5500, rel=0.01)


def test_without_features_every_value_is_walked() -> None:
    """There is nothing to learn from."""
    sizer = LearnedSizer(timer=Clock())
    value = ["some text"] * 3
    for _ in range(50):
        assert sizer.size(value, ()) == Sized(weigh(value).nbytes, exact=True, seconds=0.0)
    assert (sizer.walks, sizer.estimates) == (50, 0)


def test_about_one_call_in_thirty_two_is_walked(bench: Bench) -> None:
    """So that drift is seen."""
    exact = [bench.size(bench.row()).exact for _ in range(3200)]
    assert sum(exact) == pytest.approx(100, rel=0.3)


def test_the_walks_that_check_a_model_follow_no_rhythm(bench: Bench) -> None:
    """A sweep that loads the same values in the same order must not have the same ones checked each time."""
    walked = [number for number in range(3200) if bench.size(bench.row()).exact]
    distances = {later - earlier for earlier, later in pairwise(walked)}
    assert min(distances) < 16
    assert max(distances) > 48
    assert len(distances) > 20


@pytest.mark.parametrize("row", [(5000.0, 500.0), (500.0, 20.0), (2100.0, 2100.0), (70.0, 70.0), (80.0, 1200.0)])
def test_unfamiliar_features_are_walked(bench: Bench, row: Row) -> None:
    """Outside of the range of one of them, or of their proportion."""
    assert bench.size(row).exact


@pytest.mark.parametrize("row", [(1100.0, 1100.0), (80.0, 80.0), (1200.0, 500.0), (1900.0, 1900.0)])
def test_a_quarter_below_the_range_and_twice_the_largest_are_still_familiar(bench: Bench, row: Row) -> None:
    """Else the largest of many would always be walked."""
    assert not bench.size(row).exact


def test_what_was_unfamiliar_is_familiar_once_seen(bench: Bench) -> None:
    """The walk has extended the range."""
    assert bench.size((3000.0, 3000.0)).exact
    assert not bench.size((3000.0, 3000.0)).exact


def test_what_takes_more_than_two_per_cent_of_the_budget_is_walked(bench: Bench) -> None:
    """An error there is worth a walk."""
    row = (500.0, 500.0)
    assert not bench.size(row, budget=true_weight(row) * 51).exact
    assert bench.size(row, budget=true_weight(row) * 49).exact


def test_walks_are_held_to_a_share_of_the_time_that_loading_takes(bench: Bench) -> None:
    """A walk costs ten loads here, each value is over 2 % of the budget: few of a thousand are walked."""
    for _ in range(1000):
        bench.size(bench.row(), load_seconds=0.1, budget=1)
    spent = bench.sizer.seconds_total - TRAINING
    assert 1 <= spent <= 0.01 * 1000 * 0.1 + 1


def test_unfamiliar_values_may_run_up_a_debt_that_ends(bench: Bench) -> None:
    """The debt is a quarter of the cost of training; after that the model is used."""
    exact = [bench.size((3000.0 * 3**number, 500.0), load_seconds=1e-6).exact for number in range(20)]
    assert exact == [True] * 8 + [False] * 12


@pytest.mark.parametrize("seconds", [0.0, -5.0, math.nan, math.inf])
def test_strange_load_times_count_as_untold(bench: Bench, seconds: float) -> None:
    exact = [bench.size(bench.row(), load_seconds=seconds, budget=1).exact for _ in range(50)]
    assert all(exact)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e16, 10**400, "x", None])
def test_impossible_features_are_walked_and_never_learned(bench: Bench, bad: float) -> None:
    """One bad row must not spoil the model."""
    for _ in range(40):
        assert bench.sizer.size((500.0, 500.0), (bad, 500.0)).exact
    assert bench.size((500.0, 500.0)).nbytes == pytest.approx(true_weight((500.0, 500.0)), rel=1e-3)


def test_a_model_that_predicts_nothing_positive_is_not_believed() -> None:
    """A law that falls below zero at the edge of the familiar range."""
    bench = Bench(lambda row: max(1, 1000 - row[0]))
    for number in range(TRAINING):
        bench.size((float(number * 33),))
    assert bench.size((500.0,)).nbytes == pytest.approx(500, rel=0.2)
    assert bench.size((1190.0,)) == Sized(1, exact=True, seconds=1.0)


def test_drift_is_followed(bench: Bench) -> None:
    """After a change of all weights the model comes to agree with the walks again."""
    bench.law = lambda row: true_weight(row) * 1.5
    for _ in range(32 * 60):
        bench.size(bench.row())
    row = (500.0, 500.0)
    assert bench.size(row).nbytes == pytest.approx(1.5 * true_weight(row), rel=0.08)


def test_the_error_ratio_tells_the_sign_and_size_of_drift(bench: Bench) -> None:
    """Zero while the model is right; minus a third when weights have grown by a half."""
    assert bench.sizer.error_ratio == 0
    while not bench.size(bench.row()).exact:
        pass
    assert bench.sizer.error_ratio == pytest.approx(0, abs=1e-3)
    bench.law = lambda row: true_weight(row) * 1.5
    while not bench.size(bench.row()).exact:
        pass
    assert bench.sizer.error_ratio == pytest.approx((0 - 1 / 3) / 2, abs=0.01)


def test_each_number_of_features_has_a_model_of_its_own(bench: Bench) -> None:
    """A third feature starts a new model, and leaves the model of two alone."""
    assert bench.size((500.0, 500.0, 500.0)).exact
    assert not bench.size((500.0, 500.0)).exact


def test_the_number_of_models_is_bounded_and_the_latest_used_stay(bench: Bench) -> None:
    """Eight: a caller with another number each time must not fill the memory."""
    for count in range(3, 30):
        bench.size(tuple(500.0 for _ in range(count)))
        bench.size((500.0, 500.0))
    assert bench.sizer.estimates > 20
    assert len(bench.sizer._models) == 8


def test_a_walk_that_gave_up_is_a_lower_bound_and_teaches_nothing() -> None:
    """An untrained model has no better answer, and the answer is marked as inexact."""
    bench = Bench(complete=False)
    for _ in range(2 * TRAINING):
        row = bench.row()
        assert bench.size(row) == Sized(true_weight(row), exact=False, seconds=1.0)


def test_a_walk_that_gave_up_does_not_pull_an_estimate_down(bench: Bench) -> None:
    """The model may know better, even of an unfamiliar graph."""
    bench.complete = False
    bench.law = lambda row: 12
    sized = bench.size((4000.0, 4000.0))
    assert not sized.exact
    assert sized.nbytes == pytest.approx(true_weight((4000.0, 4000.0)), rel=0.01)


def test_headroom_multiplies_walks_and_estimates() -> None:
    """For graphs that grow after they were weighed."""
    plain, roomy = Bench(), Bench(headroom=1.25)
    for _ in range(TRAINING):
        row = plain.row()
        assert roomy.size(row).nbytes == math.ceil(plain.size(row).nbytes * 1.25)
    row = (500.0, 500.0)
    assert roomy.size(row).nbytes == pytest.approx(plain.size(row).nbytes * 1.25, abs=2)


@pytest.mark.parametrize("headroom", [0, -1, math.nan, math.inf])
def test_an_impossible_headroom_is_refused(headroom: float) -> None:
    """It is a factor."""
    with pytest.raises(ValueError, match="headroom"):
        LearnedSizer(headroom=headroom)


def test_the_lightest_value_is_one_byte() -> None:
    """A weight of zero would never be evicted for its size."""
    assert LearnedSizer().size(None, (1.0,)).nbytes == 1


def test_seconds_add_up(bench: Bench) -> None:
    """Each answer has its own cost, the sizer the sum."""
    assert bench.sizer.seconds_total == TRAINING
    sized = [bench.size(bench.row()) for _ in range(320)]
    assert sum(each.seconds for each in sized) == bench.sizer.walks - TRAINING > 0
    assert bench.sizer.seconds_total == bench.sizer.walks


def test_a_failing_walk_is_the_callers_to_handle_and_harms_nothing(bench: Bench) -> None:
    """The next call works."""

    def fail(row: Row) -> float:
        raise MemoryError

    bench.law = fail
    with pytest.raises(MemoryError):
        bench.size((9000.0, 9000.0))
    assert not bench.size((500.0, 500.0)).exact
    assert bench.sizer.walks == TRAINING


def test_eight_threads_lose_no_count() -> None:
    """Every call is a walk or an estimate."""
    bench = Bench()
    bench.sizer = LearnedSizer(walk=lambda value: Weight(500, 1, complete=True))
    rows = [bench.row() for _ in range(200)]
    threads = [threading.Thread(target=lambda: [bench.size(row) for row in rows]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.sizer.walks + bench.sizer.estimates == 1600
    assert bench.sizer.walks < 800


class Mixture:
    """Values; one in so many weighs a multiple of the prediction by its features."""

    def __init__(self, share: float, ratio: float, seed: int) -> None:
        self.clock = Clock()
        self.random = random.Random(seed)
        self.share, self.ratio = share, ratio
        self.sizer = LearnedSizer(walk=self.walk, timer=self.clock)

    def walk(self, value: object) -> Weight:
        """A fifth of a load."""
        assert isinstance(value, float)
        self.clock.now += 0.2
        return Weight(int(value), 1, complete=True)

    def error_of(self, values: int) -> float:
        """Of the total of some more values."""
        said = true = 0.0
        for _ in range(values):
            feature = self.random.uniform(100, 1000)
            heavy = self.random.random() < self.share
            nbytes = (1000 + 40 * feature) * self.random.uniform(0.95, 1.05) * (self.ratio if heavy else 1)
            said += self.sizer.size(nbytes, (feature, 2 * feature), load_seconds=1.0).nbytes
            true += nbytes
        return said / true - 1


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 0.9), st.floats(1.0, 1000.0), st.integers(0, 2**32))
@example(0.6875, 6.0, 136)  # the new model gives no positive weight for its first sample
def test_the_total_holds_whether_or_not_the_features_tell_the_weight(share: float, ratio: float, seed: int) -> None:
    """Estimated where they do, walked where they do not; once the checks have had time to see it."""
    mixture = Mixture(share, ratio, seed)
    mixture.error_of(2000)
    assert abs(mixture.error_of(3000)) < 0.1


def test_a_model_that_its_checks_refute_is_not_used(bench: Bench) -> None:
    """All weights have grown threefold: the first check shows it, and then everything is walked for a while."""
    bench.law = lambda row: true_weight(row) * 3
    while not bench.size((600.0, 600.0)).exact:
        pass
    rows = [bench.row() for _ in range(TRAINING)]
    exact = [Sized(3 * true_weight(row), exact=True, seconds=1.0) for row in rows]
    assert [bench.size(row, load_seconds=1e-6) for row in rows] == exact


def test_features_that_never_told_the_weight_are_found_out_in_training() -> None:
    """Not one estimate is made."""
    rng = random.Random(2)
    bench = Bench(lambda row: true_weight(row) * rng.choice([1, 1, 50]))
    assert all(bench.size(bench.row()).exact for _ in range(300))


def test_a_refuted_model_comes_back_when_it_agrees_again(bench: Bench) -> None:
    """Step by step: first every second value is walked."""
    bench.law = lambda row: true_weight(row) * 3
    for _ in range(400):
        bench.size(bench.row())
    assert sum(bench.size(bench.row()).exact for _ in range(100)) < 80
    for _ in range(3000):
        bench.size(bench.row())
    row = (500.0, 500.0)
    assert bench.size(row).nbytes == pytest.approx(3 * true_weight(row), rel=0.01)
    assert sum(bench.size(bench.row()).exact for _ in range(1000)) < 60


def test_each_refutation_counts_once(bench: Bench) -> None:
    """However many walks disagree before the model comes back."""
    assert bench.sizer.refutations == 0
    for number in (1, 2):
        bench.law = lambda row, factor=3**number: true_weight(row) * factor  # type: ignore[misc]
        while bench.sizer.refutations < number:
            bench.size(bench.row())
        for _ in range(20):
            bench.size(bench.row())
        assert bench.sizer.refutations == number
        for _ in range(5000):
            bench.size(bench.row())
        assert bench.sizer.refutations == number


def test_a_model_that_has_come_back_is_checked_at_any_cost(bench: Bench) -> None:
    """Loads that take no time earn no walk, and a model that was never refuted would not be checked."""
    bench.law = lambda row: true_weight(row) * 3
    while not bench.size((600.0, 600.0)).exact:
        pass
    while bench.size(bench.row()).exact:
        pass
    assert sum(bench.size(bench.row(), load_seconds=1e-6).exact for _ in range(100)) > 20


def test_each_refutation_makes_a_model_harder_to_believe() -> None:
    """A law that changes back and forth ends in walks."""
    bench = Bench()
    bench.train()
    factor = 1
    bench.law = lambda row: true_weight(row) * factor
    walked = []
    for turn in range(6):
        factor = 1 + 9 * (turn % 2 == 0)
        walked.append(sum(bench.size(bench.row()).exact for _ in range(1000)))
    assert walked[-1] > 900 > walked[0]


def sampling_sizer(sampled: int, whole: int) -> LearnedSizer:
    """Weighs by a sample that says so much of values that weigh so much."""
    return LearnedSizer(
        walk=lambda value: Weight(whole, 1, complete=True),
        sample=lambda value: Weight(sampled, 1, complete=True, sampled=True),
        timer=Clock(),
    )


def test_a_sample_is_taken_for_the_weight_and_is_not_exact() -> None:
    """Where nothing contradicts it."""
    assert sampling_sizer(5000, 5050).size(None, (7.0,), pickled_bytes=1000) == Sized(5000, exact=False, seconds=0.0)


def test_a_sample_that_is_too_light_for_the_pickle_is_followed_by_a_whole_walk() -> None:
    """One part of ten thousand may weigh more than all the others."""
    assert sampling_sizer(1900, 9000).size(None, (7.0,), pickled_bytes=1000) == Sized(9000, exact=True, seconds=0.0)


def test_a_sample_that_a_trained_model_contradicts_is_followed_by_a_whole_walk() -> None:
    """The model has seen how much such a pickle weighs."""
    sizer = sampling_sizer(1000, 1000)
    for number in range(TRAINING):
        sizer.size(None, (100.0 + number,))
    assert sizer.size(None, (900.0,)).nbytes == 1000
    sizer._sample = lambda value: Weight(500, 1, complete=True, sampled=True)
    assert sizer.size(None, (5000.0,)) == Sized(1000, exact=True, seconds=0.0)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.lists(st.floats(), max_size=3), st.integers(0, 2**62), st.floats(), st.integers(0, 2**40)),
        max_size=80,
    )
)
def test_any_history_gives_positive_whole_bytes(calls: list[tuple[list[float], int, float, int]]) -> None:
    sizer = LearnedSizer(walk=lambda nbytes: Weight(int(str(nbytes)), 1, complete=True))
    for features, nbytes, load_seconds, budget in calls:
        sized = sizer.size(nbytes, features, load_seconds=load_seconds, budget=budget)
        assert isinstance(sized.nbytes, int)
        assert sized.nbytes >= 1
    assert math.isfinite(sizer.error_ratio)
