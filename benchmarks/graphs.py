"""Weights and costs of real DAGs, in Airflow and here: live and frozen bytes, a thaw beside a load, parts of a load.

``python -m benchmarks.graphs [--home DIR] [--page FILE]`` reads generated DAGs and Airflow's examples from a
playground's database. It builds each as Airflow does and as the cache does, in a process with the scheduler's modules.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.scheduler import made_by, playground, run_json, write_between
from benchmarks.without import left_out
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.database.loader import SerializedDagLoader
from dagcache.errors import FreezeError
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.reclaim.breaker import GenericBreaker
from dagcache.reclaim.gc_pause import gc_paused
from dagcache.sizing.walk import weigh

_MARKER = "--measure"
_GENERATED = 200
_WARM_UP = 70  # DAGs: by then the freezer has its dictionary
_THAWS = 3
_STEPS = ("parsing JSON", "Airflow's operators", "the rest of Airflow's graph", "sharing", "freezing")


@dataclass(frozen=True)
class Measured:
    """One DAG; bytes and seconds."""

    kind: str
    tasks: int
    airflows_bytes: int
    live_bytes: int
    plain_frozen_bytes: int
    frozen_bytes: int
    airflows_load: float
    thaw: float
    thaw_without_templates: float
    steps: tuple[float, ...]


class Builder:
    """Builds graphs as a scheduler's process does, by a clock that counts this thread's CPU time only."""

    def __init__(self) -> None:
        from dagcache.airflow import graphs

        importlib.import_module("airflow.jobs.scheduler_job_runner")
        module = importlib.import_module("airflow.serialization.serialized_objects")
        self._from_dict = module.DagSerialization.from_dict
        self._graphs = graphs
        self._freezer, self._shared = graphs.freezer()
        with left_out("templates"):
            self._plain_freezer, _ = graphs.freezer()
        self._breaker = GenericBreaker(self._shared)
        self._shared_ids = frozenset(map(id, self._shared))
        self._operators = 0.0
        self._time_operators(module.OperatorSerialization)

    def measure(self, kind: str, payload: Any) -> Measured:
        """Build one DAG both ways, freeze it, and thaw it a few times."""
        text = json.dumps(payload)
        with gc_paused():
            airflows_load, airflows = self._timed(lambda: self._from_dict(json.loads(text)))
            plain = PickleFreezer(self._shared).freeze(airflows).data
            airflows_bytes = weigh(airflows, shared=self._shared_ids).nbytes
            self._breaker.release([airflows])
            steps, dag, data = self._load(text)
            plain_form = self._plain_freezer.freeze(dag).data
            tasks = len(dag.task_dict)
            self._breaker.release([dag])
            thaw, live_bytes = self._thaw(self._freezer, data)
            plain_thaw, _ = self._thaw(self._plain_freezer, plain_form)
        return Measured(
            kind, tasks, airflows_bytes, live_bytes, len(plain), len(data), airflows_load, thaw, plain_thaw, steps
        )

    def measure_if_frozen(self, kind: str, payload: Any) -> Measured | None:
        """The same; None for a DAG that cannot be frozen."""
        try:
            return self.measure(kind, payload)
        except FreezeError:
            return None

    def _load(self, text: str) -> tuple[tuple[float, ...], Any, bytes]:
        parsing, parsed = self._timed(lambda: json.loads(text))
        strings, _ = self._timed(lambda: share_strings(parsed))
        self._operators = 0.0
        building, dag = self._timed(lambda: self._from_dict(parsed))
        immutables, _ = self._timed(lambda: share_immutables(dag))
        freezing, frozen = self._timed(lambda: self._freezer.freeze(dag))
        operators = self._operators
        return (parsing, operators, building - operators, strings + immutables, freezing), dag, frozen.data

    def _thaw(self, freezer: PickleFreezer, data: bytes) -> tuple[float, int]:
        best = float("inf")
        for _ in range(_THAWS):
            seconds, thawed = self._timed(lambda: freezer.thaw(data))
            best = min(best, seconds)
            nbytes = weigh(thawed, shared=self._shared_ids).nbytes
            self._breaker.release([thawed])
        return best, nbytes

    @staticmethod
    def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
        started = time.thread_time()
        result = work()
        return time.thread_time() - started, result

    def _time_operators(self, kind: Any) -> None:
        deserialize = kind.deserialize_operator

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.thread_time()
            try:
                return deserialize(*args, **kwargs)
            finally:
                self._operators += time.thread_time() - started

        kind.deserialize_operator = staticmethod(timed)


def measure(database: Path) -> Iterator[Measured]:
    """Some of the generated DAGs' versions, and the newest version of each example that can be frozen.

    One cannot: its timetable is a plugin's, with state that may be shared.
    """
    builder = Builder()
    with SerializedDagLoader(f"sqlite:///{database}") as loader:
        rows = list(loader.versions(sizes=False))
        generated = [row for row in rows if row.dag_id.startswith("generated")]
        chosen = generated[:: max(1, len(generated) // _GENERATED)]
        chosen += {row.dag_id: row for row in rows if not row.dag_id.startswith("generated")}.values()
        for number, row in enumerate(chosen):
            payload = loader.load(row.id)
            kind = "generated" if row.dag_id.startswith("generated") else "examples"
            found = None if payload is None else builder.measure_if_frozen(kind, payload)
            if found is not None and number >= _WARM_UP:
                yield found


def table(found: list[dict[str, Any]]) -> str:
    """A column for each kind of DAG."""
    kinds = Counter(each["kind"] for each in found)
    columns = [_column([each for each in found if each["kind"] == kind]) for kind in kinds]
    lines = [
        "| | " + " | ".join(f"{count} {kind}" for kind, count in kinds.items()) + " |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    lines += [f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in columns[0]]
    return "\n".join(lines)


def _column(dags: list[dict[str, Any]]) -> dict[str, str]:
    def total(name: str) -> float:
        return float(sum(dag[name] for dag in dags))

    tasks = total("tasks")
    ratios = statistics.quantiles((dag["airflows_load"] / dag["thaw"] for dag in dags), n=10)
    plain = statistics.quantiles((dag["thaw_without_templates"] / dag["thaw"] for dag in dags), n=10)
    steps = [sum(each) for each in zip(*(dag["steps"] for dag in dags), strict=True)]
    shares = {f"of a load: {name}": f"{step / sum(steps):.0%}" for name, step in zip(_STEPS, steps, strict=True)}
    return {
        "tasks each": f"{tasks / len(dags):.0f}",
        "live bytes a task, as Airflow builds them": f"{total('airflows_bytes') / tasks:,.0f}",
        "live bytes a task, thawed": f"{total('live_bytes') / tasks:,.0f}",
        "less": f"**{1 - total('live_bytes') / total('airflows_bytes'):.0%}**",
        "frozen bytes a task, without sharing or a dictionary": f"{total('plain_frozen_bytes') / tasks:,.0f}",
        "frozen bytes a task": f"{total('frozen_bytes') / tasks:,.0f}",
        "less, frozen": f"**{1 - total('frozen_bytes') / total('plain_frozen_bytes'):.0%}**",
        "frozen, of live as Airflow builds it": f"{total('frozen_bytes') / total('airflows_bytes'):.1%}",
        "Airflow's load from JSON, over a thaw (p10 - p90)": (
            f"**{ratios[4]:.1f}** ({ratios[0]:.1f} - {ratios[8]:.1f})"
        ),
        "a thaw without templates, over a thaw (p10 - p90)": (f"**{plain[4]:.2f}** ({plain[0]:.2f} - {plain[8]:.2f})"),
        "a thaw": f"{1e3 * total('thaw') / len(dags):.2f} ms",
        **shares,
    }


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graphs", description=__doc__)
    parser.add_argument("--home", type=Path, help="an existing playground, instead of a new one")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    parser.add_argument(_MARKER, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        for found in measure(chosen.measure):
            print(json.dumps(asdict(found)), flush=True)
        return
    with playground(chosen.home, _GENERATED) as home:
        rows = run_json(home, {"mode": "off"}, "benchmarks.graphs", _MARKER, str(home / "airflow.db"))
    text = table(rows)
    print(text)
    if chosen.page:
        write_between(chosen.page, "graphs", f"{made_by()} Each DAG in turn; CPU seconds.\n\n{text}")


if __name__ == "__main__":
    main()
