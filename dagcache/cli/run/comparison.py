"""The comparison of Airflow's own cache and this one over the same database, in two child processes in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagcache.cli.run.processes import Processes
from dagcache.cli.shared.logs import tail
from dagcache.sizing.limits import format_bytes

_SWEEPS = 2  # the first fills the cache
_VERSIONS = 600  # enough: Airflow's own cache keeps 512


class Comparison:
    """Runs both in turn; `advance` never waits."""

    def __init__(self, processes: Processes, environments: Mapping[str, Mapping[str, str]], logs: Path) -> None:
        self._processes = processes
        self._waiting = list(environments.items())
        self._logs = logs
        self._running: tuple[str, subprocess.Popen[bytes]] | None = None
        self.table: dict[str, dict[str, Any]] = {}
        """The last sweep of each, once it has ended."""
        self.failure = ""

    @property
    def over(self) -> bool:
        """Whether both have ended."""
        return not self._waiting and self._running is None

    def advance(self) -> None:
        """Collect the result of a process that has ended, and start the next one."""
        if self._running is not None:
            name, process = self._running
            if process.poll() is None:
                return
            self._running = None
            self._collect(name, process.returncode)
        if self._waiting:
            name, environment = self._waiting.pop(0)
            command = [
                sys.executable,
                "-m",
                "dagcache.demo.sweep",
                "--json",
                f"--sweeps={_SWEEPS}",
                f"--limit={_VERSIONS}",
            ]
            log, out = self._files(name)
            self._running = name, self._processes.start(command, environment, log=log, out=out)

    def lines(self) -> list[str]:
        """The table, or its progress."""
        if self.failure:
            return [self.failure]
        if not self.over:
            return [f"comparing with Airflow's own cache: {len(self.table)} of 2 measured ..."]
        return [_HEADER, *(_row(name, sweep) for name, sweep in self.table.items())]

    def _files(self, name: str) -> tuple[Path, Path]:
        return self._logs / f"sweep-{name}.log", self._logs / f"sweep-{name}.jsonl"

    def _collect(self, name: str, returncode: int) -> None:
        log, out = self._files(name)
        sweeps = [json.loads(line) for line in out.read_text().splitlines() if line.startswith("{")]
        if returncode or len(sweeps) < _SWEEPS:
            self._waiting.clear()
            self.failure = f"the comparison failed ({name}, exit code {returncode}); the end of {log}:\n{tail(log)}"
        else:
            self.table[name] = sweeps[-1]


_HEADER = f"{'once filled':<12}{'s per sweep':>12}{'RSS growth':>13}{'payload queries':>17}{'versions':>10}"


def _row(name: str, sweep: Mapping[str, Any]) -> str:
    growth = format_bytes(max(0, sweep["rss_growth_bytes"]))
    return f"{name:<12}{sweep['seconds']:>12.2f}{growth:>13}{sweep['payload_statements']:>17}{sweep['lookups']:>10}"
