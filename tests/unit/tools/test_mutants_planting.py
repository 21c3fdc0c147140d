"""The planting of a seeded fault: one change in one place, or an error that names the fault."""

from __future__ import annotations

import pytest

from tools.mutants.fault import Fault, FaultError, Patch, drop, drop_branch, replace
from tools.mutants.planting import plant

SOURCE = """
class Store:
    def admit(self, entry, now):
        if self.is_full:
            self.make_room(now)
        self.used += entry.nbytes
        self.note(entry)
        self.note(entry)
        return self.used + 1

    def remove(self, entry):
        def later():
            return entry
        return later

class Other:
    def admit(self):
        return 0
"""


def fault(patch: Patch, function: str = "Store.admit") -> Fault:
    return Fault("the fault", "dagcache.store", function, patch, ())


@pytest.mark.parametrize(
    ("patch", "gone", "come"),
    [
        (drop("self.used += A.nbytes"), "self.used += entry.nbytes", ""),
        (drop_branch("self.is_full"), "make_room", ""),
        (replace("if A: B", "if not A: B"), "", "if not self.is_full:"),
        (replace("self.used + 1", "self.used"), "self.used + 1", "return self.used"),
        (replace("self.make_room(A)", "self.make_room(A)\nself.forget(A)"), "", "self.forget(now)"),
        (replace("if A: B", "B"), "if ", "self.make_room(now)"),
    ],
)
def test_a_patch_changes_the_one_place_with_its_shape(patch: Patch, gone: str, come: str) -> None:
    planted = plant(SOURCE, fault(patch))
    assert come in planted
    assert not gone or gone not in planted


def test_a_block_that_loses_its_only_statement_stays_valid() -> None:
    compile(plant(SOURCE, fault(drop("self.make_room(...)"))), "store.py", "exec")


@pytest.mark.parametrize("function", ["later", "remove.later", "Store.remove.later"])
def test_a_function_is_found_by_the_end_of_its_qualified_name(function: str) -> None:
    assert "return None" in plant(SOURCE, fault(replace("return A", "return None"), function))


@pytest.mark.parametrize("old", ["self.gone(...)", "self.note(...)", "if A: ...\nelse: ..."])
def test_a_patch_without_exactly_one_place_is_an_error_that_names_the_fault(old: str) -> None:
    with pytest.raises(FaultError, match=r"'the fault': [02] places in Store\.admit"):
        plant(SOURCE, fault(drop(old)))


@pytest.mark.parametrize("function", ["admit", "Store.gone", "dmit"])
def test_a_function_that_is_not_there_exactly_once_is_an_error_that_names_the_fault(function: str) -> None:
    with pytest.raises(FaultError, match=r"'the fault': [02] functions"):
        plant(SOURCE, fault(drop("self.make_room(...)"), function))


@pytest.mark.parametrize("patch", [replace("self.used + A", "self.used + A"), replace("self.used + 1", "B")])
def test_a_patch_that_changes_nothing_or_cannot_be_filled_is_an_error_that_names_the_fault(patch: Patch) -> None:
    with pytest.raises(FaultError, match="'the fault'"):
        plant(SOURCE, fault(patch))
