"""The process's memory and its limits, read from made-up trees of /proc and /sys."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from pathlib import Path

import pytest

from dagcache.sizing.cgroups import Stall
from dagcache.sizing.memory import (
    MemoryLimit,
    MemoryUse,
    container_use,
    give_back,
    memory_limit,
    memory_stall,
    resident_bytes,
    unreclaimable_bytes,
)

MIB = 1024**2
GIB = 1024**3
UNLIMITED_V1 = "9223372036854771712"


V2 = ("cgroup2", "rw")
V1 = ("cgroup", "rw,memory")


def tree(root: Path, *mounts: tuple[str, str, tuple[str, str]], **files: str) -> Path:
    """A machine of 8 GiB with the given files, and the given mounts: root of the mount, its point, its kind."""
    files = {"proc/meminfo": "MemTotal:        8388608 kB\nMemFree: 1 kB\n"} | files
    device = root.stat().st_dev
    here = f"{os.major(device)}:{os.minor(device)}"
    lines = ["22 1 254:0 / / rw,relatime - ext4 /dev/root rw"]
    for number, (mount_root, point, (kind, options)) in enumerate(mounts):
        lines.append(
            f"{number + 30} 22 {here} {mount_root} {point} rw,nosuid shared:9 master:4 - {kind} {kind} {options}"
        )
        (root / point.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for name, text in ({"proc/self/mountinfo": "\n".join(lines) + "\n"} | files).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


ROOT_V2 = ("/", "/sys/fs/cgroup", V2)
ROOT_V1 = ("/", "/sys/fs/cgroup/memory", V1)


def test_a_container_sees_its_limit_at_the_root_of_version_2(tmp_path: Path) -> None:
    """With a namespace of its own the process is in /, and the limit is in the mount point."""
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{512 * MIB}\n"})
    assert memory_limit(tmp_path) == MemoryLimit(512 * MIB, "cgroup2")


def test_the_file_that_states_the_limit_is_named(tmp_path: Path) -> None:
    """Of the level that bounds the process; without a limit it is the machine's."""
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.high": f"{512 * MIB}\n"})
    assert memory_limit(tmp_path).file == str(tmp_path / "sys/fs/cgroup/a/memory.high")
    (tmp_path / "sys/fs/cgroup/a/memory.high").write_text("max")
    assert memory_limit(tmp_path).file == str(tmp_path / "proc/meminfo")


