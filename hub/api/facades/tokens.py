"""Tokens, as an operator asks for them: those of devices, and those of operators."""

from collections.abc import Collection
from typing import Protocol

from hub.api.door.roles import Principal, Role, Scope
from hub.api.views.identity import NewOperatorToken, NewToken, OperatorTokenView, TokenView
from protocol.errors import ErrorCode, HubError


class UnknownToken(HubError):
    """No token has this id."""

    code = ErrorCode.UNKNOWN_TOKEN


class TooManyTokens(HubError):
    """As many tokens of this kind count as may."""

    code = ErrorCode.LIMIT_REACHED


class BeyondOwnRights(HubError):
    """Nobody hands out more than they have."""

    code = ErrorCode.FORBIDDEN


class TokenFacade(Protocol):
    """Tokens of devices."""

    async def create(self, device_name: str, *, ttl_s: float | None = None, actor: str) -> NewToken:
        """Make a token for the device of that name, which is made too where it is new.

        Args:
            ttl_s: how long it counts; for ever by default.

        Raises:
            TooManyTokens: nothing was made.
        """
        ...

    async def all(self) -> list[TokenView]:
        """All tokens, revoked ones too, the oldest first."""
        ...

    async def revoke(self, token_id: str, *, actor: str) -> TokenView:
        """Revoke a token and close the connection that it opened; revoking twice is no error.

        Raises:
            UnknownToken: nothing changed.
        """
        ...


class OperatorTokenFacade(Protocol):
    """Tokens of operators, and of what they automate."""

    async def create(
        self,
        name: str,
        *,
        role: Role,
        scopes: Collection[Scope] = (),
        ttl_s: float | None = None,
        by: Principal,
    ) -> NewOperatorToken:
        """Make a token that bears the scopes of its role, or those of them that are given.

        As one user sees the hub, the token is that user's and sees no more either.

        Args:
            ttl_s: how long it counts; as long as hub.toml says by default.

        Raises:
            BeyondOwnRights: *by* does not bear them all; nothing was made.
            TooManyTokens: nothing was made.
        """
        ...

    async def all(self) -> list[OperatorTokenView]:
        """All tokens, revoked ones too, the oldest first."""
        ...

    async def revoke(self, token_id: str, *, actor: str) -> OperatorTokenView:
        """It opens nothing any more; revoking twice is no error.

        Raises:
            UnknownToken: nothing changed.
        """
        ...
