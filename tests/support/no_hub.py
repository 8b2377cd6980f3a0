"""A port at which something else answers than what is asked for."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from tests.support.certificates import write_certificate

ANSWER: Final = b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def listening(
    folder: Path, *, tls: bool = False, status: int = 404, kind: bytes = b"text/plain"
) -> AsyncIterator[str]:
    """Refuses every request; its host and port. Certificate and key lie in *folder*."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(folder))

    async def answer(stream: ByteStream) -> None:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            async with stream:
                asked = await stream.receive()
                await stream.send(ANSWER % (status, kind) if asked.startswith(b"GET") else b"what?")

    async with listener, anyio.create_task_group() as tasks:
        door = TLSListener(listener, context, standard_compatible=False) if tls else listener
        tasks.start_soon(door.serve, answer)
        yield f"127.0.0.1:{port}"
        tasks.cancel_scope.cancel()
