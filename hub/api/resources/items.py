"""Routes of items: filtered pages with a size limit, verdicts, choices of fields, tables of devices."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from anyio import to_thread
from msgspec import Meta, Struct

from hub.api.agent_bodies import ids_called
from hub.api.binding import From
from hub.api.device import Link, fitting
from hub.api.peers import link_of
from hub.api.resource import (
    ALL,
    MAX_LONG,
    Actor,
    AddressedResource,
    Consent,
    DryRun,
    Instant,
    ListPart,
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
from hub.base.clock import Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.base.dates import changes_as_texts, dates_as_instants, dates_as_texts, day_text
from hub.base.metrics import Metrics
from hub.base.printable import NOT_QUOTED
from hub.base.roles import BY_ALL, BY_DEVICE, SESSION, Scope
from hub.links.roster import Roster
from hub.runs.delivery import ExcerptSeals, words_of
from hub.runs.repeated_items import Repeats, folded_filter, others_of, repeats_in_report
from hub.runs.row_choices import RowTitle, choices_of
from hub.runs.verdict_checks import lacking, problem_with, unsupported
from hub.runs.verdict_delivery import refused_by
from hub.settings.table_settings import unknown_tables
from hub.text.excerpt import Excerpt
from hub.text.item_text import with_clean_title
from hub.text.rows.same_things import MAX_SAME, Thing
from protocol.calls import MAX_PLACED, PlacedRow, RowPlace, place_sentence
from protocol.capabilities import CapabilityName
from protocol.causes import PLACE_CAUSES
from protocol.coordination import DEVICE, Method
from protocol.errors import CATALOGUE, VERDICT_REFUSALS, CodedError, ErrorCode, HubError
from protocol.ids import CallId, DeviceId, UserId
from protocol.items import (
    ONE_CONFIRMED,
    CountedDay,
    FoundBy,
    ItemOrder,
    Mark,
    Provenance,
    Unresolved,
    binding,
)
from protocol.tables import TABLES, DeviceTable, Filler, Kind, Tables, person_in
from storage import audit
from storage.audit import AuditEntry
from storage.devices import devices, users
from storage.runs import calls, item_proposals, item_verdicts, item_words, items, runs
from storage.runs import excerpts as runs_excerpts
from storage.runs import item_lists as runs_item_lists
from storage.runs.calls import ReportedVerdict
from storage.runs.excerpts import SealedExcerpt
from storage.runs.item_lists import ItemFacets, ItemFilter, ItemPage, ListedItem, Sought
from storage.runs.item_proposals import ProposalRow, ProposedVerdict
from storage.runs.item_verdicts import GivenVerdict, NewVerdict, VerdictRefused, VerdictRow, VerdictState
from storage.runs.item_words import terms_in
from storage.runs.items import ItemRow
from storage.store import Connection, Store


class TableField(View):
    """Field of a table that a document or the owner fills.

    *is_required*: a suggestion has it. *is_needed*: an approval needs it. *choices*: its only values, if
    it has some. *refers_to*: the table whose rows it may refer to.
    """

    name: str
    kind: Kind
    about: str = ""
    is_required: bool = False
    is_needed: bool = False
    choices: tuple[str, ...] = ()
    refers_to: str | None = None


class TableView(View):
    """Table. *title*: the field that names a row. *key*: fields that make two rows the same."""

    name: str
    about: str
    is_built_in: bool
    title: str
    key: tuple[str, ...]
    fields: tuple[TableField, ...]


class DeviceTablesResource(Resource):
    """Tables that agents may find items for."""

    name, path, within = "tables", "/v1/tables", BY_ALL

    def __init__(self, store: Store, tables: Callable[[], Tables]) -> None:
        self._store = store
        self._tables = tables

    @command(
        "tables ls",
        example="hub tables ls",
        json="tables",
        table=("name as table", "about as rows", "key as same by", "fields|field_names as fields"),
        empty="no tables",
    )
    @tool()
    @listed("", Scope.READ, key=lambda table: (table.name,))
    async def all(self, part: ListPart = ALL) -> list[TableView]:
        """List the tables that an agent may name in data_types, with their fields."""
        views = [
            TableView(
                name=str(table.name),
                about=table.about,
                is_built_in=table.name in TABLES,
                title=table.title,
                key=table.key,
                fields=fields_of(table),
            )
            for table in self._tables().values()
            if not self.limited_to.tables or table.name in self.limited_to.tables
        ]
        return part.of(views, lambda table: (table.name,))


def fields_of(table: DeviceTable) -> tuple[TableField, ...]:
    """Return the fields of a table that a document or the owner fills."""
    return tuple(
        TableField(
            name=column.name,
            kind=column.kind,
            about=column.about,
            is_required=column.required,
            is_needed=column.required_to_approve,
            choices=column.choices,
            refers_to=column.refers_to,
        )
        for column in table.fields
        if column.filler is Filler.MODEL or column.refers_to is not None
    )


_OF_OWNER: Final = (
    "it has a mark: its owner approves or changes it on the device (hub review), or grants it to this hub"
    " there: hub grants +review.remote=marked"
)
_OF_APPROVED: Final = (
    "its owner has approved it and does not let this hub change it; on the device:"
    " hub grants +review.remote=marked,approved"
)
_OF_OLDER: Final = "; a program there that does not know this grant is updated first"
MAX_DETAIL_BYTES: Final = 256 * 1024  # of the quotes and excerpts in a page
MAX_HELD_COUNTED: Final = 10_000  # of a device: what five of its agents may hold
MAX_VERDICTS: Final = 500  # in one report: as many as one write may look up
_Name = Annotated[str, Meta(max_length=200)]
Edits = Mapping[str, Mapping[str, Any]]  # values by item
Verdicts = Annotated[list[ReportedVerdict], Meta(max_length=MAX_VERDICTS)]
PlacedRows = Annotated[list[PlacedRow], Meta(max_length=MAX_PLACED)]
ItemVerdict = Literal["open", "approved", "edited", "rejected", "held"]
ItemWarning = Literal["any", "none", Mark]


class PlaceView(View):
    """Place of an approved item outside of its device's file, as the device reported it.

    *sentence*: the state in words, and why the item is not there. *link*: the http address of the item there,
    or the path of its file below a shared folder; null: the device does not tell.
    """

    name: str
    kind: str
    state: str
    since: Instant
    sentence: str
    problem: str | None = None
    link: str | None = None


class GivenVerdictView(View):
    """Newest verdict that was given at the hub. *reason* of a refusal: an error code.

    *settled_at*: when its device answered; a later ``verdict_at`` is of a newer verdict, given at the device.

    *by*: who gave it, for people: ``token phone``; *actor*: the same as the audit log has it. *proposed_by*:
    whose proposal it accepted.
    """

    verdict: GivenVerdict
    by: str
    actor: str
    state: VerdictState
    created_at: Instant
    settled_at: Instant | None = None
    reason: str | None = None
    proposed_by: str | None = None


class RepeatView(View):
    """Waiting item that is the same thing as another. *line*: of its words in the file; null: not known."""

    id: str
    path: str
    line: int | None = None


class ProposalView(View):
    """Open proposal of a verdict on the item *item*, which its owner accepts or declines.

    *by*: who proposes it, for people; *actor*: the same as the audit log has it. *why*: the reason, a text of
    the proposer. *data*: values of an approval or edit, with dates as texts. *unsupported*: those fields of
    it whose new words the quote of the item does not have.
    """

    id: str
    item: str
    verdict: ProposedVerdict
    why: str
    by: str
    actor: str
    created_at: Instant
    data: dict[str, Any] = {}
    unsupported: tuple[str, ...] = ()


class ValueChangeView(View):
    """Change of a field, with dates as texts; null: no value. A long text is cut."""

    field: str
    before: Any = None
    after: Any = None


class ItemView(View, kw_only=True):
    """Item of the ledger. *run_id*: of the run that planned its newest call.

    *answered_at*: when the device answered for the newest version; null: the device may not have it.
    *day*: when it is due or begins, as in ``ItemDetail``. *person*: who is to do it, or wrote it. *line*:
    number of the line in which its words begin. Each is null if that is not known.
    *warnings* for a reviewer: ``hub help extraction`` explains each.
    *provenance*: who wrote the text that it is from; null if that is not known, or once its owner has
    rejected it. *found_by*: a rule or a model; null likewise. *evidence*: kind of evidence by which a rule
    found it. *verdict*: ``held``: rules are unsure of it, so it stays at the hub until it is approved here or
    at its device; only a filter for it lists it.
    *given*: the newest verdict that was given at the hub; null once it is no longer kept.
    *device_refuses*: why its device would refuse a verdict from this hub, an error code; null: it would not,
    or is not connected to this node. *device_is_elsewhere*: it is connected to another node of the hub, which
    alone knows whether it would. *needs_owner*: it has a mark, and its owner has not granted that it be
    approved or changed from a hub; it can be rejected. *lacks*: fields that an approval has to fill.
    *changes*: of a row that its owner has approved, what an approval changes.
    *places*: where its device puts it outside of its file once it is approved, as files and calendars.
    *proposals*: open ones, the newest first. *also*: other waiting items that are the same thing; an
    approval that names them settles them.
    *user* and *data* with ``values`` only, *quote* with it or ``detail``, *excerpt* with ``detail``; see
    ``ItemDetail`` for *data*, and ``ItemPlace`` for *excerpt*.
    """

    id: str
    agent: str
    device: str | None = None
    run_id: str
    path: str
    table: str
    title: str
    day: str | None = None
    person: str | None = None
    line: int | None = None
    provenance: Provenance | None = None
    found_by: FoundBy | None = None
    evidence: str | None = None
    warnings: tuple[str, ...] = ()
    verdict: ItemVerdict
    version: int  # number of calls that it has led to
    row_id: str | None = None  # at its device
    created_at: Instant
    answered_at: Instant | None = None
    verdict_at: Instant | None = None
    given: GivenVerdictView | None = None
    device_refuses: Literal["not_granted", "call_unsupported"] | None = None
    device_is_elsewhere: bool = False
    needs_owner: bool = False
    lacks: tuple[str, ...] = ()
    changes: tuple[ValueChangeView, ...] = ()
    places: tuple[PlaceView, ...] = ()
    proposals: tuple[ProposalView, ...] = ()
    also: tuple[RepeatView, ...] = ()
    user: str | None = None
    quote: str | None = None
    excerpt: Excerpt | None = None
    data: dict[str, Any] | None = None


class ItemsPage(View):
    """A page of items, the newest first; *next_cursor* leads to the older ones, also from an empty page."""

    items: tuple[ItemView, ...]
    next_cursor: str | None = None


class ItemCountsView(ItemFacets, View):
    """Numbers of items by the values of each filter, as all other filters let them through.

    *total*: with all filters. *is_complete*: false if only the newest items were counted. *warnings* has
    ``any`` and ``none``, too. *devices*, *agents*, *folders*: those with the most items.
    """


class ItemPlace(Struct):
    """Position of an item's words in its source.

    *quote* are the code points from *start* to *end* of the text that had the digest *sha256*. *link* opens
    the message that they are in. *excerpt*: null once its owner has decided, as the quote of a mail is empty.
    """

    quote: str
    start: int
    end: int
    sha256: str | None = None
    link: str | None = None
    excerpt: Excerpt | None = None


class ItemDetail(ItemView, kw_only=True):
    """Item with its content.

    *data*: of the newest version, with the values that an approval or edit at the hub gave to it. What its
    owner changes at the device, as a task that is done, stays there: the verdict is ``edited`` then, and only
    a query of the device has the values (``rows.read``).
    *found*: as it was found, where they differ. *before*: what the device has, while an update is on its way.
    Dates are texts, as ``2027-02-03`` for a day without a time, or as ``2027-02-03T14:00:00Z``.
    *place*: null once its owner has rejected it. *reasons*: why fields have their days, where words of the
    text count from another day, and words that say no value: one sentence for each. *fields*: of its table;
    none of a table that is not declared any more.
    """

    data: dict[str, Any]
    found: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    place: ItemPlace | None = None
    reasons: tuple[str, ...] = ()
    fields: tuple[TableField, ...] = ()


class HeldItemView(View):
    """Item that the hub holds for a device, as the device shows it.

    *data*: with dates as texts. *values*: as the call has them that brings the item, without its flags.
    """

    id: str
    call_id: str
    table: str
    title: str
    path: str
    quote: str
    created_at: Instant
    data: dict[str, Any]
    values: dict[str, Any]
    warnings: tuple[str, ...] = ()
    evidence: str | None = None
    marks: tuple[str, ...] = ()


class HeldItemVerdict(Struct, frozen=True):
    """Verdict of a device's owner on an item that the hub holds, as it was listed with *call_id*."""

    id: _Name
    call_id: _Name
    verdict: Literal["approve", "reject", "undo"]


