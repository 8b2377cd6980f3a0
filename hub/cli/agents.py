"""``hub agents``: show, the status and the metrics of agents; most other commands are declared."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click

from hub.cli import show
from hub.cli.access import revoke_agent_token
from hub.cli.agent_calendar import about_schedules, backfill, calendar, next_fires, slots
from hub.cli.agent_writing import config, create, edit, validate
from hub.cli.declared import present
from hub.cli.failure import Exit, Failure
from hub.cli.formats import figure, short
from hub.cli.options import NAME, Duration, ListByDefault, example, moment_option
from hub.cli.preview import preview
from hub.cli.talk import Responses, Talk, agent_names, hub_command, path_of
from hub.printable import one_line

# As in protocol.agent_status
VOCABULARIES: Final = ("calendar", "orchestrator", "foundation", "runlog", "coordination")
PROMPT_WIDTH: Final = 70  # characters
MAX_FIRES: Final = 3
MAX_KEYS: Final = 8
ROWS: Final = 25  # of a table without --step
STEPS_S: Final = (60, 300, 900, 3_600, 21_600, 86_400, 604_800)
_CALM: Final = {"available", "ok", "idle"}  # values that need no explanation


@click.group(cls=ListByDefault, epilog=example("hub agents show notes"))
def agents() -> None:
    """List, show, create, change, pause and remove agents."""


_OTHERS: Final = (create, edit, validate, preview, config, next_fires, calendar, backfill, slots)
for command in (*_OTHERS, revoke_agent_token):
    agents.add_command(command)


@agents.command("show", epilog=example("hub agents show notes"))
@click.argument("name", shell_complete=agent_names)
@hub_command
def show_agent(hub: Talk, name: str) -> Responses:
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
        yield (
            "device",
            f"{agent['device'] or 'none'}: {place if agent['device'] else status['connectivity']}{beat}",
        )
        yield "reads", reads if agent["paths"] or agent["data_types"] else None
        yield "prompt", short(agent["prompt"], PROMPT_WIDTH)
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
    yield "capabilities", [f"{one['name']} {one['version']}" for one in response["capabilities"]]
    keys = response["config"]
    more = f" and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else ""
    yield "config", f"{', '.join(keys[:MAX_KEYS])}{more}"
    yield "checkpoints", [_checkpoint(one) for one in response["checkpoints"]]
    yield "spend", _spend(response["spend"])
    yield "metrics", f"{response['series']} series" if response["series"] else None


def _times(agent: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the schedule with its time zone and the reasons of a pause, its policies, and the next runs."""
    if agent["schedule"] is not None:
        paused = [one["paused_because"] for one in agent["schedules"] if one["paused_because"]]
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
        f"${spent['usd']:.4f} in {span} ({spent['calls']} request{'' if spent['calls'] == 1 else 's'})"
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
    hub: Talk, name: str, words: str | None, assignments: Sequence[str], reason: str | None
) -> Responses:
    """Show the status of an agent on each axis, with reasons; with --set, change it.

    NAME may be an agent's id, or external:ID, its identifier in another program.
    """
    path = path_of("agents", name, *(("status",) if words is None else ("as", words)))
    change = dict(map(_assignment, assignments))
    if reason is not None:
        change["reason"] = reason
    if change and not assignments:
        raise Failure("--reason needs --set FIELD=VALUE", Exit.USAGE)
    response = hub.send("PATCH", path, body=change) if change else hub.get(path)
    yield "agent_status" if words is None else f"agent_as_{words}", response
    if words is not None:
        rows = [(column, _column(value)) for column, value in response.items()]
        show.print_table(("column", "value"), rows)
        return
    present(
        {"axes": [one | {"axis": axis} for axis, one in response["axes"].items()]},
        rows="axes",
        table=("axis", "value", "since|at as since", "reason", "*|by as by", "moves as next values"),
    )
    show.report(*_remarks(response))


def _assignment(text: str) -> tuple[str, Any]:
    """Parse ``FIELD=VALUE``; ``null``, objects and lists are read as JSON."""
    field, sign, value = text.partition("=")
    if not sign or not field:
        raise Failure(f"--set {text!r}: expected FIELD=VALUE, as in availability=on_call", Exit.USAGE)
    if value == "null" or value.startswith(("{", "[")):
        try:
            return field, json.loads(value)
        except ValueError as exc:
            raise Failure(f"--set {field}: {value!r} is not JSON: {exc}", Exit.USAGE) from None
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
        return f"{len(value)} row{'' if len(value) == 1 else 's'} (see --json)"
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


@agents.command("metrics", epilog=example("hub agents metrics notes tokens --since 7d"))
@click.argument("name", shell_complete=agent_names)
@click.argument("metric", type=NAME, required=False)
@moment_option("--since", "Only values from then on", default="24h")
@click.option("--step", type=Duration(), metavar="TIME", help="Time span of one row, as in 5m or 1h.")
@click.option(
    "--agg", metavar="NAME", help="Aggregation, as in sum, rate, avg, min, max, last, count, p50, p99.9."
)
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Only series with this tag.")
@click.option("--by", metavar="TAG", help="A column for each value of this tag.")
@hub_command
def metrics(
    hub: Talk,
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
