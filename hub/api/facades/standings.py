"""How agents stand, as an operator asks for it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hub.api.views.standings import AgentMoveView, StandingChange, StandingView


class StandingFacade(Protocol):
    """How agents stand. Each method raises UnknownAgent.

    *name* is an agent's name, or ``external:ID`` with its external identifier. Those that write raise
    also UnknownValue, BadWrite, Refused, IllegalMove, AgentOfFile and, where *version* is given and it
    is another by now, StateChanged; nothing is written then.
    """

    async def get(self, name: str) -> StandingView: ...

    async def change(
        self, name: str, change: StandingChange, *, version: int | None, actor: str
    ) -> StandingView:
        """Move it on the axes that are told."""
        ...

    async def terminate(self, name: str, *, reason: str | None, actor: str) -> StandingView:
        """End it, for good: its live runs are cancelled, its schedules removed. Twice is once."""
        ...

    async def history(
        self, name: str, *, limit: int, below: int | None, axis: str | None
    ) -> Sequence[AgentMoveView]:
        """Its moves, the newest first, of one axis or of all."""
        ...

    async def document(self, name: str, vocabulary: str) -> dict[str, Any]:
        """The agent whole, in the words of another vocabulary."""
        ...

    async def change_document(
        self, name: str, vocabulary: str, change: Mapping[str, Any], *, actor: str
    ) -> dict[str, Any]:
        """Write columns of that vocabulary; the document as it is then."""
        ...