HeldVerdicts = Annotated[list[HeldItemVerdict], Meta(max_length=MAX_VERDICTS)]


class FieldChoices(View):
    """Rows of *table* that *field* of an item may refer to, the newest first."""

    field: str
    table: str
    is_required: bool  # to approve the item
    rows: tuple[RowTitle, ...]


class ItemChoices(View):
    """Rows that an item can be put under. *is_asked*: false if its device did not say which it has."""

    is_asked: bool
    fields: tuple[FieldChoices, ...] = ()


class NewVerdictView(View):
    """Verdict on the item *id*.

    *data*: values of an approval or edit, by field. One that refers to a row has its id, or
    ``{"title": ...}``: the device finds that row, or makes a project. A date is a text, as ``2027-02-03`` or
    ``2027-02-03T15:00Z``. *version*: as it was shown; another is a conflict. *proposal*: accepts it,
    with its *verdict* and *data*. *seen_row*: of an edit of an approved row, of ``GET /v1/tasks``; with it,
    an undo of an approval takes a changed row back. *undoes*: ``created_at`` of the verdict to take back, if
    none is newer. *confirmed*: its words were shown. *also*: ids of ``also``, settled, too.
    """

    id: _Name
    verdict: GivenVerdict
    data: dict[str, Any] = {}
    version: Annotated[int, Meta(ge=1)] | None = None
    proposal: _Name | None = None
    seen_row: Annotated[str, Meta(max_length=64)] | None = None
    undoes: Instant | None = None
    confirmed: bool = False
    also: Annotated[list[_Name], Meta(max_length=MAX_SAME)] = []

    @property
    def is_confirmed(self) -> bool:
        """True if the owner agreed to this item as it was shown."""
        return self.confirmed and self.version is not None


