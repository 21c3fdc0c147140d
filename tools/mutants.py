"""Seeded faults of the core: each of them must make the tests fail.

``python -m tools.mutants [NAME ...]`` plants one fault at a time in a copy of the package, runs the quick tests of the
core over the copy, and prints who was noticed and by which test. Exits with 1 if a fault survives.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUICK_TESTS = [
    "tests/unit/core/test_cache_bounds.py",
    "tests/unit/core/test_cache_lookups.py",
    "tests/unit/core/test_cache_changes.py",
    "tests/unit/eviction/test_policy.py",
    "tests/unit/core/test_single_flight.py",
    "tests/unit/core/test_private_copies.py",
    "tests/stress/test_threads.py",
    "tests/unit/core/test_reentry.py",
    "tests/stress/test_collections_of_a_sweep.py",
    "tests/stress/test_machine.py",
    "tests/unit/freezing/test_templates.py",
    "tests/unit/freezing/test_zdict.py",
    "tests/unit/airflow/test_sharing.py",
    "tests/unit/reclaim/test_breaker.py",
    "tests/unit/freezing/test_reducers.py",
    "tests/unit/core/test_reweighing.py",
    "tests/unit/core/test_thawed_weights.py",
    "tests/unit/core/test_upkeep.py",
    "tests/unit/core/test_waiting_bytes.py",
]


@dataclass(frozen=True)
class Mutant:
    """One fault: a text that stands exactly once in a file, and what to put in its place."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant(
        "a live value that has grown is accounted as before",
        "dagcache/core/store.py",
        "        copy.value_bytes = nbytes\n",
        "",
    ),
    Mutant(
        "the policy is not told of a new weight",
        "dagcache/core/store.py",
        "        self._live_policy.reweigh(copy, copy.nbytes + nbytes - copy.value_bytes)\n",
        "",
    ),
    Mutant(
        "a value that has grown beyond the budget makes no room",
        "dagcache/core/store.py",
        "        self.ledger.enter(entry)\n        self._make_room(0, now)\n\n    # ---- removal",
        "        self.ledger.enter(entry)\n\n    # ---- removal",
    ),
    Mutant(
        "the new weight of a copy that is gone is accounted",
        "dagcache/core/store.py",
        "        if entry.live is not copy or self.entries.get(entry.key) is not entry:\n            return\n",
        "",
    ),
    Mutant(
        "a thawed copy is charged what the loaded one weighed",
        "dagcache/core/entry.py",
        "return self.thawed_bytes or self.loaded_bytes",
        "return self.loaded_bytes",
    ),
    Mutant(
        "what passes is not paid for with time",
        "dagcache/core/reweighing.py",
        "            self._credit -= seconds\n",
        "",
    ),
    Mutant(
        "freezing fills the slots that it finds empty",
        "dagcache/freezing/reducers.py",
        "slots_reducer(kind) or _own_way",
        "_own_way",
    ),
    Mutant(
        "what callers hold of what left takes no room from the residents",
        "dagcache/core/ledger.py",
        "self._most_held = self.enforced_budget // HELD_PART",
        "self._most_held = 0",
    ),
    Mutant(
        "what callers hold may take all the room from the residents",
        "dagcache/core/ledger.py",
        "self._most_held = self.enforced_budget // HELD_PART",
        "self._most_held = self.enforced_budget",
    ),
    Mutant(
        "a disposal does not ask for the time",
        "dagcache/core/disposal.py",
        "            if is_enough():\n                return False\n",
        "",
    ),
    Mutant(
        "a disposal that is out of time leaves what is over the budget",
        "dagcache/core/upkeep.py",
        "lambda: allowance.is_spent() and not self._is_over_budget()",
        "allowance.is_spent",
    ),
    Mutant(
        "a disposal begins within a disposal",
        "dagcache/core/disposal.py",
        "        if self.is_disposing:\n            return\n        while",
        "        while",
    ),
    Mutant(
        "all that has expired is removed by the first call",
        "dagcache/core/upkeep.py",
        "            if allowance.is_spent():\n                return\n        if self._disposer.is_due",
        "        if self._disposer.is_due",
    ),
    Mutant(
        "a call that is to free memory leaves what waits",
        "dagcache/core/upkeep.py",
        "        self._disposer.empty()\n",
        "        self._disposer.dispose()\n",
    ),
    Mutant(
        "the cache keeps large values alive beside a small budget",
        "dagcache/reclaim/waiting_room.py",
        "return min(budget // STRONG_PART, most) if budget else most",
        "return most",
    ),
    Mutant(
        "the ledger forgets frozen bytes",
        "dagcache/core/ledger.py",
        "self.frozen_bytes += sign * len(frozen.data)",
        "self.frozen_bytes += len(frozen.data) if sign > 0 else 0",
    ),
    Mutant(
        "a demoted copy stays in the table of live copies",
        "dagcache/core/store.py",
        "        self.live.pop(entry.key, None)\n        self.counts.demotions += 1",
        "        self.counts.demotions += 1",
    ),
    Mutant(
        "replacing gives the old weight back twice",
        "dagcache/core/store.py",
        "            self._remove(previous, RemovalCause.REPLACED)",
        "            self._remove(previous, RemovalCause.REPLACED)\n            self.ledger.leave(previous)",
    ),
    Mutant(
        "an oversize replacement leaves the stale value",
        "dagcache/core/store.py",
        "        if previous is not None:\n            entry.inherit",
        "        if previous is not None and self.fits(candidate):\n            entry.inherit",
    ),
    Mutant(
        "room is made for one byte too few",
        "dagcache/core/store.py",
        "            surplus = self.used + nbytes - self.ledger.limit",
        "            surplus = self.used + nbytes - self.ledger.limit - 1",
    ),
    Mutant(
        "overhead is not accounted",
        "dagcache/core/ledger.py",
        "        self.overhead_bytes += sign * entry.overhead_bytes\n",
        "",
    ),
    Mutant(
        "hits do not re-arm the TTL",
        "dagcache/core/store.py",
        "        entry.used = now\n"
        "        entry.touch(self._policy_clock.use(now))\n"
        "        self._defer_noting(copy, now)",
        "        self._defer_noting(copy, now)",
    ),
    Mutant(
        "an expired entry is served on the hit path",
        "dagcache/core/store.py",
        "            return False\n        entry.used = now",
        "            pass\n        entry.used = now",
    ),
    Mutant(
        "an entry that was used is watched no longer",
        "dagcache/core/expiry.py",
        "                else:\n                    self.schedule(entry)",
        "",
    ),
    Mutant(
        "the TTL counts from the load",
        "dagcache/core/expiry.py",
        "return self.ttl > 0 and now > entry.used + self.ttl",
        "return self.ttl > 0 and now > entry.last_filled + self.ttl",
    ),
    Mutant(
        "a load resurrects what was deleted meanwhile",
        "dagcache/core/offering.py",
        "        if not is_current:\n            self._store.pass_through",
        "        if not is_current and key in self._store.entries:\n            self._store.pass_through",
    ),
    Mutant(
        "a load overwrites what was assigned meanwhile",
        "dagcache/core/single_flight.py",
        "        flight = self._by_key.pop(key, None)\n",
        "        flight = self._by_key.get(key)\n",
    ),
    Mutant(
        "followers of an interrupted leader give up",
        "dagcache/core/lookup.py",
        "            if result.value is not ABANDONED:\n                return result",
        "            return ABSENT if result.value is ABANDONED else result",
    ),
    Mutant(
        "waiting in a ring is not noticed",
        "dagcache/core/single_flight.py",
        "self._waiting.get(other.leader.ident or 0, ())",
        "()",
    ),
    Mutant(
        "a handler's wait ends the wait that it interrupted",
        "dagcache/core/single_flight.py",
        "            mine.pop()",
        "            mine.clear()",
    ),
    Mutant(
        "the object of a private load is kept for the others",
        "dagcache/core/store.py",
        "        if not private and self._may_be_live(entry):",
        "        if self._may_be_live(entry):",
    ),
    Mutant(
        "a private lookup without a frozen form gets the others' object",
        "dagcache/core/decision.py",
        "        if not request.private and entry is not None and entry.live is not None:",
        "        if entry is not None and entry.live is not None:",
    ),
    Mutant(
        "followers share the object of a private load",
        "dagcache/core/joining.py",
        "        if result.private or request.private:",
        "        if request.private:",
    ),
    Mutant(
        "a value is kept although its loader has learned better",
        "dagcache/core/offering.py",
        "        if is_current and keep_if is not None:",
        "        if is_current and keep_if is None:",
    ),
    Mutant(
        "what one caller changed outlives the renewal",
        "dagcache/core/decision.py",
        "            store.give_up_live(entry)",
        "            pass",
    ),
    Mutant(
        "popping lets a load that is under way be kept",
        "dagcache/core/lookup.py",
        "            self._flights.invalidate(key)\n            self._counts.absent += 1",
        "            self._counts.absent += 1",
    ),
    Mutant(
        "a joined load is counted as a load",
        "dagcache/core/counters.py",
        "            self.joins += 1",
        "            self.loads += 1",
    ),
    Mutant(
        "a failed thaw leaves the damaged entry",
        "dagcache/core/thawing.py",
        "            self._store.remove(key, RemovalCause.STALE, self._clock.latest)",
        "            pass",
    ),
    Mutant(
        "victims are not taken apart",
        "dagcache/core/disposal.py",
        "            self._part_with(cell)",
        "            cell.pop()",
    ),
    Mutant(
        "a victim is taken apart although a lookup has just found it",
        "dagcache/core/disposal.py",
        "        if is_sole:",
        "        if True:",
    ),
    Mutant(
        "what waits is not looked at again",
        "dagcache/core/disposal.py",
        "            self._room.look(is_enough)",
        "            pass",
    ),
    Mutant(
        "a value that is only referred to weakly is kept alive",
        "dagcache/reclaim/waiting_room.py",
        "            ticket.weaken()  # so",
        "            pass  # so",
    ),
    Mutant(
        "a torn section is not repaired",
        "dagcache/concurrency/critical_section.py",
        "        if torn:\n            self._repair()\n",
        "",
    ),
    Mutant(
        "the clock may go back",
        "dagcache/core/clock.py",
        "        if now < self.latest:\n            return self.latest\n",
        "",
    ),
    Mutant(
        "a pause of ours hides that the host has switched the collector off",
        "dagcache/reclaim/gc_pause.py",
        "not (gc.isenabled() or _off.by_us)",
        "not gc.isenabled()",
    ),
    Mutant(
        "a ranking of few nodes is never made again",
        "dagcache/eviction/ranking.py",
        "            self._reuses -= 1\n",
        "",
    ),
    Mutant(
        "a node that was just used is needed last of all, though bursts are the rule",
        "dagcache/eviction/ranking.py",
        " if idle > spared else 0.0",
        "",
    ),
    Mutant(
        "a node that was spared because it was just used is forgotten",
        "dagcache/eviction/ranking.py",
        "        candidates.update(dict.fromkeys(islice(just_used, POOL)))\n",
        "        pass\n",
    ),
    Mutant(
        "a use a lap later is taken for one at once",
        "dagcache/eviction/admission.py",
        "node.hits_since_admission() - node.is_proven()",
        "node.hits_since_admission()",
    ),
    Mutant(
        "newcomers are turned away by a ranking of long ago",
        "dagcache/eviction/ranking.py",
        " or now - self._ranked_at > _JUST_NOW * gap",
        "",
    ),
    Mutant(
        "newcomers are turned away without end",
        "dagcache/eviction/ranking.py",
        "        self._comparisons -= 1\n",
        "",
    ),
    Mutant(
        "newcomers that would be on probation are turned away",
        "dagcache/eviction/admission.py",
        "if self._is_barred_from_probation(node, limit) and score >",
        "if score >",
    ),
    Mutant(
        "the score of a resident right after a use does not count",
        "dagcache/eviction/ranking.py",
        "max(*scores, *(node.history.gap * node.cost_density for node in nodes))",
        "max(scores)",
    ),
    Mutant(
        "a superseded version is nothing special",
        "dagcache/core/versions.py",
        "            family.newest.superseded = True",
        "            pass",
    ),
    Mutant(
        "a template is copied before it is complete",
        "dagcache/freezing/templates.py",
        "        if id(template) not in self._pickled:\n            return state\n",
        "",
    ),
    Mutant(
        "what is merely equal is taken from the template",
        "dagcache/freezing/templates.py",
        "map(is_not, state.values(), template.values())",
        "map(lambda one, other: one != other, state.values(), template.values())",
    ),
    Mutant(
        "the dictionary goes on learning",
        "dagcache/freezing/zdict.py",
        "        if not self.words:\n            self._lock",
        "        if True:\n            self._lock",
    ),
    Mutant(
        "parameters of different classes are shared",
        "dagcache/airflow/sharing.py",
        "plain, *map(type, parts.values()))",
        "plain)",
    ),
]


