"""The first request for each DAG after an API server has started: Airflow's own bag, this one, and a warm start.

``python -m benchmarks.api_restart [--quick] [--page docs/benchmarks.md]`` builds the DAGs of `benchmarks.api_pages` in
a database of each kind. Each round starts a server that writes a warm store on disk, and stops it. Then three fresh
servers of one worker each are asked in turn: one without the cache, one with it, and one that finds the store. Each DAG
is requested once, half of them by one page and half by another. CPU time is the server's own.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.api_dags import KINDS, dag_id
from benchmarks.api_pages import PAGES, Servers, Timing, add_options, ask, fill, percentiles_beside, serving, size_of
from benchmarks.loop import DATABASES, database
from benchmarks.medians import ratio
from benchmarks.scheduler import made_with, write_between

_PAGES = ("details", "tasks")
_KEY = "0123456789abcdef" * 2  # of a store that is thrown away
CONTENDERS = {
    "stock": "Airflow's own bag",
    "cold": "dagcache, without a warm start",
    "restarted": "dagcache, with the warm store of the process before",
}

Round = dict[tuple[str, str], dict[str, Timing]]
"""By the kind of DAGs and the page, then by contender."""


def settings_of(contender: str, store: Path) -> dict[str, object]:
    """Options of the section ``[dagcache]``."""
    if contender == "stock":
        return {"mode": "off"}
    if contender == "cold":
        return {}
    return {"warm_start": "disk", "warm_start_path": store, "warm_start_key": _KEY}


def one_round(folder: Path, url: str, counts: Mapping[str, int], seed: int) -> Round:
    """The first requests for all DAGs, in an order of this round's own."""
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "store"
        with serving(folder / "writing", url, settings_of("writing", store)) as server:
            for kind in KINDS:
                ask({"writing": server}, PAGES["tasks"], [dag_id(kind, number) for number in range(counts[kind])])
        with ExitStack() as running:
            servers = {
                name: running.enter_context(serving(folder / name, url, settings_of(name, store)))
                for name in CONTENDERS
            }
            return first_requests(servers, counts, seed)


def first_requests(servers: Servers, counts: Mapping[str, int], seed: int) -> Round:
    """One request for each DAG. One small DAG comes before, for what a server imports and builds once."""
    for page in _PAGES:
        ask(servers, PAGES[page], [dag_id("small", 0)])
    found: Round = {}
    for kind in KINDS:
        dag_ids = [dag_id(kind, number) for number in range(kind == "small", counts[kind])]
        random.Random(seed).shuffle(dag_ids)
        for at, page in enumerate(_PAGES):
            found[kind, page] = dict(ask(servers, PAGES[page], dag_ids[at :: len(_PAGES)]))
    return found


def lines(rounds: Sequence[Round], label: str) -> Iterator[str]:
    """A line of the table for each kind of DAGs, each page and each contender."""
    for kind in KINDS:
        for page in _PAGES:
            stock = [each[kind, page]["stock"] for each in rounds]
            for name, title in CONTENDERS.items():
                own = [each[kind, page][name] for each in rounds]
                half, high = (statistics.median(each.percentile(percent) for each in own) for percent in (50, 99))
                halves, cpu = percentiles_beside(own, stock, 50), ratio(own, stock, "cpu_milliseconds")
                yield f"| {label} | {kind} | `{page}` | {title} | {half:.1f} / {high:.0f} | {halves} | {cpu} |"


def measure(kind: str, folder: Path, counts: Mapping[str, int], number: int) -> list[Round]:
    """The rounds on one kind of database."""
    folder.mkdir()
    found = []
    with database(kind, folder) as url:
        fill(folder, url, counts)
        for seed in range(number):
            found.append(one_round(folder, url, counts, seed))
            print(f"{DATABASES[kind]}: round {seed + 1} of {number}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_restart", description=__doc__)
    add_options(parser)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives it
    counts, number = size_of(chosen)
    table = ["| database | DAGs | page | | p50 / p99 ms | p50, of stock's | CPU, of stock's |", "|---" * 7 + "|"]
    with tempfile.TemporaryDirectory() as scratch:
        for kind, label in DATABASES.items():
            if chosen.database in (None, kind):
                table += lines(measure(kind, Path(scratch) / kind, counts, number), label)
    text = "\n".join(table)
    print(text)
    if chosen.page:
        dags = " and ".join(f"{counts[kind]} {kind}" for kind in KINDS)
        made_by = (
            f"Made by `make bench-airflow`: {made_with()}. {dags} DAGs, each requested once of a fresh server; rounds: "
            f"{number}; medians over them, and in brackets the ratios' spread."
        )
        write_between(chosen.page, "api-restart", f"{made_by}\n\n{text}")


if __name__ == "__main__":
    main()