class NewVerdictsView(View):
    """Verdicts to give; the devices of the items decide whether they take them."""

    verdicts: Annotated[list[NewVerdictView], Meta(max_length=MAX_VERDICTS)]


class VerdictError(View):
    """Error because of which a verdict was not stored.

    *status*: the HTTP status of a request that fails for this alone; 409: a conflict, with the *version* of
    the item now.
    """

    code: str
    message: str
    status: int
    version: int | None = None


class VerdictResult(View):
    """Result of a verdict on the item *id*: its state, or an error.

    *state*: ``open`` if a verdict was undone before it was sent; null: nothing was stored. *reason* of a
    refusal: an error code; ``not_granted`` and ``call_unsupported``: the device decides itself.
    *created_at*: of the stored verdict, which an undo names.
    """

    id: str
    state: Literal["pending", "sent", "done", "refused", "open"] | None = None
    created_at: Instant | None = None
    reason: str | None = None
    error: VerdictError | None = None


class VerdictResults(View):
    """Results of verdicts, in the order of the request."""

    results: tuple[VerdictResult, ...]


Given = dict[str, GivenVerdictView]  # by item
Proposed = dict[str, tuple[ProposalView, ...]]  # by item
_Text = Annotated[str, Meta(max_length=1_000)]


class ItemListFilter(NamedTuple):
    """Filter of a request."""

    agent: _Name | None = None
    device: Annotated[str, Meta(max_length=200, description="A device's name or id.")] | None = None
    verdict: Annotated[ItemVerdict | None, Meta(description="`approved`: also changed since.")] = None
    run: _Name | None = None
    table: _Name | None = None
    warning: ItemWarning | None = None
    apart: Annotated[bool | None, Meta(description="Listed apart.")] = None
    path: (
        Annotated[_Text, Meta(description="Of a file, or its name; of a folder, if it ends in a slash.")]
        | None
    ) = None
    text: (
        Annotated[
            _Text, Meta(description="Words or quoted phrases, in a value, the quote, the author or the path.")
        ]
        | None
    ) = None
    since: Annotated[Instant, Meta(description="Found from then on.")] | None = None
    proposed: Annotated[bool | None, Meta(description="With an open proposal.")] = None
    unsure: Annotated[bool, Meta(description="Only held ones.")] = False
    each: bool = False  # also those that are one thing with another


ItemQuery = Annotated[ItemListFilter, From(ItemListFilter)]


def sought_items(
    q: Annotated[_Text, Meta(description='Words that they have; "a phrase" in quotes.')] | None = None,
    person: Annotated[_Text, Meta(description="Words of a person: assignee or author.")] | None = None,
    project: Annotated[_Text, Meta(description="Words of its project's name.")] | None = None,
    due_since: Annotated[Instant, Meta(description="Due then or later, as in 2027-03-01.")] | None = None,
    due_until: Annotated[Instant, Meta(description="Due until then, as in 2027-03-07: that day, too.")]
    | None = None,
) -> Sought | None:
    """Return what items are to have, or None where nothing is asked for.

    Raises:
        CodedError (BAD_PARAMS): a question without words, or with too many.
    """
    since, until = (None if instant is None else epoch_ms(instant) for instant in (due_since, due_until))
    terms = [] if q is None else terms_in(q)
    terms += [] if person is None else terms_in(person, "person", name="person")
    terms += [] if project is None else terms_in(project, "project", name="project")
    sought = Sought(terms=tuple(terms), due_since=since, due_until=until)
    return None if sought == Sought() else sought


Searched = Annotated[Sought | None, From(sought_items)]


_SHOWN: Final = 200  # characters of a value that stays, in a question; a longer one is cut, and says so


