"""Errors raised when a listening socket cannot be opened, or another hub uses the state folder."""

from pathlib import Path

from hub.base.printable import shell_word
from protocol.errors import ErrorCode, HubError


class CannotListen(HubError):
    """A listening socket that could not be opened; nothing is left on disk."""

    code = ErrorCode.BAD_SETTINGS
    hint = "name another folder: --state DIR"


class AnotherHub(CannotListen):
    """Listener refused, because another hub process serves this state folder."""

    code = ErrorCode.DATABASE_BUSY

    def __init__(self, state: Path, problem: str = "") -> None:
        where = f"--state {shell_word(state)}"
        super().__init__(problem or f"a hub is running on {state} already: hub status {where}")
        self.hint = f"to end it: hub drain {where}; or name another folder: --state DIR"
