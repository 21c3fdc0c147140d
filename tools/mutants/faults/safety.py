"""Faults after interrupts and forks, and in the redaction of credentials."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, drop_branch, replace

_FORKS = "dagcache.forks"
_REDACTION = "dagcache.redaction"
_FORKS_TESTS = ("unit/test_forks.py",)
_REDACTION_TESTS = ("unit/test_redaction.py",)

FAULTS = (
    Fault(
        "a torn section is not repaired",
        "dagcache.concurrency.critical_section",
        "CriticalSection._section",
        drop_branch("A"),
        ("unit/concurrency/test_critical_section.py",),
    ),
    # ---- forks ----
    Fault(
        "a step of a forked child keeps its object alive",
        _FORKS,
        "after_fork_in_child",
        replace("functools.partial(_find_method, weakref.ref(A.__self__), A.__func__)", "lambda: A"),
        _FORKS_TESTS,
    ),
    Fault(
        "steps of objects that are gone pile up",
        _FORKS,
        "after_fork_in_child",
        drop("_remove_ended_steps()"),
        _FORKS_TESTS,
    ),
    Fault(
        "a step of a forked child that fails ends the other steps",
        _FORKS,
        "_run",
        replace("try:\n    A()\nexcept Exception:\n    ...", "A()"),
        _FORKS_TESTS,
    ),
    Fault(
        "a step that drops the last reference to an object cancels the step of that object",
        _FORKS,
        "run_steps",
        replace("[A() for A in list(_steps.values())]", "(A() for A in list(_steps.values()))"),
        _FORKS_TESTS,
    ),
    # ---- redaction ----
    Fault(
        "a URL is shown with its query",
        _REDACTION,
        "public_url",
        replace("A._replace(netloc=B, query='', fragment='')", "A._replace(netloc=B, fragment='')"),
        _REDACTION_TESTS,
    ),
    Fault(
        "an @ after the authority is not ambiguous",
        _REDACTION,
        "is_ambiguous",
        replace("A.count('@') > 1 or B", "A.count('@') > 1"),
        _REDACTION_TESTS,
    ),
    Fault(
        "of two secrets the shorter is masked first, and the rest of the longer is shown",
        _REDACTION,
        "Secrets.mask",
        replace("sorted(self._spellings, key=len, reverse=True)", "sorted(self._spellings, key=len)"),
        _REDACTION_TESTS,
    ),
    Fault(
        "a secret in other letter case is shown",
        _REDACTION,
        "Secrets.mask",
        replace("re.sub(A, MASK, B, flags=re.IGNORECASE)", "re.sub(A, MASK, B)"),
        _REDACTION_TESTS,
    ),
    Fault(
        "the parts of an ambiguous password are shown",
        _REDACTION,
        "Secrets.add_url",
        drop("for A in re.split(...): ..."),
        _REDACTION_TESTS,
    ),
)
