"""How a command ends badly: what happened, the next command to type, and an exit code."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

import click

from hub.printable import one_line, printable

AS_WHOM: Final = "run this as the hub's own user, or as one in the group hub-operators"


class Exit(IntEnum):
    """The exit codes; scripts rely on them."""

    DONE = 0
    FAILED = 1  # the run failed, or something was found
    USAGE = 2
    NOT_RUNNING = 3
    UNAVAILABLE = 69
    CANNOT_CREATE = 73
    TRY_AGAIN = 75
    NOT_PERMITTED = 77
    SETTINGS = 78


class Failure(click.ClickException):
    """Ends the command with *code*, one sentence about what happened, and what to do next."""

    def __init__(self, what: str, code: Exit, *, next_step: str = "") -> None:
        super().__init__(what)
        self.exit_code = code  # type: ignore[misc]  # click reads it off the instance as well
        self.next_step = next_step

    def format_message(self) -> str:
        told = printable(self.message)  # which may quote a peer
        return f"{told}\n  {one_line(self.next_step)}" if self.next_step else told


def as_failure(error: Exception) -> Failure:
    """What a command tells of an error that came all the way up to it."""
    from hub.api.door.sockets import CannotListen
    from protocol.errors import CATALOGUE, HubError

    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # of a task group, whose only news it is
    match error:
        case CannotListen():
            return Failure(str(error), Exit.UNAVAILABLE, next_step="is another hub running? hub status")
        case HubError():
            code = _exit_codes().get(error.code, Exit.FAILED)
            return Failure(str(error) or str(error.code), code, next_step=CATALOGUE[error.code].hint)
        case PermissionError():
            told = f"{error.filename or 'this'} is not for you: {error.strerror or error}"
            return Failure(told, Exit.NOT_PERMITTED, next_step=AS_WHOM)
        case OSError():
            return Failure(str(error), Exit.UNAVAILABLE)
        case _:
            said = f"{type(error).__name__}: {error}"
            return Failure(said, Exit.FAILED, next_step="a fault in hub; 'hub --debug ...' shows where")


def _exit_codes() -> Mapping[str, Exit]:
    from protocol.errors import ErrorCode

    return {
        ErrorCode.BAD_SETTINGS: Exit.SETTINGS,
        ErrorCode.BAD_SCHEDULE: Exit.SETTINGS,
        ErrorCode.DATABASE_BUSY: Exit.TRY_AGAIN,
        ErrorCode.DATABASE_UNAVAILABLE: Exit.UNAVAILABLE,
        ErrorCode.DATABASE_FROM_THE_FUTURE: Exit.UNAVAILABLE,
        ErrorCode.MODEL_UNAVAILABLE: Exit.UNAVAILABLE,
        ErrorCode.MODEL_EXHAUSTED: Exit.UNAVAILABLE,
        ErrorCode.MODEL_REFUSED: Exit.SETTINGS,
        ErrorCode.FORBIDDEN: Exit.NOT_PERMITTED,
    }
