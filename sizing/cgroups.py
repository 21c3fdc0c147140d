"""The control groups that bound the process's memory: their limits, their use, their stalls.

``/proc/self/cgroup`` names the process's group, and ``/proc/self/mountinfo`` the directories in which groups can be
seen. A group counts only if it certainly is the process's own or one above that. A container may see mounts of another
namespace, of a subtree, or of unrelated groups, and the limit of a wrong group is worse than none. See
cgroups(7), cgroup_namespaces(7), proc_pid_mountinfo(5), and cgroup-v2.rst and cgroup-v1/memory.rst of the kernel.

Every function may raise OSError where a file cannot be read at this moment (see `kernel_files.lines`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dagcache.sizing.kernel_files import lines, numbers, table

Version = Literal["cgroup2", "cgroup1"]

_STALL_FILE = "memory.pressure"
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class GroupLimit:
    """A number of bytes that a file states as the limit of a group; the file lies in the directory of the group."""

    bytes: int
    version: Version
    file: Path


@dataclass(frozen=True)
class Stall:
    """The share of the last ten seconds in which tasks waited for memory, in per cent (0.0 to 100.0)."""

    some: float = 0.0
    """At least one task waited."""
    full: float = 0.0
    """All tasks that had work waited: nothing was done."""


def group_limits(root: Path) -> Iterator[GroupLimit]:
    """The limits of the process's own group and of those above it, as far as they can be seen; ``max`` is left out.

    Of equal ones, the file of the innermost group comes first. In version 2, ``memory.high`` is a limit as
    ``memory.max`` is: above it the kernel slows the group down to a halt.
    """
    for directory in _directories(root, "cgroup2"):
        for name in ("memory.max", "memory.high"):
            for limit in numbers(directory / name):
                yield GroupLimit(limit, "cgroup2", directory / name)
    hidden: GroupLimit | None = None
    for directory in _directories(root, "cgroup1"):
        # The least of all levels, also of those that cannot be seen. Without `memory.use_hierarchy` (before Linux 5.11)
        # the levels above do not bound the group: a lower limit there is not in force.
        if hidden is None:
            file = directory / "memory.stat"
            stated = next(numbers(file, label="hierarchical_memory_limit"), None)
            hidden = None if stated is None else GroupLimit(stated, "cgroup1", file)
        for limit in numbers(directory / "memory.limit_in_bytes"):
            if hidden is None or limit >= hidden.bytes:
                yield GroupLimit(limit, "cgroup1", directory / "memory.limit_in_bytes")
    if hidden is not None:
        yield hidden


def used_bytes(directory: Path, version: Version) -> int | None:
    """The bytes of a group that the kernel cannot reclaim: without clean pages of files and reclaimable slab.

    None where the directory does not say so.
    """
    stat = table(directory / "memory.stat")
    if version == "cgroup2":
        current, prefix, dirty = "memory.current", "", ("file_dirty", "file_writeback")
    else:
        current, prefix, dirty = "memory.usage_in_bytes", "total_", ("total_dirty", "total_writeback")
    used = next(numbers(directory / current), None)
    if used is None:
        return None
    files = stat.get(f"{prefix}inactive_file", 0) + stat.get(f"{prefix}active_file", 0)
    clean = max(0, files - sum(stat.get(label, 0) for label in dirty))
    return max(0, used - clean - stat.get("slab_reclaimable", 0))


def own_stall(root: Path) -> Stall | None:
    """How the process's own group of version 2 waits for memory; None where the kernel does not say so.

    The root of all groups is left out: its file speaks of the whole machine, as ``/proc/pressure/memory`` does.
    """
    for directory in _directories(root, "cgroup2", above=False):
        if lines(directory / "cgroup.events"):  # every group has it, except the root
            return read_stall(directory / _STALL_FILE)
    return None


def read_stall(path: Path) -> Stall | None:
    """The averages over ten seconds (``avg10``) in a file of pressure stall information (PSI)."""
    found = {}
    for line in lines(path):
        match = re.match(r"(some|full) avg10=(\d{1,3}\.\d{1,2}) ", line)
        if match:
            found[match[1]] = float(match[2])
    return Stall(**found) if found else None


@dataclass(frozen=True)
class _Mount:
    device: str
    root: str
    point: str


def _directories(root: Path, version: Version, *, above: bool = True) -> Iterator[Path]:
    """The directories of the process's group and of those above it, from the innermost, per mount."""
    group = _own_group(root, version)
    if group is None:
        return
    for mount in _mounts(root, version):
        names = _path_below(mount.root, group)
        point = root / mount.point.lstrip("/")
        if names is None or not _is_mounted(mount, point):
            continue
        if not above:
            if names.complete:
                yield point.joinpath(*names.names)
            continue
        for depth in range(len(names.names), -1, -1):
            yield point.joinpath(*names.names[:depth])


def _own_group(root: Path, version: Version) -> str | None:
    """The path of the process's group, in its namespace; version 2 has one hierarchy, with an empty controller list."""
    controller = "" if version == "cgroup2" else "memory"
    for line in lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator and controller in controllers.split(","):
            return path
    return None


def _mounts(root: Path, version: Version) -> list[_Mount]:
    """Where groups of the memory controller are mounted; of several mounts at one point the last, which is on top."""
    found: dict[str, _Mount] = {}
    for line in lines(root / "proc/self/mountinfo"):
        if " - cgroup" not in line:  # some machines have thousands of mounts
            continue
        left, _, right = line.partition(" - ")
        mount, filesystem = left.split(" "), right.split(" ")
        if len(mount) < 6 or len(filesystem) < 3:
            continue
        kind, options = filesystem[0], filesystem[2].split(",")
        if (version == "cgroup2" and kind == "cgroup2") or (
            version == "cgroup1" and kind == "cgroup" and "memory" in options
        ):
            point = _unescaped(mount[4])
            found[point] = _Mount(mount[2], _unescaped(mount[3]), point)
    return list(found.values())


def _unescaped(text: str) -> str:
    r"""A field of mountinfo: spaces, tabs, newlines and backslashes are written as ``\040`` there."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def _is_mounted(mount: _Mount, point: Path) -> bool:
    """Whether the mount is visible at its point: another file system may lie over it."""
    with suppress(OSError, ValueError):
        device = point.stat().st_dev
        return mount.device == f"{os.major(device)}:{os.minor(device)}"
    return False


@dataclass(frozen=True)
class _Names:
    names: tuple[str, ...]
    complete: bool
    """Whether they lead to the group itself, not just to one above it."""


def _path_below(mount_root: str, group: str) -> _Names | None:
    """The names that lead from the root of a mount to a group; None if the group is not certainly below that root.

    Both paths are relative to the root of the process's cgroup namespace: each leading ``/..`` is a level above that.
    The names of the levels between are unknown, so that of a root further up only the root itself is certain.
    """
    top, inner = _split(mount_root), _split(group)
    if top is None or inner is None:
        return None
    (top_ups, top_names), (inner_ups, inner_names) = top, inner
    if top_ups == inner_ups and inner_names[: len(top_names)] == top_names:
        return _Names(inner_names[len(top_names) :], complete=True)
    if top_ups > inner_ups and not top_names:
        return _Names((), complete=False)
    return None


def _split(path: str) -> tuple[int, tuple[str, ...]] | None:
    """The number of levels that a path leads up, and the names that then lead down; None for any other path."""
    if not path.startswith("/"):
        return None
    names = [name for name in path.split("/") if name]
    ups = next((number for number, name in enumerate(names) if name != ".."), len(names))
    down = tuple(names[ups:])
    return None if {".", ".."} & set(down) else (ups, down)
