"""Limits on what operators create for users and agents."""

import msgspec


class IdentityLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds; a refusal names the one that was reached.

    Attributes:
        device_tokens, operator_tokens: maximum number of valid tokens.
        device_tokens_per_user, operator_tokens_per_user, invitations_per_user: maximum number per user,
            for callers scoped to that user, so that no user takes the places of all.
        operator_token_days: default lifetime of an operator's token, in days.
        agent_tokens_per_agent, agent_token_days: the same limits for tokens of agents.
        invitations: maximum number of open invitations.
        invitation_ttl_s: lifetime of an invitation, in seconds.
        wrong_codes: wrong codes of an operator within *wrong_code_window_s* seconds, after which its
            approvals are refused for *wrong_code_wait_s* seconds.
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
