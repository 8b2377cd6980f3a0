"""Commands ``hub logs`` and ``hub audit``."""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

import anyio
import click

from hub.base.printable import printable_json
from hub.cli import show
from hub.cli.errors import CommandError, Exit, using
from hub.cli.hub_client import HubClient, open_client
from hub.cli.options import (
    NAME,
    FilePathParam,
    ListByDefault,
    example,
    hub_option,
    json_option,
    moment_option,
)

POLL_S: Final = 1.0  # of the logs of all nodes


@click.command(epilog=example("hub logs --follow --level warning"))
@click.option("--follow", is_flag=True, help="Print new events until Ctrl-C.")
@click.option("--run", type=NAME, metavar="ID", help="Only this run; its last six characters are enough.")
@click.option("--device", type=NAME, metavar="NAME", help="Only this device, by name or id.")
@click.option(
    "--level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Lowest level to show. Levels that the hub does not write are missing.",
)
@moment_option("--since", "Events from then on, also those of before a restart")
@moment_option("--until", "Events until then, a day included")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
@click.option("--all-nodes", is_flag=True, help="Show the events of all nodes, each with its node.")
@hub_option
@json_option
def logs(
    all_nodes: bool,
    follow: bool,
    run: str | None,
    device: str | None,
    level: str,
    since: str | None,
    until: str | None,
    limit: int,
    state: Path,
    as_json: bool,
) -> None:
    """Show the last events of the hub's log.

    The running process keeps its last 2,000 events. With --since, the events in the state folder are shown
    too, of which the newest are kept (log_bytes).
    """
    from hub.base.log import learn_names

    if follow and (since or until):
        raise click.UsageError("--follow goes on from now; leave out --since and --until")
    filters = {"run": run, "device": device, "level": level, "limit": limit}
    with open_client(state) as hub:
        with suppress(
            CommandError
        ):  # names are in the database, and the log is needed most while that is away
            for noun in () if as_json else ("agents", "devices"):
                learn_names({item["id"]: item["name"] for item in hub.get_all(f"/v1/{noun}", noun)[noun]})
        if follow and all_nodes:
            with suppress(KeyboardInterrupt):
                _follow_nodes(hub, filters, as_json=as_json)
            return
        if follow:
            with suppress(KeyboardInterrupt):  # Ctrl-C ends following
                for entry in hub.follow("/v1/logs", follow="true", **filters):
                    print_entry(entry, as_json=as_json)
                raise CommandError(
                    "the hub stopped", Exit.TRY_AGAIN, next_step="is it running again? hub status"
                )
            return
        if all_nodes:
            found = hub.get_of_nodes("/v1/logs", since=since, until=until, **filters)
            response = {"entries": merged(found)[:limit]}
        else:
            response = hub.get("/v1/logs", since=since, until=until, **filters)
    if as_json:
        show.print_json("logs", response)
        return
    for entry in reversed(response["entries"]):
        print_entry(entry, as_json=False)
    if not response["entries"]:
        show.report("no matching events in the log")


def merged(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the log entries of several nodes, the newest first; *node* names the node of each."""
    names = Counter(node["name"] for node in found)
    entries = [
        entry | {"node": node["name"] if names[node["name"]] == 1 else show.short_id(node["id"])}
        for node in found
        for entry in node["body"]["entries"]
    ]
    return sorted(entries, key=lambda entry: datetime.fromisoformat(entry["at"]), reverse=True)


def _follow_nodes(hub: HubClient, filters: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the last entries of all nodes, then new ones as they are found, once a second."""
    printed: dict[str, int] = {}
    while True:
        found = hub.get_of_nodes("/v1/logs", **filters)
        for node in found:
            entries = node["body"]["entries"]
            node["body"] = {
                "entries": [entry for entry in entries if entry["seq"] > printed.get(node["id"], 0)]
            }
            printed[node["id"]] = max((entry["seq"] for entry in entries), default=0)
        for entry in reversed(merged(found)):
            print_entry(entry, as_json=as_json)
        anyio.run(anyio.sleep, POLL_S)


def print_entry(entry: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one entry on one line."""
    if as_json:
        show.print_json("log", entry, on_one_line=True)
        return
    from hub.base.log import LogEntry
    from hub.base.log.line_formats import short_line

    at = int(datetime.fromisoformat(entry["at"]).timestamp() * 1000)
    shown = LogEntry(
        entry["seq"], at, entry["level"], entry["event"], entry["channel"], dict(entry["fields"])
    )
    node = f"{entry['node']}: " if "node" in entry else ""
    click.echo(node + short_line(shown, colour=sys.stdout.isatty()))


@click.group(cls=ListByDefault, epilog=example("hub audit ls --actor anna"))
def audit() -> None:
    """List the audit log, export it, and verify its chain of hashes."""


@audit.command("export", epilog=example("hub audit export audit.jsonl"))
@click.argument("file", type=FilePathParam(dir_okay=False), required=False)
@hub_option
def export(file: Path | None, state: Path) -> None:
    """Write all entries, the oldest first, as JSON lines to FILE or to standard output."""
    with open_client(state) as hub, ExitStack() as opened:
        out: TextIO = sys.stdout
        if file is not None:
            opened.enter_context(using(file, "write", Exit.CANNOT_CREATE))
            out = opened.enter_context(file.open("x", encoding="utf-8"))
        count = 0
        entries = (entry for page in hub.pages("/v1/audit", order="oldest") for entry in page["entries"])
        for entry in entries:
            line = json.dumps({"schema": "hub.audit_entry/1", **entry}, ensure_ascii=False)
            print(printable_json(line), file=out)
            count += 1
    show.report(f"entries written: {count}")
