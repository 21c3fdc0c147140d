"""The content of a warm store on disk, for people: what is there, and its removal. No key is needed."""

from __future__ import annotations

from pathlib import Path

from dagcache.warm_start import generation
from dagcache.warm_start.folder import Folder
from dagcache.warm_start.generation import Generation, is_name, is_own_file


class ForeignError(Exception):
    """A folder with files that are not a warm store's. The message names the path and one of them."""


def inventory(path: Path) -> list[Generation]:
    """The generations, the one that was written last first.

    Raises:
        FileNotFoundError: there is no such folder.
        UnsafeError: it, or a file in it, belongs to another user, is open to other users, or is a link.
        OSError: it cannot be read.

    """
    store = Folder.at(path, create=False)
    found = [generation.observe(store, name) for name in store.names() if is_name(name)]
    return sorted(found, key=lambda each: each.written_at, reverse=True)


def clear(path: Path) -> list[Generation]:
    """Remove all generations, also those in use: their processes begin with an empty one. Returns what was removed.

    Raises:
        ForeignError: the folder has other content; nothing was removed.
        FileNotFoundError: there is no such folder.
        UnsafeError: as for `inventory`; nothing was removed.
        OSError: a file cannot be removed.

    """
    store = Folder.at(path, create=False)
    _refuse_foreign(store)
    found = inventory(path)
    for each in found:
        generation.remove(store, each.name)
    return found


def _refuse_foreign(store: Folder) -> None:
    for name in store.names():
        if not is_name(name):
            raise ForeignError(f"{store.path} is not the folder of a warm store: it has {name!r}")
        for each in store.folder(name).names():
            if not is_own_file(each):
                raise ForeignError(f"{store.path} is not the folder of a warm store: {name} has {each!r}")
