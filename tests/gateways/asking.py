"""A lead asks its person through the gateway's main agent; the answer comes over the board's memory."""

from typing import Any, Final

from tests.evaluation.figures import Figure, exactly, only
from tests.gateways.letters import answer, token_file
from tests.gateways.place import PATIENCE_S, Place, until
from tests.gateways.scripted_model import Say

_SAID: Final = "Red, please."


async def measure(place: Place) -> list[Figure]:
    """Its figures."""
    lead = place.word("asker")
    board = await place.board(lead)
    await place.do("PUT", f"/v1/boards/{board['id']}/lead", {"agent": lead})
    main = await place.main_agent()
    home = await place.lives(main)
    token = await token_file(place, main)
    part = place.model.when("Which colour is the door", answer(_SAID, token), Say("I told the lead."))
    place.model.when("ANSWER OF THE USER", Say("Thank you."))

    asked = await place.do(
        "POST",
        f"/v1/agent/boards/{board['id']}/ask-user",
        {"content": "Which colour is the door to be?", "correlation_id": "door-1"},
        token=await place.token_of(lead),
    )
    told = await _settled(place, asked["id"])
    (item,) = (await place.do("GET", f"/v1/boards/{board['id']}/memory?reply_to={asked['id']}"))["memory"]
    asks = await place.history(await place.session(main))
    brought = await _brought(place, asked["id"])
    hears = await place.history(await place.session(lead))
    return [
        exactly("the main agent is the gateway's own", int(home["remote_id"] == "main"), 1),
        exactly("the main agent was asked once, as the gateway shows it", len(asks.said(asked["id"])), 1),
        exactly(
            "  without a token in the letter", sum("hub_" in place_of for place_of in place.model.prompts)
        ),
        exactly("  it ran what the letter says", int('"id"' in "".join(part.heard)), 1),
        exactly("the question is answered by what it brought", int(told["answer"] == _SAID), 1),
        exactly("  told as the main agent's", int(main in told["answered_by"]), 1),
        exactly("  which is an item of the board's memory", int(item["content"] == _SAID), 1),
        exactly("  with the tags of an answer", int(item["tags"] == ["gateway_main", "user_reply"]), 1),
        exactly("the lead that asked has the answer, as the gateway shows it", len(hears.said(_SAID)), 1),
        only("  states of that message", brought["state"]),
    ]


async def _settled(place: Place, question: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = await place.do("GET", f"/v1/questions/{question}")
        return found if found["state"] != "open" else None

    found: dict[str, Any] = await until(look, PATIENCE_S, lambda: f"not answered: {place.hub.log()[-3000:]}")
    return found


async def _brought(place: Place, question: str) -> dict[str, Any]:
    """The message that brings the answer to who asked, once its agent has it."""

    async def look() -> dict[str, Any] | None:
        messages = (await place.do("GET", "/v1/messages"))["messages"]
        found = [one for one in messages if one["kind"] == "answer" and one["question_id"] == question]
        return found[0] if found and found[0]["state"] in ("consumed", "answered") else None

    found: dict[str, Any] = await until(look, PATIENCE_S, lambda: f"not told: {place.hub.log()[-3000:]}")
    return found
