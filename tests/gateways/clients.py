"""The hub's own client against a real gateway: let in, asked, heard, cut off and back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio

from hub.base.clock import SystemChance, SystemClock
from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.base.version import VERSION
from hub.coordination.gateway_delivery import find
from hub.openclaw import (
    FileConflict,
    Fleet,
    Gateway,
    GatewayConfig,
    GatewayError,
    GatewayEvent,
    GatewayNews,
    GatewayRefused,
    GatewayUnreachable,
    Reconnected,
    methods,
)
from protocol.agent_messages import QueueMode
from protocol.coordination import SOUL_FILE
from tests.evaluation.figures import Figure, at_most, exactly, only
from tests.gateways.place import NAME, Place, until
from tests.gateways.scripted_model import Say

_AGENT: Final = "client-check"
_SESSION: Final = f"agent:{_AGENT}:main"


async def measure(place: Place) -> list[Figure]:
    """Its figures."""
    news: list[GatewayNews] = []
    began = perf_counter()
    async with client(place.gateway.url, place.gateway.token, place.folder / "client", news) as gateway:
        await gateway.ready(60)
        connected_s = perf_counter() - began
        figures = [only("first hello [s]", connected_s), *await _agents(gateway)]
        figures += await _soul(gateway)
        figures += await _said(place, gateway, news)
        figures += await _reset(place, gateway)
        figures += await _restarts(place, gateway, news)
    figures += await _identity(place)
    return figures


async def _agents(gateway: Gateway) -> list[Figure]:
    made = 0

    async def create() -> None:
        nonlocal made
        try:
            await methods.create_agent(gateway, _AGENT)
            made += 1
        except GatewayRefused:
            pass

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(create)

    async def listed() -> bool | None:
        return True if (await methods.agents_list(gateway)).find(_AGENT) else None

    began = perf_counter()
    await until(listed, 30)
    return [
        exactly("five create one agent at once: made", made, 1),
        at_most("until it is listed [s]", perf_counter() - began, 10.0),
    ]


async def _soul(gateway: Gateway) -> list[Figure]:
    read = await methods.file_get(gateway, _AGENT, SOUL_FILE)
    first = await methods.file_set(gateway, _AGENT, SOUL_FILE, "one\n", expected_hash=read.hash)
    told = ""
    try:
        await methods.file_set(gateway, _AGENT, SOUL_FILE, "two\n", expected_hash=read.hash)
    except FileConflict as conflict:
        told = conflict.details.get("currentHash") or ""
    return [
        exactly(
            "a write over an older SOUL.md is refused with the hash that is there", int(told == first.hash), 1
        )
    ]


async def _said(place: Place, gateway: Gateway, news: list[GatewayNews]) -> list[Figure]:
    held = place.model.when("keep busy", Say("No longer busy."), is_held=True)
    place.model.when("the second message", Say("The second answer."))
    await methods.chat_send(gateway, _SESSION, "keep busy", key="busy-1", queue_mode=QueueMode.FOLLOWUP)
    await held.until_asked()
    ack = await methods.chat_send(
        gateway, _SESSION, "the second message", key="second-1", queue_mode=QueueMode.FOLLOWUP
    )
    history = await methods.chat_history(gateway, _SESSION, limit=100)
    waiting = history.waiting("second-1")
    held.release()

    async def answered() -> str | None:
        shown = await methods.chat_history(gateway, _SESSION, limit=100)
        place_of_it = shown.place("second-1")
        after = [] if place_of_it is None else shown.messages[place_of_it + 1 :]
        return next((row.text for row in after if row.role == "assistant" and row.text), None)

    answer = await until(answered, 60)
    finals = [
        one
        for one in news
        if isinstance(one, GatewayEvent) and one.name == "chat" and one.payload.get("state") == "final"
    ]
    return [
        exactly(
            "a message to a busy agent is acknowledged as if it were not", int(ack.status == "started"), 1
        ),
        exactly("... and shown as queued", int(waiting is not None and waiting.state == "queued"), 1),
        exactly("... and answered later", int(answer == "The second answer."), 1),
        only("finals heard without subscribing", str(len(finals))),
    ]


async def _reset(place: Place, gateway: Gateway) -> list[Figure]:
    """A reset leaves a row that says since when a history shows everything."""
    times = {"created_at": 0, "moved_at": 0}
    before, _ = await find(gateway, _SESSION, "second-1", **times)
    async with place.gateway.witness() as witness:
        await witness.ask("sessions.reset", key=_SESSION)
    shown, is_whole = await find(gateway, _SESSION, "second-1", **times)
    return [
        exactly("before a reset of its session a message is found", int(before.progress == "consumed"), 1),
        exactly("  afterwards not", int(shown.progress == "absent"), 1),
        exactly("  which proves nothing, as the history shows", int(not is_whole), 1),
    ]


async def _restarts(place: Place, gateway: Gateway, news: list[GatewayNews]) -> list[Figure]:
    figures = []
    for name, at_once in (("restarted", False), ("killed and started again", True)):
        news.clear()
        ends: list[GatewayError] = []
        async with anyio.create_task_group() as tasks:
            if at_once:  # a gateway that is asked to stop waits for such a request: killed, it does not
                tasks.start_soon(_fails, gateway, ends)
                await anyio.wait_all_tasks_blocked()
            away_s = await place.gateway.restart(at_once=at_once)
        began = perf_counter()
        await gateway.ready(60)
        back = [one for one in news if isinstance(one, Reconnected)]
        figures += [
            only(f"gateway {name}: away [s]", away_s),
            at_most("  the hub is back after [s]", perf_counter() - began, 45.0),
            exactly("  told as a restart", len([one for one in back if one.is_restart]), 1),
            exactly("  open requests ended as maybe done", sum(end.dispatched for end in ends), int(at_once)),
        ]
    return figures


async def _fails(gateway: Gateway, ends: list[GatewayError]) -> None:
    """Something that the gateway answers late: it is cut off before."""
    try:
        await gateway.call("agent.wait", {"runId": "nobody-knows", "timeoutMs": 110_000}, timeout_s=120)
    except GatewayUnreachable as end:
        ends.append(end)


async def _identity(place: Place) -> list[Figure]:
    """Twice with a key of our own: the second time by the token that the gateway gave, if it gave one."""
    folder = place.folder / "identity"
    scopes: tuple[str, ...] = ()
    for _ in range(2):
        async with client(place.gateway.url, place.gateway.token, folder, [], has_device=True) as gateway:
            await gateway.ready(60)
            scopes = gateway.health().scopes
    return [exactly("scopes with a device identity, twice over", len(scopes), 2)]


@asynccontextmanager
async def client(
    url: str, token: str, folder: Path, news: list[GatewayNews], *, has_device: bool | None = None
) -> AsyncIterator[Gateway]:
    """The hub's client of a gateway, with its state in *folder*; what it hears is put to *news*."""
    await anyio.Path(folder).mkdir(exist_ok=True)
    fleet = Fleet(
        folder=folder,
        rules=lambda: OutboundRules.parse(()),
        clock=SystemClock(),
        chance=SystemChance(),
        metrics=Metrics(),
        version=VERSION,
    )
    fleet.listen(news.append)
    fleet.apply([GatewayConfig(name=NAME, url=url, token=token, has_device=has_device)])
    async with anyio.create_task_group() as tasks:
        await tasks.start(fleet.serve)
        gateway = fleet.get(NAME)

        async def is_tried() -> bool | None:
            return True if gateway.health().state != "stopped" else None

        await until(is_tried, 10)
        yield gateway
        tasks.cancel_scope.cancel()
