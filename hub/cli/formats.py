"""Formats of table cells in command output: durations, prices, sources, traces.

A format whose argument is the name of a noun formats the response itself, or an item of its list.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from hub.base.name_lists import counted, often
from hub.base.printable import NOT_QUOTED, one_line, spelled
from hub.cli import show

Item = Mapping[str, Any]
Format = TypeVar("Format", bound=Callable[[Any], object])

# The header of the first of these columns names the zone.
IN_ZONE: Final = ("at", "at_second", "since_at", "next_at", "began_at", "last_run_at")
COLUMNS: Final = ("▁▂▃▄▅▆▇█", "_-~=+*%#")  # from low to high; without Unicode
GAPS: Final = ("·", ".")
MAX_SHOWN: Final = 80  # characters of a text in a table
MAX_COUNTED: Final = 1_000  # in a summary of the hub
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]{5,15}(Z|[+-]\d\d:\d\d)", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FORMATS: Final[dict[str, Callable[[Any], object]]] = {
    "at": show.column_moment,
    "moment": show.moment,
    "duration": show.duration,
    "count": len,
    "hash": lambda digest: digest[:12],
    "origin": show.origin,
    "by": show.by,
    "no": lambda value: not value,
    "yes": lambda is_so: "yes" if is_so else "",
    "or_all": lambda value: value or "all",
    "or_none": lambda values: values or "none",
    "or_rules": lambda model: model or "none: only rules find items",
    "result": lambda is_ok: "ok" if is_ok else "failed",
    "id": lambda value: show.NOTHING if value is None else show.short_id(value),
    "at_second": lambda text: show.column_moment(text, seconds=True),
    "json": lambda value: json.dumps(value, ensure_ascii=False),
    "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    "values": lambda data: pairs(data) if data else "",
    "quote": lambda place: place["quote"] if place and not place["excerpt"] else "",
    "field_names": lambda fields: [field["name"] for field in fields],
    "named": lambda counts: [f"{name} {value}" for name, value in counts.items()],
    # The hub itself
    "tally": lambda counts: [f"{at_most(count)} {name}" for name, count in counts.items() if count] or "none",
    "run_counts": lambda counts: (
        counts
        if counts is None
        else [f"{count} {name}" for name, count in counts.items() if count] or "none in progress"
    ),
    "late": lambda seconds: f"{seconds * 1000:.1f} ms late",
    "series_of": lambda series: (
        series["node"] or " ".join(value for _, value in sorted(series["tags"].items()))
    ),
    # The audit log
    "refused": lambda outcome: "" if outcome == "done" else f" ({outcome})",
    "acted_by": lambda entry: " ".join(filter(None, (entry["actor"], entry["actor_name"]))),
    "acted_on": lambda entry: " ".join(filter(None, (entry["subject_name"], entry["subject"]))),
    # Costs
    "short_key": lambda key: show.short_id(key) if _UUID.fullmatch(key) else key,
    "payer": lambda costs: None if costs["agent"] == costs["key"] else costs["agent"],
    # Runs
    "settled": show.settled,
    "began": lambda run: show.moment(run["started_at"] or run["created_at"]),
    "began_at": lambda run: show.column_moment(run["started_at"] or run["created_at"]),
    "run_result": lambda run: "failed" if run["outcome"] == "error" else run["outcome"] or run["state"],
    "run_message": lambda run: run["waiting_for"] or run["because"] or run["message"],
    # Items and their files
    "day": lambda day: show.column_moment(day) if day and "T" in day else day,
    "on_its_way": lambda given: given_state(given) if given and given["state"] != "done" else "",
    "item_place": lambda item: place_of(item["path"], item["line"]),
    "proposed": lambda proposals: ", ".join(
        f"{proposal['verdict']}{NOT_QUOTED if proposal['unsupported'] else ''} by {proposal['by']}"
        for proposal in proposals
    ),
    # Devices
    "last_seen": lambda device: "now" if device["connected"] else show.moment(device["last_seen_at"]),
    "as_name": lambda name: f" --name {name}" if name else "",
    "owner_grants": lambda grants: [" ".join((grant["name"], *grant["tables"])) for grant in grants],
    # Agents
    "agents_counted": lambda agents: counted(len(agents), "agent"),
    "agent_home": lambda agent: (
        f"gateway {agent['gateway']}" if agent["gateway"] else agent["delivers_to"] or "none"
    ),
    "home": lambda agent: agent["gateway"] or agent["device"],
    "is_online": lambda agent: (  # of a mailbox for each device of its user: neither
        agent["connectivity"] == "online"
        if agent["gateway"]
        else agent["device_connected"]
        if agent["device"]
        else None
    ),
    "old_config": lambda change: config_value(change["old_value"]) if change["old_type"] else show.NOTHING,
    "new_config": lambda change: config_value(change["new_value"]) if change["new_type"] else show.NOTHING,
    "tagged": lambda tags: " ".join(f"{name}={value}" for name, value in sorted(tags.items())),
    # Nodes
    "node_state": lambda node: f"{node['state']}, this node" if node["here"] else node["state"],
    # Locks
    "holders": lambda waiting: ", ".join(holder(wait["holder"]) for wait in waiting),
    "holder_now": lambda held_by: f"{holder(held_by)} holds it now" if held_by else "it is free now",
    # Capabilities
    "versions": lambda removed: ", ".join(
        f"{capability['name']} {capability['version']}" for capability in removed
    ),
    # Connectors
    "revoked_at_provider": lambda is_revoked: (
        "the provider revoked it" if is_revoked else "the provider did not confirm that it is revoked"
    ),
    # Gateways
    "remote_state": lambda agent: (
        f"{agent['state']}: {agent['problem']}" if agent["problem"] else agent["state"]
    ),
    "since_at": lambda gateway: show.column_moment(_since(gateway)),
    "state_since": lambda gateway: f"{gateway['state']} since {show.moment(_since(gateway))}",
    "online": lambda gateway: f"{gateway['agents_online']} of {gateway['agents']} online",
    "remedy": lambda response: response["remedy"] or "",
    # Boards and their memory
    "tags": lambda item: [*item["tags"], *(["chat"] if item["is_chat"] else [])],
    "board_role": lambda agent: "lead" if agent["is_lead"] else "worker",
    "elsewhere": lambda item: "not known here: it is at another node" if item["device_is_elsewhere"] else "",
    "author": lambda item: str(item["agent"] or item["actor_name"] or item["actor"]),
    "lead_origin": lambda lead: "was created to lead" if lead["lead_created"] else "leads",
    # Messages and broadcasts
    "route": lambda message: f"{message['sent_by']} > {recipient(message)}",
    "waits_for": lambda message: message["reason"] or message["waiting_for"],
    "rounds": lambda broadcast: counted(broadcast["rounds"], "time") if broadcast["rounds"] > 1 else "",
}


def _format(function: Format) -> Format:
    """Enter a format under its name."""
    FORMATS[function.__name__.rstrip("_")] = function
    return function


@_format
def short(text: str | None, most: int = MAX_SHOWN) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join((text or "").split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


@_format
def source(place: Item | None) -> str:
    """Format the lines of a quote and those around it."""
    if not place or not place["excerpt"]:
        return ""
    from hub.text.excerpt import Excerpt, lines_around

    return "\n".join(map(spelled, lines_around(Excerpt(**place["excerpt"]), place["quote"])))


def pairs(fields: Item) -> str:
    """Format fields as ``NAME=VALUE``, instants as in every other line."""
    return ", ".join(
        f"{name}={show.moment(value) if _INSTANT.fullmatch(str(value)) else value}"
        for name, value in fields.items()
        if value is not None
    )


# The audit log


@_format
def entry_details(entry: Item) -> str:
    """Format the changed values of an entry, then its other details."""
    changes, shown = entry["changes"], {"old", "new"} if entry["event"] == "settings.changed" else set()
    shown |= {name for change in changes for name in (change["key"], f"{change['key']}.old")}
    rest = pairs({name: value for name, value in entry["detail"].items() if name not in shown})
    values = (
        f"{change['key']}: {change['old'] or 'none'} -> {change['new'] or 'none'}" for change in changes
    )
    return ", ".join(filter(None, (*values, rest)))


# The hub itself


@_format
def ready_gateways(status: Item) -> str:
    known = status["gateways_known"]
    return f"{status['gateways_ready']} of {known} ready" if known else ""


@_format
def connected_devices(status: Item) -> str | None:
    connected, here = status["devices_connected"], status["devices_here"]
    if connected is None:
        return None
    text = f"{connected} of {status['devices_known']} connected"
    return text if here == connected else f"{text}, {here} of them to this node"


@_format
def waiting_devices(names: Sequence[str]) -> str:
    """Name the devices that show a pairing code, and the command that admits them."""
    verb = "waits" if len(names) == 1 else "wait"
    return f"{', '.join(names)} {verb}: hub pair approve CODE, as the device shows it" if names else ""


@_format
def at_most(count: int) -> str:
    """Return a number of which the hub counts no more than 1,000."""
    return f"{count} or more" if count >= MAX_COUNTED else str(count)


@_format
def issue_counts(counts: Item) -> str:
    """Count the issues by severity, and name the command that lists them."""
    listed = ", ".join(
        f"{count} {name if count != 1 else name.removesuffix('s')}" for name, count in counts.items() if count
    )
    return f"{listed}; list them: hub doctor" if listed else "none"


@_format
def worst_issues(status: Item) -> str:
    """Format the worst issues, without notices, and the number of the others."""
    worst = [issue for issue in status["worst"] if issue["severity"] != "notice"]
    more = status["issues"]["errors"] + status["issues"]["warnings"] - len(worst)
    lines = [line for issue in worst for line in show.issue_lines(issue)]
    return "\n".join(["", *lines] + [f"and {more} more: hub doctor"] * (more > 0)) if worst else ""


@_format
def stacks(dump: Item) -> str:
    stacks = [(f"{task['count']} x {', '.join(task['names'])}", task["stack"]) for task in dump["tasks"]]
    stacks += [(f"thread {thread['name']}", thread["stack"]) for thread in dump["threads"]]
    lines = [line for title, calls in stacks for line in ("", title, *(f"  {call}" for call in calls))]
    return "\n".join(map(one_line, lines))


# The audit log


@_format
def chain(check: Item) -> str:
    lines = [one_line(found["what"]) for found in check["breaks"]]
    if check["more_breaks"]:
        lines.append(f"and {check['more_breaks']} more")
    if check["ok"]:
        lines.append(f"the chain is intact; entries: {check['entries']}")
    if check["last_seq"] is not None:
        lines.append(f"last entry: {check['last_seq']}:{check['last_hash']}")
    return "\n".join(lines)


@_format
def chain_note(last_seq: int | None) -> str:
    note = "Note it elsewhere, to detect a rewritten log later: --known NUMBER:HASH"
    return "" if last_seq is None else note


# The settings


@_format
def setting_changes(changes: Sequence[Item]) -> str:
    signed = [
        (sign, change["key"], change[age]) for change in changes for sign, age in (("-", "old"), ("+", "new"))
    ]
    return "\n".join(f"{sign} {key} = {value}" for sign, key, value in signed if value is not None)


# Costs


@_format
def usd(amount: float | None) -> str:
    """Format an amount in US dollars: ``0.0123``; tiny amounts are ``<0.0001`` instead of zero."""
    if amount is None:
        return show.NOTHING
    return f"{amount:.4f}" if amount >= 0.0001 or not amount else "<0.0001"


@_format
def price_note(total: Item) -> str:
    note = "no prices are known: set price_in_usd and price_out_usd of your models in hub.toml"
    return "" if total["usd"] else note


# Runs


@_format
def run_note(run: Item) -> str:
    """Return the reason why a run waits or failed, the missed times that it covers, and the files left."""
    why = run["because"] if run["state"] in show.FINAL else run["waiting_for"]
    reader = f"to run {show.short_id(run['followed_by'])}" if run["followed_by"] else "for the next runs"
    left = f"{counted(run['units_left'], 'file')} left {reader}" if run["units_left"] else None
    return "; ".join(filter(None, (why, run["missed_because"], left)))


@_format
def left_out(counts: Mapping[str, int]) -> str:
    """Return a line for each reason why files of a run were left out: how many, why, what to do."""
    from protocol.skipped_files import LEFT_OUT

    return "\n".join(
        f"{count} skipped, {reason.replace('_', ' ')}: {LEFT_OUT[reason]}" for reason, count in counts.items()
    )


@_format
def missing_units(count: int) -> str:
    """Return a line about files whose rows another program deleted; empty for none."""
    return f"\n{count} files are missing that the run has counted: another program deleted them" * bool(count)


@_format
def run_reason(run: Item) -> str:
    """Return the state of a run, and why it waits, failed or was partial."""
    ended = {"success": "succeeded", "partial": "partial", "error": "failed"}
    state = ended.get(run["outcome"], run["state"].lower())
    return ": ".join(filter(None, (state, run_note(run) or run["reason"])))


@_format
def run_state(run: Item) -> str:
    if run["state"] in show.FINAL - {"CANCELLED"}:
        return f"had ended already: {run['state']}"
    return ", ".join(filter(None, (run["state"], run["waiting_for"])))


@_format
def span_took(span: Item) -> str:
    """Return the duration of a span of a run."""
    if span["ended_at"] is None:
        return "goes on"
    began, ended = (datetime.fromisoformat(span[name]) for name in ("started_at", "ended_at"))
    seconds = (ended - began).total_seconds()
    return f"{seconds * 1_000:.0f} ms" if seconds < 1 else show.took(seconds)


# Items


@_format
def provenance(found: Item | None) -> str:
    """Return who wrote the text of an item: ``mail, Ann <ann@example.org>, not verified``."""
    if not found:
        return ""
    words = (found["origin"], found["author"], "" if found["trusted"] else "not verified")
    return ", ".join(filter(None, words))


@_format
def item_state(item: Item) -> str:
    """Return the verdict on an item, what became of one that was given at the hub, and its marks."""
    given = item["given"]
    words = ["less sure" if item["verdict"] == "held" else item["verdict"], *item["warnings"]]
    changes = item.get("changes", ())  # a hub of an older release has none
    words += [f"{change['field']}: {change['before']} → {change['after']}" for change in changes]
    if given and (
        given["state"] != "done" or (given["verdict"] == "undo" and not _is_overtaken(item, given))
    ):
        words.insert(1, given_state(given) + _way_of_undo(item, given))
    return ", ".join(words)


def _is_overtaken(item: Item, given: Item) -> bool:
    """Return True if the owner has decided about an item at its device since a verdict was settled."""
    times = item.get("verdict_at"), given.get("settled_at")  # a hub of an older release does not tell it
    decided, settled = (None if time is None else datetime.fromisoformat(time) for time in times)
    return decided is not None and settled is not None and decided > settled


def given_state(given: Item) -> str:
    """Return what became of a verdict that was given at the hub, and why it was refused."""
    why = f": {refusal(given['reason'])}" if given["reason"] else ""
    return f"{given['verdict']} {given['state']}{why}"


def _way_of_undo(item: Item, given: Item) -> str:
    """Return how a refused undo of an item that ``hub tasks`` lists can be given again."""
    is_refused = (given["verdict"], given["reason"]) == ("undo", "changed_meanwhile")
    is_listed = item["table"] in ("tasks", "timelines") and item["verdict"] in ("approved", "edited")
    return "; hub tasks undo can try it again on the row as it is now" if is_refused and is_listed else ""


@_format
def also_in(others: Sequence[Item]) -> list[str]:
    """Return a line for each other place of an item, with the id of the item there."""
    return [
        f"also in {place_of(other['path'], other['line'])}: {show.short_id(other['id'])}" for other in others
    ]


def place_of(path: str, line: int | None) -> str:
    """Return a file with the line of an item's words, if it is known."""
    return path if line is None else f"{path}, line {line}"


