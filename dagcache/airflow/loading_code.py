"""The code that loads DAGs, as this process has it: a plugin or local settings may have replaced a function of Airflow.

The sources of two processes are then the same, and their loads are not.
"""

from __future__ import annotations

import hashlib
import importlib
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from dagcache.airflow import graphs
from dagcache.airflow.foreign import full_name

_MODULES = (
    "airflow.serialization.decoders",
    "airflow.serialization.helpers",
    "airflow.serialization.serialized_objects",
)


def described_code() -> list[str]:
    """The functions of Airflow's serialised classes, and of the modules that decode them: names and digests, sorted."""
    return sorted(f"{name} {_digest(code)}" for name, code in _named_code())


def _named_code() -> Iterator[tuple[str, types.CodeType]]:
    owners: list[Any] = [*graphs.serialised_classes()]
    for name in _MODULES:
        with suppress(ImportError):  # another version of Airflow
            owners.append(importlib.import_module(name))
    for owner in owners:
        prefix = full_name(owner) if isinstance(owner, type) else owner.__name__
        for name, value in list(vars(owner).items()):
            code = _code_of(value)
            if code is not None:
                yield f"{prefix}.{name}", code


def _code_of(value: Any) -> types.CodeType | None:
    """The code of a function, a method or a property; None for other attributes."""
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    return value.__code__ if isinstance(value, types.FunctionType) else None


def _digest(code: types.CodeType) -> str:
    together = hashlib.sha256(code.co_code)
    for part in (code.co_names, code.co_varnames, code.co_freevars, list(map(_described, code.co_consts))):
        together.update(repr(part).encode())
    return together.hexdigest()


def _described(constant: Any) -> str:
    """A constant as text, the same in each process."""
    if isinstance(constant, types.CodeType):
        return _digest(constant)
    if isinstance(constant, (tuple, frozenset)):
        parts = [_described(part) for part in constant]
        return repr(sorted(parts) if isinstance(constant, frozenset) else parts)
    return f"{type(constant).__name__} {constant!r}"
