"""Previews of an agent: extraction without delivery, and limits of a preview.

A preview reads and extracts as a run does, and compares the items with the ledger. It has no row, moves no
cursor, settles no unit and sends no call to the device, so its end leaves nothing behind. Its questions are
paid by the budgets of the agent and of the hub. Their answers are stored in the agent's journal, where the
run that follows finds them. One hub makes ``MAX_PREVIEWS`` at once, and refuses another as busy.

Items of one document are compared with those that the preview found in others before, as the plans of a run
are. So an item that two files have is added once.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

import anyio
import anyio.to_thread
import msgspec

from hub.agents.locks import LockService
from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.dates import dates_as_texts
from hub.base.log import Channel
from hub.base.toml.limits import NANOS, Limits
from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.items import Extraction, ExtractionOptions
from hub.extraction.model import ExtractionError, ModelError, Models
from hub.links.device_link import DeviceLink
from hub.runs.asking import Asking, NoModel, RunAsking
from hub.runs.attempt_ending import gravest, wordless
from hub.runs.budget import BudgetReached
from hub.runs.delivery import can_update, missing_of
from hub.runs.found_items import MAX_VALUE_CHARACTERS, found_items
from hub.runs.mailbox_visit import MailboxVisits
from hub.runs.matching import decide
from hub.runs.owner_opinions import tiers_for
from hub.runs.rows_read_back import OwnRows
from hub.runs.run_order import RunOrder, set_up, settings_of
from hub.runs.shown_rows import run_extraction_config
from hub.runs.sources import (
    DeviceSource,
    Ledger,
    SeenUnits,
    UnreadUnit,
    plain_path,
)
from protocol.errors import CallUnsupported, CodedError, DeviceOffline, ErrorCode, HubError, LinkLost
from protocol.frame import Record
from protocol.grants import Grant
from protocol.ids import AgentId, RunId
from protocol.items import Provenance
from storage.agents.agents import AgentRow, is_worker
from storage.agents.locks import Holder
from storage.devices import devices
from storage.kernel.database import StorageError
from storage.runs.items import (
    DAY_MS,
    Decision,
    Finder,
    FoundItem,
    ItemRow,
    KnownItem,
    KnownItems,
    Verdict,
    known_items,
)
from storage.runs.plans import ItemCaps, capped
from storage.runs.run_devices import place_of
from storage.runs.run_moves import CannotRun, LivesAtGateway
from storage.store import Store

log = Channel(__name__)

Change = Literal["added", "removed", "changed"]

MAX_PREVIEWS: Final = 2  # at once in one hub: each reads documents as a run does
UNITS_IN_FLIGHT: Final = 8
MAX_PASSED_ON: Final = 2_000  # items and errors that are passed on; the numbers are of all
STEP_ITEMS: Final = 100  # in one step
STEP_S: Final = 0.2  # between two steps
NEWEST_MESSAGES: Final = 50  # of a mailbox, if no number is given


class PreviewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a preview that differ from the agent's; None: as the agent has them.

    *newest*: read only this number of documents, those that were changed last.
    """

    prompt: str | None = None
    data_types: tuple[str, ...] | None = None
    model: str | None = None
    newest: int | None = None

    def applied_to(self, agent: AgentRow) -> AgentRow:
        """Return the agent with the requested settings. Raises CannotRun, LivesAtGateway."""
        if agent.gateway is not None:
            raise LivesAtGateway(agent)
        changes: dict[str, Any] = {}
        if self.prompt is not None:
            changes["prompt"] = self.prompt
        if self.data_types is not None:
            changes["data_types"] = tuple(self.data_types)
        changed = msgspec.structs.replace(agent, **changes)
        reads_nothing = is_worker(changed.paths, changed.mailbox, changed.data_types)
        if missing := ("paths", "data_types") if reads_nothing else changed.missing_for_runs:
            raise CannotRun(changed, missing)
        return changed


class PreviewItem(msgspec.Struct, frozen=True, kw_only=True):
    """Item that a run would add or change, or that it would not find any more.

    Attributes:
        before: values of a changed item in the ledger.
        quote: words of the document that it is from; empty if the ledger has none.
        item_id: its id in the ledger, if it is known.
        verdict: of its owner, if it is known.
    """

    change: Change
    table: str
    title: str
    path: str
    data: Record
    before: Record | None = None
    quote: str = ""
    start: int | None = None
    link: str | None = None
    warnings: tuple[str, ...] = ()
    provenance: Provenance | None = None
    item_id: str | None = None
    verdict: Verdict | None = None


