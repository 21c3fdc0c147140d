"""The process's memory and its limit, read from fake trees of /proc and /sys."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

from dagcache.sizing import memory
from dagcache.sizing.memory import MemoryLimit, give_back, memory_limit, resident_bytes

MIB = 1024**2
GIB = 1024**3
UNLIMITED_V1 = "9223372036854771712"


def tree(root: Path, **files: str) -> Path:
    """A machine of 8 GiB with the given files."""
    files = {"proc/meminfo": "MemTotal:        8388608 kB\nMemFree: 1 kB\n"} | files
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_container_sees_its_limit_at_the_root_of_version_2(tmp_path: Path) -> None:
    """With a namespace of its own the process is in /, and the limit is in the mount point."""
    tree(tmp_path, **{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{512 * MIB}\n"})
    assert memory_limit(tmp_path) == MemoryLimit(512 * MIB, "cgroup2")


@pytest.mark.parametrize(("outer", "inner"), [(300, 500), (500, 300)])
def test_the_tightest_limit_up_the_tree_counts(tmp_path: Path, outer: int, inner: int) -> None:
    """A slice bounds its services whatever they are granted themselves."""
    tree(
        tmp_path,
        **{
            "proc/self/cgroup": "0::/app.slice/dag.service\n",
            "sys/fs/cgroup/app.slice/memory.max": str(outer * MIB),
            "sys/fs/cgroup/app.slice/dag.service/memory.max": str(inner * MIB),
            "sys/fs/cgroup/other.slice/memory.max": str(1 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(300 * MIB, "cgroup2")


def test_version_2_beside_version_1_is_found(tmp_path: Path) -> None:
    """Hybrid machines mount version 2 one level deeper."""
    tree(
        tmp_path,
        **{
            "proc/self/cgroup": "4:memory:/\n0::/x\n",
            "sys/fs/cgroup/unified/x/memory.max": str(700 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(700 * MIB, "cgroup2")


def test_version_1_is_read_up_the_tree(tmp_path: Path) -> None:
    """The memory controller may share its hierarchy with others."""
    tree(
        tmp_path,
        **{
            "proc/self/cgroup": "7:cpu,cpuacct:/no\n5:memory,hugetlb:/a/b\n0::/\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": str(400 * MIB),
            "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": UNLIMITED_V1,
            "sys/fs/cgroup/memory/no/memory.limit_in_bytes": str(100 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(400 * MIB, "cgroup1")


def test_a_version_1_container_sees_its_limit_although_its_path_is_the_hosts(tmp_path: Path) -> None:
    """Without a cgroup namespace the path does not exist inside; the mount point is the container's group."""
    tree(
        tmp_path,
        **{
            "proc/self/cgroup": "5:memory:/docker/abc\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(600 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(600 * MIB, "cgroup1")


def test_version_1_counts_limits_above_what_the_container_sees(tmp_path: Path) -> None:
    """The kernel tells the minimum of all levels in memory.stat."""
    tree(
        tmp_path,
        **{
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
            "sys/fs/cgroup/memory/memory.stat": f"cache 0\nhierarchical_memory_limit {250 * MIB}\nrss 5\n",
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(250 * MIB, "cgroup1")


@pytest.mark.parametrize(
    "text",
    [
        "max\n",
        "",
        "garbage",
        "-5",
        "0",
        "4096",
        str(8 * GIB),
        str(2**70),
        "9" * 5000,
        "\x00\xff",
        "1e9",
        "5GiB",
    ],
)
def test_limits_of_no_effect_and_absurd_ones_leave_the_machine(tmp_path: Path, text: str) -> None:
    """Unlimited, unreadable, more than there is, or less than an interpreter needs."""
    tree(tmp_path, **{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": text})
    assert memory_limit(tmp_path) == MemoryLimit(8 * GIB, "machine")


@pytest.mark.parametrize("text", ["", "garbage", "0::/../../outside\n", "0::/\x00\n", "0:::\n", "0::relative\n"])
def test_a_strange_group_path_falls_back_to_the_mount_point(tmp_path: Path, text: str) -> None:
    """Nothing outside of the mount point is read, and what is there counts."""
    tree(
        tmp_path,
        **{
            "proc/self/cgroup": text,
            "sys/fs/cgroup/memory.max": str(512 * MIB),
            "sys/outside/memory.max": str(2 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(512 * MIB, "cgroup2")


def test_a_directory_in_place_of_a_file_is_no_limit(tmp_path: Path) -> None:
    """Unreadable files are skipped, whatever the reason."""
    tree(tmp_path)
    (tmp_path / "sys/fs/cgroup/memory.max").mkdir(parents=True)
    assert memory_limit(tmp_path) == MemoryLimit(8 * GIB, "machine")


def test_without_meminfo_the_machine_is_asked(tmp_path: Path) -> None:
    """The number and the size of its pages."""
    expected = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory_limit(tmp_path) == MemoryLimit(expected, "machine")


@pytest.mark.parametrize("error", [ValueError, OSError, AttributeError])
def test_an_unknown_machine_counts_as_1_gib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """No source at all is still no exception."""

    def fail(name: str) -> int:
        raise error(name)

    monkeypatch.setattr(os, "sysconf", fail)
    assert memory_limit(tmp_path) == MemoryLimit(GIB, "machine")


def test_a_machine_that_tells_nonsense_counts_as_1_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems answer -1."""
    monkeypatch.setattr(os, "sysconf", lambda name: -1)
    tree(tmp_path, **{"proc/meminfo": "MemTotal: -4 kB\n"})
    assert memory_limit(tmp_path) == MemoryLimit(GIB, "machine")


def test_this_process_has_a_limit() -> None:
    """The real files give something plausible."""
    assert memory_limit().bytes > 64 * MIB


def test_resident_memory_is_read_in_pages(tmp_path: Path) -> None:
    """The second number of statm, times the page size."""
    statm = tmp_path / "statm"
    statm.write_text("1000 250 30 1 0 200 0\n")
    assert resident_bytes(statm) == 250 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("text", ["", "7", "a b c"])
def test_without_statm_resident_memory_is_the_peak(tmp_path: Path, text: str) -> None:
    """A damaged file is as good as none. The kernel counts the peak less finely: it may lag a little behind."""
    statm = tmp_path / "statm"
    statm.write_text(text)
    assert resident_bytes(statm) > 0.9 * resident_bytes() > MIB


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_is_in_the_units_of_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, unit: int
) -> None:
    """ru_maxrss is in KiB, but on macOS in bytes."""
    import resource

    usage = type("Usage", (), {"ru_maxrss": 5000})
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(sys, "platform", platform)
    assert resident_bytes(tmp_path / "absent") == 5000 * unit


def test_without_any_source_resident_memory_is_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every system has the resource module."""
    monkeypatch.setitem(sys.modules, "resource", None)
    assert resident_bytes(tmp_path / "absent") == 0


def test_giving_back_trims_the_heap_and_clears_the_method_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are called, once."""
    called: list[str] = []

    class Library:
        def __init__(self, name: str | None) -> None:
            pass

        def malloc_trim(self, pad: int) -> None:
            called.append(f"malloc_trim({pad})")

    monkeypatch.setattr(ctypes, "CDLL", Library)
    monkeypatch.setattr(sys, "_clear_internal_caches", lambda: called.append("clear"), raising=False)
    give_back()
    assert called == ["clear", "malloc_trim(0)"]


def test_giving_back_works_on_this_interpreter_without_a_warning() -> None:
    """Deprecation warnings are errors here."""
    give_back()


def test_giving_back_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a missing C function nor a failing cache is the caller's problem."""

    def fail(*args: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    monkeypatch.setattr(sys, "_clear_internal_caches", fail, raising=False)
    give_back()
    monkeypatch.setitem(sys.modules, "ctypes", None)
    monkeypatch.setattr(sys, "_clear_internal_caches", None)
    monkeypatch.delattr(sys, "_clear_type_cache", raising=False)
    give_back()


def test_the_sources_are_tried_from_the_strictest() -> None:
    """Version 2 wins where both are mounted."""
    assert [source for source, _ in memory._SOURCES] == ["cgroup2", "cgroup1"]
