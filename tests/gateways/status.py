"""How an agent at the gateway stands: busy, idle, exhausted and well again, offline and back."""

from datetime import datetime
from typing import Any, Final

from tests.evaluation.figures import Figure, at_most, exactly
from tests.gateways.place import PATIENCE_S, Place, until
from tests.gateways.scripted_model import NO_CREDIT, Refuse, Say

_RETRY_S: Final = 20


async def measure(place: Place) -> list[Figure]:
    """Its figures."""
    worker = place.word("stander")
    board = await place.board(worker)
    path = f"/v1/boards/{board['id']}/agents/{worker}/nudge?wait_s=0"
    return [
        *await _busy(place, worker, path),
        *await _rate_limited(place, worker, path),
        *await _offline(place, worker),
    ]


async def measure_billing(place: Place) -> list[Figure]:
    """Last of all: for ten minutes the gateway asks this provider nothing more."""
    worker = place.word("poor")
    board = await place.board(worker)
    place.model.outage = NO_CREDIT
    await place.do(
        "POST", f"/v1/boards/{board['id']}/agents/{worker}/nudge?wait_s=0", {"content": "Buy bread."}
    )
    found = await _comes(place, worker, availability="exhausted")
    place.model.outage = None
    return [
        exactly("no credit: exhausted", int(found["availability"] == "exhausted"), 1),
        exactly("  for want of credit", int(found["exhaust_reason"] == "billing"), 1),
        at_most("  asked again in [s]", _seconds(found, "exhausted_at", "probe_at"), 601.0),
    ]


async def _busy(place: Place, worker: str, path: str) -> list[Figure]:
    held = place.model.when("paint the fence", Say("Painted."), is_held=True)
    await place.do("POST", path, {"content": "Please paint the fence."})
    await held.until_asked()
    busy = await _comes(place, worker, activity="saturated")
    held.release()
    idle = await _comes(place, worker, activity="idle")
    return [
        exactly("works: busy", int(busy["activity"] == "saturated"), 1),
        exactly("has answered: idle", int(idle["activity"] == "idle"), 1),
    ]


async def _rate_limited(place: Place, worker: str, path: str) -> list[Figure]:
    place.model.when("mow the lawn", Say("Mown."))
    place.model.outage = Refuse(retry_after_s=_RETRY_S)
    sent = await place.do("POST", path, {"content": "Please mow the lawn."})
    limited = await _comes(place, worker, availability="exhausted")
    place.model.outage = None
    await place.message_in(sent["id"], "answered")
    well = await _comes(place, worker, availability="available")
    return [
        exactly("rate limited: exhausted", int(limited["availability"] == "exhausted"), 1),
        exactly("  for the provider's limit", int(limited["exhaust_reason"] == "rate_limit"), 1),
        at_most("  recovers in [s]", _seconds(limited, "exhausted_at", "recovery_at"), _RETRY_S + 1.0),
        exactly(
            "answered as soon as the provider is well: available", int(well["availability"] == "available"), 1
        ),
    ]


async def _offline(place: Place, worker: str) -> list[Figure]:
    await place.gateway.stop()
    gone = await _comes(place, worker, connectivity="offline")
    await place.gateway.start()
    back = await _comes(place, worker, connectivity="online")
    return [
        exactly("gateway stopped: offline", int(gone["connectivity"] == "offline"), 1),
        exactly("gateway back: online", int(back["connectivity"] == "online"), 1),
    ]


def _seconds(status: dict[str, Any], begin: str, end: str) -> float:
    first, last = (datetime.fromisoformat(status[name]) for name in (begin, end))
    return (last - first).total_seconds()


async def _comes(place: Place, worker: str, **wanted: str) -> dict[str, Any]:
    last: dict[str, Any] = {}

    async def look() -> dict[str, Any] | None:
        found = await place.do("GET", f"/v1/agents/{worker}/status")
        last.update(found)
        return found if wanted.items() <= found.items() else None

    found: dict[str, Any] = await until(look, PATIENCE_S, lambda: f"{worker} never was {wanted}: {last}")
    return found