class PreviewProblem(msgspec.Struct, frozen=True):
    """Document that could not be read as a whole, or an error of the preview; then *path* is empty."""

    path: str
    code: str
    message: str


class PreviewStep(msgspec.Struct, frozen=True, kw_only=True):
    """State of a preview, and the items found since the step before. The last step is done.

    Attributes:
        listed: number of documents that are there, if they are listed before they are read.
        settled: number of those that a run with these settings has read, and would not read again.
        to_read, read: number of documents that are read, if known, and of those that were read so far.
        known: number of items found that the ledger has as they are.
        unsure: number of items that the hub would hold until their owner approves them.
        left_out: number of new items beyond the limits of a run.
        usd: 0 where a model has no price.
        answered_before: number of questions that the journal answered.
        unlisted: number of items and problems that are counted, but not passed on.
        reads_prompt: True if a model follows the prompt; rules and the small model do not.
        failure: why the preview ended before all documents were read.
    """

    seq: int
    listed: int | None
    settled: int
    to_read: int | None
    read: int
    added: int
    removed: int
    changed: int
    known: int
    unsure: int
    left_out: int
    model_requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    answered_before: int
    unlisted: int
    reads_prompt: bool
    items: tuple[PreviewItem, ...] = ()
    problems: tuple[PreviewProblem, ...] = ()
    is_done: bool = False
    failure: PreviewProblem | None = None


class Previews:
    """Maker of previews.

    Attributes:
        model_named: returns the configured model of this name, alone; None: there is none.
    """

    def __init__(
        self,
        store: Store,
        *,
        source: DeviceSource,
        extractor: Extractor,
        asking: Asking,
        locks: LockService,
        mailboxes: MailboxVisits | None,
        own_rows: OwnRows,
        clock: Clock,
        ids: IdFactory,
        limits: Limits,
        model_named: Callable[[str], Models | None] = lambda name: None,
    ) -> None:
        self.store = store
        self.source = source
        self.extractor = extractor
        self.asking = asking
        self.locks = locks
        self.mailboxes = mailboxes
        self.own_rows = own_rows
        self.clock = clock
        self.ids = ids
        self.limits = limits
        self.model_named = model_named
        self.previewed: set[AgentId] = set()

    def models_of(self, requested: PreviewRequest) -> Models | None:
        """Return the models that are requested; None: those of runs. Raises CodedError."""
        if requested.model is None:
            return None
        models = self.model_named(requested.model)
        if models is None:
            raise CodedError(
                ErrorCode.BAD_PARAMS,
                f"model: hub.toml has no {requested.model!r}; name it in [model] or [[fallback_models]]",
            )
        return models

    def check_room(self, agent: AgentRow) -> None:
        """Check that another preview of this agent may be made. Raises CodedError."""
        if agent.id in self.previewed:
            raise CodedError(ErrorCode.BUSY, f"another preview of {agent.name} is made; wait for its end")
        if len(self.previewed) >= MAX_PREVIEWS:
            raise CodedError(
                ErrorCode.BUSY, f"{MAX_PREVIEWS} previews are made, the most at once; try again later"
            )

    async def open(self, agent: AgentRow, requested: PreviewRequest, link: DeviceLink | None) -> "RunPreview":
        """Return a preview that has not begun.

        Raises:
            CannotRun, LivesAtGateway, NoDevice, CodedError, BadPrompt: it could not run with these settings.
            DeviceOffline: the agent's device is not connected.
            CallUnsupported: the newest files are requested of a device that does not list its files.
            NotGranted: the device does not share its files with the hub.
            NoModel: the agent may not use any configured model.
            CodedError (BUSY): another preview of the agent is made, or too many of others.
        """
        changed = requested.applied_to(agent)
        self.check_room(changed)
        models = self.models_of(requested)
        setup = await set_up(self.store, changed)
        settings = settings_of(changed, self.extractor, setup, models=models)
        settings = msgspec.structs.replace(settings, batch=False)  # a batch may take a day
        if settings.mailbox is None:
            if link is None:
                raise DeviceOffline(f"the device of {agent.name} is not connected, so no file can be read")
            if requested.newest is not None and not link.can("agent_manifest"):
                raise CallUnsupported(
                    f"the device of {agent.name} does not say which of its files are the newest; leave their"
                    " number out to preview all of them"
                )
            await self.store.read(devices.require_grant, link.device_id, Grant.FILES)
        device_id = await self.store.read(place_of, agent)
        order = RunOrder(
            run_id=RunId(self.ids.fresh()),
            agent_id=agent.id,
            user_id=agent.user_id,
            device_id=device_id,
            fence=1,
            attempt=1,
            max_attempts=1,
            dispatches=0,
            timeout_s=self.limits.run_wall_s,
            settings=settings,
            config_rev=agent.config_rev,
            created_at=now_ms(self.clock),
        )
        asking = await self.asking.open_preview(order, models)
        return RunPreview(self, changed, order, requested, asking, link)


