"""Route of approved tasks and events: as they are at their devices now, or as the hub knows them."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import anyio
import msgspec
from msgspec import Meta

from hub.api.resource import Caller, Instant, Paging, Resource, View, command, route
from hub.api.resources.items import ItemsResource, ItemView
from hub.base.clock import IdFactory, epoch_ms
from hub.base.dates import dates_as_texts, day_text
from hub.base.roles import BY_ALL, OPERATOR, Principal, Scope
from hub.links.roster import Roster
from hub.runs.verdict_delivery import refused_by
from hub.text.rows.marks import repetition_in
from protocol.agenda import (
    AGENDA,
    NO_DAY,
    AgendaPage,
    AgendaQuery,
    AgendaRow,
    is_agenda_row,
    page_behind,
    seen_row,
)
from protocol.capabilities import CapabilityName
from protocol.errors import DeliveryError
from protocol.items import binding, has_each, sought_in
from protocol.owner_grants import OwnerGrant
from protocol.tables import TABLES, person_in
from protocol.tool_calls import Action, ToolCall
from storage.devices import devices, users
from storage.devices.browser_sessions import session_of
from storage.devices.credential_copies import origin_of
from storage.devices.devices import DeviceRow
from storage.kernel.columns import Key, foreign_key
from storage.runs import item_lists, item_verdicts, item_words
from storage.runs.item_lists import ItemFilter, ListedItem
from storage.store import Connection, Store

MAX_DEVICES: Final = 20  # that one request asks, those seen last
MAX_ROWS: Final = 100  # of an answer
MAX_KNOWN: Final = 500  # newest items of each kind of a device that does not answer
DEADLINE_MS: Final = 5_000
_Refuses: TypeAlias = Literal["not_granted", "call_unsupported"]
RowsState: TypeAlias = Literal["present", "away", "elsewhere", "unanswered", "not_owner", _Refuses]


class ApprovedItemView(ItemView, kw_only=True):
    """Approved task or event. *data*: its values with a project by its name, and those that are on their way.

    *id*: empty for a row that its owner wrote, which is changed at its device alone. *is_present*: as it is
    at its device now; else as the hub knows it. *seen_row*: repeated in a verdict that edits it. *repeats*:
    the mark by which its list repeats it; the hub makes no next one.
    """

    seen_row: str
    is_present: bool
    repeats: str = ""


class TasksOfDevice(View):
    """Device of the list. *state*: ``present``, or why its rows are shown as the hub knows them.

    ``not_owner``: only the page of its owner has them. ``not_granted``: it grants that page no ``rows.read``
    of both tables. *last_seen_at*: when it was there.
    """

    name: str
    state: RowsState
    last_seen_at: Instant | None = None


class TasksPage(View):
    """A page of approved tasks and events, and the devices that were asked for them."""

    tasks: tuple[ApprovedItemView, ...]
    devices: tuple[TasksOfDevice, ...]
    next_cursor: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    """Page of a device; without one, *state* says why."""

    device: DeviceRow
    state: RowsState
    page: AgendaPage = AgendaPage(rows=[])


class TasksResource(Resource):
    """Approved tasks and events."""

    name, path, within = "tasks", "/v1/tasks", BY_ALL

    def __init__(self, store: Store, ledger: ItemsResource, *, roster: Roster, ids: IdFactory) -> None:
        self._store = store
        self._ledger = ledger
        self._roster = roster
        self._ids = ids

    @command(
        "tasks ls",
        example="hub tasks ls --text rent",
        json="tasks",
        help="List approved tasks and events by their days; or done ones, the newest first.",
        options={
            "begin": "--begin=today: Events before then are done.",
            "done": "Done ones, the newest first.",
            "text": "Only with these words in the title.",
            "limit": "--limit=50: Maximum number of tasks and events.",
        },
        rows="tasks",
        table=(
            "id|id as task",
            "title|short as title!",
            "day|day as due",
            "person as person?~2",
            "*|item_place as from~1",
            "given|on_its_way as change?",
            "places|place_states as goes to?~3",
            "device as device?~4",
            "table as table~5",
        ),
        empty="no such task or event is approved; --done lists those that are done",
    )
    @route("GET", "", Scope.READ)
    async def approved(
        self,
        caller: Caller,
        paging: Paging,
        begin: Annotated[Instant, Meta(description="When today begins: events before it are done.")],
        done: Annotated[bool, Meta(description="Done ones, the newest first.")] = False,
        text: Annotated[str, Meta(max_length=200, description="In the title.")] = "",
    ) -> TasksPage:
        """List approved tasks and events: open ones by their days, then those without a day; or done ones.

        The page of a device's owner has their present values, from connected devices that grant ``rows.read``
        of both tables; so has the only user of a hub, over its Unix socket. Of other devices, and for other
        callers, there are the values that the hub knows.
        """
        match paging.after or (-NO_DAY, ""):
            case (int(place), str(row_id)):
                asked = AgendaQuery(
                    begin=epoch_ms(begin), is_done=done, text=text, place=place, row_id=row_id
                )
            case _:
                raise foreign_key()
        paging.limit = min(paging.limit, MAX_ROWS)
        visible, owner = await self._store.read(self._devices_of, caller)
        answers: list[_Answer] = []

        async def ask(device: DeviceRow) -> None:
            is_owner = device.user_id == owner
            answers.append(await self._ask(device, asked, paging.limit, is_owner=is_owner))

        async with anyio.create_task_group() as requests:
            for device in visible:
                requests.start_soon(ask, device)
        views, rest = await self._store.read(self._views, answers, asked)
        page = paging.fetched(views, key=lambda keyed: keyed[0], rest=rest)
        return TasksPage(
            tasks=tuple(view for _, view in page.items),
            devices=tuple(TasksOfDevice.from_row(answer.device, state=answer.state) for answer in answers),
            next_cursor=page.next_cursor,
        )

    def _devices_of(self, c: Connection, caller: Principal) -> tuple[list[DeviceRow], str | None]:
        """Return the visible devices, and their owner who asks: by a page, or as the only user, here."""
        session = session_of(c, caller.actor)
        listed = devices.list_devices(c, user_id=self.user_id, only=self.limited_to.devices)
        listed.sort(key=lambda row: -(row.last_seen_at or 0))
        is_here = caller.actor.startswith(OPERATOR) and self.user_id is None
        is_only = is_here and len(users.list_users(c, limit=2)) == 1  # who may open the page of the owner
        owned = None if session is None else session.device_id
        owners = [row.user_id for row in listed if is_only or row.id == owned]
        return [row for row in listed if row.revoked_at is None][:MAX_DEVICES], next(iter(owners), None)

    async def _ask(self, device: DeviceRow, asked: AgendaQuery, limit: int, *, is_owner: bool) -> _Answer:
        """Ask a device for a page of its rows."""
        link = self._roster.find(device.id)
        if link is None:
            return _Answer(device, "elsewhere" if device.connectivity == "online" else "away")
        if not link.can(CapabilityName.ROWS_AGENDA):
            return _Answer(device, "call_unsupported")
        if not is_owner:
            return _Answer(device, "not_owner")
        if not {*link.owner_grants.get(OwnerGrant.ROWS_READ, ())} >= AGENDA:
            return _Answer(device, "not_granted")
        frame = ToolCall(
            id=self._ids.fresh(),
            action=Action.ROWS_AGENDA,
            data=msgspec.to_builtins(asked),
            limit=limit,
            deadline_ms=DEADLINE_MS,
        )
        try:
            answer = await link.call(frame)
            page = msgspec.convert(answer.result, AgendaPage)
        except (DeliveryError, msgspec.ValidationError):
            return _Answer(device, "unanswered")
        if not all(is_agenda_row(row) for row in page.rows):
            return _Answer(device, "unanswered")
        return _Answer(device, "present", page_behind(page, asked, limit))

    def _views(
        self, c: Connection, answers: Sequence[_Answer], asked: AgendaQuery
    ) -> tuple[list[tuple[Key, ApprovedItemView]], Key | None]:
        """Return the views of all devices in one order, and the key of the last one, if others follow."""
        views: list[tuple[Key, ApprovedItemView]] = []
        ends: list[Key] = []  # of devices with more rows
        for device, state, page in map(msgspec.structs.astuple, answers):
            listed = item_lists.items_of_rows(c, device.id, [row.row_id for row in page.rows])
            entries = [(row, listed.get(row.row_id)) for row in page.rows]
            entries += self._known(c, device, asked) if state != "present" else []
            ends += [(row.place, row.row_id) for row in page.rows[-1:] if page.more]
            fields = self._ledger.fields_of(c, [item for _, item in entries if item is not None])
            newest = item_verdicts.newest_verdicts(c, list(fields))
            link = self._roster.find(device.id)
            for row, item in entries:
                given = newest.get(item.row.id) if item else None
                data = row.data | (given.data if given and given.is_open and given.seen_row else {})
                table, is_marked = TABLES[row.table], item is not None and binding(item.row.warnings)
                at_ms, timezone = table.day_in(data), item.timezone if item else None
                own: dict[str, Any] = {
                    "title": str(data.get(table.title, "")),
                    "day": None if at_ms is None else day_text(at_ms, timezone),
                    "person": person_in(data),
                    "seen_row": row.seen_row,
                    "is_present": state == "present",
                    "device_refuses": refused_by(link, is_marked=is_marked, is_owned=True) if link else None,
                    "data": dates_as_texts(table, _with_names(data), timezone),
                }
                if item is None:
                    own |= {"agent": "", "run_id": "", "path": "", "table": row.table, "verdict": "approved"}
                    own |= {"id": "", "version": 0, "device": device.name, "row_id": row.row_id}
                    view = ApprovedItemView.from_row(**own, created_at=data["updatedAt"])
                else:
                    own["repeats"] = repetition_in((item.row.source or {}).get("marks", ()))
                    view = ApprovedItemView.from_row(item.row, **(fields[item.row.id] | own))
                views.append(((row.place, row.row_id), view))
        views = [keyed for keyed in views if not ends or keyed[0] <= min(ends)]
        return sorted(views, key=lambda keyed: keyed[0]), min(ends, default=None)

    def _known(
        self, c: Connection, device: DeviceRow, asked: AgendaQuery
    ) -> list[tuple[AgendaRow, ListedItem | None]]:
        """Return the newest approved items of a device, with the values that the hub knows."""
        chosen = ItemFilter(
            user_id=self.user_id, limits=self.limited_to, device_id=device.id, verdict="approved"
        )
        of_kind = [msgspec.structs.replace(chosen, table=table) for table in sorted(AGENDA)]
        found = [item for kind in of_kind for item in item_lists.list_items(c, kind, limit=MAX_KNOWN).items]
        edits = item_words.edited_values(c, [item.row for item in found])
        is_sha256 = origin_of(c, device.id).takes_sha256
        entries: list[tuple[AgendaRow, ListedItem | None]] = []
        for item in found:
            row, table = item.row, TABLES[item.row.target_table]
            data = _with_names(row.data | edits.get(row.id, {}) | {"updatedAt": row.verdict_at})
            day = table.day_in(data)
            is_past = row.target_table == "timelines" and day is not None and day < asked.begin
            is_done = is_past or data.get("status") == "done"
            at = day if day is not None and (is_past or not is_done) else row.verdict_at or 0
            place = -at if is_done else NO_DAY if day is None else day
            entry = AgendaRow(
                table=table.name,
                row_id=row.row_id or row.id,
                place=place,
                data=data,
                seen_row=seen_row(table, data, is_sha256=is_sha256),
            )
            is_behind = (entry.place, entry.row_id) > (asked.place, asked.row_id)
            has_text = has_each(sought_in(asked.text), [str(data.get(table.title, ""))])
            if is_done == asked.is_done and is_behind and has_text:
                entries.append((entry, item))
        return entries


def _with_names(data: dict[str, Any]) -> dict[str, Any]:
    """Return values with the title of a row in place of the row."""
    return {name: value["title"] if isinstance(value, dict) else value for name, value in data.items()}
