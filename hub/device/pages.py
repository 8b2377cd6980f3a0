"""Links to the hub's pages: programs of the owner get one over a socket that only the owner can open.

The connected device asks the hub. ``hub open`` connects to the socket, which sends one JSON object: the
*link*, or a *problem*.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import anyio
import msgspec
from msgspec import Meta

from hub.device.addresses import is_local
from hub.device.connection import Line
from hub.log import Channel
from protocol.coordination import Method, Response
from protocol.errors import ErrorCode

SUFFIX: Final = ".sock"  # next to the device's file
ANSWER_S: Final = 10.0
MOST_BYTES: Final = 4_096
OLD_HUB: Final = "this hub has no pages for the owners of devices; it is older than this program"
ELSEWHERE: Final = (
    "the hub shows its pages on its own machine only; on it, set [listen.operator] address, with TLS"
)

log = Channel(__name__)


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer over the socket."""

    link: str = ""
    problem: str = ""


class _Link(msgspec.Struct, frozen=True):
    """Answer to ``sessions.link``."""

    path: Annotated[str, Meta(pattern=r"^/login#[\w-]{1,200}$")]
    host: Annotated[str, Meta(pattern=r"^[\w.:-]{0,255}$")]
    port: Annotated[int, Meta(ge=1, le=65_535)]
    tls: bool


async def serve_links(path: Path, line: Line, address: str) -> None:
    """Send a link over each connection to the socket at *path*, until cancelled.

    Args:
        address: where the device has reached the hub.
    """
    if not hasattr(socket, "AF_UNIX"):
        return
    try:
        with _listening(path) as listener:
            async with anyio.create_task_group() as tasks:
                while True:
                    await anyio.wait_readable(listener)
                    with suppress(OSError):
                        asking, _ = listener.accept()
                        tasks.start_soon(_answer, asking, line, address)
    except OSError as error:
        log.warning("device.links.not_served", path=str(path), exc=error)


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


async def _answer(asking: socket.socket, line: Line, address: str) -> None:
    asking.setblocking(False)
    with asking, suppress(OSError):
        answer = answer_of(await line.request(Method.SESSIONS_LINK, {}), address)
        asking.send(msgspec.json.encode(answer))  # much less than any buffer


def answer_of(response: Response | None, address: str) -> Answer:
    """Return the link of the hub's answer, for a device that has reached the hub at *address*."""
    if response is None:
        return Answer(problem="the hub did not answer")
    if response.error is not None:
        is_old = response.error.code == ErrorCode.UNKNOWN_METHOD
        return Answer(problem=OLD_HUB if is_old else response.error.message)
    try:
        link = msgspec.convert(response.result, _Link)
    except msgspec.ValidationError:
        return Answer(problem="the hub answered with something that is no link")
    host = link.host or urlsplit(address).hostname or ""
    spelled = f"[{host}]" if ":" in host else host
    url = f"{'https' if link.tls else 'http'}://{spelled}:{link.port}{link.path}"
    return Answer(problem=ELSEWHERE) if is_local(url) and not is_local(address) else Answer(link=url)


def ask_link(path: Path) -> Answer:
    """Ask the connected device for a link. Raises OSError if none serves the socket at *path*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(ANSWER_S)
        asking.connect(os.fspath(path))
        found = b""
        while part := asking.recv(MOST_BYTES):
            found += part
    try:
        return msgspec.json.decode(found, type=Answer)
    except msgspec.DecodeError:
        return Answer(problem="the device lost its connection; try again")
