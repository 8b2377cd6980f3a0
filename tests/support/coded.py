"""Checks of refusals by their code."""

from collections.abc import Callable

from protocol.errors import ErrorCode, HubError


def coded(code: ErrorCode) -> Callable[[HubError], bool]:
    """Return a check for ``pytest.raises``: the error has this code."""
    return lambda error: error.code is code
