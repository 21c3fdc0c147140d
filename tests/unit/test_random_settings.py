"""Random texts for every setting, and random damage to frozen copies: a value or a refusal, never anything else."""

from __future__ import annotations

import pytest

from tools.scorecard.measures.bits import flip
from tools.scorecard.measures.settings import READERS, try_texts


@pytest.mark.usefixtures("quiet")
def test_any_text_is_a_value_or_a_config_error() -> None:
    """For the parsers, the variables of the environment and the options of Airflow's configuration alike."""
    told = try_texts(100 * len(READERS), seed=7)
    assert told["wrong"] == []
    assert told["values"] > 100
    assert told["errors"] > 100


def test_a_reader_that_raises_or_accepts_anything_else_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    from tools.scorecard.measures import settings

    def failing(text: str) -> bool:
        raise KeyError(text)

    monkeypatch.setattr(settings, "READERS", {"failing": failing, "accepting": lambda _: False})
    assert len(try_texts(10, seed=1)["wrong"]) == 10


@pytest.mark.usefixtures("quiet")
def test_a_flipped_bit_of_a_frozen_copy_is_a_miss() -> None:
    """For every bit, the damage is detected before anything is unpickled, and the value is loaded again."""
    assert flip(200, seed=7)["wrong"] == 0
