"""The commands ``hub drain``, ``hub backup`` and ``hub restore``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option, state_option
from hub.cli.talk import talk

if TYPE_CHECKING:
    from hub.settings.settings import Settings
    from storage.kernel.backup import Manifest

SETTINGS: Final = "hub.toml"

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default="hub.toml",
    show_default=True,
    help="Settings file, which names the database.",
)


@click.command(epilog=example("hub drain --restart"))
@click.option("--restart", is_flag=True, help="Ask devices to reconnect at once: another hub takes over.")
@hub_option
@json_option
def drain(restart: bool, state: Path, as_json: bool) -> None:
    """Stop the running hub after its work in progress.

    No new runs start. Executing runs finish their files in progress, or pause and resume when
    the hub runs again.
    """
    with talk(state) as hub:
        response = hub.post("/v1/drain", {"restarts": True} if restart else {})
    if as_json:
        show.print_json("drain", response)
    else:
        show.say(f"the hub stops; runs in progress: {response['executing']}")


@click.command(epilog=example("hub backup hub-2026-03-01.backup"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--verify", is_flag=True, help="Verify an existing backup; write nothing.")
@config_option
@state_option
@json_option
def backup(file: Path, verify: bool, config: Path, state: Path, as_json: bool) -> None:
    """Write the hub's state into one new file, or verify such a file.

    The hub may run meanwhile. The file holds data of the devices: protect it like the devices. The keys that
    seal sign-ins (keys/credentials.keys in the state folder) are not in it: keep a copy of them elsewhere.
    """
    from storage.kernel import backup as backups
    from storage.kernel.backup import BackupRefused
    from storage.kernel.database import StorageError

    try:
        manifest = backups.verify(file) if verify else _back_up(file, config, state)
    except StorageError as error:
        if verify:
            raise Failure(str(error), Exit.FAILED, next_step="write a new one: hub backup FILE") from error
        raise Failure(str(error), Exit.CANNOT_CREATE) from error
    except BackupRefused as error:
        if verify:
            raise Failure(str(error), Exit.FAILED, next_step="write a new one: hub backup FILE") from error
        raise Failure(str(error), Exit.CANNOT_CREATE, next_step="choose another FILE") from error
    if as_json:
        show.print_json("backup", {"file": str(file), **_as_json(manifest)})
    elif verify:
        show.out(f"{file} is valid: {_shown(manifest)}")
    else:
        show.say(f"{file} was written: {_shown(manifest)}")


@click.command(epilog=example("hub restore hub-2026-03-01.backup"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@state_option
@json_option
def restore(file: Path, yes: bool, config: Path, state: Path, as_json: bool) -> None:
    """Restore the hub's state from a backup file.

    The backup is verified first. Refuses while a hub runs. The previous state is kept in the
    state folder.
    """
    from hub.clock import SystemClock, epoch_ms
    from storage.kernel.address import held_alone
    from storage.kernel.backup import BackupRefused, restore

    database = _database(config, state)
    if not yes:
        if database.is_file():
            with held_alone(database):  # refuse before the question; restore checks again after the answer
                pass
        show.confirm(f"replace the hub's state in {state} by {file}?")
    try:
        restored = restore(file, state, database=database, at=epoch_ms(SystemClock().now()))
    except BackupRefused as error:
        raise Failure(str(error), Exit.FAILED, next_step="nothing was changed") from error
    if as_json:
        aside = None if restored.aside is None else str(restored.aside)
        show.print_json("restore", {"aside": aside, **_as_json(restored.manifest)})
        return
    if restored.aside is not None:
        show.say(f"the previous state is in {restored.aside}")
    show.say(f"restored: {_shown(restored.manifest)}")
    if SETTINGS in restored.manifest.files:
        if config.is_file():
            show.say(f"{config} stays as it is; the settings of the backup are in {state / SETTINGS}")
        else:
            config = state / SETTINGS
    show.say(f"next: hub serve --state {state} --config {config}")


def _back_up(file: Path, config: Path, state: Path) -> "Manifest":
    from hub.backups import ALONG, entry_of, files_along, made_at
    from hub.clock import SystemClock, epoch_ms
    from hub.version import VERSION
    from storage.kernel import backup as backups
    from storage.kernel.database import StorageError

    database, at = _database(config, state), epoch_ms(SystemClock().now())
    if not database.is_file():
        raise Failure(
            f"there is no database {database}, so there is nothing to back up",
            Exit.FAILED,
            next_step="is the state folder right? use --state DIR; a hub creates its database when it starts",
        )
    others = files_along(state / name for name in ALONG)
    if config.is_file():
        others[SETTINGS] = config.read_bytes()
    else:
        show.say(f"warning: there is no {config}, so the backup has no settings; use --config FILE")
    manifest = backups.make(file.absolute(), database=database, others=others, at=at, version=VERSION)
    try:
        backups.note(database, entry_of(made_at(file, manifest), actor=f"operator:{os.getuid()}"))
    except StorageError as error:
        show.say(f"warning: the backup is not in the audit log: {error}")
    return manifest


def _database(config: Path, state: Path) -> Path:
    from storage.kernel.address import file_of
    from storage.kernel.database import StorageError

    try:
        database = file_of(settings_of(config).storage.resolved(), state)
    except StorageError:
        database = None
    if database is None:
        raise Failure(
            "the database is not a file",
            Exit.USAGE,
            next_step="back it up and restore it on its server: pg_dump, pg_restore",
        )
    return database


def settings_of(config: Path) -> "Settings":
    """Return the settings of the file, or the defaults without a file. Secrets may be missing here."""
    from hub.settings.reading import check_settings
    from hub.settings.settings import Settings

    return check_settings(config).usable() if config.is_file() else Settings()


def _as_json(manifest: "Manifest") -> dict[str, Any]:
    from hub.clock import from_epoch_ms

    return {
        "made_at": from_epoch_ms(manifest.made_at).isoformat(),
        "version": manifest.version,
        "revision": manifest.revision,
        "hub_id": manifest.hub_id,
        "files": {
            name: {"bytes": kept.bytes, "sha256": kept.sha256} for name, kept in manifest.files.items()
        },
    }


def _shown(manifest: "Manifest") -> str:
    fields = _as_json(manifest)
    size = sum(kept["bytes"] for kept in fields["files"].values())
    return (
        f"hub {manifest.version}, tables {manifest.revision},"
        f" of {show.moment(fields['made_at'])}, {size:,} bytes in {len(fields['files'])} files"
    )