def _question(verdict: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    """Return the text that a person is asked to agree with, about a verdict on an item."""
    named: Mapping[str, Any] = next(
        (proposal for proposal in item["proposals"] if proposal["id"] == verdict.get("proposal")), {}
    )
    current = item["data"]
    new = {name: value for name, value in (verdict.get("data") or {}).items() if value != current.get(name)}
    quote = (item["place"] or {}).get("quote") or ""
    unknown = unsupported(new, current, quote)
    facts = {
        "table": f"{item['table']} of {item['device']}",
        "found in": item["path"],
        "marked": ", ".join(item["warnings"]),
        "proposed by": named and f"{named['by']} because {named['why']!r}",
        "with": "; ".join(f"{name}: {_cut(item, current[name])}" for name in current if name not in new),
        "from the words": quote and _cut(item, quote),
        "changed": "; ".join(
            f"{name}: {current.get(name)!r} to {value!r}{NOT_QUOTED if name in unknown else ''}"
            for name, value in new.items()
        ),
    }
    text = ", ".join(f"{name} {fact}" for name, fact in facts.items() if fact)
    return f"{verdict.get('verdict')} {item['title']!r}: {text}"


def _cut(item: Mapping[str, Any], value: object) -> str:
    """Return a value in a question, or its beginning with where to read the rest."""
    text = str(value)
    more = f"… (cut: {len(text) - _SHOWN} more characters; read them with 'hub items show {item['id']}')"
    return repr(value) if len(text) <= _SHOWN else repr(text[:_SHOWN]) + more


_CONSENT: Final = Consent("items_get", {"item_id": "id"}, _question, entries="verdicts", bound=("version",))


_RESOURCE: Final = AddressedResource(
    "hub://items/{item_id}", "items_newest", "items", "{table}: {title}", ("item", "verdict", "proposal")
)


class ItemsResource(Resource):
    """The ledger of items."""

    name, path, within = "items", "/v1/items", BY_ALL

    def __init__(
        self,
        store: Store,
        *,
        roster: Roster,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        seals: ExcerptSeals,
        reporting: Callable[[DeviceId], AbstractAsyncContextManager[None]],
        on_given: Callable[[], None] = lambda: None,
        tables: Callable[[], Tables] = lambda: TABLES,
    ) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock
        self._ids = ids
        self._seals = seals
        self._on_given = on_given
        self._reporting = reporting  # entered while a device's report is written
        self._tables = tables  # returns the declarations in use
        self._unknown_verdicts = metrics.verdicts_unknown

    @command(
        "items ls",
        example="hub items ls --table tasks --path notes/",
        json="items",
        help="List items that wait for a verdict, or others, the newest first.",
        options={
            "agent": "Only of this agent.",
            "device": "Only for this device.",
            "run": "Only those whose newest version this run found.",
            "table": "Only of this table.",
            "verdict": "--in-state=open/--all: Only in this state.",
            "warning": "Only with this warning, with any, or with none.",
            "apart": "--apart/--not-apart: Only items that agents list apart, or only others.",
            "path": "Only of this file, or of the folder if it ends in a slash.",
            "text": "Only with these words in a value, the quote, the author or the path.",
            "since": "Only those found from then on.",
            "proposed": "--proposed/--not-proposed: Only items with an open proposal, or only others.",
            "unsure": "Only less sure items, which stay at the hub until you approve them.",
            "order": "Newest first, or by day, by file, or the surest first; then with marked ones last.",
            "each": "Also each item that is the same thing as another one.",
            "limit": "--limit=50: Maximum number of items.",
        },
        rows="items",
        table=(
            "id|id as item",
            "title|short as title!",
            "day|day as due",
            "person as person?~2",
            "*|item_place as from~1",
            "*|item_state as state",
            "proposals|proposed as proposed?",
            "places|place_states as goes to?~3",
            "device as device?~4",
            "table as table~5",
            "created_at|at as found~6",
        ),
        below="also|also_in",
        empty="no matching items; --all includes those that have a verdict",
    )
    @tool()
    @route("GET", "", Scope.READ, errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.UNKNOWN_DEVICE])
    async def newest(
        self,
        asked: ItemQuery,
        sought: Searched,
        paging: Paging,
        order: ItemOrder = "newest",
        values: Annotated[bool, Meta(description="With owner, quote and values.")] = False,
        detail: Annotated[bool, Meta(description="With quote and context.")] = False,
    ) -> ItemsPage:
        """List items, the newest first, or in another order.

        By day, the 2,500 that are due first come first; by file or doubt, the surest first, the newest 2,500.
        Behind them are the others, and in each part its marked ones last. Open items that are one thing are
        listed once, the others in ``also``, or with ``each`` all. A page has fewer items than its limit where
        many are examined for few: ``next_cursor`` goes on. With ``values`` or ``detail`` it has 200 at most,
        ``detail`` 256 KiB of quotes and texts.
        A search by words or days lists items with all words in their titles first, and rejected ones only by
        ``verdict``.
        """
        if values or detail:
            paging.limit = min(paging.limit, MAX_LONG)
        if sought is not None and order != "newest":
            raise CodedError(ErrorCode.BAD_PARAMS, "query.order: a search by words or days has its own order")

        def read(
            c: Connection,
        ) -> tuple[ItemPage, dict[str, dict[str, Any]], dict[UserId, str], dict[str, SealedExcerpt], Repeats]:
            chosen, find = self._filter(c, asked), runs_item_lists.list_items
            if sought is not None:
                find = partial(runs_item_lists.find_items, sought=sought)
            elif order != "newest":
                find = partial(runs_item_lists.list_in_order, order=order)
            repeats: Repeats = {}
            page = find(c, chosen, limit=paging.limit + 1, after=paging.after)
            if any(item.row.verdict == "open" for item in page.items):
                folded, repeats = folded_filter(c, chosen, self._tables())
                if folded.without and sought is None and self._is_folded(asked):
                    page = find(c, folded, limit=paging.limit + 1, after=paging.after)
            edits = item_words.edited_values(c, [item.row for item in page.items])
            edited = [msgspec.structs.replace(item, row=_edited(item.row, edits)) for item in page.items]
            rows = [item.row for item in edited]
            owners = users.user_names(c, {row.user_id for row in rows}) if values else {}
            shown = [row.id for row in rows if detail and row.source is not None]
            sealed = runs_excerpts.find_excerpts(c, shown)
            found = msgspec.structs.replace(page, items=edited)
            return found, self.fields_of(c, edited), owners, sealed, repeats

        found, fields, owners, sealed, repeats = await self._store.read(read)
        if detail:
            paging.limit = min(paging.limit, _fitting([item.row for item in found.items], sealed))
        page = paging.fetched(found.items, key=lambda item: item.key, rest=found.rest)
        is_empty = not page.items and not page.next_cursor
        # items outlive the declaration of a table; to a limited token, a hint would name other tables
        if asked.table and is_empty and not self.limited_to.tables:
            for _, (message, hint) in unknown_tables([asked.table], self._tables()):
                raise CodedError(ErrorCode.BAD_PARAMS, f"query.table: {message}; {hint}")
        excerpts = await to_thread.run_sync(
            self._seals.open,
            {item.row.id: sealed[item.row.id] for item in page.items if item.row.id in sealed},
        )
        words = {item.row.id: words_of(item.row, excerpts.get(item.row.id)) for item in page.items}
        return ItemsPage(
            items=tuple(
                ItemView.from_row(
                    item.row,
                    **fields[item.row.id],
                    also=_also(repeats.get(item.row.id, ())),
                    user=owners.get(item.row.user_id),
                    quote=words[item.row.id][0] if values or detail else None,
                    excerpt=words[item.row.id][1],
                    data=dates_as_texts(
                        self._tables().of(item.row.target_table), item.row.data, item.timezone
                    )
                    if values
                    else None,
                )
                for item in page.items
            ),
            next_cursor=page.next_cursor,
        )

    @tool()
    @route("GET", "/counts", Scope.READ, errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.UNKNOWN_DEVICE])
    async def counts(self, asked: ItemQuery) -> ItemCountsView:
        """Count the newest 1,000 items by table, device, agent, warning and folder."""

        def read(c: Connection) -> ItemFacets:
            chosen = self._filter(c, asked)
            if self._is_folded(asked):
                chosen, _ = folded_filter(c, chosen, self._tables())
            return runs_item_lists.count_items(c, chosen)

        return ItemCountsView.from_row(await self._store.read(read))

    def _is_folded(self, asked: ItemListFilter) -> bool:
        """Return True if items that are one thing are listed and counted once."""
        is_each = asked.each or asked.unsure or asked.proposed is not None
        return asked.verdict == "open" and asked.run is None and not is_each

    def _filter(self, c: Connection, asked: ItemListFilter) -> ItemFilter:
        agent_id, device_id = ids_called(
            *(c, asked.agent, asked.device),
            user_id=self.user_id,
            at=self._now,
            only=self.limited_to.devices,
        )
        return ItemFilter(
            user_id=self.user_id,
            limits=self.limited_to,
            agent_id=agent_id,
            device_id=device_id,
            run_id=None if asked.run is None else runs.whole_run_id(c, asked.run, self.user_id),
            verdict="held" if asked.unsure else asked.verdict,
            table=asked.table,
            warning=asked.warning,
            apart=asked.apart,
            path=asked.path,
            text=asked.text,
            since=None if asked.since is None else epoch_ms(asked.since),
            proposed=asked.proposed,
        )

    @command(
        "items show ITEM_ID",
        example="hub items show 4e21a9",
        json="item",
        help="Show an item: its values, its lines in the source, and what became of it.",
        facts=(
            "id as item",
            "table",
            "*|item_state as state",
            "device",
            "agent",
            "run_id|id as run",
            "path",
            "provenance|provenance as from?",
            "found_by as found by?",
            "reasons as dated?",
            "created_at|moment as found",
            "answered_at|moment as at the device",
            "verdict_at|moment as decided?",
            "given|given_by as given here?",
            "*|proposals as proposed?",
            "places|places as goes to?",
            "data|values",
            "*|owner_changed as but?",
            "found|values as found as?",
            "before|values as before?",
            "place|quote as quote?",
            "device_refuses|refusal as refused here?",
            "*|elsewhere as refused here?",
            "needs_owner|owner_alone as refused here?",
        ),
        prints="place|source",
    )
    @tool(resource=_RESOURCE)
    @route("GET", "/{item_id}", Scope.READ, errors=[ErrorCode.UNKNOWN_ITEM])
    async def get(self, item_id: Annotated[str, Meta(max_length=200)]) -> ItemDetail:
        """Return one item with its content and its lines in the source."""

        def read(
            c: Connection,
        ) -> tuple[
            tuple[ItemRow, str, str | None, str | None],
            GivenVerdictView | None,
            Proposed,
            dict[str, SealedExcerpt],
            Edits,
            set[DeviceId],
            Repeats,
        ]:
            found = items.get_item(c, item_id, self.user_id, self.limited_to)
            id = found[0].id
            newest = _given(c, [id]).get(id)
            asker = ItemFilter(user_id=found[0].user_id, limits=self.limited_to, verdict="open")
            repeats = folded_filter(c, asker, self._tables())[1] if found[0].verdict == "open" else {}
            edits, elsewhere = item_words.edited_values(c, found[:1]), self._elsewhere(c, found[:1])
            proposals, sealed = self._proposed(c, found[:1]), runs_excerpts.find_excerpts(c, [id])
            return found, newest, proposals, sealed, edits, elsewhere, repeats

        found, newest, proposals, sealed, edits, elsewhere, repeats = await self._store.read(read)
        stored, agent, device_name, timezone = found
        row = _edited(stored, edits)
        place = None if row.source is None else msgspec.convert(row.source, ItemPlace)
        source = row.source or {}
        counted = msgspec.convert(source.get("counted", ()), list[CountedDay])
        unresolved = msgspec.convert(source.get("unresolved", ()), list[Unresolved])
        if place is not None:
            opened = await to_thread.run_sync(self._seals.open, sealed)
            words, place.excerpt = words_of(row, opened.get(row.id))
            place.quote = words or ""
        shown = self._shown(row, agent, device_name, timezone, newest, elsewhere)
        table = self._tables().of(row.target_table)
        texts = partial(dates_as_texts, table, timezone=timezone)
        changed = {
            "data": texts(row.data),
            "found": None if row is stored else texts(stored.data),
            "before": None if row.before is None else texts(row.before),
        }
        reasons = tuple([day.sentence for day in counted] + [remark.sentence for remark in unresolved])
        return ItemDetail.from_row(
            row,
            **shown,
            **changed,
            proposals=proposals.get(row.id, ()),
            also=_also(repeats.get(row.id, ())),
            place=place,
            reasons=reasons,
            fields=fields_of(table),
        )

    @tool()
    @route("GET", "/{item_id}/choices", Scope.REVIEW, errors=[ErrorCode.UNKNOWN_ITEM], within=BY_DEVICE)
    async def choices(self, item_id: Annotated[str, Meta(max_length=200)]) -> ItemChoices:
        """Return what an item can be put under, as its project or task: asked of its device."""
        row, _, device_name, _ = await self._store.read(
            items.get_item, item_id, self.user_id, self.limited_to
        )
        tables = self._tables()
        if row.target_table not in tables:
            return ItemChoices(is_asked=False)
        link = None
        if row.device_id is not None:
            link = await link_of(self._store, self._roster, row.device_id, device_name or "")
        fields: list[FieldChoices] = []
        is_asked = link is not None
        for column in tables[row.target_table].columns:
            if column.refers_to is None:
                continue
            found = None
            if link is not None:
                found = await choices_of(link, TABLES[column.refers_to], call_id=self._ids.fresh())
            is_asked = is_asked and found is not None
            fields.append(
                FieldChoices(
                    field=column.name,
                    table=column.refers_to,
                    is_required=column.required_to_approve,
                    rows=tuple(found or ()),
                )
            )
        return ItemChoices(is_asked=is_asked, fields=tuple(fields))

    @tool(consent=_CONSENT, is_destructive=True, is_repeatable=True)
    @route("POST", "/verdicts", Scope.REVIEW)
    @audited("item.judged")
    async def give(self, given: NewVerdictsView, actor: Actor, dry_run: DryRun = False) -> VerdictResults:
        """Give verdicts on items, as their owner; each is brought to the item's device.

        ``undo`` takes back the newest verdict that was given here. A verdict that is given again is the one
        that there is. While a device is connected that takes none, each is refused at once. A browser
        approves and edits items with a mark one by one, ``confirmed``.
        """
        is_browser = actor.startswith(SESSION)
        if is_browser and sum(verdict.confirmed for verdict in given.verdicts) > 1:
            raise CodedError(ErrorCode.BAD_PARAMS, ONE_CONFIRMED)
        # Verdicts of one instant are brought to devices in the order of their ids.
        fresh = sorted(self._ids.fresh() for _ in given.verdicts)
        new = [
            NewVerdict(
                id=CallId(id),
                item_id=verdict.id,
                verdict=verdict.verdict,
                data=verdict.data,
                version=verdict.version,
                proposal=verdict.proposal,
                seen_row=verdict.seen_row,
                undoes=None if verdict.undoes is None else epoch_ms(verdict.undoes),
                also=verdict.also,
            )
            for id, verdict in zip(fresh, given.verdicts, strict=True)
        ]
        results = await (self._store.read if dry_run else self._store.write)(
            item_verdicts.give,
            new,
            user_id=self.user_id,
            limits=self.limited_to,
            actor=actor,
            at=self._now,
            check=partial(
                self._problem_with_words,
                self._tables(),
                {verdict.id for verdict in given.verdicts if is_browser and not verdict.is_confirmed},
            ),
            read=partial(with_stored_values, self._tables()),
            repeats=self._others,
            is_dry=dry_run,
        )
        if not dry_run:
            self._on_given()
        pairs = zip(new, results, strict=True)
        return VerdictResults(
            results=tuple(_result(verdict.item_id, result, is_dry=dry_run) for verdict, result in pairs)
        )

    def _others(self, c: Connection, user_id: UserId) -> dict[str, list[str]]:
        """Return the ids of the other waiting items of a user that are the same thing, by each of them."""
        found = others_of(c, user_id, tables=self._tables())
        return {id: [other.id for other in others] for id, others in found.items()}

    def _problem_with_words(
        self, tables: Tables, unconfirmed: Collection[str], item: ItemRow, new: NewVerdict
    ) -> str | None:
        """Return why a verdict is wrong. Raises VerdictRefused also for a marked item among *unconfirmed*."""
        problem = self._problem_with(tables, item, new)
        is_new = item.verdict in ("open", "held") and new.verdict in ("approve", "edit") and not new.seen_row
        if problem is None and is_new and item.warnings and item.id in unconfirmed:
            why = f"has the mark {', '.join(item.warnings)}: show its words, then confirm it by itself"
            raise VerdictRefused(ErrorCode.NEEDS_CONFIRMATION, f"item {item.id!r} {why}", item.version)
        return problem

    def _problem_with(self, tables: Tables, item: ItemRow, new: NewVerdict) -> str | None:
        """Return why the values of a verdict are wrong. Raises VerdictRefused if the device takes none."""
        if (problem := problem_with(item, new, tables)) is not None:
            return problem
        link = None if item.device_id is None else self._roster.find(item.device_id)
        is_marked = binding(item.warnings) and new.verdict in ("approve", "edit")
        is_owned = new.seen_row is not None
        code = None if link is None else refused_by(link, is_marked=is_marked, is_owned=is_owned)
        if item.verdict == "held" and (new.verdict == "reject" or code is ErrorCode.CALL_UNSUPPORTED):
            return None  # the hub alone decides, or the device gets a suggestion
        if code is not None:
            of_grant = _OF_APPROVED if is_owned else _OF_OWNER if is_marked else VERDICT_REFUSALS[code]
            why = of_grant if code is ErrorCode.NOT_GRANTED else VERDICT_REFUSALS[code]
            if why in (_OF_APPROVED, _OF_OWNER) and link and not link.can(CapabilityName.ROWS_AGENDA):
                why += _OF_OLDER
            raise VerdictRefused(code, f"item {item.id!r}: {why}")
        return None

    def _proposed(self, c: Connection, rows: Sequence[ItemRow]) -> Proposed:
        """Return the open proposals on items, by item."""
        found = item_proposals.open_on(c, [row.id for row in rows])
        names = audit.actor_names(c, {proposal.actor for on in found.values() for proposal in on})
        known = {row.id: row for row in self._seals.with_quotes(c, [row for row in rows if row.id in found])}

        def view(open_proposal: ProposalRow) -> ProposalView:
            row = known[open_proposal.item_id]
            source = row.source or {}
            texts = partial(
                dates_as_texts, self._tables().of(row.target_table), timezone=source.get("timezone")
            )
            data = texts(open_proposal.data)
            unknown = unsupported(data, texts(row.data), source.get("quote") or "")
            return ProposalView.from_row(
                open_proposal, item=row.id, by=names[open_proposal.actor], data=data, unsupported=unknown
            )

        return {id: tuple(map(view, on)) for id, on in found.items()}

    def fields_of(self, c: Connection, found: Sequence[ListedItem]) -> dict[str, dict[str, Any]]:
        """Return the fields of the views of items that their rows do not have, by item."""
        rows = [item.row for item in found]
        newest, proposals = _given(c, [row.id for row in rows]), self._proposed(c, rows)
        elsewhere = self._elsewhere(c, rows)
        return {
            row.id: self._shown(row, item.agent, item.device, item.timezone, newest.get(row.id), elsewhere)
            | {"proposals": proposals.get(row.id, ())}
            for item, row in zip(found, rows, strict=True)
        }

    def _elsewhere(self, c: Connection, rows: Sequence[ItemRow]) -> set[DeviceId]:
        """Return the devices of items that are connected to another node of the hub."""
        ids = {row.device_id for row in rows if row.device_id is not None} if self._store.is_shared else set()
        away = [id for id in ids if self._roster.find(id) is None]
        return devices.connected_of(c, away) if away else set()

    def _shown(
        self,
        row: ItemRow,
        agent: str,
        device: str | None,
        timezone: str | None,
        given: GivenVerdictView | None,
        elsewhere: Collection[DeviceId],
    ) -> dict[str, Any]:
        """Return the fields of a view that have other names in the ledger, or are not in it."""
        table = self._tables().get(row.target_table)
        texts = (value for value in row.data.values() if isinstance(value, str))
        # of a table that is not declared any more, the first text
        title = next(texts, "") if table is None else str(row.data.get(table.title, ""))
        link = None if row.device_id is None else self._roster.find(row.device_id)
        named = {"path": row.unit_key, "table": row.target_table, "title": title}
        refuses = None if link is None else refused_by(link)
        verdicts = {"device_refuses": refuses, "device_is_elsewhere": row.device_id in elsewhere}
        # by its marks, only the owner of a connected device may approve it
        verdicts["needs_owner"] = (
            link is not None and binding(row.warnings) and refused_by(link, is_marked=True) is not None
        )
        lacks = () if table is None else lacking(table, row.data)
        places = tuple(map(_place_view, row.places))
        source = row.source or {}
        found = source.get("provenance")
        at_ms = None if table is None else table.day_in(row.data)
        decisive = {
            "day": None if at_ms is None else day_text(at_ms, timezone),
            "person": person_in(row.data),
            "line": source.get("line"),
        }
        known = {
            "provenance": None if found is None else msgspec.convert(found, Provenance),
            "found_by": source.get("found_by"),
        }
        shown = {"agent": agent, "device": device, "given": given, "lacks": lacks, "places": places}
        changes = {"changes": _changes(self._tables().of(row.target_table), row, timezone)}
        return named | decisive | known | shown | verdicts | changes

    @device(Method.REVIEW_REPORT, "its own items")
    @audited("item.judged")
    async def report(self, link: Link, verdicts: Verdicts) -> dict[str, Any]:
        """Store what the owner of a device decided about items that it was sent."""
        last = list({verdict.call_id: verdict for verdict in verdicts}.values())
        at = self._now

        def write(c: Connection) -> dict[CallId, bool]:
            calls.check_newest(c, link.device_id, link.epoch)  # over a newer one, its owner may say another
            # of a row that waits again, the device takes what is on its way
            decided = [verdict for verdict in last if verdict.verdict != "open"]
            item_verdicts.overtake(c, link.device_id, decided, at)
            repeats = repeats_in_report(c, link.device_id, last, self._tables())
            known = calls.record_verdicts(c, link.device_id, last, at, repeats=repeats)
            # a device whose file keeps no confirmation reports the same ones again and again
            if new := [str(verdict.verdict) for verdict in last if known.get(verdict.call_id)]:
                owner, counts = f"{DEVICE}{link.device_id}", Counter(new)
                entry = AuditEntry(
                    at=at, actor=owner, event="item.judged", subject=link.device_id, detail=counts
                )
                audit.append_entry(c, entry)
            return known

        async with self._reporting(link.device_id):
            known = len(await self._store.write(write))
        unknown = len(last) - known
        self._unknown_verdicts.inc(unknown)
        return {"known": known, "unknown": unknown}

    @device(Method.PROPOSALS_LIST, "its own items")
    async def proposed_at(self, link: Link) -> dict[str, Any]:
        """List the open proposals on the newest items of a device, each with the id of its row there."""

        def read(c: Connection) -> tuple[list[ItemRow], Proposed]:
            rows = item_verdicts.proposed_at(c, link.device_id, MAX_LONG)
            return rows, self._proposed(c, rows)

        rows, found = await self._store.read(read)
        listed = [
            {"row_id": row.row_id, **msgspec.to_builtins(field)} for row in rows for field in found[row.id]
        ]
        return {"proposals": listed[: fitting(listed)]}

    @device(Method.HELD_LIST, "its own items")
    async def held_at(self, link: Link) -> dict[str, Any]:
        """List the newest items of a device that the hub holds, with what a reviewer needs of each."""
        chosen = ItemFilter(device_id=link.device_id, user_id=link.user_id, verdict="held")

        def read(c: Connection) -> tuple[list[ListedItem], int]:
            page = runs_item_lists.list_items(c, chosen, limit=MAX_LONG)
            rows = self._seals.with_quotes(c, [item.row for item in page.items])
            found = [
                msgspec.structs.replace(item, row=row) for item, row in zip(page.items, rows, strict=True)
            ]
            return found, runs_item_lists.count_items(c, chosen, most=MAX_HELD_COUNTED).total

        found, total = await self._store.read(read)
        views = [msgspec.to_builtins(self._held_view(found_item)) for found_item in found]
        return {"items": views[: fitting(views)], "total": total}

    def _held_view(self, found_item: ListedItem) -> HeldItemView:
        row, table = found_item.row, self._tables().of(found_item.row.target_table)
        return HeldItemView.from_row(
            row,
            table=row.target_table,
            title=str(row.data.get(table.title, "")),
            path=row.unit_key,
            quote=(row.source or {}).get("quote", ""),
            marks=tuple((row.source or {}).get("marks", ())),
            data=dates_as_texts(table, row.data, found_item.timezone),
            values=row.data,
        )

    @device(Method.HELD_JUDGE, "its own items")
    @audited("item.judged")
    async def judge_held(self, link: Link, verdicts: HeldVerdicts) -> dict[str, Any]:
        """Store what the owner of a device decided there about items that the hub holds."""
        fresh = sorted(self._ids.fresh() for _ in verdicts)
        listed = {id: verdict.call_id for id, verdict in zip(fresh, verdicts, strict=True)}

        def read(item: ItemRow, new: NewVerdict) -> NewVerdict:
            if item.device_id != link.device_id:
                raise CodedError(ErrorCode.UNKNOWN_ITEM, f"there is no item {item.id!r}")
            is_held = item.verdict == "held" or (new.verdict == "undo" and item.row_id is None)
            if item.call_id != listed[new.id] or not is_held:
                raise VerdictRefused(
                    ErrorCode.CHANGED_MEANWHILE, "it has changed since; list the items again"
                )
            return new

        results = await self._store.write(
            item_verdicts.give,
            [
                NewVerdict(id=CallId(id), item_id=verdict.id, verdict=verdict.verdict)
                for id, verdict in zip(fresh, verdicts, strict=True)
            ],
            user_id=link.user_id,
            actor=f"{DEVICE}{link.device_id}",
            at=self._now,
            check=lambda item, new: problem_with(item, new, self._tables()),
            read=read,
        )
        self._on_given()
        return {"results": [str(result) if isinstance(result, HubError) else None for result in results]}

    @device(Method.PLACES_REPORT, "its own items")
    @audited("item.placed", is_often=True)
    async def place(self, link: Link, rows: PlacedRows) -> dict[str, Any]:
        """Store where a device has put approved items outside of its file."""
        found = {row.row_id: row.places for row in rows}

        def write(c: Connection) -> int:
            calls.check_newest(c, link.device_id, link.epoch)
            return items.note_places(c, link.device_id, found)

        async with self._reporting(link.device_id):
            known = await self._store.write(write)
        return {"known": known, "unknown": len(found) - known}


