"""The keys that seal what sign-ins granted, as operators are told of them, rotated and removed."""

from hub.accounts.desk import Accounts
from hub.api.views.keys import SealingKeysView, SealingKeyView
from hub.clock import Clock, epoch_ms
from storage.audit import audit
from storage.audit.audit import Entry
from storage.store import Store


class KeyOperations:
    """Implements ``api.facades.keys.KeyFacade``."""

    def __init__(self, store: Store, accounts: Accounts, *, clock: Clock) -> None:
        self._store = store
        self._accounts = accounts
        self._clock = clock

    async def all(self) -> SealingKeysView:
        """The keys there are."""
        keys = [
            SealingKeyView(id=key.id, rows=rows, is_newest=number == 0)
            for number, (key, rows) in enumerate(await self._accounts.list_keys())
        ]
        return SealingKeysView(place=self._accounts.keys.place, keys=tuple(keys))

    async def rotate(self, *, actor: str) -> SealingKeysView:
        """Make another key, and seal everything by it."""
        rows = await self._accounts.rotate()
        told = await self.all()
        await self._note("keys.rotated", actor, key=told.keys[0].id, rows=rows)
        return told

    async def remove(self, key_id: str, *, actor: str) -> SealingKeysView:
        """Forget a key that seals nothing."""
        await self._accounts.remove_key(key_id)
        await self._note("keys.removed", actor, key=key_id)
        return await self.all()

    async def _note(self, event: str, actor: str, **detail: str | int) -> None:
        entry = Entry(at=epoch_ms(self._clock.now()), actor=actor, event=event, detail=dict(detail))
        await self._store.write(audit.append_entry, entry)
