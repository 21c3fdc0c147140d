"""The whole terminal of `dagcache top`: taken and given back, at every end of the view."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from dagcache.cli.main import main
from dagcache.cli.shared.live_view import Line, View
from dagcache.cli.top.full_screen import FullScreen, ended_in_order, suspended_in_order
from dagcache.cli.top.keys import Keys
from tests.support.patience import PATIENCE
from tests.unit.cli.test_top import cache, nobody, server, url_of  # noqa: F401 - fixtures

ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"
HIDDEN, SHOWN = b"\x1b[?25l", b"\x1b[?25h"


class Terminal:
    """A pseudo-terminal of 80 columns by 24 lines."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.drawn = b""

    def read_until(self, text: bytes, count: int = 1) -> None:
        """Wait for a text."""
        while self.drawn.count(text) < count:
            assert select.select([self.ours], [], [], PATIENCE)[0], self.drawn
            self.drawn += os.read(self.ours, 65536)

    def settings(self) -> list[Any]:
        """The modes of its lines."""
        return termios.tcgetattr(self.theirs)

    def close(self) -> None:
        """Both ends."""
        for descriptor in (self.ours, self.theirs):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """One that is closed afterwards."""
    made = Terminal()
    yield made
    made.close()


def make_screen(monkeypatch: pytest.MonkeyPatch) -> FullScreen:
    """A screen whose terminal is the captured stdout, at a certain time."""
    for name, text in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "60"), ("LINES", "12")):
        monkeypatch.setenv(name, text)
    return FullScreen(now=lambda: datetime(2026, 5, 4, 13, 2, 1, tzinfo=timezone.utc))


def test_the_picture_fills_the_alternate_screen_with_the_time_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In colours; the screen of the shell comes back, and nothing is printed on it."""
    screen = make_screen(monkeypatch)
    assert (screen.columns, screen.lines) == (60, 11)
    for kind in ("title", "good", "info", "warning", "bad", "dim", ""):
        screen.draw([Line(f"[{kind}] is not markup", kind)] * 20)
    screen.close()
    screen.close()
    told = capsys.readouterr().out.encode()
    assert told.count(b"[] is not markup") == told.count(b"[good] is not markup") == 11
    assert b"Ctrl-C: quit" + b" " * 40 + b"13:02:01" in told
    assert told.startswith(ENTERED)
    assert told.count(ENTERED) == told.count(LEFT) == 1
    assert b"markup" not in told.partition(LEFT)[2]
    assert SHOWN in told


@pytest.mark.parametrize("key", ["q", "Q"])
def test_a_key_ends_the_wait_and_others_do_not(key: str, terminal: Terminal) -> None:
    """Without Enter, and without an echo. Arrows send several bytes."""
    with os.fdopen(terminal.theirs, "r") as stdin:
        before = terminal.settings()
        keys = Keys(stdin)
        keys.open()
        assert keys.is_open
        os.write(terminal.ours, b"x \x1b[A\n")
        assert not keys.wait_for_quit(0.0)
        assert not keys.wait_for_quit(0.0)
        os.write(terminal.ours, key.encode())
        assert keys.wait_for_quit(PATIENCE)
        keys.close()
        assert (terminal.settings(), keys.is_open) == (before, False)
        assert not select.select([terminal.ours], [], [], 0)[0]


def test_a_terminal_that_goes_away_ends_the_wait(terminal: Terminal) -> None:
    """Reading would fail without end."""
    with os.fdopen(terminal.theirs, "r") as stdin:
        keys = Keys(stdin)
        keys.open()
        os.close(terminal.ours)
        assert keys.wait_for_quit(PATIENCE)
        keys.close()


@pytest.mark.parametrize("stdin", [None, io.StringIO("q")], ids=["closed", "not a file"])
def test_without_a_terminal_no_keys_are_read(stdin: Any) -> None:
    keys = Keys(stdin)
    keys.open()
    assert not keys.is_open
    keys.close()


def test_a_pipe_as_stdin_is_not_read(tmp_path: Path) -> None:
    """It belongs to the script around the command."""
    file = tmp_path / "stdin"
    file.write_text("q")
    with file.open() as stdin:
        keys = Keys(stdin)
        keys.open()
        assert (keys.is_open, stdin.read()) == (False, "q")


def test_without_keys_the_view_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    screen = make_screen(monkeypatch)
    assert not screen.wait(2.0, waited.append)
    screen.close()
    assert waited == [2.0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_process_ends_the_view_first(number: signal.Signals) -> None:
    """With the exit code that a shell reports; afterwards the signal is as before."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended, ended_in_order():
            signal.raise_signal(number)
        assert ended.value.code == 128 + number
        assert signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)
        with ended_in_order():
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_plain_lines_have_no_screen_to_suspend() -> None:
    before = signal.getsignal(signal.SIGTSTP)
    with suspended_in_order(View()):
        assert signal.getsignal(signal.SIGTSTP) is before


