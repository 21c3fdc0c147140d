"""The memory that the process uses, and the memory that it may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dagcache.sizing.cgroups import GroupLimit, Stall, group_limits, own_stall, read_stall, used_bytes
from dagcache.sizing.kernel_files import numbers

Source = Literal["cgroup2", "cgroup1", "machine"]

_ROOT = Path("/")
_UNKNOWN_MACHINE = 1024**3
_ABSURDLY_SMALL = 1024**2  # no interpreter starts in less: a file that says so is not about this process


@dataclass(frozen=True)
class MemoryLimit:
    """How many bytes the process may use before the kernel kills it or slows it down, and the origin of the number."""

    bytes: int
    source: Source
    file: str = field(default="", compare=False)
    """The file that states the limit; empty if no file does."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes that are in use and cannot be reclaimed, and the limit that they count against."""

    used: int
    limit: int


_last: dict[Path, MemoryLimit] = {}


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """The process's resident memory (RSS) in bytes, file pages included.

    Without ``/proc`` it is the peak so far (``getrusage``), which never falls; 0 if there is not even that. Never
    raises. Thread-safe.
    """
    with suppress(OSError, ValueError, IndexError):
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return _peak_bytes()


def unreclaimable_bytes(status: Path = Path("/proc/self/status"), statm: Path = Path("/proc/self/statm")) -> int:
    """The process's anonymous and shared-memory pages in bytes: the kernel cannot drop these to make room.

    ``RssAnon`` and ``RssShmem`` of proc_pid_status(5) (Linux 4.5). Pages of files are left out: the kernel reclaims
    them before it kills. Where the kernel does not count them apart, it is `resident_bytes`. Thread-safe.

    Raises:
        OSError: the kernel cannot answer at this moment: no file descriptor is free.

    """
    kinds = [next(numbers(status, label=label), None) for label in ("RssAnon:", "RssShmem:")]
    kibibytes = [kind for kind in kinds if kind is not None]
    return sum(kibibytes) * 1024 if len(kibibytes) == len(kinds) else resident_bytes(statm)


def memory_limit(root: Path = _ROOT) -> MemoryLimit:
    """The least memory limit of the process's control group and all above it, else the memory of the machine.

    ``memory.max`` and ``memory.high`` (version 2) or ``memory.limit_in_bytes`` (version 1). Limits without effect
    (``max``, or not below the machine's memory) and unreadable ones do not count. Nor do limits of groups that are not
    certainly the process's own or above it. Reads a dozen small files below ``root``, which is where ``proc`` and
    ``sys`` are. If even the machine's memory is unknown, it is taken as 1 GiB. While no file can be read, because no
    file descriptor is free, the last answer stands. Never raises. Thread-safe.
    """
    try:
        found = _find_limit(root)
    except OSError:
        return _last.get(root) or MemoryLimit(_counted_pages(), "machine")
    _last[root] = found
    return found


def container_use(root: Path = _ROOT) -> list[MemoryUse]:
    """The use and the limit of each control group that bounds the process; none outside of containers. Thread-safe.

    A group's use is that of all its processes, without clean file pages and reclaimable slab.

    Raises:
        OSError: the kernel cannot answer at this moment: no file descriptor is free.

    """
    least: dict[Path, GroupLimit] = {}
    for limit in _effective(root, _machine_limit(root).bytes):
        directory = limit.file.parent
        if directory not in least or limit.bytes < least[directory].bytes:
            least[directory] = limit
    uses = ((used_bytes(directory, limit.version), limit.bytes) for directory, limit in least.items())
    return [MemoryUse(used, limit) for used, limit in uses if used is not None]


def memory_stall(root: Path = _ROOT) -> Stall:
    """How much of the last ten seconds was spent waiting for memory, by the kernel's PSI. Thread-safe.

    The stalls of the process's own control group (version 2), or those of the machine if no group limits the memory.
    Within a limited group without PSI there are none, because the machine's stalls may belong to other groups.

    Raises:
        OSError: the kernel cannot answer at this moment: no file descriptor is free.

    """
    found = own_stall(root)
    if found is None and _find_limit(root).source == "machine":
        found = read_stall(root / "proc/pressure/memory")
    return found or Stall()


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


def _find_limit(root: Path) -> MemoryLimit:
    machine = _machine_limit(root)
    least = min(_effective(root, machine.bytes), key=lambda limit: limit.bytes, default=None)
    return machine if least is None else MemoryLimit(least.bytes, least.version, str(least.file))


def _effective(root: Path, machine: int) -> Iterator[GroupLimit]:
    return (limit for limit in group_limits(root) if _ABSURDLY_SMALL <= limit.bytes < machine)


def _machine_limit(root: Path) -> MemoryLimit:
    file = root / "proc/meminfo"
    for kibibytes in numbers(file, label="MemTotal:"):
        if kibibytes * 1024 >= _ABSURDLY_SMALL:
            return MemoryLimit(kibibytes * 1024, "machine", str(file))
    return MemoryLimit(_counted_pages(), "machine")


def _counted_pages() -> int:
    """The machine's memory without a file."""
    with suppress(OSError, ValueError, AttributeError):
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if pages >= _ABSURDLY_SMALL:
            return pages
    return _UNKNOWN_MACHINE


def _peak_bytes() -> int:
    try:
        import resource
    except ImportError:  # not POSIX
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
