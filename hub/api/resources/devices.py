"""Routes of devices: list, details, presence, grants, rename, kick and revoke.

With a revoked device the excerpts of its items are deleted.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Final, Literal

from msgspec import Meta

from hub.api.binding import BodyField
from hub.api.peers import link_of
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
    tool,
)
from hub.api.resources.tokens import TokenView
from hub.base.clock import Clock, epoch_ms, from_epoch_ms
from hub.base.log import Channel
from hub.base.roles import BY_ALL, BY_DEVICE, Scope
from hub.links.device_link import DeviceLink
from hub.links.roster import Roster
from protocol import keys
from protocol.agent_status import Axis
from protocol.causes import describe_cause, without_folders
from protocol.errors import CloseCode, CodedError, ErrorCode, connect_command
from protocol.grants import Grant
from protocol.handshake import Goodbye
from protocol.ids import DeviceId
from protocol.owner_grants import APPROVED, MARKED
from storage import audit
from storage.agents import agents
from storage.agents import state_history as agents_state_history
from storage.agents.state_history import AgentMove, why_left
from storage.devices import credential_copies, devices, pairings
from storage.devices import keys as devices_keys
from storage.devices.devices import DeviceRow
from storage.devices.tokens import DEVICE_TOKENS
from storage.runs import agreement, item_verdicts
from storage.runs import excerpts as runs_excerpts
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

    *round_trip*: while it is connected to this node, from the first keepalive ping on. A token that is
    limited to folders sees no *roots*. *because*: why it is away or shares nothing, and what mends that, in a
    list of devices and in a device by itself.
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
    roots: tuple[str, ...] = ()  # folders that it shares; while it is connected to this node
    because: str | None = None


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
    """A device with its keys and tokens, and the agents that read from it.

    A token that is limited to tables or folders sees no agents.
    *skew*: how its protocol differs from that of this hub, and which of the two to update.
    """

    keys: tuple[KeyView, ...] = ()
    tokens: tuple[TokenView, ...] = ()
    agents: tuple[str, ...] = ()
    agreement: AgreementView | None = None  # only of a device that reports its rows
    owner_grants: tuple[OwnerGrantView, ...] = ()  # while it is connected
    client: ClientView | None = None  # while it is connected to this node
    skew: str | None = None  # likewise


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

        def read(c: Connection) -> tuple[list[DeviceRow], dict[DeviceId, str | None]]:
            rows = devices.list_devices(
                c,
                user_id=self.user_id,
                only=self.limited_to.devices,
                limit=part.limit,
                after=part.after,
            )
            return rows, why_left(c, [row.id for row in rows])

        rows, left = await self._store.read(read)
        return [self._view(row, left) for row in rows]

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
            "because as because?",
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
        row, known_keys, known_tokens, readers, comparison, left = await self._store.read(
            lambda c: (
                row := self._called(c, device_id),
                devices_keys.list_keys(c, device_id=row.id),
                DEVICE_TOKENS.page(c, device_id=row.id),
                agents.list_agents(c, device_id=row.id),
                agreement.find_store(c, row.id),
                why_left(c, [row.id]),
            )
        )
        link = self._roster.find(row.id)
        granted = {} if link is None else link.owner_grants
        limits = self.limited_to
        key_views = [KeyView.from_row(key, fingerprint=keys.shown(key.id)) for key in known_keys]
        # Agents may read outside of the tables and folders that a caller is limited to.
        agent_names = [] if limits.tables or limits.roots else [agent.name for agent in readers]
        grants = []
        for name, tables in granted.items():
            shown = (MARKED, APPROVED, *limits.tables)
            seen = [table for table in tables if not limits.tables or table in shown]
            grants.append(OwnerGrantView(name=name, tables=tuple(seen)))
        client = None if link is None or link.client is None else ClientView.from_row(link.client)
        return DeviceDetail.from_row(
            self._view(row, left),
            keys=tuple(key_views),
            tokens=tuple(map(TokenView.from_row, known_tokens)),
            agents=tuple(agent_names),
            agreement=None if comparison is None else AgreementView.from_row(comparison),
            owner_grants=tuple(grants),
            client=client,
            skew=None if link is None else link.skew or None,
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
            moves = agents_state_history.history_page(c, first[0], axis=Axis.CONNECTIVITY, limit=MAX_MOVES)
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
            runs_excerpts.drop_excerpts_of_device(c, device.id)

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

    def _view(self, row: DeviceRow, left: Mapping[DeviceId, str | None] = MappingProxyType({})) -> DeviceView:
        """Return the view of a device. *left*: why devices went away, as their histories say."""
        link = self._roster.find(row.id)
        is_revoked = row.revoked_at is not None
        missing = () if link is None or self.limited_to.roots else link.missing
        why = without_folders(missing) if missing else None if link else left.get(row.id)
        return DeviceView.from_row(
            row,
            # of a shared database, each hub answers alike
            connected=row.connectivity == "online" if self._store.is_shared else link is not None,
            capabilities=() if link is None else tuple(sorted(link.capabilities)),
            grants=tuple(Grant(grant) for grant in row.grants),
            round_trip=None if link is None else self._round_trip(link),
            roots=() if link is None or self.limited_to.roots else tuple(link.roots),
            because=None if is_revoked else describe_cause(why, row.name),
        )

    def _round_trip(self, link: DeviceLink) -> RoundTripView | None:
        newest = link.round_trip
        if newest is None:
            return None
        measured_at = self._clock.now() - timedelta(seconds=newest.age_s)
        return RoundTripView(round(newest.seconds * 1_000, 3), measured_at)


def _instant(at: int | None) -> datetime | None:
    return None if at is None else from_epoch_ms(at)
