"""Devices with their grants, pairings that wait for an approval, and the users who own devices.

With a revoked device the excerpts of its items are deleted.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import anyio
import msgspec
from msgspec import Meta

from hub.api.binding import BodyField
from hub.api.device import Link
from hub.api.peers import link_of
from hub.api.resource import (
    ALL,
    MAX_LONG,
    Actor,
    Instant,
    ListPart,
    Name,
    Paging,
    Resource,
    View,
    audited,
    command,
    device,
    listed,
    route,
    tool,
)
from hub.api.resources.tokens import IdentityLimits, TokenView
from hub.base.clock import Clock, IdFactory, epoch_ms, from_epoch_ms, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.roles import BY_ALL, BY_DEVICE, Scope
from hub.links import pairing
from hub.links.device_events import DeviceEvents
from hub.links.device_link import DeviceLink
from hub.links.failed_attempts import FailedAttempts
from hub.links.key_rotation import KeyRotation
from hub.links.roster import Roster
from protocol import keys
from protocol.agent_status import Axis
from protocol.calls import MARKED
from protocol.coordination import EventName, Method
from protocol.errors import CloseCode, CodedError, ErrorCode, connect_command
from protocol.handshake import Goodbye
from protocol.ids import DeviceId, PairingId, UserId
from protocol.receipts import SentFile
from protocol.work import MAX_IDS, MAX_PAGE_BYTES
from storage import audit
from storage.agents import agents, state_history
from storage.agents.state_history import AgentMove
from storage.devices import credential_copies, devices, pairings, receipts, tokens, users
from storage.devices import keys as stored_keys
from storage.devices.attempts import AttemptLimits
from storage.devices.devices import DeviceRow, Grant
from storage.devices.pairings import PairingRow
from storage.devices.tokens import DEVICE_TOKENS
from storage.effects import retention, user_data
from storage.runs import agreement, excerpts, item_verdicts
from storage.store import Connection, Store

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


SHOWN: Final = timedelta(days=14)
MAX_MOVES: Final = 1_000  # of the connection, each way


class RoundTripView(View):
    """Time from a keepalive ping to its pong, and when the pong came."""

    ms: float
    measured_at: Instant


class DeviceView(View, kw_only=True):
    """A known device, connected or not. A revoked one connects again only with a new key or token.

    *round_trip*: while it is connected to this node, from the first keepalive ping on.
    """

    id: str
    name: str
    user: str = ""
    connected: bool
    platform: str | None = None
    capabilities: tuple[str, ...] = ()  # of the live connection; empty while there is none
    created_at: Instant
    last_seen_at: Instant | None = None
    revoked_at: Instant | None = None
    grants: tuple[Grant, ...] = ()  # what it may do in addition to receiving its items
    round_trip: RoundTripView | None = None


class KeyView(View):
    """A key that a device may connect with. The device itself shows the same *fingerprint*."""

    fingerprint: str
    created_at: Instant
    last_used_at: Instant | None = None
    revoked_at: Instant | None = None


class AgreementView(View):
    """The last comparison of a device's rows with the ledger. *agreed_at* is null while it lasts.

    *sent*: rows that the device had lost; *taken*: rows that the hub did not know; *refused*: rows that the
    device rejected. *problem*: why the comparison did not finish.
    """

    cause: Literal["first", "store_older", "store_replaced", "hub_older", "asked"]
    began_at: Instant
    agreed_at: Instant | None = None
    sent: int = 0
    taken: int = 0
    refused: int = 0
    problem: str | None = None


class OwnerGrantView(View):
    """A grant of a device's owner to this hub. *tables*: those whose approved rows it may query."""

    name: str
    tables: tuple[str, ...] = ()


class ClientView(View):
    """The program of a device, as it names itself."""

    name: str
    version: str


class PresenceInterval(View):
    """Time of a device's connection; *until* is null while it lasts."""

    since: Instant
    until: Instant | None = None


class PresenceView(View):
    """Times at which a device was connected, the newest first, at most 500.

    They are those of the first agent that reads from it; without one they are not known. *is_cut*: there are
    earlier ones since then.
    """

    since: Instant
    is_known: bool
    intervals: tuple[PresenceInterval, ...] = ()
    is_cut: bool = False


