"""Invitations: secrets with which a device connects without an approval. The hub keeps only their hashes."""

from typing import Annotated

from msgspec import Meta, structs

from hub import tokens
from hub.api.deps import Actor
from hub.api.door.roles import Scope
from hub.api.identity import IdentityLimits
from hub.api.noun import ALL, Noun, Part, command, listed, route
from hub.api.nouns.tokens import YEAR_S
from hub.api.view import Instant, Name, View
from hub.clock import Chance, Clock, IdFactory, epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from hub.tokens import TokenKind
from protocol.errors import ErrorCode, HubError
from protocol.ids import InvitationId, UserId
from storage.devices import pairings
from storage.devices.pairings import InvitationRow
from storage.store import Store

log = Channel(__name__)


class UnknownInvitation(HubError):
    """An invitation id that does not exist."""

    code = ErrorCode.UNKNOWN_INVITATION


class OneDeviceOneName(HubError):
    """An invitation for several devices cannot name them."""

    code = ErrorCode.BAD_PARAMS


class TooManyInvitations(HubError):
    """The limit on open invitations is reached."""

    code = ErrorCode.LIMIT_REACHED


class InvitationView(View, kw_only=True):
    """An invitation without its secret. *uses_left*: how many more devices may use it."""

    id: str
    user: str
    device: str | None = None  # the name that the device gets; its own label by default
    uses_left: int
    last4: str
    created_by: str
    created_at: Instant
    expires_at: Instant
    revoked_at: Instant | None = None


class NewInvitation(InvitationView, kw_only=True):
    """A created invitation. No other response contains *token*."""

    token: str


class InvitationRequest(View):
    """An invitation to create: for one device of this name, or for several with names of their own."""

    device: Name | None = None
    uses: Annotated[int, Meta(ge=1, le=1_000)] = 1
    ttl_s: Annotated[float, Meta(ge=10.0, le=YEAR_S, examples=[600])] | None = None  # None: ten minutes


class Invitations(Noun):
    """Invitations of devices."""

    name, path = "invitations", "/v1/invitations"
    errors = (ErrorCode.UNKNOWN_INVITATION, ErrorCode.LIMIT_REACHED)

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: IdFactory,
        chance: Chance,
        metrics: Metrics,
        owner_id: UserId,
        limits: IdentityLimits,
    ) -> None:
        """Create the noun. *owner_id*: owner of a device that an unscoped operator invites."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._metrics = metrics
        self._owner_id = owner_id
        self.limits = limits

    @command(
        "pair invitations",
        example="hub pair invitations",
        json="invitations",
        help="List the invitations without their secrets.",
        table=(
            "id as invitation",
            "user",
            "device",
            "uses_left",
            "last4 as ends in",
            "expires_at|moment as expires",
            "revoked_at|moment as revoked",
        ),
        empty="no invitations; create one: hub pair invite",
    )
    @listed("", Scope.DEVICES, key=lambda invitation: (epoch_ms(invitation.created_at), invitation.id))
    async def all(self, part: Part = ALL) -> list[InvitationView]:
        """List the invitations, the oldest first."""
        rows = await self._store.read(
            pairings.list_invitations, user_id=self.user_id, limit=part.limit, after=part.after
        )
        return [_view(row) for row in rows]

    @command(
        "pair invite",
        example="hub pair invite --device desk --ttl 1h",
        json="invitation",
        help="Create an invitation, which admits a device without approval. It is printed once.\n\n"
        "With --user, as that user's devices.",
        options={
            "device": "Name of the device [default: the name that it proposes].",
            "uses": "Number of devices.",
            "ttl_s": "--ttl: Lifetime of the invitation, as in 10m or 2h.",
        },
        prints="token",
        message="The invitation is shown only once, and expires {expires_at|moment}."
        " On the device, put it into a file that only you can read, then:\n"
        "  hub connect URL --root DIR --invitation-file FILE",
    )
    @route("POST", "", Scope.DEVICES, status=201, is_secret=True)
    async def create(self, requested: InvitationRequest, actor: Actor) -> NewInvitation:
        """Create an invitation; with ``user``, for that user. Only this response has the secret."""
        if requested.device is not None and requested.uses != 1:
            raise OneDeviceOneName("uses: an invitation that names a device is for one device")
        at, most = epoch_ms(self._clock.now()), self.limits.invitations
        known = [row for row in await self._store.read(pairings.list_invitations) if _is_open(row, at)]
        if len(known) >= most:
            raise self._too_many(most, "invitations")
        most = self.limits.invitations_per_user
        if self.user_id is not None and sum(row.user_id == self.user_id for row in known) >= most:
            raise self._too_many(most, "invitations_per_user")
        token = tokens.make(TokenKind.INVITATION, self._chance)
        lasts_s = self.limits.invitation_ttl_s if requested.ttl_s is None else requested.ttl_s
        row = await self._store.write(
            pairings.create_invitation,
            id=InvitationId(self._ids.fresh()),
            token_hash=tokens.hash_token(token),
            user_id=self.user_id or self._owner_id,
            device_name=requested.device,
            uses=requested.uses,
            last4=tokens.last4(token),
            actor=actor,
            at=at,
            expires_at=at + round(lasts_s * 1_000),
        )
        log.info("invitation.created", invitation_id=row.id, user_id=row.user_id)
        return NewInvitation(**structs.asdict(_view(row)), token=token)

    @command(
        "pair uninvite INVITATION_ID",
        example="hub pair uninvite 4e21a9",
        json="invitation",
        help="Revoke an invitation. Devices that it admitted stay.",
        ids="invitation_id",
        message="the invitation that ends in {last4} is revoked",
    )
    @route("DELETE", "/{invitation_id}", Scope.DEVICES)
    async def revoke(self, invitation_id: str, actor: Actor) -> InvitationView:
        """Revoke an invitation; doing it twice is no error."""
        found = await self._find(invitation_id)
        at = epoch_ms(self._clock.now())
        await self._store.write(pairings.revoke_invitation, found.id, at=at, actor=actor)
        log.info("invitation.revoked", invitation_id=found.id, user_id=found.user_id)
        return _view(await self._find(invitation_id))

    def _too_many(self, most: int, limit: str) -> TooManyInvitations:
        self._metrics.limits_reached.labels(limit).inc()
        return TooManyInvitations(f"{most} invitations are open ({limit})")

    async def _find(self, invitation_id: str) -> InvitationRow:
        row = await self._store.read(pairings.find_invitation, InvitationId(invitation_id))
        if row is None or self.user_id not in (None, row.user_id):
            raise UnknownInvitation(f"there is no invitation {invitation_id!r}")
        return row


def _is_open(row: InvitationRow, at: int) -> bool:
    return row.uses_left > 0 and row.revoked_at is None and row.expires_at > at


def _view(row: InvitationRow) -> InvitationView:
    return InvitationView.from_row(row, user=row.user_name, device=row.device_name)
