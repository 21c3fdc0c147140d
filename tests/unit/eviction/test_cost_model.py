"""Seconds to restore a value, learned from noisy measurements."""

from __future__ import annotations

import pytest

from dagcache.eviction.cost_model import CostModel


def taught(*measurements: tuple[float, int]) -> CostModel:
    """A model that has seen (seconds, bytes)."""
    model = CostModel()
    for seconds, nbytes in measurements:
        model.smooth(seconds, nbytes)
    return model


def test_nothing_is_known_at_first() -> None:
    """The usual cost is 0 for every size."""
    assert CostModel().usual(10**6) == 0


def test_the_first_measurement_is_believed() -> None:
    """There is nothing to hold it against."""
    model = CostModel()
    assert model.smooth(7.0, 1000) == 7.0
    assert model.usual(1000) == 7.0


def test_the_cost_of_another_size_lies_on_the_line() -> None:
    """One second per thousand bytes and half a second beside: the law is found from exact measurements."""
    model = taught(*((0.5 + nbytes / 1000, nbytes) for nbytes in [1000, 3000, 2000, 5000, 4000] * 4))
    assert model.usual(10_000) == pytest.approx(10.5)


def test_bigger_values_never_cost_less() -> None:
    """Measurements that fall with the size teach the mean and no slope."""
    model = taught(*((9 - nbytes / 1000, nbytes) for nbytes in [1000, 2000, 3000]))
    assert model.usual(10**6) == pytest.approx(7.0)


def test_a_small_value_never_costs_next_to_nothing() -> None:
    """Where the line falls below a sixteenth of the mean, that is taken."""
    model = taught((1.0, 1000), (8.0, 8000), (4.0, 4000), (4.0, 4000))
    steep = taught((1.0, 4000), (8.0, 5000))
    assert model.usual(0) < 0.5
    assert steep.usual(0) == pytest.approx(4.5 / 16)


@pytest.mark.parametrize(("measured", "held"), [(1000.0, 8.0), (0.0001, 0.125), (3.0, 3.0)])
def test_an_outlier_is_held_within_a_factor_of_the_usual(measured: float, held: float) -> None:
    """A load that met a busy database neither ruins its entry's rank nor the model."""
    model = taught(*[(1.0, 1000)] * 5)
    assert model.smooth(measured, 1000) == pytest.approx(held)
    assert model.usual(1000) < 2.5


def test_a_new_level_is_learned_in_the_end() -> None:
    """Outliers that keep coming are the truth."""
    model = taught(*[(1.0, 1000)] * 50, *[(100.0, 1000)] * 500)
    assert model.usual(1000) == pytest.approx(100, rel=0.01)


def test_an_assigned_value_costs_the_usual_and_teaches_nothing() -> None:
    """It was not measured."""
    model = taught((2.0, 1000))
    assert model.smooth(0.0, 1000) == 2.0
    assert model.usual(1000) == 2.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-12])
def test_no_cost_is_0(seconds: float) -> None:
    """Weights are divided by it."""
    assert CostModel().smooth(seconds, 1000) == 1e-6
