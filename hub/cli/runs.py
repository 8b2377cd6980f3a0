"""Commands ``hub run`` and ``hub runs``: start, follow, list, show, trace, pause, cancel, rerun."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from hub.base.name_lists import counted
from hub.base.printable import one_line, shell_word, spelled
from hub.cli import show
from hub.cli.declared import present
from hub.cli.errors import CommandError, Exit
from hub.cli.formats import FORMATS, left_out, usd
from hub.cli.hub_client import HubClient, agent_names, open_client, path_of, run_ids
from hub.cli.options import ListByDefault, default_state, example, hub_option, json_option, object_option
from hub.text.parts import is_lost

_MAX_TITLES = 10
NEXT: Final = "next in line"  # a run that begins at once: there is nothing to do for it


@click.group(cls=ListByDefault, epilog=example("hub runs show 4e21a9"))
def runs() -> None:
    """List and show runs; cancel, pause, resume and repeat them.

    The last six or more characters of a run's id are enough.
    """


@runs.command("show", epilog=example("hub runs show 4e21a9 --follow"))
@click.argument("id", metavar="RUN", shell_complete=run_ids)
@click.option("--follow", is_flag=True, help="Wait until the run has ended, then show it.")
@hub_option
@json_option
@click.pass_context
def show_run(ctx: click.Context, id: str, follow: bool, state: Path, as_json: bool) -> None:
    """Show a run: its steps with their durations, files, errors and state changes.

    With --follow, exits with 1 when the run does not complete. A run that reads
    at once what this one left is followed, too, and shown.
    """
    with open_client(state) as hub:
        response = hub.get(path_of("runs", id))
        if follow and (response["state"] not in show.FINAL or response["followed_by"]):
            ended = follow_to_end(ctx, hub, response, as_json=as_json)
            response = hub.get(path_of("runs", ended["id"]))
    if not as_json:
        _show(response)
    elif not follow:
        show.print_json("run", response)
    ctx.exit(Exit.FAILED if follow and response["state"] != "COMPLETED" else Exit.DONE)


def _show(run: Mapping[str, Any]) -> None:
    show.print_facts(_facts(run))
    width = show.columns()
    for lines in (stage_lines(run, width), file_lines(run, width)):
        if lines:
            show.out()
            show.out("\n".join(lines))
    if notes := [*_notes(run), *left_out(run["left_out"]).splitlines()]:
        show.out()
        show.out("\n".join(notes))
    if run["history"]:
        show.out()
    history = ("at|moment as at", "after as state", "*|by as by", "because as reason")
    present(run, rows="history", table=history)
    report_errors(run)


def _facts(run: Mapping[str, Any]) -> dict[str, object]:
    facts: dict[str, object] = {
        "run": run["id"],
        "agent": run["agent"],
        "device": run["device"],
        "trigger": _trigger(run),
        "state": run["state"],
        "outcome": run["outcome"],
        "reason": run["waiting_for"] or run["because"] or run["reason"],
    }
    if run["state"] == "QUEUED" and run["because"] and run["waiting_for"]:
        facts["returned because"] = run["because"]
    if run["left_because"]:
        facts["left"] = run["left_because"]
    if run["fix"]:
        facts["to mend it"] = run["fix"]
    if run["missed_because"]:
        facts["missed times"] = run["missed_because"]
    if run["cancel_reason"]:
        facts["cancel reason"] = run["cancel_reason"]
    others = {
        "task": run["task_id"],
        "needs": ", ".join(run["needs"]),
        "locks": ", ".join(run["locks"]),
        "device message": run["message"],
        "progress": f"{run['progress']:.0f} %" if 0 < run["progress"] < 100 else None,
    }
    facts |= {name: value for name, value in others.items() if value}
    return facts | {
        "attempts": _tries(run),
        "files": files_of(run),
        "items": f"{run['items_created']}{also_found(run)}",
        "model": f"{counted(run['model_requests'], 'request')}, "
        f"{run['prompt_tokens']} + {run['completion_tokens']} tokens"
        + (f", {usd(run['usd'])} USD" if run["usd"] else ""),
        "started": show.moment(run["started_at"]),
        "ended": show.moment(run["completed_at"]),
        "trace": run["trace_id"],
    }


_REMARKS: Final = {
    "undecoded": "{} characters, U+FFFD was read instead",
    "guessed_encoding": "{} characters, which may be wrong",
    "unread_chars": "{}, see hub why",
}


def _notes(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield remarks on how files were read: ``a.md: halved 2, dropped ungrounded 1``."""
    for unit in run["units"]:
        remarks = []
        for name, value in unit["notes"].items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            if name == "parts" and not any(is_lost(key) for key, _ in parts):
                continue
            texts = (" ".join(filter(None, (name, key, str(count)))) for key, count in parts)
            remarks += [_REMARKS.get(name, "{}").format(text.replace("_", " ")) for text in texts]
        if remarks:
            yield one_line(f"{unit['path']}: {', '.join(remarks)}")


