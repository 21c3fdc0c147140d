"""The tables of the benchmarks of a real scheduler, from given loops and bytes. Without a scheduler."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import at_work, tallies
from benchmarks.at_work import ROOT, Loop, Memory, cpu_seconds, memory
from benchmarks.loop import Cell, Round, summary, table, worth_of_templates
from benchmarks.medians import ratio, ratios
from benchmarks.readme import chart, every_loop, headline, held, loops
from benchmarks.tallies import Tallies
from benchmarks.typical import LARGE, task_counts
from dagcache.metrics.scrape import parse
from tests.support.patience import PATIENCE

MIB = 2**20
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


def loop(number: int) -> Loop:
    """The n-th loop of a scheduler that is as regular as a clock: 200 ms each, of which 100 ms of CPU time."""
    return Loop(
        milliseconds=200.0 + number,
        ended=10 + 0.25 * number,
        cpu_seconds=5 + 0.1 * number,
        memory=Memory(anonymous=(100 + number) * MIB, resident=(130 + number) * MIB, peak=(140 + number) * MIB),
        tallies=Tallies(
            statements=60.0 * number,
            young=8.0 * number,
            middle=2.0 * number,
            full=0.5 * number,
            young_seconds=0.01 * number,
            middle_seconds=0.02 * number,
            full_seconds=number,
            collected=500 * number,
            thawing_seconds=0.02 * number,
            disposing_seconds=0.01 * number,
            preparing_seconds=0.004 * number,
        ),
    )


@pytest.fixture
def measured() -> Round:
    """Ten loops of such a scheduler."""
    loops = [loop(number) for number in range(31)]
    metrics = parse(
        'dagcache_demotions_total{component="scheduler"} 90\n'
        'dagcache_evictions_total{cause="size",component="scheduler"} 10\n'
        'dagcache_unbroken_cycles_total{component="scheduler"} 2\n'
    )
    return summary(loops[0], loops[20:], metrics)


def test_figures_are_per_loop_of_those_that_count(measured: Round) -> None:
    """From the end of the first of them to the end of the last; its own duration is not in."""
    assert list(measured.milliseconds) == [200.0 + number for number in range(21, 31)]
    assert measured.loops_per_minute == pytest.approx(240)
    assert measured.cpu_seconds == pytest.approx(0.1)
    assert measured.statements == pytest.approx(60)
    assert measured.full_collections == pytest.approx(0.5)
    assert measured.full_seconds == pytest.approx(1)
    assert measured.collected == pytest.approx(500)
    assert measured.collecting_seconds == pytest.approx(1.03)


def test_memory_grows_from_the_first_loop_of_all(measured: Round) -> None:
    """Anonymous pages, and the largest resident size."""
    assert measured.resident_bytes == 125 * MIB
    assert measured.growth_bytes == 25 * MIB
    assert measured.peak_bytes == 170 * MIB


def test_the_table_has_ratios_round_by_round(measured: Round) -> None:
    """Relative to the first contender. Unbroken graphs are a share of the removed ones."""
    halved = replace(measured, milliseconds=[each / 2 for each in measured.milliseconds])
    third = replace(measured, milliseconds=[each / 3 for each in measured.milliseconds])
    stock = replace(
        measured, left=0.0, left_to_collector=0.0, thawing_seconds=0.0, disposing_seconds=0.0, preparing_seconds=0.0
    )
    assert ratios([halved, third], [stock, stock], "median") == pytest.approx([1 / 3, 1 / 2])
    found = {Cell("sqlite", 700): {"stock": [stock, stock], "dagcache, 64MiB": [halved, third]}}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(found).splitlines()]
    assert {len(row) for row in rows} == {16}
    assert rows[2][:7] == ["SQLite", "700", "stock", "240", "226", "230", "1"]
    assert rows[2][-2:] == ["-", "-"]
    assert rows[3][6] == "**0.42** (0.33 - 0.50)"
    assert rows[3][-2:] == ["98.0% of 100", "20.0%, 10.0%, 4.0%"]


def test_one_round_has_no_spread(measured: Round) -> None:
    halved = replace(measured, milliseconds=[each / 2 for each in measured.milliseconds])
    assert ratio([halved], [measured], "median") == "**0.50** (one round)"


@pytest.fixture
def page(measured: Round) -> str:
    """A page with two databases; on PostgreSQL this cache takes half of the time and 50 MiB."""
    ours = replace(measured, milliseconds=[100.0], cpu_seconds=0.05, resident_bytes=50.0 * MIB)
    found = {
        Cell("sqlite", 700): {"stock": [ours], "dagcache, 64MiB": [ours]},
        Cell("postgres", 700): {"stock": [measured], "dagcache, 64MiB": [ours], "dagcache, 25%": [measured]},
        Cell("postgres", 3000): {"stock": [ours], "dagcache, 64MiB": [ours]},
    }
    return f"<!-- loop -->\nMade by us.\n\n{table(found)}\n<!-- /loop -->"


def test_the_headline_has_the_first_budget_on_postgresql(page: str) -> None:
    """Beside Airflow's own cache."""
    assert headline(loops(page)) == (
        "A real scheduler with 700 running runs on PostgreSQL takes 226 ms for a loop with Airflow's own cache and 100 "
        "ms with 64MiB of this one (medians), 0.10 and 0.05 CPU seconds, in 125 and 50 MiB of anonymous memory."
    )


