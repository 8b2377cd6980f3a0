"""Response models of the tokens of agents. A field is added, never renamed."""

from pydantic import AwareDatetime

from hub.api.views.view import View


class AgentTokenView(View):
    """An agent's token without its secret, of which *last4* are the last characters."""

    id: str
    agent: str
    user: str = ""
    last4: str
    created_by: str  # the actor, as the audit tells it
    created_at: AwareDatetime
    expires_at: AwareDatetime
    last_used_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None


class NewAgentToken(AgentTokenView):
    """An agent's token just made. *token* is shown this once: the hub keeps only its hash."""

    token: str
