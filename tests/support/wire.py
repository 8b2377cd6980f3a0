"""A device port on loopback, and devices that are nothing but a WebSocket and JSON."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskStatus
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hub.base.metrics import Metrics
from hub.base.tokens import hash_token
from hub.links.auth import Authenticator
from hub.links.device_link import DeviceLink
from hub.links.hub_key import HubKey
from hub.links.link_limits import LinkLimits
from hub.links.listener import DevicesPort
from hub.links.roster import LinkEvent, Roster, Takeovers
from protocol.ids import DeviceId, TokenId, UserId
from protocol.tool_calls import Action, Answer, ToolCall
from storage.devices import devices, users
from storage.devices.tokens import DEVICE_TOKENS
from storage.store import Store, open_store
from tests.support.clock import FakeClock, SeededChance
from tests.support.keys import KeyPair
from tests.support.presence import BOOT, live
from tests.support.programs import skip_without_hub

PATIENCE_S = 30.0  # of a test with something that should happen at once, on a busy machine
AT_MS = 1_767_600_000_000
HUB_SEED = bytes(range(32))


def make_call(call_id: str = "c-1", *, action: Action = Action.INSERT, deadline_ms: int = 30_000) -> ToolCall:
    """An insert of a task, the call that there is most of."""
    return ToolCall(
        id=call_id, action=action, table="tasks", data={"title": "Call Rossi"}, deadline_ms=deadline_ms
    )


class RawDevice:
    """A device as a stranger would write it from the protocol's page."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.welcome: dict[str, Any] = {}

    async def say(self, **frame: Any) -> None:
        """Send one frame."""
        await self.socket.send(json.dumps(frame))

    async def hear(self) -> dict[str, Any]:
        """The next frame of the hub."""
        with anyio.fail_after(PATIENCE_S):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
        return frame

    async def greet(self, token: str | None, **hello: Any) -> dict[str, Any]:
        """Say hello and give what the hub answers."""
        challenge = await self.hear()
        assert challenge["type"] == "challenge"
        if token is not None:
            hello["token"] = token
        await self.say(type="device_hello", **hello)
        self.welcome = await self.hear()
        return self.welcome

    async def greet_with(self, key: KeyPair, *, label: str = "desk", **hello: Any) -> dict[str, Any]:
        """Say hello with a key that signs the challenge, and give what the hub answers."""
        challenge = await self.hear()
        identity = key.identity(challenge, label=label)
        await self.say(type="device_hello", device_id=label, identity=identity, **hello)
        self.welcome = await self.hear()
        return self.welcome

    async def answer_call(self) -> dict[str, Any]:
        """Take one tool_call and say that it is done."""
        call = await self.hear()
        assert call["type"] == "tool_call", call
        await self.say(type="tool_result", id=call["id"], result={"ok": True})
        return call

    async def closed(self) -> int | None:
        """Read to the end; the close code."""
        with anyio.fail_after(PATIENCE_S):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                return self.socket.close_code


@dataclass
class Port:
    """A listener that is served, and all that stands behind it."""

    listener: DevicesPort
    judge: Authenticator
    roster: Roster
    metrics: Metrics
    clock: FakeClock
    store: Store
    url: str
    events: list[LinkEvent]
    _life: anyio.CancelScope
    _gone: anyio.Event

    async def stop(self) -> None:
        """Stop the listener, and wait until it has stopped."""
        self._life.cancel()
        await self._gone.wait()

    async def pair(
        self, name: str = "laptop", token: str = "hub_dev_laptop", *, expires_at: int | None = None
    ) -> str:
        """A device with a token in the database; gives the token."""
        await self.store.write(users.ensure_user, UserId("anna"), "anna", AT_MS)
        await self.store.write(
            devices.ensure_device, id=DeviceId(name), user_id=UserId("anna"), name=name, at=AT_MS
        )
        await self.store.write(
            DEVICE_TOKENS.create,
            id=TokenId(f"t-{token}"),
            device_id=DeviceId(name),
            token_hash=hash_token(token),
            at=AT_MS,
            expires_at=expires_at,
        )
        return token

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[RawDevice]:
        """A WebSocket to the port; nothing was said yet."""
        options.setdefault("compression", None)
        async with connect(self.url, **options) as socket:
            yield RawDevice(socket)

    @asynccontextmanager
    async def device(
        self, name: str = "laptop", *, capabilities: tuple[str, ...] = (), **options: Any
    ) -> AsyncIterator[RawDevice]:
        """A device that is paired and welcomed."""
        token = await self.pair(name, f"hub_dev_{name}_{len(self.events)}")
        async with self.connect(**options) as device:
            listed = [{"name": capability, "version": "1.0.0"} for capability in capabilities]
            welcome = await device.greet(token, capabilities=listed)
            assert welcome["type"] == "welcome", welcome
            yield device

    def link(self, name: str = "laptop") -> DeviceLink:
        """The hub's side of a device that is connected."""
        link = self.roster.find(DeviceId(name))
        assert link is not None
        return link

    def count(self, name: str, **labels: str) -> float:
        """A metric, by its name in /metrics."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def open_port(
    clock: FakeClock | None = None, *, judge: type[Authenticator] = Authenticator, **options: Any
) -> AsyncIterator[Port]:
    """Serve a device port on a free port of loopback, with a database in memory.

    Args:
        judge: who says which device it is.
        options: of ``DevicesPort``.
    """
    skip_without_hub()
    clock = clock or FakeClock()
    metrics = Metrics()
    events: list[LinkEvent] = []
    roster = Roster(events.append, metrics=metrics, takeovers=Takeovers(clock))
    options.setdefault("limits", LinkLimits(close_s=1.0))
    async with open_store("sqlite://", base=None) as store:
        await store.write(live)
        authenticator = judge(
            store,
            clock=clock,
            chance=SeededChance(7),
            metrics=metrics,
            boot_id=BOOT,
            takeover_wait_s=roster.takeover_wait_s,
        )
        listener = DevicesPort(
            hub_id="hub-1",
            key=HubKey(HUB_SEED),
            authenticator=authenticator,
            roster=roster,
            clock=clock,
            chance=SeededChance(),
            metrics=metrics,
            **options,
        )
        life, gone = anyio.CancelScope(), anyio.Event()

        async def serve(*, task_status: TaskStatus[tuple[str, int]]) -> None:
            with life:
                await listener.serve(task_status=task_status)
            gone.set()

        async with anyio.create_task_group() as tasks:
            host, number = await tasks.start(serve)
            url = f"ws://{host}:{number}/v1/device"
            yield Port(listener, authenticator, roster, metrics, clock, store, url, events, life, gone)
            life.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another task, thread or end of a socket brings about."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            await anyio.sleep(0.002)


@asynccontextmanager
async def calling(link: DeviceLink, *frames: ToolCall) -> AsyncIterator[list[Answer | Exception]]:
    """Make calls in the block, an insert by default; the list gets how each of them ended."""
    outcomes: list[Answer | Exception] = []

    async def call(frame: ToolCall) -> None:
        try:
            outcomes.append(await link.call(frame))
        except Exception as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        for frame in frames or (make_call(),):
            tasks.start_soon(call, frame)
        yield outcomes


async def call_answered_by(device: RawDevice, link: DeviceLink, call_id: str = "c-1") -> Answer:
    """Make a call that the device answers; return its answer."""
    async with calling(link, make_call(call_id)) as outcomes:
        await device.answer_call()
    (answer,) = outcomes
    assert isinstance(answer, Answer), answer
    return answer