def test_the_chart_has_a_bar_for_each_row_of_one_database(page: str) -> None:
    """The CPU time of a loop, and the memory."""
    drawn = chart(loops(page))
    assert "CPU time of a loop, PostgreSQL" in drawn
    assert [drawn.count(f"{runs} runs: ") for runs in (700, 3000)] == [3, 2]
    assert "100 ms" in drawn
    assert "125 MiB" in drawn


@pytest.mark.parametrize(
    "text",
    ["", "<!-- loop -->\n| runs |\n|---|\n<!-- /loop -->"],
    ids=["no block", "no column"],
)
def test_a_page_without_the_table_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no block|not in list"):
        loops(text)


def test_a_table_without_the_database_is_an_error(page: str) -> None:
    with pytest.raises(ValueError, match="no row of PostgreSQL"):
        loops(page.replace("PostgreSQL", "MySQL"))


def test_a_memory_without_its_growth_is_an_error(page: str) -> None:
    with pytest.raises(ValueError, match="expected the memory of a scheduler"):
        every_loop(page.replace("(25; 170)", ""))


def held_page(measured: Round, statements: float) -> str:
    """With 3,000 runs Airflow's own cache grows by 256 MiB, and this one by 64; with 700 runs the figures differ."""
    stock = replace(measured, growth_bytes=256 * MIB, statements=80.0)
    bounded = replace(measured, growth_bytes=64 * MIB, statements=statements)
    roomy = replace(measured, growth_bytes=1024 * MIB, statements=60.0)
    large = {"stock": [stock], "dagcache, 64MiB": [bounded], "dagcache, 25%": [roomy]}
    small = {"stock": [measured], "dagcache, 64MiB": [stock], "dagcache, 25%": [measured]}
    found = {Cell("sqlite", 700): small, Cell("sqlite", 3000): large, Cell("postgres", 3000): large}
    return f"<!-- loop -->\n{table(found)}\n<!-- /loop -->"


def test_a_gib_of_growth_holds_so_many_versions(measured: Round) -> None:
    """Of the most runs, on each database: 512 of Airflow's own cache, and all of this one."""
    figures = (
        "2,000 with Airflow's own cache (512 in 256 MiB), 48,000 with 64MiB of this one (3,000 in 64 MiB), 23 times as "
        "many."
    )
    assert held(every_loop(held_page(measured, 60.2))) == (
        "Versions in a GiB of a real scheduler's growth, with 3,000 running runs. "
        f"SQLite: {figures} PostgreSQL: {figures}"
    )


def test_a_budget_whose_lookups_load_does_not_hold_all_versions(measured: Round) -> None:
    """It has more statements than the one with room for all."""
    with pytest.raises(ValueError, match="SQLite, dagcache, 64MiB: 61 statements a loop, not 60"):
        held(every_loop(held_page(measured, 61.0)))


def test_budgets_whose_lookups_all_load_hold_no_version(measured: Round) -> None:
    """With as many statements as Airflow's own cache, which loads at each lookup."""
    page = held_page(measured, 60.0).replace("| 60 |", "| 80 |")
    with pytest.raises(ValueError, match="80 statements a loop, not 80, and fewer than 80"):
        held(every_loop(page))


@pytest.mark.parametrize(
    ("old", "new"),
    [("| stock |", "| dagcache, 16MiB |"), ("| dagcache, 64MiB |", "| stock |"), ("(1024;", "(63;"), ("(64;", "(0;")],
    ids=["no stock", "no budget", "no larger one", "no growth"],
)
def test_rows_of_other_processes_say_nothing_of_a_gib(measured: Round, old: str, new: str) -> None:
    page = held_page(measured, 60.0)
    assert old in page
    with pytest.raises(ValueError, match="expected Airflow's own cache, a budget, and a larger one"):
        held(every_loop(page.replace(old, new)))


def test_a_table_without_room_for_all_versions_says_nothing_of_a_gib(page: str) -> None:
    with pytest.raises(ValueError, match="not enough values"):
        held(every_loop(page))


def test_thaws_are_compared_within_a_process(measured: Round) -> None:
    """The speed of the machine changes between processes, and cancels out."""
    slower = replace(measured, cpu_seconds=0.2, thawing_seconds=0.04, disposing_seconds=0.02, preparing_seconds=0.008)
    assert slower.thaws_beside_the_rest == pytest.approx(measured.thaws_beside_the_rest)
    found = {Cell("sqlite", 700): {"dagcache, 64MiB": [measured], "no templates": [slower]}}
    assert "30.3% (one round) with templates, 30.3% (one round) without" in worth_of_templates(found)


