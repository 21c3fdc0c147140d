"""The bytes that the allocators of a measured process have handed out, loop by loop, beside those that it accounts.

Resident memory includes the holes between objects, and memory that the allocators keep after a peak. In a process
with peaks of its own of many MiB, these hide a difference of a few MiB. Earlier peaks do not affect the bytes that are
handed out.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import NamedTuple

ALLOCATED = "allocated"
"""The file's name in AIRFLOW_HOME: a line for each loop."""


class Allocated(NamedTuple):
    """Of a process, in bytes, at one moment or as means over several."""

    accounted: float
    allocated: float


def write_down(file: Path, now: Allocated) -> None:
    """Add a line to a file."""
    with file.open("a") as lines:
        lines.write(f"{now.accounted:.0f} {now.allocated:.0f}\n")


def mean_of(file: Path, first: int, last: int) -> Allocated | None:
    """The means over some loops, from ``first`` to before ``last``, counted from 0; None if nothing was written down.

    Both are means of the same moments, so they are on the same line as the single ones.

    Raises:
        ValueError: not all of these loops were written down.

    """
    if not file.exists():
        return None
    lines = [line.split() for line in file.read_text().splitlines()[first:last]]
    if len(lines) != last - first:
        raise ValueError(f"expected lines {first} to {last - 1} in {file}, found {len(lines)} of them")
    return Allocated(*(statistics.fmean(float(line[at]) for line in lines) for at in range(2)))
