"""An agent on one screen: who it is, how it stands since when and why, what comes and was, what it spends."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from hub.cli import show
from hub.cli.talk import talk
from hub.printable import one_line

PROMPT_TOLD: Final = 70  # characters of it: one line
FIRES_TOLD: Final = 3
KEYS_TOLD: Final = 8
_CALM: Final = {"available", "ok", "idle"}  # where nobody has to ask why


def show_overview(name: str, state: Path, *, as_json: bool) -> Mapping[str, Any]:
    """Print it, as JSON or for a person; what was told of the agent itself."""
    with talk(state) as hub:
        told = hub.get(f"/v1/agents/{quote(name, safe='')}/overview")
    agent: Mapping[str, Any] = told["agent"]
    if as_json:
        beside = {noun: value for noun, value in told.items() if noun != "agent"}
        show.print_json("agent", {**agent, "overview": beside})
    else:
        print_overview(told)
    return agent


def print_overview(told: Mapping[str, Any]) -> None:
    """For a person; what there is nothing of is left out."""
    show.print_facts({fact: value for fact, value in _facts(told) if value})
    if told["runs"]:
        show.print_table(
            ("run", show.in_zone("queued"), "by", "went", "items", "message"),
            map(_run_row, told["runs"]),
        )


def _facts(told: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    agent, standing = told["agent"], told["standing"]
    yield "agent", f"{agent['name']}{_named(agent)}"
    yield "who", ", ".join(_who(agent))
    if agent["gateway"] is not None:
        yield "gateway", _heard(f"{agent['gateway']}: {standing['connectivity']}", standing)
    else:
        yield "device", _device(agent, standing)
        yield "reads", _reads(agent)
        yield "prompt", _cut(agent["prompt"])
    yield "state", ", ".join(str(standing[axis]) for axis in standing["axes"])
    for axis, since in standing["axes"].items():
        if since["value"] not in _CALM and since["since"] is not None:
            yield f"  {axis}", _since(since)
    yield "  exhausted", _exhausted(standing)
    yield "schedule", _schedule(agent)
    yield "policies", [_policies(schedule) for schedule in agent["schedules"]]
    yield "next run", _next(agent)
    yield "slots", [_slot(slot) for slot in told["slots"]]
    yield "runs at once", agent["max_concurrent_runs"]
    yield "needs", agent["needs"]
    yield "takes locks", agent["locks"]
    yield "locks", [_lock(lock, agent["name"]) for lock in told["locks"]]
    yield "capabilities", [f"{one['name']} {one['version']}" for one in told["capabilities"]]
    yield "config", _keys(told["config"])
    yield "checkpoints", [_checkpoint(one) for one in told["checkpoints"]]
    yield "spend", _spend(told["spend"])
    yield "metrics", _counted(told["series"], "series", "series")


def _named(agent: Mapping[str, Any]) -> str:
    return f": {one_line(agent['description'])}" if agent["description"] else ""


def _who(agent: Mapping[str, Any]) -> Iterator[str]:
    yield f"{agent['subtype'] or agent['type']} of {agent['user']}"
    if agent["template"]:
        yield f"template {agent['template']}"
    for word, key in (("external id", "external_id"), ("instance", "instance_id"), ("project", "project_id")):
        if agent[key]:
            yield f"{word} {agent[key]}"
    yield f"managed by {show.origin(agent['source'])}"


def _device(agent: Mapping[str, Any], standing: Mapping[str, Any]) -> str:
    told = f"{agent['device'] or 'none'}: {'connected' if agent['device_connected'] else 'away'}"
    return _heard(told, standing)


def _heard(told: str, standing: Mapping[str, Any]) -> str:
    if standing["last_heartbeat_at"] is not None:
        told += f", last heartbeat {_ago(standing['last_heartbeat_at'])}"
    return told


def _reads(agent: Mapping[str, Any]) -> str:
    extensions = f" ({', '.join(agent['file_extensions'])})" if agent["file_extensions"] else ""
    return f"{', '.join(agent['paths'])}{extensions} for {', '.join(agent['data_types'])}"


def _cut(prompt: str) -> str:
    line = one_line(prompt)
    return line if len(line) <= PROMPT_TOLD else f"{line[: PROMPT_TOLD - 1]}…"


def _since(since: Mapping[str, Any]) -> str:
    why = f": {since['reason']}" if since["reason"] else ""
    return f"{since['value']} since {show.moment(since['since'])} by {show.mover(since['actor'])}{why}"


def _exhausted(standing: Mapping[str, Any]) -> str | None:
    if standing["exhaust_reason"] is None:
        return None
    if standing["recovery_at"] is not None:
        return f"{standing['exhaust_reason']}, back at {show.moment(standing['recovery_at'])}"
    return f"{standing['exhaust_reason']}, asked again at {show.moment(standing['probe_at'])}"


def _schedule(agent: Mapping[str, Any]) -> str | None:
    """In short with its zone, and why it does not fire, if it does not."""
    if agent["schedule"] is None:
        return None
    paused = [schedule["paused_because"] for schedule in agent["schedules"] if schedule["paused_because"]]
    return f"{agent['schedule']} ({', '.join([agent['timezone'], *paused])})"


def _policies(schedule: Mapping[str, Any]) -> str:
    """What becomes of fires that cannot run at once."""
    window = schedule["catch_up_window_s"]
    younger = f" not older than {show.duration(window)}" if window else ""
    return f"overlap {schedule['overlap']}, catch up {schedule['catch_up']}{younger}"


def _next(agent: Mapping[str, Any]) -> str:
    if agent["lifecycle"] != "active":
        return str(agent["lifecycle"])
    return _first(agent["next_fires"], lambda fire: show.moment(fire["at"]))


def _slot(slot: Mapping[str, Any]) -> str:
    comes = _first(slot["next_times"], lambda time: show.short_moment(time["starts_at"]))
    return f"{slot['label']} {slot['said']} for {show.duration(slot['duration_s'])}, next {comes}"


def _lock(lock: Mapping[str, Any], agent: str) -> str:
    holder = lock["holder"]
    if holder is not None and holder["agent"] == agent:
        return f"holds {lock['resource']} (fence {lock['fence']}) since {show.short_moment(lock['since'])}"
    held = "nobody" if holder is None else f"{holder['kind']} {holder['agent'] or holder['id']}"
    return f"waits for {lock['resource']}, held by {held}"


def _keys(keys: Sequence[str]) -> str | None:
    more = f" and {len(keys) - KEYS_TOLD} more" if len(keys) > KEYS_TOLD else ""
    return f"{', '.join(keys[:KEYS_TOLD])}{more}" if keys else None


def _checkpoint(one: Mapping[str, Any]) -> str:
    lost = "" if one["is_recoverable"] else ", not to be resumed from"
    return f"{one['scope']} #{one['sequence']} of {show.short_moment(one['updated_at'])}{lost}"


def _spend(spend: Mapping[str, Any]) -> str | None:
    if not spend["month"]["calls"]:
        return None
    return "; ".join(
        f"${spent['usd']:.4f} in {span} ({_counted(spent['calls'], 'question', 'questions')})"
        for span, spent in (("24 h", spend["day"]), ("30 days", spend["month"]))
    )


def _run_row(run: Mapping[str, Any]) -> Sequence[object]:
    return (
        show.short_id(run["id"]),
        show.short_moment(run["created_at"]),
        run["trigger"],
        run["outcome"] or run["state"],
        run["items_created"],
        run["waiting_for"] or run["because"] or run["message"],
    )


def _first(times: Iterable[Mapping[str, Any]], tell: Callable[[Mapping[str, Any]], str]) -> str:
    return ", ".join(map(tell, list(times)[:FIRES_TOLD])) or "none"


def _ago(told: str) -> str:
    return f"{show.duration(max(0.0, (show.clock.now() - datetime.fromisoformat(told)).total_seconds()))} ago"


def _counted(count: int, one: str, several: str) -> str | None:
    return f"{count} {one if count == 1 else several}" if count else None
