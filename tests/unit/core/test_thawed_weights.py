"""The charge of thawed copies: their own weight, which differs from that of the loaded values."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dagcache.core.cache import DagCache
from dagcache.core.store import Store
from dagcache.errors import ThawError
from dagcache.freezing.pickle_freezer import Frozen, PickleFreezer
from dagcache.sizing.walk import weigh
from tests.support import probe
from tests.support.caches import KIB, MIB, Weighted, demote_all, make_cache

TRAINING, TRAINING_OF_THAWED = 30, 64


class Swelling:
    """Thawed, it takes about twice the room."""

    def __init__(self, items: list[str]) -> None:
        self.items = items

    def __reduce__(self) -> tuple[Any, ...]:
        return _swollen, (tuple(self.items),)


def _swollen(items: tuple[str, ...]) -> Swelling:
    return Swelling([*items, *(f"{item}!" for item in items)])


def small(count: int = 100) -> Swelling:
    """As it is loaded."""
    return Swelling([str(number) for number in range(10_000, 10_000 + count)])


def swollen(count: int, **settings: Any) -> DagCache[Any, Any]:
    """A cache of so many values of different weights, all of which were loaded, demoted and thawed."""
    cache, _ = make_cache(sizer=None, **settings)
    probe.time_walks(cache, lambda: 0.0)  # a busy machine would afford fewer of them
    sizes = random.Random(5)
    for key in range(count):
        cache.get_or_load(key, lambda _: small(sizes.randrange(50, 500)))
    demote_all(cache)
    for key in range(count):
        cache.get(key)
    cache.check_invariants()
    return cache


def truth(cache: DagCache[Any, Any]) -> int:
    """The weight of the live copies."""
    return sum(weigh(value).nbytes for value in probe.live_values(cache).values())


def test_a_thawed_copy_is_charged_what_it_weighs() -> None:
    """Each of the first is walked. The loaded value weighed half as much."""
    cache, _ = make_cache(sizer=None)
    cache.get_or_load("key", lambda _: small())
    loaded = cache.stats().live_bytes
    demote_all(cache)
    thawed = cache.get("key")
    assert cache.stats().live_bytes == weigh(thawed).nbytes > 1.5 * loaded
    assert cache.entries()[0].live_bytes == cache.stats().live_bytes
    cache.check_invariants()


def test_loaded_and_thawed_copies_each_have_a_model() -> None:
    """After training, estimates of either kind are right in total, and few copies are walked."""
    cache = swollen(300)
    assert cache.stats().live_entries == 300
    assert cache.stats().live_bytes == pytest.approx(truth(cache), rel=0.02)
    models = probe.weight_models(cache)
    for sizer, training in zip(models, (TRAINING, TRAINING_OF_THAWED), strict=True):
        assert training <= sizer.walks < 100
        assert sizer.walks + sizer.estimates == 300
    assert cache.stats().sizing_seconds == pytest.approx(sum(sizer.seconds_total for sizer in models))


def test_a_copy_that_was_walked_once_is_never_walked_again_when_it_is_thawed() -> None:
    """The frozen bytes do not change, and neither does what they thaw to."""
    cache = swollen(TRAINING_OF_THAWED)
    assert probe.weight_models(cache)[1].walks == TRAINING_OF_THAWED
    weights = {info.key: info.live_bytes for info in cache.entries()}
    for _ in range(3):
        demote_all(cache)
        for key in range(TRAINING_OF_THAWED):
            cache.get(key)
        assert {info.key: info.live_bytes for info in cache.entries()} == weights
    assert probe.weight_models(cache)[1].walks == TRAINING_OF_THAWED
    cache.check_invariants()


def test_one_thaw_in_eight_is_estimated_again() -> None:
    """By a model that knows more by then; each time would cost a small value's thaw a tenth."""
    cache = swollen(300)
    sizer = probe.weight_models(cache)[1]
    before = sizer.estimates + sizer.walks
    for _ in range(4):
        demote_all(cache)
        for key in range(300):
            cache.get(key)
    assert 75 < sizer.estimates + sizer.walks - before < 225
    assert cache.stats().live_bytes == pytest.approx(truth(cache), rel=0.02)
    cache.check_invariants()


def test_a_copy_that_is_loaded_again_is_charged_as_loaded() -> None:
    """Its entry is a new one."""
    cache, _ = make_cache(sizer=None)
    for _ in range(2):
        cache.get_or_load("key", lambda _: small())
        loaded = probe.live_values(cache)["key"]
        assert cache.stats().live_bytes == weigh(loaded).nbytes
        demote_all(cache)
        cache.get("key")
        cache.invalidate("key")
    cache.check_invariants()


