"""Interface for access tokens; connectors do not know their source."""

from typing import Protocol


class Tokens(Protocol):
    """Access tokens of one account, refreshed once for all waiting callers."""

    async def token(self, rejected: str | None = None) -> str:
        """Return a valid token.

        Args:
            rejected: a token that was just refused; it is replaced, unless that has already happened.

        Raises:
            SignInNeeded: a person must sign in.
            Unavailable: a temporary failure.
        """
        ...
