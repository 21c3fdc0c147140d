"""Answers of API servers, and the places in which two of them differ."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from tests.in_airflow.api_requests import NOBODY, Request
from tests.in_airflow.support import fetch
from tests.support.patience import PATIENCE

BASE = b"http://the-server"
"""The placeholder of a server's own address in its answers."""
MASKED = "(varies)"


@dataclass(frozen=True)
class Answer:
    """An answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Sorted, without the date."""
    body: bytes

    @property
    def parsed(self) -> dict[str, Any]:
        """As JSON; a stream of lines is a list, other content a text."""
        return {"status": self.status, "headers": dict(self.headers), "body": _parse(self.body)}


def _parse(body: bytes) -> Any:
    text = body.decode(errors="backslashreplace")
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return text


class Client:
    """Asks one server, one question after the other over one connection. Not thread-safe."""

    def __init__(self, base: str, tokens: Mapping[str, str]) -> None:
        self._base = base.encode()
        self._connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=PATIENCE)
        self._token = json.loads(fetch(f"{base}/auth/token"))["access_token"]
        self._tokens = tokens

    def ask(self, request: Request) -> Answer:
        """The server's answer."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if request.ti_id != NOBODY:
            token = self._tokens[request.ti_id] if request.ti_id else self._token
            headers["Authorization"] = f"Bearer {token}"
        response = self._send(request, headers)
        found = sorted(
            (name.lower(), value.replace(self._base.decode(), BASE.decode())) for name, value in response.getheaders()
        )
        body = response.read().replace(self._base, BASE)
        return Answer(response.status, tuple(each for each in found if each[0] not in ("date", "content-length")), body)

    def _send(self, request: Request, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Once more over a new connection, if the server hung up: it does that with connections that were idle."""
        try:
            self._connection.request(request.method, request.target, request.body, headers)
            return self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            self._connection.close()
        self._connection.request(request.method, request.target, request.body, headers)
        return self._connection.getresponse()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def ask_all(base: str, tokens: Mapping[str, str], requests: Sequence[Request]) -> dict[Request, Answer]:
    """One after the other."""
    client = Client(base, tokens)
    try:
        return {request: client.ask(request) for request in requests}
    finally:
        client.close()


def ask_at_once(
    base: str, tokens: Mapping[str, str], requests: Iterable[Request], clients: int
) -> dict[Request, Answer]:
    """By several clients, each of which takes the next request that no other has taken."""
    pending: SimpleQueue[Request] = SimpleQueue()
    for request in requests:
        pending.put(request)

    def work() -> dict[Request, Answer]:
        client, found = Client(base, tokens), {}
        try:
            while True:
                request = pending.get_nowait()
                found[request] = client.ask(request)
        except Empty:
            return found
        finally:
            client.close()

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(work) for _ in range(clients)]
        return {request: answer for future in futures for request, answer in future.result().items()}


# ---- where answers differ ----


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """The places at which two parsed answers differ: ``body.dags[].last_parsed``; order counts everywhere."""
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        for name in one:
            yield from differences(one[name], other[name], f"{where}.{name}" if where else name)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for left, right in zip(one, other, strict=True):
            yield from differences(left, right, f"{where}[]")
    elif type(one) is not type(other) or one != other:
        yield where


def masked(parsed: Any, places: frozenset[str], where: str = "") -> Any:
    """A parsed answer, without what it says at these places."""
    if where in places:
        return MASKED
    if isinstance(parsed, dict):
        return {name: masked(value, places, f"{where}.{name}" if where else name) for name, value in parsed.items()}
    if isinstance(parsed, list):
        return [masked(value, places, f"{where}[]") for value in parsed]
    return parsed


def varying(passes: Sequence[Mapping[Request, Answer]]) -> dict[str, frozenset[str]]:
    """By route the places at which the answers to one request differ between these passes over all requests."""
    found: dict[str, set[str]] = {}
    first, *others = passes
    for request, answer in first.items():
        for other in others:
            if other[request] != answer:
                places = differences(answer.parsed, other[request].parsed)
                found.setdefault(request.route, set()).update(places)
    return {route: frozenset(places) for route, places in found.items() if places}


def unlike(
    expected: Mapping[Request, Answer], found: Mapping[Request, Answer], places: Mapping[str, frozenset[str]]
) -> list[str]:
    """The differences from the expected answers, except at variable places; byte for byte where no place varies."""
    wrong = []
    for request, theirs in found.items():
        answer = expected[request]
        if theirs == answer:
            continue
        exempt = places.get(request.route, frozenset())
        one, other = masked(answer.parsed, exempt), masked(theirs.parsed, exempt)
        differ = list(differences(one, other)) or ([] if exempt else ["bytes"])
        if differ:
            wrong.append(f"{request}\n    at {', '.join(dict.fromkeys(differ))}\n    {_excerpt(one, other)}")
    return wrong


def _excerpt(one: Any, other: Any) -> str:
    left, right = json.dumps(one), json.dumps(other)
    at = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    begin = max(0, at - 60)
    return f"stock ...{left[begin : at + 100]}\n    ours  ...{right[begin : at + 100]}"