def _trigger(run: Mapping[str, Any]) -> str:
    if run["rerun_of"]:
        return f"rerun of {show.short_id(run['rerun_of'])}"
    if run["trigger"] == "manual" or run["fire_at"] is None:
        return run["trigger"]  # type: ignore[no-any-return]
    return f"{run['trigger']}, for {show.moment(run['fire_at'])}"


def _tries(run: Mapping[str, Any]) -> str:
    """Count the attempts: ``attempt 2 of 5; returned to the queue 3 times; ...``."""
    parts = [f"attempt {run['attempt']} of {run['max_attempts']}"]
    if run["dispatches"]:
        parts.append(f"returned to the queue {counted(run['dispatches'], 'time')}")
    if run["crashes"]:
        parts.append(f"interrupted {counted(run['crashes'], 'time')} by the end of the hub")
    return "; ".join(parts)


@click.command(epilog=example("hub run notes --follow"))
@click.argument("agent", shell_complete=agent_names)
@click.option("--follow", is_flag=True, help="Wait until the run has ended, and show its progress.")
@click.option("--key", metavar="KEY", help="Idempotency key: requests with the same key start one run only.")
@click.option(
    "--need",
    "needs",
    multiple=True,
    metavar="NEED",
    help='Capability that the run needs, as in "file.read >= 1.2".',
)
@click.option(
    "--lock", "locks", multiple=True, metavar="NAME", help="Lock that the run holds while it executes."
)
@click.option("--task", metavar="ID", help="Your own reference for the run, shown with it.")
@object_option("--parameters", help="Values of the prompt's variables in this run, as JSON.")
@object_option("--context", help="Context that the run passes to its device, as JSON.")
@click.option("--estimate", is_flag=True, help="Estimate the size and cost of a run, without starting it.")
@hub_option
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    agent: str,
    follow: bool,
    key: str | None,
    needs: Sequence[str],
    locks: Sequence[str],
    task: str | None,
    parameters: dict[str, Any] | None,
    context: dict[str, Any] | None,
    estimate: bool,
    state: Path,
    as_json: bool,
) -> None:
    """Start a run of an agent.

    With --follow, exits with 1 when the run does not complete. A run that reads
    at once what this one left is followed, too. Ctrl-C stops following; the run
    goes on.
    """
    with open_client(state) as hub:
        if estimate:
            print_estimate(hub.post(path_of("agents", agent, "estimate")), as_json=as_json)
            return
        headers = {"idempotency-key": key} if key is not None else None
        body = {
            "needs": needs,
            "locks": locks,
            "task_id": task,
            "parameters": parameters or {},
            "context": context or {},
        }
        started = hub.post(path_of("agents", agent, "runs"), body, headers=headers)
        if not follow:
            print_started(started, as_json=as_json)
            return
        ended = follow_to_end(ctx, hub, started, as_json=as_json)
        if not as_json:
            sum_up(hub.get(path_of("runs", ended["id"])))
            show_found(hub, ended, state)
    ctx.exit(Exit.DONE if ended["state"] == "COMPLETED" else Exit.FAILED)


