"""The slowness of the machine, measured by a process of its own: the heap of a measured process would take part.

``python -m benchmarks.probe_process`` reads numbers of steps from its standard input, and answers each with a slowness.
"""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType

from typing_extensions import Self

from dagcache.advice.slowness import Probe

_PATIENCE = 60.0  # seconds


class ProbeProcess:
    """A `dagcache.advice.slowness.Probe` in a process of its own. It runs while this one waits for it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.probe_process"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=_PATIENCE)
        finally:
            self._process.kill()

    def slowness(self, steps: int) -> float:
        """As `Probe.slowness`.

        Raises:
            ChildProcessError: the process has ended.

        """
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        asked.write(f"{steps}\n")
        asked.flush()
        answer = answers.readline()
        if not answer:
            raise ChildProcessError(f"the process of the probe ended with {self._process.wait()}")
        return float(answer)


def main() -> None:
    """Answer until the input ends."""
    probe = Probe()
    for line in sys.stdin:
        print(probe.slowness(int(line)), flush=True)


if __name__ == "__main__":
    main()