@_format
def owner_changed(item: Item) -> str | None:
    """Return that the values of an item are not those of its owner, if they were changed at the device."""
    given = item["given"] or {}
    if item["verdict"] != "edited" or (given.get("verdict"), given.get("state")) == ("edit", "done"):
        return None
    return "its owner changed it at the device since; the values there are not known here"


@_format
def refusal(code: str | None) -> str | None:
    """Return why a device does not apply a verdict from the hub, and what to do."""
    from protocol.errors import VERDICT_REFUSALS

    return VERDICT_REFUSALS.get(code or "", code)


@_format
def given_by(given: Item | None) -> str:
    """Return who gave the newest verdict at the hub, and when."""
    if not given:
        return ""
    proposer = f", proposed by {given['proposed_by']}" if given["proposed_by"] else ""
    return f"{given['verdict']} by {given['by']}, {show.moment(given['created_at'])}{proposer}"


@_format
def proposals(item: Item) -> str:
    """Return which verdicts are proposed on an item, with what they change, by whom and why."""
    each = ((proposal, ", ".join(_changes(proposal, item["data"] or {}))) for proposal in item["proposals"])
    return "; ".join(
        f"{proposal['verdict']} {changes}".rstrip() + f" by {proposal['by']}: {proposal['why']}"
        for proposal, changes in each
    )