def print_estimate(response: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the estimated size and cost of a run."""
    if as_json:
        show.print_json("estimate", response)
        return
    price = f"{usd(response['usd_low'])} to {usd(response['usd_high'])} USD"
    show.print_facts(
        {
            "files": f"{response['to_read']} to read of {response['files']}; {response['known']} are settled",
            "size": f"{response['bytes_to_read']} bytes",
            "requests": f"{response['questions_low']} to {response['questions_high']}",
            "tokens": f"{response['tokens_low']} to {response['tokens_high']}",
            "cost": "no prices are known" if response["usd_low"] is None else price,
            "based on": "recent costs of its files"
            if response["basis"] == "runs"
            else "the size of its files",
        }
    )
    for budget in response["over"]:
        show.report(f"the run may reach the limit {budget} of hub.toml")


def print_started(run: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the id of a queued run to stdout, and its state to stderr."""
    if as_json:
        show.print_json("run", run)
        return
    show.out(run["id"])
    state = ", ".join(filter(None, (run["state"], run["waiting_for"])))
    show.report(f"{state}; show it: hub runs show {show.short_id(run['id'])}")


def follow_to_end(
    ctx: click.Context, hub: HubClient, run: Mapping[str, Any], *, as_json: bool
) -> Mapping[str, Any]:
    """Show the progress of a run, and of those that follow it, until the last one ends, and return that one.

    Ctrl-C ends the command, but not the run.

    Raises:
        Failure: the hub stopped before the run ended; the run continues later.
    """
    last, items = _follow_one(ctx, hub, run, as_json=as_json), 0
    while last["followed_by"] is not None:
        items += last["items_created"]
        if not as_json:
            sum_up(hub.get(path_of("runs", last["id"])))
        last = _follow_one(ctx, hub, hub.get(path_of("runs", last["followed_by"])), as_json=as_json)
    if items and not as_json:
        items += last["items_created"]
        show.report(f"with the runs before: {counted(items, 'item', f'{items:,}')}")
    return last


def _follow_one(
    ctx: click.Context, hub: HubClient, run: Mapping[str, Any], *, as_json: bool
) -> Mapping[str, Any]:
    """Show the progress of a run until it ends, and return it."""
    command = f"hub runs show {show.short_id(run['id'])}"
    last, is_paused, reason = run, False, None
    try:
        with show.following() as show_step:
            for step in hub.follow(f"/v1/runs/{run['id']}/events"):
                last = step["run"]
                if as_json:
                    show.print_json("progress", step, on_one_line=True)
                else:
                    show_step(step)
                    if last["state"] == "QUEUED" and last["waiting_for"] not in (None, reason, NEXT):
                        reason = last["waiting_for"]
                        show.report(f"it waits: {reason}; Ctrl-C ends only this command, then: {command}")
                    if last["state"] == "PAUSED" and not is_paused:
                        show.report(f"{_resumption(last)}; Ctrl-C ends only this command, then: {command}")
                    is_paused = last["state"] == "PAUSED"
    except CommandError as failure:
        state = ", ".join(filter(None, (last["state"], last["waiting_for"])))
        next_step = f"the run continues; show it: {command}"
        raise CommandError(
            f"{failure.message}; {state}", Exit(failure.exit_code), next_step=next_step
        ) from None
    except KeyboardInterrupt:
        show.report(f"the run continues; show it: {command}")
        ctx.exit(Exit.FAILED)
    if last["state"] not in show.FINAL:
        raise CommandError(
            "the hub stopped; the run continues when the hub runs again",
            Exit.TRY_AGAIN,
            next_step=f"then show it: {command}",
        )
    return last


def _resumption(paused: Mapping[str, Any]) -> str:
    """Return what resumes a paused run."""
    if paused["reason"] == "user":
        return f"the run was paused by hand; resume it: hub runs resume {show.short_id(paused['id'])}"
    return "the run resumes by itself; what is wrong: hub doctor --online"


def unread_languages(run: Mapping[str, Any]) -> str:
    """Return how many files are in languages that rules do not read, and a remedy; empty for none."""
    found = run["unread_languages"]
    named = ", ".join(f"{counted(count, 'file')} in {name}" for name, count in found.items())
    return named and f"{named}: rules read only check boxes and dates there; choose a model: hub help models"


def sum_up(run: Mapping[str, Any]) -> None:
    """Print the result of an ended run in one line, and its errors."""
    went = run["outcome"] or run["state"].lower()
    why = f" ({run['because']})" if run["because"] else ""
    cost = f", {usd(run['usd'])} USD" if run["usd"] else ""
    items = f"{counted(run['items_created'], 'item')}{also_found(run)}"
    requests = counted(run["model_requests"], "model request")
    show.out(f"{went}{why}: {files_of(run)}, {items}, {requests}{cost}")
    if run["left_because"]:
        show.report(run["left_because"])
    if unread := unread_languages(run):
        show.report(unread)
    report_errors(run)
    if run["fix"]:
        show.report(f"to mend it: {run['fix']}")


def show_found(hub: HubClient, run: Mapping[str, Any], state: Path) -> None:
    """Print items of a run by their days, and the command with which their owner reviews them.

    Args:
        state: state folder of the hub, which may be that of the device too.
    """
    if held := hub.get("/v1/items/counts", run=run["id"], unsure="true")["total"]:
        show.report(f"{held} less sure: hub items ls --unsure --run {show.short_id(run['id'])}")
    count = run["items_created"] + run["items_updated"]
    if not count:
        return
    many = hub.get("/v1/items/counts", run=run["id"])["warnings"].get("any", 0)
    for warning, number in (("none", count - many), ("any", many)):
        found = hub.get("/v1/items", run=run["id"], warning=warning, limit=_MAX_TITLES, order="day")["items"]
        if found and warning == "any":
            show.out(f"{many} with a mark: read the words before you approve")
        for item in found:
            marks = f"  ! {', '.join(item['warnings'])}" if item["warnings"] else ""
            day = f", {FORMATS['day'](item['day'])}" if item["day"] else ""
            show.out(f"  {item['table']}  {spelled(item['title'])}{day}{marks}")
        if number > len(found):
            show.out(f"  ... and {number - len(found)} more")
    is_here = state != default_state() and (state / "devices" / f"{run['device']}.db").exists()
    where = f" --state {shell_word(state)} --name {run['device']}" if is_here else ""
    device = hub.get(f"/v1/devices/{run['device']}")
    is_foreign = device["connected"] and not device["capabilities"] and not is_here
    command = "in its own program" if is_foreign else f"run there: hub review{where}"
    verb = "it waits" if count == 1 else "they wait"
    show.report(f"{verb} for review on {run['device']}; {command}")


BEGUN: Final = ("PENDING", "EXTRACTED")  # states of files that have arrived and have no result yet
MAX_LISTED: Final = 2_000  # of a run in its details, at most


def files_of(run: Mapping[str, Any]) -> str:
    """Count the files of a run by their results; of one that goes on, those that have none yet, too."""
    reasons = dict(run["left_out"])
    if reasons and (unchanged := run["units_skipped"] - sum(reasons.values())):
        reasons["unchanged"] = unchanged
    why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in reasons.items())
    skipped = f"{run['units_skipped']} skipped{f' ({why})' if why else ''}"
    if run["state"] not in show.FINAL:
        begun = sum(unit["state"] in BEGUN for unit in run["units"])
        at_least = "at least " if len(run["units"]) == MAX_LISTED else ""
        counts = f"{run['units_done']} done, {skipped}, {run['units_failed']} failed"
        return f"{counts}, {at_least}{begun} begun" if begun else counts
    counts = f"{run['units_done']} read, {skipped}, {run['units_failed']} failed"
    reader = f"to run {show.short_id(run['followed_by'])}" if run["followed_by"] else "for the next runs"
    return f"{counts}, {run['units_left']} left {reader}" if run["units_left"] else counts


