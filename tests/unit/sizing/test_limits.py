"""Byte limits and durations: every text gives a value or a ConfigError, and values have their documented meaning."""

from __future__ import annotations

import logging
import pickle
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.errors import ConfigError
from dagcache.sizing.durations import MAX_SECONDS, parse_seconds
from dagcache.sizing.limits import MAX_BYTES, ByteLimit, format_bytes

GIB = 1024**3
HUGE = pytest.param(10**5000, id="huge")
"""An integer that refuses to be printed needs a name of its own."""


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("268435456", 268435456),
        (268435456, 268435456),
        (1e9, 10**9),
        ("512MiB", 512 * 1024**2),
        ("512Mi", 512 * 1024**2),
        ("512mib", 512 * 1024**2),
        ("512MIB", 512 * 1024**2),
        ("1.5GB", 1_500_000_000),
        ("1.5gb", 1_500_000_000),
        ("2G", 2_000_000_000),
        ("2 TiB", 2 * 1024**4),
        (" 3KiB\n", 3072),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1k", 1000),
        ("10B", 10),
        (".5KiB", 512),
        ("1.9B", 1),
        (str(MAX_BYTES), MAX_BYTES),
    ],
)
def test_absolute_forms_give_their_bytes(text: object, nbytes: int) -> None:
    """Units with an i are powers of 1024, the others powers of 1000, fractions of a byte are dropped."""
    limit = ByteLimit.parse(text)
    assert limit.resolve(memory=1) == nbytes
    assert not limit.is_relative
    assert not limit.unbounded


