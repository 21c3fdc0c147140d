"""Attribute dicts that borrow their values from an instance (CPython 3.13).

There the values of attributes lie in the instance, and its ``__dict__`` may refer to that storage: they are *lent*.
Neither object then reports the other to the collector. Code that holds only the dict can still read all attributes, so
each census looks for such dicts and treats dict and instance as one.
"""

from __future__ import annotations

import gc
import itertools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dagcache.reclaim.per_type import PerType


class _Probe:
    """An instance that stores its attributes inline, where the interpreter can."""


def _probe_reports() -> tuple[bool, bool]:
    """Whether an instance reports its ``__dict__`` to the collector, and whether the dict reports its values."""
    probe: Any = _Probe()
    probe.item = []
    attributes = vars(probe)
    return (
        any(item is attributes for item in gc.get_referents(probe)),
        any(item is probe.item for item in gc.get_referents(attributes)),
    )


_REPORTS = _probe_reports()

DICTS_BORROW = _REPORTS == (False, False)
"""Whether the ``__dict__`` of an instance may borrow its values."""
LAYOUT_IS_KNOWN = DICTS_BORROW or _REPORTS == (True, True)
"""Whether this interpreter reports attributes in one of the two ways that a census can count."""

_INLINE_VALUES = 1 << 2  # Py_TPFLAGS_INLINE_VALUES


def lent(parts: Iterable[object]) -> tuple[list[object], list[object]]:
    """The instances that lend their values to a ``__dict__``, and those dicts, in the same order.

    Where dicts may borrow, it creates missing ones.
    """
    if not DICTS_BORROW:
        return [], []
    inline = [part for part in parts if _is_inline[type(part)]]
    dicts = [_attributes(part) for part in inline]
    borrows = [_borrows(item, part) for item, part in zip(dicts, inline, strict=True)]
    return list(itertools.compress(inline, borrows)), list(itertools.compress(dicts, borrows))


def lenders_to_outside(parts: tuple[object, ...], lenders: list[object], borrowing: list[object]) -> Iterator[object]:
    """The lenders with a ``__dict__`` that is not a part, or that was replaced since ``borrowing`` was read."""
    ids = set(map(id, parts))
    still_lent = set(map(id, lent(lenders)[1]))
    for part, item in zip(lenders, borrowing, strict=True):
        if id(item) not in ids or id(item) not in still_lent:
            yield part


def _borrows(attributes: object, instance: object) -> bool:
    """Whether a ``__dict__`` borrows its values: it does not report them, and the instance does not report the dict."""
    if attributes is None:
        return False
    if attributes:
        return not gc.get_referents(attributes)
    return not any(item is attributes for item in gc.get_referents(instance))


def _attributes(part: object) -> object:
    """The ``__dict__`` of an instance, without running any code of its class."""
    return _attribute_getters[type(part)](part)


def _find_attribute_getter(kind: type) -> Callable[[object], object]:
    descriptors = (vars(base).get("__dict__") for base in kind.__mro__)
    found = (each.__get__ for each in descriptors if isinstance(each, types.GetSetDescriptorType))
    return next(found, lambda _: None)  # the class defines a ``__dict__`` of its own


_is_inline = PerType(lambda kind: bool(kind.__flags__ & _INLINE_VALUES))
_attribute_getters = PerType(_find_attribute_getter)
