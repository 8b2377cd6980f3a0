"""How much there may be of what operators make, and how often they may mistype a code."""

import msgspec


class IdentityLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds; hub.toml has a key of the same name for each.

    Attributes:
        device_tokens, operator_tokens: that count at once.
        device_tokens_per_user, operator_tokens_per_user, invitations_per_user: of them, those of one
            user, asked by somebody who sees no other: nobody takes what all have to share.
        operator_token_days: how long one of an operator counts that has no end of its own.
        agent_tokens_per_agent, agent_token_days: the same of those of agents.
        invitations: that are open at once.
        invitation_ttl_s: the same of an invitation.
        wrong_codes: of one operator within *wrong_code_window_s*; after the last one, approving
            is shut to it for *wrong_code_wait_s*.
    """

    device_tokens: int = 20_000
    device_tokens_per_user: int = 5_000
    operator_tokens: int = 100
    operator_tokens_per_user: int = 25
    operator_token_days: int = 90
    agent_tokens_per_agent: int = 16
    agent_token_days: int = 90
    users: int = 1_000
    invitations: int = 100
    invitations_per_user: int = 25
    invitation_ttl_s: float = 600.0
    wrong_codes: int = 5
    wrong_code_window_s: float = 600.0
    wrong_code_wait_s: float = 600.0
