"""Faults of the policy: ranking and admission."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, replace

_ADMISSION = "dagcache.eviction.admission"
_RANKING = "dagcache.eviction.ranking"
_TESTS = ("unit/eviction/test_policy.py",)

FAULTS = (
    Fault(
        "a ranking of few nodes is never made again",
        _RANKING,
        "Ranking._worst_of_few",
        drop("self._reuses -= 1"),
        _TESTS,
    ),
    Fault(
        "a node that was just used is needed last of all, though bursts are the rule",
        _RANKING,
        "eviction_scores",
        replace("A if B > C else 0.0", "A"),
        _TESTS,
    ),
    Fault(
        "a node that was spared because it was just used is forgotten",
        _RANKING,
        "_candidates",
        drop("A.update(...)"),
        _TESTS,
    ),
    Fault(
        "newcomers are turned away by a ranking of long ago",
        _RANKING,
        "Ranking.take_worst_score",
        replace("self._comparisons <= 0 or A", "self._comparisons <= 0"),
        _TESTS,
    ),
    Fault(
        "newcomers are turned away without end",
        _RANKING,
        "Ranking.take_worst_score",
        drop("self._comparisons -= 1"),
        _TESTS,
    ),
    Fault(
        "the score of a resident right after a use does not count",
        _RANKING,
        "Ranking._rank",
        replace("max(*A, *B)", "max(A)"),
        _TESTS,
    ),
    Fault(
        "a use a lap later is taken for one at once",
        _ADMISSION,
        "Admission.learn_from_probation",
        replace("A.hits_since_admission() - A.is_proven()", "A.hits_since_admission()"),
        _TESTS,
    ),
    Fault(
        "newcomers that would be on probation are turned away",
        _ADMISSION,
        "Admission._place",
        replace("self._is_barred_from_probation(A, B) and C", "C"),
        _TESTS,
    ),
)
