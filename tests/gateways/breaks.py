"""The verbs while something breaks under them: said once, and had once, by what the gateway itself shows.

The gateway is killed, or asked to stop; the hub is killed; the wire is cut between the request and
its answer. Whoever asked the hub asks again under the same Idempotency-Key until it is answered.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple

import anyio
import httpx2

from tests.evaluation.figures import Figure, exactly, only
from tests.gateways.place import NAME, PATIENCE_S, Place, until
from tests.gateways.scripted_model import Say
from tests.support.gateway.wire import GatewayWire, gateway_wire

# After the requests have left. A restart of the gateway takes its time, so there are fewer of them.
_MOMENTS_S: Final = {
    "gateway killed": (0.0, 0.15),
    "gateway stopped": (0.03,),
    "hub killed": (0.0, 0.03, 0.15),
}
_ASK_AGAIN_S: Final = 0.3


Happens = Callable[[], Coroutine[Any, Any, None]]


class Cast(NamedTuple):
    """Who is there."""

    board: str
    worker: str
    lead: str
    main: str


class Verb(NamedTuple):
    """A verb, and how it is seen at the gateway.

    Attributes:
        request: what the hub is asked, with these words in it.
        session: in whose session the letter has to be.
        method: the request to the gateway whose answer is lost when the wire is cut.
    """

    name: str
    request: Callable[[Cast, str], tuple[str, str, dict[str, Any]]]
    session: Callable[[Cast], str] | None
    method: str


VERBS: Final = (
    Verb(
        "nudge",
        lambda cast, words: (
            "POST",
            f"/v1/boards/{cast.board}/agents/{cast.worker}/nudge?wait_s=0",
            {"content": words},
        ),
        lambda cast: cast.worker,
        "chat.send",
    ),
    Verb(
        "ask user",
        lambda cast, words: ("POST", f"/v1/boards/{cast.board}/ask-user", {"content": words}),
        lambda cast: cast.main,
        "chat.send",
    ),
    Verb(
        "lead message",
        lambda cast, words: ("POST", f"/v1/boards/{cast.board}/lead/message?wait_s=0", {"content": words}),
        lambda cast: cast.lead,
        "chat.send",
    ),
    Verb(
        "broadcast",
        lambda cast, words: ("POST", "/v1/broadcasts?wait_s=0", {"content": words, "boards": [cast.board]}),
        lambda cast: cast.lead,
        "chat.send",
    ),
    Verb(
        "soul",
        lambda cast, words: (
            "PUT",
            f"/v1/boards/{cast.board}/agents/{cast.worker}/soul?wait_s=0",
            {"content": words},
        ),
        None,
        "agents.files.set",
    ),
)


async def measure(place: Place) -> list[Figure]:
    """Its figures."""
    cast = await _cast(place)
    figures = []
    breaks: dict[str, Callable[[float], Happens]] = {
        "gateway killed": lambda moment_s: partial(_gateway_restarts, place, moment_s, at_once=True),
        "gateway stopped": lambda moment_s: partial(_gateway_restarts, place, moment_s, at_once=False),
        "hub killed": lambda moment_s: partial(_hub_restarts, place, moment_s),
    }
    for name, moments_s in _MOMENTS_S.items():
        for moment_s in moments_s:
            happens = breaks[name](moment_s)
            figures += await _said_once(place, cast, VERBS, f"{name} after {moment_s * 1000:.0f} ms", happens)
    async with _through(place) as wire:
        for verb in VERBS:
            figures += await _said_once(place, cast, (verb,), "wire cut", partial(_cut, wire, verb.method))
        figures.append(only("cuts between request and answer", str(wire.cuts)))
    return figures


async def _cast(place: Place) -> Cast:
    worker = place.word("witnessed")
    board = await place.board(worker)
    place.model.when("please remember", Say("I do."))
    lead = (await place.do("POST", f"/v1/boards/{board['id']}/lead/ensure?wait_s=100"))["agent"]
    cast = Cast(board["id"], worker, lead, await place.main_agent())
    for agent in (cast.worker, cast.lead, cast.main):
        await place.session(agent)
    return cast


async def _said_once(
    place: Place, cast: Cast, verbs: Sequence[Verb], name: str, happens: Happens
) -> list[Figure]:
    """All of *verbs* at once while it *happens*; then how often each was had."""
    words = {verb: f"please remember {place.word('word')}." for verb in verbs}
    began = perf_counter()
    async with anyio.create_task_group() as tasks:
        for verb in verbs:
            tasks.start_soon(_ask, place, verb, verb.request(cast, words[verb]))
        tasks.start_soon(happens)

    async def all_had() -> bool | None:
        return True if all([await _times_had(place, cast, verb, words[verb]) for verb in verbs]) else None

    with suppress(AssertionError):  # what is missing is counted below
        await until(all_had, PATIENCE_S)
        await _nothing_waits(place)
    counts = {verb.name: await _times_had(place, cast, verb, words[verb]) for verb in verbs}
    place.tell(f"  {name}: {counts} ({perf_counter() - began:.0f} s)")
    return [exactly(f"{verb}, {name}: had once", count, 1) for verb, count in counts.items()]


async def _ask(place: Place, verb: Verb, request: tuple[str, str, dict[str, Any]]) -> None:
    """Until it is answered, whatever becomes of the hub."""
    method, path, body = request
    key = place.word("key")
    while True:
        try:
            answer = await place.hub.ask(method, path, json=body, headers={"Idempotency-Key": key})
        except (httpx2.TransportError, OSError):
            await anyio.sleep(_ASK_AGAIN_S)
            continue
        assert answer.is_success, f"{verb.name}: {answer.status_code} {answer.text}"
        return


async def _times_had(place: Place, cast: Cast, verb: Verb, words: str) -> int:
    if verb.session is None:
        async with place.gateway.witness() as witness:
            soul = await witness.soul((await place.lives(cast.worker))["remote_id"])
        writes = (await place.do("GET", f"/v1/boards/{cast.board}/agents/{cast.worker}/soul/history"))[
            "versions"
        ]
        written = [one for one in writes if one["sha256"] == soul["hash"]]
        return len(written) if soul["content"] == words else 0
    shown = await place.history(await place.session(verb.session(cast)))
    return len(shown.said(words))


async def _nothing_waits(place: Place) -> None:
    """Until the hub has nothing more to do: what would be said twice would be said by then."""

    async def look() -> bool | None:
        found = (await place.do("GET", "/v1/messages?limit=100"))["messages"]
        return None if [one for one in found if _is_open(one)] else True

    await until(look, PATIENCE_S, lambda: f"something still waits: {place.hub.log()[-3000:]}")


def _is_open(message: dict[str, Any]) -> bool:
    return message["settled_at"] is None and message["gateway"] == NAME  # where nobody is, nothing ends


async def _gateway_restarts(place: Place, moment_s: float, *, at_once: bool) -> None:
    await anyio.sleep(moment_s)
    await place.gateway.restart(at_once=at_once)


async def _hub_restarts(place: Place, moment_s: float) -> None:
    await anyio.sleep(moment_s)
    await place.hub.kill()
    await place.hub.start()


async def _cut(wire: GatewayWire, method: str) -> None:
    before, wire.method = wire.cuts, method
    with anyio.move_on_after(PATIENCE_S):
        while wire.cuts == before:
            await anyio.sleep(0.05)
        return
    raise AssertionError(f"the hub never asked for {method}")


@asynccontextmanager
async def _through(place: Place) -> AsyncIterator[GatewayWire]:
    """The hub goes over a wire of ours from now on; its settings are read anew while it runs."""
    async with gateway_wire(place.gateway.url) as wire:
        await _moves_to(place, place.gateway.url, wire.url)
        try:
            yield wire
        finally:
            await _moves_to(place, wire.url, place.gateway.url)


async def _moves_to(place: Place, before: str, after: str) -> None:
    settings = anyio.Path(place.folder / "hub" / "hub.toml")
    text = await settings.read_text()
    await settings.write_text(text.replace(before, after))
    await place.do("POST", "/v1/reload")

    async def is_ready() -> bool | None:
        gateway = await place.do("GET", f"/v1/gateways/{NAME}")
        return True if gateway["state"] == "ready" else None

    await until(is_ready, PATIENCE_S, lambda: f"not connected over {after}: {place.hub.log()[-2000:]}")
