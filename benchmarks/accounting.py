"""What the cache says it holds beside what the process has grown by, over real DAGs in a real scheduler's bag.

``python -m benchmarks.accounting [--first 200] [--laps 1] [--every N]`` with the environment of an Airflow home: looks
the first versions up to warm everything up, then the others, lap by lap, and prints one JSON object about those; more
on the way if that is asked for.
"""

from __future__ import annotations

import argparse
import gc
import json
from typing import Any

from dagcache.airflow.sweep import look_up as look_up_one
from dagcache.airflow.sweep import scheduler_bag
from dagcache.sizing.memory import resident_bytes


def main() -> None:
    """Print JSON objects."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accounting", description=__doc__)
    parser.add_argument("--first", type=int, default=200, help="versions to warm up with (default: 200)")
    parser.add_argument("--laps", type=int, default=1, help="how often to look all versions up (default: once)")
    parser.add_argument("--every", type=int, help="tell after so many lookups (default: at the end)")
    chosen = parser.parse_args()
    bag = scheduler_bag()
    from airflow.models.dag_version import DagVersion
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        versions = list(session.scalars(select(DagVersion.id).order_by(DagVersion.id)))
    look_up(bag, versions[: chosen.first])
    before = figures(bag)
    others = (versions * chosen.laps)[chosen.first :]
    every = chosen.every or len(others)
    for done in range(0, len(others), every):
        some = others[done : done + every]
        look_up(bag, some)
        print(json.dumps(_grown(before, figures(bag), done + len(some))), flush=True)


def _grown(before: dict[str, float], after: dict[str, float], lookups: int) -> dict[str, float]:
    grown = {name: after[name] - before[name] for name in after}
    return {
        "lookups": lookups,
        "resident_growth_bytes": grown["resident"],
        "accounted_growth_bytes": grown["accounted"],
        "accounted_over_resident": grown["accounted"] / grown["resident"],
        "sizing_over_load": grown["sizing"] / grown["load"] if grown["load"] else 0.0,
        "serialized_bytes": grown["serialized"],
    }


def look_up(bag: Any, versions: list[Any]) -> None:
    """Look each version up, twenty to a session."""
    from airflow.utils.session import create_session

    for first in range(0, len(versions), 20):
        with create_session() as session:
            for version in versions[first : first + 20]:
                look_up_one(bag, version, session)


def figures(bag: Any) -> dict[str, float]:
    """What is held, and what it cost so far."""
    gc.collect()
    stats = bag.dagcache.stats()
    return {
        "resident": resident_bytes(),
        "accounted": stats.total_bytes,
        "sizing": stats.sizing_seconds,
        "load": stats.load_seconds.total,
        "serialized": stats.serialized_bytes,
    }


if __name__ == "__main__":
    main()
