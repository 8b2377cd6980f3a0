"""Nudges: to an agent that is idle, that is busy, and that is busy when its gateway dies."""

from typing import Any, Final

from tests.evaluation.figures import Figure, exactly, only
from tests.gateways.place import Place
from tests.gateways.scripted_model import Say
from tests.gateways.witness import History

_ENDS: Final = ("answered", "failed", "expired")


async def measure(place: Place) -> list[Figure]:
    """Its figures."""
    worker = place.word("worker")
    board = await place.board(worker)
    path = f"/v1/boards/{board['id']}/agents/{worker}/nudge"
    session = await place.session(worker)
    return [
        *await _idle(place, path, session),
        *await _busy(place, path, session),
        *await _modes(place, path, session),
        *await _commands(place, path, session),
        *await _dropped(place, path, session),
    ]


async def _idle(place: Place, path: str, session: str) -> list[Figure]:
    place.model.when("how is the weather", Say("It rains."))
    sent = await place.do("POST", f"{path}?wait_s=0", {"content": "Please tell: how is the weather?"})
    told = await place.message_in(sent["id"], *_ENDS)
    shown = await place.history(session)
    return [
        exactly("idle agent: answered, as the gateway shows it", _same_answer(told, shown), 1),
        exactly("  the gateway has it once", len(shown.said(sent["id"])), 1),
        exactly("  under the key of its attempt", int(shown.keys(sent["id"]) == [told["key"]]), 1),
        exactly("  every move has a proof", len([one for one in told["moves"][1:] if not one["proof"]])),
        only("  states", " > ".join(states(told))),
    ]


async def _busy(place: Place, path: str, session: str) -> list[Figure]:
    held = place.model.when("count the sheep", Say("A thousand sheep."), is_held=True)
    place.model.when("what about the goats", Say("Ten goats."))
    first = await place.do("POST", f"{path}?wait_s=0", {"content": "Please count the sheep."})
    await held.until_asked()
    second = await place.do("POST", f"{path}?wait_s=3", {"content": "And what about the goats?"})
    shown = await place.history(session)
    figures = [
        exactly("busy agent: not told as delivered", int(second["state"] in ("accepted", "queued")), 1),
        exactly("  queued, as the gateway shows it", int(shown.pending(second["id"]) == ["queued"]), 1),
        exactly("  the first is consumed, not answered", int(await _state(place, first) == "consumed"), 1),
    ]
    held.release()
    ended = [await place.message_in(one["id"], *_ENDS) for one in (first, second)]
    shown = await place.history(session)
    return [
        *figures,
        exactly(
            "  both answered afterwards, each with its own", sum(_same_answer(one, shown) for one in ended), 2
        ),
        exactly("  the gateway has each once", sum(len(shown.said(one["id"])) for one in ended), 2),
        only("  states of the second", " > ".join(states(ended[1]))),
    ]


async def _modes(place: Place, path: str, session: str) -> list[Figure]:
    """Put into the running turn, and instead of it; and what a person takes back at the gateway."""
    ends: dict[str, list[str]] = {}
    shown: list[int] = []
    for mode in ("steer", "interrupt", "followup"):
        held = place.model.when(f"dig hole {mode}", Say("Dug."), is_held=True)
        place.model.when(f"fill hole {mode}", Say("Filled."))
        first = await place.do("POST", f"{path}?wait_s=0", {"content": f"Please dig hole {mode}."})
        await held.until_asked()
        body = {"content": f"Please fill hole {mode}.", "queue_mode": mode}
        second = await place.do("POST", f"{path}?wait_s=0", body)
        await place.message_in(second["id"], "accepted", "queued", "consumed", "answered")
        if mode == "followup":
            await place.message_in(second["id"], "queued")
            async with place.gateway.witness() as witness:
                await witness.ask("chat.abort", sessionKey=session)
        held.release()
        ended = [await place.message_in(one["id"], *_ENDS) for one in (first, second)]
        ends[mode] = [f"{one['state']} {one['reason_code'] or ''}".strip() for one in ended]
        history = await place.history(session)
        shown += [_same_answer(one, history) for one in ended]
    return [
        exactly("put into the running turn: both answered", int(ends["steer"] == ["answered"] * 2), 1),
        exactly("instead of it: one failed, the other answered", int(_took_its_place(ends["interrupt"])), 1),
        exactly(
            "aborted by a person at the gateway: the one behind is cancelled",
            int(ends["followup"][1] == "failed cancelled"),
            1,
        ),
        exactly("  answers as the gateway shows them", sum(shown), 3),
        only("  ends of the first", ", ".join(end[0] for end in ends.values())),
    ]


def _took_its_place(ends: list[str]) -> bool:
    first, second = ends
    return first.startswith("failed") and second == "answered"


async def _commands(place: Place, path: str, session: str) -> list[Figure]:
    """What a gateway would take as an order for itself, if it stood alone in a message."""
    before = len((await place.history(session)).rows)
    ended = []
    for words in ("stop", "/new", "/reset"):
        sent = await place.do("POST", f"{path}?wait_s=0", {"content": words})
        ended.append(await place.message_in(sent["id"], *_ENDS))
    shown = await place.history(session)
    return [
        exactly(
            "'stop', '/new', '/reset' are read by the agent",
            sum(_same_answer(one, shown) for one in ended),
            3,
        ),
        exactly("  and order nothing: the history goes on", int(len(shown.rows) == before + 6), 1),
    ]


async def _dropped(place: Place, path: str, session: str) -> list[Figure]:
    held = place.model.when("walk the dog", Say("The dog is walked."), is_held=True)
    place.model.when("feed the cat", Say("The cat is fed."))
    first = await place.do("POST", f"{path}?wait_s=0", {"content": "Please walk the dog."})
    await held.until_asked()
    second = await place.do(
        "POST", f"{path}?wait_s=0", {"content": "Please feed the cat.", "queue_mode": "followup"}
    )
    await place.message_in(second["id"], "queued")
    away_s = await place.gateway.restart(at_once=True)
    held.release()
    ended = [await place.message_in(one["id"], *_ENDS) for one in (first, second)]
    shown = await place.history(session)
    return [
        only("killed while one works and one waits: away [s]", away_s),
        exactly("  the first was taken up again and answered", _same_answer(ended[0], shown), 1),
        exactly("  the second was interrupted", int("interrupted" in states(ended[1])), 1),
        exactly("  ... and sent under a new key", int(ended[1]["attempt"] == 2), 1),
        exactly("  ... and answered", _same_answer(ended[1], shown), 1),
        exactly("  the gateway has each once", sum(len(shown.said(one["id"])) for one in ended), 2),
        exactly(
            "  ... and shows the dropped one as interrupted",
            int(shown.pending(second["id"]) == ["interrupted"]),
            1,
        ),
        only("  states of the second", " > ".join(states(ended[1]))),
    ]


def states(message: dict[str, Any]) -> list[str]:
    """All states of a message, in order."""
    return [move["new_state"] for move in message["moves"]]


def _same_answer(message: dict[str, Any], shown: History) -> int:
    """Return 1 if the answer in the hub is in the transcript of the gateway, else 0."""
    answers = shown.answers_after(message["id"])
    return int(message["state"] == "answered" and message["answer"] in answers)


async def _state(place: Place, message: dict[str, Any]) -> str:
    return str((await place.message_in(message["id"], "consumed", "answered"))["state"])
