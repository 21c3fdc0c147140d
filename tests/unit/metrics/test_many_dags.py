"""The series stay the same with any number of DAGs, and show nothing of their content."""

from __future__ import annotations

from tools.scorecard.measures.series import SECRET, Leaky
from tools.scorecard.processes import measure


def test_a_thousand_dags_with_secrets_make_few_series_without_them() -> None:
    """Neither metrics nor log nor `repr` show an id, a value's content or a loader's error."""
    told = measure("series", 1000)
    assert told["series"] <= 125
    assert told["logged"] > 0, "nothing failed, so nothing could leak"
    assert [told[name] for name in ("ids", "secrets_in_metrics", "secrets_in_log", "secrets_in_repr")] == [0] * 4
    assert told["promtool"] in ("clean", "not installed")


def test_the_values_would_tell() -> None:
    """The control: their text contains the secret."""
    assert SECRET in repr(Leaky(""))
