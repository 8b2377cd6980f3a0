"""Invitations: made, listed, revoked. What is kept of one is its hash."""

from hub import tokens
from hub.api.facades.pairings import OneDeviceOneName, TooManyInvitations, UnknownInvitation
from hub.api.views.identity import InvitationView, NewInvitation
from hub.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from hub.operations.limits import IdentityLimits
from hub.operations.moments import moment
from hub.operations.seen import Seen
from hub.tokens import TokenKind
from protocol.ids import InvitationId, UserId
from storage.devices import invitations
from storage.devices.invitations import InvitationRow
from storage.store import Store

log = Channel(__name__)


class InvitationOperations(Seen):
    """Implements ``api.facades.pairings.InvitationFacade``."""

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
        """*owner_id*: whose a device becomes that somebody invited who sees everybody's."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._metrics = metrics
        self._owner_id = owner_id
        self.limits = limits

    async def all(self) -> list[InvitationView]:
        """All that are kept, the oldest first."""
        rows = await self._store.read(invitations.list_invitations, user_id=self.user_id)
        return [_view(row) for row in rows]

    async def create(
        self, *, device: str | None = None, uses: int = 1, ttl_s: float | None = None, actor: str
    ) -> NewInvitation:
        """Invite devices of one user."""
        if device is not None and uses != 1:
            raise OneDeviceOneName("uses: an invitation that names a device is for one device")
        at, most = epoch_ms(self._clock.now()), self.limits.invitations
        known = [row for row in await self._store.read(invitations.list_invitations) if _is_open(row, at)]
        if len(known) >= most:
            raise self._too_many(most, "invitations")
        most = self.limits.invitations_per_user
        if self.user_id is not None and sum(row.user_id == self.user_id for row in known) >= most:
            raise self._too_many(most, "invitations_per_user")
        token = tokens.make(TokenKind.INVITATION, self._chance)
        lasts_s = self.limits.invitation_ttl_s if ttl_s is None else ttl_s
        row = await self._store.write(
            invitations.create_invitation,
            id=InvitationId(self._ids.fresh()),
            token_hash=tokens.hash_token(token),
            user_id=self.user_id or self._owner_id,
            device_name=device,
            uses=uses,
            last4=tokens.last4(token),
            actor=actor,
            at=at,
            expires_at=at + round(lasts_s * 1_000),
        )
        log.info("invitation.created", invitation_id=row.id, user_id=row.user_id)
        return NewInvitation(**_view(row).model_dump(), token=token)

    async def revoke(self, invitation_id: str, *, actor: str) -> InvitationView:
        """Nobody comes in by it any more."""
        found = await self._find(invitation_id)
        at = epoch_ms(self._clock.now())
        await self._store.write(invitations.revoke_invitation, found.id, at=at, actor=actor)
        log.info("invitation.revoked", invitation_id=found.id, user_id=found.user_id)
        return _view(await self._find(invitation_id))

    def _too_many(self, most: int, limit: str) -> TooManyInvitations:
        self._metrics.limits_reached.labels(limit).inc()
        return TooManyInvitations(f"{most} invitations are open ({limit})")

    async def _find(self, invitation_id: str) -> InvitationRow:
        row = await self._store.read(invitations.find_invitation, InvitationId(invitation_id))
        if row is None or self.user_id not in (None, row.user_id):
            raise UnknownInvitation(f"there is no invitation {invitation_id!r}")
        return row


def _is_open(row: InvitationRow, at: int) -> bool:
    return row.uses_left > 0 and row.revoked_at is None and row.expires_at > at


def _view(row: InvitationRow) -> InvitationView:
    return InvitationView(
        id=row.id,
        user=row.user_name,
        device=row.device_name,
        uses_left=row.uses_left,
        last4=row.last4,
        created_by=row.created_by,
        created_at=from_epoch_ms(row.created_at),
        expires_at=from_epoch_ms(row.expires_at),
        revoked_at=moment(row.revoked_at),
    )
