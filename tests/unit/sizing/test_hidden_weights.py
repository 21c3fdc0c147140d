"""Weights that the collector does not show: numpy arrays, and the locals of suspended frames."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from dagcache.sizing.walk import weigh
from tests.support.accounts import bytes_per_copy

_BYTES = 200_000


@pytest.fixture(scope="module")
def numpy() -> Any:
    """The package; skips where it is not installed."""
    return pytest.importorskip("numpy")


def view(numpy: Any) -> Any:
    """Ten bytes that keep 200,000 alive."""
    return numpy.zeros(_BYTES, dtype=numpy.uint8)[10:20]


def views(numpy: Any) -> Any:
    """The base counts once."""
    base = numpy.zeros(_BYTES, dtype=numpy.uint8)
    return [base[:10], base[10:], base, base[5:][5:]]


def objects(numpy: Any) -> Any:
    """Elements of an object array."""
    return numpy.array([bytes(1000 + number) for number in range(300)], dtype=object).reshape(20, 15)


def view_of_objects(numpy: Any) -> Any:
    """Half of them, which keep the others alive."""
    return objects(numpy)[::2]


def nested(numpy: Any) -> Any:
    """An array in an object array."""
    outer = numpy.empty(3, dtype=object)
    outer[0], outer[1] = view(numpy), [view(numpy)]
    return outer


def masked(numpy: Any) -> Any:
    """A subclass with attributes."""
    return numpy.ma.array(numpy.zeros(_BYTES // 8), mask=numpy.zeros(_BYTES // 8, bool))


def of_bytes(numpy: Any) -> Any:
    """The base is not an array."""
    return numpy.frombuffer(bytes(_BYTES), dtype=numpy.uint8)


@pytest.mark.parametrize("make", [view, views, objects, view_of_objects, nested, masked, of_bytes])
def test_what_an_array_holds_is_weighed(numpy: Any, make: Callable[[Any], Any]) -> None:
    """Within 2 per cent of the growth of the allocators."""
    assert weigh(make(numpy)).nbytes == pytest.approx(bytes_per_copy(lambda: make(numpy), 10), rel=0.02)


def view_of_memory() -> Any:
    """The standard library's views are known to the collector."""
    return memoryview(bytearray(_BYTES))[5:10]


def test_the_bytes_behind_a_memoryview_are_weighed() -> None:
    """Within 2 per cent of the growth of the allocators."""
    assert weigh(view_of_memory()).nbytes == pytest.approx(bytes_per_copy(view_of_memory, 10), rel=0.02)


def _held() -> list[bytes]:
    return [bytes(5000 + number) for number in range(40)]


def generator() -> Iterator[int]:
    """Suspended in the middle."""
    held = _held()
    yield len(held)
    yield len(held)


async def coroutine(held: list[bytes]) -> int:
    """Not started yet."""
    return len(held)


async def numbers(held: list[bytes]) -> AsyncIterator[int]:
    """Not started yet."""
    yield len(held)


def started() -> Any:
    """A generator that has run for a while."""
    made = generator()
    next(made)
    return made


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there they lead to the globals, and are left out")
@pytest.mark.parametrize("make", [started, lambda: numbers(_held()), lambda: [started(), started()]])
def test_the_locals_of_what_is_suspended_are_weighed(make: Callable[[], Any]) -> None:
    """Within 2 per cent; the module behind them is not."""
    assert weigh(make()).nbytes == pytest.approx(bytes_per_copy(make, 10), rel=0.02)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there they lead to the globals, and are left out")
def test_the_arguments_of_a_coroutine_are_weighed() -> None:
    """Though it has not run."""
    made = coroutine(_held())
    assert 200_000 < weigh(made).nbytes < 210_000
    made.close()
