"""Talking with the running hub: HTTP over its Unix socket; refusals become failures."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from hub.cli.failure import Exit, Failure

SOCKET = "hub.sock"
_TIMEOUT_S = 30.0
_EXIT_CODES = {401: Exit.NOT_PERMITTED, 403: Exit.NOT_PERMITTED, 429: Exit.TRY_AGAIN, 503: Exit.TRY_AGAIN}


class Talk:
    """One conversation with a hub. Every method raises ``Failure`` when the hub refuses or is gone."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def get(self, path: str, **params: str | int | None) -> Any:
        """The JSON body of an answer. Parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._body(self._client.get(path, params=given))

    def post(self, path: str, body: object = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON body of the answer to a change."""
        return self._body(self._client.post(path, json=body, headers=headers))

    def delete(self, path: str) -> Any:
        """The JSON body of the answer to a removal."""
        return self._body(self._client.delete(path))

    def follow(self, path: str) -> Iterator[Any]:
        """The JSON data of each server-sent event until the hub ends the stream."""
        with self._client.stream("GET", path, timeout=None) as answer:
            if answer.is_error:
                answer.read()
            self._check(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _body(self, answer: httpx2.Response) -> Any:
        self._check(answer)
        return answer.json()

    def _check(self, answer: httpx2.Response) -> None:
        if not answer.is_error:
            return
        kind = answer.headers.get("content-type", "")
        told = answer.json() if kind == "application/problem+json" else {}
        fallback = Exit.UNAVAILABLE if answer.status_code >= 500 else Exit.FAILED
        raise Failure(
            told.get("detail") or f"the hub answered {answer.status_code}",
            _EXIT_CODES.get(answer.status_code, fallback),
            next_step=told.get("hint", ""),
        )


@contextmanager
def talk(state: Path) -> Iterator[Talk]:
    """Talk with the hub that serves on the folder *state*.

    Raises:
        Failure: no hub is running there (3), it may not be asked (77), or it went away (75).
    """
    path = state / SOCKET
    _knock(path)
    transport = httpx2.HTTPTransport(uds=str(path))
    with httpx2.Client(transport=transport, base_url="http://hub", timeout=_TIMEOUT_S) as client:
        try:
            yield Talk(client)
        except httpx2.TransportError as error:
            raise Failure(
                f"the hub went away: {error or type(error).__name__}",
                Exit.TRY_AGAIN,
                next_step="is it still running? hub status",
            ) from error


def _knock(path: Path) -> None:
    """See whether a hub is there: the plain socket tells the reasons apart, the library's errors do not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        try:
            knocking.connect(str(path))
        except PermissionError as error:
            raise Failure(
                f"{path} belongs to another user",
                Exit.NOT_PERMITTED,
                next_step="run this as the hub's own user",
            ) from error
        except OSError as error:
            raise Failure(
                f"no hub is running on {path.parent}",
                Exit.NOT_RUNNING,
                next_step=f"start it: hub serve --state {path.parent}",
            ) from error
