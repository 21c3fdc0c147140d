"""Types whose instances run code of their own before they die."""

from __future__ import annotations

from dagcache.reclaim.per_type import PerType

is_finalised = PerType(lambda kind: any("__del__" in vars(base) for base in kind.__mro__))
"""Whether a type has a finaliser."""
