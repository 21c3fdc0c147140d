"""Redaction of credentials in URLs and in texts that may quote them.

A URL is shown without its password, query and fragment; an ``http`` URL also without its user name. A URL with
ambiguous parts is refused, because a part of its password could be read as the host, the path or the database.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, quote_plus, unquote, unquote_plus, urlsplit

MASK = "***"

AMBIGUOUS = "more than one @, or an @ after a / ? or #; in a password, @ is written %40, / %2F, ? %3F and # %23"
"""The rule that `is_ambiguous` checks, for error messages."""

_AUTHORITY = re.compile(r"[^/?#]*")
_PASSWORD = re.compile(r"://[^/\s]*?:([^\s]*)@")
_PASSWORD_WITHOUT_SCHEME = re.compile(r":([^\s]*)@")
# A lookahead, so that matches may overlap: a ; in a password begins what looks like a parameter up to the next one.
_PARAMETER = re.compile(r"[?&;\s](?=([^=&;\s?]+)=([^&;\s]+))")
_SECRET_NAME = re.compile("pass|pwd|secret|token|key|cred", re.IGNORECASE)
_URL_WITH_USER = re.compile(r"\S+://\S*@\S*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


def is_secret_name(name: str) -> bool:
    """Whether a parameter of this name is likely to hold a secret: ``sslpassword``, ``access_token``."""
    return _SECRET_NAME.search(name) is not None


def is_ambiguous(url: str) -> bool:
    """Whether parsers may disagree on where the password of a URL ends: see `AMBIGUOUS`.

    RFC 3986 ends the user information at the first ``/``, ``?`` or ``#``; other parsers end it at the last ``@``.
    """
    rest = url.partition("://")[2]
    authority = _AUTHORITY.match(rest)
    assert authority is not None
    return rest.count("@") > 1 or "@" in rest[authority.end() :]


def split_http_url(url: str) -> SplitResult:
    """The parts of an ``http://`` or ``https://`` URL, credentials included.

    Raises:
        ValueError: the URL is invalid or ambiguous. The message shows no part of it.

    """
    parts = urlsplit("")
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or _UNSAFE.search(url):
        raise ValueError("not an http:// or https:// URL with a host and, after a colon, a port")
    if is_ambiguous(url):
        raise ValueError(f"not an http:// or https:// URL that is safe to show: it has {AMBIGUOUS}")
    return parts


def public_url(url: str) -> SplitResult:
    """The scheme, host, port and path of an ``http://`` or ``https://`` URL; the other parts are empty.

    Raises:
        ValueError: the URL is invalid or ambiguous. The message shows no part of it.

    """
    parts = split_http_url(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")


def shown_url(url: str) -> str:
    """The `public_url` as text, for output and logs; ``?...`` stands for a query.

    Raises:
        ValueError: the URL is invalid or ambiguous. The message shows no part of it.

    """
    query = "?..." if split_http_url(url).query else ""
    return f"{public_url(url).geturl()}{query}"


class Secrets:
    """A set of secrets to mask in texts. Not thread-safe while secrets are added."""

    def __init__(self) -> None:
        self._spellings: set[str] = set()

    def add(self, secret: str) -> None:
        """Mask a secret as it stands, percent-decoded and percent-encoded; upper and lower case alike."""
        for text in (secret, unquote(secret), unquote_plus(secret)):
            encoded = (quote(text, safe, errors="replace") for safe in ("/", ""))
            self._spellings.update((text, *encoded, quote_plus(text, errors="replace")))
        self._spellings.discard("")

    def add_url(self, url: str) -> None:
        """Mask the passwords of a connection URL, and their parts: a driver may take one for the host."""
        password = _PASSWORD.search(url) or _PASSWORD_WITHOUT_SCHEME.search(url)
        if password:
            self.add(password[1])
            for part in re.split("[@:/?#]", password[1]):
                self.add(part)
        for name, value in _PARAMETER.findall(url):
            if is_secret_name(name):
                self.add(value)

    def mask(self, text: str) -> str:
        """The text with ``***`` for each secret and for each URL with a user name."""
        text = _URL_WITH_USER.sub(MASK, text)
        if not self._spellings:
            return text
        longest_first = sorted(self._spellings, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), MASK, text, flags=re.IGNORECASE)
