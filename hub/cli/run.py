"""``hub run``: start a run, and follow a run until it ends."""

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
            print_estimate(hub.post(f"/v1/agents/{quote(agent, safe='')}/estimate"), as_json=as_json)
            return
        headers = {"idempotency-key": key} if key is not None else None
        body = {"needs": needs, "locks": locks, "task_id": task, "context": context or {}}
        started = hub.post(f"/v1/agents/{quote(agent, safe='')}/runs", body, headers=headers)
        if not follow:
            print_started(started, as_json=as_json)
            return
        ended = follow_to_end(ctx, hub, started, as_json=as_json)
        if not as_json:
            sum_up(hub.get(f"/v1/runs/{ended['id']}"))
            show_found(hub, ended)
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
    ctx: click.Context, hub: Talk, run: Mapping[str, Any], *, as_json: bool
) -> Mapping[str, Any]:
    """Show the progress of a run until it ends, and return it.

    Ctrl-C ends the command, but not the run.

    Raises:
        Failure: the hub stopped before the run ended; the run continues later.
    """
    command = f"hub runs show {show.short_id(run['id'])}"
    last, is_paused = run, False
    try:
        with show.following() as show_step:
            for step in hub.follow(f"/v1/runs/{run['id']}/events"):
                last = step["run"]
                if as_json:
                    show.print_json("progress", step, on_one_line=True)
                else:
                    show_step(step)
                    if last["state"] == "PAUSED" and not is_paused:
                        show.report(
                            f"the run resumes by itself; Ctrl-C ends only this command, then: {command}"
                        )
                    is_paused = last["state"] == "PAUSED"
    except KeyboardInterrupt:
        show.report(f"the run continues; show it: {command}")
        ctx.exit(Exit.FAILED)
    if last["state"] not in FINAL:
        raise Failure(
            "the hub stopped; the run continues when the hub runs again",
            Exit.TRY_AGAIN,
            next_step=f"then show it: {command}",
        )
    return last


def sum_up(run: Mapping[str, Any]) -> None:
    """Print the result of an ended run in one line, and its errors."""
    went = run["outcome"] or run["state"].lower()
    why = f" ({run['because']})" if run["because"] else ""
    cost = f", {usd(run['usd'])} USD" if run["usd"] else ""
    items = f"{run['items_created']} items{also_found(run)}"
    show.out(f"{went}{why}: {files_of(run)}, {items}, {run['model_requests']} model requests{cost}")
    report_errors(run)


def show_found(hub: Talk, run: Mapping[str, Any]) -> None:
    """Print the newest items of a run, and the command with which their owner reviews them."""
    count = run["items_created"] + run["items_updated"]
    if not count:
        return
    found = hub.get("/v1/items", run=run["id"], limit=_MOST_TITLES)["items"]
    for item in found:
        show.out(f"  {item['table']}  {spelled(item['title'])}")
    if count > len(found):
        show.out(f"  ... and {count - len(found)} more")
    show.report(f"they wait for review on {run['device']}; run there: hub review")


def files_of(run: Mapping[str, Any]) -> str:
    """Count the files of a run by their results."""
    counts = f"{run['units_done']} read, {run['units_skipped']} skipped, {run['units_failed']} failed"
    return f"{counts}, {run['units_left']} left for the next runs" if run["units_left"] else counts


def also_found(run: Mapping[str, Any]) -> str:
    """Count the items that created no row: ``, 1 updated, 20 known before``; mostly empty."""
    counts = {"updated": run["items_updated"], "known before": run["items_known"]}
    return "".join(f", {count} {result}" for result, count in counts.items() if count)


def report_errors(run: Mapping[str, Any]) -> None:
    """Print the error log of a run to stderr."""
    for error in run["errors"]:
        where = f"{error['path']}: " if error["path"] else ""
        show.report(f"{error['code']}: {where}{error['message']}")
    if run["error_count"] > len(run["errors"]):
        show.report(f"... and {run['error_count'] - len(run['errors'])} more errors")
