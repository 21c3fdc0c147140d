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

from typing import Any

_LONGEST = 64


def shown(value: object) -> object:
    """The value itself if an error message can show it, else a short description of it."""
    if isinstance(value, str) and len(value) > _LONGEST:
        return value[:_LONGEST] + "..."
    try:
        repr(value)
    except Exception:
        # Integers of more than 4300 digits have no repr, and the repr of an object may do anything.
        return f"<{type(value).__name__} that cannot be shown>"
    return value


class DagCacheError(Exception):
    """The root of the tree."""


class ConfigError(DagCacheError, ValueError):
    """A setting that cannot be read; the message names the setting, the value and the accepted forms."""

    def __init__(self, setting: str, value: object, accepted: str) -> None:
        super().__init__(f"{setting} = {shown(value)!r} is not understood; accepted: {accepted}")
        self.setting = setting
        self.value = value
        self.accepted = accepted

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with the message alone, which ends a process pool. A value of another class than
        # these may have no pickle: its text stands for it.
        value = self.value if isinstance(self.value, (str, int, float, type(None))) else str(shown(self.value))
        state = {"setting": self.setting, "value": value, "accepted": self.accepted}
        return type(self).__new__, (type(self), str(self)), state


class OversizeError(DagCacheError, ValueError):
    """A value weighs more than the whole budget, with ``oversize="raise"``."""


class RecursiveLoadError(DagCacheError, RuntimeError):
    """A load would have to wait for itself: on one thread, or in a ring of threads."""


class FreezeError(DagCacheError):
    """A value that cannot be frozen; it can still be cached live. ``kind``: the class to blame, where it is known."""

    def __init__(self, message: str = "", kind: type | None = None) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)  # without the class, which may have no pickle


class ThawError(DagCacheError):
    """Frozen bytes that do not give their value back; the entry is dropped and loaded again."""


class NotAllowedError(ThawError):
    """Frozen bytes from outside the process that refer to a name beyond the allow-list."""


class LoadError(DagCacheError):
    """A metadata database, or a serialised DAG in it, that cannot be read; the message never shows a password."""


class TraceError(DagCacheError, ValueError):
    """A file is not a trace, or is damaged. The message names the line, the expected and the found text."""
