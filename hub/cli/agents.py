"""Commands on agents: list, show, next runs, pause, resume, backfill."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import click

from hub.cli import show
from hub.cli.agent_configs import config
from hub.cli.agent_overview import show_overview
from hub.cli.agent_writing import create, edit, validate
from hub.cli.completion import agent_names
from hub.cli.costs import metrics
from hub.cli.failure import Exit, Failure
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.slots import slots
from hub.cli.standings import status
from hub.cli.talk import talk
from hub.cli.token import revoke_agent_token

MAX_DECISIONS = 10
INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


@click.group(cls=ListByDefault, epilog=example("hub agents show notes"))
def agents() -> None:
    """List, show, create, change, pause and remove agents."""


agents.add_command(create)
agents.add_command(edit)
agents.add_command(validate)
agents.add_command(config)
agents.add_command(metrics)
agents.add_command(slots)
agents.add_command(status)
agents.add_command(revoke_agent_token)


@agents.command("ls", epilog=example("hub agents ls"))
@click.argument("name", required=False, shell_complete=agent_names)
@hub_option
@json_option
def list_agents(name: str | None, state: Path, as_json: bool) -> None:
    """List the agents, or show one."""
    if name is not None:
        _show(name, state, as_json=as_json)
        return
    with talk(state) as hub:
        response = hub.get_all("/v1/agents", "agents")
    if as_json:
        show.print_json("agents", response)
        return
    of_several = len({agent["user"] for agent in response["agents"]}) > 1
    show.print_table(
        ("agent", "state", "device", "connected", "schedule", show.in_zone("next"), show.in_zone("last run")),
        (
            (
                f"{agent['name']} ({agent['user']})" if of_several else agent["name"],
                _state(agent),
                agent["device"] if agent["gateway"] is None else f"gateway {agent['gateway']}",
                agent["device_connected"] if agent["gateway"] is None else agent["connectivity"] == "online",
                agent["schedule"],
                _next(agent, show.short_moment),
                _last(agent, show.short_moment),
            )
            for agent in response["agents"]
        ),
    )
    if not response["agents"]:
        show.say("no agents; add one to hub.toml ('hub init' writes an example), or: hub agents create NAME")


@agents.command("show", epilog=example("hub agents show notes"))
@click.argument("name", shell_complete=agent_names)
@hub_option
@json_option
def show_agent(name: str, state: Path, as_json: bool) -> None:
    """Show an agent: identity, status with reasons, upcoming and recent runs, and costs."""
    _show(name, state, as_json=as_json)


@agents.command("next", epilog=example("hub agents next notes"))
@click.argument("name", required=False, shell_complete=agent_names)
@hub_option
@json_option
def next_fires(name: str | None, state: Path, as_json: bool) -> None:
    """List the next five scheduled runs of each agent.

    Notes times that a clock change moves. With NAME, also lists the results of its last scheduled times.
    """
    with talk(state) as hub:
        listed = hub.get_all("/v1/agents", "agents")["agents"] if name is None else [hub.get(_path(name))]
        fires = [] if name is None else hub.get(f"{_path(name)}/fires", limit=MAX_DECISIONS)["fires"]
    if as_json:
        forecast = [{"agent": agent["name"], "schedules": agent["schedules"]} for agent in listed]
        show.print_json("next", {"agents": forecast, "fires": fires})
        return
    rows = [row for agent in listed for row in _fire_rows(agent)]
    if rows:
        show.print_table(("agent", "UTC", "local time", "note"), rows)
    for agent in listed:
        for sentence in _about_schedules(agent):
            show.say(f"{agent['name']}: {sentence}")
    if fires:
        show.out()
        show.print_table(("scheduled (UTC)", "result", "run"), map(_decision_row, fires))


@agents.command("backfill", epilog=example("hub agents backfill notes --from 2026-03-01 --to 2026-03-07"))
@click.argument("name", shell_complete=agent_names)
@click.option(
    "--from", "first", required=True, metavar="TIME", help="Start, as in 2026-01-05 or 2026-01-05T09:00."
)
@click.option(
    "--to",
    "last",
    required=True,
    metavar="TIME",
    help="End, in the same form; a date alone includes that day.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def backfill(name: str, first: str, last: str, yes: bool, state: Path, as_json: bool) -> None:
    """Queue a run for each scheduled time of the past that had none.

    Shows their number and asks for confirmation. Queues at most 1,000 runs. Times without an offset
    are in the agent's time zone.
    """
    typed = _instant(first, time.min), _instant(last, time.max)
    path = f"{_path(name)}/backfill"
    with talk(state) as hub:
        zone = ZoneInfo(hub.get(_path(name))["timezone"])
        start, end = (at.replace(tzinfo=at.tzinfo or zone) for at in typed)
        if end < start:
            raise Failure("--to is before --from", Exit.USAGE)
        body: dict[str, object] = {"from": start.isoformat(), "to": end.isoformat()}
        if not yes:
            would = hub.post(path, body | {"dry_run": True})
            _refuse_if_none(would, zone)
            show.confirm(f"{_range(would, zone)}; queue {_counted(would['wanted'], 'run')}?")
        done = hub.post(path, body)
    _refuse_if_none(done, zone)
    if as_json:
        show.print_json("backfill", done)
        return
    for run in done["runs"]:
        show.out(run)
    show.say(f"{_counted(done['wanted'], 'run')} queued; list them: hub runs --agent {name}")


def _path(name: str) -> str:
    return f"/v1/agents/{quote(name, safe='')}"


def _show(name: str, state: Path, *, as_json: bool) -> None:
    agent = show_overview(name, state, as_json=as_json)
    if not as_json:
        for sentence in _about_schedules(agent):
            show.say(sentence)


def _next(agent: Mapping[str, Any], format_time: Callable[[str | None], str]) -> str | None:
    """Return the next scheduled time, or the reason why there is none."""
    if agent["lifecycle"] != "active":
        return str(agent["lifecycle"])
    if agent["next_fires"]:
        return format_time(agent["next_fires"][0]["at"])
    return next((str(s["paused_because"]) for s in agent["schedules"] if s["paused_because"]), None)


def _state(agent: Mapping[str, Any]) -> str:
    """Return the state that keeps the agent from working, as in ``paused`` or ``error``; else ``active``."""
    if agent["lifecycle"] == "active" and agent["health"] != "ok":
        return "error"
    if agent["lifecycle"] == "active" and agent["availability"] != "available":
        return str(agent["availability"])
    return str(agent["lifecycle"])


def _last(agent: Mapping[str, Any], format_time: Callable[[str | None], str]) -> str | None:
    run = agent["last_run"]
    if not isinstance(run, dict):
        return None
    went = run["outcome"] or run["state"]
    return f"{format_time(run['created_at'])} {went}, {run['items_created']} items"


def _fire_rows(agent: Mapping[str, Any]) -> Iterator[Sequence[object]]:
    for schedule in agent["schedules"]:
        for fire in schedule["next_fires"]:
            yield agent["name"], _utc(fire["at"]), _local(fire["local"]), fire["shift"]


def _about_schedules(agent: Mapping[str, Any]) -> Iterator[str]:
    """Yield notes on the schedules of an agent: reasons for pauses, offsets, no schedule."""
    if agent["lifecycle"] == "terminated":
        yield "agent is terminated for good: it starts no runs"
        return
    again = f"resume it: hub agents resume {agent['name']}"
    if agent["lifecycle"] != "active":
        yield f"agent is {agent['lifecycle']}, so its runs wait; {again}"
    for schedule in agent["schedules"]:
        if schedule["paused_because"]:
            finished = schedule["paused_reason"] == "finished"
            yield schedule["paused_because"] + ("" if finished else f"; {again}")
        if schedule["offset_s"]:
            late = show.duration(schedule["offset_s"])
            yield f"its runs are queued {late} after each scheduled time, to spread the load"
    if not agent["schedules"] and agent["gateway"] is None:
        yield f"has no schedule; start a run by hand: hub run {agent['name']}"


def _decision_row(fire: Mapping[str, Any]) -> Sequence[object]:
    when = show.short_moment(fire["fire_at"], UTC)
    if fire["fires"] > 1:
        when = f"{show.short_moment(fire['first_at'], UTC)} to {when} ({fire['fires']})"
    return when, fire["said"], show.short_id(fire["run"]) if fire["run"] else None


def _refuse_if_none(backfill: Mapping[str, Any], zone: ZoneInfo) -> None:
    if not backfill["wanted"]:
        raise Failure(f"nothing to backfill: {_range(backfill, zone)}", Exit.FAILED)


def _range(backfill: Mapping[str, Any], zone: ZoneInfo) -> str:
    """Describe the range: ``3 scheduled times from ... to ..., 1 of them had a run``."""
    if not backfill["fires"]:
        return "no scheduled time in that range"
    first, last = show.moment(backfill["first_at"], zone), show.moment(backfill["last_at"], zone)
    had = backfill["fires"] - backfill["wanted"]
    times = f"{_counted(backfill['fires'], 'scheduled time')} from {first} to {last}"
    return f"{times}, {had} of them had a run" if had else times


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _utc(at: str) -> str:
    return _to_the_minute(datetime.fromisoformat(at), "%Y-%m-%d %H:%M")


def _local(text: str) -> str:
    """Format a time in the zone of the agent's schedule: ``Mon 2026-01-05 07:00 +01:00``."""
    at = datetime.fromisoformat(text)
    return f"{_to_the_minute(at, '%a %Y-%m-%d %H:%M')} {show.offset(at)}"


def _to_the_minute(at: datetime, shape: str) -> str:
    return at.strftime(f"{shape}:%S" if at.second else shape)


def _instant(text: str, of_day: time) -> datetime:
    """Parse a time of the command line: naive without an offset, at *of_day* if it is a date alone.

    Raises:
        Failure: *text* is not a time.
    """
    try:
        at = datetime.fromisoformat(text) if INSTANT.fullmatch(text) else None
    except ValueError:  # as in 2026-02-30
        at = None
    if at is None:
        hint = "write it as in 2026-01-05, 2026-01-05T09:00 or 2026-01-05T09:00+01:00"
        raise Failure(f"invalid time {text!r}", Exit.USAGE, next_step=hint)
    return at if "T" in text else datetime.combine(at.date(), of_day)
