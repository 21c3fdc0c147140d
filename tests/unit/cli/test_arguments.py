"""Arguments of the commands: refusals and their messages."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.cli.main import parser
from dagcache.cli.shared import arguments


def typed() -> Iterator[Any]:
    """Each argument of each command that is parsed, but for paths."""
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        for action in command._actions:
            if action.type not in (None, Path):
                yield pytest.param(action.type, id=f"{name} {action.metavar or action.dest}")


@pytest.mark.parametrize("parse", [*typed()])
@given(
    text=st.text() | st.sampled_from(["", "nan", "inf", "-1", "1e400", "\u0663", "9" * 5000, "1_0", " 5", "1,2", "0x1"])
)
def test_every_type_accepts_a_text_or_says_why_not(parse: Callable[[str], object], text: str) -> None:
    """Any other error than `ArgumentTypeError` is shown as "invalid <name of a function> value"."""
    with suppress(argparse.ArgumentTypeError):
        parse(text)


@pytest.mark.parametrize("parse", [*typed()])
def test_every_type_names_the_accepted_form(parse: Callable[[str], object]) -> None:
    """And the text that it refuses."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected|accepted") as refused:
        parse("nonsense")
    assert "nonsense" in str(refused.value)


@pytest.mark.parametrize(
    ("least", "accepted", "refused"), [(0.0, ["0.001", "10"], ["0", "-1", "10.1"]), (0.5, ["0.5", "10"], ["0.4", "0"])]
)
def test_a_number_is_between_its_bounds(least: float, accepted: list[str], refused: list[str]) -> None:
    """Both ends included, but for 0."""
    parse = arguments.number("seconds", most=10, least=least)
    assert [parse(text) for text in accepted] == [float(text) for text in accepted]
    for text in refused:
        with pytest.raises(argparse.ArgumentTypeError, match="expected a number of seconds"):
            parse(text)


def test_a_whole_number_is_between_its_bounds() -> None:
    """Both ends included."""
    parse = arguments.whole_number(2, 4)
    assert [parse(text) for text in "234"] == [2, 3, 4]
    for text in ("1", "5", "3.0", "+3", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number from 2 to 4"):
            parse(text)


def test_byte_counts_are_sorted_and_each_once() -> None:
    """In bytes."""
    assert arguments.byte_counts("2KiB, 1KiB,1024") == (1024, 2048)


@pytest.mark.parametrize("text", ["25%", "0", "1KiB,50%"])
def test_byte_counts_are_not_relative_nor_unbounded(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number of bytes, such as 512MiB"):
        arguments.byte_counts(text)
