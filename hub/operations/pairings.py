"""Devices that wait to be let in: listed, approved by the code that they show, denied.

A wrong code is counted against the operator who typed it; what was never a code is not.
Codes are looked at one at a time, so that many at once are no more tries than one by one.
"""

import anyio

from hub.api.facades.pairings import BadPairingCode, TooManyCodes
from hub.api.views.identity import PairedView, PairingView
from hub.clock import Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.links import pairing_code
from hub.links.attempts import AttemptLimits, FailedAttempts
from hub.log import Channel
from hub.metrics import Metrics
from hub.operations.limits import IdentityLimits
from hub.operations.moments import moment
from hub.operations.names import user_names
from hub.operations.seen import Seen
from protocol import keys
from protocol.ids import DeviceId, PairingId, UserId
from storage.audit import audit
from storage.devices import device_keys, devices, pairings
from storage.devices.pairings import PairingChanged, PairingRow, UnknownPairing
from storage.store import Store

log = Channel(__name__)


class PairingOperations(Seen):
    """Implements ``api.facades.pairings.PairingFacade``."""

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
        """*owner_id*: whose a device becomes that somebody approves who sees everybody's."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._owner_id = owner_id
        self._one_at_a_time = anyio.Lock()
        self._wrong_codes = FailedAttempts(
            clock,
            limits=AttemptLimits(
                failures=limits.wrong_codes,
                window_s=limits.wrong_code_window_s,
                wait_s=limits.wrong_code_wait_s,
                wait_most_s=limits.wrong_code_wait_s,
            ),
        )

    async def all(self) -> list[PairingView]:
        """Those that wait, who asked first before the others; of one user there are none yet."""
        if self.user_id is not None:
            return []
        return [_view(row) for row in await self._store.read(pairings.list_pairings, at=self._now_ms())]

    async def approve(
        self,
        code: str,
        *,
        pairing_id: str | None = None,
        name: str | None = None,
        dry_run: bool = False,
        actor: str,
    ) -> PairedView:
        """Let the device in that shows this code."""
        code_hash, waiting = await self._look(code, actor)
        shown = None if pairing_id is None else PairingId(pairing_id)
        if shown not in (None, waiting.id):
            raise PairingChanged("another device shows this code than the one that you were shown")
        user_id = self.user_id or self._owner_id
        if dry_run:
            device = await self._would_become(waiting, user_id, name)
        else:
            made = await self._store.write(
                pairings.approve,
                code_hash,
                pairing_id=shown,
                fresh_id=DeviceId(self._ids.fresh()),
                user_id=user_id,
                name=name,
                actor=actor,
                at=self._now_ms(),
            )
            device = made.name
            log.info("pairing.approved", pairing_id=waiting.id, device_id=made.id)
        names = await user_names(self._store)
        return PairedView(pairing=_view(waiting), device=device, user=names[user_id], dry_run=dry_run)

    async def deny(self, pairing_id: str, *, actor: str) -> PairingView:
        """Send the device away."""
        if self.user_id is not None:
            raise UnknownPairing(f"no device waits under the id {pairing_id!r}")
        denied = await self._store.write(pairings.deny, PairingId(pairing_id), actor=actor, at=self._now_ms())
        log.info("pairing.denied", pairing_id=denied.id)
        return _view(denied)

    async def _look(self, code: str, actor: str) -> tuple[bytes, PairingRow]:
        """The hash of a code, and who waits under it."""
        async with self._one_at_a_time:
            if wait_s := self._wrong_codes.wait_s(actor):
                raise TooManyCodes(wait_s)
            try:
                code_hash = pairing_code.hash_code(pairing_code.read(code))
            except pairing_code.BadCode as error:
                raise BadPairingCode(f"code: {error}") from error
            waiting = await self._store.read(pairings.find_pairing, code_hash, at=self._now_ms())
            if waiting is None:
                await self._count_wrong(actor)
                raise UnknownPairing("no device shows this code now")
            return code_hash, waiting

    async def _count_wrong(self, actor: str) -> None:
        self._wrong_codes.record(actor)
        if self._wrong_codes.wait_s(actor):
            self._metrics.limits_reached.labels("wrong_codes").inc()
            log.warning("pairing.locked", actor=actor)
            await self._store.write(
                audit.append,
                at=self._now_ms(),
                actor=actor,
                event="auth.refused",
                outcome="refused",
                detail={"reason": "wrong_codes"},
            )

    async def _would_become(self, waiting: PairingRow, user_id: UserId, name: str | None) -> str:
        """The name of the device that it would be."""
        if name is None:
            for device in await self._store.read(devices.devices_called, waiting.label, user_id=user_id):
                if await self._store.read(device_keys.has_way_in, device.id):
                    raise device_keys.taken_name(waiting.label)
        return name or waiting.label

    def _now_ms(self) -> int:
        return epoch_ms(self._clock.now())


def _view(row: PairingRow) -> PairingView:
    return PairingView(
        id=row.id,
        fingerprint=keys.shown(row.key_id),
        label=row.label,
        platform=row.platform,
        network=row.network,
        created_at=from_epoch_ms(row.created_at),
        expires_at=from_epoch_ms(row.expires_at),
        decision=row.decision,  # type: ignore[arg-type]  # a CHECK keeps it to the two words
        decided_at=moment(row.decided_at),
        decided_by=row.actor,
    )
