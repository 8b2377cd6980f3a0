"""The main agent and the leads: a lead that is made once, a letter, and one letter to many boards."""

from typing import Any, Final

import anyio

from tests.evaluation.figures import Figure, exactly, only
from tests.gateways.letters import answer, token_file
from tests.gateways.place import DEAD, PATIENCE_S, Place, until
from tests.gateways.scripted_model import Say
from tests.support.gateway.wire import gateway_wire

_CALLERS: Final = 8
_BOARDS: Final = 6


async def measure(place: Place) -> list[Figure]:
    """Its figures."""
    main = await place.main_agent()
    token = await place.token_of(main)
    return [
        *await _race(place, token),
        *await _letter(place, token),
        *await _broadcast(place, token),
        *await _to_nobody(place),
    ]


async def _race(place: Place, token: str) -> list[Figure]:
    """Many see to it at once that a board has a lead, and that it is told something."""
    board = await place.board()
    answers: list[dict[str, Any]] = []

    async def ensure() -> None:
        path = f"/v1/agent/boards/{board['id']}/lead/ensure?wait_s=60"
        answers.append(await place.do("POST", path, token=token))

    async with anyio.create_task_group() as tasks:
        for _ in range(_CALLERS):
            tasks.start_soon(ensure)
    async with place.gateway.witness() as witness:
        there = [one for one in await witness.agents() if board["id"] in one]
    return [
        exactly(f"{_CALLERS} at once see to a lead: agents at the gateway", len(there), 1),
        exactly("  leads that they were told of", len({one["agent_id"] for one in answers}), 1),
        exactly("  told that it came to be by them", sum(one["lead_created"] for one in answers), 1),
        exactly("  ready", sum(one["state"] == "ready" for one in answers), _CALLERS),
        exactly("  its name there comes from the board's id", int(there == [f"lead-{board['id']}"]), 1),
    ]


async def _letter(place: Place, token: str) -> list[Figure]:
    """A handoff to a board without a lead, answered by the lead over the board's memory."""
    board = await place.board()
    sent = await place.do(
        "POST",
        f"/v1/agent/boards/{board['id']}/lead/message?wait_s=0",
        {"content": "Take over the garden.", "kind": "handoff", "correlation_id": "garden-1"},
        token=token,
    )
    lead = await _lead_of(place, board["id"])
    file = await token_file(place, lead)
    place.model.when("Take over the garden", answer("The garden is mine.", file), Say("Done."))
    told = await place.message_in(sent["message"]["id"], "answered", "failed")
    shown = await place.history(await place.session(lead))
    memory = (await place.do("GET", f"/v1/boards/{board['id']}/memory"))["memory"]
    return [
        exactly("a letter to a board without a lead: one is made", int(sent["lead_created"]), 1),
        exactly("  it has the letter once, as the gateway shows it", len(shown.said(told["id"])), 1),
        exactly(
            "  answered by an item of the board's memory",
            len([one for one in memory if one["id"] == told["memory_id"]]),
            1,
        ),
        exactly(
            "  with what the lead wrote",
            int([one["content"] for one in memory] == ["The garden is mine."]),
            1,
        ),
        only("  tags", ", ".join(memory[0]["tags"]) if memory else ""),
    ]


async def _broadcast(place: Place, token: str) -> list[Figure]:
    """To boards without leads, and to one that there is not; the gateway dies meanwhile."""
    place.model.when("The office is closed", Say("We heard."))
    boards = [await place.board() for _ in range(_BOARDS)]
    asked = {
        "content": "The office is closed on Monday.",
        "boards": [*(one["id"] for one in boards), "nowhere"],
    }
    sent = await place.do("POST", "/v1/agent/broadcasts?wait_s=0", asked, token=token)
    await place.gateway.kill()
    await place.gateway.start()

    async def settled() -> dict[str, Any] | None:
        found: dict[str, Any] = await place.do("GET", f"/v1/broadcasts/{sent['id']}?limit=100")
        return found if not found["waiting"] else None

    told = await until(settled, PATIENCE_S, lambda: f"never settled: {place.hub.log()[-3000:]}")
    heard = dropped = 0
    async with place.gateway.witness() as witness:
        for one in told["results"]:
            if one["ok"]:
                shown = await witness.history(f"agent:lead-{one['board_id']}:main")
                heard += len(shown.said(one["message_id"]))
                dropped += shown.dropped(one["message_id"])
    return [
        exactly("broadcast, the gateway killed under it: boards that have it", told["sent"], _BOARDS),
        exactly("  each once, as the gateway shows it", heard, _BOARDS),
        only("  turns that the gateway could not begin", str(dropped)),
        exactly("  the one that there is not is told", told["failed"], 1),
        exactly("  and so it is not ok", int(told["ok"]), 0),
    ]


async def _to_nobody(place: Place) -> list[Figure]:
    """One of two gateways is away when it is said, and comes back."""
    here, away = await place.board(), await place.board(gateway=DEAD)
    asked = {"content": "The office is closed on Tuesday too.", "boards": [here["id"], away["id"]]}
    sent = await place.do("POST", "/v1/broadcasts?wait_s=0", asked)

    async def stands(**wanted: int) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            found: dict[str, Any] = await place.do("GET", f"/v1/broadcasts/{sent['id']}")
            return found if wanted.items() <= found.items() else None

        found: dict[str, Any] = await until(look, PATIENCE_S, lambda: f"never: {place.hub.log()[-3000:]}")
        return found

    half = await stands(sent=1, waiting=1)
    async with gateway_wire(place.gateway.url, port=place.dead_port):
        await place.do("POST", f"/v1/gateways/{DEAD}/reconnect")
        whole = await stands(sent=2, waiting=0)
        for one in whole["results"]:
            await place.message_in(one["message_id"], "answered")
    heard = 0
    async with place.gateway.witness() as witness:
        for one in whole["results"]:
            shown = await witness.history(f"agent:lead-{one['board_id']}:main")
            heard += len(shown.said(one["message_id"]))
    return [
        exactly("broadcast over two gateways, one away: boards that have it", half["sent"], 1),
        exactly("  not ok", int(half["ok"]), 0),
        exactly("  the gateway is back: boards that have it", whole["sent"], 2),
        exactly("  ok", int(whole["ok"]), 1),
        exactly("  each once, as the gateway shows it", heard, 2),
    ]


async def _lead_of(place: Place, board: str) -> str:
    async def look() -> str | None:
        name: str | None = (await place.do("GET", f"/v1/boards/{board}"))["lead"]
        return name

    name: str = await until(look, PATIENCE_S)
    return name
