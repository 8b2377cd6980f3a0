"""Commands on runs: start one, follow it, look back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import ListByDefault, json_option, state_option
from hub.cli.talk import Talk, talk

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


@click.command()
@click.argument("agent")
@click.option("--follow", is_flag=True, help="Stay until the run has ended.")
@click.option("--key", metavar="KEY", help="The same key starts one run only.")
@state_option
@json_option
@click.pass_context
def run(ctx: click.Context, agent: str, follow: bool, key: str | None, state: Path, as_json: bool) -> None:
    """Start a run of an agent.

    With --follow, exits with 1 when the run does not complete. Ctrl-C stops
    following; the run goes on.
    """
    with talk(state) as hub:
        headers = {"idempotency-key": key} if key is not None else None
        started = hub.post(f"/v1/agents/{quote(agent, safe='')}/runs", headers=headers)
        if not follow:
            if as_json:
                show.print_json("run", started)
            else:
                click.echo(started["id"])
                stands = ", ".join(filter(None, (started["state"], started["waiting_for"])))
                show.say(f"{stands}; look at it: hub runs show {started['id']}")
            return
        try:
            ended = _follow(hub, started, as_json=as_json)
        except KeyboardInterrupt:
            show.say(f"the run goes on; look at it: hub runs show {started['id']}")
            ctx.exit(Exit.FAILED)
        if not as_json:
            _sum_up(hub.get(f"/v1/runs/{ended['id']}"))
    ctx.exit(Exit.DONE if ended["state"] == "COMPLETED" else Exit.FAILED)


@click.group(cls=ListByDefault)
def runs() -> None:
    """List runs, or show one."""


@runs.command("ls")
@click.option("--agent", metavar="NAME", help="Only the runs of this agent.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True)
@state_option
@json_option
def list_runs(agent: str | None, limit: int, state: Path, as_json: bool) -> None:
    """The newest runs first."""
    with talk(state) as hub:
        told = hub.get("/v1/runs", agent=agent, limit=limit)
    if as_json:
        show.print_json("runs", told)
        return
    show.print_table(
        ("run", "agent", "state", "started", "progress"),
        (
            (
                run["id"],
                run["agent"],
                run["outcome"] or run["state"],
                show.moment(run["started_at"] or run["created_at"]),
                show.progress_of(run),
            )
            for run in told["runs"]
        ),
    )
    if not told["runs"]:
        show.say("no run yet; start one: hub run AGENT --follow")


@runs.command("show")
@click.argument("id")
@state_option
@json_option
def show_run(id: str, state: Path, as_json: bool) -> None:
    """One run: its files, errors and moves."""
    with talk(state) as hub:
        told = hub.get(f"/v1/runs/{quote(id, safe='')}")
    if as_json:
        show.print_json("run", told)
        return
    show.print_facts(
        {
            "run": told["id"],
            "agent": told["agent"],
            "device": told["device"],
            "state": told["state"],
            "outcome": told["outcome"],
            "reason": told["waiting_for"] or told["reason"],
            "files": _files(told),
            "items": told["items_created"],
            "model": f"{told['model_requests']} requests, "
            f"{told['prompt_tokens']} + {told['completion_tokens']} tokens",
            "started": show.moment(told["started_at"]),
            "ended": show.moment(told["completed_at"]),
        }
    )
    if told["units"]:
        click.echo()
        show.print_table(
            ("file", "state", "items", "error"),
            ((unit["path"], unit["state"], unit["items"], unit["error"]) for unit in told["units"]),
        )
    if told["history"]:
        click.echo()
        show.print_table(
            ("at", "state", "by", "reason"),
            (
                (show.moment(move["at"]), move["after"], move["actor"], move["reason"])
                for move in told["history"]
            ),
        )
    _say_errors(told)


def _follow(hub: Talk, started: Mapping[str, Any], *, as_json: bool) -> Mapping[str, Any]:
    """The run at its end. Raises Failure when the hub ends first: the run outlives that."""
    last = started
    with show.following() as tell:
        for step in hub.follow(f"/v1/runs/{started['id']}/events"):
            last = step["run"]
            if as_json:
                show.print_json("progress", step, one_line=True)
            else:
                tell(step)
    if last["state"] not in FINAL:
        raise Failure(
            "the hub stopped; the run goes on when it is back",
            Exit.TRY_AGAIN,
            next_step=f"then look at it: hub runs show {last['id']}",
        )
    return last


def _sum_up(run: Mapping[str, Any]) -> None:
    went = run["outcome"] or run["state"].lower()
    why = f" ({run['reason']})" if run["reason"] else ""
    click.echo(
        f"{went}{why}: {_files(run)}, {run['items_created']} items, {run['model_requests']} model requests"
    )
    _say_errors(run)


def _files(run: Mapping[str, Any]) -> str:
    return f"{run['units_done']} read, {run['units_skipped']} skipped, {run['units_failed']} failed"


def _say_errors(run: Mapping[str, Any]) -> None:
    for error in run["errors"]:
        where = f"{error['path']}: " if error["path"] else ""
        show.say(f"{error['code']}: {where}{error['message']}")
    if run["error_count"] > len(run["errors"]):
        show.say(f"... and {run['error_count'] - len(run['errors'])} errors more")
