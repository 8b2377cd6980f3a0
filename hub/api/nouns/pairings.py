"""Letting devices in: those that wait with a code, and invitations."""

from typing import Annotated

from fastapi import Response
from pydantic import Field, StringConstraints

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.nouns.tokens import YEAR_S
from hub.api.paging import Paging
from hub.api.views.identity import InvitationView, NewInvitation, PairedView, PairingView
from hub.api.views.view import View
from hub.settings.values import Name
from protocol.errors import ErrorCode

router = NounRouter(
    tags=["pairing"],
    responses=refusals(
        ErrorCode.UNKNOWN_PAIRING,
        ErrorCode.UNKNOWN_INVITATION,
        ErrorCode.LIMIT_REACHED,
        ErrorCode.CHANGED_MEANWHILE,
    ),
)


class Pairings(View):
    """Some devices that wait, in order; *next_cursor* leads to those after them."""

    pairings: tuple[PairingView, ...]
    next_cursor: str | None = None


class Approval(View):
    """The code that the device shows. *dry_run*: only say which device it is.

    *pairing_id* is the id that the caller was told then; what it was told beside it is what is approved.
    """

    code: Annotated[str, StringConstraints(min_length=1, max_length=32), Field(examples=["K7QF-2M9X"])]
    pairing_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    name: Name | None = None  # what the device calls itself
    dry_run: bool = False


class InvitationRequest(View):
    """Who is invited: one device of that name, or several with names of their own."""

    device: Name | None = None
    uses: Annotated[int, Field(ge=1, le=1_000)] = 1
    ttl_s: Annotated[float, Field(ge=10.0, le=YEAR_S, examples=[600])] | None = None  # as hub.toml says


class Invitations(View):
    """Some invitations in order, without their secrets; *next_cursor* leads to those after them."""

    invitations: tuple[InvitationView, ...]
    next_cursor: str | None = None


@router.get("/v1/pairings")
async def list_pairings(hub: Hub, paging: Paging) -> Pairings:
    """The devices that wait to be let in, who asked first before the others. Their codes are not told."""
    page = paging.cut(await hub.pairings.all(), key=lambda one: (one.created_at.isoformat(), one.id))
    return Pairings(pairings=page.items, next_cursor=page.next_cursor)


@router.post("/v1/pairings/approve")
async def approve_pairing(hub: Hub, actor: Actor, given: Approval) -> PairedView:
    """Let in the device that shows this code; with ``user``, as that user's.

    After too many wrong codes the caller has to wait.
    """
    return await hub.pairings.approve(
        given.code, pairing_id=given.pairing_id, name=given.name, dry_run=given.dry_run, actor=actor
    )


@router.post("/v1/pairings/{pairing_id}/deny")
async def deny_pairing(hub: Hub, actor: Actor, pairing_id: str) -> PairingView:
    """Send a device away that waits."""
    return await hub.pairings.deny(pairing_id, actor=actor)


@router.get("/v1/invitations")
async def list_invitations(hub: Hub, paging: Paging) -> Invitations:
    """All invitations that are kept, the oldest first."""
    page = paging.cut(await hub.invitations.all(), key=lambda one: (one.created_at.isoformat(), one.id))
    return Invitations(invitations=page.items, next_cursor=page.next_cursor)


@router.post("/v1/invitations", status_code=201)
async def create_invitation(
    hub: Hub, actor: Actor, wanted: InvitationRequest, response: Response
) -> NewInvitation:
    """Invite devices; with ``user``, as that user's. This answer is the only one that bears the secret."""
    response.headers["cache-control"] = "no-store"
    return await hub.invitations.create(
        device=wanted.device, uses=wanted.uses, ttl_s=wanted.ttl_s, actor=actor
    )


@router.delete("/v1/invitations/{invitation_id}")
async def revoke_invitation(hub: Hub, actor: Actor, invitation_id: str) -> InvitationView:
    """Let nobody in by an invitation any more; doing it twice is no error."""
    return await hub.invitations.revoke(invitation_id, actor=actor)
