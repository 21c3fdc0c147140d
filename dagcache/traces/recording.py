"""Recordings of a cache's lookups: ``with record(cache, "lookups.jsonl"): ...``.

A trace is lines of JSON. The first line is an object: version of the format, configuration of the cache, and machine.
Then follows one array per lookup, in the order in which the lookups ended::

    [seconds since the start, id, tier, seconds of the load or thaw]
    [..., live bytes, frozen bytes, seconds of the last load, family, order, bytes of records]

The longer form is written when the facts about an id have changed. The tier is ``l``, ``f``, ``m`` or ``a``: live,
frozen, miss, absent. The last line is an object again; a trace without one was cut short.

Ids are keyed hashes, and the key is not kept: a trace contains no names, and two traces cannot be joined. Lookups only
append to a queue; a thread of the recording hashes, formats and writes.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import platform
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Hashable
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, final

from dagcache.core.cache import DagCache
from dagcache.errors import ConfigError
from dagcache.own_version import own_version
from dagcache.sizing.limits import ByteLimit, format_bytes
from dagcache.sizing.memory import memory_limit
from dagcache.stats import EntryFacts, LookupEvent

_log = logging.getLogger("dagcache")

FORMAT: Final = 2
"""Format 1 did not have the bytes of records."""
TIERS: Final = {"live": "l", "frozen": "f", "miss": "m", "absent": "a"}
"""Letter of each tier in a row."""
MAX_BYTES: Final = "64MiB"
"""Default size limit of a trace: about two million lookups."""
IDS: Final = ("hashed", "plain")
"""Forms of ids: keyed hashes, or as they are."""

_EVERY_SECONDS = 0.5  # between writes; a kill of the process loses these
_MOST_WAITING = 100_000  # lookups in the queue; more means that the disk does not respond
_MOST_KNOWN = 50_000  # ids with facts that are not repeated
_LONGEST_ID = 200  # characters of a plain one
_END_BYTES = 100  # reserved for the last line
_PATIENCE = 5.0  # seconds for the last write, when the recording is closed


def record(
    cache: DagCache[Any, Any], path: Path | str, *, max_bytes: ByteLimit | str | int = MAX_BYTES, ids: str = "hashed"
) -> Recording:
    """Record a cache's lookups in a new file, readable by its owner only, until the recording is closed or full.

    The recording ends with one log line when the file has reached ``max_bytes`` (0 = no limit) or cannot be written. No
    lookup fails or waits because of it. A forked child does not record.

    Args:
        cache: its `get`, `get_or_load` and ``cache[key]`` are recorded.
        path: the file; it must not exist.
        max_bytes: size limit of the file.
        ids: ``"hashed"``, or ``"plain"``: keys and families as they are.

    Raises:
        OSError: the file exists, or cannot be written.
        ConfigError: (a ValueError) `max_bytes` or `ids` cannot be read.
        RuntimeError: another recording of the cache is active.

    """
    if ids not in IDS:
        raise ConfigError("ids", ids, ", ".join(IDS))
    return Recording(cache, Path(path), parse_max_bytes(max_bytes), plain=ids == "plain")


def parse_max_bytes(value: object, setting: str = "max_bytes") -> int:
    """Return the size limit of a trace, bytes; 0 = no limit.

    Raises:
        ConfigError: (a ValueError) it cannot be read, or is a percentage.

    """
    limit = ByteLimit.parse(value, setting=setting)
    if limit.is_relative:
        raise ConfigError(setting, value, "bytes as 64MiB, 1.5GB, 67108864, or 0 for no limit")
    return limit.resolve(0)


def new_file_in(directory: Path, name: str) -> Path:
    """Return a path for a trace of this process; the directory is made if it is missing.

    Raises:
        OSError: the directory cannot be made.

    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return directory / f"{name}-{started}-{os.getpid()}-{secrets.token_hex(3)}.jsonl"


