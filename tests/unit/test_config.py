"""Settings: accepted forms, refusals that help, the environment."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache import ByteLimit, CacheConfig, ConfigError
from dagcache.sizing.memory import memory_limit

GIB = 1024**3


def test_defaults_are_the_documented_ones() -> None:
    """A quarter of the memory, three hours, everything on."""
    config = CacheConfig()
    assert config.max_bytes == ByteLimit.parse("25%")
    assert (config.ttl, config.mode, config.frozen, config.oversize) == (10_800, "enforce", True, "bypass")
    assert config.budget() == memory_limit().bytes // 4


def test_equal_settings_compare_equal_however_they_were_written() -> None:
    """A configuration is a value."""
    assert CacheConfig(max_bytes="1KiB", ttl="60") == CacheConfig(max_bytes=1024, ttl=60.0)
    assert CacheConfig(max_bytes="1KiB") != CacheConfig(max_bytes="2KiB")
    assert "max_bytes" in repr(CacheConfig())


def test_a_percentage_is_of_the_memory_limit_and_shared_by_the_workers() -> None:
    """Four workers of one container get a quarter each."""
    assert CacheConfig(max_bytes="50%", memory_limit="4GiB", workers=4).budget() == GIB // 2


def test_an_absolute_limit_is_not_divided() -> None:
    """Bytes are per cache; only shares of the memory are shared."""
    assert CacheConfig(max_bytes="1GiB", memory_limit="4GiB", workers=4).budget() == GIB


@pytest.mark.parametrize(
    ("setting", "garbage"),
    [
        ("max_bytes", "10XB"),
        ("max_bytes", None),
        ("ttl", "soon"),
        ("ttl", float("nan")),
        ("ttl", True),
        ("name", ""),
        ("name", 7),
        ("mode", "off-ish"),
        ("mode", None),
        ("frozen", "maybe"),
        ("frozen", 2),
        ("oversize", "explode"),
        ("memory_limit", "50%"),
        ("memory_limit", "lots"),
        ("workers", 0),
        ("workers", True),
        ("workers", "10000000000"),
        ("workers", 1.5),
    ],
)
def test_garbage_is_an_error_that_names_setting_value_and_forms(setting: str, garbage: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        CacheConfig(**{setting: garbage})
    message = str(caught.value)
    assert message.startswith(f"{setting} = {garbage!r}")
    assert "accepted: " in message
    assert isinstance(caught.value, ValueError)
    assert (caught.value.setting, caught.value.accepted in message) == (setting, True)


@pytest.mark.parametrize("setting", ["max_bytes", "ttl"])
def test_a_negative_value_is_a_warning_and_then_zero(setting: str, caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the setting and the value."""
    with caplog.at_level(logging.WARNING, logger="dagcache"):
        config = CacheConfig(**{setting: -7})  # type: ignore[arg-type]
    assert config.budget() == 0 if setting == "max_bytes" else config.ttl == 0
    assert f"{setting} = -7" in caplog.text


def test_the_environment_overrides_the_defaults_given() -> None:
    """`DAGCACHE_<NAME>`, as text, for every field."""
    environ = {"DAGCACHE_MAX_BYTES": "64MiB", "DAGCACHE_TTL": "60", "DAGCACHE_FROZEN": "no", "DAGCACHE_WORKERS": "3"}
    config = CacheConfig.from_env(environ, max_bytes="1GiB", name="api")
    assert config == CacheConfig(max_bytes="64MiB", ttl=60, frozen=False, workers=3, name="api")


def test_the_process_environment_is_the_default_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument `os.environ` is read."""
    monkeypatch.setenv("DAGCACHE_MODE", "Observe")
    assert CacheConfig.from_env().mode == "observe"


def test_an_unknown_field_is_a_type_error() -> None:
    """A misspelt keyword must not go unnoticed."""
    with pytest.raises(TypeError, match="maxbytes"):
        CacheConfig(maxbytes=1)  # type: ignore[call-arg]


@given(st.dictionaries(st.sampled_from(["MAX_BYTES", "TTL", "MODE", "FROZEN", "MEMORY_LIMIT", "WORKERS"]), st.text()))
def test_any_text_is_a_setting_or_a_config_error(texts: dict[str, str]) -> None:
    try:
        config = CacheConfig.from_env({f"DAGCACHE_{name}": text for name, text in texts.items()})
    except ConfigError:
        return
    assert config.budget() >= 0
    assert config.ttl >= 0
