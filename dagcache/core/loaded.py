"""The records that cross the public border: a loader's answer, and the answer of `DagCache.fetch`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

V_co = TypeVar("V_co", covariant=True)


class Prepared(NamedTuple):
    """The results of an earlier load of the same content. With them a value is not frozen, and seldom walked."""

    frozen: bytes
    """The frozen form, as the cache's own freezer made it or accepted it."""
    live_bytes: int
    """The weight of the loaded value, bytes. That of a thawed copy is learned from it."""
    load_seconds: float
    """The time of that load, seconds: the cost of loading the value again."""


class Kept(NamedTuple):
    """The frozen copy of an entry, with its facts."""

    prepared: Prepared
    serialized_bytes: int
    content: Hashable
    family: Hashable | None
    order: float


@dataclass(frozen=True, slots=True)
class Loaded(Generic[V_co]):
    """A loaded value with further facts: a loader may return it instead of the bare value.

    ``Loaded(None)`` is the value ``None``, cached as any other. A bare ``None`` means that the key has no value.
    """

    value: V_co
    serialized_bytes: int = 0
    """The size of the serialised value at its source, bytes. It also helps to estimate the live weight."""
    features: tuple[float, ...] = ()
    """Further numbers that grow with the live weight (the count of tasks, say); always as many of them."""
    content: Hashable = None
    """An identity of the content, a hash for instance: `DagCache.fetch` returns it with the value."""
    keep_if: Callable[[], bool] | None = None
    """Called under the cache's lock, just before the value would be kept: it must be quick and must not use the cache.
    If it returns False, the value is for this caller only: neither kept nor given to the threads that wait for it."""
    version: tuple[Hashable, float] | None = None
    """``(family, order)``: keys of one family are versions of one thing, and the greater order is the newer version.
    None: unknown. Only for orders that are certain: an older version is evicted before other entries."""
    prepared: Prepared | None = None
    """The results of an earlier load, if the value comes from its frozen form."""
    record_bytes: int = 0
    """Bytes of the records that the owner of the loader has for each resident key, the key itself and ``content`` among
    them. They count as a part of the entry's overhead."""


@dataclass(frozen=True, slots=True)
class Fetched(Generic[V_co]):
    """A value with the identity of its content."""

    value: V_co
    """None if there is no value."""
    content: Hashable = None
    """`Loaded.content`, as the loader gave it."""


def facts_of(loaded: object) -> Loaded[Any] | None:
    """A loader's answer as `Loaded`; None if there is no value.

    Raises:
        TypeError: the value can be used once only, so it cannot be shared.

    """
    if loaded is None:
        return None
    facts = loaded if isinstance(loaded, Loaded) else Loaded(loaded)
    refuse_single_use(facts.value)
    return facts


def refuse_single_use(value: object) -> None:
    """Refuse a value that its first user exhausts.

    Raises:
        TypeError: it is a coroutine or another awaitable, a generator or another iterator.

    """
    if not isinstance(value, (Awaitable, Iterator, AsyncIterator)):
        return
    if isinstance(value, Coroutine):
        value.close()  # it will not be awaited
    kind = type(value).__name__
    raise TypeError(
        f"a value of the class {kind} can be used once only, so it cannot be cached;"
        " cache what it yields, and give a loader that is a coroutine function to aget_or_load"
    )
