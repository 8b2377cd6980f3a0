"""HTTP client of commands: socket or URL, token, node, exit codes by status, completion of names.

A shell completes names of the running hub with them.
"""

import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click
from click.shell_completion import CompletionItem

from hub.base.printable import shell_word
from hub.base.tls_faults import certificate_fault, certificate_fix
from hub.base.version import VERSION
from hub.cli import show
from hub.cli.errors import AS_WHOM, WHERE, CommandError, Exit
from hub.cli.options import (
    NODE,
    SETTINGS,
    TOKEN_FILE,
    URL,
    USER,
    default_state,
    hub_option,
    json_option,
    keys_of,
    secret_in,
    state_folder,
)
from hub.cli.waiting import waits_for

if TYPE_CHECKING:
    import httpx2  # imported with the first request, so that --help stays fast

SOCKET = "hub.sock"
ADMIN_SOCKET: Final = Path("/run/hub-admin.sock")  # as in hub-admin.socket
TOKEN_VARIABLE: Final = "HUB_TOKEN_FILE"
ASKED_NODE: Final = "hub-node"  # header of a request that a certain node answers
PAGE: Final = 1_000  # items of one request
_ASKED: Final = "hub.asked"  # key of ctx.meta: state folder of the hub that the command asked
_TIMEOUT_S = 30.0
NAMED: Final = ("agents", "boards", "connectors", "devices", "gateways", "templates", "users")
_UNKNOWN: Final = re.compile(r"there is no \w+ '([^']+)'")
FIELD_PREFIX: Final = "field_"  # of parameters of a request, as some have names of common options
_FIELD: Final = re.compile(r"\b(?:body|query|path)\.(?:\w+\[\d+\]\.)?(\w+)(?=:)")

# Of one response: the name of its schema, the response, and an exit code unless it is 0.
Responses = Iterator[tuple[str, Mapping[str, Any]] | tuple[str, Mapping[str, Any], Exit]]
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_EXIT_OF_REASON = {"bad_settings": Exit.SETTINGS, "bad_params": Exit.USAGE}
_EXIT_CODES = {401: Exit.NOT_PERMITTED, 403: Exit.NOT_PERMITTED, 429: Exit.TRY_AGAIN, 503: Exit.TRY_AGAIN}


OWN_ROUTES: Final = frozenset({"/v1/items/counts", "/v1/runs/counts", "/v1/sessions/current"})


def path_of(*parts: str) -> str:
    """Return the path of a resource: ``/v1/agents/notes/status`` for ``agents``, ``notes`` and ``status``."""
    return named_path("/".join(("/v1", *(quote(part, safe="") for part in parts))))


def named_path(path: str) -> str:
    """Return the path of a resource that a person names. Raises CommandError: it is that of another route."""
    if path in OWN_ROUTES:
        *_, noun, name = path.split("/")
        raise CommandError(f"none of the {noun} is called {name}", Exit.FAILED)
    return path


