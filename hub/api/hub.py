"""The nouns of a running hub, by class."""

from copy import copy
from typing import Self, TypeVar

from hub.api.noun import Noun
from protocol.ids import UserId
from storage.devices import users
from storage.devices.users import UnknownUser
from storage.store import Store

AnyNoun = TypeVar("AnyNoun", bound=Noun)


class Hub:
    """A running hub. Scoped to a user, names of other users' objects are unknown, never forbidden.

    Attributes:
        user_id: the user whose things are visible; None: everybody's.
    """

    user_id: UserId | None = None

    def __init__(self, store: Store) -> None:
        self._store = store
        self._nouns: dict[type[Noun], Noun] = {}

    def add(self, *nouns: Noun) -> None:
        """Add nouns, each by the class that declares its routes."""
        for noun in nouns:
            kind = next(one for one in type(noun).__mro__ if Noun in one.__bases__)
            self._nouns[kind] = noun

    def seen_by(self, user_id: UserId | None) -> Self:
        """Return the hub scoped to this user's things; None: to everybody's."""
        if user_id == self.user_id:
            return self
        scoped = copy(self)
        scoped.user_id = user_id
        return scoped

    def noun(self, kind: type[AnyNoun]) -> AnyNoun:
        """Return the noun of this class, as this user sees it."""
        found = self._nouns[kind]
        assert isinstance(found, kind)
        return found.seen_by(self.user_id)

    async def user_named(self, name: str) -> UserId:
        """Return the id of a user. Raises UnknownUser."""
        row = await self._store.read(users.find_user_by_name, name)
        if row is None:
            raise UnknownUser(f"there is no user {name!r}")
        return row.id