def _changes(proposal: Item, before: Item) -> Iterator[str]:
    for name, value in proposal["data"].items():
        if value != before.get(name):
            old, new = (_quoted(side) for side in (before.get(name), value))
            yield f"{name} {old} -> {new}{NOT_QUOTED if name in proposal['unsupported'] else ''}"


def _quoted(value: object) -> str:
    if value is None:
        return "nothing"
    return show.moment(str(value)) if _INSTANT.fullmatch(str(value)) else repr(value)


@_format
def place_states(places: list[Item]) -> str:
    """Return the names of the places of an item, with the state where it has not arrived."""
    named = (
        place["name"] if place["state"] == "arrived" else f"{place['name']}: {place['state']}"
        for place in places
    )
    return ", ".join(named)


@_format
def places(places: list[Item]) -> str:
    """Return where an item is outside of its device's file since when, or why it is not there."""
    linked = ((place, f", {place['link']}" if place["link"] else "") for place in places)
    return "; ".join(f"{issue['sentence']}{link} ({show.moment(issue['since'])})" for issue, link in linked)


@_format
def owner_alone(needs_owner: bool) -> str:
    """Return who approves an item that has a mark, and how."""
    remedy = "on the device: hub review, or hub grants +review.remote=marked"
    return f"to approve or change it: it has a mark; {remedy}" if needs_owner else ""


