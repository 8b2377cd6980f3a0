"""Runs over a connector: pages, messages, how far back a first run reads, and waits after failures.

A run reads its connector page by page, and each message once.

The device need not be connected. Items are planned in the transaction that records their message as read.
They wait in the outbox, and are delivered in the order of their messages, in this run or a later one.

The cursor only moves past settled messages. A message that fails keeps the cursor in place: the next run
lists it again, and skips the messages that it knows.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
import msgspec

from hub.base.clock import Chance, Clock, IdFactory, from_epoch_ms, now_ms
from hub.base.log import Channel
from hub.base.outbound.rules import bounded_wait
from hub.connectors.calling import (
    NEEDS_A_PERSON,
    ConnectorFailure,
    CursorLost,
    NeedsOtherNode,
    ProviderBusy,
    QuotaSpent,
    Unavailable,
    Unread,
)
from hub.connectors.connector import Connector, Message, Page, documents_of
from hub.connectors.selection import why_left_out
from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.extraction.letters import MAX_DATES, Invitation, invitation_in
from hub.extraction.model import ModelExhausted
from hub.runs.asking import RunAsking
from hub.runs.attempt import Attempt, DocumentReading
from hub.runs.attempt_ending import AttemptEnding
from hub.runs.interrupt import Interrupt
from hub.runs.run_order import RunOrder
from hub.runs.shown_rows import run_extraction_config
from hub.text.files import MAIL
from hub.text.parts import part_key
from protocol.errors import DeviceOffline, ErrorCode, LinkLost
from protocol.ids import RunId
from protocol.lifecycles import RunEvent, RunState, UnitState
from storage.agents.configs import Mailbox
from storage.connectors import connectors, seen_messages
from storage.connectors.connectors import ConnectorRow, CredentialRow, stream_of
from storage.runs import calls, plans, run_moves, runs
from storage.runs.calls import OpenCall
from storage.runs.items import approved_authors
from storage.runs.run_moves import FollowUp
from storage.runs.units import AT_ANOTHER_DEVICE, device_of_unit, ledger_entries, skip_units, units_of
from storage.store import Store

log = Channel(__name__)


class MessageWork:
    """Processing of the messages that one attempt reads.

    Args:
        slots: one is acquired for each message in progress, and released by *process* at its end.
        process: extracts and plans a document, and delivers its items if the device is connected.
        bring: delivers calls of a unit that were planned earlier.
    """

    def __init__(
        self,
        attempt: Attempt,
        asking: RunAsking,
        slots: anyio.Semaphore,
        *,
        process: Callable[[DocumentReading], Awaitable[None]],
        bring: Callable[[str, Sequence[OpenCall]], Awaitable[None]],
    ) -> None:
        self.bring = bring
        self._attempt = attempt
        self._asking = asking
        self._slots = slots
        self._process = process
        self._extraction_config: ExtractionOptions | None = None  # fetched for the first message
        self._asks = anyio.Lock()  # the device is queried once, by the first of several concurrent messages

    async def room(self) -> None:
        """Wait until another message may be read."""
        await self._asking.make_room()
        await self._slots.acquire()

    async def read(self, document: Document, message: Message, *, read_at: int) -> None:
        """Extract and plan a message after ``room``, and deliver its items if the device is connected."""
        attempt = self._attempt
        extraction_config = await self._read_extraction_config()
        reading = DocumentReading(attempt.link, self._asking, extraction_config, document, read_at, message)
        await self._process(reading)

    async def _read_extraction_config(self) -> ExtractionOptions:
        attempt = self._attempt
        async with self._asks:
            if self._extraction_config is None:
                store = self._asking.asking.store
                try:
                    found = await run_extraction_config(store, attempt.link, attempt.order)
                except (LinkLost, DeviceOffline):
                    attempt.link = None
                    found = await run_extraction_config(store, None, attempt.order)
                self._extraction_config = found
            return self._extraction_config


CLOSE_S: Final = 5.0  # longest time to close a connector
READ_AT_ONCE: Final = 16  # messages whose text is requested together
MIN_LOOKBACK_DAYS: Final = 7  # of a preview
OVERLAP: Final = timedelta(hours=24)  # listed again if a cursor is lost
CIRCUIT_BASE_S: Final = 30.0  # after a temporary error; doubled each time
ELSEWHERE_S: Final = 10.0  # until a run that only another node can execute is ready again
CIRCUIT_CAP_S: Final = 6 * 3_600.0
# separates the connector's origin from the time of the sign-in in a cursor's origin
_BY: Final = " granted at "


class KnownSenders:
    """Addresses and domains of known senders.

    Args:
        named: addresses and domains, in lower case.
        authors: authors of approved items, as ``Provenance.author`` spells them.
    """

    def __init__(self, named: Collection[str], authors: Iterable[str] = ()) -> None:
        addresses = (author.lower().rpartition("<")[2].removesuffix(">") for author in authors)
        self._known = frozenset(named) | {address for address in addresses if "@" in address}

    def vouched(self, document: Document, message: Message) -> Document:
        """Return *document* with a trusted author, if a known and verified sender wrote it."""
        if document.provenance is None or message.sender is None or not message.is_verified:
            return document
        address = message.sender.email
        if self._known.isdisjoint((address, address.rpartition("@")[2])):  # a domain below one is another
            return document
        trusted = msgspec.structs.replace(document.provenance, trusted=True)
        return msgspec.structs.replace(document, provenance=trusted)


class ConnectorOpener(Protocol):
    """Opens connectors and receives their failures."""

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        """Return the connector, signed in if necessary. Raises ConnectorFailure."""
        ...

    async def refused(self, connector_id: str, failure: ConnectorFailure) -> bool:
        """Hold the connector's runs until a person acts. Return True for the first report."""
        ...

    async def judged(self, failure: ConnectorFailure) -> ConnectorFailure:
        """Return the failure, as Elsewhere if another node may read the connector."""
        ...


