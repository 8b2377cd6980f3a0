"""``hub migrate``: show the version of the tables, migrate them, compare them with this release."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import Command, example, json_option, state_option
from hub.cli.upkeep import config_option, settings_of
from hub.printable import one_line

if TYPE_CHECKING:
    from storage.kernel.verify import Standing


def _database_options(command: Command) -> Command:
    """Add the options that select the database, and ``--json``."""
    which = click.option(
        "--url",
        metavar="URL",
        help="Address of the database, as in postgresql://user@host/name or sqlite:////var/lib/hub/hub.db;"
        " the settings are not read. Put a password into $PGPASSWORD.",
    )
    for option in (json_option, state_option, which, config_option):
        command = option(command)
    return command


@click.group(epilog=example("hub migrate status"))
def migrate() -> None:
    """Migrate the database's tables to this release, or compare them.

    A hub migrates its database by itself when it starts.
    """


@migrate.command(epilog=example("hub migrate status"))
@_database_options
@click.pass_context
def status(ctx: click.Context, config: Path, url: str | None, state: Path, as_json: bool) -> None:
    """Show the version of the tables. Exits with 1 if 'hub migrate up' has work to do."""
    from storage.kernel.migrate import releases, words_of

    standing = _standing(_address(config, url), state)
    if as_json:
        fields = {
            "current": standing.current,
            "missing": list(standing.missing),
            "newer": standing.is_newer,
            "refusal": standing.refusal,
            "oldest_supported": msgspec.to_builtins(releases()[0]),
            "known": [{"revision": revision, "words": words_of(revision)} for revision in standing.known],
        }
        show.print_json("migrate_status", fields)
    elif standing.refusal is not None:
        show.out(f"this hub cannot open the database: {standing.refusal}")
    elif standing.missing:
        now = (
            f"the tables are at revision {standing.current}"
            if standing.current
            else "there are no tables yet"
        )
        show.out(f"{now}; missing: {', '.join(standing.missing)}")
        show.print_table(
            ("revision", "change"), [(missing, words_of(missing)) for missing in standing.missing]
        )
    else:
        show.out(f"the tables are at revision {standing.current}: up to date")
    ctx.exit(Exit.FAILED if standing.missing or standing.refusal else Exit.DONE)


@migrate.command(epilog=example("hub migrate up"))
@_database_options
def up(config: Path, url: str | None, state: Path, as_json: bool) -> None:
    """Migrate the tables to this release. After an interruption they are as they were.

    A database in a file is backed up first, into the state folder. No hub may have it open.
    On a database server one hub at a time migrates; hubs that start meanwhile wait.
    """
    import anyio

    from hub.backups import backup_before_upgrade
    from hub.clock import SystemClock
    from storage.kernel.address import SERVER
    from storage.store import open_store

    address = _address(config, url)

    async def migrated() -> str | None:
        made = await backup_before_upgrade(address, state=state, clock=SystemClock())
        if made and not as_json:
            show.say(f"backed up to {made.path}")
        async with open_store(address, base=state):
            return str(made.path) if made else None

    before = _standing(address, state)
    if before.missing and before.current is not None and address.startswith(SERVER) and not as_json:
        show.say("this can be undone only with a backup: make one with pg_dump")
    backup = anyio.run(migrated)
    if as_json:
        applied = {"before": before.current, "applied": list(before.missing), "backup": backup}
        show.print_json("migrate_up", applied)
    else:
        show.say(
            f"applied: {', '.join(before.missing)}"
            if before.missing
            else "nothing to do: the tables are up to date"
        )


@migrate.command("verify", epilog=example("hub migrate verify"))
@_database_options
@click.pass_context
def verify_tables(ctx: click.Context, config: Path, url: str | None, state: Path, as_json: bool) -> None:
    """Compare every table, column, constraint and index with this release's, and list broken rows.

    A row is broken if a value is no JSON, violates a constraint, or refers to no row. Changes nothing.
    Exits with 1 when a part differs, is missing, or is unknown to this release, or a row is broken. A hub
    may run meanwhile.
    """
    import anyio

    from storage.kernel.verify import Verified, verify

    address = _address(config, url)
    standing = _standing(address, state)
    if standing.current is None:
        raise Failure(
            "there are no tables of a hub in this database",
            Exit.FAILED,
            next_step="is it the right one? use --config FILE or --url URL; 'hub migrate up' creates tables",
        )

    async def compared() -> Verified:
        return await verify(address, base=state)

    result = anyio.run(compared)
    if as_json:
        differences = [
            {
                "table": part.table,
                "kind": part.kind,
                "name": part.name,
                "wanted": wanted,
                "found": found,
                "words": str(difference),
            }
            for difference in result.differences
            for part, wanted, found in (difference,)
        ]
        show.print_json(
            "migrate_verify",
            {
                "current": result.current,
                "ok": not (differences or result.broken),
                "differences": differences,
                "broken_rows": [row._asdict() for row in result.broken],
            },
        )
    else:
        for found in (*result.differences, *result.broken):
            show.out(one_line(str(found)))
        show.say(_summary(standing, len(result.differences)))
        if result.broken:
            show.say(
                f"{len(result.broken)} rows were changed by other means than the hub, or are damaged;"
                " correct them, or restore a backup"
            )
    ctx.exit(Exit.FAILED if result.differences or result.broken else Exit.DONE)


def _summary(standing: "Standing", differences: int) -> str:
    if not differences:
        return f"the tables match this release, revision {standing.current}"
    if standing.refusal is not None:
        why = standing.refusal
    elif standing.missing:
        why = (
            f"they are at revision {standing.current}; 'hub migrate up' brings {', '.join(standing.missing)}"
        )
    else:
        why = "they were changed by other means than the hub; undo that, or restore a backup"
    return f"the tables differ from this release in {differences} places: {why}"


def _standing(address: str, state: Path) -> "Standing":
    import anyio

    from storage.kernel.verify import Standing, standing_of

    async def read() -> Standing:
        return await standing_of(address, base=state)

    return anyio.run(read)


def _address(config: Path, url: str | None) -> str:
    return settings_of(config).storage.resolved() if url is None else url
