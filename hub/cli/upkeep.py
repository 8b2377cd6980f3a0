"""Commands ``hub drain``, ``hub backup``, ``hub restore`` and ``hub migrate``."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hub.base.name_lists import counted
from hub.base.printable import one_line, shell_word
from hub.cli import show
from hub.cli.daemon import make_folder
from hub.cli.errors import CommandError, Exit
from hub.cli.options import (
    SETTINGS,
    CommandT,
    FilePathParam,
    config_option,
    example,
    json_option,
    state_option,
    timeout_option,
)
from hub.cli.waiting import WAITS_FOR, waits_for

if TYPE_CHECKING:
    from hub.settings.settings import Settings
    from storage.kernel.backup import BackupManifest
    from storage.kernel.verify import SchemaVersion


@click.command(epilog=example("hub backup hub-2026-03-01.backup"))
@click.argument("file", type=FilePathParam(dir_okay=False))
@click.option("--verify", is_flag=True, help="Verify an existing backup; write nothing.")
@click.option(
    "--record",
    is_flag=True,
    help="Record that another program made the backup FILE, as pg_dump does: 'hub doctor' counts its age.",
)
@config_option
@state_option
@timeout_option
@json_option
def backup(file: Path, verify: bool, record: bool, config: Path, state: Path, as_json: bool) -> None:
    """Write the hub's state into one new file, or verify such a file.

    The hub may run meanwhile. The file holds data of the devices: protect it like the devices. The keys that
    seal sign-ins (keys/credentials.keys in the state folder) are not in it: keep a copy of them elsewhere.
    """
    from storage.kernel import backup as backups
    from storage.kernel.backup import BackupRefused
    from storage.kernel.database import StorageError

    if record:
        size_bytes = _record(file, config, state)
        if as_json:
            show.print_json("backup_recorded", {"file": str(file), "size_bytes": size_bytes})
        else:
            size = "which is not a file of this machine" if size_bytes is None else f"{size_bytes:,} bytes"
            show.report(f"recorded as the newest backup: {file}, {size}")
        return
    try:
        manifest = backups.verify(file) if verify else _back_up(file, config, state)
    except (StorageError, BackupRefused) as error:
        if verify:
            raise CommandError(
                str(error), Exit.FAILED, next_step="write a new one: hub backup FILE"
            ) from error
        next_step = "choose another FILE" if file.exists() else "'hub doctor' says what to do about it"
        raise CommandError(str(error), Exit.CANNOT_CREATE, next_step=next_step) from error
    if manifest.has_broken_rows:
        show.report("warning: its database has broken rows, which 'hub migrate verify' names")
    if as_json:
        show.print_json("backup", {"file": str(file), **_as_json(manifest)})
    elif verify:
        show.out(f"{file} is valid: {_shown(manifest)}")
    else:
        show.report(f"{file} was written: {_shown(manifest)}")


@click.command(epilog=example("hub restore hub-2026-03-01.backup"))
@click.argument("file", type=FilePathParam(dir_okay=False, exists=True), required=False)
@click.option(
    "--anew",
    is_flag=True,
    help="Begin with an empty database instead of a lost one: a new hub, which no device knows yet.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@state_option
@timeout_option
@json_option
def restore(file: Path | None, anew: bool, yes: bool, config: Path, state: Path, as_json: bool) -> None:
    """Restore the hub's state from a backup file.

    The backup is verified first. Refuses while a hub runs. The previous state is kept in the
    state folder.
    """
    from hub.base.clock import SystemClock, epoch_ms
    from storage.kernel.backup import RESTORED, BackupRefused, restore
    from storage.kernel.database import held_alone

    if anew is (file is not None):
        raise CommandError("name either a backup FILE, or --anew", Exit.USAGE)
    if file is None:
        _begin_anew(config, state, yes=yes, as_json=as_json)
        return
    database = _database(config, state)
    if not yes:
        if database.is_file():
            with held_alone(database):  # refuse before the question; restore checks again after the answer
                pass
        with waits_for(""):  # a person sees the question
            show.confirm(f"replace the hub's state in {state} by {file}?")
    unchanged = [SETTINGS] if config.is_file() and config.resolve() == (state / SETTINGS).resolve() else []
    try:
        at = epoch_ms(SystemClock().now())
        manifest, aside = restore(file, state, database=database, at=at, unchanged=unchanged)
    except BackupRefused as error:
        raise CommandError(str(error), Exit.FAILED, next_step="nothing was changed") from error
    if as_json:
        place = None if aside is None else str(aside)
        show.print_json("restore", {"aside": place, **_as_json(manifest)})
        return
    if aside is not None:
        show.report(f"the previous state is in {aside}")
    show.report(f"restored: {_shown(manifest)}")
    if SETTINGS in manifest.files:
        if config.is_file():
            restored = state / (SETTINGS + RESTORED * len(unchanged))
            show.report(f"{config} stays as it is; the settings of the backup are in {restored}")
        else:
            config = state / SETTINGS
    show.report(f"next: hub serve --state {shell_word(state)} --config {shell_word(config)}")


def _begin_anew(config: Path, state: Path, *, yes: bool, as_json: bool) -> None:
    import anyio

    from hub.app.state_database import begin_anew
    from hub.base.clock import SystemClock

    if not yes:
        show.confirm(f"begin anew in {state}, as a hub that no device knows?")
    make_folder(state)
    hub_id, aside = anyio.run(begin_anew, _address(config, state), state, SystemClock())
    if as_json:
        show.print_json("restore_anew", {"aside": aside and str(aside), "hub_id": hub_id})
        return
    if aside is not None:
        show.report(f"the previous database is in {aside}")
    show.report(
        f"{state} belongs to hub {hub_id} now;"
        f" next: hub serve --state {shell_word(state)} --config {shell_word(config)}"
    )
    show.report(
        "then let its devices in again: 'hub status' shows FINGERPRINT, 'hub connect URL --root DIR"
        " --accept-hub FINGERPRINT' starts each one, and 'hub pair approve CODE' takes it under its name"
    )


def _back_up(file: Path, config: Path, state: Path) -> "BackupManifest":
    from hub.base.clock import SystemClock, epoch_ms
    from hub.base.version import VERSION
    from hub.health.backups import ALONG, entry_of, files_along, made_at
    from storage import audit
    from storage.kernel import backup as backups
    from storage.kernel.database import StorageError

    database, at = _database(config, state, only_reads=True), epoch_ms(SystemClock().now())
    if not database.is_file():
        raise CommandError(
            f"there is no database {database}, so there is nothing to back up",
            Exit.FAILED,
            next_step="is the state folder right? use --state DIR; 'hub doctor' says where the data of a lost"
            " database is; a hub creates a new one when it starts",
        )
    others = files_along(state / name for name in ALONG)
    if config.is_file():
        others[SETTINGS] = config.read_bytes()
    else:
        show.report(f"warning: there is no {config}, so the backup has no settings; use --config FILE")
    manifest = backups.make(file.absolute(), database=database, others=others, at=at, version=VERSION)
    try:
        audit.append_in_file(database, entry_of(made_at(file, manifest), actor=f"operator:{os.getuid()}"))
    except StorageError as error:
        show.report(f"warning: the backup is not in the audit log: {error}")
    return manifest


def _record(file: Path, config: Path, state: Path) -> int | None:
    """Write a backup that another program made into the audit log. Return its size, if it is a file."""
    import anyio

    from hub.base.clock import SystemClock, now_ms
    from storage import audit
    from storage.kernel.address import SERVER
    from storage.kernel.database import StorageError, file_of
    from storage.store import open_store

    address = _address(config, state, only_reads=True)
    size_bytes = file.stat().st_size if file.is_file() else None
    entry = audit.AuditEntry(
        at=now_ms(SystemClock()),
        actor=f"operator:{os.getuid()}",
        event=audit.BACKUP_MADE,
        subject=file.name,
        detail={} if size_bytes is None else {"size_bytes": size_bytes},
    )

    async def record() -> None:
        async with open_store(address, base=state) as store:
            await store.write(audit.append_entry, entry)

    try:
        tables = _tables_of(address, state)
        if tables.current is None or tables.refusal is not None:
            raise CommandError(
                tables.refusal or "there are no tables of a hub in the database",
                Exit.FAILED,
                next_step="is it the right one? use --config FILE",
            )
        database = None if address.startswith(SERVER) else file_of(address, state)
        if database is None:
            anyio.run(record)
        else:
            audit.append_in_file(database, entry)  # a hub may have it open
    except StorageError as error:
        raise CommandError(f"the backup is not recorded: {error}", Exit.FAILED) from error
    return size_bytes


def _database(config: Path, state: Path, *, only_reads: bool = False) -> Path:
    from storage.kernel.database import StorageError, file_of

    try:
        database = file_of(_address(config, state, only_reads=only_reads), state)
    except StorageError:
        database = None
    if database is None:
        raise CommandError(
            "the database is not a file",
            Exit.USAGE,
            next_step="back it up and restore it on its server (pg_dump, pg_restore), and let the hub know:"
            " hub backup --record FILE",
        )
    return database


def settings_of(config: Path, state: Path, *, only_reads: bool = False) -> "Settings":
    """Return the settings of the file, else the last good ones, else the defaults if there is no file.

    Secrets may be missing here. See ``open_settings``.
    """
    from hub.settings.reading import SettingsFile, last_good, open_settings
    from hub.settings.settings import Settings

    if not config.is_file() and not (only_reads and last_good(state)):
        return Settings()
    opened = open_settings(SettingsFile(config, serving=False), state, only_reads=only_reads)
    if opened.refused:
        show.report(f"warning: {opened.refused[0]}", "the last good settings of the hub are used instead")
    return opened.settings


def _as_json(manifest: "BackupManifest") -> dict[str, Any]:
    from hub.base.clock import from_epoch_ms

    return {
        "made_at": from_epoch_ms(manifest.made_at).isoformat(),
        "version": manifest.version,
        "revision": manifest.revision,
        "hub_id": manifest.hub_id,
        "has_broken_rows": manifest.has_broken_rows,
        "files": {
            name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in manifest.files.items()
        },
    }


def _shown(manifest: "BackupManifest") -> str:
    fields = _as_json(manifest)
    size = sum(field["bytes"] for field in fields["files"].values())
    return (
        f"hub {manifest.version}, tables {manifest.revision},"
        f" of {show.moment(fields['made_at'])}, {size:,} bytes in {counted(len(fields['files']), 'file')}"
    )


def _database_options(command: CommandT) -> CommandT:
    """Add the options that select the database, and ``--json``."""
    which = click.option(
        "--url",
        metavar="URL",
        help="Address of the database, as in postgresql://user@host/name or sqlite:////var/lib/hub/hub.db;"
        " the settings are not read. Put a password into $PGPASSWORD.",
    )
    for option in (json_option, timeout_option, state_option, which, config_option):
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
    import msgspec

    from protocol.errors import CATALOGUE, ErrorCode
    from storage.kernel.migrate import oldest_supported, words_of

    tables = _tables_of(_address(config, state, url, only_reads=True), state)
    if as_json:
        fields = {
            "current": tables.current,
            "missing": list(tables.missing),
            "newer": tables.is_newer,
            "refusal": tables.refusal,
            "oldest_supported": msgspec.to_builtins(oldest_supported()),
            "known": [{"revision": revision, "words": words_of(revision)} for revision in tables.known],
        }
        show.print_json("migrate_status", fields)
    elif tables.refusal is not None:
        hint = CATALOGUE[ErrorCode.DATABASE_FROM_THE_FUTURE].hint
        show.out(f"this hub cannot open the database: {tables.refusal}; {hint}")
    elif tables.missing:
        now = f"the tables are at revision {tables.current}" if tables.current else "there are no tables yet"
        show.out(f"{now}; missing: {', '.join(tables.missing)}")
        show.print_table(("revision", "change"), [(missing, words_of(missing)) for missing in tables.missing])
    else:
        show.out(f"the tables are at revision {tables.current}: up to date")
    ctx.exit(Exit.FAILED if tables.missing or tables.refusal else Exit.DONE)


@migrate.command(epilog=example("hub migrate up"))
@_database_options
@click.pass_context
def up(ctx: click.Context, config: Path, url: str | None, state: Path, as_json: bool) -> None:
    """Migrate the tables to this release, and compare them. After an interruption they are as they were.

    A database in a file is backed up first, into the state folder. No hub may have it open.
    On a database server one hub at a time migrates; hubs that start meanwhile wait.
    Exits with 1 if a part of the tables differs from this release afterwards.
    """
    import anyio

    from hub.base.clock import SystemClock
    from hub.health.backups import backup_before_upgrade
    from storage.kernel.address import SERVER
    from storage.kernel.verify import Verified, verify
    from storage.store import open_store

    address = _address(config, state, url)
    if not address.startswith(SERVER):
        make_folder(state)

    async def migrated() -> tuple[str | None, Verified]:
        made = await backup_before_upgrade(address, state=state, clock=SystemClock())
        if made and not as_json:
            show.report(f"backed up to {made.path}")
        async with open_store(address, base=state):
            pass
        return (str(made.path) if made else None), await verify(address, base=state)

    before = _tables_of(address, state)
    if before.missing and before.current is not None and address.startswith(SERVER) and not as_json:
        show.report("this can be undone only with a backup: make one with pg_dump")
    backup, result = anyio.run(migrated)
    after = _tables_of(address, state)
    applied = [revision for revision in before.missing if revision not in after.missing]
    # What a revision that waits is to remove is no difference.
    differences = [] if after.missing else list(map(str, result.differences))
    if as_json:
        steps = {"before": before.current, "applied": applied, "waiting": list(after.missing)}
        show.print_json("migrate_up", steps | {"backup": backup, "differences": differences})
    else:
        for difference in differences:
            show.out(one_line(difference))
        if applied:
            show.report(f"applied: {', '.join(applied)}")
        elif not (differences or after.missing):
            show.report("nothing to do: the tables are up to date")
        if after.missing:
            show.report(
                f"{', '.join(after.missing)} waits: a hub of an earlier release runs on this database and"
                " needs what it removes; stop that hub, then run this again, or start a hub"
            )
        elif differences:
            show.report(_summary(after, len(differences)))
    ctx.exit(Exit.FAILED if differences or after.missing else Exit.DONE)


@migrate.command("copy", epilog=example("hub migrate copy --to postgresql://hub@db/hub"))
@click.option("--to", "target", metavar="URL", required=True, help="Address of an empty database.")
@_database_options
def copy_tables(config: Path, url: str | None, state: Path, target: str, *, as_json: bool) -> None:
    """Copy the database from its file to a PostgreSQL server, or back into a file, and compare every row.

    No hub may run on either of them. The old database stays as it is. Afterwards set [storage] url to the new
    address, and keep the state folder: it has the keys of credentials. Never start a hub on the old database
    again: it would deliver a second time what the new one delivers.
    """
    import anyio

    from storage.database_copy import Copied, copy_database

    copied: list[Copied] = []

    def report(table: Copied) -> None:
        copied.append(table)
        if table.rows and not as_json:
            show.report(f"{table.table}: {table.rows:,} rows, equal")

    anyio.run(lambda: copy_database(_address(config, state, url), target, base=state, on_table=report))
    rows = sum(table.rows for table in copied)
    if as_json:
        tables = {table.table: {"rows": table.rows, "digest": table.digest} for table in copied}
        show.print_json("migrate_copy", {"rows": rows, "tables": tables})
    else:
        show.out(
            f"copied {counted(rows, 'row', f'{rows:,}')} of {counted(len(copied), 'table')},"
            " and all are equal"
        )
        show.out("now set [storage] url to the new address; never start a hub on the old database again")


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

    from storage.kernel.verify import verify

    address = _address(config, state, url, only_reads=True)
    tables = _tables_of(address, state)
    if tables.current is None:
        raise CommandError(
            "there are no tables of a hub in this database",
            Exit.FAILED,
            next_step="is it the right one? use --config FILE or --url URL; 'hub migrate up' creates tables",
        )

    result = anyio.run(partial(verify, address, base=state))
    if as_json:
        differences = [
            {
                "table": part.table,
                "kind": part.kind,
                "name": part.name,
                "wanted": expected,
                "found": found,
                "words": str(difference),
            }
            for difference in result.differences
            for part, expected, found in (difference,)
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
        show.report(_summary(tables, len(result.differences)))
        if result.broken:
            show.report(
                f"{len(result.broken)} rows were changed by other means than the hub, or are damaged;"
                " correct them, or restore a backup"
            )
    ctx.exit(Exit.FAILED if result.differences or result.broken else Exit.DONE)


def _summary(tables: "SchemaVersion", differences: int) -> str:
    if not differences:
        return f"the tables match this release, revision {tables.current}"
    if tables.refusal is not None:
        why = tables.refusal
    elif tables.missing:
        why = f"they are at revision {tables.current}; 'hub migrate up' brings {', '.join(tables.missing)}"
    else:
        why = "they were changed by other means than the hub; undo that, or restore a backup"
    return f"the tables differ from this release in {differences} places: {why}"


def _tables_of(address: str, state: Path) -> "SchemaVersion":
    import anyio

    from storage.kernel.verify import schema_version_of

    return anyio.run(partial(schema_version_of, address, base=state))


def _address(config: Path, state: Path, url: str | None = None, *, only_reads: bool = False) -> str:
    from storage.kernel.address import shown

    address = settings_of(config, state, only_reads=only_reads).storage.resolved() if url is None else url
    click.get_current_context().meta[WAITS_FOR] = f"the database {shown(address)}"  # until the command ends
    return address
