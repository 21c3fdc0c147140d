"""The memory of the process and of what it runs in. Nothing here raises: a bad answer does less harm."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

Source = Literal["cgroup2", "cgroup1", "machine"]

_UNKNOWN_MACHINE = 1024**3
_ABSURDLY_SMALL = 1024**2  # no interpreter starts in less: a file that says so is not about us


@dataclass(frozen=True)
class MemoryLimit:
    """How many bytes the process may use before the kernel kills it, and who says so."""

    bytes: int
    source: Source


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """The process's resident memory in bytes.

    Without ``/proc`` it is the peak so far (``getrusage``), which never falls; 0 if there is not even that.
    """
    with suppress(OSError, ValueError, IndexError):
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return _peak_bytes()


def memory_limit(root: Path = Path("/")) -> MemoryLimit:
    """The tightest memory limit of the process's cgroup and all above it, else the memory of the machine.

    Limits of no effect (``max``, or not below the machine's memory) and unreadable ones count as none. Reads
    a dozen small files; ``root`` is where ``proc`` and ``sys`` are. If even the machine's memory cannot be
    told, it is taken as 1 GiB.
    """
    machine = _machine_bytes(root)
    for source, limits in _SOURCES:
        effective = [limit for limit in limits(root) if _ABSURDLY_SMALL <= limit < machine]
        if effective:
            return MemoryLimit(min(effective), source)
    return MemoryLimit(machine, "machine")


def give_back() -> None:
    """Return freed memory to the operating system as far as the allocators can.

    Clears the interpreter's method cache, which pins arenas of freed graphs, and trims glibc's heap.
    """
    clear = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    with suppress(Exception):
        if clear is not None:
            clear()
    with suppress(Exception):
        import ctypes  # slow to import, and missing from some builds

        ctypes.CDLL(None).malloc_trim(0)


def _cgroup2(root: Path) -> Iterator[int]:
    for mount in (root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"):
        for group in _upwards(mount, _own_group(root, "")):
            yield from _numbers(group / "memory.max")


def _cgroup1(root: Path) -> Iterator[int]:
    for group in _upwards(root / "sys/fs/cgroup/memory", _own_group(root, "memory")):
        yield from _numbers(group / "memory.limit_in_bytes")
        # The minimum of all levels, of those above the container's own root too.
        yield from _numbers(group / "memory.stat", label="hierarchical_memory_limit")


_SOURCES: tuple[tuple[Source, Callable[[Path], Iterator[int]]], ...] = (
    ("cgroup2", _cgroup2),
    ("cgroup1", _cgroup1),
)


def _own_group(root: Path, controller: str) -> str:
    """The path of the process's cgroup; version 2 has one hierarchy, whose list of controllers is empty."""
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator and controller in controllers.split(","):
            return path
    return "/"


def _upwards(mount: Path, group: str) -> Iterator[Path]:
    """The directories from the group up to the mount point.

    In a container the group's path may be the host's, of which only the mount point itself exists; a group
    outside of the container's view starts with ``..``.
    """
    parts = PurePosixPath(group).parts[1:]
    if ".." in parts:
        parts = ()
    for depth in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:depth])


def _machine_bytes(root: Path) -> int:
    for kibibytes in _numbers(root / "proc/meminfo", label="MemTotal:"):
        if kibibytes * 1024 >= _ABSURDLY_SMALL:
            return kibibytes * 1024
    with suppress(OSError, ValueError, AttributeError):
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if pages >= _ABSURDLY_SMALL:
            return pages
    return _UNKNOWN_MACHINE


def _numbers(path: Path, label: str | None = None) -> Iterator[int]:
    """The number in a file of one number, or the numbers in the lines that start with the label."""
    for line in _lines(path):
        words = line.split()
        if label is not None:
            if words[:1] != [label]:
                continue
            words = words[1:]
        with suppress(ValueError, IndexError):
            yield int(words[0])


def _lines(path: Path) -> list[str]:
    with suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def _peak_bytes() -> int:
    try:
        import resource
    except ImportError:  # not POSIX
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
