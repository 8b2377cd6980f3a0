"""Commands on runs: look back, look at one, stop it, let it go on."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from hub.cli import show, waterfall
from hub.cli.completion import run_ids
from hub.cli.costs import usd
from hub.cli.failure import Exit
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.run import FINAL, also_found, files_of, follow_to_end, say_errors, tell_started
from hub.cli.talk import talk
from hub.printable import one_line

id_argument = click.argument("id", metavar="ID", shell_complete=run_ids)


@click.group(cls=ListByDefault, epilog=example("hub runs show 4e21a9"))
def runs() -> None:
    """List and show runs; cancel, pause, resume and repeat them.

    For ID, the last six or more characters are enough.
    """


@runs.command("ls", epilog=example("hub runs ls --agent notes"))
@click.option("--agent", metavar="NAME", help="Only the runs of this agent.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True)
@hub_option
@json_option
def list_runs(agent: str | None, limit: int, state: Path, as_json: bool) -> None:
    """List the newest runs first, with the reason why each waits."""
    with talk(state) as hub:
        told = hub.get("/v1/runs", agent=agent, limit=limit)
    if as_json:
        show.print_json("runs", told)
        return
    show.print_table(
        ("run", "agent", "state", show.in_zone("started"), "files", "items", "note"),
        (
            (
                show.short_id(run["id"]),
                run["agent"],
                run["outcome"] or run["state"],
                show.short_moment(run["started_at"] or run["created_at"]),
                show.settled(run),
                run["items_created"],
                _note(run),
            )
            for run in told["runs"]
        ),
    )
    if not told["runs"]:
        show.say("no run yet; start one: hub run AGENT --follow")


@runs.command("show", epilog=example("hub runs show 4e21a9 --follow"))
@id_argument
@click.option("--follow", is_flag=True, help="Stay until the run has ended, then show it.")
@hub_option
@json_option
@click.pass_context
def show_run(ctx: click.Context, id: str, follow: bool, state: Path, as_json: bool) -> None:
    """Show a run: its steps with their durations, files, errors and state changes.

    With --follow, exits with 1 when the run does not complete.
    """
    with talk(state) as hub:
        told = hub.get(_path(id))
        if follow and told["state"] not in FINAL:
            follow_to_end(ctx, hub, told, as_json=as_json)
            told = hub.get(_path(told["id"]))
    if not as_json:
        _show(told)
    elif not follow:
        show.print_json("run", told)
    ctx.exit(Exit.FAILED if follow and told["state"] != "COMPLETED" else Exit.DONE)


@runs.command("cancel", epilog=example("hub runs cancel 4e21a9 --reason 'wrong folder'"))
@id_argument
@click.option("--reason", metavar="TEXT", help="Why, for whoever looks at it later.")
@hub_option
@json_option
def cancel(id: str, reason: str | None, state: Path, as_json: bool) -> None:
    """End a run. Items that it has delivered stay."""
    _change(state, id, "cancel", {"reason": reason} if reason else None, as_json=as_json)


@runs.command("pause", epilog=example("hub runs pause 4e21a9"))
@id_argument
@hub_option
@json_option
def pause(id: str, state: Path, as_json: bool) -> None:
    """Pause a run until it is resumed. A run that executes finishes its files in progress first."""
    _change(state, id, "pause", None, as_json=as_json)


@runs.command("resume", epilog=example("hub runs resume 4e21a9"))
@id_argument
@hub_option
@json_option
def resume(id: str, state: Path, as_json: bool) -> None:
    """Resume a run that was paused by hand."""
    _change(state, id, "resume", None, as_json=as_json)


@runs.command("rerun", epilog=example("hub runs rerun 4e21a9"))
@id_argument
@hub_option
@json_option
def rerun(id: str, state: Path, as_json: bool) -> None:
    """Start a new run of the same agent. Files that are settled are not read again."""
    with talk(state) as hub:
        tell_started(hub.post(f"{_path(id)}/rerun"), as_json=as_json)


def _change(state: Path, id: str, what: str, body: object, *, as_json: bool) -> None:
    with talk(state) as hub:
        before = hub.get(_path(id))
        told = hub.post(f"{_path(before['id'])}/{what}", body)
    if as_json:
        show.print_json("run", told)
        return
    if before["state"] in FINAL:
        show.say(f"run {show.short_id(told['id'])} of {told['agent']} had ended already: {before['state']}")
        return
    stands = ", ".join(filter(None, (told["state"], told["waiting_for"])))
    show.say(f"run {show.short_id(told['id'])} of {told['agent']}: {stands}")


def _path(id: str) -> str:
    return f"/v1/runs/{quote(id, safe='')}"


def _note(run: Mapping[str, Any]) -> str:
    """What a person would ask about a run: why it waits, what it stands for, why it ended badly."""
    why = run["because"] if run["state"] in FINAL else run["waiting_for"]
    left = f"{run['units_left']} files left for the next runs" if run["units_left"] else None
    return "; ".join(filter(None, (why, run["missed_because"], left)))


def _show(run: Mapping[str, Any]) -> None:
    show.print_facts(_facts(run))
    width = shutil.get_terminal_size().columns
    for lines in (waterfall.stage_lines(run, width), waterfall.file_lines(run, width)):
        if lines:
            show.out()
            show.out("\n".join(lines))
    if notes := list(_notes(run)):
        show.out()
        show.out("\n".join(notes))
    if run["history"]:
        show.out()
        show.print_table(
            ("at", "state", "by", "reason"),
            (
                (show.moment(move["at"]), move["after"], move["actor"], move["because"])
                for move in run["history"]
            ),
        )
    say_errors(run)


def _facts(run: Mapping[str, Any]) -> dict[str, object]:
    facts: dict[str, object] = {
        "run": run["id"],
        "agent": run["agent"],
        "device": run["device"],
        "set off by": _trigger(run),
        "state": run["state"],
        "outcome": run["outcome"],
        "reason": run["waiting_for"] or run["because"] or run["reason"],
    }
    if run["missed_because"]:
        facts["stands for"] = run["missed_because"]
    if run["cancel_reason"]:
        facts["cancelled for"] = run["cancel_reason"]
    asked_for = {
        "task": run["task_id"],
        "needs": ", ".join(run["needs"]),
        "locks": ", ".join(run["locks"]),
        "its device says": run["message"],
        "progress": f"{run['progress']:.0f} %" if 0 < run["progress"] < 100 else None,
    }
    facts |= {name: told for name, told in asked_for.items() if told}
    return facts | {
        "tried": _tries(run),
        "files": files_of(run),
        "items": f"{run['items_created']}{also_found(run)}",
        "model": f"{run['model_requests']} requests, "
        f"{run['prompt_tokens']} + {run['completion_tokens']} tokens"
        + (f", {usd(run['usd'])} USD" if run["usd"] else ""),
        "started": show.moment(run["started_at"]),
        "ended": show.moment(run["completed_at"]),
        "trace": run["trace_id"],
    }


def _notes(run: Mapping[str, Any]) -> Iterator[str]:
    """How files were read, where there is something to say: ``a.md: halved 2, dropped ungrounded 1``."""
    for unit in run["units"]:
        told = []
        for name, value in unit["notes"].items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            said = (" ".join(filter(None, (name, key, str(count)))) for key, count in parts)
            told += [one.replace("_", " ") for one in said]
        if told:
            yield one_line(f"{unit['path']}: {', '.join(told)}")


def _trigger(run: Mapping[str, Any]) -> str:
    if run["rerun_of"]:
        return f"rerun of {show.short_id(run['rerun_of'])}"
    if run["trigger"] == "manual" or run["fire_at"] is None:
        return run["trigger"]  # type: ignore[no-any-return]
    return f"{run['trigger']}, for {show.moment(run['fire_at'])}"


def _tries(run: Mapping[str, Any]) -> str:
    """``attempt 2 of 5; 3 times not taken on; 1 crash of the hub``."""
    told = [f"attempt {run['attempt']} of {run['max_attempts']}"]
    if run["dispatches"]:
        told.append(f"{run['dispatches']} times not taken on by its device")
    if run["crashes"]:
        told.append(f"the hub ended {run['crashes']} times under it")
    return "; ".join(told)
