"""An executor that keeps a log of the scheduler's lookups: one line for each, written before it is answered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dagcache import DagCache
from tests.in_airflow.instant import InstantExecutor

LOG = "LOOKUPS_LOG"
"""The variable of the environment that names the file."""


class CountingExecutor(InstantExecutor):
    """The scheduler builds its executor before its bag: early enough to listen to that."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from airflow.jobs import scheduler_job_runner as site

        bag: Any = getattr(site, "CachedDBDagBag", None) or site.DBDagBag
        look_up = bag._get_dag

        def logged(self: Any, version_id: Any, session: Any) -> Any:
            if not self._is_loading():  # a load calls the inherited method: that does not count as a lookup
                _log(version_id)
            return look_up(self, version_id=version_id, session=session)

        bag._get_dag = logged
        _log_readers_past_the_bag()


def _log_readers_past_the_bag() -> None:
    """They ask the cache itself, for private copies."""
    fetch: Any = DagCache.fetch

    def logged(self: Any, key: Any, *args: Any, private: bool = False, **kwargs: Any) -> Any:
        if private:
            _log(key)
        return fetch(self, key, *args, private=private, **kwargs)

    DagCache.fetch = logged  # type: ignore[method-assign]


def _log(version_id: Any) -> None:
    with Path(os.environ[LOG]).open("a") as log:
        log.write(f"{version_id}\n")
