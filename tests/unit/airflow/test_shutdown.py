"""The announcements of an API server's process go when its application's lifespan ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow import shutdown


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The events, in their order."""
    events: list[str] = []
    for name in ("component", "fault_endpoint"):
        part = SimpleNamespace(withdraw=lambda name=name: events.append(f"{name} withdraws"))
        monkeypatch.setitem(sys.modules, f"dagcache.airflow.{name}", part)
    return events


def application(events: list[str]) -> ModuleType:
    """A module with an application of Starlette."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
        events.append(f"{app} starts")
        yield {"state": "of the application"}
        events.append(f"{app} stops")

    module = ModuleType("main")
    vars(module)["app"] = SimpleNamespace(router=SimpleNamespace(lifespan_context=lifespan))
    return module


async def serve(module: Any, error: type[BaseException] | None = None) -> Any:
    """Run through a lifespan, as a server does. Returns the state."""
    async with module.app.router.lifespan_context("server") as state:
        if error is not None:
            raise error
        return state


def test_the_announcements_go_before_the_application_stops(events: list[str]) -> None:
    """Prometheus should not find a process that no longer answers."""
    module = application(events)
    shutdown.watch(module)
    assert asyncio.run(serve(module)) == {"state": "of the application"}
    assert events == ["server starts", "component withdraws", "fault_endpoint withdraws", "server stops"]


def test_a_second_watch_changes_nothing(events: list[str]) -> None:
    module = application(events)
    shutdown.watch(module)
    shutdown.watch(module)
    asyncio.run(serve(module))
    assert events.count("component withdraws") == 1


def test_a_lifespan_that_ends_by_an_error_ends_by_that_error(events: list[str]) -> None:
    module = application(events)
    shutdown.watch(module)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(serve(module, KeyboardInterrupt))
    assert "component withdraws" in events


def test_a_part_that_fails_or_is_missing_is_left_out(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dagcache.airflow.component", SimpleNamespace(withdraw=lambda: 1 / 0))
    monkeypatch.delitem(sys.modules, "dagcache.airflow.fault_endpoint")
    module = application(events)
    shutdown.watch(module)
    asyncio.run(serve(module))
    assert events == ["server starts", "server stops"]


@pytest.mark.parametrize("app", [None, SimpleNamespace(), SimpleNamespace(router=SimpleNamespace())])
def test_another_kind_of_application_is_left_as_it_is(app: Any) -> None:
    module = ModuleType("main")
    if app is not None:
        vars(module)["app"] = app
    shutdown.watch(module)
