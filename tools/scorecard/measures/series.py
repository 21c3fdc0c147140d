"""Ten thousand DAGs, secrets in every place that could leak: the number of series, and the places that show a secret.

``python -m tools.scorecard.measures.series KEYS``.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
import subprocess
import sys
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from dagcache import DagCache, Loaded
from dagcache.metrics.collector import CacheCollector
from dagcache.pressure import MemoryPressure
from tests.support.caches import MIB

SECRET = "hunter2-S3CR3T"


class Leaky:
    """A value with a secret, which its failures name."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.password = SECRET

    def __repr__(self) -> str:
        return f"Leaky({self.password})"

    def __reduce__(self) -> Any:
        if self.fault == "freeze":
            raise TypeError(f"cannot pickle {self.password}")
        return Leaky, (self.fault,)


def expose(keys: int) -> dict[str, Any]:
    """Look all of them up, including failures; the text that an observer sees."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logger = logging.getLogger("dagcache")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    cache: DagCache[str, Any] = DagCache(max_bytes=MIB // 2, name="scheduler")
    for number in range(keys):
        with suppress(ConnectionError):
            cache.get_or_load(f"dag_{number}", _load)
    pressure = MemoryPressure(cache, limit=lambda: 2**40)
    pressure.step()
    registry = CollectorRegistry()
    registry.register(CacheCollector([cache], {"scheduler": pressure}))
    text = generate_latest(registry)
    shown = [repr(cache), repr(cache.stats()), repr(cache.config), repr(cache.entries())]
    logger.removeHandler(handler)
    cache.check_invariants()
    return {
        "keys": keys,
        "series": sum(not line.startswith(b"#") for line in text.splitlines()),
        "ids": text.count(b"dag_"),
        "secrets_in_metrics": text.count(SECRET.encode()),
        "secrets_in_log": said.getvalue().count(SECRET),
        "secrets_in_repr": sum(each.count(SECRET) for each in shown),
        "logged": len(said.getvalue().splitlines()),
        "promtool": _promtool(text),
    }


def _load(key: str) -> Any:
    number = int(key.rpartition("_")[2])
    if number % 50 == 7:
        raise ConnectionError(f"postgresql://airflow:{SECRET}@db/airflow is not there")
    return Loaded([Leaky("freeze" if number % 50 == 9 else "") for _ in range(1 + number % 5)], serialized_bytes=500)


def _promtool(text: bytes) -> str:
    if shutil.which("promtool") is None:
        return "not installed"
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
    return "clean" if (done.returncode, done.stdout, done.stderr) == (0, b"", b"") else done.stderr.decode()


if __name__ == "__main__":
    print(json.dumps(expose(int(sys.argv[1]))))  # noqa: T201 - it is a command
