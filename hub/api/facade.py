"""The hub as the operator's side sees it: what may be asked, noun by noun.

These contracts stand between ``api/nouns`` and the daemon, which implements them in
``hub.operations``. ``UnknownAgent`` and ``UnknownRun`` are the store's. Every method
may raise any ``HubError``; its code becomes the HTTP status. Where an *actor* is
asked for, it is who wants the change, as history and activities will tell it.
"""

from typing import Protocol, TypeVar

from hub.api.noun import Noun
from hub.api.views.view import Health, Readiness, StatusView
from protocol.ids import UserId

AnyNoun = TypeVar("AnyNoun", bound=Noun)


class HubFacade(Protocol):
    """What an operator can ask of a running hub.

    As one user sees it (``seen_by``), what belongs to others is not there: not listed, not
    counted, and unknown by name or id, never forbidden.
    """

    def seen_by(self, user_id: UserId | None) -> "HubFacade":
        """The hub as this user sees it; None: as somebody sees it who sees all users."""
        ...

    async def user_named(self, name: str) -> UserId:
        """Raises UnknownUser."""
        ...

    def noun(self, kind: type[AnyNoun]) -> AnyNoun:
        """Return the noun of this class, as this user sees it."""
        ...

    def health(self) -> Health:
        """Answer at once, without I/O."""
        ...

    async def readiness(self) -> Readiness:
        """Look at what the hub needs: database, listeners, disk, not draining."""
        ...

    async def status(self) -> StatusView:
        """One screen about the daemon."""
        ...