@asynccontextmanager
async def open_connector(
    desk: ConnectorOpener, row: ConnectorRow, mailbox: Mailbox
) -> AsyncIterator[Connector]:
    """Yield the connector, and close it at the end."""
    connector = await desk.open(row.id, mailbox.filter)
    try:
        yield connector
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_S):
            await connector.aclose()


class MailboxVisits:
    """Reader of connectors for runs."""

    def __init__(
        self,
        store: Store,
        desk: ConnectorOpener,
        *,
        clock: Clock,
        chance: Chance,
        ids: IdFactory,
        trusted: Collection[str] = (),
    ) -> None:
        self.trusted = trusted  # senders that hub.toml names
        self._store = store
        self._desk = desk
        self._clock = clock
        self._chance = chance
        self._ids = ids

    async def visit(self, attempt: Attempt, interrupt: Interrupt, work: MessageWork) -> AttemptEnding | None:
        """Read new messages. Return the ending of the attempt, or None if everything was read.

        A failure of the connector becomes an ending. Raises all other errors that end an attempt.
        """
        order = attempt.order
        assert order.settings.mailbox is not None
        row = await self._store.read(
            connectors.get_connector, order.settings.mailbox.connector, user_id=order.user_id
        )
        reading = None
        try:
            await self._flush(attempt, work)
            async with open_connector(self._desk, row, order.settings.mailbox) as connector:
                grant = await self._store.read(connectors.find_credential, row.id)
                reading = _MailboxReading(self, attempt, connector, row, work, grant=grant)
                await reading.read(interrupt)
        except ConnectorFailure as failure:
            if reading is not None and reading.progress:  # waits grow without progress alone
                await self._store.write(connectors.note_success, row.id, at=self.at())
                row = msgspec.structs.replace(row, failures=0)
            return await self._ending(row, await self._desk.judged(failure))
        if interrupt.event is None:
            at = self.at()
            await self._store.write(connectors.note_success, row.id, at=at)
            if reading.is_full and reading.progress + len(reading.settled) > reading.elsewhere:
                # another run would get further, but has the same budget
                if not attempt.is_broke:
                    await self._go_on(attempt)
            elif not (reading.is_held or reading.is_full):  # reading restarts from here if the cursor is lost
                await self._store.write(seen_messages.note_end_of_stream, order.agent_id, at=at)
        return None

    async def newest(self, order: RunOrder, most: int) -> AsyncGenerator[tuple[str, Document | str]]:
        """Yield the newest messages that the filter takes, read before or not: a document, or its error.

        Writes nothing: the cursor stays, and no message is recorded as read. The keys are those of their
        units.

        Raises:
            ConnectorFailure: the connector could not be read.
        """
        assert order.settings.mailbox is not None
        mailbox = order.settings.mailbox
        row = await self._store.read(connectors.get_connector, mailbox.connector, user_id=order.user_id)
        async with open_connector(self._desk, row, mailbox) as connector:
            chosen = await self._newest_of(connector, most)
            units: set[str] = set()
            senders = KnownSenders(self.trusted, await self._store.read(approved_authors, order.user_id))
            for begin in range(0, len(chosen), READ_AT_ONCE):
                async with aclosing(documents_of(connector, chosen[begin : begin + READ_AT_ONCE])) as found:
                    async for message, result in found:
                        if not isinstance(result, Document):
                            if not result.is_removed:
                                yield message.key, result.reason
                            continue
                        unit_key = await self._unit_key(order, message, result, units)
                        if unit_key not in units:
                            units.add(unit_key)
                            document = senders.vouched(result, message)
                            yield unit_key, msgspec.structs.replace(document, unit_key=unit_key)

    async def _newest_of(self, connector: Connector, most: int) -> list[Message]:
        """Return the newest messages of the time that a first run looks back, seven days at least."""
        since = self.now() - timedelta(days=max(MIN_LOOKBACK_DAYS, connector.filter.lookback_days))
        newest: dict[str, Message] = {}
        async with aclosing(connector.pages(None, since)) as pages:
            async for page in pages:
                for message in page.messages:
                    if message.fault or why_left_out(message, connector.filter) is None:
                        newest.pop(message.seen_key, None)  # it goes to the end, behind the older ones
                        newest[message.seen_key] = message
                for old in list(newest)[: max(0, len(newest) - most)]:
                    del newest[old]
        return list(newest.values())

    async def _unit_key(
        self, order: RunOrder, message: Message, document: Document, units: Collection[str]
    ) -> str:
        """Return the key under which a run has read the message, or would read it."""
        other = _key_of_content(message, document) if message.copy else message.key
        known = await self._store.read(
            ledger_entries, order.agent_id, order.settings.config_fingerprint, [other]
        )
        return other if known or message.key in units else message.key

    async def _flush(self, attempt: Attempt, work: MessageWork) -> None:
        """Adopt units of ended runs, and deliver all waiting items, oldest message first."""
        order, held = attempt.order, attempt.order.held(attempt.state)
        while adopted := await self._store.write(run_moves.adopt_left, held, order.agent_id, at=self.at()):
            log.info("run.took_over", units=adopted)
        units = [
            unit
            for unit in await self._store.read(units_of, order.run_id)
            if unit.state is UnitState.EXTRACTED
        ]
        left: dict[str, list[OpenCall]] = {unit.unit_key: [] for unit in units}
        for call in await self._store.read(calls.open_calls, order.run_id):
            left[call.unit_key].append(call)
        for unit in sorted(units, key=lambda unit: (unit.read_at or 0, unit.unit_key)):
            await work.bring(unit.unit_key, left[unit.unit_key])

    async def _go_on(self, attempt: Attempt) -> None:
        """Queue another run at once, because messages are left over the limit of one run."""
        settings = attempt.order.settings
        builtins = msgspec.to_builtins(settings)
        follow_up = FollowUp(RunId(self._ids.fresh()), settings.config_fingerprint, builtins)
        run = await self._store.read(runs.get_run, attempt.order.run_id)
        await self._store.write(run_moves.follow, run, follow_up, self.at())
        attempt.follow_up = follow_up  # which the end of this run finds, and names
        log.info("run.goes_on", run_id=run.id)

    async def _ending(self, row: ConnectorRow, failure: ConnectorFailure) -> AttemptEnding:
        """Return the ending of a run whose connector failed; the run is queued again or paused."""
        log.warning("connector.failed", connector=row.name, code=failure.code, detail=str(failure))
        problem = f"connector {row.name}: {failure}"
        if isinstance(failure, NEEDS_A_PERSON):
            await self._desk.refused(row.id, failure)
            return AttemptEnding(event=RunEvent.SENT_BACK, reason=problem, error=problem, wait_s=0.0)
        match failure:
            case ProviderBusy():
                wait_s = None
                if failure.retry_at is not None:  # by a provider of another package, any time
                    wait_s, note = bounded_wait((failure.retry_at - self._clock.now()).total_seconds())
                    problem += note
                spent = ModelExhausted(problem, reason="rate_limit", retry_after_s=wait_s)
                return AttemptEnding(event=RunEvent.EXHAUSTED, reason=problem, exhausted=spent)
            case QuotaSpent():
                spent = ModelExhausted(problem, reason="billing")
                return AttemptEnding(event=RunEvent.EXHAUSTED, reason=problem, exhausted=spent)
            case NeedsOtherNode():  # other nodes can read it, so their runs do not wait
                wait_s = ELSEWHERE_S * self._chance.uniform(0.5, 1.0)
                return AttemptEnding(event=RunEvent.SENT_BACK, reason=problem, error=problem, wait_s=wait_s)
            case _:
                longest = min(CIRCUIT_CAP_S, CIRCUIT_BASE_S * 2.0 ** min(row.failures, 20))
                wait_s = longest * self._chance.uniform(0.5, 1.0)
                retry_at = self.at() + int(wait_s * 1_000)
                await self._store.write(
                    connectors.note_failure,
                    row.id,
                    reason=failure.code,
                    detail=str(failure),
                    retry_at=retry_at,
                    at=self.at(),
                )
                return AttemptEnding(event=RunEvent.SENT_BACK, reason=problem, error=problem, wait_s=wait_s)

    def at(self) -> int:
        """Return the current time in epoch milliseconds."""
        return now_ms(self._clock)

    def now(self) -> datetime:
        """Return the current time."""
        return self._clock.now()


