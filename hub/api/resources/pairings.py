"""Routes of pairings: waiting devices, approval by code, and denial."""

import math
from typing import Annotated, Final, Literal

import anyio
from msgspec import Meta

from hub.api.binding import BodyField
from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPart,
    Name,
    Resource,
    View,
    audited,
    command,
    listed,
    route,
)
from hub.api.resources.tokens import IdentityLimits
from hub.base.clock import Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.roles import Scope
from hub.links import pairing as links_pairing
from hub.links.failed_attempts import FailedAttempts
from hub.links.pairing import ALPHABET, LENGTH
from protocol import keys
from protocol.errors import CodedError, ErrorCode, connect_command
from protocol.ids import DeviceId, PairingId, UserId
from storage import audit
from storage.devices import devices, pairings, tokens, users
from storage.devices.attempts import AttemptLimits
from storage.devices.devices import DeviceRow
from storage.devices.pairings import PairingRow
from storage.store import Store

log = Channel(__name__)


class PairingView(View, kw_only=True):
    """A device that asked to be paired. *label* and *platform* are what it reports of itself.

    *fingerprint* is of its key, and the device shows the same one. The code that it shows is not part
    of this view: an operator has to read it from the device. *revoked_at*: when the device of this name was
    revoked, which an approval lets in again.
    """

    id: str
    fingerprint: str
    label: str = ""
    platform: str = ""
    network: str
    created_at: Instant
    expires_at: Instant
    decision: Literal["approved", "denied"] | None = None
    decided_at: Instant | None = None
    decided_by: str | None = None
    revoked_at: Instant | None = None


class PairedView(View):
    """The result of an approval, or of a dry run of it: *device* of *user*."""

    pairing: PairingView
    device: str
    user: str
    dry_run: bool = False


# The document alone has the pattern: a refusal names the first character that no code has.
_CODE: Final = Meta(
    min_length=1,
    max_length=32,
    extra_json_schema={
        "pattern": f"^([{ALPHABET}{ALPHABET.lower()}][ -]*){{{LENGTH}}}$",
        "examples": ["K7QF-2M9X"],
    },
)
_APPROVAL: Final = BodyField(
    "Approval",
    """The code that the device shows. *dry_run*: only return which device it is.

*pairing_id*: the id that a dry run returned; another pairing is not approved.
""",
)


