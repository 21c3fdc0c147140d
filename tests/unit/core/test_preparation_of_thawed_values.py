"""A value that did not thaw is not frozen again."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from dagcache.core.preparation import Preparer
from dagcache.errors import FreezeError, ThawError
from dagcache.freezing.pickle_freezer import Frozen, PickleFreezer
from tests.support.caches import make_cache

SIZE = 10_000


class Brittle:
    """Is frozen without an error, and thawed with one whenever ``trouble`` is set."""

    trouble = False

    def __init__(self) -> None:
        self.content = "x" * SIZE

    def __setstate__(self, state: dict[str, Any]) -> None:
        if Brittle.trouble:
            raise KeyError("".join(("se", "cret of a value")))  # a traceback shows this line
        self.__dict__.update(state)


@pytest.fixture(autouse=True)
def _no_trouble() -> Any:
    yield
    Brittle.trouble = False


def frozen_only(count: int) -> Any:
    """A cache in which that many values are frozen and none is live."""
    cache, _ = make_cache(max_bytes="10MiB", sizer=lambda value: SIZE, freezer=PickleFreezer())
    for key in range(count):
        cache[key] = Brittle()
    stats = cache.stats()
    cache.resize(stats.frozen_bytes + stats.overhead_bytes + 1)
    assert cache.stats().live_entries == 0
    cache.resize("10MiB")
    return cache


def test_a_version_that_failed_to_thaw_is_loaded_once_more_and_then_stays_live() -> None:
    """Otherwise it would be loaded, frozen and fail again forever."""
    cache = frozen_only(1)
    Brittle.trouble = True
    loads: list[int] = []

    def load(key: int) -> Brittle:
        loads.append(key)
        return Brittle()

    for _ in range(3):
        cache.get_or_load(0, load)
        cache.resize(SIZE + 5_000)
        cache.check_invariants()
    assert loads == [0]
    stats = cache.stats()
    assert (stats.thaw_failures, stats.unfrozen, stats.live_entries, stats.frozen_entries) == (1, 1, 1, 0)


def test_a_version_that_failed_while_it_was_popped_stays_live_as_well() -> None:
    """Popping thaws."""
    cache = frozen_only(1)
    Brittle.trouble = True
    assert cache.pop(0, None) is None
    cache[0] = Brittle()
    assert cache.stats().frozen_entries == 0
    cache.check_invariants()


def test_other_versions_are_frozen_as_before() -> None:
    """One failure says nothing of another value."""
    cache = frozen_only(1)
    Brittle.trouble = True
    cache.get_or_load(0, lambda _: Brittle())
    Brittle.trouble = False
    cache[1] = Brittle()
    assert cache.stats().frozen_entries == 1
    cache.check_invariants()


def test_it_is_said_once_and_without_what_the_value_holds(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred versions may fail for one reason."""
    cache = frozen_only(5)
    caplog.clear()
    Brittle.trouble = True
    with caplog.at_level(logging.INFO, logger="dagcache"):
        for key in range(5):
            cache.get_or_load(key, lambda _: Brittle())
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text
    assert cache.stats().thaw_failures == 5
    cache.check_invariants()


class Damaging:
    """A freezer of which some bytes are damaged, or which fails in a way of its own."""

    def __init__(self, error: Exception | None) -> None:
        self._whole = PickleFreezer()
        self.error = error

    def freeze(self, value: object) -> Frozen:
        """As the real one."""
        return self._whole.freeze(value)

    def thaw(self, data: bytes) -> object:
        """Damaged bytes, or the error."""
        if self.error is not None:
            raise self.error
        return self._whole.thaw(data[:-1])


@pytest.mark.parametrize(("error", "frozen"), [(None, 1), (ThawError("damaged"), 1), (ValueError("a fault"), 0)])
def test_damaged_bytes_are_no_fault_of_the_value(error: Exception | None, frozen: int) -> None:
    """It is frozen again. An error of a user's own freezer counts as the value's fault."""
    cache, _ = make_cache(max_bytes="10MiB", sizer=lambda value: SIZE, freezer=Damaging(error))
    cache[0] = Brittle()
    stats = cache.stats()
    cache.resize(stats.frozen_bytes + stats.overhead_bytes + 1)
    cache.resize("10MiB")
    cache.get_or_load(0, lambda _: Brittle())
    assert cache.stats().frozen_entries == frozen
    cache.check_invariants()


class Refusing:
    """A freezer that names the class at fault."""

    def freeze(self, value: object) -> Frozen:
        """Blames the value's class."""
        raise FreezeError("secret", type(value))

    def thaw(self, data: bytes) -> object:
        """Nothing to thaw."""
        raise AssertionError


def test_a_class_without_a_frozen_form_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """At a level that is seen; and never what the error says."""
    preparer = Preparer(freezer=Refusing(), sizer=lambda _: SIZE)
    with caplog.at_level(logging.INFO, logger="dagcache"):
        for number in range(3):
            preparer._freeze(number, Brittle())
            preparer._freeze(number, [])
    assert preparer.unfrozen == 6
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.INFO]
    assert f"{__name__}.Brittle" in caplog.text
    assert "secret" not in caplog.text


def test_a_class_with_another_cause_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    """A value that is nested too deeply does not hide that others of its class have a lock."""
    preparer = Preparer(freezer=PickleFreezer(), sizer=lambda _: SIZE)
    deep: list[object] = []
    for _ in range(200_000):
        deep = [deep]
    with caplog.at_level(logging.INFO, logger="dagcache"):
        for number in range(2):
            preparer._freeze(number, deep)
            preparer._freeze(number, [threading.Lock()])
    assert [record.getMessage().partition("because of ")[2] for record in caplog.records] == [
        "a builtins.list (RecursionError): such values are kept live only",
        "a builtins.list (TypeError): such values are kept live only",
    ]


def test_only_so_many_failures_are_remembered() -> None:
    """The oldest are forgotten: the memory of them is bounded."""
    preparer = Preparer(freezer=PickleFreezer(), sizer=lambda _: SIZE)
    for number in range(10_001):
        preparer.thaw_failed(number, ValueError())
    assert preparer._freeze(0, "forgotten") is not None
    assert preparer._freeze(1, "remembered") is None
