"""Faults of frozen forms, and of the sharing of equal parts."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop_branch, replace

_RESTRICTED = "dagcache.freezing.restricted"
_RESTRICTED_TESTS = "unit/freezing/test_restricted.py"
_TEMPLATES = "dagcache.freezing.templates"
_TEMPLATES_TESTS = "unit/freezing/test_templates.py"

FAULTS = (
    Fault(
        "freezing fills the empty slots of a value",
        "dagcache.freezing.reducers",
        "ReducerTable.__missing__",
        replace("slots_reducer(A) or _own_way", "_own_way"),
        ("unit/freezing/test_reducers.py",),
    ),
    Fault(
        "a template is copied before it is complete",
        _TEMPLATES,
        "Templates.reducer",
        replace("A.complete.get(B)", "A.begun.get(B)"),
        (_TEMPLATES_TESTS,),
    ),
    Fault(
        "an equal object is taken from the template as if it were the same",
        _TEMPLATES,
        "_changes",
        replace("map(is_not, A, B)", "map(lambda one, other: one != other, A, B)"),
        (f"{_TEMPLATES_TESTS}::test_what_is_one_object_stays_one_and_what_is_merely_equal_stays_two",),
    ),
    Fault(
        "each thawed value has its own strings for the names of attributes",
        _TEMPLATES,
        "_interned",
        replace("map(sys.intern, A)", "A"),
        (f"{_TEMPLATES_TESTS}::test_names_of_attributes_are_the_processs_own_in_each_copy",),
    ),
    Fault(
        "the state of hubs is lost",
        "dagcache.freezing.hubs",
        "Filling.reduce",
        replace("(A, (B,), *C)", "(A, (B,))"),
        ("unit/freezing/test_hubs.py::test_any_tree_of_groups_comes_back",),
    ),
    Fault(
        "hubs are pickled within one another",
        "dagcache.freezing.pickling",
        "Pickling.pickled",
        replace("self._pickled(A, B, C)", "self._pickled(A, B)"),
        ("unit/freezing/test_hubs.py::test_what_pickle_can_follow_is_pickled_as_without_hubs",),
    ),
    Fault(
        "the dictionary goes on learning",
        "dagcache.freezing.zdict",
        "Dictionary.learn",
        replace("if not self.words: A", "A"),
        ("unit/freezing/test_zdict.py",),
    ),
    Fault(
        "a portable set has the order of the process that froze it",
        "dagcache.freezing.set_order",
        "recipe_elsewhere",
        replace("sorted(A)", "list(A)"),
        ("unit/freezing/test_portable.py",),
    ),
    Fault(
        "a dotted name of a portable form leads through any object",
        _RESTRICTED,
        "AllowList._attribute",
        drop_branch("not isinstance(A, type)"),
        (_RESTRICTED_TESTS,),
    ),
    Fault(
        "a portable form finds what an allowed module has imported",
        _RESTRICTED,
        "AllowList._look_up",
        drop_branch("not A and not _is_class_of(B, C, D)"),
        (_RESTRICTED_TESTS,),
    ),
    Fault(
        "spans of a subclass are shared",
        "dagcache.airflow.sharing",
        "share_immutables",
        replace("type(A) is B", "isinstance(A, B)"),
        ("unit/airflow/test_sharing.py",),
    ),
)
