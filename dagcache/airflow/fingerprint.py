"""The fingerprint: what two processes must have in common to use each other's frozen DAGs.

Two processes with the same fingerprint read the same bytes as the same DAG. It has no times of files: an image that is
built again has other times and the same content.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import struct
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dagcache.airflow import foreign, graphs
from dagcache.airflow.allow_list import allow_list
from dagcache.airflow.loading_code import described_code
from dagcache.freezing.portable import FORMAT

_DISTRIBUTIONS = ("apache-airflow-core", "apache-airflow-task-sdk", "pendulum", "python-dateutil", "dagcache")
_SOURCES = (
    "airflow._shared.timezones",
    "airflow.serialization",
    "pendulum.tz",
    "dagcache.airflow",
    "dagcache.freezing",
)
"""Modules and packages beside those of the allow-list: they load DAGs, and freeze and thaw them."""
_AIRFLOWS = "airflow."
_PLAIN = (str, bytes, int, float, bool, type(None), dt.timedelta, dt.datetime, dt.date, dt.time)


class Fingerprint:
    """The parts of a fingerprint, as this process has them now.

    ``described``: `described_objects` as of the time when the freezer was built.
    ``load_op_links``: whether the bag loads operator links.

    Raises:
        Exception: a part is unknown. Then no other process's frozen DAGs may be used.

    """

    def __init__(self, described: Sequence[str], *, load_op_links: bool) -> None:
        self._parts = {
            "format": str(FORMAT),
            "python": _python(),
            **{name: _version(name) for name in _DISTRIBUTIONS},
            **{f"source of {name}": _digest_of_source(name) for name in _sources()},
            "allow-list": _digest(_listed()),
            "shared objects": _digest(list(described)),
            "code of loads": _digest(described_code()),
            "default time zone": _default_zone(),
            "operator links": _links() if load_op_links else "not loaded",
        }

    def parts(self) -> Mapping[str, str]:
        """The parts by their names: short texts and digests."""
        return types.MappingProxyType(self._parts)

    def digest(self) -> str:
        """The whole fingerprint as 64 hexadecimal digits."""
        return _digest(sorted(self._parts.items()))


def described_objects() -> list[str]:
    """The objects that all graphs share, one line each: names, classes and plain content, never an address.

    Two processes with the same description have the same objects at the same positions of a pickle. Defaults that are
    not shared are described as well, because a load copies them into DAGs.
    """
    first: dict[int, str] = {}
    lines = []
    for name, item in graphs.named_objects():
        # One object may have several names. Two objects with one name could be in either order: no process agrees.
        alias = first.setdefault(id(item), name)
        is_ambiguous = alias == name and list(first.values()).count(name) > 1
        lines.append(f"{name} {alias} {_described(item)}{os.urandom(16).hex() if is_ambiguous else ''}")
    for kind in graphs.serialised_classes():
        full = foreign.full_name(kind)
        lines.append(f"{full} {graphs.attribute_names(kind)} {[base.__qualname__ for base in kind.__mro__]}")
        lines += (f"{full}.{name} {_described(default)}" for name, default in graphs.defaults_of(kind))
    return lines


def _described(item: Any) -> str:
    kind = type(item)
    named = foreign.full_name(kind)
    if kind in _PLAIN:
        return f"{named} {item!r}"
    if kind in (list, tuple):
        return f"{named} [{', '.join(map(_described, item))}]"
    if kind in (set, frozenset):
        return f"{named} {{{', '.join(sorted(map(_described, item)))}}}"
    if kind is dict:
        return f"{named} {{{', '.join(f'{_described(key)}: {_described(value)}' for key, value in item.items())}}}"
    own = getattr(item, "__qualname__", None)
    return f"{named} {own}" if isinstance(own, str) else named


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _python() -> str:
    return f"{sys.implementation.name} {platform.python_version()}, {8 * struct.calcsize('P')} bits, {sys.byteorder}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _listed() -> list[list[Any]]:
    allowed = allow_list()
    return [sorted(allowed.names), list(allowed.classes_of)]


def _sources() -> list[str]:
    allowed = allow_list()
    modules = {module for module, _ in allowed.names if module.startswith(_AIRFLOWS)}
    return sorted({*_SOURCES, *modules, *(name.removesuffix(".") for name in allowed.classes_of)})


def _digest_of_source(name: str) -> str:
    """The digest of all sources of a module or package; "missing" if it does not exist.

    Raises:
        LookupError: it exists without a source.

    """
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        return "missing"
    files = sorted(_files_of(found))
    if not files:
        raise LookupError(f"{name} has no source")
    together = hashlib.sha256()
    for at, path in files:
        together.update(f"{at} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return together.hexdigest()


def _files_of(found: Any) -> Iterator[tuple[str, Path]]:
    for folder in found.submodule_search_locations or ():
        yield from ((str(path.relative_to(folder)), path) for path in Path(folder).rglob("*.py"))
    if found.origin and not found.submodule_search_locations:
        yield Path(found.origin).name, Path(found.origin)


def _default_zone() -> str:
    """The zone of DAGs in old rows without one."""
    settings = importlib.import_module("airflow.settings")
    return str(settings.TIMEZONE)


def _links() -> str:
    """The links that plugins add to operators."""
    lines = []
    for link in foreign.registered_links():
        operators = sorted(map(foreign.full_name, link.operators))
        lines.append(f"{foreign.full_name(type(link))} {link.name} {operators}")
    return _digest(lines)