# Devices


@_format
def round_trip(measured: Item | None) -> str:
    return f"{measured['ms']:.3g} ms, measured {show.moment(measured['measured_at'])}" if measured else ""


@_format
def agreement(compared: Item | None) -> str:
    """Describe the last comparison of a device's rows in one line."""
    if compared is None:
        return ""
    counts = (
        f"{compared['sent']} sent again, {compared['taken']} new to the hub, {compared['refused']} refused"
    )
    if compared["agreed_at"]:
        return f"in agreement since {show.moment(compared['agreed_at'])} ({counts})"
    because = f": {compared['problem']}" if compared["problem"] else ""
    return f"compared since {show.moment(compared['began_at'])} ({counts}){because}"


@_format
def credentials(device: Item) -> str:
    """List keys and tokens; a fingerprint fills the line, so their times are below."""
    ways = [("key", key["fingerprint"], key) for key in device["keys"]]
    ways += [("token", f"{token['id']} (...{token['last4'] or '?'})", token) for token in device["tokens"]]
    events = (("created_at", "created"), ("last_used_at", "last used"), ("revoked_at", "revoked"))
    lines = []
    for kind, name, way in ways:
        times = (f"{'':7}{event} {show.moment(way[key])}" for key, event in events if way[key])
        lines += ["", f"{kind:7}{name}", *times]
    return "\n".join(lines)