class RunPreview:
    """Preview of an agent.

    Attributes:
        order: of a run that has no row.
        asking: access to the models.
    """

    def __init__(
        self,
        previews: Previews,
        agent: AgentRow,
        order: RunOrder,
        requested: PreviewRequest,
        asking: RunAsking,
        link: DeviceLink | None,
    ) -> None:
        self._previews = previews
        self._store = previews.store
        self._agent = agent
        self.order = order
        self._newest = requested.newest
        models = previews.models_of(requested) or previews.asking.models
        model = models.choose(allow_cloud=order.settings.allow_cloud)
        self._reads_prompt = model is not None and not model.is_literal
        self.asking = asking
        self._link = link
        self._planned = _Planned()
        self._comparing = anyio.Lock()
        self._slots = anyio.Semaphore(UNITS_IN_FLIGHT)
        self._config: ExtractionOptions | None = None  # fetched for the first document
        self._counts: Counter[str] = Counter()
        self._listed: int | None = None
        self._to_read: int | None = None
        self._items: list[PreviewItem] = []
        self._problems: list[PreviewProblem] = []
        self._passed_on = 0
        self._is_full = False
        self._is_done = False
        self._failure: PreviewProblem | None = None
        self._changed = anyio.Event()
        self._seq = 0

    async def steps(self) -> AsyncGenerator[PreviewStep]:
        """Make the preview, and yield its steps; the last one is done. Closing the generator ends it.

        Raises:
            CodedError (BUSY): as ``Previews.open``.
        """
        previewed = self._previews.previewed
        self._previews.check_room(self._agent)
        previewed.add(self._agent.id)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._make)
                try:
                    while True:
                        await self._changed.wait()
                        self._changed = anyio.Event()
                        step = self._step()
                        yield step
                        if step.is_done:
                            break
                        if self._items or self._problems or self._is_done:
                            self._changed.set()
                        else:
                            await anyio.sleep(STEP_S)
                except GeneratorExit:  # the reader has left; a task group may not pass this on
                    tasks.cancel_scope.cancel()
        finally:
            previewed.discard(self._agent.id)

    def _step(self) -> PreviewStep:
        items, self._items = self._items[:STEP_ITEMS], self._items[STEP_ITEMS:]
        problems, self._problems = self._problems[:STEP_ITEMS], self._problems[STEP_ITEMS:]
        self._seq += 1
        counts, spent = self._counts, self.asking.spent
        is_done = self._is_done and not self._items and not self._problems
        return PreviewStep(
            seq=self._seq,
            listed=self._listed,
            settled=counts["settled"],
            to_read=self._to_read,
            read=counts["read"],
            added=counts["added"],
            removed=counts["removed"],
            changed=counts["changed"],
            known=counts["known"],
            unsure=counts["unsure"],
            left_out=counts["left_out"],
            model_requests=spent.requests,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            usd=spent.cost_nanos / NANOS,
            answered_before=self.asking.known,
            unlisted=counts["unlisted"],
            reads_prompt=self._reads_prompt,
            items=tuple(items),
            problems=tuple(problems),
            is_done=is_done,
            failure=self._failure if is_done else None,
        )

    async def _make(self) -> None:
        """Read and compare all documents; an error ends the preview."""
        order = self.order
        log.info("preview.begun", agent_id=order.agent_id)
        try:
            # Another holder than the agent itself, whose own locks it would take over otherwise.
            holder = Holder("agent", order.run_id, order.agent_id)
            locked = self._previews.locks.hold(order.user_id, holder, tuple(self._agent.locks))
            with anyio.move_on_after(order.timeout_s) as within:
                async with locked as fences, self.asking.opened():
                    self.order = msgspec.structs.replace(order, locks=fences)
                    read = self._files() if order.settings.mailbox is None else self._messages()
                    async with anyio.create_task_group() as tasks, aclosing(read) as documents:
                        async for document in documents:
                            await self._slots.acquire()
                            if self._is_full:
                                break
                            tasks.start_soon(self._unit, document)
            if within.cancelled_caught:
                message = f"not done after {order.timeout_s:g} s (run_wall_s of [limits])"
                self._failure = PreviewProblem("", ErrorCode.LIMIT_REACHED, message)
        except Exception as exc:
            broken = gravest(exc)
            if isinstance(broken, HubError):
                self._failure = PreviewProblem("", broken.code, str(broken))
            else:
                log.error("preview.broke", exc=wordless(broken), agent_id=order.agent_id)
                self._failure = PreviewProblem("", ErrorCode.INTERNAL, type(broken).__name__)
        self._is_done = True
        counts = {name: self._counts[name] for name in ("read", "added", "removed", "changed")}
        log.info("preview.ended", agent_id=order.agent_id, requests=self.asking.spent.requests, **counts)
        self._changed.set()

    async def _files(self) -> AsyncGenerator[Document]:
        """Yield the files that a run with these settings would read."""
        assert self._link is not None
        ledger = Ledger(self._store, self.order, self._previews.clock, is_only_read=True)
        read = self._previews.source.read(
            self._link, self.order, ledger, newest=self._newest, reader=self._reader()
        )
        async with aclosing(read) as events:
            async for event in events:
                match event:
                    case SeenUnits():
                        self._counts["settled"] += len(event.files)
                        if event.listed is not None:
                            self._listed = event.listed
                            left = event.listed - self._counts["settled"]
                            self._to_read = min(left, self._newest or left, self._previews.limits.run_files)
                        self._changed.set()
                    case UnreadUnit(is_failure=True):
                        self._problem(event.unit_key, event.code, event.message)
                    case Document():
                        yield event

    async def find(self, path: str) -> Document | UnreadUnit | None:
        """Read one file, settled or not, as a run does; None: its device names no reason why it does not.

        A device that cannot look up a file sends all of them; of those whose paths end in *path*, the only
        one is returned. A recording comes without its sound, and an agent that reads a mailbox has no files.
        """
        if self._link is None:
            return None
        settings = msgspec.structs.replace(self.order.settings, config_fingerprint="")  # of no settled file
        order = msgspec.structs.replace(self.order, settings=settings)
        ledger = Ledger(self._store, order, self._previews.clock, is_only_read=True)
        can_transcribe = self.asking.can_transcribe
        read = self._previews.source.read(
            self._link,
            self.order,
            ledger,
            only=path,
            can_transcribe=can_transcribe,
            reader=self._reader(),
        )
        first: Document | None = None
        same: Document | None = None  # at the path, apart from how it is written
        paths: list[str] = []
        self._previews.previewed.add(self._agent.id)
        try:
            async with aclosing(read) as events:
                async for event in events:
                    if isinstance(event, UnreadUnit):
                        return event
                    if isinstance(event, Document):
                        if event.recording is not None:
                            event.recording.close()
                        if event.unit_key == path:
                            return event
                        if plain_path(event.unit_key) == plain_path(path):
                            same = same or event
                        first = first or event
                        paths.append(event.unit_key)
        finally:
            self._previews.previewed.discard(self._agent.id)
        if same is None and len(paths) > 1:
            return UnreadUnit(path, "ambiguous", f"{paths[0]} and {paths[1]}")
        return same or first

    def _reader(self) -> str:
        return self._previews.extractor.reader(self.order.extraction_config, self.asking.models)

    async def _messages(self) -> AsyncGenerator[Document]:
        """Yield the newest messages of a mailbox; its cursor stays where it is."""
        mailboxes = self._previews.mailboxes
        assert mailboxes is not None, "a preview of a mailbox, in a hub that reads none"
        self._to_read = self._newest or NEWEST_MESSAGES
        async with aclosing(mailboxes.newest(self.order, self._to_read)) as messages:
            async for unit_key, found in messages:
                if isinstance(found, Document):
                    yield found
                else:
                    self._problem(unit_key, ErrorCode.MESSAGE_UNREADABLE, found)

    async def _unit(self, document: Document) -> None:
        """Extract the items of a document and compare them with the ledger."""
        unit = self.asking.about(document.unit_key)
        path = document.unit_key
        try:
            document = await self._previews.own_rows.blank(self.order.user_id, document)
            found = await self._previews.extractor.extract(
                document, await self.options(), through=unit.through, models=self.asking.models
            )
            await self._compare(document, found)
        except (BudgetReached, ExtractionError) as exc:
            self._problem(path, exc.code, str(exc))
        except (ModelError, StorageError, NoModel):
            raise  # it would be the same for the other documents
        except Exception as exc:  # a document that breaks the extractor must not break the preview
            broken = gravest(exc)
            log.error("unit.broke", exc=wordless(broken))
            self._problem(path, ErrorCode.INTERNAL, type(broken).__name__)
        finally:
            self._counts["read"] += 1
            self._slots.release()
            self._changed.set()

    async def options(self) -> ExtractionOptions:
        """Return the extraction settings, with the rows of the device that items may refer to."""
        async with self._comparing:
            if self._config is None:
                try:
                    self._config = await run_extraction_config(self._store, self._link, self.order)
                except (LinkLost, DeviceOffline):
                    if self.order.settings.mailbox is None:
                        raise
                    self._link = None
                    self._config = await run_extraction_config(self._store, None, self.order)
            return self._config

    async def _compare(self, document: Document, found: Extraction) -> None:
        settings = self.order.settings
        tables = self.order.extraction_config.tables
        found, tiers = await tiers_for(self._store, document, found, self.order.agent_id)
        items = await anyio.to_thread.run_sync(
            found_items, document, found.items, settings.timezone, tables, tiers.unsure
        )
        async with self._comparing:  # the later document sees the items of the earlier one
            if self._is_full:
                return
            ledger = await self._store.read(known_items, self.finder(document), items)
            known, decisions = await anyio.to_thread.run_sync(self._decide, ledger, items, document)
            self._add_decisions(
                items, known, decisions, document, missing=missing_of(found.notes) is not None
            )
        if (missing := missing_of(found.notes)) is not None:
            self._problem(document.unit_key, *missing)

    def finder(self, document: Document) -> Finder:
        """Return the planner of a document, as a run has it."""
        return Finder(
            user_id=self.order.user_id,
            agent_id=self.order.agent_id,
            device_id=self.order.device_id,
            run_id=self.order.run_id,
            unit_key=document.unit_key,
            config_fingerprint=self.order.settings.config_fingerprint,
            at=now_ms(self._previews.clock),
        )

    def _decide(
        self, ledger: KnownItems, items: Sequence[FoundItem], document: Document
    ) -> tuple[KnownItems, Sequence[Decision]]:
        known = self._planned.added_to(ledger, items)
        decisions = decide(
            known,
            found=items,
            document=document,
            timezone=self.order.settings.timezone,
            learns=self.order.settings.learn,
            can_update=self._link is not None and can_update(self._link.capabilities),
        )
        return known, decisions

    def _add_decisions(
        self,
        items: Sequence[FoundItem],
        known: KnownItems,
        decisions: Sequence[Decision],
        document: Document,
        *,
        missing: bool,
    ) -> None:
        """Count the decisions about a document, and pass on what a run would add, change or not find."""
        caps = ItemCaps(self._previews.limits.items_per_file, self._previews.limits.items_per_run)
        decisions, left_out = capped(decisions, caps, planned=self._counts["added"] + self._counts["changed"])
        self._counts["left_out"] += sum(left_out.values())
        self._is_full = self._is_full or "items_per_run" in left_out
        for decision in decisions:
            change = _change_of(decision)
            self._counts["unsure" if decision.is_held else change or "known"] += 1
            if decision.after is not None:
                self._planned.add(decision.after)
                if change is not None:
                    self._pass_on(self._item_of(change, decision.after, decision.before))
        if missing:
            return  # a part was not read, so nothing is known of what it has
        paired = {decision.before.id for decision in decisions if decision.before is not None}
        for known_item in known.here:
            row = known_item.row
            is_own = row.agent_id == self.order.agent_id and row.verdict not in ("rejected", "held")
            if is_own and row.id not in paired:
                self._counts["removed"] += 1
                self._pass_on(self._item_of("removed", row, row))

    def _item_of(self, change: Change, row: ItemRow, known: ItemRow | None) -> PreviewItem:
        source = row.source or {}
        table = self.order.extraction_config.tables.of(row.target_table)
        zone = source.get("timezone")
        before = None
        if change == "changed" and row.before is not None:
            before = _shortened(dates_as_texts(table, row.before, zone))
        return PreviewItem(
            change=change,
            table=row.target_table,
            title=str(row.data.get(table.title) or ""),
            path=row.unit_key,
            data=_shortened(dates_as_texts(table, row.data, zone)),
            before=before,
            quote=source.get("quote", ""),
            start=source.get("start"),
            link=source.get("link"),
            warnings=row.warnings,
            provenance=msgspec.convert(source.get("provenance"), Provenance | None),
            item_id=None if known is None else known.id,
            verdict=None if known is None else known.verdict,
        )

    def _problem(self, path: str, code: str, message: str) -> None:
        if self._has_room():
            self._problems.append(PreviewProblem(path, code, message))
            self._changed.set()

    def _pass_on(self, item: PreviewItem) -> None:
        if self._has_room():
            self._items.append(item)

    def _has_room(self) -> bool:
        self._passed_on += 1
        if self._passed_on > MAX_PASSED_ON:
            self._counts["unlisted"] += 1
            return False
        return True


