"""Reference counts of a value's parts, compared with the references that come from the parts themselves.

This is trial deletion (Lins 1992; CPython's ``gc_refs``) for a set of parts. `_count_all` takes the counts and the
references between the parts in one call into C code, during which no other thread, finaliser or signal handler runs. At
that moment a reference to a part either comes from a part, or proves that something outside holds it.

Two kinds of references are not in these counts: those of borrowed attribute dicts (`attribute_dicts`) and weak ones
(`weak_references`).
"""

from __future__ import annotations

import gc
import itertools
import operator
import sys
import weakref
from typing import Any

from dagcache.concurrency.global_lock import is_free_threaded
from dagcache.reclaim.attribute_dicts import LAYOUT_IS_KNOWN, lenders_to_outside, lent
from dagcache.reclaim.weak_references import Parts, weakly_held

# Free-threaded builds split and defer counts, with and without the GIL. Other interpreters have none.
EXACT_COUNTS = sys.implementation.name == "cpython" and not is_free_threaded() and LAYOUT_IS_KNOWN
"""Whether ``sys.getrefcount`` counts exactly the references that there are."""

UNREFERENCED = next(map(sys.getrefcount, ([],)))
"""The count of a part to which only the tuple of parts refers."""
REFERENCED_ONCE = UNREFERENCED + 1


def own_references(value: object, holders: int = 1) -> int:
    """The number of references to a value without those of its ``holders``, one of which is the caller's variable.

    If the value has no other holder, these come from its own parts.
    """
    return sys.getrefcount(value) - _OF_THE_CALL - holders


def _own_references_of_an_object() -> int:
    value = object()
    return own_references(value)


_OF_THE_CALL = 0
_OF_THE_CALL = _own_references_of_an_object()  # pyright: ignore[reportConstantRedefinition]


def held_parts(parts: Parts) -> list[object] | None:
    """The parts to which something outside refers, strongly or weakly.

    None if that cannot be determined now: another thread has switched the collector on. Before CPython 3.12 it may
    have run during the census.
    """
    lenders, borrowing = lent(parts)
    disturbed, before, after, weak = _count_all(parts)
    if disturbed:
        return None
    held: list[object] = []
    # References from elsewhere are before - (after - before), and never less than ours.
    if 2 * sum(before) - sum(after) != len(parts) * UNREFERENCED or lenders:
        elsewhere = map(operator.sub, before, map(operator.sub, after, before))
        expected = {id(part): UNREFERENCED + 1 for part in lenders}
        expected.update((id(part), UNREFERENCED + 2) for part in borrowing)  # the lender's reference is not reported
        ours = map(expected.get, map(id, parts), itertools.repeat(UNREFERENCED))
        held += itertools.compress(parts, map(operator.ne, elsewhere, ours))
    if any(weak):
        held += weakly_held(parts, weak, set(map(id, held)))
    if lenders:
        held += lenders_to_outside(parts, lenders, borrowing)
    return held


def _count_all(parts: Parts) -> tuple[bool, list[int], list[int], list[int]]:
    """Whether the collector is on; reference counts; these plus the references from the parts; weak reference counts.

    One call of ``list`` reads all of it, so no other Python code can run in between. It reads the counts, then makes a
    list of all referents of the parts, which adds one to a count for each such reference, then reads the counts again.
    """
    size = len(parts)
    census: list[Any] = list(
        itertools.chain(
            itertools.starmap(gc.isenabled, ((),)),
            map(sys.getrefcount, parts),
            itertools.starmap(gc.get_referents, (parts,)),
            map(sys.getrefcount, parts),
            map(weakref.getweakrefcount, parts),
        )
    )
    return census[0], census[1 : size + 1], census[size + 2 : 2 * size + 2], census[2 * size + 2 :]
