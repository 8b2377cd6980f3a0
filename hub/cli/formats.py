"""Formats of values in the responses of declared commands, by the names that follow ``|`` in a column."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hub.cli import show


def _holder(holder: Mapping[str, Any] | None) -> str:
    """Describe the holder of a lock: ``run 4e21 of notes``, ``device desk for notes``."""
    if holder is None:
        return ""
    agent = holder["agent"]
    match holder["kind"]:
        case "run":
            return f"run {show.short_id(holder['id'])}" + (f" of {agent}" if agent else "")
        case "device":
            return f"device {holder['device'] or holder['id']}" + (f" for {agent}" if agent else "")
    return str(holder["id"])


def _holders(waiting: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(_holder(wait["holder"]) for wait in waiting)


def _holder_now(holder: Mapping[str, Any] | None) -> str:
    return f"{_holder(holder)} holds it now" if holder else "it is free now"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _id(value: str | None) -> str:
    return show.NOTHING if value is None else show.short_id(value)


def _board_role(agent: Mapping[str, Any]) -> str:
    return "lead" if agent["is_lead"] else "worker"


IN_ZONE: Final = "at"  # the header of such a column names the zone
FORMATS: Final[Mapping[str, Callable[[Any], object]]] = {
    IN_ZONE: show.short_moment,
    "day": show.short_moment,
    "moment": show.moment,
    "id": _id,
    "count": len,
    "json": _json,
    "origin": show.origin,
    "yes": lambda is_so: "yes" if is_so else "",
    "or_none": lambda values: values or "none",
    "home": lambda agent: agent["gateway"] or agent["device"],
    "board_role": _board_role,
    "holder": _holder,
    "holders": _holders,
    "holder_now": _holder_now,
}
