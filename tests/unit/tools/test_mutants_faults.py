"""The list of seeded faults: each one can be planted in the present code, in any layout and with any local names."""

from __future__ import annotations

import ast
import builtins
import copy
import functools
from pathlib import Path

import pytest

import dagcache
from tests.support.paths import ROOT
from tools.mutants.fault import Fault
from tools.mutants.faults import FAULTS
from tools.mutants.planting import Function, find_function, patch, plant

SOURCES = Path(dagcache.__file__).parents[1]
"""The folder of the package: the checkout, or where the wheel is installed."""

every_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@functools.cache
def tree_of(fault: Fault) -> ast.Module:
    return ast.parse((SOURCES / fault.file).read_text())


def function_of(fault: Fault) -> Function:
    """A copy of the function that a fault changes."""
    return copy.deepcopy(find_function(tree_of(fault), fault))


def parsed_again(function: Function) -> Function:
    """The function after a change of its layout."""
    found = ast.parse(ast.unparse(function)).body[0]
    assert isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef))
    return found


def bound_names(tree: ast.AST) -> set[str]:
    """The parameters and variables of functions, and the names of caught exceptions."""
    nodes = list(ast.walk(tree))
    return {
        *(node.arg for node in nodes if isinstance(node, ast.arg)),
        *(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)),
        *(node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name),
    }


def used_names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def module_names(tree: ast.Module) -> set[str]:
    """The names that a module has at its top level."""
    names = bound_names(ast.Module([node for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign))], []))
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
    return names


class Renamer(ast.NodeTransformer):
    """Gives other names to all that a function binds, except ``self``."""

    def __init__(self, function: Function) -> None:
        self.names = {name: f"other_{name}" for name in bound_names(function) - {"self"}}

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self.names.get(node.arg, node.arg))

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.name = node.name and self.names[node.name]
        return self.generic_visit(node)


@every_fault
def test_each_fault_can_be_planted_in_the_present_code(fault: Fault) -> None:
    ast.parse(plant((SOURCES / fault.file).read_text(), fault))


@every_fault
def test_other_local_names_and_another_layout_do_not_matter(fault: Fault) -> None:
    """The code of a fault uses no local name either: a NameError does not prove that a test checks a rule."""
    function = parsed_again(Renamer(function_of(fault)).visit(function_of(fault)))
    before = used_names(function)
    patch(function, fault)
    after = parsed_again(function)
    known = module_names(tree_of(fault)) | bound_names(after) | set(vars(builtins))
    assert used_names(after) - before <= known


@every_fault
def test_the_tests_of_each_fault_exist(fault: Fault) -> None:
    assert fault.tests
    for test in fault.tests:
        file, _, function = test.partition("::")
        assert f"def {function}" in (ROOT / "tests" / file).read_text()


def test_no_two_faults_have_the_same_name_or_make_the_same_change() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({(fault.module, fault.function, fault.patch) for fault in FAULTS}) == len(FAULTS)
