"""The preparation of a value for admission: freezing, weighing, its version. Slow work, without the cache's lock.

A failure here costs the entry, never the caller. A value that cannot be frozen is kept live only. One that cannot be
weighed is served and not kept. An unusable version counts as none.
"""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Callable, Hashable
from typing import Any
from uuid import UUID

from dagcache.concurrency.lock import Lock
from dagcache.core.entry import Candidate, Entry, LiveCopy
from dagcache.core.loaded import Loaded, Prepared
from dagcache.core.reweighing import Reweighing
from dagcache.errors import FreezeError
from dagcache.freezing.pickle_freezer import Freezer, Frozen
from dagcache.log_limits import report
from dagcache.reclaim.reference_counts import own_references
from dagcache.sizing.estimate import LearnedSizer, Sized
from dagcache.sizing.walk import Weight, weigh

_log = logging.getLogger("dagcache")

Sizer = Callable[[Any], int]
VersionOf = Callable[[Any], "tuple[Hashable, float] | None"]

_MOST_BYTES = 2**60  # a greater weight is an error; products of it would overflow
_MOST_UNTHAWED = 10_000  # keys that are remembered after a failed thaw; the oldest are forgotten
_MOST_LOGGED = 100  # causes without a frozen form that are logged as INFO; further ones as DEBUG
_ESTIMATED_AGAIN = 0.125  # of the thaws with an earlier estimate; an estimate takes a tenth of a small DAG's thaw
_TRAINING_OF_THAWED = 64  # walks; of the shapes that people write, 16 predict the total 5 - 7 % too high
_SAMPLE = 2048  # objects of one class (tasks, say) that a walk follows where a value has more
_USUAL_KEY = 160  # bytes: a number, a UUID, its text, a pair of ids
_LIGHT = frozenset({int, float, UUID})  # classes whose instances are never heavier than that, however many there are
_MOST_NODES_OF_KEY = 10_000
_WORTH_FREEZING = 0.5  # of the live weight: above that a frozen copy saves too little for holding both


