"""The Airflow home of a run: locked while in use, and reused only if the run before it ended properly."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dagcache.cli.run.processes import Processes
from dagcache.cli.shared.failure import CommandError
from dagcache.cli.shared.logs import tail
from dagcache.cli.shared.progress import Progress
from dagcache.demo.playground import environment

_LOCK, _STATE = ".dagcache-run.lock", ".dagcache-run.json"
_EXAMPLES = ("example_simplest_dag", "tutorial_taskflow_api", "example_dynamic_task_mapping")
_STEPS = {
    "schema": "creating the metadata database",
    "examples": "reading Airflow's example DAGs",
    "versions": "writing generated versions",
}


@contextlib.contextmanager
def locked_home(chosen: Path | None, *, keep: bool) -> Iterator[Path]:
    """A folder that no other run uses: ``chosen``, or a new one that is removed afterwards unless ``keep``.

    Raises:
        CommandError: another run uses it, or it contains files that are not from a run.

    """
    home = chosen.resolve() if chosen else Path(tempfile.mkdtemp(prefix="dagcache-run-"))
    home.mkdir(parents=True, exist_ok=True)
    if not (home / _LOCK).exists() and any(home.iterdir()):
        raise CommandError(f"--home {home}: it contains files that are not from a run; name a new or empty folder")
    with (home / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel releases it even if this process is killed
        except OSError:
            raise CommandError(f"--home {home}: another run is using it") from None
        yield home
    if chosen is None and not keep:
        shutil.rmtree(home, ignore_errors=True)


class Home:
    """The content of a locked folder."""

    def __init__(self, path: Path, versions: int) -> None:
        self.path = path
        self._is = {"versions": versions, "ended": True}
        self.logs = path / "logs"

    def prepare(self, processes: Processes, progress: Progress) -> None:
        """Build it, unless a run with the same number of versions ended properly in it.

        Raises:
            CommandError: it could not be built.

        """
        state = self._state()
        if state == self._is:
            progress.note(f"using {self.path} from the last run")
        else:
            if state is not None:
                progress.note(f"rebuilding {self.path}: the last run was killed, or had another number of versions")
            self._clear()
            self._build(processes, progress)
        self._write({**self._is, "ended": False})

    def ended(self) -> None:
        """Record that the run ends properly."""
        self._write(self._is)

    def _build(self, processes: Processes, progress: Progress) -> None:
        self._write({**self._is, "ended": False})
        self.logs.mkdir()
        log, out = self.logs / "playground.log", self.logs / "playground.jsonl"
        module = ("-m", "dagcache.demo.playground", "--home", str(self.path))
        options = [f"--versions={self._is['versions']}", *(f"--trigger={dag_id}" for dag_id in _EXAMPLES)]
        environ = environment(self.path, mode="off")
        child = processes.start([sys.executable, *module, *options], environ, log=log, out=out)
        with out.open() as lines:
            while child.poll() is None:
                for line in lines:
                    if line.startswith("{"):
                        report = json.loads(line)
                        progress.step(_STEPS[report["step"]], report["done"], report["of"])
                progress.wait()
        if child.returncode:
            raise CommandError(f"the home could not be built; the end of {log}:\n{tail(log)}")

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.name == _LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _state(self) -> Any:
        try:
            return json.loads((self.path / _STATE).read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}

    def _write(self, state: dict[str, Any]) -> None:
        (self.path / _STATE).write_text(json.dumps(state))
