"""Starting a run, and watching one until it ends."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.costs import usd
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import Talk, talk
from hub.cli.values import object_option
from hub.printable import spelled

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_MOST_TITLES = 10


@click.command(epilog=example("hub run notes --follow"))
@click.argument("agent", shell_complete=agent_names)
@click.option("--follow", is_flag=True, help="Stay until the run has ended.")
@click.option("--key", metavar="KEY", help="The same key starts one run only.")
@click.option("--need", "needs", multiple=True, metavar="NEED", help='As in "file.read >= 1.2".')
@click.option("--lock", "locks", multiple=True, metavar="NAME", help="A lock that it holds while it works.")
@click.option("--task", metavar="ID", help="What it is for, told with it wherever it is shown.")
@object_option("--context", help="What its device is told of it, as JSON.")
@click.option("--estimate", is_flag=True, help="Say what a run would read and cost, and start none.")
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
    context: dict[str, Any] | None,
    estimate: bool,
    state: Path,
    as_json: bool,
) -> None:
    """Start a run of an agent.

    With --follow, exits with 1 when the run does not complete. Ctrl-C stops
    following; the run goes on.
    """
    with talk(state) as hub:
        if estimate:
            tell_estimate(hub.post(f"/v1/agents/{quote(agent, safe='')}/estimate"), as_json=as_json)
            return
        headers = {"idempotency-key": key} if key is not None else None
        wanted = {"needs": needs, "locks": locks, "task_id": task, "context": context or {}}
        started = hub.post(f"/v1/agents/{quote(agent, safe='')}/runs", wanted, headers=headers)
        if not follow:
            tell_started(started, as_json=as_json)
            return
        ended = follow_to_end(ctx, hub, started, as_json=as_json)
        if not as_json:
            sum_up(hub.get(f"/v1/runs/{ended['id']}"))
            show_found(hub, ended)
    ctx.exit(Exit.DONE if ended["state"] == "COMPLETED" else Exit.FAILED)


def tell_estimate(told: Mapping[str, Any], *, as_json: bool) -> None:
    """What a run would read and cost."""
    if as_json:
        show.print_json("estimate", told)
        return
    price = f"{usd(told['usd_low'])} to {usd(told['usd_high'])} USD"
    show.print_facts(
        {
            "files": f"{told['to_read']} to read of {told['files']}; {told['known']} are settled",
            "size": f"{told['bytes_to_read']} bytes",
            "questions": f"{told['questions_low']} to {told['questions_high']}",
            "tokens": f"{told['tokens_low']} to {told['tokens_high']}",
            "cost": "no price is known" if told["usd_low"] is None else price,
            "reckoned from": "what its files cost lately" if told["basis"] == "runs" else "their size",
        }
    )
    for budget in told["over"]:
        show.say(f"it may reach {budget} of hub.toml")


def tell_started(run: Mapping[str, Any], *, as_json: bool) -> None:
    """A run was queued: its id to stdout, how it stands to a person."""
    if as_json:
        show.print_json("run", run)
        return
    show.out(run["id"])
    stands = ", ".join(filter(None, (run["state"], run["waiting_for"])))
    show.say(f"{stands}; look at it: hub runs show {show.short_id(run['id'])}")


def follow_to_end(
    ctx: click.Context, hub: Talk, run: Mapping[str, Any], *, as_json: bool
) -> Mapping[str, Any]:
    """The run at its end, told step by step. Ctrl-C ends the command: the run goes on.

    Raises:
        Failure: the hub ended first; the run outlives that.
    """
    look = f"hub runs show {show.short_id(run['id'])}"
    last, is_paused = run, False
    try:
        with show.following() as tell:
            for step in hub.follow(f"/v1/runs/{run['id']}/events"):
                last = step["run"]
                if as_json:
                    show.print_json("progress", step, on_one_line=True)
                else:
                    tell(step)
                    if last["state"] == "PAUSED" and not is_paused:
                        show.say(f"it goes on by itself; Ctrl-C ends this command alone, then: {look}")
                    is_paused = last["state"] == "PAUSED"
    except KeyboardInterrupt:
        show.say(f"the run goes on; look at it: {look}")
        ctx.exit(Exit.FAILED)
    if last["state"] not in FINAL:
        raise Failure(
            "the hub stopped; the run goes on when it is back",
            Exit.TRY_AGAIN,
            next_step=f"then look at it: {look}",
        )
    return last


def sum_up(run: Mapping[str, Any]) -> None:
    """A run that has ended, in one line, and what went wrong in it."""
    went = run["outcome"] or run["state"].lower()
    why = f" ({run['because']})" if run["because"] else ""
    cost = f", {usd(run['usd'])} USD" if run["usd"] else ""
    items = f"{run['items_created']} items{also_found(run)}"
    show.out(f"{went}{why}: {files_of(run)}, {items}, {run['model_requests']} model requests{cost}")
    say_errors(run)


def show_found(hub: Talk, run: Mapping[str, Any]) -> None:
    """The newest items of a run, and where their owner says what becomes of them."""
    count = run["items_created"] + run["items_updated"]
    if not count:
        return
    found = hub.get("/v1/items", run=run["id"], limit=_MOST_TITLES)["items"]
    for item in found:
        show.out(f"  {item['table']}  {spelled(item['title'])}")
    if count > len(found):
        show.out(f"  ... and {count - len(found)} more")
    show.say(f"on {run['device']} they wait for their owner; type there: hub review")


def files_of(run: Mapping[str, Any]) -> str:
    """What became of a run's files, in a few words."""
    told = f"{run['units_done']} read, {run['units_skipped']} skipped, {run['units_failed']} failed"
    return f"{told}, {run['units_left']} left for the next runs" if run["units_left"] else told


def also_found(run: Mapping[str, Any]) -> str:
    """``, 1 updated, 20 known before``: what became of items that brought no new row; mostly nothing."""
    counts = {"updated": run["items_updated"], "known before": run["items_known"]}
    return "".join(f", {count} {what}" for what, count in counts.items() if count)


def say_errors(run: Mapping[str, Any]) -> None:
    """The run's error log, to a person."""
    for error in run["errors"]:
        where = f"{error['path']}: " if error["path"] else ""
        show.say(f"{error['code']}: {where}{error['message']}")
    if run["error_count"] > len(run["errors"]):
        show.say(f"... and {run['error_count'] - len(run['errors'])} errors more")
