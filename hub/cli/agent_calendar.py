"""Calendars of agents: ``hub agents next``, ``calendar``, ``backfill`` and ``slots``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import Moment, example
from hub.cli.talk import Responses, Talk, agent_names, hub_command, path_of
from hub.clock import moment_text, offset_text

MAX_DECISIONS: Final = 10
MAX_WAKES: Final = 10
INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


@click.command("next", epilog=example("hub agents next notes"))
@click.argument("name", required=False, shell_complete=agent_names)
@hub_command
def next_fires(hub: Talk, name: str | None) -> Responses:
    """List the next five scheduled runs of each agent.

    Notes times that a clock change moves. With NAME, also lists the results of its last scheduled times.
    """
    listed = (
        hub.get_all("/v1/agents", "agents")["agents"] if name is None else [hub.get(path_of("agents", name))]
    )
    fires = [] if name is None else hub.get(path_of("agents", name, "fires"), limit=MAX_DECISIONS)["fires"]
    forecast = [{"agent": agent["name"], "schedules": agent["schedules"]} for agent in listed]
    yield "next", {"agents": forecast, "fires": fires}
    rows = [row for agent in listed for row in _fire_rows(agent)]
    if rows:
        show.print_table(("agent", "UTC", "local time", "note"), rows)
    for agent in listed:
        show.report(*(f"{agent['name']}: {sentence}" for sentence in about_schedules(agent)))
    if fires:
        show.out()
        show.print_table(("scheduled (UTC)", "result", "run"), map(_decision_row, fires))


@click.command("calendar", epilog=example("hub agents calendar --since today --until 2026-03-08"))
@click.option("--since", type=Moment(), metavar="TIME", help="Start of the range. [default: now]")
@click.option("--until", type=Moment(), metavar="TIME", help="Its end. [default: a week after the start]")
@hub_command
def calendar(hub: Talk, since: str | None, until: str | None) -> Responses:
    """List what all agents do in a range of time: past fires with their runs, and next ones."""
    listed = hub.get_all("/v1/schedule", "schedules", since=since, until=until)
    yield "schedule", listed
    rows = sorted(row for plan in listed["schedules"] for row in _plan_rows(plan))
    if rows:
        show.print_table(("scheduled (UTC)", "agent", "schedule", "result", "run"), rows)
    else:
        show.report("nothing is scheduled in that time")
    for plan in listed["schedules"]:
        if plan["is_cut"]:
            show.report(f"{plan['agent']}: more than 100 times; choose a shorter range")


def _plan_rows(plan: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the fires of a schedule, next ones without a result."""
    about = plan["agent"], plan["label"] or plan["times"]
    for fire in plan["past_fires"]:
        yield _utc(fire["fire_at"]), *about, fire["said"], show.short_id(fire["run"]) if fire["run"] else ""
    for fire in plan["next_fires"]:
        yield _utc(fire["at"]), *about, fire["shift"] or "", ""


@click.command("backfill", epilog=example("hub agents backfill notes --from 2026-03-01 --to 2026-03-07"))
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
@hub_command
def backfill(hub: Talk, name: str, first: str, last: str, yes: bool) -> Responses:
    """Queue a run for each scheduled time of the past that had none.

    Shows their number and asks for confirmation. Queues at most 1,000 runs. Times without an offset
    are in the agent's time zone.
    """
    typed = _instant(first, time.min), _instant(last, time.max)
    path = path_of("agents", name, "backfill")
    zone = ZoneInfo(hub.get(path_of("agents", name))["timezone"])
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
    yield "backfill", done
    for run in done["runs"]:
        show.out(run)
    show.report(f"{_counted(done['wanted'], 'run')} queued; list them: hub runs --agent {name}")


def _fire_rows(agent: Mapping[str, Any]) -> Iterator[Sequence[object]]:
    for schedule in agent["schedules"]:
        for fire in schedule["next_fires"]:
            yield agent["name"], _utc(fire["at"]), _local(fire["local"]), fire["shift"]


def about_schedules(agent: Mapping[str, Any]) -> Iterator[str]:
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
            by_hand = f"set another: hub agents edit {agent['name']}, or start a run: hub run {agent['name']}"
            yield f"{schedule['paused_because']}; {by_hand if finished else again}"
        elif schedule["first_connect"] == "awaited":
            yield "it runs when its device connects next, if it has never run until then"
        if schedule["offset_s"]:
            late = show.duration(schedule["offset_s"])
            yield f"its runs are queued {late} after each scheduled time, to spread the load"
    if not agent["device"] and agent["gateway"] is None:
        yield f"starts no runs; what they need: hub agents validate {agent['name']}"
    elif not agent["schedules"] and agent["gateway"] is None:
        yield f"has no schedule; start a run by hand: hub run {agent['name']}"


def _decision_row(fire: Mapping[str, Any]) -> Sequence[object]:
    when = show.column_moment(fire["fire_at"], UTC)
    if fire["fires"] > 1:
        from hub.schedules.trigger import describe_count  # imported late: it has the rules of cron

        when = f"{show.column_moment(fire['first_at'], UTC)} to {when} ({describe_count(fire['fires'])})"
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
    return show.moment(at, UTC).removesuffix(" UTC")  # which the header has


def _local(text: str) -> str:
    """Format a time in the zone of the agent's schedule: ``Mon 2026-01-05 07:00 +01:00``."""
    at = datetime.fromisoformat(text)
    return f"{at:%a} {moment_text(at, at.tzinfo)}"


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


@click.command("slots", epilog=example("hub agents slots notes"))
@click.argument("name", shell_complete=agent_names)
@hub_command
def slots(hub: Talk, name: str) -> Responses:
    """Show an agent's calendar: its next and its last wake-ups."""
    response = hub.get(path_of("agents", name, "slots"), limit=MAX_WAKES)
    yield "slots", response
    to_come = sorted(_times(response["slots"]), key=lambda row: str(row[1]))
    if to_come:
        show.print_table(("slot", "UTC", "local time", "duration", "note"), to_come)
    for slot in response["slots"]:
        if slot["paused_because"]:
            show.report(f"{slot['label']}: {slot['paused_because']}")
    if response["wakes"]:
        show.out()
        show.print_table(("slot", "started (UTC)", "result", "sent"), map(_wake_row, response["wakes"]))
    if not response["slots"]:
        show.report(f"agent {name} has no slots; add them to hub.toml: [[agents.slots]]")


def _times(slots: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[object]]:
    for slot in slots:
        lasts = show.duration(slot["duration_s"])
        for occurrence in slot["next_times"]:
            local = datetime.fromisoformat(occurrence["local"])
            yield (
                slot["label"],
                show.column_moment(occurrence["starts_at"], UTC),
                f"{local:%m-%d %H:%M} {offset_text(local)}",
                lasts,
                occurrence["shift"],
            )


def _wake_row(wake: Mapping[str, Any]) -> Sequence[object]:
    times = "time" if wake["sends"] == 1 else "times"
    return wake["slot"], show.column_moment(wake["starts_at"], UTC), wake["said"], f"{wake['sends']} {times}"
