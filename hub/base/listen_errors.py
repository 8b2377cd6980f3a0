"""Errors raised when a listening socket cannot be opened, or another hub uses the state folder."""

from protocol.errors import ErrorCode, HubError


class CannotListen(HubError):
    """A listening socket that could not be opened; nothing is left on disk."""

    code = ErrorCode.BAD_SETTINGS
    hint = "name another folder: --state DIR"


class AnotherHub(CannotListen):
    """Listener refused, because another hub process serves this state folder."""

    code = ErrorCode.DATABASE_BUSY
    hint = "stop it first, or name another folder: --state DIR"