@pytest.mark.parametrize(("outer", "inner"), [(300, 500), (500, 300)])
@pytest.mark.parametrize("name", ["memory.max", "memory.high"])
def test_the_tightest_limit_up_the_tree_counts(tmp_path: Path, outer: int, inner: int, name: str) -> None:
    """A slice bounds its services, even below their own limits."""
    tree(
        tmp_path,
        ROOT_V2,
        **{
            "proc/self/cgroup": "0::/app.slice/dag.service\n",
            f"sys/fs/cgroup/app.slice/{name}": str(outer * MIB),
            f"sys/fs/cgroup/app.slice/dag.service/{name}": str(inner * MIB),
            "sys/fs/cgroup/other.slice/memory.max": str(1 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(300 * MIB, "cgroup2")


@pytest.mark.parametrize(
    ("high", "most", "expected"), [("2147483648", "max", 2048), ("max", "300M", 8192), ("200", "400", 200)]
)
def test_the_lesser_of_high_and_max_is_the_limit(tmp_path: Path, high: str, most: str, expected: int) -> None:
    """Above memory.high the kernel slows the group down until it stands."""
    values = [str(int(text) * MIB) if text in ("200", "400") else text for text in (high, most)]
    files = dict(zip(("sys/fs/cgroup/memory.high", "sys/fs/cgroup/memory.max"), values, strict=True))
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/\n"}, **files)
    assert memory_limit(tmp_path).bytes == expected * MIB


def test_a_high_of_an_outer_group_bounds_an_inner_one_with_a_max(tmp_path: Path) -> None:
    """Both files count at every level."""
    tree(
        tmp_path,
        ROOT_V2,
        **{
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/memory.high": str(300 * MIB),
            "sys/fs/cgroup/a/b/memory.max": str(400 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(300 * MIB, "cgroup2")


@pytest.mark.parametrize("point", ["/sys/fs/cgroup/unified", "/run/cgroup2", "/mnt/a b\\c"])
def test_version_2_is_found_wherever_it_is_mounted(tmp_path: Path, point: str) -> None:
    """Hybrid machines mount it one level deeper, others elsewhere; mountinfo escapes spaces and backslashes."""
    escaped = point.replace("\\", "\\134").replace(" ", "\\040")
    files = {"proc/self/cgroup": "4:memory:/\n0::/x\n", f"{point[1:]}/x/memory.max": str(700 * MIB)}
    tree(tmp_path, ROOT_V1, ("/", escaped, V2), **files)
    assert memory_limit(tmp_path) == MemoryLimit(700 * MIB, "cgroup2")


@pytest.mark.parametrize(
    ("controllers", "options"),
    [
        ("memory", "rw,memory"),
        ("memory,hugetlb", "rw,memory,hugetlb"),
        ("cpuset,memory", "rw,cpuset,memory"),
        ("memory,cpu", "rw,cpu,memory"),
    ],
)
@pytest.mark.parametrize("point", ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/together", "/cgroup"])
def test_version_1_is_found_with_whatever_controllers_it_is_mounted(
    tmp_path: Path, controllers: str, options: str, point: str
) -> None:
    """The memory controller may share its hierarchy with others, and lie at another point."""
    tree(
        tmp_path,
        ("/", "/sys/fs/cgroup/cpuacct", ("cgroup", "rw,cpuacct")),
        ("/", point, ("cgroup", options)),
        **{
            "proc/self/cgroup": f"7:cpuacct:/no\n5:{controllers}:/a/b\n0::/\n",
            f"{point[1:]}/a/memory.limit_in_bytes": str(400 * MIB),
            f"{point[1:]}/a/b/memory.limit_in_bytes": UNLIMITED_V1,
            f"{point[1:]}/no/memory.limit_in_bytes": str(100 * MIB),
            "sys/fs/cgroup/cpuacct/a/b/memory.limit_in_bytes": str(100 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(400 * MIB, "cgroup1")


@pytest.mark.parametrize(("kind", "name"), [(V2, "memory.max"), (V1, "memory.limit_in_bytes")])
@pytest.mark.parametrize("point", ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/mnt/mine"])
def test_a_mounted_subtree_is_the_containers_group(
    tmp_path: Path, kind: tuple[str, str], name: str, point: str
) -> None:
    """Without a cgroup namespace the path is the host's: the root of the mount is the part of it that is cut off."""
    tree(
        tmp_path,
        ("/docker/abc", point, kind),
        **{
            "proc/self/cgroup": "5:memory:/docker/abc/inner\n0::/docker/abc/inner\n",
            f"{point[1:]}/{name}": str(600 * MIB),
            f"{point[1:]}/inner/{name}": str(500 * MIB),
            f"{point[1:]}/docker/abc/{name}": str(100 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(500 * MIB, "cgroup2" if kind is V2 else "cgroup1")


@pytest.mark.parametrize(
    ("mount_root", "group"),
    [
        ("/docker/other", "/docker/abc"),  # another container's subtree
        ("/docker/abcdef", "/docker/abc"),  # only the beginning of its name is equal
        ("/docker/abc/inner", "/docker/abc"),  # below the process's own group
        ("/", "/../sibling"),  # the process was moved out of its namespace
        ("/", "/../../outside"),
        ("/../sibling", "/"),  # a mount of another namespace
        ("/..", "/../../outside"),
        ("/", "relative"),
        ("relative", "/"),
        ("/", "/a/../b"),
        ("/", "/a/./b"),
        ("/", ""),
    ],
)
def test_a_group_that_is_not_certainly_above_the_process_is_left_out(
    tmp_path: Path, mount_root: str, group: str
) -> None:
    """The machine's memory is taken rather than a wrong number."""
    files = {"proc/self/cgroup": f"0::{group}\n5:memory:{group}\n"}
    for name in ("memory.max", "outside/memory.max", "a/memory.max", "b/memory.max", "memory.limit_in_bytes"):
        files[f"sys/fs/cgroup/{name}"] = str(64 * MIB)
    tree(tmp_path, (mount_root, "/sys/fs/cgroup", V2), (mount_root, "/sys/fs/cgroup", V1), **files)
    assert memory_limit(tmp_path) == MemoryLimit(8 * GIB, "machine")


@pytest.mark.parametrize(
    ("mount_root", "group", "directory"),
    [
        ("/..", "/", ""),  # the mount shows one level more than the namespace; its own name is unknown
        ("/../..", "/..", ""),
        ("/../..", "/a", ""),
        ("/..", "/../sibling", "sibling"),
        ("/../pod", "/../pod/container", "container"),
        ("/../pod", "/../pod", ""),
    ],
)
def test_levels_above_the_namespace_count_as_far_as_they_are_certain(
    tmp_path: Path, mount_root: str, group: str, directory: str
) -> None:
    """A mount made outside of the cgroup namespace has a root that starts with /.. there."""
    files = {"proc/self/cgroup": f"0::{group}\n", f"sys/fs/cgroup/{directory}/memory.max": str(600 * MIB)}
    tree(tmp_path, (mount_root, "/sys/fs/cgroup", V2), **files)
    (tmp_path / "sys/fs/cgroup/a").mkdir(exist_ok=True)
    (tmp_path / "sys/fs/cgroup/a/memory.max").write_text(str(64 * MIB))
    assert memory_limit(tmp_path) == MemoryLimit(600 * MIB, "cgroup2")


def test_of_several_mounts_the_least_limit_of_an_own_group_counts(tmp_path: Path) -> None:
    """A container may also see the host's mount, with levels above its own."""
    tree(
        tmp_path,
        ROOT_V2,
        ("/../..", "/host/sys/fs/cgroup", V2),
        ("/other", "/mnt/other", V2),
        **{
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": str(600 * MIB),
            "host/sys/fs/cgroup/memory.max": str(500 * MIB),
            "mnt/other/memory.max": str(100 * MIB),
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(500 * MIB, "cgroup2")


def test_of_two_mounts_at_one_point_the_upper_one_is_what_is_seen(tmp_path: Path) -> None:
    """The one that lies below has a root that would fit."""
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(100 * MIB)}
    tree(tmp_path, ROOT_V2, ("/elsewhere", "/sys/fs/cgroup", V2), **files)
    assert memory_limit(tmp_path) == MemoryLimit(8 * GIB, "machine")


def test_a_mount_that_something_else_covers_is_left_out(tmp_path: Path) -> None:
    """The file system that is seen there has another device."""
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(100 * MIB)}
    tree(tmp_path, ROOT_V2, **files)
    mounts = tmp_path / "proc/self/mountinfo"
    device = tmp_path.stat().st_dev
    mounts.write_text(mounts.read_text().replace(f"{os.major(device)}:{os.minor(device)}", "99:99"))
    assert memory_limit(tmp_path) == MemoryLimit(8 * GIB, "machine")


@pytest.mark.parametrize(
    "text", ["", "garbage", "30 22 0:1 / /x rw", "30 22 - cgroup2 x rw", "30 22 0:1 / /gone rw - cgroup2 c rw"]
)
def test_mounts_that_cannot_be_read_leave_the_machine(tmp_path: Path, text: str) -> None:
    """No place is taken for granted."""
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(100 * MIB), "proc/self/mountinfo": text}
    tree(tmp_path, **files)
    assert memory_limit(tmp_path) == MemoryLimit(8 * GIB, "machine")


def test_version_1_counts_limits_above_what_the_container_sees(tmp_path: Path) -> None:
    """memory.stat states the minimum of all levels."""
    tree(
        tmp_path,
        ROOT_V1,
        **{
            "proc/self/cgroup": "5:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
            "sys/fs/cgroup/memory/memory.stat": f"cache 0\nhierarchical_memory_limit {250 * MIB}\nrss 5\n",
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(250 * MIB, "cgroup1")


def test_version_1_without_hierarchy_leaves_out_what_is_not_in_force(tmp_path: Path) -> None:
    """Before Linux 5.11 a group could be exempt from the limits above it; its memory.stat says so."""
    tree(
        tmp_path,
        ROOT_V1,
        **{
            "proc/self/cgroup": "5:memory:/a/b\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": str(200 * MIB),
            "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": str(500 * MIB),
            "sys/fs/cgroup/memory/a/b/memory.stat": f"hierarchical_memory_limit {500 * MIB}\n",
        },
    )
    assert memory_limit(tmp_path) == MemoryLimit(500 * MIB, "cgroup1")


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
@pytest.mark.parametrize("name", ["memory.max", "memory.high"])
def test_limits_of_no_effect_and_absurd_ones_leave_the_machine(tmp_path: Path, name: str, text: str) -> None:
    """Unlimited, unreadable, more than there is, or less than an interpreter needs."""
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/\n", f"sys/fs/cgroup/{name}": text})
    assert memory_limit(tmp_path) == MemoryLimit(8 * GIB, "machine")


@pytest.mark.parametrize("text", ["", "garbage", "0:::\n", "0::relative\n", "0\n", ":::\n"])
def test_without_a_group_of_its_own_a_process_has_the_machine(tmp_path: Path, text: str) -> None:
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": text, "sys/fs/cgroup/memory.max": str(512 * MIB)})
    assert memory_limit(tmp_path) == MemoryLimit(8 * GIB, "machine")


def test_a_group_whose_directory_cannot_be_read_has_the_limits_above_it(tmp_path: Path) -> None:
    """A name that no directory can have."""
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/\x00\n", "sys/fs/cgroup/memory.max": str(512 * MIB)})
    assert memory_limit(tmp_path) == MemoryLimit(512 * MIB, "cgroup2")


def test_a_changed_limit_is_seen_at_once(tmp_path: Path) -> None:
    """A pod that is resized in place has the same files."""
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(2 * GIB)})
    assert memory_limit(tmp_path).bytes == 2 * GIB
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(str(GIB))
    assert memory_limit(tmp_path).bytes == GIB


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_while_no_file_can_be_opened_the_last_limit_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A scheduler that is out of descriptors must not take itself for one without a container."""
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(512 * MIB)})
    before = memory_limit(tmp_path)

    def fail(*_: object, **__: object) -> str:
        raise OSError(number, "none is left")

    monkeypatch.setattr(Path, "read_text", fail)
    assert memory_limit(tmp_path) is before
    assert memory_limit(tmp_path / "never seen").source == "machine"
    for ask in (container_use, memory_stall):
        with pytest.raises(OSError, match="none is left"):
            ask(tmp_path)
    with pytest.raises(OSError, match="none is left"):
        unreclaimable_bytes()


def test_a_directory_in_place_of_a_file_is_no_limit(tmp_path: Path) -> None:
    """Unreadable files are skipped, for any reason."""
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/\n"})
    (tmp_path / "sys/fs/cgroup/memory.max").mkdir(parents=True)
    assert memory_limit(tmp_path) == MemoryLimit(8 * GIB, "machine")


def test_without_meminfo_the_machine_is_asked(tmp_path: Path) -> None:
    """The number and the size of its pages."""
    expected = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory_limit(tmp_path) == MemoryLimit(expected, "machine")
    assert memory_limit(tmp_path).file == ""


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


def test_the_process_uses_anonymous_and_shared_memory_and_not_pages_of_files(tmp_path: Path) -> None:
    """The kernel reclaims pages of files before it kills."""
    status = tmp_path / "status"
    status.write_text("VmRSS:\t  500 kB\nRssAnon:\t     100 kB\nRssFile:\t     390 kB\nRssShmem:\t      10 kB\n")
    assert unreclaimable_bytes(status) == 110 * 1024


@pytest.mark.parametrize("text", ["", "VmRSS: 500 kB\n", "RssAnon: 100 kB\n", "RssAnon: many kB\nRssShmem: 1 kB\n"])
def test_where_kinds_of_pages_are_not_told_apart_the_process_uses_what_is_resident(tmp_path: Path, text: str) -> None:
    """Kernels before 4.5, and systems without /proc."""
    status, statm = tmp_path / "status", tmp_path / "statm"
    status.write_text(text)
    statm.write_text("1000 250 30 1 0 200 0\n")
    assert unreclaimable_bytes(status, statm) == 250 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the kinds of pages apart")
def test_a_file_that_is_mapped_and_read_is_not_used_memory(tmp_path: Path) -> None:
    """64 MiB of it are resident, and may be dropped."""
    size = 64 * MIB
    path = tmp_path / "mapped"
    path.write_bytes(bytes(size))
    used, resident = unreclaimable_bytes(), resident_bytes()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        assert resident_bytes() - resident > 0.9 * size
        assert unreclaimable_bytes() - used < 0.1 * size
    with mmap.mmap(-1, size) as shared:
        shared.write(bytes(size))
        assert unreclaimable_bytes() - used > 0.9 * size


def group(current: int, limit: str, **stat: int) -> dict[str, str]:
    """The files of a group of version 2."""
    return {
        "memory.current": str(current * MIB),
        "memory.max": limit,
        "memory.stat": "".join(f"{name} {number * MIB}\n" for name, number in stat.items()) + "broken\nbad line\n",
    }


def below(directory: str, files: dict[str, str]) -> dict[str, str]:
    """Those files in a directory."""
    return {f"{directory}/{name}": text for name, text in files.items()}


def test_a_container_uses_what_all_its_processes_do_less_what_can_be_reclaimed(tmp_path: Path) -> None:
    """Clean pages of files and slab that the kernel can free; dirty pages and shared memory stay."""
    stat = {"anon": 300, "file": 250, "shmem": 50, "inactive_file": 120, "active_file": 80, "file_dirty": 15}
    files = group(600, str(GIB), **stat, file_writeback=5, slab_reclaimable=40)
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/\n"}, **below("sys/fs/cgroup", files))
    assert container_use(tmp_path) == [MemoryUse((600 - (120 + 80 - 15 - 5) - 40) * MIB, GIB)]


def test_each_limited_level_has_its_own_use(tmp_path: Path) -> None:
    """A slice that others have filled bounds a container with room of its own; the lesser of high and max counts."""
    outer = group(900, str(GIB)) | {"memory.high": str(2 * GIB)}
    inner = group(100, str(2 * GIB)) | {"memory.high": str(512 * MIB)}
    unlimited = group(5000, "max")
    files = below("sys/fs/cgroup", unlimited) | below("sys/fs/cgroup/a", outer) | below("sys/fs/cgroup/a/b", inner)
    tree(tmp_path, ROOT_V2, **{"proc/self/cgroup": "0::/a/b\n"}, **files)
    assert container_use(tmp_path) == [MemoryUse(100 * MIB, 512 * MIB), MemoryUse(900 * MIB, GIB)]


def test_version_1_tells_its_use_in_other_files(tmp_path: Path) -> None:
    """With those of the groups below in the lines that start with total_."""
    tree(
        tmp_path,
        ROOT_V1,
        **{
            "proc/self/cgroup": "5:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(700 * MIB),
            "sys/fs/cgroup/memory/memory.stat": f"hierarchical_memory_limit {GIB}\nactive_file {5 * MIB}\n"
            f"total_inactive_file {100 * MIB}\ntotal_active_file {50 * MIB}\n"
            f"total_dirty {20 * MIB}\ntotal_writeback {10 * MIB}\n",
        },
    )
    assert container_use(tmp_path) == [MemoryUse(580 * MIB, GIB)]


def test_a_use_that_is_not_stated_is_left_out_and_one_below_0_is_0(tmp_path: Path) -> None:
    """The counts of memory.stat lag behind those of memory.current."""
    files = {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": str(GIB)}
    files |= below("sys/fs/cgroup", group(5, str(2 * GIB), inactive_file=9))
    tree(tmp_path, ROOT_V2, **files)
    assert container_use(tmp_path) == [MemoryUse(0, 2 * GIB)]
    assert container_use(tmp_path / "no machine") == []


STALLED = "some avg10=12.50 avg60=3.00 avg300=0.00 total=5\nfull avg10=7.25 avg60=0.00 avg300=0.00 total=1\n"
WORSE = STALLED.replace("12.50", "99.00")


def test_the_stalls_of_the_own_group_are_read(tmp_path: Path) -> None:
    """Not those of a group above it, nor those of the machine."""
    files = {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cgroup.events": "populated 1\n"}
    files |= {"sys/fs/cgroup/a/memory.pressure": STALLED, "sys/fs/cgroup/memory.pressure": WORSE}
    tree(tmp_path, ROOT_V2, **files, **{"proc/pressure/memory": WORSE})
    assert memory_stall(tmp_path) == Stall(some=12.5, full=7.25)


@pytest.mark.parametrize("limited", [False, True])
def test_the_stalls_of_the_machine_count_only_for_what_no_group_limits(tmp_path: Path, limited: bool) -> None:
    """In a container of version 1 they may be another container's. The root's file is the machine's, too."""
    files = {"proc/self/cgroup": "0::/\n5:memory:/\n", "sys/fs/cgroup/unified/memory.pressure": WORSE}
    files |= {"sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB) if limited else UNLIMITED_V1}
    tree(tmp_path, ("/", "/sys/fs/cgroup/unified", V2), ROOT_V1, **files, **{"proc/pressure/memory": STALLED})
    assert memory_stall(tmp_path) == (Stall() if limited else Stall(some=12.5, full=7.25))


@pytest.mark.parametrize("text", ["", "some", "some avg10=high avg60=0.00\n", "any avg10=50.00 avg60\n", "\xff\x00"])
def test_stalls_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    """Many kernels are built without them."""
    tree(tmp_path, **{"proc/self/cgroup": "0::/\n", "proc/pressure/memory": text})
    assert memory_stall(tmp_path) == Stall()


def test_a_group_of_which_only_a_level_above_is_certain_has_no_stalls(tmp_path: Path) -> None:
    """Those of the level above may be another group's."""
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.events": "populated 1\n"}
    tree(tmp_path, ("/..", "/sys/fs/cgroup", V2), **files, **{"sys/fs/cgroup/memory.pressure": STALLED})
    assert memory_stall(tmp_path) == Stall()


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
