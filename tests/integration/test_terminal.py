"""`dagcache top` in a real terminal emulator, at two sizes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.unit.cli.test_top import cache, server, url_of  # noqa: F401 - fixtures

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
SHELLS = "the shell's own line"


class Terminal:
    """A terminal of tmux with a shell in it."""

    def __init__(self, socket: Path, columns: int, lines: int) -> None:
        self._socket = socket
        size = ["-x", str(columns), "-y", str(lines)]
        # Each has a server of its own, without the user's configuration.
        command = ["tmux", "-S", str(socket), "-f", "/dev/null", "new-session", "-d", *size, "env PS1='$ ' sh"]
        # Its server inherits the streams: a pipe would stay open.
        nothing = subprocess.DEVNULL
        subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, check=True, timeout=PATIENCE)

    def type(self, text: str, *keys: str) -> None:
        """Type a text, and press keys."""
        if text:
            self._tmux("send-keys", "-l", text)
        if keys:
            self._tmux("send-keys", *keys)

    def shown(self) -> list[str]:
        """The lines of the screen, without spaces at their ends."""
        return self._tmux("capture-pane", "-p").splitlines()

    def wait_for(self, what: str, happened: Callable[[list[str]], bool]) -> list[str]:
        """The screen, once it is as expected."""
        until = time.monotonic() + PATIENCE
        while not happened(shown := self.shown()):
            assert time.monotonic() < until, f"{what}: not shown:\n" + "\n".join(shown)
            time.sleep(0.05)
        return shown

    def close(self) -> None:
        """End it."""
        with suppress(subprocess.CalledProcessError):
            self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self._socket), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


@pytest.fixture(params=[(80, 24), (200, 50)], ids=lambda size: f"{size[0]}x{size[1]}")
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """One of each size."""
    made = Terminal(tmp_path / "tmux", *request.param)
    # The terminal shows what is typed before the prompt as well, and the output then follows the prompt on its line.
    made.wait_for("the prompt", lambda shown: shown[:1] == ["$"])
    yield made
    made.close()


def test_the_view_takes_the_screen_and_gives_it_back(terminal: Terminal, request: pytest.FixtureRequest) -> None:
    """It fits both sizes, with the verdict and the keys on it; `q` shows the shell's lines again."""
    terminal.type(f"echo {SHELLS!r}", "Enter")
    terminal.wait_for("the shell", lambda shown: SHELLS in shown)
    url = url_of(request.getfixturevalue("server"))
    terminal.type(f"{sys.executable} -m dagcache top --url {url} --interval 0.2", "Enter")
    view = terminal.wait_for("the view", lambda shown: any(line.startswith("q: quit") for line in shown))
    assert SHELLS not in view
    assert view[0].startswith("scheduler  http://")
    assert [line for line in view if line.startswith("verdict ")]
    assert [line for line in view if line.startswith("bytes ")]
    terminal.type("q")
    after = terminal.wait_for("the shell again", lambda shown: SHELLS in shown)
    assert not [line for line in after if line.startswith("verdict ")]
