"""A busy `airflow scheduler`, measured from outside: the duration of each loop, and the process's use of resources.

Airflow's own StatsD timer reports each loop; CPU time and memory are read from ``/proc`` as each sample comes in, SQL
statements and collections from the file of `benchmarks.tallies`, accounted bytes from that of `benchmarks.peak`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peak, tallies, without
from benchmarks.peak import Peak
from benchmarks.statsd import listening
from benchmarks.tallies import Tallies
from dagcache.demo.playground import environment, free_ports
from dagcache.metrics.scrape import Scrape, scrape

ROOT = Path(__file__).resolve().parents[1]
_PREFIX = "bench"
_TIMER = f"{_PREFIX}.scheduler.scheduler_loop_duration"
_TICKS = os.sysconf("SC_CLK_TCK")
_KIB = 1024
_PEAK = "peak"
_POLL = 0.02  # seconds
_PATIENCE_AT_THE_END = 20.0  # seconds
_LOCAL_SETTINGS = """\
import benchmarks.peak
import benchmarks.tallies
import benchmarks.without

benchmarks.peak.install()
benchmarks.tallies.install()
benchmarks.without.install()
"""


@dataclass(frozen=True)
class Memory:
    """Of a process, in bytes."""

    anonymous: int
    """Resident pages without a file: the memory of the allocators, without the code."""
    resident: int
    peak: int
    """The largest ``resident`` so far."""


@dataclass(frozen=True)
class Loop:
    """One turn of the scheduler's loop, and the process's use of resources at its end."""

    milliseconds: float
    ended: float
    """Monotonic seconds."""
    cpu_seconds: float
    memory: Memory
    tallies: Tallies


_running: set[subprocess.Popen[bytes]] = set()


def end_with_this_process() -> None:
    """Have a SIGTERM end all schedulers, those that other threads wait for included, and then this process."""

    def kill_all(*_: object) -> None:
        for process in list(_running):
            _kill(process)
        sys.exit(143)

    signal.signal(signal.SIGTERM, kill_all)


class StoppedError(Exception):
    """The scheduler ended, or did not do in time what was waited for; the message ends with its log's last lines."""


class Scheduler:
    """A scheduler that runs."""

    def __init__(self, process: subprocess.Popen[bytes], home: Path, counted: Path, metrics_port: int) -> None:
        self.loops: list[Loop] = []
        self._process = process
        self._log = home / "scheduler.log"
        self._peak = home / _PEAK
        self._counted = counted
        self._metrics_port = metrics_port

    def loop_ended(self, milliseconds: float) -> None:
        """Take a loop down; called by the listener's thread."""
        pid = self._process.pid
        with suppress(OSError):  # the process is gone
            self.loops.append(
                Loop(milliseconds, time.monotonic(), cpu_seconds(pid), memory(pid), tallies.read(self._counted))
            )

    def wait_for(self, loops: int, patience: float) -> None:
        """Wait until so many loops have ended since the start.

        Raises:
            StoppedError: the process ended, or ``patience`` seconds were not enough.

        """
        end = time.monotonic() + patience
        while len(self.loops) < loops:
            if self._process.poll() is not None:
                raise StoppedError(f"the scheduler ended after {len(self.loops)} loops: {self._last_lines()}")
            if time.monotonic() > end:
                done = f"{len(self.loops)} loops in {patience:.0f} s, not {loops}"
                raise StoppedError(f"{done}: the scheduler says: {self._last_lines()}")
            time.sleep(_POLL)

    def accounted(self) -> Peak:
        """The accounted bytes, and the most since `begin_peak`."""
        return peak.read(self._peak)

    def begin_peak(self) -> None:
        """Forget the most so far."""
        peak.begin(self._peak)

    def metrics(self) -> Scrape:
        """The cache's metrics; OSError without a cache."""
        return scrape(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=30)

    def _last_lines(self) -> str:
        return self._log.read_text()[-4000:]


@contextmanager
def scheduler(
    home: Path,
    url: str,
    settings: Mapping[str, object],
    *,
    runs_per_loop: int,
    left_out: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[Scheduler]:
    """Start one on a database, and stop it at the end.

    Args:
        home: becomes AIRFLOW_HOME.
        url: the metadata database, in SQLAlchemy's notation.
        settings: options of the section ``[dagcache]``.
        runs_per_loop: ``[scheduler] max_dagruns_per_loop_to_schedule``, also for new runs.
        left_out: parts of the cache to take out: names of `benchmarks.without`.
        more: further variables of the environment.
        python: the interpreter.

    """
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "airflow_local_settings.py").write_text(_LOCAL_SETTINGS)
    counted = home / "tallies"
    tallies.new_file(counted)
    peak.new_file(home / _PEAK)
    (port,) = free_ports(1)
    env = environment(home, url, examples=False, metrics_host="127.0.0.1", metrics_port=port, **settings) | {
        "PYTHONPATH": str(ROOT),
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PREFIX": _PREFIX,
        "AIRFLOW__METRICS__METRICS_ALLOW_LIST": "scheduler.scheduler_loop_duration",
        # Without work a scheduler sleeps for a second after each loop.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0",
        "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": str(runs_per_loop),
        tallies.VARIABLE: str(counted),
        peak.VARIABLE: str(home / _PEAK),
        without.VARIABLE: ",".join(left_out),
        **(more or {}),
    }
    log = home / "scheduler.log"
    started: list[Scheduler] = []
    with listening(_TIMER, lambda sample: started[0].loop_ended(sample)) as statsd, log.open("w") as written:
        process = subprocess.Popen(
            [python, "-m", "airflow", "scheduler", "--skip-serve-logs"],
            env=env | {"AIRFLOW__METRICS__STATSD_PORT": str(statsd)},
            cwd=home,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
        _running.add(process)
        started.append(Scheduler(process, home, counted, port))
        try:
            yield started[0]
        finally:
            end_component(process)
            _running.discard(process)


def end_component(process: subprocess.Popen[bytes]) -> None:
    """End a component of Airflow that leads a session, with its workers; by force after a while."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_AT_THE_END)
    _kill(process)
    process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a component and its workers: they would keep its connections to the database, and with these its locks.

    Its process group exists as long as one of its members does.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def cpu_seconds(pid: int, proc: Path = Path("/proc")) -> float:
    """The CPU seconds of a process so far, in user and in system mode; OSError if it is gone."""
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int, proc: Path = Path("/proc")) -> Memory:
    """The resident bytes of a process; OSError if it is gone."""
    lines = (proc / str(pid) / "status").read_text().splitlines()
    parted = (line.partition(":") for line in lines)
    sizes = {name: int(rest.split()[0]) * _KIB for name, _, rest in parted if rest.endswith("kB")}
    if not sizes:
        raise ProcessLookupError(f"process {pid} has ended")
    return Memory(sizes["RssAnon"], sizes["VmRSS"], sizes["VmHWM"])
