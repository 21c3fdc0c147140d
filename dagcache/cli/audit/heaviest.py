"""The heaviest DAGs of a metadata database, by the length of their newest serialised versions."""

from __future__ import annotations

from itertools import islice
from typing import Any

from dagcache.cli.shared.failure import InputError
from dagcache.database.loader import SerializedDagLoader, VersionRow
from dagcache.errors import LoadError

_BATCH = 500


def heaviest(engine: Any, count: int) -> list[VersionRow]:
    """The newest versions of the ``count`` heaviest DAGs, the heaviest first.

    Raises:
        InputError: the database cannot be read, or has no serialised DAGs.

    """
    found: list[VersionRow] = []
    problem = ""
    try:
        with SerializedDagLoader(engine) as loader, loader.database.load_errors():
            newest: dict[str, VersionRow] = {}
            for row in loader.versions(sizes=False):
                known = newest.get(row.dag_id)
                if row.dag_hash is not None and (known is None or row.version_number > known.version_number):
                    newest[row.dag_id] = row
            ids = iter([row.id for row in newest.values()])
            while batch := list(islice(ids, _BATCH)):
                found += loader.sizes(batch).values()
    except LoadError as error:
        problem = str(error)
    if problem:
        raise InputError(problem)  # outside of the clause above: --debug would show the chained error
    if not found:
        raise InputError("expected serialised DAGs in the database, found none")
    return sorted(found, key=lambda row: (-row.payload_bytes, row.dag_id))[:count]