@final
class Recording:
    """An active recording, started by `record`. A context manager, closed at exit. Thread-safe."""

    def __init__(self, cache: DagCache[Any, Any], path: Path, max_bytes: int, *, plain: bool) -> None:
        self.path = path
        self._cache = weakref.ref(cache)
        self._started = time.monotonic()
        self._pid = os.getpid()
        self._queue: deque[tuple[float, LookupEvent]] = deque()
        self._lost = 0
        self._ending = threading.Event()
        self._watching = threading.Lock()  # held while the cache reports to this recording
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        self._file = _File(os.open(path, flags, 0o600), max_bytes)
        self._format = _Format(plain=plain)
        self._writer = threading.Thread(target=self._write_until_ended, name="dagcache-trace", daemon=True)
        try:
            self._file.write(_line(_header(cache, plain=plain)))
            cache.watch(self._note)
        except BaseException:
            self._file.close()
            path.unlink()
            raise
        self._watching.acquire()
        atexit.register(self.close)
        self._start()

    @property
    def active(self) -> bool:
        """Whether this process records lookups."""
        return self._watching.locked() and self._pid == os.getpid()

    @property
    def lost(self) -> int:
        """Lookups that could not be written because the disk did not keep up."""
        return self._lost

    def close(self) -> None:
        """End the recording and write the waiting lookups; a second call does nothing."""
        if self._pid != os.getpid():
            return  # the file belongs to the parent process
        atexit.unregister(self.close)
        self._unwatch()
        self._ending.set()
        if self._writer is not threading.current_thread() and self._writer.is_alive():
            self._writer.join(_PATIENCE)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _note(self, event: LookupEvent) -> None:
        """Queue a lookup; the cache calls this during the lookup."""
        try:
            if not self._watching.locked():
                return  # ended with its cache, of which a bound lookup is left
            if len(self._queue) < _MOST_WAITING:
                self._queue.append((time.monotonic() - self._started, event))
            else:
                self._lost += 1
        except Exception:  # out of memory: a gap in a trace must not fail the lookup
            self._lost += 1

    # ---- the writer's thread ----

    def _start(self) -> None:
        try:
            self._writer.start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._unwatch()
            self._file.close()
            _log.warning("could not start a thread to record lookups in %s: nothing is recorded", self.path)

    def _write_until_ended(self) -> None:
        try:
            room = (
                self._drain_until_ended() and self._drain()
            )  # a loop must not stand in a try block: tests/unit/core/test_interrupts.py
            self._unwatch()
            self._file.write(_line({"end": "closed" if room else "full", "lost": self._lost}))
            if not room:
                _log.info("recording ended: trace %s is full (%s)", self.path, format_bytes(self._file.max_bytes))
        except OSError as error:
            _log.warning("recording in %s failed and ended: %s", self.path, error.strerror)
        except Exception:
            _log.exception("recording in %s failed and ended", self.path)
        finally:
            self._unwatch()
            self._file.close()
            atexit.unregister(self.close)

    def _drain_until_ended(self) -> bool:
        """Write at intervals until the recording ends; return False if the file is full."""
        room = True
        while room and not self._ending.wait(_EVERY_SECONDS) and self._cache() is not None:
            room = self._drain()
        return room

    def _drain(self) -> bool:
        """Write the waiting lookups; return False if the file is full."""
        rows = []
        room = self._file.room - _END_BYTES
        for _ in range(len(self._queue)):
            row = self._format.row(*self._queue.popleft())
            room -= len(row)
            if room < 0:
                break
            rows.append(row)
        self._file.write(b"".join(rows))
        return room >= 0

    def _unwatch(self) -> None:
        """Stop the reports of the cache; once only, because it may report to another recording afterwards."""
        try:
            self._watching.release()
        except RuntimeError:  # stopped already
            return
        cache = self._cache()
        if cache is not None:
            cache.watch(None)


class _File:
    """A descriptor without a buffer, so that a forked child has nothing to write again."""

    def __init__(self, descriptor: int, max_bytes: int) -> None:
        self._descriptor = descriptor
        self.max_bytes = max_bytes or 2**62
        self._size = 0

    @property
    def room(self) -> int:
        """Bytes that may still be written."""
        return self.max_bytes - self._size

    def write(self, data: bytes) -> None:
        """Write all of it."""
        while data:
            written = os.write(self._descriptor, data)
            self._size += written
            data = data[written:]

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


class _Format:
    """The format of rows, with the facts written so far."""

    def __init__(self, *, plain: bool) -> None:
        self._salt = b"" if plain else secrets.token_bytes(16)
        self._stated: dict[str, EntryFacts] = {}

    def row(self, at: float, event: LookupEvent) -> bytes:
        key, tier, seconds, facts = event
        name = self._name(key)
        row: list[Any] = [round(at, 3), name, TIERS[tier], round(seconds, 6) or 0]
        if facts is not None and self._stated.get(name) != facts:
            if len(self._stated) >= _MOST_KNOWN:
                self._stated.clear()
            self._stated[name] = facts
            live_bytes, frozen_bytes, load_seconds, family, order, record_bytes = facts
            row += [live_bytes, frozen_bytes, round(load_seconds, 6)]
            row += [None, 0] if family is None else [self._name(family, b"family"), order]
            row.append(record_bytes)
        return _line(row)

    def _name(self, key: Hashable, kind: bytes = b"") -> str:
        try:
            text = str(key)
        except Exception:
            text = f"{type(key).__name__} {hash(key)}"
        if not self._salt:
            return text[:_LONGEST_ID]
        return blake2b(text.encode("utf-8", "replace"), key=self._salt, person=kind, digest_size=6).hexdigest()


def _line(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _header(cache: DagCache[Any, Any], *, plain: bool) -> dict[str, object]:
    memory = memory_limit()
    ids: Literal["plain", "hashed"] = "plain" if plain else "hashed"
    return {
        "dagcache_trace": FORMAT,
        "cache": cache.config.name,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "ids": ids,
        "max_bytes": cache.max_bytes,
        "ttl": cache.config.ttl,
        "mode": cache.config.mode,
        "frozen": cache.config.frozen,
        "unproven_share": cache.config.unproven_share,
        "memory_limit": cache.config.memory_limit or memory.bytes,
        "memory_source": "config" if cache.config.memory_limit else memory.source,
        "workers": cache.config.workers,
        "dagcache": own_version(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
    }