# Agents


@_format
def agent_state(agent: Item) -> str:
    """Return the state that keeps the agent from working, as in ``paused`` or ``error``; else ``active``."""
    if agent["lifecycle"] == "active" and agent["health"] != "ok":
        return "error"
    if agent["lifecycle"] == "active" and agent["availability"] != "available":
        return str(agent["availability"])
    return str(agent["lifecycle"])


@_format
def next_at(agent: Item) -> Any:
    """Return the next scheduled time, or the reason why there is none."""
    if agent["lifecycle"] != "active":
        return agent["lifecycle"]
    if agent["next_fires"]:
        return show.column_moment(agent["next_fires"][0]["at"])
    return next(
        (schedule["paused_because"] for schedule in agent["schedules"] if schedule["paused_because"]), None
    )


@_format
def last_run_at(agent: Item) -> str | None:
    run = agent["last_run"]
    if run is None:
        return None
    result = run["outcome"] or run["state"]
    return f"{show.column_moment(run['created_at'])} {result}, {counted(run['items_created'], 'item')}"


@_format
def next_run(agent: Item) -> str:
    """Return the next scheduled time, or the reason why there is none."""
    if agent["next_fires"]:
        return f"its next run: {show.moment(agent['next_fires'][0]['at'])}"
    paused = (schedule["paused_because"] for schedule in agent["schedules"] if schedule["paused_because"])
    return next(paused, "no run is scheduled")


@_format
def config_value(value: object) -> str:
    return short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@_format
def changed(keys: Sequence[str]) -> str:
    return f"changed {', '.join(keys)}" if keys else "nothing changed"


@_format
def figure(value: float | None) -> str:
    """Format a value with four significant digits: ``0.01234``, ``17``, ``1.5e+09``."""
    if value is None:
        return show.NOTHING
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e9 else f"{value:.4g}"


@_format
def course(values: Sequence[float | None]) -> str:
    """Draw values as columns of one line, from the least to the greatest; a gap is a dot."""
    columns, gap = next(pair for pair in zip(COLUMNS, GAPS, strict=True) if show.can_print("".join(pair)))
    known = [value for value in values if value is not None]
    least, greatest = min(known, default=0), max(known, default=0)
    span = greatest - least
    drawn = []
    for value in values:
        if value is None:
            drawn.append(gap)
        else:
            height = (value - least) / span if span else 0
            drawn.append(columns[round(height * (len(columns) - 1))])
    return "".join(drawn)