class DeviceDetail(DeviceView, kw_only=True):
    """A device with its keys and tokens, the agents that read from it, and the folders that it shares.

    A token that is limited to tables or folders sees no agents, and one to folders no *roots*.
    *skew*: how its protocol differs from that of this hub, and which of the two to update.
    """

    keys: tuple[KeyView, ...] = ()
    tokens: tuple[TokenView, ...] = ()
    agents: tuple[str, ...] = ()
    agreement: AgreementView | None = None  # only of a device that reports its rows
    owner_grants: tuple[OwnerGrantView, ...] = ()  # while it is connected
    client: ClientView | None = None  # while it is connected to this node
    skew: str | None = None  # likewise
    roots: tuple[str, ...] = ()  # likewise


_GRANT_CHANGE: Final = BodyField(
    "GrantChange", "Grants to add and to remove; one that is in both is removed."
)


class DevicesResource(Resource):
    """Devices. A path names one by its name, or by its id, which also finds a revoked one."""

    name, path, within = "devices", "/v1/devices", BY_DEVICE
    tagged = ("id", "name", "revoked_at", "grants")
    errors = (
        ErrorCode.UNKNOWN_DEVICE,
        ErrorCode.NAME_TAKEN,
        ErrorCode.MANAGED_BY_FILE,
        ErrorCode.DEVICE_OFFLINE,
        ErrorCode.CALL_UNSUPPORTED,
    )

    def __init__(self, *, store: Store, roster: Roster, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock

    @tool()
    @listed("", Scope.READ, key=lambda device: (device.name, device.id), within=BY_ALL)
    async def all(self, part: ListPart = ALL) -> list[DeviceView]:
        """List the known devices by name, including revoked ones."""
        rows = await self._store.read(
            devices.list_devices,
            user_id=self.user_id,
            only=self.limited_to.devices,
            limit=part.limit,
            after=part.after,
        )
        return [self._view(row) for row in rows]

    @command(
        "devices show DEVICE_ID",
        example="hub devices show desk",
        json="device",
        help="Show a device: its credentials, its grants, and the agents that read from it.",
        facts=(
            "name as device",
            "id",
            "user",
            "connected",
            "*|last_seen as last seen",
            "round_trip|round_trip as round trip?",
            "platform",
            "skew as protocol?",
            "created_at|moment as known since",
            "revoked_at|moment as revoked?",
            "capabilities",
            "grants as granted",
            "owner_grants|owner_grants as granted by owner",
            "agents",
            "agreement|agreement as rows?",
        ),
        prints="*|credentials",
    )
    @tool()
    @route("GET", "/{device_id}", Scope.READ, is_tagged=True, within=BY_ALL)
    async def get(self, device_id: str) -> DeviceDetail:
        """Return a device with its keys and tokens, and the agents that read from it."""
        row, known_keys, known_tokens, readers, comparison = await self._store.read(
            lambda c: (
                row := self._called(c, device_id),
                stored_keys.list_keys(c, device_id=row.id),
                DEVICE_TOKENS.page(c, device_id=row.id),
                agents.list_agents(c, device_id=row.id),
                agreement.find_store(c, row.id),
            )
        )
        link = self._roster.find(row.id)
        granted = {} if link is None else link.owner_grants
        limits = self.limited_to
        return DeviceDetail.from_row(
            self._view(row),
            keys=tuple(KeyView.from_row(key, fingerprint=keys.shown(key.id)) for key in known_keys),
            tokens=tuple(map(TokenView.from_row, known_tokens)),
            agents=() if limits.tables or limits.roots else tuple(agent.name for agent in readers),
            agreement=None if comparison is None else AgreementView.from_row(comparison),
            owner_grants=tuple(
                OwnerGrantView(
                    name=name,
                    tables=tuple(t for t in tables if not limits.tables or t in (MARKED, *limits.tables)),
                )
                for name, tables in granted.items()
            ),
            client=None if link is None or link.client is None else ClientView.from_row(link.client),
            skew=None if link is None else link.skew or None,
            roots=() if link is None or limits.roots else tuple(link.roots),
        )

    @command(
        "devices presence DEVICE_ID",
        example="hub devices presence desk --since 7d",
        json="presence",
        help="List the times at which a device was connected, the newest first.",
        options={"since": "--since=14d: Times from then on."},
        rows="intervals",
        table=("since|at as connected", "until|at as until"),
        empty="not connected in that time, or no agent reads from it",
    )
    @route("GET", "/{device_id}/presence", Scope.READ, within=BY_ALL)
    async def presence(
        self,
        device_id: str,
        since: Annotated[Instant, Meta(description="14 days ago by default.")] | None = None,
    ) -> PresenceView:
        """List the times at which a device was connected, the newest first."""
        begin = since or self._clock.now() - SHOWN

        def read(c: Connection) -> tuple[int | None, list[AgentMove], bool]:
            device = self._called(c, device_id)
            first = agents.first_agent_on(c, device.id)
            if first is None:
                return None, [], False
            moves = state_history.history_page(c, first[0], axis=Axis.CONNECTIVITY, limit=MAX_MOVES)
            return first[1], moves, device.connectivity == "online"

        known_since, moves, is_online = await self._store.read(read)
        found, is_cut = [], len(moves) == MAX_MOVES
        end: int | None = None
        for move in moves:
            if move.new_value == "online":
                found.append(PresenceInterval(from_epoch_ms(move.at), _instant(end)))
            end = move.at
            if end < epoch_ms(begin):
                is_cut = False
                break
        else:
            was_online = moves[-1].old_value == "online" if moves else is_online
            if known_since is not None and was_online and not is_cut:
                found.append(PresenceInterval(from_epoch_ms(known_since), _instant(end)))
        intervals = [interval for interval in found if interval.until is None or interval.until > begin]
        return PresenceView(begin, known_since is not None, tuple(intervals), is_cut)

    @command(
        "devices rename DEVICE_ID NAME",
        example="hub devices rename desk laptop",
        json="device",
        message="{device_id} is renamed to {name}",
    )
    @route("PATCH", "/{device_id}", Scope.DEVICES, is_tagged=True)
    @audited("device.renamed")
    async def rename(
        self,
        device_id: str,
        name: Annotated[Name, BodyField("NewName", "The new name of a device.")],
        actor: Actor,
    ) -> DeviceView:
        """Rename a device. One that hub.toml names keeps its name."""
        device = await self._find(device_id)
        row = await self._store.write(devices.rename_device, device.id, name, at=self._now, actor=actor)
        log.info("device.renamed", device_id=device.id)
        return self._view(row)

    @command(
        "devices revoke DEVICE_ID",
        example="hub devices revoke desk --yes",
        json="device",
        message="{name} is revoked; to pair the same machine again: " + connect_command("{name}", anew=True),
        confirm="revoke device {device_id} with its keys and tokens?",
    )
    @route("POST", "/{device_id}/revoke", Scope.DEVICES)
    @audited("device.revoked")
    async def revoke(self, device_id: str, actor: Actor) -> DeviceView:
        """Revoke a device with its keys and tokens, and close its connection; doing it twice is no error."""
        device = await self._find(device_id)
        at = self._now

        def write(c: Connection) -> None:
            devices.revoke_device(c, device.id, at=at, actor=actor)
            item_verdicts.refuse_all(c, device.id, at)
            excerpts.drop_excerpts_of_device(c, device.id)

        await self._store.write(write)
        self._roster.end_revoked(device.id, None)
        log.info("device.revoked", device_id=device.id)
        return self._view(await self._store.read(devices.get_device, device.id))

    @route("POST", "/{device_id}/grant", Scope.DEVICES)
    @audited("device.granted")
    async def grant(
        self,
        device_id: str,
        actor: Actor,
        add: Annotated[tuple[Grant, ...], _GRANT_CHANGE] = (),
        remove: Annotated[tuple[Grant, ...], _GRANT_CHANGE] = (),
    ) -> DeviceView:
        """Change the grants of a device; doing it twice is no error.

        They apply from its next request and its next run on.
        """
        device = await self._find(device_id)
        changed = await self._store.write(
            devices.change_grants,
            device.id,
            add=add,
            remove=remove,
            at=self._now,
            actor=actor,
        )
        log.info("device.granted", device_id=device.id, grants=", ".join(changed.grants))
        return self._view(changed)

    @command(
        "devices kick DEVICE_ID",
        example="hub devices kick desk",
        json="device",
        message="the connection of {name} is closed; it reconnects by itself",
    )
    @route("POST", "/{device_id}/kick", Scope.DEVICES)
    @audited("device.kicked")
    async def kick(self, device_id: str, actor: Actor) -> DeviceView:
        """Close the connection of a device; it may connect again."""
        device = await self._find(device_id)
        if await link_of(self._store, self._roster, device.id, device.name) is None:
            raise CodedError(ErrorCode.DEVICE_OFFLINE, f"device {device.name!r} is not connected to this hub")
        self._roster.end(device.id, KICKED, CloseCode.RESTARTING)
        await self._store.write(
            audit.append, at=self._now, actor=actor, event="device.kicked", subject=device.id
        )
        log.info("device.kicked", device_id=device.id)
        return self._view(device)

    @command(
        "devices keep DEVICE_ID MACHINE",
        example="hub devices keep desk 10.0.0.7",
        json="device",
        help="Let one of two machines with the same key keep a device; the other one is refused.\n\n"
        "hub doctor names both by host, address and file. The other one gets a key of its own by"
        f" {connect_command(anew=True)} there. A new key of the kept machine ends the copy for good.",
        message="{name} stays with the machine {machine}; the other one is refused until it has its own key:"
        f" {connect_command('{name}', anew=True)}",
    )
    @route("POST", "/{device_id}/keep", Scope.DEVICES, errors=[ErrorCode.BAD_PARAMS])
    @audited("device.kept")
    async def keep(
        self,
        device_id: str,
        machine: Annotated[
            str,
            Meta(min_length=1, max_length=300),
            BodyField(
                "ChosenMachine",
                "The machine that keeps a device, by its host, its address or the end of the id of its file.",
            ),
        ],
        actor: Actor,
    ) -> DeviceView:
        """Assign a device to one of two machines with its credential; the other one is refused."""
        device = await self._find(device_id)
        await link_of(self._store, self._roster, device.id, device.name)
        copy, present = await self._store.write(
            credential_copies.keep, device.id, machine, at=self._now, actor=actor
        )
        if copy.refuses(present):
            self._roster.end_revoked(device.id, None)
        log.info("device.kept", device_id=device.id)
        return self._view(device)

    @command(
        "devices resync DEVICE_ID",
        example="hub devices resync desk",
        json="device",
        message="the rows of {name} are compared when it reconnects, which it does by itself;"
        " see the result: hub devices show {name}",
    )
    @route("POST", "/{device_id}/resync", Scope.DEVICES)
    @audited("device.resynced")
    async def resync(self, device_id: str, actor: Actor) -> DeviceView:
        """Compare the rows of a device with the ledger when it connects again.

        Rows that one of the two lost are restored. Its connection is closed, so that it connects again.
        """
        device = await self._find(device_id)
        await link_of(self._store, self._roster, device.id, device.name)
        await self._store.write(agreement.compare_again, device.id, self._now, actor=actor)
        self._roster.end(device.id, RESYNCED, CloseCode.RESTARTING)
        log.info("device.resynced", device_id=device.id)
        return self._view(device)

    async def _find(self, called: str) -> DeviceRow:
        return await self._store.read(self._called, called)

    def _called(self, c: Connection, called: str) -> DeviceRow:
        only = self.limited_to.devices
        return pairings.device_named(c, called, user_id=self.user_id, at=self._now, only=only)

    def _view(self, row: DeviceRow) -> DeviceView:
        link = self._roster.find(row.id)
        return DeviceView.from_row(
            row,
            # of a shared database, each hub answers alike
            connected=row.connectivity == "online" if self._store.is_shared else link is not None,
            capabilities=() if link is None else tuple(sorted(link.capabilities)),
            grants=tuple(Grant(grant) for grant in row.grants),
            round_trip=None if link is None else self._round_trip(link),
        )

    def _round_trip(self, link: DeviceLink) -> RoundTripView | None:
        newest = link.round_trip
        if newest is None:
            return None
        measured_at = self._clock.now() - timedelta(seconds=newest.age_s)
        return RoundTripView(round(newest.seconds * 1_000, 3), measured_at)


def _instant(at: int | None) -> datetime | None:
    return None if at is None else from_epoch_ms(at)


MAX_NAMES: Final = 2 * len(EventName)
Names = Annotated[list[str], Meta(max_length=MAX_NAMES)]  # as in ["agent.moved", "run.*"]
KeyText = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
ReceiptId = Annotated[str, Meta(min_length=1, max_length=128)]
ReceiptIds = Annotated[list[ReceiptId], Meta(max_length=MAX_IDS)]
FILE_BYTES: Final = 100  # of a file in a response, without its path


class ConnectionsResource(Resource):
    """Connections of devices. A new connection has no subscription."""

    name = "connections"

    def __init__(self, events: DeviceEvents, rotation: KeyRotation) -> None:
        self._events = events
        self._rotation = rotation

    @device(Method.SUBSCRIBE, "its own agents and runs")
    async def subscribe(self, link: Link, events: Names) -> dict[str, Any]:
        """Send events to a device until its connection ends; return the names of all that it receives."""
        return {"events": list(self._events.subscribe(link, events))}

    @device(Method.UNSUBSCRIBE, "its own agents and runs")
    async def unsubscribe(self, link: Link, events: Names) -> dict[str, Any]:
        """Send these events no longer; return the names of all that the device receives."""
        return {"events": list(self._events.unsubscribe(link, events))}

    @device(Method.KEYS_ROTATE, "its own key")
    @audited("key.rotated")
    async def rotate_key(
        self, link: Link, public_key: KeyText, signature: KeyText, proof: KeyText
    ) -> dict[str, Any]:
        """Replace the key of a device."""
        key_id = await self._rotation.rotate(link, public_key=public_key, signature=signature, proof=proof)
        return {"key_id": key_id}


class ReceiptsResource(Resource):
    """Receipts of devices about the files that they sent, as the hub has them now."""

    name = "receipts"

    def __init__(self, store: Store, clock: Clock, retention_days: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._retention_days = retention_days

    @device(Method.RECEIPTS_LIST, "its own receipts")
    async def list_receipts(
        self, link: Link, ids: ReceiptIds | None = None, since_ms: Count = 0, after: Count = 0
    ) -> dict[str, Any]:
        """List receipts by number, at most 100: those of *ids*, or the next ones *after* a number.

        Older ones than *expired_ms* were deleted.
        """
        found = await self._store.read(
            receipts.list_receipts, link.device_id, since=since_ms, after=after, ids=ids or ()
        )
        expired_ms = now_ms(self._clock) - self._retention_days() * retention.DAY_MS
        return {"receipts": msgspec.to_builtins(found), "expired_ms": max(0, expired_ms)}

    @device(Method.RECEIPTS_GET, "its own receipts")
    async def list_files(self, link: Link, ids: ReceiptIds, after: Count = 0) -> dict[str, Any]:
        """List the files of receipts by path, as far as they fit: path, bytes and SHA-256 of each.

        Args:
            after: files of the first receipt that an earlier page had.
        """
        lists: list[dict[str, Any]] = []
        room = MAX_PAGE_BYTES
        for id in ids:
            files = await self._store.read(receipts.find_files, link.device_id, id)
            page: list[SentFile] = []
            for file in files[after:]:
                if (page or lists) and room <= 0:
                    break
                room -= len(file[0].encode()) + FILE_BYTES
                page.append(file)
            is_whole = after + len(page) == len(files)
            lists.append({"id": id, "files": page, "is_whole": is_whole})
            if not is_whole:
                break
            after = 0
        return {"lists": lists}


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
        code: Annotated[str, Meta(min_length=1, max_length=32, examples=["K7QF-2M9X"]), _APPROVAL],
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
        ids="pairing_id",
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
                code_hash = pairing.hash_code(pairing.read_code(code))
            except pairing.BadCode as error:
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


class UserView(View):
    """A user. *devices* counts those that are not revoked."""

    id: str
    name: str
    devices: int
    created_at: Instant


class UserRowView(View):
    """Row of a user: its table, and its columns without secrets."""

    table: str
    row: dict[str, Any]


class UserRows(View):
    """Page of the rows of a user, table by table; *left_out*: columns with secrets."""

    rows: tuple[UserRowView, ...]
    left_out: tuple[str, ...]
    next_cursor: str | None = None


class UsersResource(Resource):
    """Users; scoped to one user, that one.

    Attributes:
        on_erased: called when a user is to be erased.
    """

    name, path = "users", "/v1/users"

    def __init__(
        self, *, store: Store, clock: Clock, ids: IdFactory, metrics: Metrics, limits: IdentityLimits
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self.limits = limits
        self.on_erased: Callable[[], None] = lambda: None

    @command(
        "users ls",
        example="hub users ls",
        json="users",
        table=("name as user", "devices", "created_at|moment as known since"),
        empty="no users",
    )
    @listed("", Scope.READ, key=lambda user: (user.name,))
    async def all(self, part: ListPart = ALL) -> list[UserView]:
        """List the users by name."""
        rows = await self._store.read(
            users.list_users, user_id=self.user_id, limit=part.limit, after=part.after
        )
        return list(map(UserView.from_row, rows))

    @command(
        "users create NAME",
        example="hub users create anna",
        json="user",
        message="user {name} is created; admit a device: hub pair approve CODE --user {name}",
    )
    @route("POST", "", Scope.SYSTEM, errors=[ErrorCode.NAME_TAKEN, ErrorCode.LIMIT_REACHED], status=201)
    @audited("user.created")
    async def create(
        self, name: Annotated[Name, BodyField("UserRequest", "A user to create.")], actor: Actor
    ) -> UserView:
        """Create a user, whose devices and agents other users do not see."""
        most = self.limits.users
        if len(await self._store.read(users.list_users)) >= most:
            self._metrics.limits_reached.labels("users").inc()
            raise CodedError(ErrorCode.LIMIT_REACHED, f"there are {most} users (users)")
        at = self._now
        made = await self._store.write(
            users.create_user, id=UserId(self._ids.fresh()), name=name, at=at, actor=actor
        )
        log.info("user.created", user_id=made.id)
        return UserView.from_row(made)

    @command(
        "users remove NAME", example="hub users remove anna", json="user", message="user {name} is removed"
    )
    @route("DELETE", "/{name}", Scope.SYSTEM, errors=[ErrorCode.UNKNOWN_USER, ErrorCode.ILLEGAL_TRANSITION])
    @audited("user.removed")
    async def remove(self, name: str, actor: Actor) -> UserView:
        """Delete a user who owns no devices, agents, tokens or runs."""
        if name == users.OWNER:
            raise CodedError(ErrorCode.ILLEGAL_TRANSITION, f"user {name!r} is made at each start, and stays")
        at = self._now
        removed = await self._store.write(users.remove_user, name, at=at, actor=actor)
        log.info("user.removed", user_id=removed.id)
        return UserView.from_row(removed)

    @route("GET", "/{name}/rows", Scope.SYSTEM, errors=[ErrorCode.UNKNOWN_USER])
    @audited("user.exported", is_act=True, is_often=True)
    async def rows(self, name: str, paging: Paging) -> UserRows:
        """Return all rows of a user, table by table, with the audit entries about the user."""
        paging.limit = min(paging.limit, MAX_LONG)
        found = await self._store.read(user_data.read_rows, name, limit=paging.limit, after=paging.after)
        page = paging.fetched(found.rows, key=lambda one: (one[0],), rest=found.rest)
        views = tuple(UserRowView(table, row) for table, row in page.items)
        return UserRows(views, user_data.LEFT_OUT, page.next_cursor)

    @route(
        "POST", "/{name}/erase", Scope.SYSTEM, errors=[ErrorCode.UNKNOWN_USER, ErrorCode.ILLEGAL_TRANSITION]
    )
    @audited("user.erased")
    async def erase(self, name: str, actor: Actor) -> UserView:
        """Delete a user with all rows; it goes on after the response, and after a restart of the hub.

        The credentials are revoked at once. Refused where others use what the user owns.
        """
        at = self._now
        erased = await self._store.write(user_data.begin_erasing, name, at=at, actor=actor)
        log.warning("user.erasing", user_id=erased.id)
        self.on_erased()
        return UserView.from_row(erased)
