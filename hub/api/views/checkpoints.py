"""Checkpoints of agents, as an operator is told of them and keeps them."""

from typing import Annotated, Any

from pydantic import AwareDatetime, Field

from hub.api.views.view import View

Sequence = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]


class CheckpointView(View):
    """What an agent remembers of a scope between its runs.

    *run* is the one that kept it, under *fence*; 0 and null where somebody did between runs.
    """

    scope: str
    sequence: int
    is_recoverable: bool
    state: dict[str, Any]
    run: str | None = None
    fence: int = 0
    actor: str
    created_at: AwareDatetime
    updated_at: AwareDatetime


class WantedCheckpoint(View):
    """A checkpoint to keep. *sequence* is greater than what is kept.

    *is_recoverable*: the next run of the agent is told of it, where its scope is ``agent``.
    """

    sequence: Sequence
    state: dict[str, Any]
    is_recoverable: bool = True
