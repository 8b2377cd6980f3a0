"""Commands on the audit log: list, verify, export."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TextIO

import click

from hub.cli import show
from hub.cli.failure import Exit
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import Talk, talk
from hub.printable import one_line, printable_json

PAGE: Final = 1_000
LISTED: Final = 50


@click.group(cls=ListByDefault, epilog=example("hub audit ls --actor anna"))
def audit() -> None:
    """List the audit log, export it, and verify its chain of hashes."""


@audit.command("ls", epilog=example("hub audit ls --event settings.changed"))
@click.option("--event", metavar="NAME", help="Only this event; 'token.' means all events that begin so.")
@click.option("--actor", metavar="WHO", help="Only this actor: operator:UID, token:ID, device:ID or hub.")
@click.option("--subject", metavar="ID", help="Only entries about this subject.")
@click.option("--limit", type=click.IntRange(1, PAGE), default=LISTED, show_default=True)
@hub_option
@json_option
def list_entries(
    event: str | None, actor: str | None, subject: str | None, limit: int, state: Path, as_json: bool
) -> None:
    """List the last entries, the newest first."""
    with talk(state) as hub:
        response = hub.get("/v1/audit", event=event, actor=actor, subject=subject, limit=limit)
    if as_json:
        show.print_json("audit", response)
        return
    show.print_table(
        ("entry", show.in_zone("at"), "actor", "event", "subject", "detail"),
        (
            (
                entry["seq"],
                show.short_moment(entry["at"]),
                entry["actor"],
                entry["event"] if entry["outcome"] == "done" else f"{entry['event']} ({entry['outcome']})",
                entry["subject"],
                ", ".join(f"{name}={value}" for name, value in entry["detail"].items() if value is not None),
            )
            for entry in response["entries"]
        ),
    )
    if not response["entries"]:
        show.report("no matching entries")


@audit.command("verify", epilog=example("hub audit verify"))
@click.option(
    "--known",
    metavar="NUMBER:HASH",
    help="Number and hash that you noted earlier; checks that the log still has this entry.",
)
@hub_option
@json_option
@click.pass_context
def verify(ctx: click.Context, known: str | None, state: Path, as_json: bool) -> None:
    """Verify the whole chain: edited, removed and exchanged entries are reported.

    Exits with 1 when the log was changed.
    """
    with talk(state) as hub:
        response = hub.get("/v1/audit/verify", known=known)
    if as_json:
        show.print_json("audit_check", response)
    else:
        for found in response["breaks"]:
            show.out(one_line(found["what"]))
        if response["more_breaks"]:
            show.out(f"and {response['more_breaks']} more")
        if response["ok"]:
            show.out(f"the chain is intact; entries: {response['entries']}")
        if response["last_seq"] is not None:
            show.out(f"last entry: {response['last_seq']}:{response['last_hash']}")
            show.report("Note it elsewhere, to detect a rewritten log later: --known NUMBER:HASH")
    if not response["ok"]:
        ctx.exit(Exit.FAILED)


@audit.command("export", epilog=example("hub audit export audit.jsonl"))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@hub_option
def export(file: Path | None, state: Path) -> None:
    """Write all entries, the oldest first, as JSON lines to FILE or to standard output."""
    with talk(state) as hub, ExitStack() as opened:
        out: TextIO = sys.stdout if file is None else opened.enter_context(file.open("x", encoding="utf-8"))
        count = 0
        for entry in _all_entries(hub):
            line = json.dumps({"schema": "hub.audit_entry/1", **entry}, ensure_ascii=False)
            print(printable_json(line), file=out)
            count += 1
    show.report(f"entries written: {count}")


def _all_entries(hub: Talk) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        page = hub.get("/v1/audit", order="oldest", limit=PAGE, cursor=cursor)
        yield from page["entries"]
        cursor = page["next_cursor"]
        if cursor is None:
            return
