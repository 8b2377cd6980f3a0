"""What a reload asks of the hub that takes its settings up."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hub.settings.changes import Changes
from hub.settings.locate import KeyPath
from hub.settings.settings import Settings

Commit = Callable[[], None]  # takes up what was prepared; cannot fail
Prepare = Callable[[Settings], Commit]  # gets everything ready that can fail; raises HubError


class Remark(NamedTuple):
    """What a part of the hub would like a person to know of the value at *path*, which it takes up."""

    path: KeyPath
    message: str
    hint: str = ""


async def nothing_against(settings: Settings) -> None:
    """No row stands against any settings."""


async def no_remarks(settings: Settings) -> Sequence[Remark]:
    """Nothing to say of any settings."""
    return ()


@dataclass(frozen=True)
class Parts:
    """How the hub takes up settings.

    Attributes:
        prepare: everything that can fail, without a change to anything.
        reconcile: the agents' rows and the audit entry, in one transaction: the last step that can fail.
        look: what reconcile would refuse, found by reading alone; raises HubError.
        tell_refused: who wanted what could not be, into the audit log.
        remark: what a person should know of settings that can be taken up.
        renewed: keys whose values are the same, but the files that they name are not.
        after: is called after each attempt, whatever became of it.
    """

    prepare: Prepare
    reconcile: Callable[[Settings, str, Changes], Awaitable[None]]
    tell_refused: Callable[[str, str], Awaitable[None]]
    look: Callable[[Settings], Awaitable[None]] = nothing_against
    remark: Callable[[Settings], Awaitable[Sequence[Remark]]] = no_remarks
    renewed: Callable[[Settings], Sequence[str]] = lambda settings: ()
    after: Callable[[], None] = lambda: None