def run(mutant: Mutant) -> str:
    """Plant a fault in a copy and test the copy: the first test that failed, or '' if none did."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("dagcache", "sizing", "metrics", "tests", "tools"):
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        target = copy / mutant.file
        source = target.read_text()
        if source.count(mutant.old) != 1:
            raise SystemExit(
                f"{mutant.name}: the text to replace stands {source.count(mutant.old)} times in {mutant.file}"
            )
        target.write_text(source.replace(mutant.old, mutant.new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *QUICK_TESTS]
        try:
            result = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=240)
        except subprocess.TimeoutExpired:
            return "a test that hangs"
        failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        if result.returncode == 0:
            return ""
        return failed[0].split(" - ")[0].removeprefix("FAILED ") if failed else result.stdout[-300:]


def main(names: list[str]) -> int:
    """Run all mutants, or those named; how many survived."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    survivors = 0
    with ThreadPoolExecutor(2) as pool:
        for mutant, noticed in zip(chosen, pool.map(run, chosen), strict=True):
            survivors += not noticed
            print(f"{'killed  ' if noticed else 'SURVIVED'}  {mutant.name:<62} {noticed}", flush=True)  # noqa: T201
    print(f"{len(chosen) - survivors} of {len(chosen)} seeded faults were noticed")  # noqa: T201
    return survivors


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