# Locks


@_format
def holder(held_by: Item | None) -> str:
    """Describe the holder of a lock: ``run 4e21 of notes``, ``device desk for notes``."""
    if held_by is None:
        return ""
    agent = held_by["agent"]
    match held_by["kind"]:
        case "run":
            return f"run {show.short_id(held_by['id'])}" + (f" of {agent}" if agent else "")
        case "device":
            return f"device {held_by['device'] or held_by['id']}" + (f" for {agent}" if agent else "")
    return str(held_by["id"])


# Capabilities


@_format
def registered(response: Item) -> str:
    state = "enabled" if response["capability"]["enabled"] else "not enabled"
    return f"{state}; replaces {response['disabled']}" if response["disabled"] else state


# Connectors


@_format
def connector_state(connector: Item) -> str:
    match connector["state"]:
        case "sign_in":
            return "needs a sign-in"
        case "failing":
            return f"failed {often(connector['failures'])}"
        case "untested":
            return "not tested yet"
    return str(connector["state"])


@_format
def connector_problem(connector: Item) -> str:
    text = "; ".join(filter(None, (connector["detail"], connector["remedy"])))
    return f"{connector['name']}: {text}" if connector["remedy"] else ""


# Gateways


@_format
def gateway_problems(gateway: Item) -> str:
    problems = ((gateway["problem"], ""), (gateway["admin_problem"], "with admin rights: "))
    return "; ".join(
        f"{gateway['name']}: {scope}{problem['message']}"
        + (f"; {problem['hint']}" if problem["hint"] else "")
        for problem, scope in problems
        if problem
    )


def _since(gateway: Item) -> Any:
    return gateway["unreachable_since"] or gateway["since"]


# Boards and their memory


@_format
def answered(item: Item) -> str:
    answered = ((noun, item[f"answered_{noun}"]) for noun in ("message", "question"))
    return "; ".join(f"it answers {noun} {show.short_id(id)}" for noun, id in answered if id)


@_format
def lead_creation(lead: Item) -> str:
    """Describe the state of a lead that is not ready yet."""
    if lead["state"] == "ready":
        return ""
    why = f": {lead['problem']}" if lead["problem"] else ""
    return f"it is {lead['state']} at gateway {lead['gateway']}{why}; the hub keeps trying"


# Messages and broadcasts


@_format
def recipient(message: Item) -> str:
    lead = f"the lead of {message['board']}" if message["board"] else "a lead"
    return str(message["agent"] or (lead if message["to_lead"] else ""))


@_format
def delivery(message: Item) -> str:
    """Describe the state of a message: its answer, its recipient, or the reason why it waits."""
    match message["state"]:
        case "answered":
            return f"answered: {message['answer']}"
        case "consumed":
            return f"{recipient(message)} received it: {message['id']}"
        case state:
            why = f": {message['waiting_for']}" if message["waiting_for"] else ""
            return f"{state}{why}; the hub delivers it as soon as possible: {message['id']}"


@_format
def proof(move: Item) -> str:
    """Summarize the proof of a state change. ``--json`` has all of it, with the letter itself."""
    words = _spelled({name: value for name, value in move["proof"].items() if name != "letter"})
    return short("; ".join(part for part in (move["reason"] or "", words) if part), 160)


def _spelled(proof: Item) -> str:
    """Format a proof without its empty values, with short ids: ``history: role user, id 3f2a; boot b7``."""
    parts = []
    for name, value in proof.items():
        if isinstance(value, Mapping):
            inner = _spelled(value).replace(";", ",")
            parts += [f"{name}: {inner}"] if inner else []
        elif value is not None and value is not False and not name.endswith("_ms"):
            words = str(value)
            parts.append(f"{name} {show.short_id(words) if _UUID.fullmatch(words) else words}")
    return "; ".join(parts)


@_format
def counts(broadcast: Item) -> str:
    parts = [f"{broadcast['sent']} of {broadcast['boards']} leads received it"]
    parts += [f"{broadcast[state]} {state}" for state in ("failed", "waiting") if broadcast[state]]
    return ", ".join(parts)


@_format
def errors(results: Sequence[Item]) -> str:
    return "".join(
        f"\n  {result['board'] or result['board_id']}: {short(result['error'])}"
        for result in results
        if result["error"]
    )
