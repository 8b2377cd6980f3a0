"""What the operator's side is told of who may come in: users, devices, pairings, invitations, tokens.

As in ``api.views.view``: a field is added, never renamed; times are aware UTC; ids are text.
"""

from typing import Literal

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


class PairingView(View):
    """A device that asked to be let in. *label* and *platform* are its own words.

    *fingerprint* is of its key: it shows the same, and only the device that has the key can. The
    code that it shows beside it is not told here: who may approve it has it from the device.
    """

    id: str
    fingerprint: str
    label: str = ""
    platform: str = ""
    network: str
    created_at: AwareDatetime
    expires_at: AwareDatetime
    decision: Literal["approved", "denied"] | None = None
    decided_at: AwareDatetime | None = None
    decided_by: str | None = None


class PairedView(View):
    """What an approval did, or, where it was only tried (*dry_run*), would do: *device* of *user*."""

    pairing: PairingView
    device: str
    user: str
    dry_run: bool = False


class InvitationView(View):
    """An invitation without its secret. *uses_left* devices may still come in by it."""

    id: str
    user: str
    device: str | None = None  # the name that the device gets; its own label by default
    uses_left: int
    last4: str
    created_by: str
    created_at: AwareDatetime
    expires_at: AwareDatetime
    revoked_at: AwareDatetime | None = None


class NewInvitation(InvitationView):
    """An invitation just made. *token* is shown this once: the hub keeps only its hash."""

    token: str
