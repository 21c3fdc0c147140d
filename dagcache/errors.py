"""The tree of errors that dagcache raises.

DagCacheError
├── ConfigError (also ValueError)        a setting that cannot be read
├── OversizeError (also ValueError)      a value that the budget cannot hold, with ``oversize="raise"``
├── RecursiveLoadError (also RuntimeError)  a loader that waits, directly or in a ring, for itself
├── FreezeError                          a value that has no frozen form
├── ThawError                            frozen bytes that do not give a value back
├── LoadError                            a metadata database, or a row of it, that cannot be read
└── TraceError (also ValueError)         a recording of lookups that cannot be read

Errors of a caller's loader pass through unwrapped: they are not in this tree.
"""

from __future__ import annotations


class DagCacheError(Exception):
    """The root of the tree."""


class ConfigError(DagCacheError, ValueError):
    """A setting that cannot be read; the message names the setting, the value and the accepted forms."""

    def __init__(self, setting: str, value: object, accepted: str) -> None:
        super().__init__(f"{setting} = {value!r} is not understood; accepted: {accepted}")
        self.setting = setting
        self.value = value
        self.accepted = accepted


class OversizeError(DagCacheError, ValueError):
    """A value weighs more than the whole budget, with ``oversize="raise"``."""


class RecursiveLoadError(DagCacheError, RuntimeError):
    """A load would have to wait for itself: on one thread, or in a ring of threads."""


class FreezeError(DagCacheError):
    """A value that cannot be frozen; it can still be cached live. ``kind``: the class to blame, where it is known."""

    def __init__(self, message: str = "", kind: type | None = None) -> None:
        super().__init__(message)
        self.kind = kind


class ThawError(DagCacheError):
    """Frozen bytes that do not give their value back; the entry is dropped and loaded again."""


class LoadError(DagCacheError):
    """A metadata database, or a serialised DAG in it, that cannot be read; the message never shows a password."""


class TraceError(DagCacheError, ValueError):
    """A file is not a trace, or is damaged. The message names the line, the expected and the found text."""
