"""The chart of the benchmarks."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import Row, bars
from benchmarks.dark_mode import main, with_dark_mode
from tests.support.paths import ROOT

SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_long_as_their_values() -> None:
    """Each panel has a scale of its own, from 0; the picture is well-formed and everything is inside of it."""
    rows = [Row("theirs", (10.0, 300.0), ("10 s", "300 MiB"), False), Row("ours", (1.0, 75.0), ("1 s", "75 MiB"), True)]
    root = ET.fromstring(bars(("seconds", "memory"), rows))
    _, *drawn = [{name: each.get(name, "") for name in ("x", "width", "fill")} for each in root.iter(f"{SVG}rect")]
    lengths = [float(each["width"]) for each in drawn]
    assert lengths[0] / lengths[1] == 10.0
    assert abs(lengths[2] / lengths[3] - 4.0) < 0.01
    assert all(float(each["x"]) + float(each["width"]) < float(root.get("width", "0")) for each in drawn)
    assert drawn[0]["fill"] != drawn[1]["fill"]
    assert {"theirs", "ours", "10 s", "75 MiB", "seconds"} <= {each.text for each in root.iter(f"{SVG}text")}


def test_a_chart_may_have_one_panel() -> None:
    """Half as wide, and one bar for each row."""
    rows = [Row("theirs", (10.0,), ("10 s",), False), Row("ours", (1.0,), ("1 s",), True)]
    root = ET.fromstring(bars(("seconds",), rows))
    background, *drawn = root.iter(f"{SVG}rect")
    assert background.get("width") == root.get("width") == "540"
    assert len(drawn) == 2


def test_a_chart_has_dark_colours_once(tmp_path: Path) -> None:
    path = tmp_path / "chart.svg"
    path.write_text('<?xml version="1.0"?>\n<svg width="9"><rect fill="white"/></svg>')
    assert main([str(path)]) == 0
    once = path.read_text()
    assert once.count("prefers-color-scheme: dark") == 1
    assert with_dark_mode(once) == once
    style, drawn = ET.fromstring(once)
    assert (style.tag, drawn.tag) == ("style", "rect")


def test_a_text_that_is_not_a_chart_is_refused() -> None:
    with pytest.raises(ValueError, match="not found"):
        with_dark_mode("<html>")


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.svg")), ids=lambda path: path.stem)
def test_each_chart_of_the_documents_has_dark_colours(path: Path) -> None:
    assert with_dark_mode(path.read_text()) == path.read_text()
