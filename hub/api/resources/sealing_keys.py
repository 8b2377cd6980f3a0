"""Routes of the keys that encrypt grants and excerpts: list, renew, share with other nodes."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta

from hub.accounts.connector_accounts import Accounts
from hub.accounts.key_sharing import KeySharing
from hub.api.binding import BodyField
from hub.api.resource import (
    Actor,
    Resource,
    View,
    audited,
    command,
    route,
)
from hub.base.clock import Clock
from hub.base.roles import Scope
from protocol.errors import ErrorCode
from storage import audit
from storage.audit import AuditEntry
from storage.store import Store


class SealingKeyView(View):
    """A key, without its secret. *is_newest*: it seals what is new.

    *rows*, *excerpts*: the numbers of grants, and of excerpts around quotes of items, that it seals.

    *is_missing*: it is not here; what it seals can be used only by other nodes of the database.
    *remedy*: how it gets here.
    """

    id: str
    rows: int
    is_newest: bool
    excerpts: int = 0
    is_missing: bool = False
    remedy: str | None = None


class SealingKeysView(View):
    """The keys, the newest first. *place*: where they are stored; no backup of the database has them."""

    place: str
    keys: tuple[SealingKeyView, ...]


_KEY_SHARE: Final = BodyField(
    "KeyShare",
    "Request to seal the keys for another *node*. *code*: what that node shows where it lacks a key.",
)


class SharedKeysView(View):
    """The node for which the keys were sealed."""

    node_id: str


_SHOWN: Final[Mapping[str, Any]] = {
    "rows": "keys",
    "table": (
        "id as key",
        "rows as sign-ins",
        "excerpts",
        "is_newest|yes as newest",
        "is_missing|yes as missing here",
    ),
    "empty": "no keys",
    "message": "the keys are in {place}; a backup of the hub does not contain them",
    "notes": ("remedy",),
}


class KeysResource(Resource):
    """Keys that seal grants and excerpts. Each method raises BadKeys: keys cannot be read or changed."""

    name, path = "keys", "/v1/keys"
    errors = (ErrorCode.FORBIDDEN,)
    is_scoped = False

    def __init__(self, store: Store, accounts: Accounts, sharing: KeySharing, *, clock: Clock) -> None:
        self._sharing = sharing
        self._store = store
        self._accounts = accounts
        self._clock = clock

    @command("keys ls", example="hub keys ls", json="keys", **_SHOWN)
    @route("GET", "", Scope.SYSTEM)
    async def all(self) -> SealingKeysView:
        """List the keys and how much each seals; never the keys themselves."""
        keys = [
            SealingKeyView(id=key.id, rows=rows, excerpts=excerpts, is_newest=number == 0)
            for number, (key, rows, excerpts) in enumerate(await self._accounts.list_keys())
        ]
        source, missing = self._accounts.keys, (await self._accounts.missing_keys()).items()
        keys += [
            SealingKeyView(id=id, rows=rows, is_newest=False, is_missing=True, remedy=source.missing(id))
            for id, rows in missing
        ]
        return SealingKeysView(place=source.place, keys=tuple(keys))

    @command("keys rotate", example="hub keys rotate", json="keys", **_SHOWN)
    @route("POST", "/rotate", Scope.SYSTEM)
    @audited("keys.rotated", is_noted=True)
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
    @route("DELETE", "/{key_id}", Scope.SYSTEM, errors=[ErrorCode.UNKNOWN_NAME])
    @audited("keys.removed", is_noted=True)
    async def remove(self, key_id: str, actor: Actor) -> SealingKeysView:
        """Delete a key that seals nothing. What only it opens, as in old backups, is lost."""
        await self._accounts.remove_key(key_id)
        await self._note("keys.removed", actor, key=key_id)
        return await self.all()

    @command(
        "keys share NODE CODE",
        example="hub keys share 4e21a9 CODE",
        json="keys.share",
        message="the keys are sealed for node {node_id}, which takes them within seconds",
    )
    @route("POST", "/share", Scope.SYSTEM, errors=[ErrorCode.UNKNOWN_NODE])
    @audited("keys.shared")
    async def share(
        self,
        node: Annotated[str, Meta(min_length=1, max_length=300), _KEY_SHARE],
        code: Annotated[
            str,
            Meta(
                max_length=100,
                examples=["HC2OMUX-EJWT7EY-NYNTYTA-4JYTMVZ-IKJI5G2-B7VYDBL-TF6FREJ-AIH7JA2"],
            ),
            _KEY_SHARE,
        ],
        actor: Actor,
    ) -> SharedKeysView:
        """Give the keys to another node; its 'hub keys ls' shows the code. Only that node can open them."""
        shared = await self._sharing.share(node, code, actor=actor)
        return SharedKeysView(node_id=shared.id)

    async def _note(self, event: str, actor: str, **detail: str | int) -> None:
        entry = AuditEntry(at=self._now, actor=actor, event=event, detail=dict(detail))
        await self._store.write(audit.append_entry, entry)
