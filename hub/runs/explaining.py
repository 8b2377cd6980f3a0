"""Explanations: what became of a file and its sentences in an agent, and why of others nothing did.

The file is read again as it is now, and by the rules of a run, so the reasons hold for the next run. No model
is asked: its answers come from the journal, or its items from the ledger. Nothing is written. No text of the
file is passed on: places are numbers of lines.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from difflib import get_close_matches
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from hub.agents.prompts import BadPrompt
from hub.clock import from_epoch_ms, now_ms
from hub.document import Document
from hub.extraction import chunk, ruled
from hub.extraction.folding import fold
from hub.extraction.items import Extraction, merged
from hub.extraction.model import ModelAnswer, ModelError, ModelRequest, ModelUnavailable
from hub.links.link import DeviceLink
from hub.runs.asking import NoModel, RunModel
from hub.runs.found_items import found_items, quote_hash_of
from hub.runs.matching import decide
from hub.runs.message_work import run_extraction_config
from hub.runs.previewing import Preview, PreviewRequest, Previews
from hub.runs.sources import DeviceStalled, NotTakenOn, SeenUnits, UnreadUnit
from protocol.errors import DeviceOffline, ErrorCode, HubError, LinkLost
from protocol.ids import RunId
from protocol.lifecycles import FINAL_RUN_STATES, UnitState
from protocol.marks import MARKS
from protocol.work import ManifestTree
from storage import audit
from storage.agents.agents import AgentRow
from storage.devices.devices import NotGranted
from storage.runs import item_verdicts, runs, units
from storage.runs.items import Decision, Finder, ItemRow, Known, known_items
from storage.runs.run_moves import CannotRun, LivesAtGateway
from storage.runs.runs import RunRow
from storage.runs.units import LedgerEntry, PastUnit
from storage.store import Connection

WITHIN_S: Final = 20.0  # for one agent; a command line waits for 30 s
MOST_LINES: Final = 1_000  # in an answer about one agent; the others are counted
MOST_PARTS: Final = 48  # of a path, as deep as a device lists
MOST_LIKELY: Final = 3  # paths that a wrong one may mean
_NEW_LINE: Final = re.compile(r"\r\n|\r|\n")

# Each reason as a sentence, and how to change what it says. ``hub help why`` lists them.
REASONS: Final[Mapping[str, tuple[str, str]]] = {
    # the file
    "settled": (
        "run {run} read it at {at}, and it has not changed since: no run reads it again",
        "change the file, or the prompt or data_types of the agent; then: hub run {agent}",
    ),
    "other_settings": (
        "run {run} read it with other settings of the agent: the next run reads it again",
        "start one: hub run {agent}",
    ),
    "changed": (
        "it has changed since run {run} read it: the next run reads it",
        "start one: hub run {agent}",
    ),
    "unread": ("no run has read it so far", "start one: hub run {agent}"),
    "under_way": (
        "run {run} is {state} and has not read it so far",
        "follow it: hub runs show {run} --follow",
    ),
    "paused": ("agent {agent} is {state}, so no run reads it", "hub agents resume {agent}"),
    "left": (
        "run {run} left it to the next run: {detail}",
        "hub run {agent}, or raise the limit in [limits]",
    ),
    "failed": ("run {run} failed to read it: {detail}", "mend the cause, then: hub runs rerun {run}"),
    "waits_for_model": ("run {run} waits for the model: {detail}", "hub doctor says what the model lacks"),
    "device_away": (
        "device {device} is not connected, so the file cannot be read now; {detail}",
        "connect the device: hub connect, on the device",
    ),
    "busy": ("it cannot be read now: {detail}", "ask again"),
    "not_granted": ("the hub may not read files of {device}", "hub devices grant {device} +files"),
    "cannot_run": ("agent {agent} has no runs: {detail}", "hub agents validate {agent}"),
    "no_model": ("{detail}", "name a local model in [model] of hub.toml: hub help models"),
    "unknown": ("{detail}", "hub runs show {run}"),
    # what the device leaves out
    "outside_shared": (
        "it is outside of the folders that {device} shares",
        "share its folder, on the device: hub connect --root FOLDER",
    ),
    "outside_paths": ("it is outside of the paths of agent {agent}", "add its folder: {edit}paths"),
    "filtered": (
        "its ending is none of file_extensions of agent {agent}: {endings}",
        "add its ending: {edit}file_extensions",
    ),
    "hidden": ("its name, or that of its folder, begins with a dot", "rename it"),
    "key_file": ("its name is one of keys or passwords, which stay on the device", "rename it"),
    "version_control": ("it belongs to a version control system", "copy it out of that folder"),
    "symlink": ("it is a symbolic link, or below one", "share the folder that the link leads to"),
    "hard_link": ("{detail}", "copy the file in place of the link"),
    "not_a_file": ("it is a folder or a special file", "name a file"),
    "name_not_utf8": ("its name is not UTF-8", "rename it"),
    "too_deep": ("its path is too long, or its folder too deep", "move it up"),
    "too_large": ("it is too large: {detail}", "split it into parts"),
    "missing": ("{device} has no such file{likely}", "name a file that is there: hub runs files RUN"),
    "unreadable": ("the device may not open it", "give its owner the right to read it: chmod u+r"),
    "not_convertible": (
        "it has no text that can be read: {detail}",
        "save it as text, or install what reads it: hub help agents",
    ),
    "convert_seconds": ("its conversion took too long", "split it, or raise convert_seconds in [limits]"),
    "convert_memory_bytes": (
        "its conversion took too much memory",
        "split it, or raise convert_memory_bytes in [limits]",
    ),
    "recording": (
        "it is a recording: its words are not read again to explain them",
        "hub items ls --path {path}",
    ),
    "message": (
        "it is a message of a mailbox, which is not read again to explain it",
        "hub runs files {run}",
    ),
    # a sentence that became an item
    "item": ("it became item {item} of {table}, which waits for a verdict", "hub items show {item}"),
    "marked": (
        "it became item {item} of {table}; it is marked, so it is approved by itself: {marks}",
        "check its source: hub items show {item}",
    ),
    "not_delivered": (
        "it became item {item} of {table}, which the device has not confirmed so far",
        "connect the device; then: hub run {agent}",
    ),
    "approved": ("it became item {item} of {table}, approved on {at} by {by}", "hub items undo {item}"),
    "edited": ("it became item {item} of {table}, changed on {at} by {by}", "hub items undo {item}"),
    "rejected": (
        "its item {item} of {table} was rejected on {at} by {by}, so it is not suggested again",
        "hub items undo {item}, or change the sentence",
    ),
    "duplicate": (
        "{path} says the same, and has item {item} of {table}",
        "hub items show {item}; for an item of its own, say what differs: a day or a name",
    ),
    "new": ("it is for {table}, and no run has suggested it: {because}", "{remedy}"),
    "left_out": (
        "it is beyond {detail} of [limits], so run {run} left it out",
        "hub run {agent}, or raise {detail} in [limits]",
    ),
    # a sentence that became none
    "twice": ("line {line} says the same", "say what differs: a day or a name"),
    "done": (
        "it is done already, and what is done is not suggested",
        "take its mark away, if it is not done",
    ),
    "unwanted": (
        "its title was rejected three times, and the agent learns from verdicts",
        "change the sentence, or turn learning off: {edit}learn",
    ),
    "outside": (
        "its author is not known, and the agent drops what others write",
        "{edit}outside, to mark; or name the sender in known_senders",
    ),
    "not_chosen": (
        "it is for {table}, which agent {agent} does not look for",
        "add {table}: {edit}data_types",
    ),
    "ungrounded": (
        "the model's record about it has words that it does not have",
        "write it more plainly, or try another model: hub agents preview {agent} --model NAME",
    ),
    "bad_record": (
        "the model's record about it breaks the rules of {table}: {detail}",
        "write it more plainly, or try another model: hub agents preview {agent} --model NAME",
    ),
    "unresolved_date": (
        "it is for {table}, but its words do not say which day it is",
        "write the day as a date, as in 2026-12-01",
    ),
    "foreign_table": ("the model named a table that was not asked for", "add its table: {edit}data_types"),
    "no_item": (
        "the model was asked in run {run}, and returned nothing for it",
        "say in the prompt what to find, and try it: hub agents preview {agent} --prompt FILE",
    ),
    "not_asked": ("the model has not answered about it so far: {because}", "{remedy}"),
    "no_rule": (
        "no rule reads it as work, an event, a decision or a fact of the tables of agent {agent}",
        "write it as a row of work, '- [ ] ...', or set a model: hub help models",
    ),
    "not_prose": (
        "it is a part of its format that makes no record by itself: a heading, a field, or what is given up",
        "write it as a row of its own",
    ),
    "blank": ("the line has no words", "name another line"),
    "no_line": (
        "the text has {detail} lines",
        "name another line; of a converted file, lines are those of its text",
    ),
}
_DROPPED: Final = ("unresolved_date", "bad_record", "ungrounded", "foreign_table", "outside", "duplicate")


class ExplainedLine(msgspec.Struct, kw_only=True):
    """Lines *first* to *last* of a text: why they became an item, or none.

    Attributes:
        code: a key of ``REASONS``.
        because: the reason as a sentence.
        remedy: how to change it.
        item_id: its item, or that of another source that says the same.
    """

    first: int
    last: int
    code: str
    because: str
    remedy: str
    table: str | None = None
    item_id: str | None = None
    title: str = ""
    found_by: str | None = None
    marks: tuple[str, ...] = ()


class Explanation(msgspec.Struct, kw_only=True):
    """Explanation of a file in an agent, and of its lines, if it could be read.

    Attributes:
        run_id: the run that read or tried it last.
        is_read: the file was read for the answer.
        counts: number of lines' reasons by code, also of those beyond MOST_LINES.
    """

    agent: str
    device: str | None
    path: str
    code: str
    because: str
    remedy: str
    run_id: RunId | None = None
    is_read: bool = False
    counts: dict[str, int] = {}
    lines: tuple[ExplainedLine, ...] = ()


class _NotAsked(ModelUnavailable):
    """The journal has no answer to a question."""


class _Recalled(RunModel):
    """A model that answers from the journal alone."""

    async def _note_or_ask(self, question: str, request: ModelRequest) -> ModelAnswer:
        raise _NotAsked("the journal has no answer")


class _EmptyLedger:
    """A ``Progress`` of which no file is settled, so that the file is read in any case."""

    async def entries(self, unit_keys: Sequence[str]) -> Mapping[str, LedgerEntry]:
        return {}

    async def has_settled(self, tree: ManifestTree | None) -> bool:
        return False


class _Unread(Exception):
    """The file cannot be read; *code* is a key of ``REASONS``."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Explainer:
    """Maker of explanations. Two are made at once with the previews of a hub: both read documents."""

    def __init__(self, previews: Previews) -> None:
        self._previews = previews
        self._store = previews.store

    async def explain(
        self, agent: AgentRow, path: str, line: int | None, link: DeviceLink | None
    ) -> Explanation:
        """Return what became of a file, and of all its lines or one."""
        key = await self.known(agent, path) or path
        document: Document | None = None
        preview: Preview | None = None
        unread = _Unread("unread")
        try:
            with anyio.fail_after(WITHIN_S):
                preview = await self._opened(agent, link)
                document = await self._read(agent, preview, key, link)
        except _Unread as exc:
            unread = exc
        except TimeoutError:
            unread = _Unread("busy", f"it took more than {WITHIN_S:g} s")
        if document is not None:
            key = document.unit_key
        past, newest = await self._store.read(_past, agent, key)
        reasons = _Reasons(agent, key, past, newest)
        if document is None or preview is None:
            likely = await self._likely(agent, path) if unread.code == "missing" and past is None else ""
            code, detail = reasons.code_of_unread(unread)
            because, remedy = reasons(code, detail=detail, likely=likely)
            return reasons.explanation(code, because, remedy)
        fingerprint = preview.order.settings.config_fingerprint
        code, detail = reasons.code_of(document, fingerprint)
        because, remedy = reasons.of_file(code, detail)
        lines = await self._lines(preview, document, reasons, link, is_settled=code == "settled")
        if line is not None:
            found = [one for one in lines if one.first <= line <= one.last]
            lines = found or [reasons.empty_line(document.text, line)]
        return reasons.explanation(code, because, remedy, lines)

    async def known(self, agent: AgentRow, path: str) -> str | None:
        """Return the longest end of a path that the agent knows, or its only file that ends so."""
        parts = path.strip("/").split("/")[-MOST_PARTS:]
        ends = ["/".join(parts[nth:]) for nth in range(len(parts))]

        def read(c: Connection) -> str | None:
            known = units.past_units(c, agent.id, ends)
            if known:
                return max(known, key=len)
            inside = [key for key in units.unit_keys(c, agent.id) if key.endswith(f"/{ends[0]}")]
            return inside[0] if len(inside) == 1 else None

        return await self._store.read(read)

    async def _likely(self, agent: AgentRow, path: str) -> str:
        """Return the paths that a wrong one may mean, in words."""
        keys = await self._store.read(units.unit_keys, agent.id)
        names = {key.rpartition("/")[2]: key for key in keys}
        near = get_close_matches(path.rpartition("/")[2], names, n=MOST_LIKELY)
        return f"; did you mean {' or '.join(names[name] for name in near)}?" if near else ""

    async def _opened(self, agent: AgentRow, link: DeviceLink | None) -> Preview:
        """Return a preview of the agent, whose order and models are those of its next run. Raises _Unread."""
        try:
            return await self._previews.open(agent, PreviewRequest(), link)
        except NotGranted as exc:
            raise _Unread("not_granted") from exc
        except (CannotRun, LivesAtGateway, BadPrompt) as exc:
            raise _Unread("cannot_run", str(exc)) from exc
        except NoModel as exc:
            raise _Unread("no_model", str(exc)) from exc
        except DeviceOffline as exc:
            raise _Unread("device_away") from exc
        except HubError as exc:
            raise _Unread("busy", str(exc)) from exc

    async def _read(self, agent: AgentRow, preview: Preview, path: str, link: DeviceLink | None) -> Document:
        """Read one file from the device, as a run does. Raises _Unread."""
        if link is None:
            raise _Unread("message")
        previewed, order = self._previews.previewed, preview.order
        previewed.add(agent.id)
        try:
            read = self._previews.source.read(
                link, order, _EmptyLedger(), only=path, can_transcribe=preview.asking.can_transcribe
            )
            async with aclosing(read) as events:
                async for event in events:
                    if isinstance(event, UnreadUnit):
                        reason = event.message.partition(": ")[2] or event.message
                        raise _Unread(event.code, reason)
                    if isinstance(event, SeenUnits) and (event.listed or 0) > 1:
                        raise _Unread("not_a_file")  # of a device that lists a folder
                    if isinstance(event, Document):
                        if event.recording is not None:
                            event.recording.close()
                            raise _Unread("recording")
                        return event
        except (LinkLost, DeviceOffline) as exc:
            raise _Unread("device_away") from exc
        except (NotTakenOn, DeviceStalled) as exc:
            is_outside = str(ErrorCode.NOTHING_SHARED) in str(exc)
            raise _Unread("outside_shared" if is_outside else "busy", str(exc)) from exc
        finally:
            previewed.discard(agent.id)
        raise _Unread("filtered")  # of a device that does not say so

    async def _lines(
        self,
        preview: Preview,
        document: Document,
        reasons: "_Reasons",
        link: DeviceLink | None,
        *,
        is_settled: bool,
    ) -> list[ExplainedLine]:
        """Return what became of each sentence, in the order of the text."""
        previews, order, asking = self._previews, preview.order, preview.asking
        options = await run_extraction_config(self._store, link, order)
        unit = asking.about(document.unit_key)
        extractor, models = previews.extractor, asking.models
        is_answered = True
        try:
            found = await extractor.extract(
                document, options, through=lambda model: _Recalled(model, unit), models=models
            )
        except ModelError:
            is_answered = False
            found = await extractor.extract_by_rules(document, options)
        everything = await extractor.read_all_tables(document, options, models)
        items = found_items(document, found.items, order.settings.timezone, options.tables)
        finder = Finder(
            user_id=order.user_id,
            agent_id=order.agent_id,
            device_id=order.device_id,
            run_id=order.run_id,
            unit_key=document.unit_key,
            config_fingerprint=order.settings.config_fingerprint,
            at=now_ms(previews.clock),
        )

        def read(c: Connection) -> tuple[Known, dict[str, str]]:
            known = known_items(c, finder, items)
            given = item_verdicts.newest_verdicts(c, [one.row.id for one in (*known.here, *known.elsewhere)])
            names = audit.actor_names(c, {row.actor for row in given.values()})
            return known, {id: names[row.actor] for id, row in given.items() if row.state == "done"}

        known, reasons.judges = await self._store.read(read)
        decisions = decide(
            known,
            found=items,
            document=document,
            timezone=order.settings.timezone,
            can_update=True,
            learns=order.settings.learn,
            with_done=True,
        )
        asks = None
        if not extractor.reads_prose_by_rules(options, models):
            asks = "no_item" if is_answered or is_settled else "not_asked"
        texts = _Texts(document, found, everything, decisions, known, asks)
        return await anyio.to_thread.run_sync(lambda: list(texts.lines(reasons, order.settings.data_types)))


