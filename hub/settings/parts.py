"""Interface between a reload and the hub that applies its settings."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hub.settings.changes import Changes
from hub.settings.locate import KeyPath
from hub.settings.settings import Settings

Commit = Callable[[], None]  # applies prepared settings; cannot fail
Prepare = Callable[[Settings], Commit]  # performs all steps that can fail; raises HubError


class Remark(NamedTuple):
    """Warning of a part of the hub about the value at *path*, which is applied nonetheless."""

    path: KeyPath
    message: str
    hint: str = ""


async def nothing_against(settings: Settings) -> None:
    """Accept any settings."""


async def no_remarks(settings: Settings) -> Sequence[Remark]:
    """Return no remarks."""
    return ()


@dataclass(frozen=True)
class Parts:
    """Callbacks by which the hub applies settings.

    Attributes:
        prepare: performs everything that can fail, without any change.
        reconcile: writes the agents' rows and the audit entry in one transaction: the last step that can
            fail.
        look: detects by reading alone what reconcile would refuse; raises HubError.
        tell_refused: writes a refused change and its actor to the audit log.
        remark: returns warnings about settings that can be applied.
        renewed: returns keys with an unchanged value but changed files behind it.
        after: called after each attempt, whether it succeeded or not.
    """

    prepare: Prepare
    reconcile: Callable[[Settings, str, Changes], Awaitable[None]]
    tell_refused: Callable[[str, str], Awaitable[None]]
    look: Callable[[Settings], Awaitable[None]] = nothing_against
    remark: Callable[[Settings], Awaitable[Sequence[Remark]]] = no_remarks
    renewed: Callable[[Settings], Sequence[str]] = lambda settings: ()
    after: Callable[[], None] = lambda: None
