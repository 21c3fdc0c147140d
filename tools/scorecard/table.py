"""The table of the scorecard: as text, and between the marks of a page."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tools.scorecard.outcome import Check, Outcome

HEAD = "| line | what | figure | limit | verdict |\n|---|---|---|---|---|"
START, END = "<!-- scorecard -->", "<!-- /scorecard -->"
_BETWEEN = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)


def row(check: Check, outcome: Outcome) -> str:
    """One row of the table, in Markdown."""
    cells = (check.line, check.what, outcome.figure, check.limit, outcome.verdict)
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "/") for cell in cells) + " |"


def machine() -> str:
    """Where the figures are from."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"CPython {platform.python_version()}, dagcache {version('dagcache')}, {os.cpu_count()} CPUs"
        f" ({platform.machine()}), {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}."
    )


def write_page(page: Path, checks: Sequence[Check], rows: Sequence[str]) -> None:
    """Put rows between the page's marks: those of lines that were not measured now stay, all in the board's order.

    Raises:
        ValueError: the page has no marks.

    """
    text = page.read_text()
    if not _BETWEEN.search(text):
        raise ValueError(f"{page} has no {START} and {END}")
    known = {_name(each): each for each in [*_rows_of(text), *rows]}
    order = [name for check in checks if (name := (check.line, check.what)) in known]
    body = "\n".join([f"The machine of the latest measurements: {machine()}", "", HEAD, *map(known.__getitem__, order)])
    page.write_text(_BETWEEN.sub(lambda _: f"{START}\n{body}\n{END}", text))


def _rows_of(text: str) -> list[str]:
    between = _BETWEEN.search(text)
    return re.findall(r"^\| R\d+ .*\|$", between[0] if between else "", re.MULTILINE)


def _name(text: str) -> tuple[str, str]:
    _, line, what, *_ = (cell.strip() for cell in text.split("|"))
    return line, what
