"""Checkpoints of agents, as an operator asks for them."""

from collections.abc import Sequence
from typing import Protocol

from hub.api.views.checkpoints import CheckpointView, WantedCheckpoint


class CheckpointFacade(Protocol):
    """Checkpoints. Each method raises UnknownAgent; what a person changes is audited with it."""

    async def of_agent(self, name: str) -> Sequence[CheckpointView]:
        """By scope."""
        ...

    async def get(self, name: str, scope: str) -> CheckpointView:
        """Raises UnknownCheckpoint."""
        ...

    async def put(self, name: str, scope: str, wanted: WantedCheckpoint, *, actor: str) -> CheckpointView:
        """Keep one in the place of the one before it.

        Raises:
            BadCheckpoint, BadDocument, DocumentTooLarge: what is said of it.
            StaleCheckpoint: what is kept has this sequence number, or a greater one.
            TooManyCheckpoints: nothing was written, as in each of these cases.
        """
        ...

    async def clear(self, name: str, scope: str, *, actor: str) -> CheckpointView:
        """Forget one, which was this. Raises UnknownCheckpoint."""
        ...
