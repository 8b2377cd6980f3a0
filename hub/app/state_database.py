"""Check that a state folder's database belongs to its hub, and deliberate start with an empty one.

A hub that begins anew beside the backups of an earlier one hides a loss, and no device knows it. So the state
folder names the hub that used it last, in the file ``hub_id``. Without that file, as after an upgrade, its
backups do.
"""

from pathlib import Path

import anyio.to_thread

from hub.accounts import sealing_keys
from hub.base.atomic_file import write_atomically
from hub.base.clock import Clock, IdFactory, SystemChance, epoch_ms
from hub.health.backups import FOLDER, hubs_of, manifests_in, read_hub_id, way_to_restore
from protocol.errors import CodedError, ErrorCode
from storage.kernel import backup
from storage.kernel.address import SERVER, shown
from storage.kernel.backup import HUB_ID
from storage.kernel.database import StorageError, file_of, held_alone
from storage.kernel.identity import ensure_hub_id
from storage.kernel.verify import hub_id_of
from storage.store import open_store


async def check_database(url: str, state: Path) -> None:
    """Refuse a database that is missing, empty, damaged, or of another hub than the state folder.

    Any database may be in a folder that has no id of a hub, no backups, and no keys.

    Raises:
        CodedError (BAD_SETTINGS): it is refused; the hint names the newest good backup.
        StorageError: the database cannot be opened.
    """
    is_server, damage, found = url.startswith(SERVER), None, None
    where = shown(url) if is_server else file_of(url, state)
    if where is None:  # in memory
        return
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
