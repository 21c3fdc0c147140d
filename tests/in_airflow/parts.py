"""The mutable parts of a DAG's graph: no two callers may share one."""

from __future__ import annotations

import datetime as dt
import enum
import logging
import re
import types
import weakref
from collections.abc import Iterable
from itertools import combinations
from typing import Any
from uuid import UUID

from tests.support.lockstep import reachable

_IMMUTABLE = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    dt.date,
    dt.time,
    dt.timedelta,
    dt.tzinfo,
    enum.Enum,
    UUID,
    re.Pattern,
)
_THE_PROCESS_S = (type, types.ModuleType, types.BuiltinFunctionType, types.FunctionType, types.CodeType, logging.Logger)
_PROXIES = (weakref.ProxyType, weakref.CallableProxyType, weakref.ReferenceType)
_NOT_ENTERED = (*_IMMUTABLE, *_THE_PROCESS_S, *_PROXIES)
_ONLY_HOLD = (tuple, frozenset, types.MethodType, types.CellType)
"""Types that are immutable, though their contents may be mutable."""


def mutable_parts(root: object) -> dict[int, object]:
    """The mutable objects that can be reached from a graph, by id."""
    found = reachable(root, _NOT_ENTERED)
    return {key: item for key, item in found.items() if not isinstance(item, _ONLY_HOLD)}


def shared_parts(graphs: Iterable[object], allowed: Iterable[int]) -> list[Any]:
    """The mutable parts that any two of these graphs have in common, but for those that are allowed, by id."""
    parts = [mutable_parts(graph) for graph in graphs]
    exempt = set(allowed)
    found = {key: one[key] for one, other in combinations(parts, 2) for key in one.keys() & other.keys() - exempt}
    return list(found.values())
