"""Mistakes that a type checker finds: each line with an ignore is an error, and an ignore without an error is one, too.

Never run. The second half is of the cache's own code: steps under its lock, with arguments that do not fit.
"""

# pyright: strict

from __future__ import annotations

from dagcache import DagCache, EntryInfo, Loaded, RemovalCause
from dagcache.concurrency.critical_section import CriticalSection
from dagcache.concurrency.lock import Lock


def settings() -> None:
    """Of which some are misspelt, and some of another type."""
    _: DagCache[str, int]
    _ = DagCache(max_byte="64MiB")  # type: ignore[call-arg]
    _ = DagCache(tll=3600)  # type: ignore[call-arg]
    _ = DagCache(max_bytes=[1])  # type: ignore[arg-type]
    _ = DagCache(on_removal=takes_one)  # type: ignore[arg-type]
    _ = DagCache(sizer=says_text)  # type: ignore[arg-type]


def takes_one(info: EntryInfo[str]) -> None:
    """Miss the cause."""


def says_text(value: int) -> str:
    """Give no weight."""
    return str(value)


def find(key: str) -> int | None:
    """Find nothing, at times."""
    return len(key) or None


def lookups(cache: DagCache[str, int]) -> None:
    """With keys, loaders and results of another type."""
    cache.get_or_load(7, find)  # type: ignore[call-overload]
    cache.get_or_load("a", str.upper)  # type: ignore[arg-type]
    cache.get_or_load("a", lambda _: Loaded("text"))  # type: ignore[arg-type]
    cache.get_or_load_many(["a"], find)  # type: ignore[arg-type]
    _found: int = cache.get_or_load("a", find)  # type: ignore[assignment]
    _absent: int = cache.get("a")  # type: ignore[assignment]
    cache.setdefault("a", "text")  # type: ignore[arg-type]
    cache["a"] = "text"  # type: ignore[assignment]
    for entry in cache.entries():
        entry.key.append(1)  # type: ignore[attr-defined]


def put(key: str, nbytes: int, cause: RemovalCause) -> bool:
    """Stand for a step under the lock."""
    return bool(key) and nbytes > 0 and cause is RemovalCause.SIZE


def steps(section: CriticalSection, lock: Lock) -> None:
    """With arguments swapped, left out, of another type, or too many."""
    section.run(put, 7, RemovalCause.SIZE, "a")  # type: ignore[arg-type]
    section.run(put, "a", 7)  # type: ignore[call-arg]
    section.run(put, "a", "7", RemovalCause.SIZE)  # type: ignore[arg-type]
    section.run(put, "a", 7, RemovalCause.SIZE, 8)  # type: ignore[call-arg]
    section.run_or_defer(put, "a", 7)  # type: ignore[call-arg]
    section.run_or_defer(put, "a", "7", RemovalCause.SIZE)  # type: ignore[arg-type]
    lock.run(put, 7, "a", RemovalCause.SIZE)  # type: ignore[arg-type]
    lock.run(put, "a", 7)  # type: ignore[call-arg]
    lock.try_run(put, "a", "7", RemovalCause.SIZE)  # type: ignore[arg-type]
    _text: str = section.run(put, "a", 7, RemovalCause.SIZE)  # type: ignore[assignment]