class Preparer:
    """Prepares values. Thread-safe."""

    def __init__(
        self,
        *,
        freezer: Freezer | None,
        sizer: Sizer | None,
        shared: tuple[object, ...] = (),
        version_of: VersionOf | None = None,
    ) -> None:
        self._freezer = freezer
        self._sizer = sizer
        self._version_of = version_of
        self._shared = shared  # an id is unique only while its object is held
        self._walk = functools.partial(weigh, shared=frozenset(map(id, shared)))
        # The weight of a loaded value says little of its thawed copy: dicts and lists are as large as their history
        # made them, and parts of a loaded graph share objects that a copy has once for each.
        sample = functools.partial(self._walk, most_alike=_SAMPLE)
        self._learned = LearnedSizer(walk=self._walk, sample=sample)
        self._learned_of_thawed = LearnedSizer(walk=self._walk, sample=sample, training=_TRAINING_OF_THAWED)
        self._reweighing = Reweighing(functools.partial(_weigh_again, sizer, sample))
        self._random = random.Random(1).random  # in a sweep every eighth thaw may be of the same entry
        self._lock = Lock()
        self._unfrozen = 0
        self._unthawed: dict[int, None] = {}  # by hash: a key may be heavy
        self._logged: set[tuple[str, str]] = set()

    @property
    def unfrozen(self) -> int:
        """The number of values without a frozen form."""
        return self._unfrozen

    @property
    def sizing_seconds(self) -> float:
        """The time that weighing has taken so far, seconds."""
        return self._learned.seconds_total + self._learned_of_thawed.seconds_total + self._reweighing.seconds_total

    @property
    def refutations(self) -> int:
        """The number of times that walks have refuted a model of weights."""
        return self._learned.refutations + self._learned_of_thawed.refutations

    @property
    def sizing_error_ratio(self) -> float:
        """The recent mean of (estimate - exact) / exact, over estimates that an exact walk followed.

        The greater one by amount, of loaded values and of thawed ones.
        """
        return max(self._learned.error_ratio, self._learned_of_thawed.error_ratio, key=abs)

    def take(self, key: Hashable, loaded: Loaded[Any], load_seconds: float, budget: int) -> Candidate | None:
        """Prepare a value for admission; None if it cannot be weighed. Budget in bytes, 0 = unbounded."""
        self._reweighing.earn(load_seconds)
        prepared = self._usable(key, loaded)
        if prepared is None:
            frozen = self._freeze(key, loaded.value)
            live_bytes = self._weigh(key, loaded, frozen, load_seconds, budget)
            data = None if frozen is None else frozen.data
        else:
            data, recorded, earlier_seconds = prepared
            live_bytes = self._weigh_thawed(key, recorded, loaded.value, data, load_seconds, budget).nbytes
            load_seconds = earlier_seconds
        if live_bytes is None:
            return None
        if data is not None and len(data) > _WORTH_FREEZING * live_bytes:
            data = None
        family, order = self._version(key, loaded)
        serialized_bytes = self._stated(key, "serialised value", loaded.serialized_bytes)
        value = loaded.value
        own = own_references(value, holders=2)  # this variable, and `loaded`
        return Candidate(
            key=key,
            value=value,
            live_bytes=live_bytes,
            frozen=data,
            load_seconds=load_seconds,
            serialized_bytes=serialized_bytes,
            family=family,
            order=order,
            own_references=own,
            content=loaded.content,
            record_bytes=_key_bytes(key) + self._stated(key, "records", loaded.record_bytes),
        )

    def weigh_thawed(self, entry: Entry, value: object, data: bytes, thaw_seconds: float, budget: int) -> Sized:
        """The weight of a copy that was just thawed from these bytes. Budget in bytes, 0 = unbounded.

        A sizer of the user is not called: it may take longer than the thaw. The copy counts as the loaded value did
        until it is weighed again.
        """
        self._reweighing.earn(thaw_seconds)
        is_known = entry.thawed_bytes_are_exact or (entry.thawed_bytes and self._random() >= _ESTIMATED_AGAIN)
        if is_known or self._sizer is not None:
            return Sized(entry.thaws_to_bytes, entry.thawed_bytes_are_exact, 0.0)
        return self._weigh_thawed(entry.key, entry.loaded_bytes, value, data, thaw_seconds, budget)

    def _weigh_thawed(
        self, key: Hashable, loaded_bytes: int, value: object, data: bytes, thaw_seconds: float, budget: int
    ) -> Sized:
        """Learn and predict how much heavier or lighter thawed copies are than loaded values."""
        try:
            features = (float(loaded_bytes), *self._features_of(data))
            return self._learned_of_thawed.size(
                value, features, load_seconds=thaw_seconds, budget=budget, pickled_bytes=features[1]
            )
        except Exception as error:
            message = "a thawed copy of %r could not be weighed: it counts as the loaded value did"
            report("thawed weight", message, key, error=error)
            return Sized(loaded_bytes, False, 0.0)

    def weigh_again(self, copy: LiveCopy, now: float) -> int | None:
        """The present weight of a live copy's value, bytes; None if it is not weighed this time. Never raises."""
        try:
            return self._reweighing.look_at(copy, now)
        except Exception as error:
            message = "%r could not be weighed again: it counts as before"
            report("weight in use", message, copy.entry.key, error=error)
            return None

    def _features_of(self, data: bytes) -> tuple[float, ...]:
        """The features of frozen bytes; their length alone if the freezer gives none."""
        features = getattr(self._freezer, "features", None)
        return (float(len(data)),) if features is None else features(data)

    def key_bytes(self, key: Hashable) -> int:
        """The weight of a key that is heavier than usual, bytes; 0 for others. Never raises."""
        return _key_bytes(key)

    def thaw_failed(self, key: Hashable, error: Exception) -> None:
        """Keep the value of this key live only from now on: its frozen form did not thaw."""
        message = "%r did not come back from its frozen form: it is kept live only"
        report("thaw", message, key, error=error.__cause__ or error, level=logging.WARNING)
        self._lock.run(self._note_unthawed, key)

    def _note_unthawed(self, key: Hashable) -> None:
        self._unthawed[hash(key)] = None
        while len(self._unthawed) > _MOST_UNTHAWED:
            self._unthawed.pop(next(iter(self._unthawed)))

    def _usable(self, key: Hashable, loaded: Loaded[Any]) -> Prepared | None:
        """The results of an earlier load, if this preparer would get the same kind of results."""
        if loaded.prepared is None or self._freezer is None or self._sizer is not None or hash(key) in self._unthawed:
            return None
        return loaded.prepared

    def _freeze(self, key: Hashable, value: object) -> Frozen | None:
        if self._freezer is None:
            return None
        try:
            if hash(key) not in self._unthawed:
                return self._freezer.freeze(value)
        except FreezeError as error:
            self._log_unfreezable(key, value, error)
        except Exception as error:
            report("freezer", "the freezer failed on %r: it is kept live only", key, error=error)
        self._lock.run(self._count_unfrozen)
        return None

    def _count_unfrozen(self) -> None:
        self._unfrozen += 1

    def _log_unfreezable(self, key: Hashable, value: object, error: FreezeError) -> None:
        """One INFO line for each class and kind of error, without the error's text: it may show the value's content."""
        kind = error.kind or type(value)
        name, cause = f"{kind.__module__}.{kind.__qualname__}", type(error.__cause__ or error).__name__
        level = logging.INFO if self._lock.run(self._mark_logged, (name, cause)) else logging.DEBUG
        _log.log(level, "%r has no frozen form because of a %s (%s): such values are kept live only", key, name, cause)

    def _mark_logged(self, cause: tuple[str, str]) -> bool:
        """Mark a cause as logged; False if it was, or if too many are."""
        if cause in self._logged or len(self._logged) >= _MOST_LOGGED:
            return False
        self._logged.add(cause)
        return True

    def _weigh(
        self, key: Hashable, loaded: Loaded[Any], frozen: Frozen | None, load_seconds: float, budget: int
    ) -> int | None:
        try:
            if self._sizer is not None:
                return _whole_bytes(self._sizer(loaded.value))
            features = loaded.features if frozen is None else (*frozen.features, *loaded.features)
            if loaded.serialized_bytes:
                features = (*features, float(loaded.serialized_bytes))
            pickled_bytes = frozen.features[0] if frozen is not None and frozen.features else 0.0
            return self._learned.size(
                loaded.value, features, load_seconds=load_seconds, budget=budget, pickled_bytes=pickled_bytes
            ).nbytes
        except Exception as error:
            report("sizer", "the sizer failed on %r: it is served and not kept", key, error=error)
            return None

    def _stated(self, key: Hashable, of_what: str, nbytes: object) -> int:
        """Bytes that a loader states; 0 if they are unusable."""
        try:
            return _whole_bytes(nbytes or 0)
        except Exception as error:
            message = "the stated bytes of %r (%s) are unusable: they count as unknown"
            report("stated bytes", message, key, of_what, error=error)
            return 0

    def _version(self, key: Hashable, loaded: Loaded[Any]) -> tuple[Hashable | None, float]:
        version = self._version_of_key(key) if loaded.version is None else loaded.version
        if version is None:
            return None, 0
        try:
            family, order = version
            hash(family)
            if order != order or not isinstance(order, (int, float)):
                raise TypeError(f"the order of a version must be a number, not {order!r}")
        except Exception as error:
            report("version", "the version of %r is unusable: it counts as no version", key, error=error)
            return None, 0
        return family, order

    def _version_of_key(self, key: Hashable) -> tuple[Hashable, float] | None:
        try:
            return None if self._version_of is None else self._version_of(key)
        except Exception as error:
            report("version", "version_of failed on %r: it counts as no version", key, error=error)
            return None


def _weigh_again(sizer: Sizer | None, walk: Callable[[object], Weight], value: object, known: int) -> int:
    if sizer is not None:
        return _whole_bytes(sizer(value))
    weight = walk(value)
    return weight.nbytes if weight.complete else max(weight.nbytes, known)


def _key_bytes(key: Hashable) -> int:
    """The weight of a key that is heavier than usual, bytes; 0 for others, and for a key that cannot be weighed."""
    try:
        weight = 0 if type(key) in _LIGHT else weigh(key, node_limit=_MOST_NODES_OF_KEY).nbytes
    except Exception as error:
        report(
            "key",
            "the weight of a key of type %s is unknown: it counts as a usual one",
            type(key).__name__,
            error=error,
        )
        return 0
    return weight if weight > _USUAL_KEY else 0


def _whole_bytes(weight: object) -> int:
    """A weight from outside (a sizer, a loader) as bytes.

    Raises:
        ValueError: it is not a finite number of at least 0, or absurd.

    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= _MOST_BYTES:
        raise ValueError(f"a weight must be a finite number of bytes of at least 0, not {weight!r}")
    return int(weight)
