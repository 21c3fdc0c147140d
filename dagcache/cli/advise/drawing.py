"""The miss-cost curve, drawn: in the terminal with plotext, as PNG with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagcache.cli.shared.failure import CommandError, InputError

_MIB = 1 << 20
_WIDEST, _HEIGHT = 100, 16
_BELOW = "max_bytes in MiB; the vertical line is the recommended limit"
_SIDE, _FLAT = 8.0, 4.5  # inches


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds of loads and thaws per sweep, over budgets, and those of Airflow's own cache."""

    budgets: Sequence[int]
    """Bytes, ascending."""
    seconds: Sequence[float]
    recommended: int
    """Bytes."""
    stock_seconds: float
    """The same for Airflow's own cache."""

    @property
    def title(self) -> str:
        """The title of the drawing."""
        return "loads and thaws, seconds per sweep, at the busiest moment"


def terminal(curve: Curve, width: int) -> str:
    """The curve as lines of text.

    Raises:
        InputError: plotext is not installed.

    """
    try:
        import plotext  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise InputError("a curve on the terminal needs plotext: pip install plotext") from None
    budgets = [budget / _MIB for budget in curve.budgets]
    draw = _plotext_5 if hasattr(plotext, "clear_figure") else _plotext_6
    return draw(plotext, curve, budgets, min(width, _WIDEST))


def _plotext_6(plotext: Any, curve: Curve, budgets: list[float], width: int) -> str:
    plot = plotext.figure
    plot.clear()
    plot.plot_size(width, _HEIGHT)
    plot.theme("colorless")
    plot.draw(plot.signal(budgets, list(curve.seconds), marker="braille").lines())
    plot.line(curve.recommended / _MIB, orientation="vertical")
    plot.title(curve.title)
    plot.label(_BELOW)
    return str(plotext.uncolorize(str(plot.build())))


def _plotext_5(plotext: Any, curve: Curve, budgets: list[float], width: int) -> str:
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, _HEIGHT)
    plotext.plot(budgets, list(curve.seconds), marker="braille")
    plotext.vertical_line(curve.recommended / _MIB)
    plotext.title(curve.title)
    plotext.xlabel(_BELOW)
    return str(plotext.build())


def png(curve: Curve, path: Path) -> None:
    """Draw the curve into a file.

    Raises:
        InputError: matplotlib is not installed.
        CommandError: the file cannot be written.

    """
    try:
        from matplotlib.figure import Figure  # not pyplot, which wants a display
    except ImportError:
        raise InputError("--png needs matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(_SIDE, _FLAT), layout="constrained")
    axes: Any = figure.subplots()
    axes.plot([budget / _MIB for budget in curve.budgets], curve.seconds, marker="o", color="#1f77b4", label="dagcache")
    axes.axhline(curve.stock_seconds, color="#888888", linestyle="--", label="Airflow's own cache of 512 versions")
    axes.axvline(curve.recommended / _MIB, color="#2ca02c", linestyle=":", label="recommended")
    axes.set_title(curve.title)
    axes.set_xlabel("max_bytes, MiB")
    axes.set_ylabel("seconds")
    axes.set_ylim(bottom=0)
    axes.legend()
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise CommandError(f"--png {path}: {error.strerror or error}") from None
