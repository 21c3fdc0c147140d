"""A seeded fault: the place, the change, and the tests that must notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class FaultError(Exception):
    """A seeded fault cannot be planted: the code has changed, or the fault is wrong."""


@dataclass(frozen=True)
class Patch:
    """Replaces the code that matches one pattern by another; both as in `tools.mutants.patterns`."""

    old: str
    new: str


@dataclass(frozen=True)
class Fault:
    """One seeded fault."""

    name: str
    """The wrong behaviour, as a sentence."""
    module: str
    """The module that is changed, by its import name."""
    function: str
    """The function in it, by its qualified name or the end of that: ``Store.admit``, or ``admit`` if there is one."""
    patch: Patch
    tests: tuple[str, ...]
    """Files in ``tests``, or one test of a file, as ``file::test``; one of them must fail."""

    @property
    def file(self) -> Path:
        """The path of the module within the checkout."""
        return Path(*self.module.split(".")).with_suffix(".py")


def replace(old: str, new: str) -> Patch:
    """Replace an expression by an expression, or statements by statements."""
    return Patch(old, new)


def drop(old: str) -> Patch:
    """Remove one statement."""
    return Patch(old, "pass")


def drop_branch(condition: str) -> Patch:
    """Remove an ``if`` without ``else``, with its block."""
    return drop(f"if {condition}: ...")
