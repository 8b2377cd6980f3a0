"""Sockets to a gateway, at checked addresses only, without proxies or redirects."""

import ssl
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from hub.clock import Chance, Clock
from hub.metrics import Metrics
from hub.openclaw.address import GatewayAddress, Resolve
from hub.openclaw.alarms import Alarms
from hub.openclaw.connection import CLOSE_S, MAX_UNSENT_BYTES
from hub.openclaw.frames import MAX_FRAME_BYTES
from hub.openclaw.identity import Identity
from hub.outbound import OutboundRules

CONNECT_S: Final = 6.0  # per address, so that the next address is tried in time


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters shared by both connections to a gateway.

    Attributes:
        tls: TLS configuration; None for this machine's trusted certificates.
    """

    gateway: str
    address: GatewayAddress
    identity: Identity
    rules: Callable[[], OutboundRules]
    resolve: Resolve
    tls: ssl.SSLContext | None
    clock: Clock
    chance: Chance
    metrics: Metrics
    version: str


async def dial(around: Around, alarms: Alarms) -> ClientConnection:
    """Return a socket to the first of the gateway's addresses that answers.

    Raises:
        AddressRefused: no address is allowed; no data was sent.
        OSError, WebSocketException: no address answered as a gateway.
    """
    failure: OSError = ConnectionRefusedError()
    for address in await around.address.judged(around.rules(), around.resolve):
        made: ClientConnection | None = None
        failure = TimeoutError()
        try:
            with alarms.move_on_after(CONNECT_S):
                made = await _connect(around, address)
        except OSError as error:
            failure = error
        if made is not None:
            return made
    raise failure


async def _connect(around: Around, address: str) -> ClientConnection:
    tls: ssl.SSLContext | None = None
    # loaded for each connection, so that a newly trusted certificate needs no restart
    if around.address.is_secure:
        tls = around.tls or await anyio.to_thread.run_sync(ssl.create_default_context)
    return await _Straight(
        around.address.url,
        host=address,
        port=around.address.port,
        ssl=tls,
        compression=None,
        proxy=None,
        open_timeout=None,  # covered by CONNECT_S and OPEN_S
        ping_interval=None,  # gateways send ticks, which ``Connection`` supervises
        close_timeout=CLOSE_S,
        max_size=MAX_FRAME_BYTES,
        max_queue=4,
        write_limit=2 * MAX_UNSENT_BYTES,  # never reached, because ``Connection`` refuses requests before
        user_agent_header=None,
    )


class _Straight(connect):
    """WebSocket client without redirects, because the token is only for the configured address."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
