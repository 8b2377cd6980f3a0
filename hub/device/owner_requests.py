"""Socket by which the owner's programs ask the connected device, and pass requests to the hub.

The connected device passes them on. A program sends a line of JSON, an ``OwnerRequest``, and gets a
``PageReply``. ``hub open`` asks for a *link* to the hub's pages, or gets a *problem*; ``hub device log
--verify`` asks for receipts, ``hub review`` for proposals and held items. A program that sends no question
gets a link.

Windows has no sockets with a path: there a file that only the owner can read has a port of this machine, and
a secret that each question names.
"""

import asyncio
import hmac
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import anyio
import msgspec
from msgspec import Meta

from hub.base.clock import Chance
from hub.base.log import Channel
from hub.base.system.files import create_private
from hub.device.addresses import is_local
from hub.device.connection import HubConnection
from protocol.coordination import Method, Response
from protocol.errors import ErrorCode, first_error

SUFFIX: Final = ".sock"  # next to the device's file
ANSWER_S: Final = 10.0
QUESTION_S: Final = 1.0  # to wait for the question of a program
MAX_BYTES: Final = 64 * 1024  # of a question, in one message; and of a part of an answer
METHODS: Final = frozenset(
    {
        *(Method.SESSIONS_LINK, Method.RECEIPTS_LIST, Method.RECEIPTS_GET, Method.PROPOSALS_LIST),
        *(Method.HELD_LIST, Method.HELD_JUDGE),
    }
)
_SECRET_BYTES: Final = 32
OLD_HUB: Final = "this hub has no pages for the owners of devices; it is older than this program"
ELSEWHERE: Final = (
    "the hub shows its pages on its own machine only; on it, set [listen.operator] address, with TLS"
)

log = Channel(__name__)


class PageReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer over the socket: a link, or the result of another request to the *hub* with that public key."""

    link: str = ""
    problem: str = ""
    hub: str = ""
    result: dict[str, Any] = {}


class _Link(msgspec.Struct, frozen=True):
    """Answer to ``sessions.link``."""

    path: Annotated[str, Meta(pattern=r"^/login#[\w-]{1,200}$")]
    host: Annotated[str, Meta(pattern=r"^[\w.:-]{0,255}$")]
    port: Annotated[int, Meta(ge=1, le=65_535)]
    tls: bool


class OwnerRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Request of a program of the owner: one of the METHODS."""

    method: Method = Method.SESSIONS_LINK
    params: dict[str, Any] = {}
    secret: str = ""


class _Port(msgspec.Struct, frozen=True):
    """Content of the file in place of a socket."""

    port: int
    secret: str


async def serve_links(path: Path, line: HubConnection, address: str, hub: str, chance: Chance) -> None:
    """Answer each connection to the socket at *path*, until cancelled.

    Args:
        address: where the device has reached the hub.
        hub: public key of the hub.
    """
    secret = "" if hasattr(socket, "AF_UNIX") else chance.token_bytes(_SECRET_BYTES).hex()
    listening = _listening_at_port(path, secret) if secret else _listening(path)
    try:
        with listening as listener:
            async with anyio.create_task_group() as tasks:
                while True:
                    await anyio.wait_readable(listener)
                    with suppress(OSError):
                        asking, _ = listener.accept()
                        tasks.start_soon(_answer, asking, line, address, hub, secret)
    except* OSError as errors:
        log.warning("device.links.not_served", path=str(path), exc=first_error(errors))


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        umask = os.umask(0o177)  # set before bind: a chmod after it would leave a gap
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(umask)
        listener.listen()
        listener.setblocking(False)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _listening_at_port(path: Path, secret: str) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with create_private(path) as file:
            file.write(msgspec.json.encode(_Port(listener.getsockname()[1], secret)))
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


async def _answer(asking: socket.socket, line: HubConnection, address: str, hub: str, secret: str) -> None:
    asking.setblocking(False)
    with asking, suppress(OSError, msgspec.DecodeError):
        question = OwnerRequest()
        with anyio.move_on_after(QUESTION_S):
            await anyio.wait_readable(asking)
            question = msgspec.json.decode(asking.recv(MAX_BYTES) or b"{}", type=OwnerRequest)
        if question.method not in METHODS or not hmac.compare_digest(
            question.secret.encode(), secret.encode()
        ):
            return
        response = await line.request(question.method, question.params)
        while response is not None and response.error is not None and response.error.retry_after_ms:
            await anyio.sleep(response.error.retry_after_ms / 1_000)
            response = await line.request(question.method, question.params)
        if question.method is Method.SESSIONS_LINK:
            answer = answer_of(response, address)
        elif response is None:
            answer = PageReply(hub=hub, problem="the hub did not answer")
        elif response.error is not None:
            answer = PageReply(hub=hub, problem=response.error.message)
        else:
            answer = PageReply(hub=hub, result=response.result or {})
        await asyncio.get_running_loop().sock_sendall(asking, msgspec.json.encode(answer))


def answer_of(response: Response | None, address: str) -> PageReply:
    """Return the link of the hub's answer, for a device that has reached the hub at *address*."""
    if response is None:
        return PageReply(problem="the hub did not answer")
    if response.error is not None:
        is_old = response.error.code == ErrorCode.UNKNOWN_METHOD
        return PageReply(problem=OLD_HUB if is_old else response.error.message)
    try:
        link = msgspec.convert(response.result, _Link)
    except msgspec.ValidationError:
        return PageReply(problem="the hub answered with something that is no link")
    host = link.host or urlsplit(address).hostname or ""
    spelled = f"[{host}]" if ":" in host else host
    url = f"{'https' if link.tls else 'http'}://{spelled}:{link.port}{link.path}"
    return PageReply(problem=ELSEWHERE) if is_local(url) and not is_local(address) else PageReply(link=url)


def ask_link(path: Path) -> PageReply:
    """Ask the connected device for a link. Raises OSError if none serves the socket at *path*."""
    return ask_hub(path, Method.SESSIONS_LINK, {})


def ask_hub(path: Path, method: Method, params: dict[str, Any]) -> PageReply:
    """Send a request by the connected device. Raises OSError if none serves the socket at *path*."""
    try:
        return msgspec.json.decode(_ask(path, OwnerRequest(method, params)), type=PageReply)
    except msgspec.DecodeError:
        return PageReply(problem="the device lost its connection; try again")


def _ask(path: Path, question: OwnerRequest) -> bytes:
    asking, secret = _connected(path)
    with asking:
        asking.sendall(msgspec.json.encode(msgspec.structs.replace(question, secret=secret)))
        return b"".join(iter(lambda: asking.recv(MAX_BYTES), b""))


def _connected(path: Path) -> tuple[socket.socket, str]:
    """Connect to the device; return the secret that a question has to name, too."""
    if not hasattr(socket, "AF_UNIX"):
        try:
            known = msgspec.json.decode(path.read_bytes(), type=_Port)
        except msgspec.DecodeError as error:
            raise ConnectionError(f"{path} names no port") from error
        return socket.create_connection(("127.0.0.1", known.port), timeout=ANSWER_S), known.secret
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connecting.settimeout(ANSWER_S)
    try:
        connecting.connect(os.fspath(path))
    except BaseException:
        connecting.close()
        raise
    return connecting, ""
