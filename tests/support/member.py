"""A process for a control group: ``python -m tests.support.member SETTINGS`` reads commands and answers, in JSON."""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from dagcache import DagCache
from dagcache.pressure import MemoryPressure
from dagcache.sizing.cgroups import own_stall
from dagcache.sizing.memory import _ROOT, container_use, memory_limit, unreclaimable_bytes
from tests.support.clock import ManualClock

MIB = 2**20


class _Member:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.blocks: list[bytearray] = []
        self.files: list[Any] = []
        self.cache: DagCache[int, bytes] = DagCache(sizer=len, freezer=None, **settings)
        self.keys = itertools.count()
        self.clock = ManualClock()
        self.pressure = MemoryPressure(self.cache, clock=self.clock)

    def look(self, _: int) -> dict[str, Any]:
        """The process's own readings of its memory."""
        uses = [asdict(use) for use in container_use()]
        limit = memory_limit()
        stall = own_stall(_ROOT)
        return {"limit": asdict(limit), "uses": uses, "own": unreclaimable_bytes(), "stall": stall is not None}

    def allocate(self, mebibytes: int) -> None:
        """Use so much memory more."""
        self.blocks.append(bytearray(os.urandom(MIB)) * mebibytes)

    def write(self, mebibytes: int) -> None:
        """Leave so many clean pages of a file, which are charged to the group."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - its pages are to stay
        self.files.append(file)
        for _ in range(mebibytes):
            file.write(bytes(MIB))
        file.flush()
        os.fsync(file.fileno())

    def fill(self, mebibytes: int) -> None:
        """Look up so many values of 1 MiB that were never looked up before."""
        for _ in range(mebibytes):
            self.cache.get_or_load(next(self.keys), lambda _: os.urandom(MIB))

    def step(self, seconds: int) -> dict[str, Any]:
        """Let the watch look after so many seconds."""
        self.clock.advance(seconds)
        state = self.pressure.step()
        return {"state": state.value, "budget": self.cache.max_bytes, "held": self.cache.stats().total_bytes}


def main() -> None:
    """Answer until the input ends."""
    member = _Member(json.loads(sys.argv[1]))
    _say("ready")
    for line in sys.stdin:
        command, argument = json.loads(line)
        answer: Callable[[int], Any] = getattr(member, command)
        _say(answer(argument))


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
