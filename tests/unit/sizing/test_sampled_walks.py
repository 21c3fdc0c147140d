"""Walks of giants: a sample of similar objects stands for the rest."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dagcache.sizing.walk import Weight, weigh
from tests.support.graphs import SHARED, make_dag

SHARED_IDS = frozenset(map(id, SHARED))
SAMPLE = 512


class Node:
    """A part of a graph that knows its neighbours by name."""

    def __init__(self, number: int, text: str) -> None:
        self.name = f"node {number} of many"
        self.text = text
        self.items = [text[index : index + 7] for index in range(0, len(text), 7)]
        self.neighbours: set[str] = set()


def giant(count: int, seed: int, spread: int) -> dict[str, Node]:
    """Nodes of uneven weight; the first half is lighter than the second."""
    rng = random.Random(seed)
    nodes = [Node(number, "x" * rng.randrange(1, spread) * (1 + 2 * number // count)) for number in range(count)]
    for number, node in enumerate(nodes):
        node.neighbours.update(each.name for each in nodes[max(0, number - 4) : number])
    return {node.name: node for node in nodes}


@settings(max_examples=15, deadline=None)
@example(1107, 1107, 286)  # off by 6.2 per cent
@given(st.integers(1000, 6000), st.integers(0, 2**32), st.integers(10, 400))
def test_a_sampled_weight_is_near_the_exact_one(count: int, seed: int, spread: int) -> None:
    """Within 10 per cent by a sample of 512; the error falls with the root of the sample."""
    graph = giant(count, seed, spread)
    exact, sampled = weigh(graph), weigh(graph, most_alike=SAMPLE)
    assert sampled.sampled
    assert sampled.complete
    assert sampled.nbytes == pytest.approx(exact.nbytes, rel=0.1)
    assert sampled.nodes == pytest.approx(exact.nodes, rel=0.1)


def test_a_dag_of_many_tasks_is_sampled_to_within_three_per_cent() -> None:
    """Tasks refer to the DAG, to their groups and to each other."""
    dag = make_dag(4000, 5, groups=40)
    exact, sampled = weigh(dag, shared=SHARED_IDS), weigh(dag, shared=SHARED_IDS, most_alike=1024)
    assert sampled.sampled
    assert sampled.nbytes == pytest.approx(exact.nbytes, rel=0.03)


def test_the_cost_of_a_sampled_walk_is_bounded_by_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the graph, and no more objects are followed."""
    import gc

    followed = 0
    real = gc.get_referents

    def spy(*objects: object) -> list[Any]:
        nonlocal followed
        followed += len(objects)
        return real(*objects)

    monkeypatch.setattr(gc, "get_referents", spy)
    counts = []
    for count in (2000, 8000):
        followed = 0
        weigh(giant(count, 1, 20), most_alike=SAMPLE)
        counts.append(followed)
    assert counts[1] < 1.2 * counts[0]


@pytest.mark.parametrize("count", [1, 10, 500])
def test_what_is_not_giant_is_walked_exactly(count: int) -> None:
    """A sample of half of it would save little."""
    graph = giant(count, 1, 50)
    assert weigh(graph, most_alike=SAMPLE) == weigh(graph)
    assert not weigh(graph, most_alike=SAMPLE).sampled


def test_what_all_parts_share_counts_once() -> None:
    """It is heavy here: five copies of it would be seen."""
    common = [bytes(50_000)]
    graph = [[common, [number]] for number in range(5000)]
    exact = weigh(graph).nbytes
    assert weigh([common, graph], most_alike=1000).nbytes == pytest.approx(exact, rel=0.01)


def test_the_limit_holds_for_a_sampled_walk() -> None:
    """It gives up, and says so."""
    graph = giant(5000, 1, 50)
    assert not weigh(graph, most_alike=SAMPLE, node_limit=2000).complete


def test_a_sampled_walk_gives_the_same_weight_each_time() -> None:
    """The blocks depend on the number of objects only."""
    graph = giant(3000, 1, 50)
    first: Weight = weigh(graph, most_alike=SAMPLE)
    assert weigh(graph, most_alike=SAMPLE) == first