def _changes(table: DeviceTable, row: ItemRow, timezone: str | None) -> tuple[ValueChangeView, ...]:
    """Return what a change that waits for the owner of a row would change of it."""
    if row.verdict != "open" or row.before is None or row.answered_at is None:
        return ()
    return tuple(
        ValueChangeView(**change) for change in changes_as_texts(table, row.before, row.data, timezone)
    )


def _also(others: Sequence[Thing]) -> tuple[RepeatView, ...]:
    return tuple(RepeatView(id=other.id, path=other.path, line=other.line) for other in others)


def _fitting(rows: Sequence[ItemRow], sealed: Mapping[str, SealedExcerpt]) -> int:
    """Return how many items, at least one, have quotes and excerpts that fit into a page."""
    size = 0
    for number, row in enumerate(rows):
        quote = str((row.source or {}).get("quote", ""))
        size += len(quote.encode()) + (len(sealed[row.id].sealed) if row.id in sealed else 0)
        if size > MAX_DETAIL_BYTES:
            return max(1, number)
    return max(1, len(rows))


def _place_view(place: RowPlace) -> PlaceView:
    cause, why = PLACE_CAUSES.get(place.problem or ""), place.problem or ""
    return PlaceView(
        name=place.name,
        kind=place.kind,
        state=place.state,
        since=from_epoch_ms(place.at_ms),
        sentence=place_sentence(place.name, place.state, why if cause is None else cause.sentence),
        problem=place.problem,
        link=place.link,
    )