def also_found(run: Mapping[str, Any]) -> str:
    """Count the items that created no row: ``, 1 updated, 20 known before``; mostly empty."""
    counts = {"updated": run["items_updated"], "known before": run["items_known"]}
    return "".join(f", {count} {result}" for result, count in counts.items() if count)


def report_errors(run: Mapping[str, Any]) -> None:
    """Print the error log of a run to stderr."""
    for error in run["errors"]:
        where = f"{error['path']}: " if error["path"] else ""
        code = "" if error["message"].startswith(error["code"]) else f"{error['code']}: "
        attempt = f"attempt {error['attempt']}: " if run["attempt"] > 1 and error["attempt"] else ""
        show.report(f"{attempt}{code}{where}{error['message']}")
    if run["error_count"] > len(run["errors"]):
        show.report(f"... and {counted(run['error_count'] - len(run['errors']), 'more error')}")


# Durations in a run, as bars of text: two pictures, each with its own scale. The states show the whole life
# of the run, which may include days of waiting. The files show the time since the run first started.

MAX_FILES: Final = 40  # the slowest ones; --json has all
MIN_BAR: Final = 10  # columns
WIDE: Final = 80  # columns of redirected output with bars
BELOW: Final = "    "
STAGE, READING, EXTRACTING, DELIVERING = "#", ".", "-", "="
LEGEND: Final = f"{READING} read   {EXTRACTING} extract items   {DELIVERING} deliver items"


