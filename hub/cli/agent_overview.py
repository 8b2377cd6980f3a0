"""Overview of an agent on one screen: identity, status with reasons, schedule, runs, spend."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from hub.cli import show
from hub.cli.talk import talk
from hub.printable import one_line

PROMPT_WIDTH: Final = 70  # characters
MAX_FIRES: Final = 3
MAX_KEYS: Final = 8
_CALM: Final = {"available", "ok", "idle"}  # values that need no explanation


def show_overview(name: str, state: Path, *, as_json: bool) -> Mapping[str, Any]:
    """Print the overview as JSON or as text. Return the agent of the response."""
    with talk(state) as hub:
        response = hub.get(f"/v1/agents/{quote(name, safe='')}/overview")
    agent: Mapping[str, Any] = response["agent"]
    if as_json:
        others = {noun: value for noun, value in response.items() if noun != "agent"}
        show.print_json("agent", {**agent, "overview": others})
    else:
        print_overview(response)
    return agent


def print_overview(response: Mapping[str, Any]) -> None:
    """Print the overview as text, without its empty facts."""
    show.print_facts({fact: value for fact, value in _facts(response) if value})
    if response["runs"]:
        show.print_table(
            ("run", show.in_zone("queued"), "trigger", "result", "items", "message"),
            map(_run_row, response["runs"]),
        )


def _facts(response: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    agent, standing = response["agent"], response["standing"]
    yield "agent", f"{agent['name']}{_named(agent)}"
    yield "identity", ", ".join(_identity(agent))
    if agent["gateway"] is not None:
        yield "gateway", _with_heartbeat(f"{agent['gateway']}: {standing['connectivity']}", standing)
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
    yield "slots", [_slot(slot) for slot in response["slots"]]
    yield "runs at once", agent["max_concurrent_runs"]
    yield "needs", agent["needs"]
    yield "locks per run", agent["locks"]
    yield "locks", [_lock(lock, agent["name"]) for lock in response["locks"]]
    yield "capabilities", [f"{one['name']} {one['version']}" for one in response["capabilities"]]
    yield "config", _keys(response["config"])
    yield "checkpoints", [_checkpoint(one) for one in response["checkpoints"]]
    yield "spend", _spend(response["spend"])
    yield "metrics", _counted(response["series"], "series", "series")


def _named(agent: Mapping[str, Any]) -> str:
    return f": {one_line(agent['description'])}" if agent["description"] else ""


def _identity(agent: Mapping[str, Any]) -> Iterator[str]:
    yield f"{agent['subtype'] or agent['type']} of {agent['user']}"
    if agent["template"]:
        yield f"template {agent['template']}"
    for word, key in (("external id", "external_id"), ("instance", "instance_id"), ("project", "project_id")):
        if agent[key]:
            yield f"{word} {agent[key]}"
    yield f"managed by {show.origin(agent['source'])}"


def _device(agent: Mapping[str, Any], standing: Mapping[str, Any]) -> str:
    where = f"{agent['device'] or 'none'}: {'connected' if agent['device_connected'] else 'away'}"
    return _with_heartbeat(where, standing)


def _with_heartbeat(where: str, standing: Mapping[str, Any]) -> str:
    if standing["last_heartbeat_at"] is not None:
        where += f", last heartbeat {_ago(standing['last_heartbeat_at'])}"
    return where


def _reads(agent: Mapping[str, Any]) -> str:
    extensions = f" ({', '.join(agent['file_extensions'])})" if agent["file_extensions"] else ""
    return f"{', '.join(agent['paths'])}{extensions} for {', '.join(agent['data_types'])}"


def _cut(prompt: str) -> str:
    line = one_line(prompt)
    return line if len(line) <= PROMPT_WIDTH else f"{line[: PROMPT_WIDTH - 1]}…"


def _since(since: Mapping[str, Any]) -> str:
    why = f": {since['reason']}" if since["reason"] else ""
    return f"{since['value']} since {show.moment(since['since'])} by {show.mover(since['actor'])}{why}"


def _exhausted(standing: Mapping[str, Any]) -> str | None:
    if standing["exhaust_reason"] is None:
        return None
    if standing["recovery_at"] is not None:
        return f"{standing['exhaust_reason']}, available again at {show.moment(standing['recovery_at'])}"
    return f"{standing['exhaust_reason']}, next probe at {show.moment(standing['probe_at'])}"


def _schedule(agent: Mapping[str, Any]) -> str | None:
    """Return the schedule with its time zone, and the reasons if it is paused."""
    if agent["schedule"] is None:
        return None
    paused = [schedule["paused_because"] for schedule in agent["schedules"] if schedule["paused_because"]]
    return f"{agent['schedule']} ({', '.join([agent['timezone'], *paused])})"


def _policies(schedule: Mapping[str, Any]) -> str:
    """Describe the policies for scheduled times that cannot run at once."""
    window = schedule["catch_up_window_s"]
    window_note = f" not older than {show.duration(window)}" if window else ""
    return f"overlap {schedule['overlap']}, catch up {schedule['catch_up']}{window_note}"


def _next(agent: Mapping[str, Any]) -> str:
    if agent["lifecycle"] != "active":
        return str(agent["lifecycle"])
    return _first(agent["next_fires"], lambda fire: show.moment(fire["at"]))


def _slot(slot: Mapping[str, Any]) -> str:
    times = _first(slot["next_times"], lambda time: show.short_moment(time["starts_at"]))
    return f"{slot['label']} {slot['said']} for {show.duration(slot['duration_s'])}, next {times}"


def _lock(lock: Mapping[str, Any], agent: str) -> str:
    holder = lock["holder"]
    if holder is not None and holder["agent"] == agent:
        return f"holds {lock['resource']} (fence {lock['fence']}) since {show.short_moment(lock['since'])}"
    held = "free now" if holder is None else f"held by {holder['kind']} {holder['agent'] or holder['id']}"
    return f"waits for {lock['resource']}, {held}"


def _keys(keys: Sequence[str]) -> str | None:
    more = f" and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else ""
    return f"{', '.join(keys[:MAX_KEYS])}{more}" if keys else None


def _checkpoint(one: Mapping[str, Any]) -> str:
    lost = "" if one["is_recoverable"] else ", not recoverable"
    return f"{one['scope']} #{one['sequence']} of {show.short_moment(one['updated_at'])}{lost}"


def _spend(spend: Mapping[str, Any]) -> str | None:
    if not spend["month"]["calls"]:
        return None
    return "; ".join(
        f"${spent['usd']:.4f} in {span} ({_counted(spent['calls'], 'request', 'requests')})"
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


def _first(times: Iterable[Mapping[str, Any]], show_one: Callable[[Mapping[str, Any]], str]) -> str:
    return ", ".join(map(show_one, list(times)[:MAX_FIRES])) or "none"


def _ago(at: str) -> str:
    return f"{show.duration(max(0.0, (show.clock.now() - datetime.fromisoformat(at)).total_seconds()))} ago"


def _counted(count: int, one: str, several: str) -> str | None:
    return f"{count} {one if count == 1 else several}" if count else None
