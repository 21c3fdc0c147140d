"""`dagcache replay`: the table, the JSON, and its refusals."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dagcache.cli.main import main
from dagcache.cli.replay import command as command
from dagcache.cli.shared import progress
from dagcache.traces.reading import read_trace
from dagcache.traces.recording import record
from dagcache.traces.replay import replay, replay_lru
from tests.support.caches import KIB, fill, make_cache
from tests.support.patience import PATIENCE

HEADER = '{"dagcache_trace":2}\n'


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Four sweeps over 30 values of 100 KiB, recorded with a budget of 1,000 KiB of a gibibyte."""
    path = tmp_path / "lookups.jsonl"
    cache, _ = make_cache(max_bytes=1000 * KIB, memory_limit="1GiB", ttl=600, name="web", unproven_share=0.25)
    with record(cache, path):
        for _ in range(4):
            fill(cache, range(30))
        cache.get("absent")
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The JSON of the command, which is its only output."""
    assert main(["replay", *map(str, arguments), "--json"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    content: dict[str, Any] = json.loads(output.out)
    return content


def test_each_budget_is_replayed_and_held_against_the_best(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the simulation, with the recorded TTL and share of newcomers; the least-recently-used cache comes last."""
    content = told(capsys, trace, "--max-bytes", "400KiB,1MiB,0", "--lru", 20)
    lookups = read_trace(trace).lookups
    expected = [replay(lookups, budget, 600.0, 0.25) for budget in (400 * KIB, 1024 * KIB, 0)]
    assert expected[1] != replay(lookups, 1024 * KIB, 600.0)
    expected.append(replay_lru(lookups, 20))
    best = min(outcome.seconds for outcome in expected)
    for found, outcome in zip(content["outcomes"], expected, strict=True):
        assert found["seconds"] == outcome.seconds
        assert found["ratio"] == outcome.seconds / best
        assert (found["lookups"], found["misses"]) == (outcome.lookups, outcome.misses)
        assert (found["live_hits"], found["frozen_hits"]) == (outcome.live_hits, outcome.frozen_hits)
        assert found["peak_bytes"] == outcome.peak_bytes
    assert [found["max_bytes"] for found in content["outcomes"]] == [400 * KIB, 1024 * KIB, 0, None]
    assert [(found["cache"], found["entries"]) for found in content["outcomes"][2:]] == [
        ("dagcache", None),
        ("lru", 20),
    ]
    assert content["ttl"] == 600


