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


def _author(item: Mapping[str, Any]) -> str:
    return str(item["agent"] or item["actor"])


def _tags(item: Mapping[str, Any]) -> list[str]:
    return [*item["tags"], *(["chat"] if item["is_chat"] else [])]


def _short(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_SHOWN else f"{line[: MOST_SHOWN - 3]}..."


def _answered(item: Mapping[str, Any]) -> str:
    answered = ((noun, item[f"answered_{noun}"]) for noun in ("message", "question"))
    return "; ".join(f"it answers {noun} {show.short_id(id)}" for noun, id in answered if id)


def _registered(response: Mapping[str, Any]) -> str:
    state = "enabled" if response["capability"]["enabled"] else "not enabled"
    return f"{state}; replaces {response['disabled']}" if response["disabled"] else state


def _versions(removed: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{one['name']} {one['version']}" for one in removed)


def _gateway_problems(gateway: Mapping[str, Any]) -> str:
    problems = ((gateway["problem"], ""), (gateway["admin_problem"], "with admin rights: "))
    return "; ".join(
        f"{gateway['name']}: {scope}{problem['message']}"
        + (f"; {problem['hint']}" if problem["hint"] else "")
        for problem, scope in problems
        if problem
    )


def _since(gateway: Mapping[str, Any]) -> Any:
    return gateway["unreachable_since"] or gateway["since"]


def _connector_state(connector: Mapping[str, Any]) -> str:
    match connector["state"]:
        case "sign_in":
            return "needs a sign-in"
        case "ok" if connector["failures"]:
            return f"failed {connector['failures']} times"
    return str(connector["state"])


def _connector_problem(connector: Mapping[str, Any]) -> str:
    if connector["detail"] is None or connector["state"] == "ok":
        return ""
    hint = f"; hub connectors login {connector['name']}" if connector["state"] == "sign_in" else ""
    return f"{connector['name']}: {connector['detail']}{hint}"


def _revoked_there(is_revoked: bool) -> str:
    return "the provider revoked it" if is_revoked else "the provider did not confirm that it is revoked"


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


MOST_SHOWN: Final = 100  # characters of a text in a table
LEFT_OUT: Final = object()  # in place of a fact that is not shown
IN_ZONE: Final = ("at", "since_at")  # the headers of these columns name the zone
FORMATS: Final[Mapping[str, Callable[[Any], object]]] = {
    "at": show.short_moment,
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
    "pretty": _pretty,
    "short": _short,
    "result": lambda is_ok: "ok" if is_ok else "failed",
    "author": _author,
    "tags": _tags,
    "answered": _answered,
    "registered": _registered,
    "versions": _versions,
    "gateway_problems": _gateway_problems,
    "since_at": lambda gateway: show.short_moment(_since(gateway)),
    "state_since": lambda gateway: f"{gateway['state']} since {show.moment(_since(gateway))}",
    "online": lambda gateway: f"{gateway['agents_online']} of {gateway['agents']} online",
    "remote_state": lambda agent: (
        f"{agent['state']}: {agent['problem']}" if agent["problem"] else agent["state"]
    ),
    "connector_state": _connector_state,
    "connector_problem": _connector_problem,
    "revoked_there": _revoked_there,
    "holder": _holder,
    "holders": _holders,
    "holder_now": _holder_now,
}
