"""Referents of numpy arrays that the collector does not show: the base of a view, the elements of an object array.

numpy is never imported here: an array is recognised by the name of its class, and read by that class's own descriptors.
"""

from __future__ import annotations

from typing import Any


def array_class(of: type) -> type | None:
    """The class ``numpy.ndarray`` among the bases of a class; None if it is another kind."""
    return next((base for base in of.__mro__ if base.__module__ == "numpy" and base.__name__ == "ndarray"), None)


def referents(arrays: list[Any], kind: Any) -> list[Any]:
    """The objects that these arrays keep alive; ``kind`` is their `array_class`. Runs no code of subclasses.

    Fields of objects in structured arrays are left out.
    """
    found = [base for array in arrays if (base := kind.base.__get__(array)) is not None]
    for array in arrays:
        if kind.dtype.__get__(array).kind == "O" and kind.base.__get__(array) is None:
            found += kind.tolist(kind.reshape(array, -1))
    return found
