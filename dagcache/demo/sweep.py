"""A measurement of sweeps over all DAG versions in a scheduler's process: time, memory, statements.

    python -m dagcache.demo.sweep --sweeps 4 [--limit N] [--json]

It uses the bag of the scheduler in this environment: with AIRFLOW__DAGCACHE__MODE=off, Airflow's own. A tool for
measurements; the hook does not import it.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dagcache.sizing.limits import format_bytes
from dagcache.sizing.memory import resident_bytes

_RUNNER = "airflow.jobs.scheduler_job_runner"
PER_SESSION = 20  # [scheduler] max_dagruns_per_loop_to_schedule: one session of the scheduler's loop
_PAYLOAD = re.compile(r"\bserialized_dag\w*\W{1,3}(data|data_compressed)\b")


@dataclass(frozen=True, slots=True)
class Sweep:
    """One lookup of each version."""

    number: int
    lookups: int
    seconds: float
    cpu_seconds: float
    """Of all threads of the process."""
    rss_growth_bytes: int
    """The growth of resident memory from before the bag was built to after the sweep and a collection."""
    statements: int
    payload_statements: int
    """The statements that read serialised DAGs, not only their hashes."""
    hits_live: int | None
    """This and the next two: None for Airflow's own bag."""
    hits_frozen: int | None
    misses: int | None


class Statements:
    """A counter of the statements of an engine: all, and those that read serialised DAGs."""

    def __init__(self) -> None:
        self.all = self.payload = 0

    def __call__(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        """Count a statement: a listener of SQLAlchemy's ``before_cursor_execute``."""
        self.all += 1
        self.payload += _PAYLOAD.search(statement) is not None


def scheduler_bag(entries: int | None = None) -> Any:
    """A bag as `SchedulerJobRunner` builds it, on Airflow 3.1 - 3.4; ``entries`` replaces Airflow's bound."""
    module: Any = importlib.import_module(_RUNNER)

    if not hasattr(module, "CachedDBDagBag"):
        return module.DBDagBag(load_op_links=False)
    size = entries or getattr(module, "SCHEDULER_DAG_CACHE_SIZE", None) or _setting_of_airflow()
    return module.CachedDBDagBag(load_op_links=False, cache_size=size, cache_ttl=0, stats_prefix="scheduler.dag_bag")


def _setting_of_airflow() -> int:
    """The bound of Airflow's own bag by ``[scheduler] dag_cache_size``, since Airflow 3.4."""
    from airflow.configuration import conf

    return int(conf.getint("scheduler", "dag_cache_size"))


def look_up(bag: Any, version: Any, session: Any) -> Any:
    """The DAG of a version, as the scheduler gets it. Airflow 3.1 has no public name for this."""
    return bag._get_dag(version_id=version, session=session)  # noqa: SLF001


def sweeps(count: int, limit: int | None = None, entries: int | None = None) -> Iterator[Sweep]:
    """Look all versions (or the first ``limit``) up ``count`` times, in the same order, 20 to a session.

    ``entries``: the bound of Airflow's own bag instead of 512; without effect for an unbounded or a cached bag.

    Raises:
        LookupError: the bag did not find a version.

    """
    importlib.import_module(
        _RUNNER
    )  # before the first measurement of memory: the module is large, and not a part of the bag
    from airflow import settings
    from airflow.models.dag_version import DagVersion
    from airflow.utils.session import create_session
    from sqlalchemy import event, select

    with create_session() as session:
        versions = list(session.scalars(select(DagVersion.id).order_by(DagVersion.id).limit(limit)))
    statements = Statements()
    event.listen(settings.engine, "before_cursor_execute", statements)
    gc.collect()
    before = resident_bytes()
    bag = scheduler_bag(entries)
    for number in range(1, count + 1):
        started, sql, payload, known = time.perf_counter(), statements.all, statements.payload, _hits(bag)
        cpu = time.process_time()
        for first in range(0, len(versions), PER_SESSION):
            with create_session() as session:
                for version in versions[first : first + PER_SESSION]:
                    if look_up(bag, version, session) is None:
                        raise LookupError(f"version {version} is in the database, but the bag does not find it")
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        gc.collect()
        hits = [
            None if then is None or now is None else now - then for then, now in zip(known, _hits(bag), strict=True)
        ]
        growth = resident_bytes() - before
        counted = statements.all - sql, statements.payload - payload
        yield Sweep(number, len(versions), seconds, cpu, growth, *counted, *hits)
    if hasattr(bag, "dagcache"):
        bag._component.close()  # noqa: SLF001 - a warm store writes what waits


def _hits(bag: Any) -> tuple[int | None, int | None, int | None]:
    if not hasattr(bag, "dagcache"):
        return None, None, None
    stats = bag.dagcache.stats()
    return stats.hits_live, stats.hits_frozen, stats.misses


def main(argv: Sequence[str] | None = None) -> int:
    """One line per sweep, as text or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m dagcache.demo.sweep", description=__doc__)
    parser.add_argument("--sweeps", type=int, default=4, help="how often to look every version up (default: 4)")
    parser.add_argument("--limit", type=int, help="only the first N versions")
    parser.add_argument("--entries", type=int, help="the bound of Airflow's own bag, instead of 512 versions")
    parser.add_argument("--json", action="store_true", help="one JSON object per sweep")
    chosen = parser.parse_args(argv)
    for sweep in sweeps(chosen.sweeps, chosen.limit, chosen.entries):
        sys.stdout.write(f"{json.dumps(asdict(sweep)) if chosen.json else _line(sweep)}\n")
        sys.stdout.flush()
    return 0


def _line(sweep: Sweep) -> str:
    tiers = (
        "Airflow's own bag"
        if sweep.misses is None
        else f"{sweep.hits_live} live, {sweep.hits_frozen} frozen, {sweep.misses} missed"
    )
    return (
        f"sweep {sweep.number}: {sweep.lookups} versions in {sweep.seconds:.2f} s, "
        f"RSS +{format_bytes(max(0, sweep.rss_growth_bytes))}, "
        f"{sweep.payload_statements} of {sweep.statements} statements read payloads; {tiers}"
    )


if __name__ == "__main__":
    sys.exit(main())
