"""Commands ``hub agents``: show, status, metrics (choice of the step), calendar, previews, configs.

Without ``--step``, metrics have the smallest step that needs no more than ``ROWS``.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from zoneinfo import ZoneInfo

import click

from hub.base.clock import moment_text, offset_text
from hub.base.name_lists import counted, listed
from hub.base.printable import one_line, spelled
from hub.cli import show
from hub.cli.access import revoke_agent_token
from hub.cli.declared import FILE, GIVEN, present
from hub.cli.errors import CommandError, Exit
from hub.cli.formats import changed, config_value, figure, short, usd
from hub.cli.hub_client import HubClient, Responses, agent_names, hub_command, open_client, path_of
from hub.cli.options import (
    NAME,
    DurationParam,
    FilePathParam,
    ListByDefault,
    ListOfOne,
    TimeParam,
    example,
    hub_option,
    json_option,
    moment_option,
    table_in,
    text_in,
)
from hub.cli.runs import print_estimate
from hub.cli.waiting import waits_for
from hub.cli.zones import usual_zone

INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


@click.group(cls=ListByDefault, epilog=example("hub agents show notes"))
def agents() -> None:
    """List, show, create, change, pause and remove agents."""


agents.add_command(revoke_agent_token)


@agents.command("next", epilog=example("hub agents next notes"))
@click.argument("name", required=False, shell_complete=agent_names)
@hub_command
def next_fires(hub: HubClient, name: str | None) -> Responses:
    """List the next five scheduled runs of each agent.

    Notes times that a clock change moves. With NAME, also lists the results of its last scheduled times.
    """
    listed = (
        hub.get_all("/v1/agents", "agents")["agents"] if name is None else [hub.get(path_of("agents", name))]
    )
    fires = [] if name is None else hub.get(path_of("agents", name, "fires"), limit=10)["fires"]
    forecast = [{"agent": agent["name"], "schedules": agent["schedules"]} for agent in listed]
    yield "next", {"agents": forecast, "fires": fires}
    rows = [
        (agent["name"], _utc(fire["at"]), _local(fire["local"]), fire["shift"])
        for agent in listed
        for schedule in agent["schedules"]
        for fire in schedule["next_fires"]
    ]
    if rows:
        show.print_table(("agent", "UTC", "local time", "note"), rows)
    for agent in listed:
        show.report(*(f"{agent['name']}: {sentence}" for sentence in about_schedules(agent)))
    if fires:
        show.out()
        show.print_table(("scheduled (UTC)", "result", "run"), map(_decision_row, fires))


@agents.command("calendar", epilog=example("hub agents calendar --since today --until 2026-03-08"))
@click.option("--since", type=TimeParam(), metavar="TIME", help="Start of the range. [default: now]")
@click.option("--until", type=TimeParam(), metavar="TIME", help="Its end. [default: a week after the start]")
@hub_command
def calendar(hub: HubClient, since: str | None, until: str | None) -> Responses:
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
@hub_command
def backfill(hub: HubClient, name: str, first: str, last: str, yes: bool) -> Responses:
    """Queue a run for each scheduled time of the past that had none.

    Shows their number and asks for confirmation. Queues at most 1,000 runs. Times without an offset
    are in the agent's time zone.
    """
    typed = _instant(first, time.min), _instant(last, time.max)
    path = path_of("agents", name, "backfill")
    zone = ZoneInfo(hub.get(path_of("agents", name))["timezone"])
    start, end = (at.replace(tzinfo=at.tzinfo or zone) for at in typed)
    if end < start:
        raise CommandError("--to is before --from", Exit.USAGE)
    body: dict[str, object] = {"from": start.isoformat(), "to": end.isoformat()}
    if not yes:
        would = hub.post(path, body | {"dry_run": True})
        _refuse_if_none(would, zone)
        show.confirm(f"{_range(would, zone)}; queue {counted(would['wanted'], 'run')}?")
    done = hub.post(path, body)
    _refuse_if_none(done, zone)
    yield "backfill", done
    for run in done["runs"]:
        show.out(run)
    show.report(f"{counted(done['wanted'], 'run')} queued; list them: hub runs --agent {name}")


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
    if not agent["delivers_to"] and agent["gateway"] is None:
        yield f"starts no runs; what they need: hub agents validate {agent['name']}"
    elif not agent["schedules"] and agent["gateway"] is None:
        yield f"has no schedule; start a run by hand: hub run {agent['name']}"


def _decision_row(fire: Mapping[str, Any]) -> Sequence[object]:
    when = show.column_moment(fire["fire_at"], UTC)
    if fire["fires"] > 1:
        from hub.base.fire_counts import describe_count

        when = f"{show.column_moment(fire['first_at'], UTC)} to {when} ({describe_count(fire['fires'])})"
    return when, fire["said"], show.short_id(fire["run"]) if fire["run"] else None


def _refuse_if_none(backfill: Mapping[str, Any], zone: ZoneInfo) -> None:
    if not backfill["wanted"]:
        raise CommandError(f"nothing to backfill: {_range(backfill, zone)}", Exit.FAILED)


def _range(backfill: Mapping[str, Any], zone: ZoneInfo) -> str:
    """Describe the range: ``3 scheduled times from ... to ..., 1 of them had a run``."""
    if not backfill["fires"]:
        return "no scheduled time in that range"
    first, last = show.moment(backfill["first_at"], zone), show.moment(backfill["last_at"], zone)
    had = backfill["fires"] - backfill["wanted"]
    times = f"{counted(backfill['fires'], 'scheduled time')} from {first} to {last}"
    return f"{times}, {had} of them had a run" if had else times


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
        raise CommandError(f"invalid time {text!r}", Exit.USAGE, next_step=hint)
    return at if "T" in text else datetime.combine(at.date(), of_day)


@agents.command("slots", epilog=example("hub agents slots notes"))
@click.argument("name", shell_complete=agent_names)
@hub_command
def slots(hub: HubClient, name: str) -> Responses:
    """Show an agent's calendar: its next and its last wake-ups."""
    response = hub.get(path_of("agents", name, "slots"), limit=10)
    yield "slots", response
    to_come = sorted(_slot_times(response["slots"]), key=lambda row: str(row[1]))
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


