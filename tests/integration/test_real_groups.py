"""The memory limit, the use and the watch over both, in control groups that the kernel enforces."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dagcache.sizing.cgroups import Version, _directories
from tests.support.groups import LIMIT_FILE, MIB, Group, Member, MemberDiedError, NoGroupError, made_group
from tests.support.patience import PATIENCE

VERSIONS: list[Version] = ["cgroup1", "cgroup2"]


@pytest.fixture(params=VERSIONS)
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """A real group of 256 MiB; skipped where this machine does not let the tests make one."""
    with ExitStack() as stack:
        try:
            made = stack.enter_context(made_group(request.param))
        except NoGroupError as error:
            pytest.skip(str(error))
        made.limit_to(256 * MIB)
        yield made


@pytest.fixture
def join(group: Group) -> Iterator[Callable[..., Member]]:
    """Starts processes in the group, and ends them."""
    members: list[Member] = []

    def start(**settings: Any) -> Member:
        members.append(Member(group, **({"max_bytes": "25%"} | settings)))
        return members[-1]

    yield start
    for member in members:
        member.end()


def test_a_real_limit_is_found_with_its_file_and_followed(group: Group, join: Callable[..., Member]) -> None:
    """When it changes in place, as a pod's does."""
    member = join()
    assert member("look")["limit"] == {
        "bytes": 256 * MIB,
        "source": group.version,
        "file": str(group.limit_file),
    }
    group.limit_to(512 * MIB)
    assert member("look")["limit"]["bytes"] == 512 * MIB
    assert member("step", 5)["budget"] == 128 * MIB
    group.limit_to(128 * MIB)
    assert member("step", 5)["budget"] == 32 * MIB


def test_a_real_limit_of_the_group_above_counts(group: Group) -> None:
    """The group's own is wider."""
    if group.version == "cgroup2":
        (group.directory / "cgroup.subtree_control").write_text("+memory")
    with made_group(group.version, above=group.directory) as inner:
        inner.limit_to(300 * MIB)
        member = Member(inner)
        try:
            assert member("look")["limit"]["bytes"] == 256 * MIB
        finally:
            member.end()


OWN_MOUNT = {"cgroup1": "mount -t cgroup -o memory none {place}", "cgroup2": "mount -t cgroup2 none {place}"}
LAYOUTS: dict[str, tuple[str, str, int]] = {
    "as it is": ("", "true", 200),
    "a namespace with a mount of its own": ("-C", "{own_mount} && umount {point}", 200),
    "a namespace with the mounts from outside": ("-C", "true", 0),
    "a subtree bound to another point": ("", "mount --bind {outer} {place} && umount {point}", 200),
    "the own group bound over the mount": ("", "mount --bind {inner} {point}", 200),
    "another group's subtree": ("", "mount --bind {other} {place} && umount {point}", 0),
    "a mount that another file system covers": (
        "",
        "mount -t tmpfs none {point} && cp {place}/limit {point}/{name}",
        0,
    ),
}
"""By name: the namespaces beside that of mounts, the commands that change the mounts, the certain limit in MiB."""

_CANNOT = 77


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux, to make namespaces")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_a_real_layout_of_mounts_the_limit_is_the_groups_or_the_machines(
    group: Group, layout: str, tmp_path: Path
) -> None:
    """The group within the group has 200 MiB; a group beside it, and a file of the same name, have 100."""
    if group.version == "cgroup2":
        (group.directory / "cgroup.subtree_control").write_text("+memory")
    with made_group(group.version, above=group.directory) as inner, made_group(group.version, group.directory) as other:
        inner.limit_to(200 * MIB)
        other.limit_to(100 * MIB)
        (tmp_path / "limit").write_text(str(100 * MIB))
        namespaces, commands, expected = LAYOUTS[layout]
        names = {"point": _mount_of(group), "place": tmp_path, "name": LIMIT_FILE[group.version]}
        names |= {"outer": group.directory, "inner": inner.directory, "other": other.directory}
        changes = commands.format(**names, own_mount=OWN_MOUNT[group.version].format(**names))
        ask = "from dagcache.sizing.memory import memory_limit as m; print(m().bytes, m().source)"
        script = f"{{ {changes}; }} || exit {_CANNOT}; exec {sys.executable} -c '{ask}'"
        enter = f'echo $$ > {inner.directory}/cgroup.procs && exec unshare -m {namespaces} sh -c "$0"'
        done = subprocess.run(
            ["sh", "-c", enter, script], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    if done.returncode == _CANNOT or "unshare failed" in done.stderr:
        pytest.skip(f"this layout cannot be made here: {done.stderr.strip()}")
    nbytes, source = done.stdout.split()
    assert source == (group.version if expected else "machine")
    assert not expected or int(nbytes) == expected * MIB


def _mount_of(group: Group) -> Path:
    """Where the groups of this version are mounted."""
    return list(_directories(Path("/"), group.version))[-1]


def test_a_real_group_uses_what_its_processes_allocate_and_not_their_clean_files(
    group: Group, join: Callable[..., Member]
) -> None:
    """Of all processes in it; the process's own use is its own alone."""
    member, other = join(), join()
    (before,) = member("look")["uses"]
    member("write", 64)
    assert group.raw_use() - before["used"] > 50 * MIB
    (written,) = member("look")["uses"]
    assert abs(written["used"] - before["used"]) < 10 * MIB
    own = member("look")["own"]
    other("allocate", 40)
    (shared,) = member("look")["uses"]
    assert 35 * MIB < shared["used"] - written["used"] < 50 * MIB
    assert shared["limit"] == 256 * MIB
    assert abs(member("look")["own"] - own) < 5 * MIB
    member("allocate", 40)
    assert member("look")["own"] - own > 35 * MIB


def test_a_real_group_that_another_process_fills_shrinks_the_cache(group: Group, join: Callable[..., Member]) -> None:
    """And it grows back when that process is gone."""
    member, other = join(max_bytes="64MiB"), join()
    member("fill", 60)
    assert member("step", 5)["state"] == "calm"
    other("allocate", 175)
    (use,) = member("look")["uses"]
    assert 0.9 * use["limit"] < use["used"] < use["limit"]
    shrunk = member("step", 5)
    assert shrunk["state"] == "shrinking"
    assert shrunk["held"] <= shrunk["budget"] < 60 * MIB
    other.end()
    states = [member("step", 60)["state"] for _ in range(20)]
    assert states[-1] == "calm"
    assert member("step", 60)["budget"] == 64 * MIB


@pytest.mark.parametrize("watched", [True, False])
def test_a_budget_above_a_real_limit_is_survived_under_watch_only(
    group: Group, join: Callable[..., Member], watched: bool
) -> None:
    """A budget of twice the limit, with a look after every 8 MiB; without the watch the kernel kills the process."""
    member = join(max_bytes="512MiB")
    states = set()
    try:
        for _ in range(50):
            member("fill", 8)
            if watched:
                states.add(member("step", 5)["state"])
    except (MemberDiedError, OSError):
        assert not watched
    else:
        assert watched
        (use,) = member("look")["uses"]
        assert use["used"] < use["limit"]
        assert "shrinking" in states


def test_a_real_group_of_version_2_tells_its_stalls() -> None:
    """Pressure stall information needs no memory controller."""
    with ExitStack() as stack:
        try:
            made = stack.enter_context(made_group("cgroup2", needs="memory.pressure"))
        except NoGroupError as error:
            pytest.skip(str(error))
        member = Member(made)
        stack.callback(member.end)
        assert member("look")["stall"]