class TimelineSpan(NamedTuple):
    """Time span of a picture.

    Attributes:
        mark: character of the bar.
    """

    start: datetime
    end: datetime
    mark: str

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


def stages_of(run: Mapping[str, Any]) -> list[tuple[str, TimelineSpan]]:
    """Return the states of the run in order; the last state of a live run lasts until now."""
    moves = run["history"]
    ends = [move["at"] for move in moves[1:]] + [run["completed_at"] or run["as_of"]]
    return [
        (move["after"].lower(), TimelineSpan(_at(move["at"]), _at(end), STAGE))
        for move, end in zip(moves, ends, strict=True)
        if end != run["completed_at"] or move is not moves[-1]  # the state of an ended run has no duration
    ]


def stage_lines(run: Mapping[str, Any], width: int | None) -> list[str]:
    """Return a line for each state: its duration, and its place in the life of the run."""
    stages = stages_of(run)
    if not stages:
        return []
    start, end = stages[0][1].start, stages[-1][1].end
    rows = [(name, show.took(span.seconds), span) for name, span in stages]
    names, times = max(len(name) for name, _, _ in rows), max(len(time) for _, time, _ in rows)
    columns = max(MIN_BAR, (width or WIDE) - names - times - 6)
    return [
        f"{name.ljust(names)}  {time.rjust(times)}  |{bar([span], start, end, columns)}|"
        for name, time, span in rows
    ]


