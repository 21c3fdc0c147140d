"""Line charts in SVG: panels side by side, one legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dark_mode import with_dark_mode

GREENS = ("#7cc4a4", "#2f9a6f", "#0d5c3f")
GREYS = ("#5f6b7d", "#8a94a6", "#b4bbc7")


@dataclass(frozen=True)
class Series:
    """One line: the measurements at each place."""

    label: str
    points: Mapping[float, float]
    colour: str
    style: str = "-"


@dataclass(frozen=True)
class Panel:
    """Lines over one axis."""

    title: str
    places: str
    """The label of the horizontal axis."""
    series: Sequence[Series]
    logarithmic: bool = False


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Write the chart; the same figures give the same file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "dagcache"
    from matplotlib import pyplot as plt

    figure, (several,) = plt.subplots(
        1, len(panels), figsize=(1.5 + 4.5 * len(panels), 4), layout="constrained", squeeze=False
    )
    for axes, panel in zip(several, panels, strict=True):
        for each in panel.series:
            axes.plot(
                list(each.points),
                list(each.points.values()),
                each.style,
                color=each.colour,
                marker="o",
                markersize=3.5,
                label=each.label,
            )
        axes.set_title(panel.title)
        axes.set_xlabel(panel.places)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.25)
        if panel.logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
    figure.legend(*several[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.savefig(path, metadata={"Date": None})
    path.write_text(with_dark_mode(path.read_text(encoding="utf-8")), encoding="utf-8")
    plt.close(figure)