def _slot_times(slots: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[object]]:
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
    sends = counted(wake["sends"], "time")
    return wake["slot"], show.column_moment(wake["starts_at"], UTC), wake["said"], sends


_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_PROMPT_IS_IGNORED: Final = (
    "the prompt changes nothing: no model of this agent follows one, and neither do rules or the small model;"
    " set an endpoint in [model] of hub.toml (hub help models)"
)
_MAX_CHARACTERS: Final = 300  # of a quote or a value


@agents.command(epilog=example("hub agents preview notes --prompt new.txt --files 50"))
@click.argument("name", shell_complete=agent_names)
@click.option(
    "--prompt",
    type=FilePathParam(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="File with the prompt to try; - is the standard input.",
)
@click.option("--model", metavar="NAME", help="Model to try: [model] or one of [[fallback_models]].")
@click.option(
    "--data-type", "data_types", multiple=True, metavar="TABLE", help="Table to find records of, as in tasks."
)
@click.option(
    "--files", type=click.IntRange(min=1), metavar="N", help="Read only the N newest files or messages."
)
@click.option(
    "--estimate", is_flag=True, help="Estimate the size and cost of the preview, without making it."
)
@hub_option
@json_option
@click.pass_context
def preview(
    ctx: click.Context,
    name: str,
    prompt: Path | None,
    model: str | None,
    data_types: Sequence[str],
    files: int | None,
    estimate: bool,
    state: Path,
    as_json: bool,
) -> None:
    """Show what an agent would find with another prompt, model or tables.

    Reads its present documents and asks the model, within its budgets. Nothing is sent to the
    device or stored as found. The answers are kept: a run with the same settings does not pay
    for them again. Ctrl-C ends the preview. Exits with 1 if a document could not be read.
    """
    given = {
        "prompt": None if prompt is None else text_in(prompt),
        "model": model,
        "data_types": list(data_types) or None,
        "newest": files,
    }
    body = {key: value for key, value in given.items() if value is not None}
    with open_client(state) as hub:
        if estimate:
            print_estimate(hub.post(path_of("agents", name, "estimate"), body), as_json=as_json)
            return
        with waits_for(f"the first documents of agent {name}"):
            found = _whole(hub.follow(path_of("agents", name, "preview"), body=body), as_json=as_json)
    if as_json:
        show.print_json("preview", found)
    else:
        _print(found)
    if prompt is not None and not found["reads_prompt"]:
        show.report(_PROMPT_IS_IGNORED)
    ctx.exit(Exit.FAILED if found["failure"] or found["problems"] else Exit.DONE)


def _whole(steps: Iterator[Mapping[str, Any]], *, as_json: bool) -> dict[str, Any]:
    """Return the last step of a preview with the items and problems of all steps.

    Raises:
        Failure: the hub stopped before the preview was done.
    """
    items: list[Any] = []
    problems: list[Any] = []
    for step in steps:
        items += step["items"]
        problems += step["problems"]
        if step["is_done"]:
            return {**step, "items": items, "problems": problems}
        if not as_json:
            show.report(_progress(step))
    raise CommandError(
        "the hub stopped before the preview was done", Exit.TRY_AGAIN, next_step="start it again"
    )


def _progress(step: Mapping[str, Any]) -> str:
    of = "" if step["to_read"] is None else f" of {step['to_read']}"
    return f"{step['read']}{of} read, {_changes(step)}"


def _changes(step: Mapping[str, Any]) -> str:
    return ", ".join(f"{step[change]} {change}" for change in _SIGNS)


def _print(found: Mapping[str, Any]) -> None:
    for item in sorted(found["items"], key=lambda one: (one["path"], one["start"] or 0)):
        show.out("\n".join(_lines(item)))
    for problem in (*found["problems"], *filter(None, [found["failure"]])):
        where = f"{problem['path']}: " if problem["path"] else ""
        show.report(f"{problem['code']}: {where}{problem['message']}")
    if found["unlisted"]:
        show.report(f"{counted(found['unlisted'], 'more item')} or problems are counted only; try --files N")
    if found["left_out"]:
        show.report(
            f"{found['left_out']} new items are left out by items_per_file or items_per_run of [limits]"
        )
    settled = f", {found['settled']} are settled with these settings" if found["settled"] else ""
    unsure = f", {found['unsure']} less sure" if found["unsure"] else ""
    changes = f"{_changes(found)}{unsure}"
    show.out(f"{counted(found['read'], 'document')} read{settled}: {changes}, {found['known']} as they are")
    tokens = found["prompt_tokens"] + found["completion_tokens"]
    before = f", {found['answered_before']} answered before" if found["answered_before"] else ""
    cost = f", {usd(found['usd'])} USD" if found["usd"] else ""
    show.out(f"{counted(found['model_requests'], 'model request')}{before}, {tokens} tokens{cost}")


def _lines(item: Mapping[str, Any]) -> Iterator[str]:
    verdict = f" ({item['verdict']})" if item["verdict"] not in (None, "open") else ""
    yield f"{_SIGNS[item['change']]} {item['table']}  {spelled(item['title'])}{verdict}"
    before = item["before"] or {}
    for field, value in item["data"].items() if item["change"] == "changed" else ():
        if before.get(field) != value:
            yield f"    ! {field} was {_short(before.get(field))}, is {_short(value)}"
    quote = f': "{_short(item["quote"])}"' if item["quote"] else ""
    yield f"    {one_line(item['path'])}{quote}"
    for mark in item["warnings"]:
        yield f"    ! {mark}"


def _short(value: object) -> str:
    text = one_line("-" if value is None else str(value))
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"


# As in protocol.agent_status
VOCABULARIES: Final = ("calendar", "orchestrator", "foundation", "runlog", "coordination")
MAX_FIRES: Final = 3
MAX_KEYS: Final = 8
ROWS: Final = 25  # of a table without --step
STEPS_S: Final = (60, 300, 900, 3_600, 21_600, 86_400, 604_800)
_CALM: Final = {"available", "ok", "idle"}  # values that need no explanation


@agents.command("show", epilog=example("hub agents show notes"))
@click.argument("name", shell_complete=agent_names)
@hub_command
def show_agent(hub: HubClient, name: str) -> Responses:
    """Show an agent: identity, status with reasons, upcoming and recent runs, and costs."""
    response = hub.get(path_of("agents", name, "overview"))
    agent: Mapping[str, Any] = response["agent"]
    others = {noun: value for noun, value in response.items() if noun != "agent"}
    yield "agent", {**agent, "overview": others}
    print_overview(response)
    show.report(*about_schedules(agent))


def print_overview(response: Mapping[str, Any]) -> None:
    """Print the overview as text, without its empty facts."""
    show.print_facts({fact: value for fact, value in _facts(response) if value})
    present(
        response,
        rows="runs",
        table=(
            *("id|id as run", "created_at|at as queued", "trigger", "*|run_result as result"),
            *("items_created as items", "*|run_message as message"),
        ),
    )


def _facts(response: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    agent, status = response["agent"], response["status"]
    about = f": {one_line(agent['description'])}" if agent["description"] else ""
    beat = ""
    if status["last_heartbeat_at"] is not None:
        since_s = (show.clock.now() - datetime.fromisoformat(status["last_heartbeat_at"])).total_seconds()
        beat = f", last heartbeat {show.duration(max(0.0, since_s))} ago"
    yield "agent", f"{agent['name']}{about}"
    yield "title", agent["title"]
    yield "identity", ", ".join(_identity(agent))
    if agent["gateway"] is not None:
        yield "gateway", f"{agent['gateway']}: {status['connectivity']}{beat}"
    else:
        extensions = f" ({', '.join(agent['file_extensions'])})" if agent["file_extensions"] else ""
        reads = f"{', '.join(agent['paths'])}{extensions} for {', '.join(agent['data_types'])}"
        place = "connected" if agent["device_connected"] else "away"
        place = f": {place if agent['device'] else status['connectivity']}{beat}"
        has_any = agent["delivers_to"] != agent["device"]
        yield "device", agent["delivers_to"] if has_any else f"{agent['device'] or 'none'}{place}"
        yield "reads", reads if agent["paths"] or agent["data_types"] else None
        yield "prompt", short(agent["prompt"], 70)
    yield "state", ", ".join(str(status[axis]) for axis in status["axes"])
    for axis, since in status["axes"].items():
        if since["value"] not in _CALM and since["since"] is not None:
            why = f": {since['reason']}" if since["reason"] else ""
            since_when = f"since {show.moment(since['since'])} by {show.by(since)}"
            yield f"  {axis}", f"{since['value']} {since_when}{why}"
    yield "  exhausted", _exhausted(status)
    yield from _times(agent)
    yield "slots", [_slot(slot) for slot in response["slots"]]
    yield "runs at once", agent["max_concurrent_runs"]
    yield "needs", agent["needs"]
    yield "locks per run", agent["locks"]
    yield "locks", [_lock(lock, agent["name"]) for lock in response["locks"]]
    yield (
        "capabilities",
        [f"{capability['name']} {capability['version']}" for capability in response["capabilities"]],
    )
    yield "config", listed(response["config"], MAX_KEYS)
    yield "checkpoints", [_checkpoint(checkpoint) for checkpoint in response["checkpoints"]]
    yield "spend", _spend(response["spend"])
    yield "metrics", f"{response['series']} series" if response["series"] else None


def _times(agent: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the schedule with its time zone and the reasons of a pause, its policies, and the next runs."""
    if agent["schedule"] is not None:
        paused = [schedule["paused_because"] for schedule in agent["schedules"] if schedule["paused_because"]]
        yield "schedule", f"{agent['schedule']} ({', '.join([agent['timezone'], *paused])})"
    policies = []
    for schedule in agent["schedules"]:
        window = schedule["catch_up_window_s"]
        not_older = f" not older than {show.duration(window)}" if window else ""
        policies.append(f"overlap {schedule['overlap']}, catch up {schedule['catch_up']}{not_older}")
    yield "policies", policies
    times = ", ".join(show.moment(fire["at"]) for fire in agent["next_fires"][:MAX_FIRES])
    yield "next run", (times or "none") if agent["lifecycle"] == "active" else agent["lifecycle"]


# Texts of an agent that other lines show, or this one in another form.
_ELSEWHERE: Final = {
    *(
        "id",
        "name",
        "title",
        "user",
        "device",
        "gateway",
        "connectivity",
        "prompt",
        "schedule",
        "timezone",
        "source",
    ),
    *("description", "type", "subtype", "template", "lifecycle", "availability", "health", "recovery_at"),
    "health_reason",
}


def _identity(agent: Mapping[str, Any]) -> Iterator[str]:
    yield f"{agent['subtype'] or agent['type']} of {agent['user']}"
    if agent["template"]:
        yield f"template {agent['template']}"
    for key, value in agent.items():
        if value and isinstance(value, str) and key not in _ELSEWHERE:
            yield f"{key.replace('_', ' ')} {value}"
    yield f"managed by {show.origin(agent['source'])}"


def _exhausted(status: Mapping[str, Any]) -> str | None:
    if status["exhaust_reason"] is None:
        return None
    if status["recovery_at"] is not None:
        return f"{status['exhaust_reason']}, available again at {show.moment(status['recovery_at'])}"
    return f"{status['exhaust_reason']}, next probe at {show.moment(status['probe_at'])}"


def _slot(slot: Mapping[str, Any]) -> str:
    times = ", ".join(show.moment(time["starts_at"]) for time in slot["next_times"][:MAX_FIRES])
    return f"{slot['label']} {slot['said']} for {show.duration(slot['duration_s'])}, next {times or 'none'}"


def _lock(lock: Mapping[str, Any], agent: str) -> str:
    holder = lock["holder"]
    if holder is not None and holder["agent"] == agent:
        return f"holds {lock['resource']} (fence {lock['fence']}) since {show.moment(lock['since'])}"
    held = "free now" if holder is None else f"held by {holder['kind']} {holder['agent'] or holder['id']}"
    return f"waits for {lock['resource']}, {held}"


def _checkpoint(one: Mapping[str, Any]) -> str:
    lost = "" if one["is_recoverable"] else ", not recoverable"
    return f"{one['scope']} #{one['sequence']} of {show.moment(one['updated_at'])}{lost}"


def _spend(spend: Mapping[str, Any]) -> str | None:
    if not spend["month"]["calls"]:
        return None
    return "; ".join(
        f"${spent['usd']:.4f} in {span} ({counted(spent['calls'], 'request')})"
        for span, spent in (("24 h", spend["day"]), ("30 days", spend["month"]))
    )


@agents.command("status", epilog=example("hub agents status notes --set work=paused --reason holiday"))
@click.argument("name", shell_complete=agent_names)
@click.option(
    "--as",
    "words",
    type=click.Choice(VOCABULARIES),
    help="Use the vocabulary of another system.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Set a field, as in availability=on_call.",
)
@click.option("--reason", metavar="TEXT", help="Reason, for the history.")
@hub_command
def status(
    hub: HubClient, name: str, words: str | None, assignments: Sequence[str], reason: str | None
) -> Responses:
    """Show the status of an agent on each axis, with reasons; with --set, change it.

    NAME may be an agent's id, or external:ID, its identifier in another program.
    """
    path = path_of("agents", name, *(("status",) if words is None else ("as", words)))
    change = dict(map(_assignment, assignments))
    if reason is not None:
        change["reason"] = reason
    if change and not assignments:
        raise CommandError("--reason needs --set FIELD=VALUE", Exit.USAGE)
    response = hub.send("PATCH", path, body=change) if change else hub.get(path)
    yield "agent_status" if words is None else f"agent_as_{words}", response
    if words is not None:
        rows = [(column, _column(value)) for column, value in response.items()]
        show.print_table(("column", "value"), rows)
        return
    present(
        {"axes": [shown | {"axis": axis} for axis, shown in response["axes"].items()]},
        rows="axes",
        table=("axis", "value", "since|at as since", "reason", "*|by as by", "moves as next values"),
    )
    show.report(*_remarks(response))


def _assignment(text: str) -> tuple[str, Any]:
    """Parse ``FIELD=VALUE``; ``null``, objects and lists are read as JSON."""
    field, sign, value = text.partition("=")
    if not sign or not field:
        raise CommandError(f"--set {text!r}: expected FIELD=VALUE, as in availability=on_call", Exit.USAGE)
    if value == "null" or value.startswith(("{", "[")):
        try:
            return field, json.loads(value)
        except ValueError as exc:
            raise CommandError(f"--set {field}: {value!r} is not JSON: {exc}", Exit.USAGE) from None
    return field, value


def _remarks(response: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences about the axes: exhaustion, errors, runs, the last heartbeat."""
    if response["exhaust_reason"] is not None:
        until = response["recovery_at"] or response["probe_at"]
        event = "available again" if response["recovery_at"] else "next probe"
        when = "until an unknown time" if until is None else f"{event} {show.moment(until)}"
        yield f"exhausted by {response['exhaust_reason']}: {when}"
    if response["health_reason"] is not None:
        yield f"in error: {response['health_reason']}"
    executing, waiting = response["runs_executing"], response["runs_waiting"]
    yield f"{executing} of {response['max_concurrent_runs']} runs executing, {waiting} waiting"
    if response["last_heartbeat_at"] is not None:
        yield f"last heartbeat {show.moment(response['last_heartbeat_at'])}"


def _column(value: Any) -> str | None:
    """Format a value: texts as they are, tables by their number of rows."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{counted(len(value), 'row')} (see --json)"
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


@agents.command("metrics", epilog=example("hub agents metrics notes tokens --since 7d"))
@click.argument("name", shell_complete=agent_names)
@click.argument("metric", type=NAME, required=False)
@moment_option("--since", "Only values from then on", default="24h")
@click.option("--step", type=DurationParam(), metavar="TIME", help="Time span of one row, as in 5m or 1h.")
@click.option(
    "--agg", metavar="NAME", help="Aggregation, as in sum, rate, avg, min, max, last, count, p50, p99.9."
)
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Only series with this tag.")
@click.option("--by", metavar="TAG", help="A column for each value of this tag.")
@hub_command
def metrics(
    hub: HubClient,
    name: str,
    metric: str | None,
    since: str,
    step: float | None,
    agg: str | None,
    tags: Sequence[str],
    by: str | None,
) -> Responses:
    """List the metrics of an agent; with METRIC, show its values over time."""
    if metric is None:
        if step is not None or agg is not None or tags or by is not None:
            raise click.UsageError("--step, --agg, --tag and --by need a METRIC")
        response = hub.get_all(path_of("agents", name, "metrics"), "series")
        yield "metrics", response
        present(
            response,
            rows="series",
            table=("name as metric", "type", "tags|tagged", "last|figure as newest", "last_at|at as at"),
            empty=f"no metrics of {name} yet; its device reports them with metrics.report",
        )
        return
    params: dict[str, str | float | None] = {"since": since, "agg": agg, "by": by}
    step_s = step or _suitable((show.clock.now() - datetime.fromisoformat(since)).total_seconds())
    path = path_of("agents", name, "metrics", metric)
    response = hub.get(path, **params, step_s=step_s, tag=list(tags))
    yield "metric", response
    _print_chart(response)


def _suitable(since: float) -> float:
    return next((step for step in STEPS_S if since <= step * ROWS), STEPS_S[-1])


def _print_chart(response: Mapping[str, Any]) -> None:
    lines = response["lines"]
    columns = [response["agg"] if line["tag"] is None else line["tag"] or show.NOTHING for line in lines]
    rows = [
        (show.column_moment(point["at"]), *(figure(line["points"][place]["value"]) for line in lines))
        for place, point in enumerate(lines[0]["points"])
    ]
    show.print_table(
        (show.in_zone("from"), *columns), [*rows, ("all", *(figure(line["whole"]) for line in lines))]
    )
    step = show.duration(response["step_s"])
    error = "" if response["error"] is None else f"; error of at most {response['error']:.1%}"
    show.report(f"{response['agg']} of {response['name']} ({response['type']}) for each {step}{error}")


Command = TypeVar("Command", bound=Callable[..., Any])

CONFIG_TYPES: Final = ("string", "integer", "float", "boolean", "json")  # as in protocol.configs.ConfigType
_FIELDS: Final = ("title", "device", "prompt", "template", "schedule", "timezone", "description")
_LISTS: Final = {"path": "paths", "extension": "file_extensions", "data_type": "data_types"}


def _agent_options(command: Command) -> Command:
    """Add the options that describe an agent."""
    for option in (
        click.option(
            "--config",
            multiple=True,
            metavar="KEY=VALUE",
            help="A config of the agent; may be given several times.",
        ),
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any other key of [[agents]]; VALUE is JSON or plain text.",
        ),
        click.option("--title", metavar="TEXT", help="Name for people, with blanks."),
        click.option("--description", metavar="TEXT", help="Description of the agent."),
        click.option(
            "--timezone", metavar="ZONE", help="Time zone of schedule and dates, as in Europe/Berlin."
        ),
        click.option("--schedule", metavar="CRON", help='Schedule of its runs, as in "0 9 * * 1-5".'),
        click.option("--template", type=NAME, metavar="NAME", help="Template of the agent."),
        click.option("--prompt", metavar="TEXT", help="Prompt: what the model is to find."),
        click.option(
            "--data-type", multiple=True, metavar="TABLE", help="Table of records to find, as in tasks."
        ),
        click.option(
            "--extension", multiple=True, metavar=".EXT", help="Extension of files to read, as in .md."
        ),
        click.option("--path", multiple=True, metavar="PATH", help="Path to read on the device."),
        click.option("--device", type=NAME, metavar="NAME", help="Device that the agent works on."),
        click.option(
            "--file", type=FILE, metavar="FILE", help="TOML or JSON file with a table as in [[agents]]."
        ),
    ):
        command = option(command)
    return command


@agents.command(
    "create",
    epilog=example(
        "hub agents create notes --device desk --path notes --data-type tasks --prompt 'Find tasks.'"
    ),
)
@click.argument("name", shell_complete=agent_names)
@_agent_options
@click.option("--paused", is_flag=True, help="Create it paused; start it later: hub agents resume NAME.")
@hub_command
def create(hub: HubClient, name: str, paused: bool, **options: Any) -> Responses:
    """Create an agent in addition to those of hub.toml.

    Only runs need a device, a path or a mailbox, a data type and a prompt. Without --timezone, it
    uses the time zone of most agents that are not in UTC, else that of the machine where the
    command is typed.
    """
    asked = {"name": name, **_fields(options)}
    if "timezone" not in asked:
        known: list[dict[str, Any]] = []
        with suppress(CommandError):  # this token may not list agents
            known = hub.get_all("/v1/agents", "agents")["agents"]
        asked["timezone"] = usual_zone(known)
    made = hub.post("/v1/agents", asked | ({"start": False} if paused else {}))
    yield "agent", made
    place = f" on {made['device']}" if made["device"] else ""
    show.report(f"agent {made['name']}{place} is {made['lifecycle']}")
    follows = f"start it: hub run {name}"
    if paused:
        follows = f"start it: hub agents resume {name}"
    elif not made["device"]:
        follows = f"report that it is online: hub agents heartbeat {name}"
    show.report(f"show it: hub agents show {name}; {follows}")


@agents.command("edit", epilog=example("hub agents edit notes --schedule '0 7 * * *'"))
@click.argument("name", shell_complete=agent_names)
@_agent_options
@click.option("--unset", multiple=True, metavar="KEY", help="Key to remove; may be given several times.")
@hub_command
def edit(hub: HubClient, name: str, unset: tuple[str, ...], **options: Any) -> Responses:
    """Change an agent; options that are left out stay as they are."""
    changes = _fields(options) | dict.fromkeys(unset)
    if not changes:
        raise CommandError(
            "nothing to change",
            Exit.USAGE,
            next_step="give an option for each change: hub agents edit --help",
        )
    changed = hub.send("PATCH", path_of("agents", name), body=changes)
    yield "agent", changed
    show.report(f"agent {changed['name']} is changed; new runs use the change")


@agents.command("validate", epilog=example("hub agents validate notes"))
@click.argument("name", required=False, shell_complete=agent_names)
@click.option("--template", type=NAME, metavar="NAME", help="Validate a template and all agents that use it.")
@click.option(
    "--file", type=FILE, metavar="FILE", help="New content of the template [default: its present content]."
)
@hub_option
@json_option
def validate(name: str | None, template: str | None, file: Path | None, state: Path, as_json: bool) -> None:
    """List the agents that do not match their template. Changes nothing.

    Checks all agents, agent NAME, or the agents of a template: with its present content, or with FILE's.
    """
    if (file is not None and template is None) or (name is not None and template is not None):
        raise CommandError(
            "--file needs --template, and --template takes no agent NAME",
            Exit.USAGE,
            next_step="hub agents validate NAME, or: hub agents validate --template NAME --file FILE",
        )
    with open_client(state) as hub:
        if template is not None:
            body = None if file is None else table_in(file)
            verdicts = {f"template {template}": hub.post(path_of("templates", template, "validate"), body)}
        else:
            names = (
                [name] if name else [agent["name"] for agent in hub.get_all("/v1/agents", "agents")["agents"]]
            )
            verdicts = {f"agent {name}": hub.post(path_of("agents", name, "validate")) for name in names}
    wrong = [
        *(f"{who}: {problem}" for who, verdict in verdicts.items() for problem in verdict["problems"]),
        *(
            f"agent {broken['agent']} of {broken['user']}: {problem}"
            for verdict in verdicts.values()
            for broken in verdict["broken"]
            for problem in broken["problems"]
        ),
    ]
    if as_json:
        show.print_json("validate", {"ok": not wrong, "verdicts": verdicts})
    else:
        for line in wrong:
            show.out(line)
        for who, verdict in verdicts.items():
            if verdict["missing_for_runs"]:
                show.report(f"{who}: runs cannot start without {', '.join(verdict['missing_for_runs'])}")
        show.report(f"{len(verdicts)} checked, {len(wrong) or 'no'} problem{'s' if len(wrong) != 1 else ''}")
    if wrong:
        raise click.exceptions.Exit(Exit.FAILED)


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an agent; options override the fields of the file."""
    fields = {} if options["file"] is None else table_in(options["file"])
    fields |= {key: options[key] for key in _FIELDS if options[key] is not None}
    fields |= {key: list(options[option]) for option, key in _LISTS.items() if options[option]}
    fields |= _pairs("--set", options["sets"])
    if options["config"]:
        fields["config"] = fields.get("config", {}) | _pairs("--config", options["config"])
    return fields


def _pairs(option: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not key or not sign:
            raise CommandError(f"{option} {pair}: expected KEY=VALUE", Exit.USAGE)
        try:
            found[key] = json.loads(value, parse_constant=_no_number)
        except ValueError:
            found[key] = value
    return found


def _no_number(constant: str) -> NoReturn:
    """Reject NaN and Infinity: Python's parser accepts them, JSON does not. Raises ValueError."""
    raise ValueError(constant)


@agents.group("config", cls=ListOfOne, epilog=example("hub agents config notes"))
@click.argument("name", shell_complete=agent_names)
@click.pass_context
def config(ctx: click.Context, name: str) -> None:
    """List, get, set, unset and revert the configs of an agent."""
    ctx.meta[GIVEN] = {"name": name}


@config.command("ls", epilog=example("hub agents config notes ls"))
@hub_command
def list_configs(hub: HubClient) -> Responses:
    """List the configs, and the defaults of the agent's template."""
    response = hub.get(_config_path())
    yield "agent_config", response
    rows = [
        (
            config["key"],
            config["type"],
            config_value(config["value"]),
            show.origin(config["source"]),
            config["description"],
        )
        for config in response["configs"]
    ]
    own = {config["key"] for config in response["configs"]}
    rows += [
        (key, show.NOTHING, config_value(value), "template", None)
        for key, value in response["configuration"].items()
        if key not in own
    ]
    show.print_table(("config", "type", "value", "source", "description"), rows)
    if not rows:
        show.report(f"no configs; set one: hub agents config {response['agent']} set KEY=VALUE")


@config.command("get", epilog=example("hub agents config notes get language"))
@click.argument("key", type=NAME)
@hub_command
def get(hub: HubClient, key: str) -> Responses:
    """Print the value of KEY: texts as they are, all other types as JSON."""
    response = hub.get(_config_path())
    if key not in response["configuration"]:
        raise CommandError(
            f"agent {response['agent']} has no config {key!r}",
            Exit.FAILED,
            next_step=f"list its configs: hub agents config {response['agent']} ls",
        )
    value = response["configuration"][key]
    yield "agent_config_value", {"agent": response["agent"], "key": key, "value": value}
    show.out(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@config.command("set", epilog=example("hub agents config notes set language=en"))
@click.argument("assignments", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option("--type", "type_name", type=click.Choice(CONFIG_TYPES), help="Type of the values.")
@click.option("--description", metavar="TEXT", help="Description of the configs.")
@hub_command
def set_configs(
    hub: HubClient, assignments: Sequence[str], type_name: str | None, description: str | None
) -> Responses:
    """Set configs, all or none.

    Without --type, a known config keeps its type. A new config is a number, a boolean or JSON
    if VALUE can be read as such, and text otherwise.
    """
    present = hub.get(_config_path())
    known = {config["key"]: config["type"] for config in present["configs"]}
    configs = {}
    for assignment in assignments:
        key, _, text = assignment.partition("=")
        if not key or "=" not in assignment:
            raise CommandError(
                f"invalid assignment {assignment!r}: expected KEY=VALUE",
                Exit.USAGE,
                next_step=f"as in: hub agents config {present['agent']} set language=en",
            )
        configs[key] = _config(key, text, type_name or known.get(key), description)
    yield from _changed(hub.send("PATCH", _config_path(), body={"configs": configs}))


@config.command("unset", epilog=example("hub agents config notes unset language"))
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@hub_command
def unset(hub: HubClient, keys: Sequence[str]) -> Responses:
    """Remove configs, all or none; defaults of the template apply again."""
    yield from _changed(hub.send("PATCH", _config_path(), body={"unset": list(dict.fromkeys(keys))}))


def _changed(response: Mapping[str, Any]) -> Responses:
    yield "agent_config_changed", response
    show.report(f"agent {response['agent']}: {changed(response['changed'])}; revision {response['rev']}")


def _config(key: str, text: str, type: str | None, description: str | None) -> dict[str, Any]:
    from protocol.configs import BadConfig, ConfigType, parse_value

    try:
        value = _guessed(text) if type is None else parse_value(key, ConfigType(type), text)
    except BadConfig as bad:
        raise CommandError(str(bad), Exit.USAGE, next_step="choose another type: --type") from bad
    about = {"type": type, "description": description}
    return {"value": value} | {name: text for name, text in about.items() if text is not None}


def _guessed(text: str) -> Any:
    """Parse *text* as JSON. Return *text* itself if it is not JSON, or a JSON string."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str) else value


def _config_path() -> str:
    """Return the path of the configs of the agent that the group's argument names."""
    return path_of("agents", click.get_current_context().meta[GIVEN]["name"], "config")