class _Planned:
    """Rows that the ledger would have by now, if the preview were a run that has delivered its items.

    They are found by the same keys as in the ledger: see ``storage.runs.items.known_items``.
    """

    def __init__(self) -> None:
        self._rows: dict[str, ItemRow] = {}
        self._by_key: dict[tuple[Any, ...], list[str]] = {}

    def add(self, row: ItemRow) -> None:
        """Add a row, or replace it by its next version."""
        delivered = row.updated_at if row.answered_at is None else row.answered_at
        self._rows[row.id] = msgspec.structs.replace(row, answered_at=delivered)
        keys: list[tuple[Any, ...]] = [("name", row.likeness), ("quote", row.quote_hash)]
        if row.date_ms is not None:
            keys.append((row.target_table, row.date_ms // DAY_MS))
        for key in keys:
            self._by_key.setdefault(key, []).append(row.id)

    def added_to(self, known: KnownItems, items: Iterable[FoundItem]) -> KnownItems:
        """Return the known items with these rows in place of older ones, and with similar new ones."""
        unit_key = known.finder.unit_key
        elsewhere = {known_item.row.id: known_item for known_item in map(self._newer, known.elsewhere)}
        here = {known_item.row.id for known_item in known.here}
        for item in items:
            keys: list[tuple[Any, ...]] = [("name", item.likeness), ("quote", item.words_hash)]
            if item.date_ms is not None:
                day = item.date_ms // DAY_MS
                keys += [(item.table, near) for near in (day - 1, day, day + 1)]
            for key in keys:
                for id in self._by_key.get(key, ()):
                    row = self._rows[id]
                    if row.unit_key != unit_key and id not in here:
                        elsewhere.setdefault(id, KnownItem(row=row))
        return msgspec.structs.replace(
            known, here=tuple(map(self._newer, known.here)), elsewhere=tuple(elsewhere.values())
        )

    def _newer(self, one: KnownItem) -> KnownItem:
        row = self._rows.get(one.row.id)
        return one if row is None else KnownItem(row=row)


def _change_of(decision: Decision) -> Change | None:
    """Return what a decision changes; None: nothing, apart from the first delivery of a known item."""
    before, after = decision.before, decision.after
    if decision.call is None or after is None:
        return None
    if before is None or decision.is_new:
        return "added"
    if after.version == before.version:
        return None
    return "added" if after.before is None else "changed"  # one that was rejected is suggested anew


def _shortened(data: Record) -> Record:
    return {
        name: value[:MAX_VALUE_CHARACTERS] if isinstance(value, str) else value
        for name, value in data.items()
    }