def _past(c: Connection, agent: AgentRow, key: str) -> tuple[PastUnit | None, RunRow | None]:
    newest = runs.list_runs(c, agent_id=agent.id, limit=1)
    return units.past_units(c, agent.id, [key]).get(key), newest[0] if newest else None


class _Reasons:
    """Reasons in words, of one file of an agent.

    Attributes:
        judges: names of those who gave the verdicts on items at the hub, by item.
    """

    def __init__(self, agent: AgentRow, path: str, past: PastUnit | None, newest: RunRow | None) -> None:
        self.agent = agent
        self.path = path
        self.past = past
        self.newest = newest
        self.unit = past.unit if past is not None else None
        self.judges: dict[str, str] = {}
        run_id = past and (past.run_id or past.done_in)
        self.run_id = run_id or (newest.id if newest is not None else None)
        is_file = agent.source == "file"
        self._facts: dict[str, object] = {
            "agent": agent.name,
            "device": agent.device_name,
            "path": path,
            "run": (self.run_id or "RUN")[-6:],
            "at": _day(past.done_at if past is not None else 0),
            "state": agent.lifecycle,
            "edit": f"hub.toml, [[agents]] {agent.name}: "
            if is_file
            else f"hub agents edit {agent.name} --set ",
            "endings": ", ".join(agent.file_extensions),
        }

    def __call__(self, code: str, **facts: object) -> tuple[str, str]:
        """Return a reason as a sentence, and how to change it."""
        empty = dict.fromkeys(("detail", "likely", "item", "table", "by", "marks", "line"), "")
        because, remedy = REASONS.get(code, REASONS["unknown"])
        given = empty | {"detail": code} | self._facts | facts
        return because.format_map(given), remedy.format_map(given)

    def of_file(self, code: str, detail: str) -> tuple[str, str]:
        """Return the reason of the file in words, which those of its sentences may repeat."""
        because, remedy = self(code, detail=detail)
        self._facts |= {"because": because, "remedy": remedy}
        return because, remedy

    def code_of_unread(self, unread: _Unread) -> tuple[str, str]:
        """Return why a file could not be read, and a detail."""
        if unread.code in ("device_away", "message") and self.past is not None:
            return unread.code, self._last_result()
        return unread.code, unread.detail

    def _last_result(self) -> str:
        unit = self.unit
        if unit is not None and unit.error:
            return f"run {self._facts['run']} says of it: {unit.error}"
        return f"run {self._facts['run']} read it at {self._facts['at']}"

    def code_of(self, document: Document, fingerprint: str) -> tuple[str, str]:
        """Return why the next run reads a file or does not, and a detail."""
        past, unit, newest = self.past, self.unit, self.newest
        is_same = past is not None and past.content_hash == document.content_hash
        if past is not None and is_same and past.fingerprint == fingerprint:
            self.run_id = past.done_in
            self._facts["run"] = (past.done_in or "")[-6:]
            return "settled", ""
        if (
            unit is not None
            and unit.state is UnitState.FAILED
            and unit.content_hash in ("", document.content_hash)
        ):
            return "failed", unit.error or ""
        if unit is not None and unit.state is UnitState.PENDING:
            return "waits_for_model", unit.error or ""
        if newest is not None and newest.state not in FINAL_RUN_STATES:
            self.run_id = newest.id
            self._facts |= {"run": newest.id[-6:], "state": newest.state}
            return "under_way", ""
        if self.agent.lifecycle != "active":
            return "paused", ""
        if past is not None and past.content_hash:
            return ("other_settings" if is_same else "changed"), ""
        limits = [one.message for one in newest.errors if not one.unit_key] if newest is not None else []
        return ("left", limits[0]) if limits else ("unread", "")

    def explanation(
        self, code: str, because: str, remedy: str, lines: Sequence[ExplainedLine] | None = None
    ) -> Explanation:
        """Return the answer about the file."""
        return Explanation(
            agent=self.agent.name,
            device=self.agent.device_name,
            path=self.path,
            code=code,
            because=because,
            remedy=remedy,
            run_id=self.run_id,
            is_read=lines is not None,
            counts=dict(Counter(one.code for one in lines or ())),
            lines=tuple(lines or ())[:MOST_LINES],
        )

    def empty_line(self, text: str, line: int) -> ExplainedLine:
        """Return why nothing is said of a line."""
        count = len(_NEW_LINE.findall(text)) + 1
        code = "blank" if line <= count else "no_line"
        because, remedy = self(code, detail=count)
        return ExplainedLine(first=line, last=line, code=code, because=because, remedy=remedy)


