"""The scoreboard: every benchmark, one after another, and the page that shows them.

``python -m benchmarks [--quick] [--page FILE]`` prints what each part prints; with ``--page`` it also writes the
document, figures and all. ``--only hits,sizing`` runs some parts; the page keeps the figures of the others. Times are
CPU times and ratios within one run; the machine decides the rest.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

SCHEDULERS = "## In a scheduler\n"
"""The heading of the section with the tables of `make bench-airflow`."""
PEERS = ("cachetools", "cachebox", "moka-py", "pympler", "numpy")


@dataclass(frozen=True)
class Part:
    """One benchmark: its module, its text on the page, and its short form."""

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
        "One hit among 1000 UUID keys, in a single thread. CPU time, medians of 20 rounds, and quartiles of the ratio "
        "per round. The cache notes the first hit on an entry in a twentieth of a second, for idle times and for the "
        "policy. The third line is the cost of hits that are all noted. The Rust caches are faster on a hit, because a "
        "call into compiled code needs no Python function.",
    ),
    Part(
        "The policy",
        "benchmarks.policies",
        ("--jobs", str(os.cpu_count() or 1)),
        ("--quick",),
        "The cost of misses, divided by that of an offline policy with knowledge of the future (Belady with sizes, "
        "costs, bypass). Geometric means per family of traces; lower is better, and 1.00 is the bound. The traces of "
        "the first two sets are synthetic, from fixed seeds; those of the other sets were recorded from real "
        "schedulers. [policy.md](policy.md) explains the rules, and where this policy loses.\n\n"
        "![hits over budgets, for each policy](policies.svg)",
    ),
    Part(
        "Weighing",
        "benchmarks.sizing",
        (),
        ("--graphs", "60"),
        "Errors are relative to the growth of the allocators' bytes. Costs are shares of building the graph from its "
        "JSON. The synthetic loader is faster than real ones, so the shares are larger than in a scheduler.",
    ),
    Part(
        "Freezing",
        "benchmarks.freezing",
        (),
        (),
        "Medians, with the 10th to 90th percentile. Disposal of a victim (*release*) takes a third to two thirds of "
        "the time of its thaw.",
    ),
    Part(
        "A burst of expiry",
        "benchmarks.expiry",
        (),
        ("--entries", "2000"),
        "All entries of a cache but one fall idle, as in a quiet night; synthetic graphs. The first call after it, and "
        "the calls until all idle graphs are taken apart; CPU milliseconds. A lookup works on that for about a "
        "millisecond, a view for five, however many entries there are.",
    ),
)


def machine() -> str:
    """The machine and the versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in PEERS)
    return (
        f"{os.cpu_count()} CPUs ({platform.machine()}), {platform.system()}, {platform.python_implementation()} "
        f"{platform.python_version()}, dagcache {version('dagcache')}; {versions}."
    )


def run(part: Part, quick: bool) -> str:
    """Run one part in a separate process, show its output, and return it."""
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
        "`make bench` writes this page, `make bench-airflow` most of the section on the scheduler; each table names "
        "its command. Compare ratios, not absolute figures: each part measures dagcache and its peers in one run.\n\n"
        f"The machine: {machine()}\n"
    )
    sections = [f"## {part.title}\n\n{part.text}\n\n```text\n{outputs[part.title]}\n```\n" for part in PARTS]
    return "\n".join([head, _kept(before), *sections])


def figures_of(part: Part, text: str) -> str:
    """The figures of a part on a page; empty if it has none."""
    found = re.search(f"^## {re.escape(part.title)}$.*?^```text\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def _kept(before: str) -> str:
    start, end = before.find(SCHEDULERS), before.find(f"\n## {PARTS[0].title}\n")
    return before[start:end] if 0 <= start < end else f"{SCHEDULERS}\n"


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the document, too")
    names = [part.module.rpartition(".")[2] for part in PARTS]
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)}, comma-separated")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    if unknown := set(only).difference(names):
        parser.error(f"--only: expected some of {', '.join(names)}, not {', '.join(sorted(unknown))}")
    before = arguments.page.read_text() if arguments.page and arguments.page.exists() else ""
    outputs = {part.title: figures_of(part, before) for part in PARTS}
    outputs |= {part.title: run(part, arguments.quick) for name, part in zip(names, PARTS, strict=True) if name in only}
    if arguments.page:
        arguments.page.write_text(page(outputs, before))


if __name__ == "__main__":
    main()