def test_the_trace_is_described(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = told(capsys, trace)["trace"]
    assert (about["lookups"], about["versions"], about["ending"], about["lost"]) == (121, 30, "closed", 0)
    assert about["tiers"]["miss"] == 30
    assert about["tiers"]["absent"] == 1
    assert about["header"]["cache"] == "web"


@pytest.mark.parametrize(
    ("name", "options", "held"),
    [("web", (), 0), ("web", ("--held", 7), 7), ("scheduler", (), 40), ("scheduler", ("--held", 0), 0)],
)
def test_callers_are_taken_to_hold_what_a_loop_of_a_scheduler_holds(
    trace: Path, capsys: pytest.CaptureFixture[str], name: str, options: tuple[object, ...], held: int
) -> None:
    """Twenty runs, looked up twice; elsewhere nothing, and on request as asked for."""
    trace.write_text(trace.read_text().replace('"web"', f'"{name}"'))
    content = told(capsys, trace, "--max-bytes", "400KiB", *options)
    expected = replay(read_trace(trace).lookups, 400 * KIB, 600.0, 0.25, held)
    assert (content["held"], content["outcomes"][0]["live_hits"]) == (held, expected.live_hits)
    main(["replay", str(trace), *map(str, options)])
    assert ("dropped them together" in capsys.readouterr().out) == bool(held)


def test_without_budgets_those_around_the_recorded_one_are_taken(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of it, itself, twice, and none."""
    found = [outcome["max_bytes"] for outcome in told(capsys, trace)["outcomes"]]
    assert found == [500 * KIB, 1000 * KIB, 2000 * KIB, 0, None]


def test_a_trace_of_an_unbounded_cache_is_replayed_unbounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to halve."""
    cache, _ = make_cache()
    with record(cache, tmp_path / "trace"):
        fill(cache, ["a"])
    assert [found["max_bytes"] for found in told(capsys, tmp_path / "trace")["outcomes"]] == [0, None]


def test_a_percentage_is_of_the_memory_of_the_recording(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it is replayed; and two spellings of one budget are one."""
    found = [outcome["max_bytes"] for outcome in told(capsys, trace, "--max-bytes", "25%,256MiB")["outcomes"]]
    assert found == [256 * KIB * KIB, None]


def test_a_percentage_is_shared_by_the_workers_of_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of them had a cache of its own."""
    cache, _ = make_cache(memory_limit="1GiB", workers=4)
    with record(cache, tmp_path / "trace"):
        fill(cache, ["a"])
    found = told(capsys, tmp_path / "trace", "--max-bytes", "50%")["outcomes"]
    assert found[0]["max_bytes"] == 128 * KIB * KIB


def test_another_ttl_can_be_asked_for(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In any form that settings have."""
    assert told(capsys, trace, "--ttl", "1h")["ttl"] == 3600
    assert told(capsys, trace, "--ttl", "0")["ttl"] == 0


def test_the_table_has_a_line_for_each(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Aligned, the best at 1.00."""
    assert main(["replay", str(trace), "--max-bytes", "50KiB,0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"121 lookups of 30 versions in \d+ s, recorded by the cache 'web' from '20\d\d-", lines[0])
    assert lines[1].startswith("at the time, with 1000.0 KiB: ")
    assert lines[1].endswith("30 missed, 1 absent")
    assert lines[3].split()[:6] == ["max_bytes", "lookups", "live", "frozen", "misses", "load"]
    assert [line.split("  ")[0] for line in lines[4:]] == ["50.0 KiB", "unbounded", "LRU of 512"]
    assert len({len(line) for line in lines[3:]}) == 1
    assert lines[5].endswith(" 1.00")


def test_a_trace_with_gaps_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And one that takes no time has no ratio."""
    path = tmp_path / "trace"
    path.write_text(HEADER + '[1,"a","m",0,1000,10,0,null,0,0]\n[2,"b","m",0]\n')
    assert main(["replay", str(path)]) == 0
    output = capsys.readouterr().out
    assert "note: the recording has no end" in output
    assert "note: 0 lookups were not recorded; the size is unknown for 1 more" in output
    assert output.splitlines()[-1].endswith(" -")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "expected a trace in {path}, found: No such file or directory"),
        ("", "{path}, line 1: expected the header of a trace"),
        (HEADER + '[1,"a"]\n', "{path}, line 2: expected a row of 4 or 10 fields, or the end, found '[1,\"a\"]'"),
        (HEADER, "{path}: expected lookups that found a value, found none"),
        (HEADER + '[1,"a","a",0]\n', "{path}: expected lookups that found a value, found none"),
    ],
)
def test_what_is_no_trace_is_one_line_and_exit_code_2(
    tmp_path: Path, content: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace"
    if content is not None:
        path.write_text(content)
    assert main(["replay", str(path)]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert output.err.startswith(f"dagcache: {said.format(path=path)}")


def test_a_percentage_of_an_unknown_memory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not taken for a percentage of the memory here."""
    path = tmp_path / "trace"
    path.write_text(HEADER + '[1,"a","m",0,1000,10,0.5,null,0,0]\n')
    assert main(["replay", str(path), "--max-bytes", "5%"]) == 2
    assert "expected the memory limit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-bytes", "10XB"], "max_bytes = '10XB' is not understood"),
        (["--max-bytes", "1MiB,,2MiB"], "max_bytes = '' is not understood"),
        (["--ttl", "soon"], "ttl = 'soon' is not understood"),
        (["--lru", "0"], "expected a whole number from 1 to 1000000000, found '0'"),
        (["--lru", "1" * 5000], "expected a whole number from 1 to 1000000000, found '111"),
    ],
)
def test_a_bad_option_is_refused_by_name(
    trace: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read."""
    with pytest.raises(SystemExit) as refused:
        main(["replay", str(trace), *arguments])
    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_the_help_ends_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """That can be typed."""
    with pytest.raises(SystemExit):
        main(["replay", "--help"])
    assert capsys.readouterr().out.rstrip().endswith(f"example: {command.EXAMPLE}")


class Terminal:
    """A stderr that says that it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        """So it says."""
        return True

    def write(self, text: str) -> int:
        """Keep it."""
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize("rich", [True, False])
def test_what_takes_long_shows_a_bar_on_a_terminal_only(
    trace: Path, rich: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If rich is there; on stderr, so that the JSON stays alone."""
    terminal = Terminal()
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(command, "_BAR_STEP", 10)
    monkeypatch.setattr(sys, "stderr", terminal)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert main(["replay", str(trace), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcomes"]
    assert ("replaying" in terminal.text) == rich


def test_the_command_works_on_its_own(trace: Path) -> None:
    """In a process without Airflow, SQLAlchemy and rich."""
    code = (
        "import runpy, sys\n"
        "for name in ('airflow', 'sqlalchemy', 'rich', 'psutil'): sys.modules[name] = None\n"
        "runpy.run_module('dagcache.cli', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "replay", str(trace), "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["outcomes"]) == 5
