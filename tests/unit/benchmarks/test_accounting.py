"""The table of accounted bytes, from given bytes of processes. Without a scheduler."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.accounting import Found, Held, command, sentences, table
from benchmarks.allocated import Allocated, mean_of, write_down

MIB = 2**20


@pytest.fixture
def found() -> Found:
    """Schedulers of 100 MiB, in which the cache accounts for a tenth too much."""
    held = {
        label: [Held(110 * MIB * share, (100 + 100 * share) * MIB, 105 * MIB * share, 30 * MIB, weighing=0.01)] * 2
        for label, share in (("quarter", 0.25), ("half", 0.5), ("unbounded", 1.0))
    }
    return Found(held, {"quarter": 26 * MIB, "half": 51 * MIB})


def test_real_bytes_are_those_beyond_a_scheduler_without_dags(found: Found) -> None:
    """By the line through all processes."""
    assert found.real.baseline == pytest.approx(100 * MIB)
    assert found.real.beyond("half") == [pytest.approx((55 * MIB, 50 * MIB))] * 2
    assert found.real.ratios("half") == found.real.ratios("unbounded") == pytest.approx([1.1, 1.1])


def test_the_slope_is_the_cost_of_an_accounted_byte(found: Found) -> None:
    """Over all processes."""
    assert found.real.slope == pytest.approx(1 / 1.1)
    text = sentences(found)
    assert "is 0.909 bytes more of the process" in text
    assert "accounted / real 1.100" in text
    assert "100.0 MiB of anonymous memory" in text


def test_another_slope_is_the_cost_of_a_byte_of_budget(found: Found) -> None:
    """Over the processes that have a budget."""
    assert found.budget_slope == pytest.approx(1.0)
    assert "One byte more of budget is 1.000 bytes more: budget / real 1.000." in sentences(found)


def test_each_budget_has_a_line(found: Found) -> None:
    """With the spread of its processes."""
    assert table(found).splitlines()[2:] == [
        "| quarter | 26.2 | 27.5 | 25.0 (25.0 - 25.0) | **1.100** (1.100 - 1.100) |",
        "| half | 52.5 | 55.0 | 50.0 (50.0 - 50.0) | **1.100** (1.100 - 1.100) |",
        "| unbounded | 105.0 | 110.0 | 100.0 (100.0 - 100.0) | **1.100** (1.100 - 1.100) |",
    ]


def test_allocated_bytes_have_a_line_of_their_own(found: Found) -> None:
    """The cache accounts for a twentieth too much of them, in schedulers that allocate 80 MiB without it."""
    shares = {"quarter": 0.25, "half": 0.5, "unbounded": 1.0}
    held = {
        label: [replace(each, allocated=Allocated(105 * MIB * shares[label], (80 + 100 * shares[label]) * MIB))] * 2
        for label, (each, _) in found.held.items()
    }
    collected = replace(found, held=held)
    assert collected.allocated is not None
    assert collected.allocated.baseline == pytest.approx(80 * MIB)
    assert collected.allocated.ratios("half") == pytest.approx([1.05, 1.05])
    assert collected.real.ratios("half") == pytest.approx([1.1, 1.1])
    rows = table(collected).splitlines()
    assert rows[0].endswith("| allocated MiB (spread) | accounted / allocated (spread) |")
    assert rows[3].endswith("| 50.0 (50.0 - 50.0) | **1.050** (1.050 - 1.050) |")
    assert "more of the process, and 0.952 allocated ones (least" in sentences(collected)


def test_airflows_own_cache_is_measured_by_the_same_lines(found: Found) -> None:
    """25 MiB of a scheduler without any DAG are resident and not handed out: what is beyond them counts."""
    held = {
        label: [replace(each, allocated=Allocated(each.accounted, each.anonymous - 25 * MIB))]
        for label, (each, _) in found.held.items()
    }
    stock = {"stock": [Held(0.0, 330 * MIB, allocated=Allocated(0.0, 300 * MIB))]}
    rows = table(replace(found, held=held, stock=stock)).splitlines()
    assert rows[0].endswith("| real beyond allocated, MiB (spread) |")
    assert rows[-1] == "| stock | - | - | 230.0 (one process) | - | 225.0 (one process) | - | 5.0 (one process) |"
    assert rows[2].endswith("| 0.0 (one process) |")
    assert {row.count("|") for row in rows} == {9}


def test_without_collections_airflows_own_cache_has_resident_memory_only(found: Found) -> None:
    """Garbage would count as allocated."""
    rows = table(replace(found, stock={"stock": [Held(0.0, 330 * MIB)] * 2})).splitlines()
    assert rows[-1] == "| stock | - | - | 230.0 (230.0 - 230.0) | - | - |"


def test_without_collections_nothing_is_said_of_allocated_bytes(found: Found) -> None:
    """Garbage would count as allocated."""
    assert found.allocated is None
    assert "allocated" not in table(found) + sentences(found)


def test_allocated_bytes_are_the_means_over_the_loops_of_one_sweep(tmp_path: Path) -> None:
    """Earlier and later loops do not count."""
    file = tmp_path / "allocated"
    for loop in range(5):
        write_down(file, Allocated(loop, 100 + loop))
    assert mean_of(file, 1, 4) == Allocated(2, 102)


def test_a_loop_that_was_not_written_down_is_an_error(tmp_path: Path) -> None:
    """Not a mean over fewer loops."""
    write_down(tmp_path / "allocated", Allocated(1, 2))
    with pytest.raises(ValueError, match=r"expected lines 0 to 1 .* found 1 of them"):
        mean_of(tmp_path / "allocated", 0, 2)


def test_a_process_that_wrote_nothing_down_has_no_means(tmp_path: Path) -> None:
    """Its executor does not collect."""
    assert mean_of(tmp_path / "allocated", 0, 1) is None


def test_one_process_has_no_spread(found: Found) -> None:
    """And the table says so."""
    single = replace(found, held={label: held[:1] for label, held in found.held.items()})
    assert table(single).splitlines()[3] == "| half | 52.5 | 55.0 | 50.0 (one process) | **1.100** (one process) |"


def test_the_page_has_the_command_line_without_the_files_that_it_writes() -> None:
    """Another interpreter is named by its version, not by its place."""
    asked = ["--typical", "--dags", "9", "--page", "a.md", "--mark", "b", "--chart=c.svg", "--jobs", "1"]
    assert command(asked, "3.11.7") == "python -m benchmarks.accounting --typical --dags 9"
    elsewhere = command(["--python", "/opt/python", "--collect"], "3.13.0")
    assert elsewhere == "python -m benchmarks.accounting --collect --python python3.13"
