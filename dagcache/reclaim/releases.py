"""The releases that are under way in this process, and the way from a weak reference to a value that no release has.

A census does not count the waiting room's own weak references as holders. If it did, two tickets of one value would
prevent each other's release. So a value with two tickets (it has two keys, is a part of another value, or is in two
caches) may be taken apart while the other ticket leads a lookup to it. Two rules prevent that:

- No reference is followed while any thread has a release under way. One that starts after a reference was followed
  finds the value held.
- A reference to a part that is about to be emptied is revoked for good, because taking a value apart may fail half-way.

After an interrupt a release is under way for as long as its traceback is kept. Lookups then thaw.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import TypeVar

from dagcache.forks import after_fork_in_child
from dagcache.reclaim.weak_references import Parts, WaitingReference

T = TypeVar("T")


class _Release:
    __slots__ = ("__weakref__",)


_numbers = itertools.count()  # an `id` would return: the end of one release would remove another one
_under_way: dict[int, weakref.ref[_Release]] = {}
"""Weak references: a release that an interrupt ended ends here with its frame."""
_latest: list[object] = [object()]
"""An object of the release that started last."""


def release(take_apart: Callable[[], T]) -> T:
    """Run a census and all that follows from it. Thread-safe; calls may nest."""
    this, number = _Release(), next(_numbers)
    _under_way[number] = weakref.ref(this)
    _latest[0] = object()
    try:
        return take_apart()
    finally:
        _under_way.pop(number, None)


def follow(reference: WaitingReference) -> tuple[list[object], bool]:
    """The value of a reference in a list, which may be empty, and whether a lookup may return it.

    If not, a release may have the value. It may die when the list does, so that must not be under a lock.
    """
    latest = _latest[0]
    if reference.is_revoked or _is_any_under_way():
        return [], False
    value = reference()
    if value is None:
        return [], False
    return [value], not reference.is_revoked and _latest[0] is latest


def revoke_references_to(parts: Parts) -> None:
    """Have `follow` find none of these parts any more."""
    for part in itertools.compress(parts, map(weakref.getweakrefcount, parts)):
        for reference in weakref.getweakrefs(part):
            if type(reference) is WaitingReference:
                reference.is_revoked = True


def _is_any_under_way() -> bool:
    for number, reference in list(_under_way.items()):
        if reference() is not None:
            return True
        _under_way.pop(number, None)
    return False


after_fork_in_child(_under_way.clear)  # threads of the parent do not go on in the child