def file_lines(run: Mapping[str, Any], width: int | None) -> list[str]:
    """Return a line for each processed file: its result, and the time spans of its steps.

    Files that failed or were left out have their reason instead of the bar; a long reason goes below.
    """
    begins = [span.start for name, span in stages_of(run) if name in ("preparing", "running")]
    files = [(unit, list(_spans(unit, begins, run))) for unit in run["units"] if _is_shown(unit)]
    shown = _longest(files)
    if not shown:
        return []
    start = min((spans[0].start for _, spans in shown if spans), default=_at(run["as_of"]))
    end = max((spans[-1].end for _, spans in shown if spans), default=start)
    paths = min(max(4, *(len(unit["path"]) for unit, _ in shown)), max(16, (width or WIDE) // 3))
    columns = max(MIN_BAR, (width or WIDE) - paths - 9 - 5 - 9 - 10)
    lines = [f"{'file'.ljust(paths)}  {'state':<9}  {'items':>5}  {'took':>9}"]
    for unit, spans in shown:
        time = show.took(spans[-1].end.timestamp() - spans[0].start.timestamp()) if spans else "-"
        reason = one_line(unit["error"] or "")
        is_short = len(reason) <= columns
        last = (reason if is_short else "") or (f"|{bar(spans, start, end, columns)}|" if spans else "")
        facts = f"{unit['state']:<9}  {unit['items']:>5}  {time:>9}  {last}"
        lines.append(f"{_cut(unit['path'], paths)}  {facts}".rstrip())
        if not is_short:
            lines += textwrap.wrap(
                reason,
                width or len(BELOW + reason),
                initial_indent=BELOW,
                subsequent_indent=BELOW,
                break_on_hyphens=False,
            )
    if len(shown) < len(files):
        lines.append(
            f"... and {counted(len(files) - len(shown), 'more file')} that took less time; --json has all"
        )
    lines.append(LEGEND)
    return lines


def bar(spans: Iterable[TimelineSpan], start: datetime, end: datetime, columns: int) -> str:
    """Draw *spans* between *start* and *end*, scaled to *columns*; each span has at least one column."""
    whole = (end - start).total_seconds()
    painted = [" "] * columns
    for span in spans:
        first, last = (
            0 if whole <= 0 else (at - start).total_seconds() / whole * columns
            for at in (span.start, span.end)
        )
        left = min(int(first), columns - 1)
        for column in range(left, max(left + 1, min(round(last), columns))):
            painted[column] = span.mark
    return "".join(painted)


def _is_shown(unit: Mapping[str, Any]) -> bool:
    """Return False for a file that the ledger knew from an earlier run."""
    return unit["state"] != "SKIPPED" or unit["error"] is not None


def _spans(
    unit: Mapping[str, Any], begins: Sequence[datetime], run: Mapping[str, Any]
) -> Iterator[TimelineSpan]:
    """Yield the steps of a file in order.

    The first step of a message, whose beginning is not known, begins when the run started or resumed.
    """
    read_at, planned_at = unit["read_at"], unit["planned_at"]
    ends = unit["settled_at"] or (run["as_of"] if run["completed_at"] is None else None)
    last = DELIVERING if planned_at else EXTRACTING if read_at else READING
    steps = [
        (_at(at), mark) for at, mark in ((read_at, READING), (planned_at, EXTRACTING), (ends, last)) if at
    ]
    if not steps or (unit["state"] == "SKIPPED"):
        return
    resumed = max((begin for begin in begins if begin <= steps[0][0]), default=steps[0][0])
    at = _at(unit["began_at"]) if unit["began_at"] else resumed
    for end, mark in steps:
        if end > at:
            yield TimelineSpan(at, end, mark)
            at = end


_File = tuple[Mapping[str, Any], list[TimelineSpan]]


def _longest(files: Sequence[_File]) -> list[_File]:
    """Select MAX_FILES files: failed ones, then the slowest ones. Order them by their ends."""

    def weight(file: _File) -> tuple[bool, float]:
        unit, spans = file
        return unit["state"] != "FAILED", -sum(span.seconds for span in spans)

    def order(file: _File) -> tuple[float, str]:
        unit, spans = file
        return spans[-1].end.timestamp() if spans else 0.0, unit["path"]

    return sorted(sorted(files, key=weight)[:MAX_FILES], key=order)


def _cut(path: str, columns: int) -> str:
    """Cut or pad *path* to *columns*. Keep its end, which identifies the file better than its beginning."""
    path = one_line(path)
    return path.ljust(columns) if len(path) <= columns else "..." + path[3 - columns :]


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
