"""Keys that seal the grants of sign-ins."""

from collections.abc import Mapping
from typing import Any, Final

from hub.accounts.desk import Accounts
from hub.api.door.roles import Scope
from hub.api.noun import Noun, command, route
from hub.api.parameters import Actor
from hub.api.view import View
from hub.clock import Clock, epoch_ms
from protocol.errors import ErrorCode
from storage import audit
from storage.audit import Entry
from storage.store import Store


class SealingKeyView(View):
    """A key, without its secret. *rows*: the number of grants it seals; *is_newest*: it seals new ones.

    *is_missing*: it is not here; what it seals can be used only by other nodes of the database.
    """

    id: str
    rows: int
    is_newest: bool
    is_missing: bool = False


class SealingKeysView(View):
    """The keys, the newest first. *place*: where they are stored; no backup of the database has them."""

    place: str
    keys: tuple[SealingKeyView, ...]


_SHOWN: Final[Mapping[str, Any]] = {
    "rows": "keys",
    "table": ("id as key", "rows as sign-ins", "is_newest|yes as newest", "is_missing|yes as missing here"),
    "empty": "no keys",
    "message": "the keys are in {place}; a backup of the hub does not contain them",
}


class Keys(Noun):
    """Keys that seal the grants of sign-ins. Each method raises BadKeys: keys cannot be read or changed."""

    name, path = "keys", "/v1/keys"
    errors = (ErrorCode.FORBIDDEN,)
    is_scoped = False

    def __init__(self, store: Store, accounts: Accounts, *, clock: Clock) -> None:
        self._store = store
        self._accounts = accounts
        self._clock = clock

    @command("keys ls", example="hub keys ls", json="keys", **_SHOWN)
    @route("GET", "", Scope.SYSTEM)
    async def all(self) -> SealingKeysView:
        """List the keys and how much each seals; never the keys themselves."""
        keys = [
            SealingKeyView(id=key.id, rows=rows, is_newest=number == 0)
            for number, (key, rows) in enumerate(await self._accounts.list_keys())
        ]
        missing = (await self._accounts.missing_keys()).items()
        keys += [SealingKeyView(id=id, rows=rows, is_newest=False, is_missing=True) for id, rows in missing]
        return SealingKeysView(place=self._accounts.keys.place, keys=tuple(keys))

    @command("keys rotate", example="hub keys rotate", json="keys", **_SHOWN)
    @route("POST", "/rotate", Scope.SYSTEM)
    async def rotate(self, actor: Actor) -> SealingKeysView:
        """Create a key, and seal everything by it. Agents keep running; the old key stays until removed."""
        rows = await self._accounts.rotate()
        view = await self.all()
        await self._note("keys.rotated", actor, key=view.keys[0].id, rows=rows)
        return view

    @command(
        "keys rm KEY_ID",
        example="hub keys rm 4e21a9 --yes",
        json="keys",
        confirm="delete the key {key_id}? sign-ins in older backups are lost with it",
        **_SHOWN,
    )
    @route("DELETE", "/{key_id}", Scope.SYSTEM)
    async def remove(self, key_id: str, actor: Actor) -> SealingKeysView:
        """Delete a key that seals nothing. What only it opens, as in old backups, is lost."""
        await self._accounts.remove_key(key_id)
        await self._note("keys.removed", actor, key=key_id)
        return await self.all()

    async def _note(self, event: str, actor: str, **detail: str | int) -> None:
        entry = Entry(at=epoch_ms(self._clock.now()), actor=actor, event=event, detail=dict(detail))
        await self._store.write(audit.append_entry, entry)
