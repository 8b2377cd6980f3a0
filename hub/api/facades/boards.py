"""Tokens by which agents ask in their own names."""

from typing import Protocol

from hub.api.views.boards import AgentTokenView, NewAgentToken


class AgentTokenFacade(Protocol):
    """Tokens by which agents ask in their own names."""

    async def all(self, agent: str) -> list[AgentTokenView]:
        """The agent's tokens, revoked ones too, the oldest first.

        Raises:
            UnknownAgent, AmbiguousAgent
        """
        ...

    async def create(self, agent: str, *, ttl_s: float | None = None, actor: str) -> NewAgentToken:
        """Make a token; *ttl_s*: how long it counts, as long as hub.toml says by default.

        Raises:
            UnknownAgent, AmbiguousAgent, TooManyAgentTokens: nothing was made.
        """
        ...

    async def revoke(self, token_id: str, *, actor: str) -> AgentTokenView:
        """It opens nothing any more; revoking twice is no error.

        Raises:
            UnknownToken
        """
        ...
