"""Faults of the store: entries and copies, their bytes in the ledger, their repeated weighing, expiry, versions."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, drop_branch, replace

_ENTRY = "dagcache.core.entry"
_EXPIRY = "dagcache.core.expiry"
_LEDGER = "dagcache.core.ledger"
_REWEIGHING = "dagcache.core.reweighing"
_NEWCOMERS = "dagcache.core.newcomers"
_STORE = "dagcache.core.store"
_VERSIONS = "dagcache.core.versions"

_BOUNDS_TESTS = ("unit/core/test_cache_bounds.py",)
_CHANGES_TESTS = ("unit/core/test_cache_changes.py",)
_EXPIRY_TESTS = ("unit/core/test_expiry.py", "unit/core/test_cache_bounds.py")
_LEDGER_TESTS = ("unit/core/test_ledger.py", "unit/core/test_waiting_bytes.py")
_REWEIGHING_TESTS = ("unit/core/test_reweighing.py",)

FAULTS = (
    # ---- weighing again ----
    Fault(
        "a live value that has grown is accounted as before",
        _STORE,
        "Store.reweigh",
        drop("A.value_bytes = B"),
        _REWEIGHING_TESTS,
    ),
    Fault(
        "the policy is not informed of a new weight",
        _STORE,
        "Store.reweigh",
        drop("self._live_policy.reweigh(...)"),
        _REWEIGHING_TESTS,
    ),
    Fault(
        "a value that has grown beyond the budget makes no room",
        _STORE,
        "Store.reweigh",
        drop("self._make_room(...)"),
        _REWEIGHING_TESTS,
    ),
    Fault(
        "the new weight of a copy that is gone is accounted",
        _STORE,
        "Store.reweigh",
        drop_branch("A.live is not B or self.entries.get(A.key) is not A"),
        _REWEIGHING_TESTS,
    ),
    Fault(
        "the weights of a refuted model are trusted until they are due",
        "dagcache.core.offering",
        "Offers._offer",
        drop("self._distrust_estimates()"),
        ("unit/core/test_thawed_weights.py",),
    ),
    Fault(
        "thaws are charged the estimates of a refuted model",
        "dagcache.core.store",
        "Store.distrust_estimates",
        drop("A.thawed_bytes = 0"),
        ("unit/core/test_thawed_weights.py",),
    ),
    Fault(
        "a thawed copy is charged the bytes of the loaded one",
        _ENTRY,
        "Entry.thaws_to_bytes",
        replace("self.thawed_bytes or self.loaded_bytes", "self.loaded_bytes"),
        ("unit/core/test_thawed_weights.py",),
    ),
    Fault(
        "the time of a weighing is not paid for",
        _REWEIGHING,
        "Reweighing._look_at",
        drop("self._credit -= A"),
        _REWEIGHING_TESTS,
    ),
    Fault(
        "the time that passes earns no weighing",
        _REWEIGHING,
        "Reweighing._affords",
        replace("self._credit + _SHARE_OF_TIME * A", "self._credit"),
        _REWEIGHING_TESTS,
    ),
    Fault(
        "a weighing of known cost begins before that is paid",
        _REWEIGHING,
        "Reweighing._affords",
        replace("self._credit > 0 and self._credit >= A", "self._credit > 0"),
        _REWEIGHING_TESTS,
    ),
    Fault(
        "loads and thaws earn without a bound",
        _REWEIGHING,
        "Reweighing.earn",
        replace("min(A, _MOST_CREDIT)", "A"),
        _REWEIGHING_TESTS,
    ),
    Fault(
        "a value is due again right after it was weighed",
        _REWEIGHING,
        "Reweighing._look_at",
        replace("A.uses, B = 0, C", "B = C"),
        _REWEIGHING_TESTS,
    ),
    # ---- the ledger ----
    Fault(
        "values that callers hold take no room from the residents",
        _LEDGER,
        "Ledger.set_budget",
        replace("self.enforced_budget // HELD_PART", "0"),
        _LEDGER_TESTS,
    ),
    Fault(
        "values that callers hold may take all the room from the residents",
        _LEDGER,
        "Ledger.set_budget",
        replace("self.enforced_budget // HELD_PART", "self.enforced_budget"),
        _LEDGER_TESTS,
    ),
    Fault(
        "bytes that callers no longer hold return to the residents at once",
        _LEDGER,
        "Ledger.note_held",
        replace("max(A, self.held - B)", "A"),
        _LEDGER_TESTS,
    ),
    Fault(
        "the last bytes that callers held never return to the residents",
        _LEDGER,
        "Ledger.note_held",
        replace("max(1, self.held >> HELD_DECAY)", "self.held >> HELD_DECAY"),
        _LEDGER_TESTS,
    ),
    Fault(
        "the budget counts as exceeded by all that callers hold",
        _LEDGER,
        "Ledger.exceeds",
        replace("min(A, self._most_held)", "A"),
        _LEDGER_TESTS,
    ),
    Fault(
        "values that are about to be freed do not count",
        _LEDGER,
        "Ledger.exceeds",
        replace("self.used + self.absence_bytes + A", "self.used + self.absence_bytes"),
        ("unit/core/test_ledger.py", "unit/core/test_upkeep.py"),
    ),
    Fault(
        "absences do not count",
        _LEDGER,
        "Ledger.exceeds",
        replace("self.used + self.absence_bytes", "self.used"),
        ("unit/core/test_ledger.py",),
    ),
    Fault(
        "the ledger does not subtract frozen bytes",
        _LEDGER,
        "Ledger._count",
        replace("self.frozen_bytes += A * len(B.data)", "self.frozen_bytes += len(B.data) if A > 0 else 0"),
        _LEDGER_TESTS,
    ),
    Fault(
        "overhead is not accounted",
        _LEDGER,
        "Ledger._count",
        drop("self.overhead_bytes += A * B.overhead_bytes"),
        _LEDGER_TESTS,
    ),
    # ---- entries and copies ----
    Fault(
        "a demoted copy stays in the table of live copies",
        _STORE,
        "Store._demote",
        drop("self.live.pop(...)"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "a replacement subtracts the old weight twice",
        _STORE,
        "Store.admit",
        replace(
            "self._remove(A, RemovalCause.REPLACED)",
            "self._remove(A, RemovalCause.REPLACED)\nself.ledger.leave(A)",
        ),
        _CHANGES_TESTS,
    ),
    Fault(
        "an oversize replacement leaves the stale value",
        _STORE,
        "Store.admit",
        replace(
            "if A is not None:\n    B\nelse:\n    self._ghosts.recall(hash(C.key), D)",
            "if A is not None and self.fits(C):\n    B\nelse:\n    self._ghosts.recall(hash(C.key), D)",
        ),
        _BOUNDS_TESTS,
    ),
    Fault(
        "room is made for one byte too few",
        _STORE,
        "Store._make_room",
        replace("self.used + A - self.ledger.limit", "self.used + A - self.ledger.limit - 1"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "the object of a private load is kept for the others",
        _STORE,
        "Store._offer_to_tiers",
        replace(
            "if A:\n    self.pass_through(B.value, C, D)\nelif self._may_be_live(E):\n    self._make_live(E, F, G, H)\n"
            "else:\n    self._pass_shared_through(E, I, J, K)",
            "if self._may_be_live(E):\n    self._make_live(E, F, G, H)\n"
            "else:\n    self._pass_shared_through(E, I, J, K)",
        ),
        ("unit/core/test_private_copies.py",),
    ),
    Fault(
        "further lookups of one burst make newcomers live without a limit",
        _NEWCOMERS,
        "Newcomers.add",
        replace("not A.gap", "not A.hits"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "a newcomer is given up although it was used again",
        _NEWCOMERS,
        "Newcomers.trim",
        replace("if not A.entry.gap:\n    B.append(A)", "B.append(A)"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "newcomers that were used again take a share of those that were not",
        _NEWCOMERS,
        "Newcomers.trim",
        drop("for A in B:\n    self.leave(A)"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "newcomers leave in the middle of their burst",
        _NEWCOMERS,
        "Newcomers.trim",
        drop("if A and B:\n    break"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "newcomers are held for their burst without a limit",
        _NEWCOMERS,
        "Newcomers.trim",
        replace("A and self._nbytes <= BURST_SHARE * B", "A"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "a newcomer's share does not follow its weight",
        _STORE,
        "Store.reweigh",
        drop("self._newcomers.reweigh(A)"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "newcomers keep the share of a larger budget",
        _STORE,
        "Store.resize",
        drop("self._trim_newcomers(A)"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "a copy that left stays in the window of newcomers",
        _STORE,
        "Store._demote",
        drop("self._newcomers.leave(A)"),
        _BOUNDS_TESTS,
    ),
    Fault(
        "a superseded version is treated as a current one",
        _VERSIONS,
        "VersionIndex.add",
        drop("A.newest.superseded = True"),
        ("unit/core/test_versions.py",),
    ),
    # ---- expiry ----
    Fault(
        "hits do not restart the TTL",
        _STORE,
        "Store.use_unlocked",
        drop("A.used = B"),
        _EXPIRY_TESTS,
    ),
    Fault(
        "an expired entry is served on the hit path",
        _STORE,
        "Store.use_unlocked",
        drop_branch("self._deadlines.expired(...)"),
        _EXPIRY_TESTS,
    ),
    Fault(
        "an entry that was used is no longer scheduled",
        _EXPIRY,
        "Deadlines.due",
        drop("self.schedule(...)"),
        _EXPIRY_TESTS,
    ),
    Fault(
        "the TTL counts from the load",
        _EXPIRY,
        "Deadlines.expired",
        replace("A.used", "A.last_filled"),
        _EXPIRY_TESTS,
    ),
    Fault(
        "the clock may go back",
        "dagcache.core.clock",
        "SteadyClock.__call__",
        drop_branch("A < self.latest"),
        _EXPIRY_TESTS,
    ),
)
