"""The chart of the benchmarks."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from benchmarks.chart import Row, bars

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