def test_without_rich_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or to use what needs none."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["top", "--url", nobody()]) == 2
    assert "pip install rich" in capsys.readouterr().err


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_without_a_cursor_gets_plain_lines(
    term: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["top", "--interval", "0.1", "--url", nobody()]) == 1
    assert "\x1b" not in capsys.readouterr().out


_INTERRUPTIBLE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without it
os.setpgid(0, 0)  # as a shell does: without its parent in another group, the kernel does not suspend it
from dagcache.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@contextlib.contextmanager
def running(terminal: Terminal, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """The real command on the terminal, with three pictures drawn."""
    command = [sys.executable, "-c", _INTERRUPTIBLE, "top", "--interval", "0.1", "--url", url]
    env = {**os.environ, "TERM": "xterm"}
    ends = terminal.theirs
    with subprocess.Popen(command, stdin=ends, stdout=ends, stderr=ends, env=env) as process:
        try:
            terminal.read_until(b"verdict", 3)
            yield process
        finally:
            process.kill()  # if it has not ended yet: that is the fault to find, so do not wait forever


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_a_signal_gives_the_terminal_back(number: signal.Signals, code: int, terminal: Terminal, request: Any) -> None:
    """As it was, with the cursor, and with nothing printed on the shell's screen."""
    before = terminal.settings()
    with running(terminal, url_of(request.getfixturevalue("server"))) as process:
        assert terminal.settings() != before
        process.send_signal(number)
        terminal.read_until(LEFT)
        assert process.wait(PATIENCE) == code
    assert terminal.settings() == before
    while select.select([terminal.ours], [], [], 0)[0]:
        terminal.drawn += os.read(terminal.ours, 65536)
    assert terminal.drawn.startswith(ENTERED)
    assert terminal.drawn.count(ENTERED) == terminal.drawn.count(LEFT) == 1
    assert terminal.drawn.rindex(SHOWN) > terminal.drawn.rindex(b"verdict")
    assert b"Traceback" not in terminal.drawn
    assert terminal.drawn.partition(LEFT)[2].strip() in (b"", SHOWN)


def test_ctrl_z_shows_the_shells_screen_and_q_ends_the_view(terminal: Terminal, request: Any) -> None:
    """Continued, the view is there again."""
    before = terminal.settings()
    with running(terminal, url_of(request.getfixturevalue("server"))) as process:
        process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert terminal.settings() == before
        terminal.read_until(LEFT)
        process.send_signal(signal.SIGCONT)
        terminal.read_until(ENTERED, 2)
        terminal.read_until(b"verdict", terminal.drawn.count(b"verdict") + 1)
        os.write(terminal.ours, b"q")
        terminal.read_until(LEFT, 2)
        assert process.wait(PATIENCE) == 0
    assert terminal.settings() == before


def test_a_terminal_that_cannot_be_read_ends_the_wait(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a hang-up."""

    def fail(*_: object) -> bytes:
        raise OSError("Input/output error")

    with os.fdopen(terminal.theirs, "r") as stdin:
        keys = Keys(stdin)
        keys.open()
        os.write(terminal.ours, b"x\n")
        with monkeypatch.context() as patched:
            patched.setattr(os, "read", fail)
            assert keys.wait_for_quit(PATIENCE)
        keys.close()


def test_q_ends_the_view_of_a_screen(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the next picture is due."""
    with os.fdopen(terminal.theirs, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        screen = make_screen(monkeypatch)
        os.write(terminal.ours, b"q")
        assert screen.wait(PATIENCE, lambda _seconds: pytest.fail("it does not sleep"))
        screen.draw([Line("a line")])
        screen.close()


def test_a_screen_that_cannot_be_taken_gives_the_keys_back(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal would not echo any more."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with os.fdopen(terminal.theirs, "r") as stdin:
        before = terminal.settings()
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr("rich.live.Live.start", fail)
        with pytest.raises(OSError, match="no space left"):
            make_screen(monkeypatch)
        assert terminal.settings() == before


def test_a_suspended_screen_is_left_and_taken_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the signal's own effect between the two."""
    screen = make_screen(monkeypatch)
    seen: list[tuple[int, object, str]] = []

    def stop(_pid: int, number: int) -> None:
        seen.append((number, signal.getsignal(number), capsys.readouterr().out))

    monkeypatch.setattr(os, "kill", stop)
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    try:
        with suspended_in_order(screen):
            signal.raise_signal(signal.SIGTSTP)
            signal.raise_signal(signal.SIGTSTP)
    finally:
        signal.signal(signal.SIGTSTP, before)
    screen.close()
    assert [each[:2] for each in seen] == [(signal.SIGTSTP, signal.SIG_DFL)] * 2
    for _, _, told in seen:
        assert told.encode().rindex(LEFT) > told.encode().rindex(ENTERED)
    assert capsys.readouterr().out.encode().startswith(ENTERED)
