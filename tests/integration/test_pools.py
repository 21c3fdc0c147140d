"""The bytes that the allocators' pools need beside the blocks in them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from dagcache.sizing.allocators import has_debug_hooks
from dagcache.sizing.blocks import COLLECTORS_LINKS, IN_POOLS
from tests.support.paths import ROOT

_LOADING = """
import sys
from dagcache.freezing.pickle_freezer import PickleFreezer
from tests.support.graphs import SHARED, make_dag

freezer = PickleFreezer(shared=SHARED)
frozen = [freezer.freeze(make_dag(1 + seed % 12, seed=seed)).data for seed in range(40)]
held = [freezer.thaw(data) for data in frozen]
sys._debugmallocstats()
held += [freezer.thaw(data) for _ in range(40) for data in frozen]
sys._debugmallocstats()
"""
_FREE = 0.02
"""The most that free blocks are allowed for, of the blocks in use."""
_LINE = re.compile(r"bytes (in allocated blocks|lost to pool headers|lost to quantization)\D+([\d,]+)")


@pytest.mark.skipif(not COLLECTORS_LINKS, reason="free-threaded builds have another allocator, without this report")
@pytest.mark.skipif(has_debug_hooks(), reason="debug hooks make each block larger")
def test_graphs_are_charged_with_what_pools_need_beside_blocks() -> None:
    """At least the headers and ends; a part of the free blocks as well, which depend on what was freed before."""
    command = [sys.executable, "-c", _LOADING]
    report = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=600).stderr
    found = [(name, int(number.replace(",", ""))) for name, number in _LINE.findall(report)]
    before, after = dict(found[:3]), dict(found[3:])
    grown = {name: after[name] - before[name] for name in before}
    blocks = grown["in allocated blocks"]
    assert blocks > 10_000_000
    least = (grown["lost to pool headers"] + grown["lost to quantization"]) / blocks
    assert least < IN_POOLS - 1 < least + _FREE