class HubClient:
    """Client of a hub. Every method raises ``CommandError`` on an error response."""

    def __init__(self, client: "httpx2.Client") -> None:
        self._client = client

    def get(self, path: str, /, **params: str | float | Sequence[str] | None) -> Any:
        """Return the JSON body of the response. Parameters that are None are left out."""
        return self.send("GET", path, {name: value for name, value in params.items() if value is not None})

    def pages(self, path: str, /, **params: str | int | None) -> Iterator[dict[str, Any]]:
        """Yield each page of a list."""
        cursor = None
        while True:
            page = self.get(path, **{"limit": PAGE, "cursor": cursor, **params})
            yield page
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def get_all(self, path: str, noun: str, /, **params: str | int | None) -> dict[str, Any]:
        """Return all items of a list with several pages: ``{noun: [...]}``."""
        return {noun: [item for page in self.pages(path, **params) for item in page[noun]]}

    def post(self, path: str, body: object = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """Send a POST request and return the JSON body of the response."""
        return self.send("POST", path, body=body, headers=headers)

    def send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, Any] = MappingProxyType({}),
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request and return the JSON body of the response."""
        timeout = _TIMEOUT_S + query.get("wait_s", 0)
        with waits_for(f"the hub's answer to {verb} {path}, at most {timeout:g} s"):
            answer = self._client.request(
                verb, path, params=query, json=body, headers=headers, timeout=timeout
            )
        self._check(answer)
        return answer.json()

    def get_of_nodes(self, path: str, **params: str | float | None) -> list[dict[str, Any]]:
        """Return the response of each node of the hub: *id*, *name* and *body*.

        A node that does not answer, or refuses, is reported and left out.
        """
        query = {name: value for name, value in params.items() if value is not None}
        found = self.send("GET", path, query, headers={ASKED_NODE: "all"})["nodes"]
        for node in found:
            if node["status"] >= 400:
                detail = node["body"].get("detail", "") if isinstance(node["body"], dict) else node["status"]
                show.report(f"node {node['name'] or node['id']}: {detail}")
        return [node for node in found if node["status"] < 400]

    def text(self, path: str) -> str:
        """Return the text of a response that is not JSON."""
        answer = self._client.get(path)
        self._check(answer)
        return answer.text

    def follow(self, path: str, *, body: object = None, **params: str | int | None) -> Iterator[Any]:
        """Yield the JSON data of each server-sent event until the hub ends the stream.

        With a *body*, it is sent in a POST request.
        """
        query = {name: value for name, value in params.items() if value is not None}
        verb = "GET" if body is None else "POST"
        with self._client.stream(verb, path, params=query, json=body, timeout=None) as answer:
            if answer.is_error:
                answer.read()
            self._check(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _check(self, answer: "httpx2.Response") -> None:
        if not answer.is_error:
            return
        kind = answer.headers.get("content-type", "")
        problem = answer.json() if kind == "application/problem+json" else {}
        fallback = Exit.UNAVAILABLE if answer.status_code >= 500 else Exit.FAILED
        fallback = _EXIT_OF_REASON.get(problem.get("code", ""), fallback)
        elsewhere = f"is this the hub's port for operators? {WHERE}" if answer.is_client_error else ""
        # The parameter of an address is an option here, and so is a field of a body.
        detail = problem.get("detail", "").replace("?user=NAME", "--user NAME")
        detail = _FIELD.sub(lambda found: _as_typed(found[1]), detail)
        raise CommandError(
            detail or f"the hub responded with status {answer.status_code}",
            _EXIT_CODES.get(answer.status_code, fallback),
            next_step=self._similar(problem) or problem.get("hint") or elsewhere,
        )

    def _similar(self, problem: Mapping[str, Any]) -> str:
        """Return a hint with the most similar name that the caller may see, if a name is unknown."""
        noun = problem.get("code", "").removeprefix("unknown_") + "s"
        unknown = _UNKNOWN.search(problem.get("detail", ""))
        if noun not in NAMED or unknown is None:
            return ""
        from protocol.similar_names import did_you_mean

        listed = self._client.get(f"/v1/{noun}", params={"limit": PAGE})
        return did_you_mean(unknown[1], [named["name"] for named in listed.json().get(noun, ())])


def _as_typed(field: str) -> str:
    """Return the option or argument of the command that gives *field* of a request, else the field."""
    for parameter in click.get_current_context().command.params:
        if (parameter.name or "").removeprefix(FIELD_PREFIX) == field:
            is_option = isinstance(parameter, click.Option)
            return max(parameter.opts, key=len) if is_option else parameter.metavar or field.upper()
    return field


def hub_command(command: Callable[..., Responses]) -> Callable[..., None]:
    """Convert a generator into a command: it yields its response, and then prints it for people.

    The generator gets the client of the hub, and yields the name of the response's schema with the response.
    With ``--json`` this is printed, and the generator is not continued; the exit code is the same.
    """

    @hub_option
    @json_option
    @wraps(command)
    def run(state: Path, as_json: bool, **options: Any) -> None:
        code = Exit.DONE
        with open_client(state) as hub:
            for schema, response, *codes in command(hub, **options):
                code = codes[0] if codes else Exit.DONE
                if as_json:
                    show.print_json(schema, response)
                    break
        raise click.exceptions.Exit(code)

    return run


@contextmanager
def open_client(state: Path) -> Iterator[HubClient]:
    """Open a client of the hub that uses the state folder *state*, or of the hub at ``--url``.

    Raises:
        Failure: no hub is running (3), access is denied (77), or the connection was lost (75).
    """
    import httpx2

    meta = click.get_current_context().meta
    meta[_ASKED] = state
    url: str | None = meta.get(URL)
    client = _to_this_machine(state) if url is None else httpx2.Client(**_to_url(url, meta.get(TOKEN_FILE)))
    if USER in meta:
        client.params = client.params.set("user", meta[USER])
    if NODE in meta:
        client.headers[ASKED_NODE] = quote(meta[NODE])
    with client:
        try:
            yield HubClient(client)
        except httpx2.TransportError as error:
            raise failure_of(url, error) from error


def version_gap(error: Exception) -> CommandError | None:
    """Return the failure of a command that asked a hub of another version, or None.

    Such a hub may leave out a field that the command reads.
    """
    state = click.get_current_context().meta.get(_ASKED)
    if state is None or not isinstance(error, KeyError):
        return None
    try:
        with open_client(state) as hub:
            version = hub.get("/v1/status")["version"]
    except (CommandError, KeyError):
        return None
    problem = f"the hub has version {version}, this command {VERSION}: the answer lacks {error}"
    next_step = "use the command of that version, or start the hub with this one"
    return CommandError(problem, Exit.FAILED, next_step=next_step) if version != VERSION else None


def hub_status(state: Path) -> Any:
    """Return the status of the hub, or None while it does not answer or devices cannot connect."""
    with suppress(CommandError), open_client(state) as hub:
        status = hub.get("/v1/status")
        return status if "devices" in status["listeners"] else None
    return None


def lasting_client(state: Path) -> "httpx2.AsyncClient":
    """Create a client of the hub that ``open_client`` finds, for a command that outlives a restart.

    Raises:
        Failure: there is no token, or it would be sent without TLS.
    """
    import httpx2

    meta = click.get_current_context().meta
    url: str | None = meta.get(URL)
    params = {"user": meta[USER]} if USER in meta else {}
    if url is not None:
        return httpx2.AsyncClient(params=params, **_to_url(url, meta.get(TOKEN_FILE)))
    transport = httpx2.AsyncHTTPTransport(uds=str(_socket(state)), verify=False)
    return httpx2.AsyncClient(params=params, transport=transport, base_url="http://hub", timeout=_TIMEOUT_S)


def _to_this_machine(state: Path) -> "httpx2.Client":
    import httpx2

    path = _socket(state)
    _knock(path)
    # No TLS over a Unix socket: loading certificates would cost each command 40 ms.
    transport = httpx2.HTTPTransport(uds=str(path), verify=False)
    return httpx2.Client(transport=transport, base_url="http://hub", timeout=_TIMEOUT_S)


def _socket(state: Path) -> Path:
    path = state / SOCKET
    if state == default_state() and _is_missing(path) and not _is_missing(ADMIN_SOCKET):
        return ADMIN_SOCKET  # no hub is named: use the service of this machine
    return path


def _is_missing(path: Path) -> bool:
    """Return True if *path* does not exist. A missing permission is reported by ``_knock``."""
    try:
        return not path.exists()
    except PermissionError:
        return False


def _to_url(url: str, token_file: Path | None) -> dict[str, Any]:
    """Return the arguments of a client of the hub at *url*."""
    import ssl

    import httpx2

    token = _token(url, token_file)
    # Without TLS only a hub of this machine is asked; loading certificates would cost each command 40 ms.
    is_plain = httpx2.URL(url).scheme == "http"
    return {
        "base_url": url,
        "headers": {"authorization": f"Bearer {token}"},
        "verify": False if is_plain else ssl.create_default_context(),
        "trust_env": False,  # no proxy of the environment may read the token
        "timeout": _TIMEOUT_S,
    }


def check_address(url: str) -> None:
    """Check the address of a hub to which a token is sent.

    Raises:
        Failure: it is none, or would send the token without TLS.
    """
    import httpx2

    from hub.base.outbound.rules import is_this_machine
    from hub.device.addresses import in_brackets

    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        corrected = in_brackets(url if "://" in url else f"https://{url}")
        raise CommandError(
            f"{url!r} is no address: {error}", Exit.USAGE, next_step=f"as in {corrected}"
        ) from error
    if parts.scheme != "https" and not (parts.scheme == "http" and is_this_machine(parts.host)):
        raise CommandError(
            f"{url} does not use TLS, so others could read the token",
            Exit.USAGE,
            next_step="use https://..., or http://127.0.0.1:PORT on the hub's own machine",
        )


def _token(url: str, file: Path | None) -> str:
    """Return the operator's token for the hub at *url*.

    The token is never an argument, because other users of a machine can read those.

    Raises:
        Failure: there is no token, it is mistyped, or *url* is no address for one.
    """
    from hub.base import tokens

    check_address(url)
    named = file or os.environ.get(TOKEN_VARIABLE)
    if not named:
        raise CommandError(
            "a hub at a URL needs a token",
            Exit.USAGE,
            next_step="create one on its machine: hub token create --role viewer --name NAME > FILE;"
            " then --token-file FILE",
        )
    path = Path(named)
    token = secret_in(path)
    if wrong := tokens.check(token, tokens.TokenKind.OPERATOR):
        raise CommandError(f"{path} has no valid operator token: {wrong}", Exit.NOT_PERMITTED)
    return token


def start_command(state: Path) -> str:
    """Return the command that starts the hub of a state folder as before."""
    from hub.settings.reading import last_file

    begin = f"hub {'up' if (state / 'up').is_dir() else 'serve'} --state {shell_word(state)}"
    usual = state / SETTINGS
    found = last_file(state) or (usual if usual.is_file() else None)
    if found is None:
        return begin if Path(SETTINGS).is_file() else f"{begin} --config FILE"  # which 'hub serve' finds here
    return begin if found == usual.absolute() else f"{begin} --config {shell_word(found)}"


def _knock(path: Path) -> None:
    """Check that a hub listens on *path*. Errors of a plain socket have a reason, unlike the library's."""
    if not hasattr(socket, "AF_UNIX"):
        raise CommandError(
            "no hub runs on this system, which has no sockets with a path",
            Exit.NOT_RUNNING,
            next_step="name the hub's address: --url https://HOST:8771 --token-file FILE",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        try:
            knocking.connect(str(path))
        except PermissionError as error:
            raise CommandError(
                f"{path} belongs to another user",
                Exit.NOT_PERMITTED,
                next_step=AS_WHOM,
            ) from error
        except OSError as error:
            raise CommandError(
                f"no hub is running on {path.parent}",
                Exit.NOT_RUNNING,
                next_step=f"start it: {start_command(path.parent)}",
            ) from error


def failure_of(url: str | None, error: "httpx2.TransportError") -> CommandError:
    """Convert *error* of a request to the hub at *url*, or on this machine, into a failure."""
    import ssl

    import httpx2

    from hub.base.outbound.addresses import unreached

    lost = CommandError(
        f"the connection to the hub was lost: {error or type(error).__name__}",
        Exit.TRY_AGAIN,
        next_step="is it still running? hub status",
    )
    if url is None:
        return lost
    parts = httpx2.URL(url)
    where = parts.netloc.decode("ascii")
    tls_error = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if isinstance(tls_error, ssl.SSLCertVerificationError):
        return CommandError(
            certificate_fault(where, tls_error),
            Exit.UNAVAILABLE,
            next_step=certificate_fix(tls_error),
        )
    is_cut_off = any(isinstance(cause, ConnectionResetError) for cause in _causes(error))
    if isinstance(error, httpx2.ConnectError) and (tls_error is not None or is_cut_off):
        return CommandError(
            f"{where} does not use TLS",
            Exit.UNAVAILABLE,
            next_step=f"is it the port for operators? {WHERE}; on the hub's own machine use http://",
        )
    if parts.scheme == "http" and speaks_tls(parts.host, parts.port or 80):
        return CommandError(
            f"{where} uses TLS", Exit.UNAVAILABLE, next_step=f"use https: --url https://{where}"
        )
    if isinstance(error, httpx2.ConnectError):
        return CommandError(
            f"no hub answers at {url}: {unreached(error) or error}",
            Exit.NOT_RUNNING,
            next_step=f"is the address right, and does the hub run? {WHERE}",
        )
    return lost


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and its causes, of which the library keeps some as arguments only."""
    yield error
    inner = [error.__cause__, *error.args]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)


def speaks_tls(host: str, port: int) -> bool:
    """Return True if the port uses TLS, with any certificate: no data is sent."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=2.0) as knocking,
            context.wrap_socket(knocking, server_hostname=host),
        ):
            return True
    except OSError:
        return False


def names_of(noun: str) -> Complete:
    """Return the completion of names in the list of a *noun*; of the ids of runs, of the keys of settings."""

    def read(hub: Any) -> Iterable[str]:
        if noun == "settings":
            yield from (key for key, _ in keys_of(hub.get("/v1/config")["settings"]))
            return
        for item in hub.get(f"/v1/{noun}", limit=200)[noun]:
            yield item.get("name") or show.short_id(item["id"])

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        state = ctx.params.get("state") or ctx.find_root().params.get("state")
        try:
            with ctx, open_client(state_folder(state and str(state))) as hub:
                return [CompletionItem(name) for name in read(hub) if name.startswith(incomplete)]
        except click.ClickException:
            return []  # a shell cannot show why no hub answers

    return complete


agent_names, device_names, board_names = names_of("agents"), names_of("devices"), names_of("boards")
connector_names, run_ids, setting_keys = names_of("connectors"), names_of("runs"), names_of("settings")
