"""Errors: they reach another process, and their message shows every value."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from dagcache import CacheConfig, ConfigError, FreezeError, errors
from dagcache.errors import DagCacheError


class Unprintable:
    """An object that can be neither shown nor pickled."""

    def __repr__(self) -> str:
        raise RuntimeError

    def __reduce__(self) -> str:
        raise RuntimeError


TREE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DagCacheError) and kind is not ConfigError
]


@pytest.mark.parametrize("kind", TREE)
def test_an_error_survives_pickle(kind: type[DagCacheError]) -> None:
    again = pickle.loads(pickle.dumps(kind("the message")))
    assert type(again) is kind
    assert str(again) == "the message"


@pytest.mark.parametrize(
    "value", ["5 parsecs", 7, None, 10**5000, Unprintable(), object()], ids=lambda value: type(value).__name__
)
def test_a_config_error_survives_pickle(value: object) -> None:
    error = ConfigError("ttl", value, "seconds")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.setting, again.accepted) == (ConfigError, str(error), "ttl", "seconds")
    if isinstance(value, (str, int, type(None))):
        assert again.value == value


def test_a_freeze_error_survives_pickle_without_the_class_it_names() -> None:
    class Local:
        pass

    again = pickle.loads(pickle.dumps(FreezeError("cannot freeze", Local)))
    assert (str(again), again.kind) == ("cannot freeze", None)


def _bad_config(mode: str) -> CacheConfig:
    return CacheConfig(mode=mode)


def test_a_config_error_of_a_worker_process_reaches_its_parent() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(ConfigError, match="sideways"):
        pool.submit(_bad_config, "sideways").result()


@pytest.mark.parametrize("value", [10**5000, Unprintable()], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "setting", ["max_bytes", "ttl", "name", "mode", "frozen", "oversize", "memory_limit", "workers", "unproven_share"]
)
def test_a_value_without_a_text_is_a_config_error(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{setting} = .*cannot be shown"):
        CacheConfig(**{setting: value})  # type: ignore[arg-type]


def test_a_long_text_is_shortened_in_the_message_and_whole_in_the_error() -> None:
    error = ConfigError("mode", "x" * 10_000, "enforce, observe")
    assert len(str(error)) < 200
    assert error.value == "x" * 10_000
