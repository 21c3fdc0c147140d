"""The playground without an Airflow. `tests/in_airflow/test_playground.py` builds and sweeps a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagcache.demo.playground import build


@pytest.mark.parametrize("dags", [0, 6])
def test_dags_without_a_version_are_refused_before_anything_is_built(
    dags: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"dags: {dags} is not between 1 and the number of versions, 5"):
        build(versions=5, dags=dags, seed=1, progress=lambda *_: pytest.fail("a step was done"))
    assert list(tmp_path.iterdir()) == []
