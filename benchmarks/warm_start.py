"""The first sweep of a fresh process: Airflow's own cache, ours, ours with an empty warm store, and after a restart.

The warm store is on disk, and on PostgreSQL also in the metadata database.

``python -m benchmarks.warm_start [--databases sqlite,postgres] [--versions 700,3000] [--rounds 5] [--page FILE]``;
``--quick`` for an impression. Each sweep is the only one of its process, of the scheduler's modules, over generated
versions, twenty to a session. The process that writes begins with an empty store; the restarted process finds what that
one has written. The budget is the default, a quarter of the memory, so all versions stay live. CPU seconds are of all
threads of the process. They include the opening of the store, but not the start of the interpreter and the imports,
which are the same for all. Statements are those on Airflow's own connections.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.loop import DATABASES, built
from benchmarks.medians import beside
from benchmarks.scheduler import json_lines, made_with, output_of, write_between
from dagcache.demo.playground import environment

_SWEEP = "dagcache.demo.sweep"
_STOCK = "stock"
_KEY = "0123456789abcdef" * 2  # of a store that is thrown away
CONTENDERS = {
    _STOCK: "Airflow's own cache",
    "cold": "dagcache, without a warm start",
    "writing": "dagcache, an empty warm store on disk",
    "restarted": "dagcache, restarted with it",
    "writing rows": "dagcache, an empty warm store in the database",
    "restarted with rows": "dagcache, restarted with it",
}
_IN_DATABASE = ("writing rows", "restarted with rows")


def contenders(url: str) -> list[str]:
    """Those of a database: SQLite has no store in the database."""
    return [each for each in CONTENDERS if each not in _IN_DATABASE or not url.startswith("sqlite")]


def settings_of(contender: str, store: Path, turn: int) -> dict[str, object]:
    """Options of the section ``[dagcache]``. With a key for each turn, a store in a database begins empty."""
    if contender == _STOCK:
        return {"mode": "off"}
    settings: dict[str, object] = {"metrics_port": 0}
    if contender in _IN_DATABASE:
        settings |= {"warm_start": "database", "warm_start_key": f"{_KEY}{turn}"}
    elif contender != "cold":
        settings |= {"warm_start": "disk", "warm_start_path": store, "warm_start_key": _KEY}
    return settings


def sweep(home: Path, url: str, contender: str, store: Path, turn: int) -> dict[str, Any]:
    """The only sweep of a process."""
    env = environment(home, url, examples=False, **settings_of(contender, store, turn))
    (found,) = json_lines(output_of([sys.executable, "-m", _SWEEP, "--sweeps", "1", "--json"], env, _SWEEP))
    return found


def rounds(home: Path, url: str, number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sweeps of all contenders, in turn."""
    for turn in range(number):
        with tempfile.TemporaryDirectory() as scratch:
            for contender in contenders(url):
                found = sweep(home, url, contender, Path(scratch) / "store", turn)
                seconds = f"{found['cpu_seconds']:.2f} CPU s, {found['seconds']:.2f} s"
                print(f"round {turn + 1}, {contender}: {seconds}; load {os.getloadavg()[0]:.1f}", file=sys.stderr)
                yield contender, found


def line(database: str, contender: str, found: Mapping[str, list[dict[str, Any]]]) -> str:
    """A line of the table: medians, and ratios within each round."""
    own, stock = found[contender], found[_STOCK]
    statements = statistics.median(each["statements"] for each in own)
    return (
        f"| {database} | {own[0]['lookups']} | {CONTENDERS[contender]} "
        f"| {statistics.median(each['cpu_seconds'] for each in own):.2f} | {_ratio(own, stock, 'cpu_seconds')} "
        f"| {_ratio(own, stock, 'seconds')} | {statements:.0f} |"
    )


def _ratio(own: list[dict[str, Any]], stock: list[dict[str, Any]], name: str) -> str:
    return beside(*([each[name] for each in rounds] for rounds in (own, stock)))


def table(found: Mapping[tuple[str, int], Mapping[str, list[dict[str, Any]]]]) -> str:
    """All databases and numbers of versions."""
    lines = [
        "| database | versions | | CPU s | of stock's (spread) | time, of stock's (spread) | statements |",
        "|---" * 7 + "|",
    ]
    for (database, _), each in found.items():
        lines += [line(database, contender, each) for contender in each]
    return "\n".join(lines)


def measure(databases: list[str], versions: int, number: int) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The sweeps of each contender, by database."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with ExitStack() as held:
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory()))
        for name, (home, url) in built(held, scratch, databases, versions).items():
            found[name] = {contender: [] for contender in contenders(url)}
            for contender, swept in rounds(home, url, number):
                found[name][contender].append(swept)
    return found


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm_start", description=__doc__)
    parser.add_argument("--databases", default=",".join(DATABASES), help="comma-separated (default: %(default)s)")
    parser.add_argument("--versions", default="700,3000", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--quick", action="store_true", help="100 versions on SQLite, one round")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.databases, chosen.versions, chosen.rounds = "sqlite", "100", 1
    found: dict[tuple[str, int], dict[str, list[dict[str, Any]]]] = {}
    for versions in map(int, chosen.versions.split(",")):
        measured = measure(chosen.databases.split(","), versions, chosen.rounds)
        found |= {(DATABASES[name], versions): each for name, each in measured.items()}
    print(table(found))
    if chosen.page:
        made_by = f"Made by `make bench-airflow`: {made_with()}. {chosen.rounds} rounds; medians."
        write_between(chosen.page, "warm-start", f"{made_by}\n\n{table(found)}")


if __name__ == "__main__":
    main()
