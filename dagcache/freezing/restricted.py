"""Unpickling of bytes that come from outside the process: only names on an allow-list are looked up.

A pickle names classes and functions, and calls them. A process may unpickle its own bytes without limits. For bytes
from a store the list is the second line of defence, behind the store's authentication. A list with ``getattr``, or with
any function that looks names up, would have no effect: everything can be reached from it.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from typing import Any

from dagcache.errors import NotAllowedError

__all__ = ["AllowList", "unpickled"]


class AllowList:
    """The names that a pickle from outside may refer to. Thread-safe.

    ``names``: pairs of a module and the name of an object in it.
    ``classes_of``: modules whose own classes are allowed; a trailing dot stands for all modules of a package.
    """

    def __init__(self, names: Iterable[tuple[str, str]], classes_of: Iterable[str] = ()) -> None:
        self.names = frozenset(names)
        self.classes_of = tuple(sorted(classes_of))
        self._modules = frozenset(self.classes_of)
        self._packages = tuple(name for name in self.classes_of if name.endswith("."))
        self._found: dict[tuple[str, str], Any] = {}
        self._finder = pickle.Unpickler(io.BytesIO(), fix_imports=False)

    def allows(self, item: Any) -> bool:
        """Whether a pickle from outside may refer to this class or function, by its own module and name."""
        try:
            return self.find(item.__module__, item.__qualname__) is item
        except Exception:  # not importable, or a metaclass of its own
            return False

    def find(self, module: str, name: str) -> Any:
        """The object of a name on the list. Its module is imported if necessary.

        Raises:
            NotAllowedError: the name is not on the list.
            Exception: an allowed module cannot be imported, or does not have the name.

        """
        found = self._found.get((module, name))
        if found is None:
            self._found[module, name] = found = self._look_up(module, name)
        return found

    def _look_up(self, module: str, name: str) -> Any:
        is_listed = (module, name) in self.names
        if not is_listed and module not in self._modules and not module.startswith(self._packages):
            raise NotAllowedError(f"{module}.{name} is not allowed in frozen bytes from outside the process")
        found = self._attribute(module, name)
        if not is_listed and not _is_class_of(found, module, name):
            raise NotAllowedError(f"{module}.{name} is not a class of this module")
        return found

    def _attribute(self, module: str, name: str) -> Any:
        """The object of a dotted name; each step but the last is a class."""
        first, *others = name.split(".")
        found: Any = self._finder.find_class(module, first)  # imports the module
        for step in others:
            if not isinstance(found, type):
                raise NotAllowedError(f"{module}.{name} is not an attribute of a class")
            found = getattr(found, step)
        return found


def _is_class_of(found: Any, module: str, name: str) -> bool:
    return isinstance(found, type) and (found.__module__, found.__qualname__) == (module, name)


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, buffers: Iterable[Any], allowed: AllowList) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers, fix_imports=False)
        self._find = allowed.find

    def find_class(self, module: str, name: str) -> Any:
        return self._find(module, name)


def unpickled(data: bytes, buffers: Iterable[Any], allowed: AllowList) -> Any:
    """The value of a pickle whose names are all on the list.

    Raises:
        NotAllowedError: a name is not on the list.
        Exception: the bytes are not a pickle, or an error of the value's own parts.

    """
    return _Unpickler(data, buffers, allowed).load()
