"""Redaction: no password, query or fragment is shown, with any characters."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from dagcache.database.connection import MetadataDatabase
from dagcache.errors import LoadError
from dagcache.redaction import Secrets, is_ambiguous, shown_url

MARKER = "s3cr3t"
_DELIMITERS = [
    "@",
    "/",
    ":",
    "?",
    "#",
    "%",
    "%40",
    "%2F",
    "[",
    "]",
    "&",
    "=",
    "+",
    ";",
    "\\",
    "//",
    "12",
    "é",
    "\u2100",
]

passwords = st.lists(
    st.one_of(st.just(MARKER), st.sampled_from(_DELIMITERS), st.text(max_size=3)), min_size=1, max_size=8
).map(lambda parts: MARKER + "".join(parts))
"""Passwords with a marker in many of their parts, written into a URL without any quoting."""
late_passwords = st.tuples(st.sampled_from(["1", "12", "8080"]), st.sampled_from("@/?#"), passwords).map("".join)
"""Passwords that begin as a port does: a parser may take them for one."""


def shown_or_refused(url: str, show: Callable[[str], object] = shown_url) -> str:
    """How a URL is shown, or the message that refuses it."""
    try:
        return str(show(url))
    except (ValueError, LoadError) as error:
        return str(error)


@given(password=passwords | late_passwords, path=st.sampled_from(["", "/", "/metrics", "/a/b"]))
def test_a_password_in_a_url_is_not_shown_in_part(password: str, path: str) -> None:
    """Unquoted."""
    assert MARKER not in shown_or_refused(f"https://user:{password}@host:9095{path}")


@given(password=passwords | late_passwords)
def test_a_quoted_password_is_accepted_and_not_shown(password: str) -> None:
    """In the only spelling that all parsers read alike."""
    password = password.encode(errors="replace").decode()
    shown = shown_url(f"https://user:{quote(password, safe='')}@host:9095/metrics?a=b")
    assert shown == "https://host:9095/metrics?..."


@given(user=passwords, secret=passwords)
def test_a_user_name_a_query_and_a_fragment_are_not_shown(user: str, secret: str) -> None:
    """They may hold a token."""
    for url in (
        f"http://{user}@host/m",
        f"http://host/m?{secret}",
        f"http://host/m#{secret}",
        f"http://host?t={secret}",
    ):
        assert MARKER not in shown_or_refused(url)


@given(secret=passwords)
def test_a_refusal_shows_no_part_of_the_url(secret: str) -> None:
    for url in (
        secret,
        f"ftp://{secret}",
        f"http:/{secret}",
        f"http://[{secret}",
        "http://h:" + secret.replace("@", ""),
    ):
        shown = shown_or_refused(url)
        assert MARKER not in shown
        assert shown.startswith("not an http:// or https:// URL")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host", "http://host"),
        ("https://user:p@[::1]:9095/a/b;c?d=e#f", "https://[::1]:9095/a/b;c?..."),
        ("HTTP://user@host/", "http://host/"),
    ],
)
def test_the_scheme_the_host_the_port_and_the_path_are_shown(url: str, shown: str) -> None:
    """The query by its presence."""
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://user:p@host/path?query", False),
        ("http://host/path", False),
        ("postgresql:///db?host=/tmp", False),
        ("http://user:p@ss@host", True),
        ("http://user:12/ss@host", True),
        ("http://user:12?ss@host", True),
        ("http://user:12#ss@host", True),
        ("http://user:12@3/ss@host", True),
    ],
)
def test_a_url_is_ambiguous_if_parsers_may_disagree_on_the_password(url: str, expected: bool) -> None:
    """One takes it to the first delimiter, another one to the last @."""
    assert is_ambiguous(url) is expected


@given(password=passwords | late_passwords)
def test_a_database_is_named_without_its_password(password: str) -> None:
    """Or its URL is refused without it."""
    for url in (
        f"postgresql+psycopg2://user:{password}@host:5432/db?sslpassword={MARKER}",
        f"postgresql+psycopg2://host/db?user=a&password={password}",
    ):
        assert MARKER not in shown_or_refused(url, MetadataDatabase)


@given(password=passwords | late_passwords)
@example(password="1@s3cr3t/")
def test_an_engine_is_named_without_its_password(password: str) -> None:
    """SQLAlchemy has parsed its URL before any check, and may have dropped text after a raw ? or [: not tested."""
    password = password.replace("?", "").replace("[", "")
    try:
        url = sa.make_url(f"sqlite+pysqlite://user:{password}@host/db").set(drivername="postgresql+psycopg2")
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ValueError):
        return
    assert MARKER not in repr(MetadataDatabase(engine))


@given(secret=passwords, around=st.text(max_size=5))
def test_a_secret_is_masked_in_each_of_its_spellings(secret: str, around: str) -> None:
    """Drivers quote URLs and decoded parts of them, some in lower case."""
    secret = secret.encode(errors="replace").decode()
    secrets = Secrets()
    secrets.add(secret)
    for spelling in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret)):
        for written in (spelling, spelling.lower()):
            assert MARKER not in secrets.mask(f"{around} {written} {around}")


@example(password="s3cr3t;s3cr3t=")
@given(password=passwords)
def test_the_passwords_of_a_url_are_masked_and_so_are_their_parts(password: str) -> None:
    """A driver that splits the URL elsewhere quotes a part as the host."""
    password = "".join(password.split())
    secrets = Secrets()
    secrets.add_url(f"postgresql://user:{password}@host/db?sslpassword=t0k3n")
    for part in password.replace("@", "/").replace(":", "/").replace("?", "/").replace("#", "/").split("/"):
        assert MARKER not in secrets.mask(f'could not translate host name "{part}" to address')
    assert "t0k3n" not in secrets.mask("sslpassword is t0k3n")


def test_a_url_with_a_user_is_masked_as_a_whole() -> None:
    """Also one that was not added."""
    assert Secrets().mask("cannot connect to mysql://me:pw@host/db, sorry") == "cannot connect to *** sorry"


def test_an_empty_secret_masks_nothing() -> None:
    """An option that is set to nothing."""
    secrets = Secrets()
    secrets.add("")
    assert secrets.mask("a text") == "a text"


def test_a_text_of_undecodable_bytes_can_be_masked() -> None:
    """An environment variable may hold any bytes."""
    secrets = Secrets()
    secrets.add_url("mysql://user:\udcff\ud800pw@host/db")
    assert secrets.mask("bad \udcff\ud800pw") == "bad ***"
