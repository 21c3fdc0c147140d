"""The scoreboard: every benchmark, one after another, and the page that shows them.

``python -m benchmarks [--quick] [--page FILE]`` prints what each part prints; with ``--page`` it also writes the
document, figures and all. Times are CPU times and ratios within one run; the machine decides the rest.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

SCHEDULERS = "## In a scheduler\n"
"""The heading of the section whose tables `make bench-airflow` writes."""
PEERS = ("cachetools", "cachebox", "moka-py", "pympler", "numpy")


@dataclass(frozen=True)
class Part:
    """One benchmark: its module, what the page says about it, and how it is shortened."""

    title: str
    module: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...]
    text: str


PARTS = (
    Part(
        "The hit path",
        "benchmarks.hits",
        (),
        (),
        "One lookup that finds its value, among 1000 UUID keys, single thread, CPU time, medians of 20 rounds and the "
        "quartiles of the ratio round by round. The first hit on an entry in a twentieth of a "
        "second is noted, for idle times and the policy: the third line is the cost of hits that are all noted. The "
        "Rust caches are faster on a hit: a call into compiled code does with no Python function at all.",
    ),
    Part(
        "The policy",
        "benchmarks.policies",
        ("--jobs", str(os.cpu_count() or 1)),
        ("--quick",),
        "Cost of misses over the cost of an offline policy that knows the future (Belady with sizes, costs, bypass), "
        "geometric means per family of traces; 1.00 is the bound, lower is better. The traces of the first two "
        "sets are seeded, synthetic; those of the others were recorded from real schedulers. "
        "[policy.md](policy.md) explains them, and where this policy loses and why.\n\n"
        "![hits over budgets, for each policy](policies.svg)",
    ),
    Part(
        "Weighing",
        "benchmarks.sizing",
        (),
        ("--graphs", "60"),
        "Against the growth of what the allocators hand out. Cost is a share of building the graph from its JSON; "
        "the synthetic loader is quicker than real ones, so the shares are larger than in a scheduler.",
    ),
    Part(
        "Freezing",
        "benchmarks.freezing",
        (),
        (),
        "Medians, with the 10th to 90th percentile. Taking a victim apart costs about as much as a thaw.",
    ),
)


def machine() -> str:
    """What it ran on."""
    versions = ", ".join(f"{name} {version(name)}" for name in PEERS)
    return (
        f"{os.cpu_count()} CPUs ({platform.machine()}), {platform.system()}, {platform.python_implementation()} "
        f"{platform.python_version()}, dagcache {version('dagcache')}; {versions}."
    )


def run(part: Part, quick: bool) -> str:
    """Run one part in a process of its own, show what it prints, and return that."""
    print(f"== {part.title} ==", flush=True)
    command = [sys.executable, "-m", part.module, *(part.quick if quick else part.arguments)]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(f"{part.module} ended with {process.returncode}")
    print()
    return "".join(lines).strip("\n")


def page(outputs: dict[str, str], before: str = "") -> str:
    """The document; the scheduler's section is another command's, and stays as it is."""
    head = (
        "# Benchmarks\n\n"
        "Made by `make bench`, the scheduler's part by `make bench-airflow`. Trust ratios, not absolutes: each part "
        f"measures dagcache and its peers in one run.\n\nThe machine: {machine()}\n"
    )
    sections = [f"## {part.title}\n\n{part.text}\n\n```text\n{outputs[part.title]}\n```\n" for part in PARTS]
    return "\n".join([head, _kept(before), *sections])


def _kept(before: str) -> str:
    start, end = before.find(SCHEDULERS), before.find(f"\n## {PARTS[0].title}\n")
    return before[start:end] if 0 <= start < end else f"{SCHEDULERS}\n"


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the document, too")
    arguments = parser.parse_args()
    outputs = {part.title: run(part, arguments.quick) for part in PARTS}
    if arguments.page:
        before = arguments.page.read_text() if arguments.page.exists() else ""
        arguments.page.write_text(page(outputs, before))


if __name__ == "__main__":
    main()
