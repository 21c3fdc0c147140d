"""Bars in SVG, without a library: panels side by side, a bar per row in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.dark_mode import with_dark_mode

_LABEL, _PANEL, _GAP, _BAR, _TOP = 210, 330, 60, 30, 46
_COLOURS = {"theirs": "#8a94a6", "ours": "#1f7a5c"}
_FONT = 'font-family="system-ui, sans-serif" font-size="13"'


@dataclass(frozen=True)
class Row:
    """One bar in each panel."""

    label: str
    values: tuple[float, ...]
    texts: tuple[str, ...]
    ours: bool


def bars(titles: Sequence[str], rows: Sequence[Row]) -> str:
    """The chart as an SVG document; bars start at 0 and each panel has its own scale."""
    width = _LABEL + len(titles) * (_PANEL + _GAP) - _GAP
    height = _TOP + _BAR * len(rows) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for panel, title in enumerate(titles):
        left = _LABEL + panel * (_PANEL + _GAP)
        parts.append(f'<text x="{left}" y="24" {_FONT} font-weight="600">{title}</text>')
        scale = (_PANEL - 90) / max(row.values[panel] for row in rows)
        for number, row in enumerate(rows):
            top = _TOP + number * _BAR
            length = max(2.0, row.values[panel] * scale)
            colour = _COLOURS["ours" if row.ours else "theirs"]
            middle = top + 14
            if panel == 0:
                parts.append(f'<text x="{_LABEL - 12}" y="{middle}" text-anchor="end" {_FONT}>{row.label}</text>')
            parts.append(f'<rect x="{left}" y="{top}" width="{length:.1f}" height="18" rx="2" fill="{colour}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{middle}" {_FONT}>{row.texts[panel]}</text>')
    return with_dark_mode("\n".join([*parts, "</svg>", ""]))
