"""Failures of commands: a message, a next step and an exit code."""

from enum import IntEnum
from typing import Final

import click

from hub.printable import one_line, printable

WHERE: Final = "see [listen.operator] in hub.toml"
AS_WHOM: Final = "run this as the hub's own user, or as a member of the group hub-operators"


class Exit(IntEnum):
    """Exit codes of the command line; scripts rely on them."""

    DONE = 0
    FAILED = 1  # the run failed, or problems were found
    USAGE = 2
    NOT_RUNNING = 3
    UNAVAILABLE = 69
    CANNOT_CREATE = 73
    TRY_AGAIN = 75
    NOT_PERMITTED = 77
    SETTINGS = 78


_EXIT_CODES: Final = {  # by code of an error
    "bad_settings": Exit.SETTINGS,
    "bad_schedule": Exit.SETTINGS,
    "database_busy": Exit.TRY_AGAIN,
    "database_unavailable": Exit.UNAVAILABLE,
    "database_from_the_future": Exit.UNAVAILABLE,
    "model_unavailable": Exit.UNAVAILABLE,
    "model_exhausted": Exit.UNAVAILABLE,
    "model_refused": Exit.SETTINGS,
    "forbidden": Exit.NOT_PERMITTED,
}


class Failure(click.ClickException):
    """Error that ends the command with *code*, a message of one sentence, and a next step."""

    def __init__(self, problem: str, code: Exit, *, next_step: str = "") -> None:
        super().__init__(problem)
        self.exit_code = code  # type: ignore[misc]  # click reads it off the instance as well
        self.next_step = next_step

    def format_message(self) -> str:
        from protocol.secret_rules import redact_keys

        message = printable(redact_keys(self.message))  # it may quote a peer
        return f"{message}\n  {one_line(self.next_step)}" if self.next_step else message


def as_failure(error: Exception) -> Failure:
    """Convert an unexpected error into a failure with an exit code and a next step."""
    from hub.api.door.sockets import CannotListen
    from protocol.errors import CATALOGUE, HubError

    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # the only error of a task group
    match error:
        case CannotListen():
            return Failure(str(error), Exit.UNAVAILABLE, next_step="is another hub running? hub status")
        case HubError():
            code = _EXIT_CODES.get(error.code, Exit.FAILED)
            hint = getattr(error, "hint", "") or CATALOGUE[error.code].hint
            return Failure(str(error) or str(error.code), code, next_step=hint)
        case PermissionError():
            problem = f"no permission for {error.filename or 'a file'}: {error.strerror or error}"
            return Failure(problem, Exit.NOT_PERMITTED, next_step=AS_WHOM)
        case OSError():
            return Failure(str(error), Exit.UNAVAILABLE)
        case _:
            problem = f"{type(error).__name__}: {error}"
            return Failure(problem, Exit.FAILED, next_step="a bug in hub; 'hub --debug ...' shows where")
