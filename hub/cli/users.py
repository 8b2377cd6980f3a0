"""Commands ``hub users``: list, export and erase users."""

import json
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import click

from hub.cli import show
from hub.cli.errors import CommandError, Exit, using
from hub.cli.hub_client import HubClient, Responses, hub_command, open_client, path_of
from hub.cli.options import FilePathParam, ListByDefault, example, hub_option


@click.group(cls=ListByDefault, epilog=example("hub users export anna anna.zip"))
def users() -> None:
    """List, create, remove, export and erase users, who own devices."""


@users.command("export", epilog=example("hub users export anna anna.zip"))
@click.argument("name")
@click.argument("file", type=FilePathParam(dir_okay=False))
@hub_option
def export_user(name: str, file: Path, state: Path) -> None:
    """Write all data of a user into a zip FILE, without secrets.

    For each table there is a file of JSON lines. manifest.json names them, with numbers of rows and SHA-256.
    FILE is replaced in one step, once all is written.
    """
    import hashlib
    from itertools import groupby
    from zipfile import ZIP_DEFLATED, ZipFile

    from hub.base.atomic_file import replaced

    tables: dict[str, Any] = {}
    manifest: dict[str, Any] = {"schema": "hub.user_export/1", "user": name, "tables": tables}
    manifest["exported_at"] = show.clock.now().isoformat()
    with (
        open_client(state) as hub,
        using(file, "write", Exit.CANNOT_CREATE),
        replaced(file, mode=0o600) as opened,
    ):

        def rows() -> Iterator[Mapping[str, Any]]:
            for page in hub.pages(path_of("users", name, "rows")):
                manifest["left_out"] = page["left_out"]
                yield from page["rows"]

        with ZipFile(opened, "w", ZIP_DEFLATED) as packed:
            for table, of_table in groupby(rows(), key=itemgetter("table")):
                digest, count = hashlib.sha256(), 0
                with packed.open(f"{table}.jsonl", "w", force_zip64=True) as lines:
                    for row in of_table:
                        line = f"{json.dumps(row['row'], ensure_ascii=False)}\n".encode()
                        lines.write(line)
                        digest.update(line)
                        count += 1
                tables[table] = {"file": f"{table}.jsonl", "rows": count, "sha256": digest.hexdigest()}
            packed.writestr("manifest.json", json.dumps(manifest, indent=2))
    total = sum(table["rows"] for table in tables.values())
    show.report(f"rows written: {total}, of {len(tables)} tables")


@users.command("erase", epilog=example("hub users erase anna"))
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for the name.")
@hub_command
def erase_user(hub: HubClient, name: str, yes: bool) -> Responses:
    """Delete a user with all data: devices, agents, runs, items, questions, and what the audit log says.

    Nothing of the user is let in any more from then on; the rows are deleted in the background, also
    after a restart of the hub. Refused where agents or boards of other users use what the user owns, and
    while hub.toml declares things of the user. Export the data first: hub users export NAME FILE.
    """
    if not yes:
        show.confirm(f"erase user {name} with all devices, agents and items? This cannot be undone")
        if click.prompt("type the name of the user", err=True) != name:
            raise CommandError("another name was typed; nothing was erased", Exit.USAGE)
    user = hub.post(path_of("users", name, "erase"))
    yield "user", user
    show.report(f"user {name} is being erased; it is done once 'hub users' does not list it")
