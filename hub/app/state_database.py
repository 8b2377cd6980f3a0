"""Check that a state folder's database belongs to its hub, and deliberate start with an empty one.

A hub that begins anew beside the backups of an earlier one hides a loss, and no device knows it. So the state
folder names the hub that used it last, in the file ``hub_id``. Without that file, as after an upgrade, its
backups do.
"""

import os
from pathlib import Path
from typing import Final

import anyio.to_thread

from hub.accounts import sealing_keys
from hub.api.http.listening import check_path, listen_on_tcp
from hub.base.atomic_file import write_atomically
from hub.base.clock import Clock, IdFactory, SystemChance, epoch_ms
from hub.base.toml.positions import KeyPath
from hub.base.toml.values import HostPort
from hub.health.backups import FOLDER, hubs_of, manifests_in, read_hub_id, way_to_restore
from hub.settings.settings import Settings
from protocol.errors import CodedError, ErrorCode, HubError
from storage.agents.templates import UnknownTemplate, names_of_templates
from storage.kernel import backup
from storage.kernel.address import SERVER, shown
from storage.kernel.backup import HUB_ID
from storage.kernel.database import DatabaseUnavailable, StorageError, file_of, held_alone
from storage.kernel.identity import ensure_hub_id
from storage.kernel.verify import hub_id_of, read_once
from storage.store import open_store

SOCKET: Final = "hub.sock"
# Other files and folders of a state folder, which a database in their place would break.
RESERVED_NAMES: Final = {
    *(
        HUB_ID,
        FOLDER,
        SOCKET,
        "ballast",
        "devices",
        "erased-users",
        "gateways",
        "hub.schema.json",
        "hub.toml",
    ),
    *("keys", "last-good.toml", "log", "node_id", "spool", "up"),
}


def _check_place(file: Path, state: Path) -> None:
    """Refuse a database file that cannot be made, or in the place of another file of the hub."""
    base, folder = state.resolve(), file.parent
    if folder == base and file.name in RESERVED_NAMES:
        problem = f"the database {file} would replace another file of the hub"
        raise CodedError(ErrorCode.BAD_SETTINGS, problem, hint='choose another name, as "sqlite:///hub.db"')
    if file == base or (file.exists() and not file.is_file()):
        raise DatabaseUnavailable(f"unable to open the database {file}: this is no file")
    if folder != base and not folder.is_dir():
        problem = f"the database {file} cannot be made: there is no folder {folder}"
        raise CodedError(ErrorCode.BAD_SETTINGS, problem, hint="make the folder, or change url of [storage]")
    if not (folder == base or os.access(folder, os.W_OK | os.X_OK)):
        raise DatabaseUnavailable(f"cannot open the database {file}: the hub cannot write to {folder}")


async def check_database(url: str, state: Path) -> None:
    """Refuse a database that is missing, empty, damaged, or of another hub than the state folder.

    Any database may be in a folder that has no id of a hub, no backups, and no keys.

    Raises:
        CodedError (BAD_SETTINGS): it is refused; the hint names the newest good backup.
        StorageError, OSError: the database cannot be opened.
    """
    is_server, damage, found = url.startswith(SERVER), None, None
    where = shown(url) if is_server else file_of(url, state)
    if where is None:  # in memory
        return
    if isinstance(where, Path):
        _check_place(where, state)
    try:
        found = await hub_id_of(url, base=state)
    except StorageError as error:
        if error.trouble != "damaged":
            raise
        damage = error
    backups = await anyio.to_thread.run_sync(manifests_in, state / FOLDER)
    known = hubs_of(state, backups)
    is_used = bool(backups) or (state / sealing_keys.FILE).exists()  # also where no backup can be read
    if found in known or not (known or (found is None and is_used)):
        return
    problem = f"the database {where} is of another hub, {found}"
    if found is None:
        problem = str(damage or f"the database {where} is missing or empty")
    raise await refusal_of(problem, state, is_server=is_server)


async def refused_start(settings: Settings, state: Path) -> tuple[KeyPath, HubError] | None:
    """Return why no hub starts with these settings on this folder, with the setting; () is the folder.

    ``hub serve`` refuses the same. Raises OSError: the database's file cannot be looked at.
    """
    path: KeyPath = ()
    try:
        check_path(state / SOCKET)
        for name, listener in settings.listen.named():
            path = ("listen", name, "address")
            with listen_on_tcp(HostPort(listener.address.host, 0), name):  # the port may be in use until then
                pass
        path = ("storage", "url")
        url = settings.storage.resolved()
        await check_database(url, state)
        # It fails on a damaged database, which may be in a new state folder.
        known = await read_once(url, names_of_templates, state) or set()
        known |= {template.name for template in settings.templates}
        for number, agent in enumerate(settings.agents):
            path = ("agents", number, "template")
            if agent.template is not None and agent.template not in known:
                raise UnknownTemplate(agent.template)
    except HubError as error:
        return path, error
    return None


async def refusal_of(problem: str, state: Path, *, is_server: bool) -> CodedError:
    """Return the error that ends a hub whose database is damaged or missing, with the way out."""
    known = hubs_of(state, await anyio.to_thread.run_sync(manifests_in, state / FOLDER))
    restore = (
        "restore the newest backup: pg_restore --clean --dbname NAME FILE"
        if is_server
        else await way_to_restore(state)
    )
    return CodedError(
        ErrorCode.BAD_SETTINGS,
        f"{problem}; {state} belongs to {' or '.join(sorted(known)) or 'a hub that left keys or backups'}",
        hint=f"see whether its address and its disk are right; else {restore}",
    )


async def begin_anew(url: str, state: Path, clock: Clock) -> tuple[str, Path | None]:
    """Give the state folder to the hub of the database; one in a file is made new, and the old one kept.

    Returns:
        The id of the hub, and the folder with the old database, or None without one.

    Raises:
        Busy: a hub is running on the database.
        BackupRefused, Unavailable: the state is unchanged.
    """
    aside, database = None, None if url.startswith(SERVER) else file_of(url, state)
    if database is not None:
        with held_alone(database):
            aside = backup.remove_database(state, database, epoch_ms(clock.now()))
    async with open_store(url, base=state) as store:
        hub_id = await store.write(ensure_hub_id, IdFactory(clock, SystemChance()).fresh())
    write_hub_id(url, state, hub_id)
    return hub_id, aside


def write_hub_id(url: str, state: Path, hub_id: str) -> None:
    """Record which hub a state folder belongs to, unless the database is in memory. Raises OSError."""
    if (url.startswith(SERVER) or file_of(url, state)) and read_hub_id(state) != hub_id:
        write_atomically(state / HUB_ID, hub_id.encode(), mode=0o600)
