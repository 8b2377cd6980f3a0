"""A socket to a gateway: where it leads is judged before, and no proxy and no redirect is followed."""

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

CONNECT_S: Final = 6.0  # for one of its addresses: the next one gets its turn as well


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What both lines of a gateway share. *tls*: who is trusted; what this machine trusts by default."""

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
    """A socket to the first of the gateway's addresses that answers.

    Raises:
        AddressRefused: none of them may be called; nothing was sent.
        OSError, WebSocketException: none answered as a gateway does.
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
    if around.address.is_secure:  # read anew: who let this machine trust the certificate need not restart
        tls = around.tls or await anyio.to_thread.run_sync(ssl.create_default_context)
    return await _Straight(
        around.address.url,
        host=address,
        port=around.address.port,
        ssl=tls,
        compression=None,
        proxy=None,
        open_timeout=None,  # CONNECT_S and OPEN_S have all of it
        ping_interval=None,  # gateways tick; ``Connection`` watches that
        close_timeout=CLOSE_S,
        max_size=MAX_FRAME_BYTES,
        max_queue=4,
        write_limit=2 * MAX_UNSENT_BYTES,  # sending never waits: ``Connection`` refuses before
        user_agent_header=None,
    )


class _Straight(connect):
    """Follows no redirect: the token is for the gateway whose address the operator wrote."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
