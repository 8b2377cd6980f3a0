"""Requests to a running hub: over its Unix socket, or to a URL with a token. Errors become failures."""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli import show
from hub.cli.failure import AS_WHOM, WHERE, Exit, Failure
from hub.cli.options import TOKEN_FILE, URL, USER, state_folder

if TYPE_CHECKING:
    import httpx2  # imported with the first request, so that --help stays fast

SOCKET = "hub.sock"
ADMIN_SOCKET: Final = Path("/run/hub-admin.sock")  # as in hub-admin.socket
TOKEN_VARIABLE: Final = "HUB_TOKEN_FILE"
_PAGE: Final = 1_000  # items of one request
_TIMEOUT_S = 30.0
_EXIT_OF_REASON = {"bad_settings": Exit.SETTINGS, "bad_params": Exit.USAGE}
_EXIT_CODES = {401: Exit.NOT_PERMITTED, 403: Exit.NOT_PERMITTED, 429: Exit.TRY_AGAIN, 503: Exit.TRY_AGAIN}


class Talk:
    """Client of a hub. Every method raises ``Failure`` on an error response."""

    def __init__(self, client: "httpx2.Client") -> None:
        self._client = client

    def get(self, path: str, **params: str | float | Sequence[str] | None) -> Any:
        """Return the JSON body of the response. Parameters that are None are left out."""
        query = {name: value for name, value in params.items() if value is not None}
        return self._body(self._client.get(path, params=query))

    def get_all(self, path: str, noun: str, **params: str | int | None) -> dict[str, Any]:
        """Return all items of a list with several pages: ``{noun: [...]}``."""
        items: list[Any] = []
        cursor = None
        while True:
            page = self.get(path, limit=_PAGE, cursor=cursor, **params)
            items += page[noun]
            cursor = page["next_cursor"]
            if cursor is None:
                return {noun: items}

    def patch(self, path: str, body: object, *, headers: Mapping[str, str] | None = None) -> Any:
        """Send a PATCH request and return the JSON body of the response."""
        return self._body(self._client.patch(path, json=body, headers=headers))

    def post(self, path: str, body: object = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """Send a POST request and return the JSON body of the response."""
        return self._body(self._client.post(path, json=body, headers=headers))

    def put(self, path: str, body: object, *, headers: Mapping[str, str] | None = None) -> Any:
        """Send a PUT request and return the JSON body of the response."""
        return self._body(self._client.put(path, json=body, headers=headers))

    def send(self, verb: str, path: str, query: Mapping[str, Any], body: object = None) -> Any:
        """Send a request and return the JSON body of the response."""
        timeout = _TIMEOUT_S + query.get("wait_s", 0)
        return self._body(self._client.request(verb, path, params=query, json=body, timeout=timeout))

    def delete(self, path: str) -> Any:
        """Send a DELETE request and return the JSON body of the response."""
        return self._body(self._client.delete(path))

    def text(self, path: str) -> str:
        """Return the text of a response that is not JSON."""
        answer = self._client.get(path)
        self._check(answer)
        return answer.text

    def follow(self, path: str, **params: str | int | None) -> Iterator[Any]:
        """Yield the JSON data of each server-sent event until the hub ends the stream."""
        query = {name: value for name, value in params.items() if value is not None}
        with self._client.stream("GET", path, params=query, timeout=None) as answer:
            if answer.is_error:
                answer.read()
            self._check(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _body(self, answer: "httpx2.Response") -> Any:
        self._check(answer)
        return answer.json()

    def _check(self, answer: "httpx2.Response") -> None:
        if not answer.is_error:
            return
        kind = answer.headers.get("content-type", "")
        problem = answer.json() if kind == "application/problem+json" else {}
        fallback = Exit.UNAVAILABLE if answer.status_code >= 500 else Exit.FAILED
        fallback = _EXIT_OF_REASON.get(problem.get("code", ""), fallback)
        elsewhere = f"is this the hub's port for operators? {WHERE}" if answer.is_client_error else ""
        raise Failure(
            problem.get("detail") or f"the hub responded with status {answer.status_code}",
            _EXIT_CODES.get(answer.status_code, fallback),
            next_step=problem.get("hint") or elsewhere,
        )


@contextmanager
def talk(state: Path) -> Iterator[Talk]:
    """Open a client of the hub that uses the state folder *state*, or of the hub at ``--url``.

    Raises:
        Failure: no hub is running (3), access is denied (77), or the connection was lost (75).
    """
    import httpx2

    from hub.cli.unreachable import failure_of

    meta = click.get_current_context().meta
    url: str | None = meta.get(URL)
    client = _to_this_machine(state) if url is None else _to(url, meta.get(TOKEN_FILE))
    if USER in meta:
        client.params = client.params.set("user", meta[USER])
    with client:
        try:
            yield Talk(client)
        except httpx2.TransportError as error:
            if url is not None:
                raise failure_of(url, error) from error
            raise Failure(
                f"the connection to the hub was lost: {error or type(error).__name__}",
                Exit.TRY_AGAIN,
                next_step="is it still running? hub status",
            ) from error


def _to_this_machine(state: Path) -> "httpx2.Client":
    import httpx2

    path = state / SOCKET
    if state == state_folder() and _is_missing(path) and not _is_missing(ADMIN_SOCKET):
        path = ADMIN_SOCKET  # no hub is named: use the service of this machine
    _knock(path)
    # No TLS over a Unix socket: loading certificates would cost each command 40 ms.
    transport = httpx2.HTTPTransport(uds=str(path), verify=False)
    return httpx2.Client(transport=transport, base_url="http://hub", timeout=_TIMEOUT_S)


def _is_missing(path: Path) -> bool:
    """Return True if *path* does not exist. A missing permission is reported by ``_knock``."""
    try:
        return not path.exists()
    except PermissionError:
        return False


def _to(url: str, token_file: Path | None) -> "httpx2.Client":
    import ssl

    import httpx2

    return httpx2.Client(
        base_url=url,
        headers={"authorization": f"Bearer {_token(url, token_file)}"},
        verify=ssl.create_default_context(),
        trust_env=False,  # no proxy of the environment may read the token
        timeout=_TIMEOUT_S,
    )


def _token(url: str, file: Path | None) -> str:
    """Return the operator's token for the hub at *url*.

    The token is never an argument, because other users of a machine can read those.

    Raises:
        Failure: there is no token, it is mistyped, or *url* would send it without TLS.
    """
    import httpx2

    from hub import tokens

    parts = httpx2.URL(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.host)):
        raise Failure(
            f"{url} does not use TLS, so others could read the token",
            Exit.USAGE,
            next_step="use https://..., or http://127.0.0.1:PORT on the hub's own machine",
        )
    named = file or os.environ.get(TOKEN_VARIABLE)
    if named is None:
        raise Failure(
            "a hub at a URL needs a token",
            Exit.USAGE,
            next_step="create one on its machine: hub token create --role viewer --name NAME > FILE;"
            " then --token-file FILE",
        )
    path = Path(named)
    try:
        token = path.read_text("utf-8").strip()
        is_open = bool(path.stat().st_mode & 0o077)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {path}: {error}", Exit.NOT_PERMITTED) from error
    if wrong := tokens.check(token, tokens.TokenKind.OPERATOR):
        raise Failure(f"{path} has no valid operator token: {wrong}", Exit.NOT_PERMITTED)
    if is_open:
        show.report(f"warning: others may read {path}; chmod 600 {path}")
    return token


def _is_here(host: str) -> bool:
    """Return True if *host* is this machine, so that no other machine can read the traffic."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # any other name may be of another machine, also 127.0.0.1.example


def _knock(path: Path) -> None:
    """Check that a hub listens on *path*. Errors of a plain socket have a reason, unlike the library's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        try:
            knocking.connect(str(path))
        except PermissionError as error:
            raise Failure(
                f"{path} belongs to another user",
                Exit.NOT_PERMITTED,
                next_step=AS_WHOM,
            ) from error
        except OSError as error:
            raise Failure(
                f"no hub is running on {path.parent}",
                Exit.NOT_RUNNING,
                next_step=f"start it: hub serve --state {path.parent}",
            ) from error
