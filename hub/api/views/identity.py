"""What the operator's side is told of who may come in: users, devices, pairings, invitations, tokens.

As in ``api.views.view``: a field is added, never renamed; times are aware UTC; ids are text.
"""

from pydantic import AwareDatetime

from hub.api.door.roles import Role, Scope
from hub.api.views.view import View


class TokenView(View):
    """A device's token without its secret, of which *last4* are the last characters."""

    id: str
    device: str
    user: str = ""
    last4: str | None = None
    created_by: str | None = None  # the actor, as the audit tells it
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None


class NewToken(View):
    """A token just made. *token* is shown this once: the hub keeps only its hash."""

    id: str
    device: str
    is_new_device: bool = False  # nobody knew it before
    user: str = ""
    token: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None


class OperatorTokenView(View):
    """An operator's token without its secret.

    *user* is whose things it sees; None: everybody's. *scopes* are those of its role that it bears.
    """

    id: str
    name: str
    role: Role
    scopes: tuple[Scope, ...]
    user: str | None = None
    last4: str
    created_by: str
    created_at: AwareDatetime
    expires_at: AwareDatetime
    last_used_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None


class NewOperatorToken(OperatorTokenView):
    """An operator's token just made. *token* is shown this once: the hub keeps only its hash."""

    token: str