def test_a_process_counts_its_collections_and_statements(tmp_path: Path) -> None:
    """Into the file that the environment names; without one it counts nothing."""
    pytest.importorskip("sqlalchemy")
    code = (
        "import gc\n"
        "from benchmarks import tallies\n"
        "gc.disable()\n"
        "tallies.install()\n"
        "from sqlalchemy import create_engine, text\n"
        "with create_engine('sqlite://').connect() as connection:\n"
        "    connection.execute(text('SELECT 1'))\n"
        "    connection.execute(text('SELECT 2'))\n"
        "cycle = []\n"
        "cycle.append([cycle])\n"
        "del cycle\n"
        "gc.collect()\n"
        "gc.collect(0)\n"
    )
    path = tmp_path / "tallies"
    tallies.new_file(path)
    for variables in ({}, {tallies.VARIABLE: str(path)}):
        assert tallies.read(path) == Tallies()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ | variables)
    counted = tallies.read(path)
    assert (counted.statements, counted.young, counted.middle, counted.full) == (2, 1, 0, 1)
    assert counted.full_seconds > 0
    assert counted.collected >= 2
    assert counted.since(counted) == Tallies()


def test_a_process_times_the_work_of_the_cache(tmp_path: Path) -> None:
    """Each part of it; in a process without the cache nothing is imported for that."""
    code = (
        "import sys\n"
        "from benchmarks import tallies\n"
        "tallies.install()\n"
        "if '--off' in sys.argv:\n"
        "    sys.exit('dagcache.freezing.pickle_freezer' in sys.modules)\n"
        "from dagcache import DagCache\n"
        "from dagcache.freezing.pickle_freezer import PickleFreezer\n"
        "cache = DagCache(max_bytes='64KiB', freezer=PickleFreezer())\n"
        "for number in range(400):\n"
        "    cache.get_or_load(number % 40, lambda key: [str(key * each) for each in range(100)])\n"
    )
    path = tmp_path / "tallies"
    for mode, arguments in (("off", ["--off"]), ("on", [])):
        tallies.new_file(path)
        env = os.environ | {tallies.VARIABLE: str(path), "AIRFLOW__DAGCACHE__MODE": mode}
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=ROOT, env=env)
        counted = tallies.read(path)
        own = (counted.thawing_seconds, counted.disposing_seconds, counted.preparing_seconds)
        assert all(own) if mode == "on" else not any(own)


def test_values_that_the_collector_frees_are_counted(tmp_path: Path) -> None:
    """They left the cache while a caller held them. Those that the cache takes apart are not."""
    code = (
        "import gc\n"
        "from benchmarks import tallies\n"
        "tallies.install()\n"
        "from dagcache import DagCache\n"
        "class Node: pass\n"
        "def load(key):\n"
        "    node = Node()\n"
        "    node.own, node.items = node, [str(key * each) for each in range(1000)]\n"
        "    return node\n"
        "gc.disable()\n"
        "cache = DagCache(max_bytes='4MiB')\n"
        "for key in range(100):\n"
        "    cache.get_or_load(key, load)\n"
        "cache.clear()\n"
        "held = [cache.get_or_load(key, load) for key in range(5)]\n"
        "cache.clear()\n"
        "del held\n"
        "gc.collect()\n"
    )
    path = tmp_path / "tallies"
    tallies.new_file(path)
    env = os.environ | {tallies.VARIABLE: str(path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=env)
    assert tallies.read(path).found_by_collector == 5


@on_linux
def test_the_workers_of_a_scheduler_end_with_it() -> None:
    """They would keep its connections to the database, and the locks of an open transaction."""
    parent = "import subprocess, sys; subprocess.Popen(['sleep', '600']); print(flush=True); sys.stdin.read()"
    command, pipe = [sys.executable, "-c", parent], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        at_work.end_component(process)
        assert process.returncode is not None
        has_ended, _, _ = select.select([process.stdout], [], [], PATIENCE)
        assert has_ended, "the worker has not closed its output"
        assert process.stdout.read() == b""


@on_linux
def test_a_process_is_read_from_proc(tmp_path: Path) -> None:
    """Its CPU time, with any name, and its memory. A process that has just ended is an error, not zeros."""
    assert cpu_seconds(os.getpid()) > 0
    now = memory(os.getpid())
    assert 0 < now.anonymous < now.resident <= now.peak
    (tmp_path / "7").mkdir()
    ticks = os.sysconf("SC_CLK_TCK")
    fields = f"7 (a) b (c) S {' '.join(['1'] * 10)} {2 * ticks} {ticks} 9 9"
    (tmp_path / "7" / "stat").write_text(fields)
    assert cpu_seconds(7, tmp_path) == 3.0
    (tmp_path / "7" / "status").write_text("Name:\ta\nState:\tZ (zombie)\n")
    with pytest.raises(ProcessLookupError):
        memory(7, tmp_path)


def test_the_typical_dags_are_as_people_have_them() -> None:
    """Half of them of three tasks or fewer, one in twenty beyond seventeen, and a few giants."""
    counts = task_counts(2000, seed=1)
    small = sorted(counts[: -len(LARGE)])
    assert small[len(small) // 2] == 3
    assert 15 <= small[len(small) * 95 // 100] <= 19
    assert counts[-len(LARGE) :] == list(LARGE)
    assert max(LARGE) >= 5000