def _day(at_ms: int) -> str:
    return f"{from_epoch_ms(at_ms):%Y-%m-%d %H:%M} UTC"


class _Texts:
    """Sentences of a document, with all that is known of them."""

    def __init__(
        self,
        document: Document,
        found: Extraction,
        everything: ruled.Reading,
        decisions: Sequence[Decision],
        known: Known,
        asks: str | None,
    ) -> None:
        self._text = document.text
        self._found = found
        self._everything = everything
        self._decisions = decisions
        self._asks = asks  # reason of prose without an item, if a model reads it
        self._begins = [0, *(match.end() for match in _NEW_LINE.finditer(document.text))]
        self._sentences = list(chunk.sentences(document.text, 0, len(document.text)))
        paired = {id for one in decisions for row in (one.before, one.elsewhere) if row for id in [row.id]}
        self._left = [one.row for one in known.here if one.row.id not in paired]
        self._sha256 = document.content_hash

    def lines(self, reasons: _Reasons, chosen: Collection[str]) -> Iterator[ExplainedLine]:
        """Yield what became of each sentence, in the order of the text."""
        entries = [*self._of_items(reasons), *self._of_rows(reasons)]
        taken = _Spans(place for place, _ in entries)
        entries += self._of_drops(reasons, taken)
        taken = _Spans(place for place, _ in entries)
        first: dict[str, int] = {}
        for start, end in self._sentences:
            if taken.touch(start, end):
                first.setdefault(fold(self._text[start:end]), self._line(start))
            elif chunk.is_readable(self._text[start:end]):
                entries.append(((start, end), self._of_sentence(reasons, start, end, first, chosen)))
        for (start, end), entry in sorted(entries, key=lambda one: one[0]):
            last = self._line(max(start, end - 1))
            yield msgspec.structs.replace(entry, first=self._line(start), last=last)

    def _line(self, place: int) -> int:
        return bisect_right(self._begins, place)

    def _of_items(self, reasons: _Reasons) -> Iterator[tuple[tuple[int, int], ExplainedLine]]:
        for item, decision in zip(self._found.items, self._decisions, strict=True):
            row = decision.before if decision.elsewhere is None else None
            is_again = row is not None and row.verdict == "rejected" and decision.call is not None
            notes = reasons.unit.notes if reasons.unit is not None else None
            if row is not None and not is_again:
                entry = _of_row(reasons, row)
            elif decision.elsewhere is not None:
                other = decision.elsewhere
                entry = _entry(reasons, "duplicate", other.target_table, other.id, path=other.unit_key)
            elif decision.skipped is not None:
                entry = _entry(reasons, decision.skipped, item.table)
            elif left := (notes or {}).get("left_out"):
                entry = _entry(reasons, "left_out", item.table, detail=next(iter(left)))
            else:
                entry = _entry(reasons, "new", item.table)
            title = next(iter(item.data.values()), "")
            marks = tuple(map(str, item.warnings))
            entry = msgspec.structs.replace(entry, title=str(title), found_by=item.origin, marks=marks)
            yield (item.start, item.end), entry

    def _of_rows(self, reasons: _Reasons) -> Iterator[tuple[tuple[int, int], ExplainedLine]]:
        """Yield the items of the ledger that were not found again, as those of a model that is not asked."""
        hashes = {quote_hash_of(self._text[start:end]): (start, end) for start, end in self._sentences}
        for row in self._left:
            source = row.source or {}
            place = hashes.get(row.place_hash) or hashes.get(row.quote_hash)
            if source.get("sha256") == self._sha256:
                place = source["start"], source["end"]
            if place is not None:
                found_by = source.get("found_by")
                yield place, msgspec.structs.replace(_of_row(reasons, row), found_by=found_by)

    def _of_drops(
        self, reasons: _Reasons, taken: "_Spans"
    ) -> Iterator[tuple[tuple[int, int], ExplainedLine]]:
        for note in self._found.dropped:
            if note.reason in _DROPPED and note.start < note.end and not taken.touch(note.start, note.end):
                code = "twice" if note.reason == "duplicate" else note.reason
                yield (
                    (note.start, note.end),
                    _entry(reasons, code, note.table, detail=note.detail, line="another"),
                )

    def _of_sentence(
        self, reasons: _Reasons, start: int, end: int, first: Mapping[str, int], chosen: Collection[str]
    ) -> ExplainedLine:
        """Return why a sentence has no item."""
        if line := first.get(fold(self._text[start:end])):
            return _entry(reasons, "twice", line=line)
        others = [
            item
            for item in self._everything.items
            if item.start < end and start < item.end and item.table not in chosen
        ]
        if others:
            return _entry(reasons, "not_chosen", others[0].table)
        if any(passage.start < end and start < passage.end for passage in self._everything.form.prose):
            return _entry(reasons, self._asks or "no_rule")
        return _entry(reasons, "not_prose")