def test_an_observer_of_a_frozen_entry_sees_no_live_bytes() -> None:
    cache = swollen(2)
    demote_all(cache)
    assert [info.live_bytes for info in cache.entries()] == [0, 0]
    assert cache.stats().live_bytes == 0


def test_a_sizer_of_the_callers_own_is_not_asked_about_a_thaw() -> None:
    """It may take as long as it likes; the copy counts as the loaded value did."""
    asked = []

    def sizer(value: Weighted) -> int:
        asked.append(value.nbytes)
        return value.nbytes

    cache, _ = make_cache(sizer=sizer)
    cache["key"] = Weighted("key", 100 * KIB)
    demote_all(cache)
    cache.get("key")
    assert len(asked) == 1
    assert cache.stats().live_bytes == 100 * KIB
    cache.check_invariants()


class Silent:
    """A freezer without features of its frozen bytes."""

    def __init__(self) -> None:
        self._freezer = PickleFreezer()

    def freeze(self, value: object) -> Frozen:
        """As the real one."""
        return Frozen(self._freezer.freeze(value).data, ())

    def thaw(self, data: bytes) -> object:
        """As the real one."""
        return self._freezer.thaw(data)


def test_a_freezer_need_not_tell_anything_of_its_bytes() -> None:
    """Their length and the loaded value's weight say enough."""
    cache = swollen(200, freezer=Silent())
    assert cache.stats().live_bytes == pytest.approx(truth(cache), rel=0.02)
    assert probe.weight_models(cache)[1].estimates > 100


class Misleading(Silent):
    """One that fails to give the features of its bytes."""

    def features(self, data: bytes) -> tuple[float, ...]:
        """Never."""
        raise ThawError("no features")


def test_a_thawed_copy_that_cannot_be_weighed_is_served_and_counts_as_loaded() -> None:
    """Nothing of ours stops a lookup."""
    cache, _ = make_cache(sizer=None, freezer=Misleading())
    cache.get_or_load("key", lambda _: small())
    loaded = cache.stats().live_bytes
    demote_all(cache)
    assert isinstance(cache.get("key"), Swelling)
    assert cache.stats().live_bytes == loaded
    cache.check_invariants()


@pytest.mark.parametrize("value", [[], [[] for _ in range(1000)], {"a": 1}, "x" * MIB, tuple(map(float, range(5000)))])
def test_frozen_bytes_tell_the_features_that_freezing_told(value: object) -> None:
    """So no entry needs to remember them."""
    freezer = PickleFreezer()
    frozen = freezer.freeze(value)
    assert freezer.features(frozen.data) == frozen.features
    assert frozen.features[0] > 0


class Hidden:
    """Its bulk is not in its pickle, whose length says nothing of the weight."""

    def __init__(self, kibibytes: int) -> None:
        self.kibibytes = kibibytes
        self.bulk = bytes(kibibytes * KIB)

    def __getstate__(self) -> int:
        return self.kibibytes

    def __setstate__(self, kibibytes: int) -> None:
        Hidden.__init__(self, kibibytes)


def test_a_pickle_that_hides_its_bulk_does_not_break_the_budget() -> None:
    """The walks refute the model, and each loaded value is walked from then on."""
    cache, _ = make_cache(sizer=None, max_bytes=20 * MIB)
    sizes = random.Random(3)
    for key in range(300):
        cache.get_or_load(key, lambda _: Hidden(sizes.choice((1, 1, 900))))
        cache.check_invariants()
    for key in range(300):
        cache.get(key)
    cache.check_invariants()
    assert truth(cache) <= 1.1 * cache.stats().live_bytes
    assert truth(cache) <= 20 * MIB


def test_no_weight_is_estimated_if_the_pickles_hid_the_bulk_from_the_first_value_on() -> None:
    """The walks of the training show it, so the published error has nothing to show."""
    cache, _ = make_cache(sizer=None, max_bytes=20 * MIB)
    sizes = random.Random(3)
    for key in range(300):
        cache.get_or_load(key, lambda _: Hidden(sizes.choice((1, 1, 900))))
    loaded, _ = probe.weight_models(cache)
    assert (loaded.walks, loaded.estimates) == (300, 0)
    assert cache.stats().live_bytes == truth(cache)
    assert abs(cache.stats().sizing_error_ratio) < 0.1


def begin_to_hide(key: int) -> Hidden:
    """All values are alike until a model is trained; then every third is heavy."""
    return Hidden(900 if key > 60 and key % 3 == 0 else 8)


