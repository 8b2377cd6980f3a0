"""The hub as its server and its nouns need it: its nouns, scoped to a user, and its state.

Every method may raise any ``HubError``; its code becomes the HTTP status.
"""

from typing import Protocol, TypeVar

from hub.api.noun import Noun
from hub.api.view import Health, Readiness, StatusView
from protocol.ids import UserId

AnyNoun = TypeVar("AnyNoun", bound=Noun)


class HubFacade(Protocol):
    """A running hub. Scoped to a user, names of other users' objects are unknown, never forbidden."""

    def seen_by(self, user_id: UserId | None) -> "HubFacade":
        """Return the hub scoped to this user's things; None: to everybody's."""
        ...

    async def user_named(self, name: str) -> UserId:
        """Return the id of a user. Raises UnknownUser."""
        ...

    def noun(self, kind: type[AnyNoun]) -> AnyNoun:
        """Return the noun of this class, in the same scope."""
        ...

    def health(self) -> Health:
        """Return at once whether the event loop turns, without I/O."""
        ...

    async def readiness(self) -> Readiness:
        """Check what the hub needs: database, listeners, disk, settings, and that it is not draining."""
        ...

    async def status(self) -> StatusView:
        """Return the state of the daemon for one screen."""
        ...
