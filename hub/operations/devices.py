"""Devices, as operators are told of them; renamed, thrown out, sent away."""

from collections.abc import Collection, Sequence
from typing import Final

from hub.api.facades.devices import AmbiguousDevice, NotConnectedHere
from hub.api.views.identity import AgreementView, DeviceDetail, DeviceView, KeyView, OwnerGrantView
from hub.clock import Clock, epoch_ms, from_epoch_ms
from hub.links.roster import Roster
from hub.log import Channel
from hub.operations.moments import moment
from hub.operations.names import user_names
from hub.operations.seen import Seen
from hub.operations.tokens import token_view
from protocol import keys
from protocol.errors import CloseCode
from protocol.handshake import Goodbye
from storage.agents import agents
from storage.audit import audit
from storage.devices import device_keys, device_names, devices
from storage.devices.device_keys import KeyRow
from storage.devices.devices import DeviceRow, Grant
from storage.runs import agreement
from storage.runs.agreement import StoreRow
from storage.store import Store

log = Channel(__name__)

KICKED: Final = Goodbye(
    reason="kicked",
    message="an operator disconnected this device; it comes back by itself",
    retry_after_ms=1_000,
)
RESYNCED: Final = Goodbye(
    reason="resync",
    message="an operator wants this device's rows compared with the hub's; it comes back by itself",
    retry_after_ms=1_000,
)


class DeviceOperations(Seen):
    """Implements ``api.facades.devices.DeviceFacade``."""

    def __init__(self, *, store: Store, roster: Roster, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock

    async def all(self) -> list[DeviceView]:
        """All devices, revoked ones too, by name."""
        return await self._views(await self._store.read(devices.list_devices, user_id=self.user_id))

    async def get(self, called: str) -> DeviceDetail:
        """One device, what opens it, and who reads from it."""
        row = await self._device(called)
        (view,) = await self._views([row])
        known = await self._store.read(device_keys.list_keys, device_id=row.id)
        tokens = await self._store.read(devices.list_tokens, device_id=row.id)
        readers = await self._store.read(agents.list_agents, user_id=row.user_id)
        return DeviceDetail(
            **view.model_dump(),
            keys=tuple(_key_view(key) for key in known),
            tokens=tuple(token_view(token, view.user) for token in tokens),
            agents=tuple(agent.name for agent in readers if agent.device_id == row.id),
            agreement=_agreement_view(await self._store.read(agreement.find_store, row.id)),
            owner_grants=self._owner_grants(row),
        )

    async def rename(self, called: str, name: str, *, actor: str) -> DeviceView:
        """Give it another name."""
        device = await self._device(called)
        renamed = await self._store.write(
            devices.rename_device, device.id, name, at=self._now_ms(), actor=actor
        )
        log.info("device.renamed", device_id=device.id)
        return await self._view(renamed)

    async def revoke(self, called: str, *, actor: str) -> DeviceView:
        """Let it in no more, and close its connection."""
        device = await self._device(called)
        await self._store.write(devices.revoke_device, device.id, at=self._now_ms(), actor=actor)
        self._roster.end_revoked(device.id, None)
        log.info("device.revoked", device_id=device.id)
        return await self._view(await self._store.read(devices.get_device, device.id))

    async def grant(
        self, called: str, *, add: Collection[Grant], remove: Collection[Grant], actor: str
    ) -> DeviceView:
        """Grant it all of *add* and none of *remove*, from its next request and run on."""
        device = await self._device(called)
        changed = await self._store.write(
            devices.change_grants, device.id, add=add, remove=remove, at=self._now_ms(), actor=actor
        )
        log.info("device.granted", device_id=device.id, grants=", ".join(changed.grants))
        return await self._view(changed)

    async def resync(self, called: str, *, actor: str) -> DeviceView:
        """Compare its rows with the ledger when it comes back."""
        device = await self._device(called)
        await self._store.write(agreement.compare_again, device.id, self._now_ms(), actor=actor)
        self._roster.end(device.id, RESYNCED, CloseCode.RESTARTING)
        log.info("device.resynced", device_id=device.id)
        return await self._view(device)

    async def kick(self, called: str, *, actor: str) -> DeviceView:
        """Close its connection; it may come back."""
        device = await self._device(called)
        if self._roster.find(device.id) is None:
            raise NotConnectedHere(f"device {device.name!r} is not connected to this hub")
        self._roster.end(device.id, KICKED, CloseCode.RESTARTING)
        await self._store.write(
            audit.append, at=self._now_ms(), actor=actor, event="device.kicked", subject=device.id
        )
        log.info("device.kicked", device_id=device.id)
        return await self._view(device)

    async def _device(self, called: str) -> DeviceRow:
        found = await self._store.read(devices.devices_called, called, user_id=self.user_id)
        if len(found) > 1:
            raise AmbiguousDevice(f"several users have a device {called!r}; say whose: --user NAME")
        if not found:
            raise await self._store.read(
                device_names.unknown_device, called, user_id=self.user_id, at=self._now_ms()
            )
        return found[0]

    async def _view(self, row: DeviceRow) -> DeviceView:
        (view,) = await self._views([row])
        return view

    async def _views(self, rows: Sequence[DeviceRow]) -> list[DeviceView]:
        names = await user_names(self._store)
        return [self._told(row, names[row.user_id]) for row in rows]

    def _told(self, row: DeviceRow, user: str) -> DeviceView:
        link = self._roster.find(row.id)
        return DeviceView(
            id=row.id,
            name=row.name,
            user=user,
            connected=link is not None,
            platform=row.platform,
            capabilities=() if link is None else tuple(sorted(link.capabilities)),
            created_at=from_epoch_ms(row.created_at),
            last_seen_at=moment(row.last_seen_at),
            revoked_at=moment(row.revoked_at),
            grants=tuple(Grant(grant) for grant in row.grants),
        )

    def _owner_grants(self, row: DeviceRow) -> tuple[OwnerGrantView, ...]:
        link = self._roster.find(row.id)
        granted = {} if link is None else link.owner_grants
        return tuple(OwnerGrantView(name=name, tables=tuple(tables)) for name, tables in granted.items())

    def _now_ms(self) -> int:
        return epoch_ms(self._clock.now())


def _key_view(row: KeyRow) -> KeyView:
    return KeyView(
        fingerprint=keys.shown(row.id),
        created_at=from_epoch_ms(row.created_at),
        last_used_at=moment(row.last_used_at),
        revoked_at=moment(row.revoked_at),
    )


def _agreement_view(row: StoreRow | None) -> AgreementView | None:
    if row is None:
        return None
    return AgreementView(
        cause=row.cause,
        began_at=from_epoch_ms(row.began_at),
        agreed_at=moment(row.agreed_at),
        sent=row.sent,
        taken=row.taken,
        refused=row.refused,
        problem=row.problem,
    )
