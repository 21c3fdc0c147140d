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
        ("recorded", ["read_trace"], "traces.reading"),
        ("simulation", ["Lookup", "replay", "replay_lru"], "traces.replay"),
        ("trace", ["record"], "traces.recording"),
        ("freezing", ["PickleFreezer"], "freezing.pickle_freezer"),
        ("reclaim", ["GenericBreaker", "Outcome"], "reclaim.breaker"),
    ],
)
def test_a_former_name_leads_to_the_same_object(former: str, names: list[str], home: str) -> None:
    """`from dagcache.loader import SerializedDagLoader`, for instance, goes on working."""
    was, is_now = importlib.import_module(f"dagcache.{former}"), importlib.import_module(f"dagcache.{home}")
    assert [getattr(was, name) for name in names] == [getattr(is_now, name) for name in names]


def test_former_class_names_lead_to_the_same_classes() -> None:
    """`History` and `Seat` of `dagcache.policy`, `Outcome` of `dagcache.simulation`."""
    from dagcache.eviction.access_history import AccessHistory
    from dagcache.eviction.node import Node
    from dagcache.policy import History, Seat
    from dagcache.simulation import Outcome
    from dagcache.traces.replay import ReplayResult

    assert (History, Seat, Outcome) == (AccessHistory, Node, ReplayResult)
