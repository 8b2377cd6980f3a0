"""The hub under measurement: its listener, roster, authenticator and links, as the daemon makes them.

Tokens are looked up in a database in memory. Run as ``python -m
tests.bench.hub_server CONFIG``.
"""

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from itertools import count
from typing import Final

import anyio
import msgspec
import sqlalchemy as sa

from hub.base.clock import SystemChance, SystemClock
from hub.base.log import Channel, open_log
from hub.base.metrics import Durations, Metrics
from hub.base.tokens import hash_token
from hub.links.auth import Authenticator
from hub.links.connection import PendingCalls
from hub.links.connection_limits import PortLimits
from hub.links.device_link import DeviceLink
from hub.links.hub_key import HubKey
from hub.links.link_limits import LinkLimits
from hub.links.listener import DevicesPort
from hub.links.roster import DeviceReady, LinkEvent, Roster
from hub.links.transport import WHOLE_TEXT, DeviceSocket
from protocol.ids import BootId, DeviceId, TokenId, UserId
from protocol.tool_calls import Action, ToolCall
from protocol.work import AgentData, AgentRun, RunConfig, RunLimits
from storage.devices import devices, users
from storage.devices.tokens import DEVICE_TOKENS
from storage.store import open_store
from tests.bench.driver import Arrivals, obey, run_server
from tests.bench.payloads import AGENT_ID, CALL_DATA, RUN_ID, call_ids, token_of

log = Channel("hub.bench")

_GRANTED_AT_ONCE: Final = 4  # pieces; a quarter of the credit, so that the device never waits
_PENDING_CALLS: Final = 256  # a device's 64 are fewer than row 5 wants in flight
_UNHURRIED: Final = 1e9  # a second
_AT_MS: Final = 1_766_000_000_000


class Variant(StrEnum):
    """What is left out, to see what it is worth."""

    WHOLE = "whole"
    LIBRARY_SENDS = "library sends"  # each frame by the library's own ``send``
    NO_DEADLINES = "no deadlines"
    UNTOLD = "untold"  # no call is timed for the metrics


class HubConfig(msgspec.Struct, kw_only=True):
    """How the hub is to be."""

    devices: int
    variant: Variant = Variant.WHOLE
    compression: bool = False
    is_watched: bool = False  # it logs like a busy hub, and somebody asks for its metrics


_ids = call_ids()


class HubPeer:
    """A device by its link."""

    def __init__(self, link: DeviceLink) -> None:
        self.link = link

    async def call(self) -> object:
        frame = ToolCall(
            id=next(_ids),
            action=Action.INSERT,
            table="tasks",
            data=CALL_DATA,
            run_id=RUN_ID,
            agent_id=AGENT_ID,
        )
        return await self.link.call(frame)

    async def take_files(self, file_set: str, taken: Callable[[], None]) -> None:
        run = AgentRun(
            run_id=RUN_ID, fence=1, agent_id=file_set, config=RunConfig(), limits=RunLimits(bytes=2**50)
        )
        owed = 0
        async with self.link.open_run(run) as stream:
            async for frame in stream:
                if type(frame) is not AgentData:
                    continue
                taken()
                owed += len(frame.files)
                if owed >= _GRANTED_AT_ONCE:
                    await stream.grant(owed)
                    owed = 0


def _send_by_library(self: DeviceSocket, data: bytes, first: int) -> None:
    """``DeviceSocket.send_frame`` by ``await ws.send()``. What that waits for never comes up in row 5."""
    sending = self.send(data, text=first == WHOLE_TEXT)
    try:
        sending.send(None)
    except StopIteration:
        return
    raise RuntimeError("the socket is full: this figure would be none")


def _no_deadline(self: PendingCalls, deadline: float) -> None:
    """``PendingCalls._wait_until`` that forgets."""


def _apply(variant: Variant) -> None:
    match variant:
        case Variant.LIBRARY_SENDS:
            DeviceSocket.send_frame = _send_by_library  # type: ignore[method-assign]
        case Variant.NO_DEADLINES:
            PendingCalls._wait_until = _no_deadline  # type: ignore[method-assign]
        case Variant.UNTOLD:
            Durations.observe = _untold  # type: ignore[method-assign]


def _untold(self: Durations, labels: tuple[str, ...], seconds: float) -> None:
    """``Durations.observe`` that forgets."""


async def _log_like_a_busy_hub() -> None:
    """Fifty events a second: ten runs that begin and end."""
    for number in count():
        log.info("run.moved", run_id=f"r-{number // 5}", fence=1, happened="finished", state="COMPLETED")
        await anyio.sleep(0.02)


async def _ask_for_metrics(metrics: Metrics) -> None:
    """Fifteen times as often as a collector would."""
    while True:
        metrics.render()
        await anyio.sleep(1.0)


def enrol(c: sa.Connection, number: int) -> None:
    """As many devices as that, each with its token."""
    user_id = users.ensure_user(c, UserId("u-1"), "anna", _AT_MS)
    for n in range(number):
        device_id = DeviceId(f"d-{n}")
        devices.ensure_device(c, id=device_id, user_id=user_id, name=f"laptop-{n}", at=_AT_MS)
        DEVICE_TOKENS.create(
            c, id=TokenId(f"t-{n}"), device_id=device_id, token_hash=hash_token(token_of(n)), at=_AT_MS
        )


async def _serve(config: HubConfig) -> None:
    clock, chance, metrics = SystemClock(), SystemChance(), Metrics()
    arrivals = Arrivals(config.devices)

    def on_event(event: LinkEvent) -> None:
        if isinstance(event, DeviceReady):
            arrivals.add(HubPeer(event.link))

    async with open_store("sqlite://", base=None) as store, anyio.create_task_group() as tasks:
        await store.write(enrol, config.devices)
        roster = Roster(on_event, metrics=metrics)
        listener = DevicesPort(
            hub_id="bench",
            key=HubKey(bytes(32)),
            authenticator=Authenticator(
                store,
                clock=clock,
                chance=chance,
                metrics=metrics,
                boot_id=BootId("bench"),
                connections_per_user=config.devices,
            ),
            roster=roster,
            clock=clock,
            chance=chance,
            metrics=metrics,
            limits=LinkLimits(
                pending_calls=_PENDING_CALLS,
                frames_per_s=_UNHURRIED,  # counted like any other's, and never reached
                bytes_per_s=_UNHURRIED,
            ),
            port_limits=PortLimits(
                connections=config.devices + 1,
                connections_per_network=config.devices,
                strangers=config.devices,
                strangers_per_network=config.devices,
                new_at_once=config.devices,
                spare_files=50,
            ),
            compression=config.compression,
        )
        _, port = await tasks.start(listener.serve)
        if config.is_watched:
            tasks.start_soon(_log_like_a_busy_hub)
            tasks.start_soon(_ask_for_metrics, metrics)

        await obey(port, arrivals)


def main() -> None:
    """Serve until the input ends."""
    config = msgspec.json.decode(sys.argv[1], type=HubConfig)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        open_log("info" if config.is_watched else "error", nowhere if config.is_watched else None)
        _run(config)


def _run(config: HubConfig) -> None:
    _apply(config.variant)

    async def serve() -> None:
        await _serve(config)

    run_server(serve, config.devices)


if __name__ == "__main__":
    main()
