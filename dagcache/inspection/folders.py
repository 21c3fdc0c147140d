"""Folders for sockets that only one user can enter: where they are, and whether they are safe."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path


def directory() -> Path:
    """The folder of this process's sockets: ``$XDG_RUNTIME_DIR/dagcache``, else ``dagcache-<uid>`` in ``/tmp``."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "dagcache"
    return _temporary()


def searched() -> set[Path]:
    """The private folders that may have sockets for this user: of all environments, and for root of all users."""
    folders = {directory(), _temporary()}
    if os.geteuid() == 0:
        folders.update(Path(tempfile.gettempdir()).glob("dagcache-*"))
        folders.update(Path("/run/user").glob("*/dagcache"))
    return {folder for folder in folders if _is_private(folder)}


def make_private(folder: Path) -> None:
    """Create a folder of mode 0700, or give that mode to a folder of this user.

    Raises:
        OSError: the folder cannot be created, or the path is a link or belongs to another user.

    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not a directory owned by this user")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"dagcache-{os.geteuid()}"


def _is_private(folder: Path) -> bool:
    """Whether this user owns a folder (root: any user) and other users cannot enter it."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    owned = os.geteuid() in (0, found.st_uid)
    return stat.S_ISDIR(found.st_mode) and owned and not found.st_mode & 0o077
