"""Dark colours in the charts of the documents, for readers with a dark screen.

    python -m benchmarks.dark_mode FILE...

adds them to SVG files that matplotlib or `benchmarks.chart` has drawn. The programs that draw do so themselves.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_DARK = {
    "#ffffff": "#0d1117",  # the page
    "#000000": "#d5dbe1",  # axes, and a black line
    "#b0b0b0": "#8b96a3",  # the grid
    "#0d5c3f": "#d3f5e6",  # the strongest of three greens: dark on white, pale on black
}
_RULES = "\n".join(
    f'[style*="{name}: {light}"] {{ {name}: {dark} !important; }}'
    for light, dark in _DARK.items()
    for name in ("fill", "stroke")
)
_MARK = "@media (prefers-color-scheme: dark)"
STYLE = f"""<style>
text {{ fill: #000000; }}
{_MARK} {{
text {{ fill: #e4e9ee; }}
rect[fill="white"] {{ fill: {_DARK["#ffffff"]}; }}
{_RULES}
}}
</style>
"""
"""Rules that override the colours of attributes and of ``style``."""


def with_dark_mode(svg: str) -> str:
    """An SVG document with the colours for dark screens; one that has them is returned unchanged.

    Raises:
        ValueError: the text is not an SVG document.

    """
    if _MARK in svg:
        return svg
    opened = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:opened]}\n{STYLE.rstrip()}{svg[opened:]}"


def main(argv: Sequence[str] | None = None) -> int:
    """Add the colours to files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dark_mode", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="an SVG file")
    for path in parser.parse_args(argv).files:
        path.write_text(with_dark_mode(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