class _Spans:
    """Places in the order of a text, which may overlap."""

    def __init__(self, places: Iterator[tuple[int, int]]) -> None:
        self._places = merged(places)
        self._ends = [end for _, end in self._places]

    def touch(self, start: int, end: int) -> bool:
        """Return True if one of the places has a part of this one."""
        nth = bisect_right(self._ends, start)
        return nth < len(self._places) and self._places[nth][0] < end


def _of_row(reasons: _Reasons, row: ItemRow) -> ExplainedLine:
    code = str(row.verdict) if row.verdict != "open" else "marked" if row.warnings else "item"
    if row.answered_at is None:
        code = "not_delivered"
    at, by = _day(row.verdict_at or 0), reasons.judges.get(row.id, "its owner")
    marks = "; ".join(f"{mark}: {MARKS[mark]}" for mark in row.warnings if mark in MARKS)
    return _entry(reasons, code, row.target_table, row.id, at=at, by=by, marks=marks)


def _entry(
    reasons: _Reasons, code: str, table: str | None = None, item_id: str | None = None, **facts: object
) -> ExplainedLine:
    item = (item_id or "")[-6:]
    because, remedy = reasons(code, table=table, item=item, **facts)
    return ExplainedLine(
        first=0, last=0, code=code, because=because, remedy=remedy, table=table, item_id=item_id
    )
