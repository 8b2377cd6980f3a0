"""Errors of commands: message, next step and exit code of each error."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final

import click

from hub.base.printable import one_line, printable, shell_word, shortened

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
    INTERRUPTED = 130


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


MAX_OF_MESSAGE: Final = 4_000  # characters
_MAX_LINES: Final = 6  # of a log
ANOTHER: Final = "name another file"
_FILE_PROBLEMS: Final = {  # by errno: what is wrong with the path, and what to do
    errno.EEXIST: ("it exists already", "name another file, or remove this one first"),
    errno.ENOENT: ("no such file or folder", "is the path right? a new file needs a folder that exists"),
    errno.EISDIR: ("it is a folder", "name a file in it"),
    errno.ENOTDIR: ("a part of the path is a file, no folder", ANOTHER),
    errno.ENOSPC: ("the disk is full", "free some room, or name a file on another disk"),
    errno.EDQUOT: ("the quota of this user is used up", "free some room, or name a file on another disk"),
    errno.EFBIG: (
        "it would be larger than a limit allows",
        "raise the limit: ulimit -f",
    ),
    errno.EROFS: ("it is on a file system that is read-only", "mount it for writing, or " + ANOTHER),
    errno.EACCES: ("no permission", "run this as the user that owns it, or " + ANOTHER),
    errno.EPERM: ("no permission", "run this as the user that owns it, or " + ANOTHER),
}


class CommandError(click.ClickException):
    """Error that ends the command with *code*, a message of one sentence, and a next step."""

    def __init__(self, problem: str, code: Exit, *, next_step: str = "") -> None:
        super().__init__(problem)
        self.exit_code = code  # type: ignore[misc]  # click reads it off the instance as well
        self.next_step = next_step

    def format_message(self) -> str:
        message = repeatable(self.message)  # it may quote a peer
        return f"{message}\n  {one_line(self.next_step)}" if self.next_step else message


def repeatable(message: str) -> str:
    """Return a message that quotes foreign text: without secrets, controls and what is too long to read."""
    from protocol.secret_rules import redact_keys

    text = printable(shortened(redact_keys(message)))
    return text if len(text) <= MAX_OF_MESSAGE else f"{text[:MAX_OF_MESSAGE]}… ({len(text)} characters)"


@contextmanager
def using(file: Path, doing: str, code: Exit, *, another: str = ANOTHER) -> Iterator[None]:
    """Convert errors of *doing* something with a file: ``cannot write a.jsonl: it exists already``.

    Args:
        another: advice to use another file.
    """
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise _file_failure(f"cannot {doing} {file}", error, code, another) from error


def log_ending(log: Path) -> str:
    """Return the last lines of a log that a person reads, else its last line; each once, without usage."""
    lines = list(filter(None, map(str.strip, log.read_text("utf-8", "replace").splitlines())))
    lines = [line for line in lines if not line.startswith(("Usage: ", "Try '"))]
    texts = [line for line in lines if not line.startswith("{")] or lines[-1:]
    texts = [*{line.partition("; next try in ")[0]: line for line in texts}.values()]  # of a device
    return one_line("; ".join(texts[-_MAX_LINES:]).removeprefix("Error: ")) or "its log is empty"


def _file_failure(
    where: object, error: OSError | UnicodeDecodeError, code: Exit, another: str = ANOTHER
) -> CommandError:
    if isinstance(error, UnicodeDecodeError):
        return CommandError(f"{where}: it is not UTF-8: {error.reason} at byte {error.start}", code)
    if isinstance(error, PermissionError) and code == Exit.UNAVAILABLE:
        code = Exit.NOT_PERMITTED
    problem, next_step = _FILE_PROBLEMS.get(error.errno or 0, (error.strerror or str(error), ""))
    return CommandError(
        f"{where}: {problem}" if where else problem,
        code,
        next_step=next_step.replace(ANOTHER, another) if where else next_step.partition(", or ")[0],
    )


def _permission_for(name: str | None) -> str:
    """Return what lets this user use a path, which may not exist yet."""
    path = Path(name or "/")
    try:
        while not path.exists():
            path = path.parent
        is_own = path.stat().st_uid == os.geteuid()
    except OSError:  # a folder above it may not be read
        return AS_WHOM
    return f"let its owner use it: chmod u+rwX {shell_word(path)}" if is_own else AS_WHOM


def as_failure(error: Exception) -> CommandError:
    """Convert an unexpected error into a failure with an exit code and a next step."""
    from hub.base.listen_errors import CannotListen
    from protocol.errors import CATALOGUE, HubError
    from storage.kernel.database import CONTINUES

    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # the only error of a task group
    match error:
        case CommandError():  # the end of a wait in a task
            return error
        case CannotListen():
            return CommandError(str(error), Exit.UNAVAILABLE, next_step=error.hint)
        case HubError():
            code = _EXIT_CODES.get(error.code, Exit.FAILED)
            hint = getattr(error, "hint", "") or CATALOGUE[error.code].hint
            # This process ends: no hub continues.
            return CommandError(str(error) or str(error.code), code, next_step=hint.removesuffix(CONTINUES))
        case PermissionError():
            problem = f"no permission for {error.filename or 'a file'}: {error.strerror or error}"
            return CommandError(problem, Exit.NOT_PERMITTED, next_step=_permission_for(error.filename))
        case OSError():
            return _file_failure(error.filename, error, Exit.UNAVAILABLE, "name another folder: --state DIR")
        case _:
            problem = f"{type(error).__name__}: {error}"
            return CommandError(problem, Exit.FAILED, next_step="a bug in hub; 'hub --debug ...' shows where")
