"""The settings of an operator: every text gives a value or one error that names it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.airflow.provider_info import OPTIONS, get_provider_info
from dagcache.airflow.settings import Settings, read_settings
from dagcache.config import DEFAULT_TTL
from dagcache.errors import ConfigError
from dagcache.metrics.ports import DEFAULT_PORTS
from tests.support.paths import ROOT


def read(**texts: str) -> Settings:
    """Settings of which these are set."""
    return read_settings(texts.get, "scheduler")


def test_nothing_set_gives_the_documented_defaults() -> None:
    settings = read()
    assert settings.enabled
    assert str(settings.cache.max_bytes) == "25%"
    assert (settings.cache.ttl, settings.cache.mode, settings.cache.frozen) == (DEFAULT_TTL, "enforce", True)
    assert settings.cache.name == "scheduler"
    assert (settings.high_watermark, settings.low_watermark, settings.gc_freeze) == (0.9, 0.8, False)
    assert settings.metrics_ports == DEFAULT_PORTS


def test_workers_share_a_percentage() -> None:
    """Each of four API server workers has a cache of its own."""
    texts = {"max_bytes": "40%", "memory_limit": "1GiB"}
    settings = read_settings(texts.get, "api_server", workers=4)
    assert settings.cache.budget() == 2**30 // 10


def test_off_needs_no_valid_setting() -> None:
    """The kill switch works even if the other settings are wrong."""
    settings = read(mode="off", max_bytes="10XB", ttl="soon", metrics_port="x")
    assert not settings.enabled


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mode", "on"),
        ("max_bytes", "10XB"),
        ("ttl", "soon"),
        ("frozen", "maybe"),
        ("memory_limit", "half"),
        ("high_watermark", "high"),
        ("high_watermark", "0"),
        ("low_watermark", "1.5"),
        ("low_watermark", "0.95"),
        ("low_watermark", "nan"),
        ("gc_freeze", "sometimes"),
        ("attribution", "perhaps"),
        ("metrics_port", "http"),
        ("trace_max_bytes", "10%"),
        ("trace_ids", "secret"),
    ],
)
def test_garbage_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(**{name: text})
    assert refusal.value.setting == name
    assert repr(text) in str(refusal.value)
    assert "accepted:" in str(refusal.value)


@given(st.sampled_from([option.name for option in OPTIONS]), st.text(max_size=20))
def test_any_text_is_a_value_or_a_config_error(name: str, text: str) -> None:
    """Any other error would stop a scheduler."""
    with contextlib.suppress(ConfigError):
        read(**{name: text})


def test_every_setting_is_read_and_every_one_read_is_offered() -> None:
    """Airflow's listing shows what there is, no more and no less."""
    asked: list[str] = []

    def get(name: str) -> str | None:
        asked.append(name)
        return None

    read_settings(get, "scheduler")
    secrets = ["warm_start_url", "warm_start_key"]  # read where they are used
    assert asked == [option.name for option in OPTIONS if option.name not in secrets]
    shown: dict[str, Any] = get_provider_info()["config"]["dagcache"]["options"]
    assert list(shown) == [*asked, *secrets]
    assert [name for name, described in shown.items() if described.get("sensitive")] == secrets


def test_the_listing_survives_airflows_interpolation() -> None:
    """Airflow's parser reads the defaults with configparser, to which a lone percent sign is an error."""
    shown = get_provider_info()["config"]["dagcache"]["options"]
    assert shown["max_bytes"]["default"] == "25%%"
    assert all(option["default"].replace("%%", "").count("%") == 0 for option in shown.values())


def test_a_wrong_setting_of_the_warm_start_leaves_the_cache_on() -> None:
    settings = read(warm_start="dsik", warm_start_max_bytes="10XB")
    assert settings.enabled
    assert (settings.warm_start, settings.warm_start_max_bytes) == ("dsik", "10XB")


def test_settings_are_values() -> None:
    assert read(ttl="60") == read(ttl=" 60 ")
    with pytest.raises(dataclasses.FrozenInstanceError):
        read().gc_freeze = True  # type: ignore[misc]


def test_the_document_lists_every_setting_with_its_default() -> None:
    """`docs/airflow.md` is where operators look."""
    document = (ROOT / "docs" / "airflow.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", document, re.MULTILINE)
    assert rows == [(option.name, option.default) for option in OPTIONS]
