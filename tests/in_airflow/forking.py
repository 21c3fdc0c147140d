"""A process that holds a bag in use and forks, as an executor does: `fork_under_load` runs in one of its own."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import Any

from tests.in_airflow.support import scheduler_bag, write
from tests.support import probe
from tests.support.children import LONGEST, fork, listening_ports, outcome


def fork_under_load(forks: int) -> None:
    """Look up in three threads, and fork one child after the other; their results are printed as JSON."""
    from airflow import settings
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session
    from sqlalchemy.pool import NullPool

    def session() -> Any:
        return Session(create_engine(settings.SQL_ALCHEMY_CONN, poolclass=NullPool))

    bag = scheduler_bag()
    with session() as writing:
        versions = [write(writing, f"forked_{number}") for number in range(8)]
        dag = bag._get_dag(versions[0], writing)
    port = bag._component.exposition.port
    over = threading.Event()

    def look_up() -> None:
        while not over.is_set():
            for version in versions:
                with session() as reading:
                    bag._get_dag(version, reading)
            bag.dagcache.clear()

    def child() -> None:
        assert port not in listening_ports()
        assert threading.active_count() == 1
        assert len(bag.dagcache) == 0
        assert bag.dagcache.get_or_load(versions[0], lambda _: dag) is dag
        # No session: SQLite does not survive the fork of a process with threads that use it.
        assert bag._get_dag(versions[0], None) is dag
        assert probe.unlocked_hits(bag.dagcache) == 1, "its lookup takes the hit path"
        bag.dagcache.check_invariants()

    def survivor() -> None:
        os.closerange(1, 3)
        signal.alarm(int(2 * LONGEST))
        signal.pause()

    threads = [threading.Thread(target=look_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = [outcome(fork(child)) for _ in range(forks)]
    over.set()
    for thread in threads:
        thread.join()
    mine = port in listening_ports()
    print(json.dumps({"codes": codes, "port": port, "parent_listens": mine, "survivor": fork(survivor)}))  # noqa: T201