@pytest.mark.parametrize(
    "garbage",
    [
        "", " ", "10XB", "1e30", "nan", "inf", "-", "%", "MiB", "1 000", "1_000", "0x10", "1,5GB", "٣MiB",
        "1\x00", "512m", "512g", "10Mb", "1kIb", "512  MiB", "--1", "1.2.3", "-10XB",
        "0.4B", 0.25, "0%", "0.0%", "100.1%", "250%", "9999999TiB", str(MAX_BYTES + 1), MAX_BYTES + 1, 1e30,
        HUGE, "9" * 1000, float("nan"), float("inf"), float("-inf"), True, False, None, b"1", [], Decimal(5),
    ],
)  # fmt: skip
def test_garbage_is_a_config_error_that_helps(garbage: object) -> None:
    """The message names the setting and the accepted forms; it is a ValueError too."""
    with pytest.raises(ConfigError, match=r"(?s)budget = .*accepted: .*512MiB") as caught:
        ByteLimit.parse(garbage, setting="budget")
    assert isinstance(caught.value, ValueError)
    assert caught.value.setting == "budget"
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", [-1, "-5MiB", "-25%", -0.5, pytest.param(-(10**5000), id="huge")])
def test_a_negative_limit_warns_and_means_no_limit(value: object, caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the setting."""
    with caplog.at_level(logging.WARNING, logger="dagcache"):
        assert ByteLimit.parse(value, setting="budget").unbounded
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "budget = " in caplog.text


@pytest.mark.parametrize("value", [0, "0", "0MiB", "-0", 0.0, -0.0])
def test_zero_means_no_limit_without_a_warning(value: object, caplog: pytest.LogCaptureFixture) -> None:
    """0 is an accepted form."""
    limit = ByteLimit.parse(value)
    assert limit.unbounded
    assert limit.resolve(memory=GIB) == 0
    assert caplog.records == []


def test_a_percentage_is_taken_of_memory_and_divided_by_the_shares() -> None:
    """A quarter of 1 GiB among four processes is 64 MiB each."""
    limit = ByteLimit.parse("25%")
    assert limit.is_relative
    assert limit.resolve(GIB) == GIB // 4
    assert limit.resolve(GIB, shares=4) == GIB // 16


def test_shares_do_not_divide_an_absolute_limit() -> None:
    assert ByteLimit.parse("1GiB").resolve(memory=1, shares=8) == GIB


def test_a_tiny_percentage_never_becomes_no_limit() -> None:
    """Zero bytes would lift the limit."""
    assert ByteLimit.parse("0.000001%").resolve(memory=1000) == 1


@pytest.mark.parametrize(("memory", "shares"), [(0, 1), (-1, 1), (GIB, 0), (GIB, -2)])
def test_a_percentage_of_nothing_is_refused(memory: int, shares: int) -> None:
    """Neither memory nor the number of processes can be zero or less."""
    with pytest.raises(ValueError, match="must be positive"):
        ByteLimit.parse("25%").resolve(memory, shares)


def test_a_limit_is_parsed_from_itself() -> None:
    """Parsing twice is parsing once."""
    limit = ByteLimit.parse("10%")
    assert ByteLimit.parse(limit) is limit


def test_equal_limits_are_equal_however_they_are_spelt() -> None:
    """A limit is a value: comparable, hashable, picklable."""
    assert {ByteLimit.parse("1GiB"), ByteLimit.parse("1024MiB")} == {ByteLimit(nbytes=GIB)}
    assert ByteLimit.parse("25%") == ByteLimit.parse("25.0%")
    assert pickle.loads(pickle.dumps(ByteLimit.parse("25%"))) == ByteLimit.parse("25%")


@pytest.mark.parametrize(
    ("nbytes", "percent"), [(-1, 0), (MAX_BYTES + 1, 0), (0, 101), (0, -1), (5, 5), (0, Decimal("Infinity"))]
)
def test_an_impossible_limit_cannot_be_built(nbytes: int, percent: Decimal) -> None:
    """The constructor refuses what parsing could not give."""
    with pytest.raises(ConfigError):
        ByteLimit(nbytes, Decimal(percent))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("536870912", "512MiB"),
        ("1000", "1KB"),
        ("1025", "1025"),
        ("25%", "25%"),
        ("-1%", "0"),
        ("12.5 %", "12.5%"),
    ],
)
def test_a_limit_prints_its_shortest_exact_spelling(text: str, shown: str) -> None:
    """No digit is lost."""
    assert str(ByteLimit.parse(text)) == shown


@given(
    st.integers(0, MAX_BYTES) | st.builds("{}{}".format, st.integers(1, 9999), st.sampled_from(["KiB", "MB", "GiB"]))
)
def test_bytes_survive_printing_and_parsing(value: object) -> None:
    """str() is read back as the same value."""
    limit = ByteLimit.parse(value)
    assert ByteLimit.parse(str(limit)) == limit


@given(st.decimals("0.000000000000000001", 100, places=18))
def test_percentages_survive_printing_and_parsing(percent: Decimal) -> None:
    """str() is read back as the same value, to eighteen decimals."""
    limit = ByteLimit.parse(f"{percent:f}%")
    assert limit.percent == percent
    assert ByteLimit.parse(str(limit)) == limit


_NEAR_MISSES = st.text("-+.0123456789 %_kKmMgGtTiIbBsShHdDeExXnaf\n", max_size=14)


@given(st.text() | _NEAR_MISSES | st.floats() | st.integers() | st.booleans() | st.none() | st.binary())
def test_any_value_gives_a_limit_or_a_config_error(value: object) -> None:
    try:
        limit = ByteLimit.parse(value)
    except ConfigError:
        return
    assert 0 <= limit.resolve(memory=GIB) <= MAX_BYTES


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (10_800, 10_800), ("10800", 10_800), (0.5, 0.5), ("0.5", 0.5), ("30s", 30), ("90m", 5400),
        ("3h", 10_800), ("3 H", 10_800), ("1d", 86_400), (" 1.5h ", 5400), (0, 0), ("0", 0),
        (MAX_SECONDS, MAX_SECONDS),
    ],
)  # fmt: skip
def test_durations_give_their_seconds(value: object, seconds: float) -> None:
    """Plain numbers are seconds; s, m, h and d are units."""
    assert parse_seconds(value) == seconds


@pytest.mark.parametrize(
    "garbage",
    ["", "3w", "1h30m", "nan", "inf", "1e3", "٣", True, None, b"1", float("nan"), float("inf"), 1e30, HUGE,
     MAX_SECONDS + 1, "36501d", "9" * 100],
)  # fmt: skip
def test_garbage_durations_are_config_errors_that_help(garbage: object) -> None:
    """The message names the setting and the accepted forms."""
    with pytest.raises(ConfigError, match=r"(?s)idle = .*accepted: seconds"):
        parse_seconds(garbage, setting="idle")


@pytest.mark.parametrize("value", [-1, "-3h", -0.5])
def test_a_negative_duration_warns_and_means_zero(value: object, caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the setting."""
    with caplog.at_level(logging.WARNING, logger="dagcache"):
        assert parse_seconds(value, setting="idle") == 0
    assert "idle = " in caplog.text


@given(st.text() | _NEAR_MISSES | st.floats() | st.integers() | st.booleans() | st.none())
def test_any_value_gives_seconds_or_a_config_error(value: object) -> None:
    try:
        seconds = parse_seconds(value)
    except ConfigError:
        return
    assert 0 <= seconds <= MAX_SECONDS


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (1536 * 1024**2, "1.5 GiB"),
     (-5000, "-4.9 KiB"), (5000 * 1024**4, "5000.0 TiB")],
)  # fmt: skip
def test_byte_counts_are_printed_in_powers_of_1024(nbytes: int, text: str) -> None:
    """One decimal, and never 1024.0 of a unit."""
    assert format_bytes(nbytes) == text


def test_an_object_whose_repr_raises_is_still_refused_politely() -> None:
    """The message must not fail on the value that it complains about."""

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(ConfigError, match="cannot be shown"):
        ByteLimit.parse(Hostile())