def _given(c: Connection, item_ids: Sequence[str]) -> Given:
    """Return the newest verdict that was given on each of these items, if any, and by whom."""
    newest = item_verdicts.newest_verdicts(c, item_ids)
    named = (actor for row in newest.values() for actor in (row.actor, row.proposed_by))
    names = audit.actor_names(c, {actor for actor in named if actor is not None})
    return {
        id: GivenVerdictView.from_row(row, by=names[row.actor], proposed_by=names.get(row.proposed_by or ""))
        for id, row in newest.items()
    }


def with_stored_values(tables: Tables, item: ItemRow, new: NewVerdict) -> NewVerdict:
    """Return a verdict with dates as instants and a title of one line.

    Raises:
        VerdictRefused: a value is no date.
    """
    table = tables.of(item.target_table)
    try:
        data = with_clean_title(
            table, dates_as_instants(table, new.data, (item.source or {}).get("timezone"))
        )
    except ValueError as error:
        raise VerdictRefused(ErrorCode.BAD_RECORD, str(error)) from None
    return msgspec.structs.replace(new, data=data)


def _edited(row: ItemRow, edits: Edits) -> ItemRow:
    """Return an item with the values that were given to it; of a row that they name, its title."""
    if (given := edits.get(row.id)) is None:
        return row
    values = {name: value["title"] if isinstance(value, dict) else value for name, value in given.items()}
    data = {name: value for name, value in (row.data | values).items() if value is not None}
    return msgspec.structs.replace(row, data=data)


def _result(item_id: str, given: VerdictRow | HubError | None, *, is_dry: bool) -> VerdictResult:
    if isinstance(given, HubError):
        return VerdictResult(id=item_id, error=error_of(given))
    if given is None or is_dry:
        return VerdictResult(id=item_id, state=None if is_dry else "open")
    return VerdictResult.from_row(given, id=item_id)


def error_of(error: HubError) -> VerdictError:
    """Return an error as the result of a verdict has it."""
    version = getattr(error, "version", None)
    status = CATALOGUE[error.code].http_status if version is None else HTTPStatus.CONFLICT
    return VerdictError(code=error.code, message=str(error), status=status, version=version)
