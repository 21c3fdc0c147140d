"""Modules that have moved are found under the names that they had."""

from __future__ import annotations

import importlib

import pytest


@pytest.mark.parametrize(
    ("former", "names", "home"),
    [
        ("attribution", ["AttributionServer"], "inspection.server"),
        ("attribution", ["ask"], "inspection.client"),
        ("loader", ["SerializedDagLoader", "VersionRow"], "database.loader"),
        ("policy", ["Policy"], "eviction.policy"),
        ("policy", ["History"], "eviction.access_history"),
        ("recorded", ["read_trace"], "traces.reading"),
        ("simulation", ["replay", "replay_lru"], "traces.replay"),
        ("trace", ["record"], "traces.recording"),
        ("freezing", ["PickleFreezer"], "freezing.pickle_freezer"),
        ("reclaim", ["GenericBreaker", "Outcome"], "reclaim.census"),
    ],
)
def test_a_former_name_leads_to_the_same_object(former: str, names: list[str], home: str) -> None:
    """`from dagcache.loader import SerializedDagLoader`, for instance, goes on working."""
    was, is_now = importlib.import_module(f"dagcache.{former}"), importlib.import_module(f"dagcache.{home}")
    assert [getattr(was, name) for name in names] == [getattr(is_now, name) for name in names]


def test_the_policys_nodes_had_another_name() -> None:
    """They were seats."""
    from dagcache.eviction.access_history import Node
    from dagcache.policy import Seat

    assert Seat is Node
