"""The matrix of Airflow's versions: the versions that it installs."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from tools.matrix import PINS, requirements


def airflow(version: str) -> list[Requirement]:
    """The requirements of Airflow's own packages."""
    return [Requirement(text) for text in requirements(version) if text.startswith("apache-airflow")]


@pytest.mark.parametrize("version", [version for version in PINS if version != "pre"])
def test_a_version_is_exactly_that_version(version: str) -> None:
    for requirement in airflow(version):
        assert list(requirement.specifier.filter([version, "3.4.0b2", "4.0"])) == [version]


def test_the_row_of_pre_releases_takes_the_newest_pre_release_of_airflow_alone() -> None:
    """Also one of a version that does not exist yet."""
    for requirement in airflow("pre"):
        assert max(requirement.specifier.filter(["3.3.2", "3.4.0b2", "3.4.0", "3.5.0a1"])) == "3.5.0a1"
    assert "--pre" not in requirements("pre")