def test_the_published_error_shows_that_pickles_have_begun_to_hide_their_bulk() -> None:
    """By more than the 10 per cent that raise an alert, from the first check of a heavy value on."""
    cache, _ = make_cache(sizer=None, max_bytes=20 * MIB)
    probe.time_walks(cache, lambda: 0.0)
    published = []
    for key in range(200):
        cache.get_or_load(key, begin_to_hide)
        published.append(cache.stats().sizing_error_ratio)
    assert published[60] == pytest.approx(0.0, abs=0.001)
    assert min(published) < -0.1


def test_once_a_check_has_shown_hidden_bulk_each_value_is_walked() -> None:
    """So its weight is exact, although the published error falls again while the walks teach the model."""
    cache, _ = make_cache(sizer=None, max_bytes=20 * MIB)
    probe.time_walks(cache, lambda: 0.0)
    keys = iter(range(300))
    while cache.stats().sizing_error_ratio > -0.1:
        cache.get_or_load(next(keys), begin_to_hide)
    loaded, _ = probe.weight_models(cache)
    estimates, walks = loaded.estimates, loaded.walks
    for _ in range(100):
        cache.clear()
        value = cache.get_or_load(next(keys), begin_to_hide)
        assert cache.stats().live_bytes == weigh(value).nbytes
    assert (loaded.estimates, loaded.walks) == (estimates, walks + 100)


def test_weights_that_a_refuted_model_has_predicted_are_corrected_in_use() -> None:
    """Those that it took for light ones are weighed again at their next noted hit."""
    cache, clock = make_cache(sizer=None, max_bytes=20 * MIB)
    probe.time_walks(cache, lambda: 0.0)
    for key in range(300):
        cache.get_or_load(key, begin_to_hide)
    assert truth(cache) > 1.5 * cache.stats().live_bytes, "no weight was wrong: the test shows nothing"
    for _ in range(3):  # each hit may weigh one value, and a busy machine affords fewer
        clock.advance(60)
        for key in range(300):
            cache.get(key)
        cache.check_invariants()
    assert truth(cache) <= 1.1 * cache.stats().live_bytes
    assert truth(cache) <= 20 * MIB


def test_a_failure_to_give_estimates_up_costs_no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as an internal error."""

    def fail(_: Store) -> None:
        raise RuntimeError

    cache, clock = make_cache(sizer=None, max_bytes=20 * MIB)
    probe.time_walks(cache, lambda: 0.0)
    monkeypatch.setattr(Store, "distrust_estimates", fail)
    for key in range(300):
        assert isinstance(cache.get_or_load(key, begin_to_hide), Hidden)
    clock.advance(60)
    assert all(isinstance(cache.get(key), Hidden) for key in probe.live_values(cache))
    assert cache.stats().internal_errors == 1
    cache.check_invariants()


class SwellingMore:
    """Thawed, it takes more room, and from some key on much more, without a sign in its pickle."""

    def __init__(self, items: list[str], copies: int) -> None:
        self.items = items
        self.copies = copies
        self.more: list[str] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _swollen_more, (tuple(self.items), self.copies)


def _swollen_more(items: tuple[str, ...], copies: int) -> SwellingMore:
    value = SwellingMore([f"{item}!" for item in items], copies)
    value.more = [f"{item:>60}" for item in items * copies]
    return value


def test_thaws_are_not_charged_what_a_refuted_model_has_estimated() -> None:
    """An entry keeps the weight of its thawed copies, which most thaws are charged without another estimate."""
    cache, clock = make_cache(sizer=None)
    probe.time_walks(cache, lambda: 0.0)
    sizes = random.Random(3)
    for key in range(600):
        items = [str(number) for number in range(10_000, 10_000 + sizes.randrange(50, 500))]
        cache.get_or_load(key, lambda key, items=items: SwellingMore(items, 6 if key >= 150 else 1))  # type: ignore[misc]
    demote_all(cache)
    for key in range(600):
        cache.get(key)
    assert cache.stats().live_bytes < 0.95 * truth(cache), "no weight was wrong: the test shows nothing"
    clock.advance(60)
    for _ in range(2):
        for key in range(600):
            cache.get(key)
        demote_all(cache)
    for key in range(600):
        cache.get(key)
    assert truth(cache) <= 1.02 * cache.stats().live_bytes
    cache.resize(20 * MIB)
    for _ in range(2):
        for key in range(600):
            cache.get(key)
    assert truth(cache) <= 20 * MIB
    cache.check_invariants()