class PairingsResource(Resource):
    """Pairings. A pending one belongs to no user yet, so only an unscoped caller sees or denies it.

    Wrong codes count against the operator who enters them; text that cannot be a code does not. Codes
    are looked up one at a time, so that simultaneous requests do not get more tries than consecutive ones.
    """

    name, path = "pairings", "/v1/pairings"
    errors = (ErrorCode.UNKNOWN_PAIRING, ErrorCode.NAME_TAKEN, ErrorCode.CHANGED_MEANWHILE)

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        owner_id: UserId,
        limits: IdentityLimits,
    ) -> None:
        """Create the resource. *owner_id*: owner of a device that an unscoped operator approves."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._owner_id = owner_id
        self._one_at_a_time = anyio.Lock()
        self._wrong_codes = FailedAttempts(
            store,
            clock,
            kind="code",
            limits=AttemptLimits(
                failures=limits.wrong_codes,
                window_s=limits.wrong_code_window_s,
                wait_s=limits.wrong_code_wait_s,
                wait_most_s=limits.wrong_code_wait_s,
            ),
        )

    @command(
        "pair ls",
        example="hub pair ls",
        json="pairings",
        help="List the devices that wait for approval.",
        table=(
            "label as proposed name",
            "platform",
            "network",
            "created_at|at as asked",
            "expires_at|at as expires",
            "id",
        ),
        empty="no devices wait for approval; start one: " + connect_command(),
        message="admit one by its code: hub pair approve CODE; or refuse it: hub pair deny ID",
    )
    @listed("", Scope.DEVICES, key=lambda pairing: (epoch_ms(pairing.created_at), pairing.id))
    async def all(self, part: ListPart = ALL) -> list[PairingView]:
        """List the pending pairings without their codes, the oldest first."""
        if self.user_id is not None:
            return []
        at, limit, after = self._now, part.limit, part.after
        return await self._store.read(
            lambda c: [
                _view(row, devices.find_device(c, row.label, user_id=self._owner_id))
                for row in pairings.list_pairings(c, at=at, limit=limit, after=after)
            ]
        )

    @route("POST", "/approve", Scope.DEVICES)
    @audited("pairing.approved")
    async def approve(
        self,
        code: Annotated[str, _CODE, _APPROVAL],
        actor: Actor,
        pairing_id: Annotated[Annotated[str, Meta(min_length=1, max_length=64)] | None, _APPROVAL] = None,
        name: Annotated[Name | None, _APPROVAL] = None,
        dry_run: Annotated[bool, _APPROVAL] = False,
    ) -> PairedView:
        """Approve the device that shows this code; with ``user``, as that user's device.

        With the name of a known device of the user, the key becomes one of that device. A revoked device of
        that name, or of the label, is let in again with its items. After too many wrong codes, in dry runs
        too, the caller has to wait.
        """
        code_hash, waiting = await self._pairing_of(code, actor)
        shown = None if pairing_id is None else PairingId(pairing_id)
        if shown not in (None, waiting.id):
            raise CodedError(
                ErrorCode.CHANGED_MEANWHILE, "another device shows this code than the one that you were shown"
            )
        user_id = self.user_id or self._owner_id
        device = name or waiting.label
        known = await self._store.read(devices.find_device, device, user_id=user_id)
        if dry_run:
            if name is None and known is not None and known.revoked_at is None:
                await self._store.read(tokens.check_free, known)
        else:
            approved = await self._store.write(
                pairings.approve,
                code_hash,
                pairing_id=shown,
                fresh_id=DeviceId(self._ids.fresh()),
                user_id=user_id,
                name=name,
                actor=actor,
                at=self._now,
            )
            log.info("pairing.approved", pairing_id=waiting.id, device_id=approved.id)
        user = (await self._store.read(users.user_names, [user_id]))[user_id]
        view = _view(waiting, known)
        return PairedView(pairing=view, device=device, user=user, dry_run=dry_run)

    @command(
        "pair deny PAIRING_ID",
        example="hub pair deny 4e21a9",
        json="pairing",
        help="Refuse a device that waits for approval.",
        message="{label} is refused",
    )
    @route("POST", "/{pairing_id}/deny", Scope.DEVICES)
    @audited("pairing.denied")
    async def deny(self, pairing_id: str, actor: Actor) -> PairingView:
        """Deny a pending pairing."""
        if self.user_id is not None:
            raise CodedError(ErrorCode.UNKNOWN_PAIRING, f"no device waits under the id {pairing_id!r}")
        denied = await self._store.write(pairings.deny, PairingId(pairing_id), actor=actor, at=self._now)
        log.info("pairing.denied", pairing_id=denied.id)
        return _view(denied)

    async def _pairing_of(self, code: str, actor: str) -> tuple[bytes, PairingRow]:
        """Return the hash of a code, and its pairing."""
        async with self._one_at_a_time:
            if wait_s := await self._wrong_codes.read_wait_s(actor):
                raise CodedError(
                    ErrorCode.RATE_LIMITED,
                    f"too many codes were wrong (wrong_codes); try again in {math.ceil(wait_s)} s",
                    retry_after_s=wait_s,
                )
            try:
                code_hash = links_pairing.hash_code(links_pairing.read_code(code))
            except links_pairing.BadCode as error:
                raise CodedError(ErrorCode.BAD_PARAMS, f"code: {error}") from error
            waiting = await self._store.read(pairings.find_pairing, code_hash, at=self._now)
            if waiting is None:
                await self._count_wrong(actor)
                raise CodedError(ErrorCode.UNKNOWN_PAIRING, "no device shows this code now")
            return code_hash, waiting

    async def _count_wrong(self, actor: str) -> None:
        await self._wrong_codes.fail(actor)
        if self._wrong_codes.wait_s(actor):
            self._metrics.limits_reached.labels("wrong_codes").inc()
            log.warning("pairing.locked", actor=actor)
            await self._store.write(
                audit.append,
                at=self._now,
                actor=actor,
                event="auth.refused",
                outcome="refused",
                detail={"reason": "wrong_codes"},
            )


def _view(row: PairingRow, known: DeviceRow | None = None) -> PairingView:
    revoked_at = None if known is None or known.revoked_at is None else from_epoch_ms(known.revoked_at)
    fingerprint = keys.shown(row.key_id)
    return PairingView.from_row(row, fingerprint=fingerprint, decided_by=row.actor, revoked_at=revoked_at)
