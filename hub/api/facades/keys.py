"""The keys that seal what sign-ins granted."""

from typing import Protocol

from hub.api.views.keys import SealingKeysView


class KeyFacade(Protocol):
    """Each method raises BadKeys: the keys cannot be read, or not be changed so."""

    async def all(self) -> SealingKeysView:
        """The keys there are."""
        ...

    async def rotate(self, *, actor: str) -> SealingKeysView:
        """Make another key, and seal everything by it."""
        ...

    async def remove(self, key_id: str, *, actor: str) -> SealingKeysView:
        """Forget a key that seals nothing."""
        ...
