"""The types that a census enters: their instances report to the collector exactly the references that they own.

Running frames, generators on CPython 3.14, and C code that is not listed here may report references that they do not
own, or own some that they do not report. A census never enters such parts, so everything that they refer to counts as
held.
"""

from __future__ import annotations

import collections
import datetime as dt
import enum
import functools
import logging
import types
import typing
import weakref
from collections.abc import Iterator

from dagcache.reclaim.per_type import PerType
from dagcache.reclaim.weak_references import WEAK_TYPES

_NEVER_ENTERED = (
    type,
    types.ModuleType,
    types.FunctionType,
    enum.Enum,
    logging.Logger,
    logging.Handler,
    dt.tzinfo,
)

_KNOWN = frozenset(
    {
        object,
        *(list, tuple, dict, set, frozenset, str, bytes, int, float, complex),
        *(dt.date, dt.datetime, dt.time, dt.timedelta),
        *(collections.OrderedDict, collections.defaultdict, collections.deque),
        *(weakref.ReferenceType, weakref.ProxyType, weakref.CallableProxyType),
        *(types.MethodType, types.BuiltinMethodType, types.CellType, types.SimpleNamespace, types.MappingProxyType),
        *(functools.partial, type(functools.lru_cache(len)), typing.Generic),
    }
)
"""Types of C code that report exactly what they own. Dates own a time zone, which is never entered."""

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_C_DESCRIPTORS = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.BuiltinFunctionType,
)


def _find_whether_entered(kind: type) -> bool:
    if kind in WEAK_TYPES or issubclass(kind, _NEVER_ENTERED):
        return False
    return all(base in _KNOWN or _is_exception(base) or has_class_statement(base) for base in kind.__mro__)


def _is_exception(kind: type) -> bool:
    return issubclass(kind, BaseException) and kind.__module__ == "builtins" and not kind.__flags__ & _HEAP_TYPE


def has_class_statement(kind: type) -> bool:
    """Whether a class statement made it. A class of C code has descriptors of its own that no class statement makes."""
    by_statement = {"__dict__", "__weakref__", *slot_names(kind)}
    return bool(kind.__flags__ & _HEAP_TYPE) and not any(
        isinstance(item, _C_DESCRIPTORS) and getattr(item, "__objclass__", kind) is kind and name not in by_statement
        for name, item in vars(kind).items()
        if not isinstance(item, types.BuiltinFunctionType) or item.__self__ is kind
    )


def slot_names(kind: type) -> Iterator[str]:
    """The names of the ``__slots__`` that this class itself defines."""
    if "__slots__" in vars(kind):
        yield from (name for name, item in vars(kind).items() if isinstance(item, types.MemberDescriptorType))


is_entered = PerType(_find_whether_entered)
"""By type, whether a census enters its instances."""