def _key_of_content(message: Message, document: Document) -> str:
    """Return the key of the unit of a message whose Message-ID another message has, too."""
    return f"{message.key}#{message.content_key(document.text)[-12:]}"


_DIGEST_CHARS: Final = 16  # of an address, which is compared and not shown
# In the version of an event, beside its dates: who sent the first mail, if verified, and what called it off.
_FIRST, _SENT_BY, _CALLED_OFF = "first", "by", "off"


class _MailboxReading:
    """State of one attempt that reads one connector.

    Attributes:
        is_full: True if the limit of messages per run is reached, and messages are left.
        is_held: True if an earlier message is not settled, so the cursor may not move past it.
        progress: number of messages that were dealt with.
        settled: units of earlier attempts of this run.
        elsewhere: number of these that were left to runs for other devices.
    """

    def __init__(
        self,
        visits: MailboxVisits,
        attempt: Attempt,
        connector: Connector,
        row: ConnectorRow,
        work: MessageWork,
        *,
        grant: CredentialRow | None,
    ) -> None:
        self._visits = visits
        self._store = visits._store
        self._order = attempt.order
        self._connector = connector
        self._row = row
        # Another person may sign in anew, whose stream of messages is different.
        self._stream = stream_of(row.origin)
        self._whose = self._stream if grant is None else f"{self._stream}{_BY}{grant.granted_at}"
        self._work = work
        self._senders = KnownSenders(visits.trusted)
        self._room = 0
        self.is_held = False
        self._without: dict[str, str] = {}  # versions by key, of pages without a cursor since the last cursor
        self._dealt_with: set[str] = set()  # by this attempt, with any result
        self.settled: set[str] = set()
        # keys of this run's units; ``_contents`` has the content keys of its mails
        self._units: set[str] = set()
        self._contents: set[str] = set()
        # Items are delivered in the order in which messages were read, not in the order of extraction.
        self._turns: dict[str, int] = {}
        self._last_ms = 0
        self._page_done = _Countdown()
        self.is_full = False
        self.progress = self.elsewhere = 0

    async def read(self, interrupt: Interrupt) -> None:
        """Read all pages, up to the limit of messages of one run, or until interrupted."""
        order = self._order
        authors = await self._store.read(approved_authors, order.user_id)
        self._senders = KnownSenders(self._visits.trusted, authors)
        units = await self._store.read(units_of, order.run_id)
        self.settled = {
            unit.unit_key
            for unit in units
            if unit.state is not UnitState.PENDING and not (unit.error or "").startswith(AT_ANOTHER_DEVICE)
        }
        self._units = set(self.settled)
        failed: ConnectorFailure | None = None
        async with anyio.create_task_group() as tasks:
            with interrupt.reading:
                failed = await self._read_on(tasks.start_soon, interrupt)  # units in progress end first
        interrupt.check_quota()
        if failed is not None:
            raise failed

    async def _read_on(self, start: Callable[..., object], interrupt: Interrupt) -> ConnectorFailure | None:
        """Read pages from the cursor on. Return a failure that came twice without progress between.

        A connection that is lost is opened anew at once, so that a server that cuts connections, or
        restarts, costs no wait. It ends: without progress twice, and with it fewer messages are left.
        """
        in_vain = 0
        while True:
            before, self.is_full = self.progress, False
            self._room = self._connector.filter.max_messages - len(self.settled) - len(self._dealt_with)
            try:
                async with aclosing(self._pages()) as pages:
                    async for page in pages:
                        await self._read_page(page, start)
                        if self.is_full or interrupt.event is not None:
                            break
                return None
            except ConnectorFailure as failure:
                in_vain = in_vain + 1 if self.progress == before else 0
                is_passing = isinstance(failure, Unavailable) and not isinstance(failure, NeedsOtherNode)
                if not is_passing or in_vain > 1:
                    return failure
                log.info("connector.read_on", connector=self._row.name, detail=str(failure))
            await self._page_done.zero()  # the cursor may pass them then

    async def _pages(self) -> AsyncGenerator[Page]:
        """Yield pages after the cursor; if the cursor is lost, yield pages from an earlier day on."""
        known = await self._store.read(seen_messages.find_cursor, self._order.agent_id)
        cursor = None if known is None or known.origin != self._whose else known.cursor
        since = self._visits.now() - timedelta(days=self._connector.filter.lookback_days)
        if cursor is None:
            since = self._back_to(known, since)
        try:
            async with aclosing(self._connector.pages(cursor, since)) as pages:
                async for page in pages:
                    yield page
            return
        except CursorLost as lost:
            if cursor is None:
                raise Unavailable(str(lost)) from lost
            log.info("connector.cursor_lost", connector=self._row.name, detail=str(lost))
        async with aclosing(self._connector.pages(None, self._back_to(known, since))) as pages:
            async for page in pages:
                yield page

    def _back_to(self, known: seen_messages.CursorRow | None, since: datetime) -> datetime:
        """Return the start date without a cursor: before all messages that were not read yet."""
        is_here = known is not None and known.origin.partition(_BY)[0] == self._stream
        if known is None or known.last_ok_at is None or not is_here:
            return since
        return min(since, from_epoch_ms(known.last_ok_at) - OVERLAP)

    async def _read_page(self, page: Page, start: Callable[..., object]) -> None:
        """Settle a page's messages as far as possible, and move the cursor past the page."""
        order = self._order
        listed = (message.within_bounds() for message in page.messages)
        messages = {message.seen_key: message for message in listed}
        seen = await self._store.read(seen_messages.seen_of, order.agent_id, list(messages))
        chosen: list[Message] = []
        left_out: list[tuple[str, str, str]] = []
        for key, message in messages.items():
            known = seen.get(key)
            if (
                known is not None
                and known.version == message.version
                and known.state in seen_messages.SETTLED
            ):
                continue
            is_dealt_with = key in self._dealt_with or message.key in self.settled
            if is_dealt_with and (known is None or known.version == message.version):
                continue
            reason = None if message.fault else why_left_out(message, self._connector.filter)
            if reason is None and known is not None and await self._belongs_elsewhere(message.key):
                self.progress += 1
            elif reason is None:
                chosen.append(message)
            else:
                left_out.append((key, message.version, reason))
        if len(chosen) > self._room:
            self.is_full = True
            chosen = chosen[: self._room]
        self._room -= len(chosen)
        for message in chosen:
            self._last_ms = max(self._last_ms + 1, self._visits.at())
            self._turns[message.seen_key] = self._last_ms
        await self._leave_out(left_out)
        self.progress += len(left_out)
        for begin in range(0, len(chosen), READ_AT_ONCE):
            await self._read(chosen[begin : begin + READ_AT_ONCE], start)
        await self._page_done.zero()
        self._without |= {key: message.version for key, message in messages.items()}
        if page.cursor is None or self.is_held or self.is_full:
            return
        keys, self._without = list(self._without.items()), {}
        moved = await self._store.write(
            seen_messages.move_cursor,
            order.held(RunState.RUNNING),
            order.agent_id,
            origin=self._whose,
            cursor=page.cursor,
            keys=keys,
            at=self._visits.at(),
        )
        self.is_held = not moved

    async def _read(self, messages: Sequence[Message], start: Callable[..., object]) -> None:
        deleted: list[tuple[str, str, str]] = []
        async with aclosing(documents_of(self._connector, messages)) as found:
            async for message, result in found:
                self._dealt_with.add(message.seen_key)
                self.progress += 1
                if isinstance(result, Document):
                    document = await self._unless_known(message, result)
                    if document is None or await self._belongs_elsewhere(document.unit_key):
                        continue
                    await self._work.room()  # released when the message has been read
                    self._page_done.add()
                    start(self._read_message, document, message)
                elif result.is_removed:
                    deleted.append((message.seen_key, message.version, "gone"))
                else:
                    await self._fail(message, result)
        await self._leave_out(deleted)

    async def _belongs_elsewhere(self, unit_key: str) -> bool:
        """Return True if another device has items of the message; a run for that device reads it."""
        order = self._order
        name = await self._store.read(
            device_of_unit, order.agent_id, order.user_id, unit_key, order.device_id
        )
        if name is not None:
            self.elsewhere += 1
            self._units.discard(unit_key)  # another mail about the same event is left, too
            log.info("message.of_another_device", message=unit_key, device=name)
            held, reason = order.held(RunState.RUNNING), f"{AT_ANOTHER_DEVICE}: {name}"
            unit = (unit_key, "", None)
            await self._store.write(skip_units, held, [unit], self._visits.at(), reason=reason)
        return name is not None

    async def _unless_known(self, message: Message, document: Document) -> Document | None:
        """Return the document under a unique key, or None for a copy of a mail that was read.

        The sender chooses the Message-ID: a mail with a known Message-ID but other content is another mail.
        """
        seen: Mapping[str, object] = {}
        if message.copy:
            content = message.content_key(document.text)
            keys = [content, message.key]
            seen = await self._store.read(seen_messages.seen_of, self._order.agent_id, keys)
            if content in seen or content in self._contents:
                await self._leave_out([(message.seen_key, message.version, "duplicate")])
                return None
            self._contents.add(content)
        # in a thread, as a calendar of many dates takes longer than the event loop may wait
        is_mail = document.media_type == MAIL
        event = await anyio.to_thread.run_sync(invitation_in, document.text) if is_mail else None
        if event is not None:
            versioned = await self._of_event(message, document, event)
            if versioned is None or versioned.event:
                return versioned
            document = versioned
        if not message.copy:
            return document
        if message.key not in seen and message.key not in self._units:
            self._units.add(message.key)
            return document
        log.warning("message.same_id", message=message.key)
        return msgspec.structs.replace(document, unit_key=_key_of_content(message, document))

    async def _of_event(self, message: Message, document: Document, event: Invitation) -> Document | None:
        """Return a mail as a version of its event, or as a mail that does not change it.

        Only its organizer may change it, or who sent the first invitation, with a later version. Each date of
        its series has a version of its own. Mails of verified senders are about an event of their own, that
        no other mail changes. None: a version of it is on the way in this run; the next run reads the mail.
        """
        sent_by = "verified" if message.is_verified else "unverified"
        keys = [event.key, f"{event.key} {sent_by}"]
        seen = await self._store.read(seen_messages.seen_of, self._order.agent_id, keys)
        versions = {key: msgspec.json.decode(seen[key].version, type=dict[str, str]) for key in seen}
        key = keys[versions.get(event.key, {}).get(_SENT_BY, sent_by) != sent_by]
        known = versions.get(key, {})
        sender, organizer = (
            seen_messages.digest_of(address)[:_DIGEST_CHARS]
            for address in (message.sender.email if message.sender else "", event.organizer)
        )
        first = known.get(_FIRST, organizer if event.is_cancel else sender)
        off = known.get(_CALLED_OFF, "")
        newer = {date: at for date, at in event.stamps.items() if at > max(known.get(date, ""), off)}
        refusal = "" if newer else "not newer"
        if len(known | newer) > MAX_DATES:
            refusal = "of too many dates"
        if sender not in (organizer, first):
            refusal = "by another"
        if refusal:
            log.info("message.event_unchanged", message=message.key, why=refusal)
            parts = document.parts | {part_key("text/calendar", refusal): 1}
            return msgspec.structs.replace(document, effect="none", parts=parts)
        if key in self._units:  # its version is on the way to the device
            self.is_held = self.is_full = True
            return None
        self._units.add(key)
        is_off = event.is_cancel and "" in newer
        version = known | newer | {_FIRST: first, _SENT_BY: sent_by}
        version |= {_CALLED_OFF: newer[""]} if is_off else {}
        return msgspec.structs.replace(
            document,
            unit_key=key,
            event=msgspec.json.encode(version).decode(),
            dates=tuple(newer),
            effect="cancel" if event.is_cancel and (known or not is_off) else "",
        )

    async def _read_message(self, document: Document, message: Message) -> None:
        try:
            document = self._senders.vouched(document, message)
            await self._work.read(document, message, read_at=self._turns.pop(message.seen_key))
        finally:
            self._page_done.done()

    async def _leave_out(self, messages: Sequence[tuple[str, str, str]]) -> None:
        if messages:
            held, at = self._order.held(RunState.RUNNING), self._visits.at()
            await self._store.write(plans.leave_out, held, self._order.agent_id, messages, at=at)

    async def _fail(self, message: Message, unread: Unread) -> None:
        unit_key = message.key
        if unit_key in self._units:  # another mail with this Message-ID
            unit_key = f"{message.key}#{seen_messages.digest_of(message.copy)[:12]}"
        self._units.add(unit_key)
        state = await self._store.write(
            plans.fail_message,
            self._order.held(RunState.RUNNING),
            self._order.agent_id,
            unit_key=unit_key,
            seen_key=message.seen_key,
            version=message.version,
            subject=message.subject,
            content_hash="",
            size_bytes=message.size_bytes,
            error=unread.reason,
            code=ErrorCode.MESSAGE_UNREADABLE,
            is_its_fault=not unread.is_passing,
            most_tries=seen_messages.MAX_BUSY_TRIES if unread.is_busy else seen_messages.MAX_TRIES,
            is_final=unread.is_final,
            at=self._visits.at(),
        )
        log.warning("message.unread", state=state)


class _Countdown:
    """Number of a page's messages in progress."""

    def __init__(self) -> None:
        self._left = 0
        self._is_zero = anyio.Event()

    def add(self) -> None:
        self._left += 1

    def done(self) -> None:
        self._left -= 1
        self._is_zero.set()

    async def zero(self) -> None:
        """Wait until none is in progress."""
        while self._left:
            self._is_zero = anyio.Event()
            await self._is_zero.wait()
