"""Faults of weighing: walks, samples of giants, estimates, keys."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, drop_branch, replace

_ARRAYS = "dagcache.sizing.arrays"
_ESTIMATE = "dagcache.sizing.estimate"
_PREPARATION = "dagcache.core.preparation"
_WALK = "dagcache.sizing.walk"

_ESTIMATE_TESTS = ("unit/sizing/test_estimate.py",)
_HIDDEN_TESTS = ("unit/sizing/test_hidden_weights.py",)
_KEY_TESTS = ("unit/core/test_preparation.py",)
_SAMPLE_TESTS = ("unit/sizing/test_sampled_walks.py",)

FAULTS = (
    # ---- estimates ----
    Fault(
        "a model that its walks have refuted is used",
        _ESTIMATE,
        "LearnedSizer._spare_walk",
        drop_branch("A.is_refuted"),
        _ESTIMATE_TESTS,
    ),
    Fault(
        "walks that contradict a model do not refute it",
        _ESTIMATE,
        "_Record.add",
        drop_branch("abs(A) > B"),
        _ESTIMATE_TESTS,
    ),
    Fault(
        "a model that has come back into use is checked only as far as loads earn it",
        _ESTIMATE,
        "LearnedSizer._spare_walk",
        drop_branch("A.is_on_probation and A.is_due"),
        _ESTIMATE_TESTS,
    ),
    # ---- keys ----
    Fault(
        "a key weighs nothing, however large it is",
        _PREPARATION,
        "_key_bytes",
        replace("A if A > _USUAL_KEY else 0", "0"),
        (*_KEY_TESTS, "unit/core/test_absences.py"),
    ),
    Fault(
        "the key of an entry does not count",
        _PREPARATION,
        "Preparer.take",
        replace("_key_bytes(A) + B", "B"),
        _KEY_TESTS,
    ),
    Fault(
        "the text keys of dicts weigh nothing",
        _WALK,
        "_Graph.weight",
        replace("A + _blocks_of(str, B)", "A"),
        ("unit/sizing/test_walk.py",),
    ),
    # ---- arrays ----
    Fault(
        "the base of a view of an array is not weighed",
        _ARRAYS,
        "referents",
        replace("[A for B in C if (A := D) is not None]", "[]"),
        _HIDDEN_TESTS,
    ),
    Fault(
        "the elements of an array of objects are not weighed",
        _ARRAYS,
        "referents",
        drop("A += B.tolist(...)"),
        _HIDDEN_TESTS,
    ),
    # ---- giants ----
    Fault(
        "a walk follows all objects of a giant",
        _WALK,
        "_Graph._add",
        drop_branch("A > 1.5 * self._most_alike and B"),
        _SAMPLE_TESTS,
    ),
    Fault(
        "the weight of a sample is not scaled up",
        _WALK,
        "weigh",
        replace("A = len(B) / len(C)", "A = 1"),
        _SAMPLE_TESTS,
    ),
    Fault(
        "a giant is weighed again as a whole",
        _PREPARATION,
        "Preparer.__init__",
        replace("functools.partial(_weigh_again, A, B)", "functools.partial(_weigh_again, A, self._walk)"),
        ("unit/core/test_reweighing.py",),
    ),
    Fault(
        "a cache walks giants as a whole",
        _PREPARATION,
        "Preparer.__init__",
        replace("functools.partial(self._walk, most_alike=_SAMPLE)", "None"),
        _KEY_TESTS,
    ),
)
