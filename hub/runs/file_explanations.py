"""Explanation for ``hub why``: why a file or line became an item of an agent, or none.

The file is read again as it is now, and by the rules of a run, so the reasons hold for the next run. No model
is asked: its answers come from the journal, or its items from the ledger. Nothing is written. No text of the
file is passed on: places are numbers of lines.
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from heapq import nlargest
from pathlib import PureWindowsPath
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from hub.agents.prompts import BadPrompt
from hub.base.clock import utc_text
from hub.base.printable import shell_word
from hub.document import Document
from hub.extraction import chunk, judge
from hub.extraction.authorship import rank_of_unit
from hub.extraction.items import Extraction, Item
from hub.extraction.model import ModelAnswer, ModelError, ModelRequest, ModelUnavailable
from hub.extraction.ruled import RulesResult
from hub.extraction.tiers import TieredItems
from hub.links.device_link import DeviceLink
from hub.runs.asking import NoModel, RunModel, question_of
from hub.runs.found_items import found_items, quote_hash_of
from hub.runs.matching import decide
from hub.runs.owner_opinions import correction, tiered
from hub.runs.previewing import PreviewRequest, Previews, RunPreview
from hub.runs.sources import UnreadUnit, plain_path
from hub.runs.verdict_delivery import refused_by
from hub.text.folding import fold
from hub.text.places import merged
from hub.text.quotations import OF_OTHERS, kind_of_others
from protocol.causes import AWAY, FOLDER_MISSING, AwayCause, cause_of, without_folders
from protocol.errors import DeviceOffline, HubError, LinkLost
from protocol.ids import RunId
from protocol.items import MARKS, Rank
from protocol.items import REASONS as WEIGHED
from protocol.lifecycles import FINAL_RUN_STATES, RunOutcome, UnitState
from protocol.skipped_files import LEFT_OUT
from storage import audit
from storage.agents.agents import AgentRow
from storage.agents.state_history import why_left
from storage.devices.devices import NotGranted
from storage.runs import item_verdicts, runs, units
from storage.runs.items import Decision, ItemRow, KnownItems, decided_kinds, known_items
from storage.runs.run_devices import NoDevice
from storage.runs.run_moves import CannotRun, LivesAtGateway
from storage.runs.runs import RunRow
from storage.runs.units import PastUnit
from storage.store import Connection

MAX_REASONS: Final = 1_000  # in an answer about one agent
MAX_PLACES: Final = 12  # of one reason that are named; the others are counted
MAX_PARTS: Final = 48  # of a path, as deep as a device lists
MAX_TEXT: Final = 100_000  # characters whose sentences are explained: an answer has seconds
MAX_LIKELY: Final = 3  # paths that a wrong one may mean
MAX_COMPARED: Final = 200  # names that are compared with a wrong one: comparing one takes 40 µs
MAX_COMPARED_LETTERS: Final = 100  # of the wrong name, whose pairs others may share
_NEW_LINE: Final = re.compile(r"\r\n|\r|\n")

# The hub takes back a verdict that it gave, and none of the device's.
_ON_DEVICE: Final = (
    "on {device}, hub review ls --all has its number; there: hub review edit NUMBER FIELD=VALUE,"
    " or, to delete it, hub review reject NUMBER --approved"
)

_UNGRANTED: Final = ", once its owner has typed hub grants +review.remote=marked there"

# Each reason as a sentence, and how to change it. ``hub help why`` lists them.
REASONS: Final[Mapping[str, tuple[str, str]]] = {
    # the file
    "settled": (
        "run {run} read it{when}, and it has not changed since: no run reads it again",
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
        "device {device} is not connected, so the file cannot be read now: {detail}; {last}",
        "{mend}",
    ),
    FOLDER_MISSING: ("{detail}", "{mend}"),
    "elsewhere": (
        "{detail}, so the file cannot be read here; {last}",
        "ask that node, or give the nodes a bus: hub help cluster",
    ),
    "busy": ("it cannot be read now: {detail}; {last}", "ask again; hub items ls --path {quoted}"),
    "too_long": (
        "its lines were not looked at: {detail}",
        "hub items ls --path {quoted} has its items; to explain a line, ask about a shorter file with it",
    ),
    "not_granted": ("the hub may not read files of {device}", "hub devices grant {device} +files"),
    "cannot_run": ("no run of agent {agent} reads it: {detail}", "hub agents validate {agent}"),
    "no_model": ("{detail}", "name a local model in [model] of hub.toml: hub help models"),
    "unknown": ("{detail}", "hub runs show {run}"),
    # what the device leaves out
    **{
        code: (because, remedy)
        for code, text in LEFT_OUT.items()
        for because, _, remedy in [text.partition(": ")]
    },
    "other_extension": (
        "its ending is none of file_extensions of agent {agent}: {endings}",
        "add its ending: {edit}file_extensions",
    ),
    "outside_paths": ("it is outside of the paths of agent {agent}", "add its folder: {edit}paths"),
    "not_convertible": (
        "it has no text that can be read: {detail}",
        "save it as text, or install what reads it: hub help agents",
    ),
    "key_in_text": (
        "its text or its name has a key or a password, so it stays on the device: {detail}",
        "take it out, or end that line with gitleaks:allow",
    ),
    "too_deep": ("its path is too long, or its folder too deep", "move it up"),
    "too_large": ("it is too large: {detail}", "split it into parts"),
    "missing": ("{device} has no such file{detail}", "name a file that is there: hub runs files {run}"),
    "not_sent": (
        "{device} sends no file whose path ends so, and its program does not say why{detail}; {last}",
        "on {device}, see whether it is there, in the paths of agent {agent}; hub connect names the reason",
    ),
    "ambiguous": ("{device} has several files whose paths end so: {detail}", "name more of its path"),
    "gone": (
        "{device} has no such file any more; {last}",
        "hub items ls --path {quoted} has its items; if it was moved, name its new path",
    ),
    "unreadable": (
        "the device may not open it, or its folder",
        "on {device}: chmod u+r {quoted}; if that does not help: chmod u+rx {folder}",
    ),
    "bad_ignore_file": (
        "its folder has a broken ignore file, so nothing in it is read: {detail}",
        "on {device}: mend that line",
    ),
    "convert_seconds": ("its conversion took too long", "split it, or raise convert_seconds in [limits]"),
    "convert_memory_bytes": (
        "its conversion took too much memory",
        "split it, or raise convert_memory_bytes in [limits]",
    ),
    "recording": (
        "it is a recording: its words are not read again to explain them",
        "hub items ls --path {quoted}",
    ),
    "message": (
        "it is a message of a mailbox, which is not read again to explain it",
        "hub runs files {run}",
    ),
    "no_message": (
        "agent {agent} reads a connector and no files, and has read no message of this name",
        "name a file, or a message as hub runs files {run} lists it",
    ),
    # a sentence that became an item
    "item": ("it became item {item} of {table}, which waits for a verdict", "hub items show {item}"),
    "marked": (
        "it became item {item} of {table}; it is marked, so it is approved only by its own id: {marks}",
        "check its source: hub items show {item}; approve it on {device}: hub review; or here"
        f"{_UNGRANTED}: hub items approve {{item}} --marked",
    ),
    "not_delivered": (
        "it became item {item} of {table}, which the device has not confirmed so far",
        "hub runs show {run} says if the device refused it; else connect the device, then: hub run {agent}",
    ),
    "approved": ("it became item {item} of {table}, approved on {at} by {by}", "hub items undo {item}"),
    "edited": ("it became item {item} of {table}, changed on {at} by {by}", "hub items undo {item}"),
    "rejected": (
        "its item {item} of {table} was rejected on {at} by {by}, so it is not suggested again",
        "hub items undo {item}, or change the sentence",
    ),
    "approved_there": (
        "it became item {item} of {table}, which its owner approved on {at}",
        _ON_DEVICE,
    ),
    "edited_there": (
        "it became item {item} of {table}, which its owner changed on {at}",
        _ON_DEVICE,
    ),
    "rejected_there": (
        "its owner rejected its item {item} of {table} on {at}, so it is not suggested again",
        "change the sentence: no command takes back what was decided on the device",
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
    "held": (
        "it is one of the less sure items, {item} of {table}, which stays at the hub: {detail}",
        "hub items approve {item}, or hub items reject {item}",
    ),
    "unsure": (
        "it is for {table}, among the less sure items that stay at the hub: {detail}",
        "hub run {agent}; then: hub items ls --unsure",
    ),
    # a sentence that became none
    "unlikely": (
        "it is hardly an item of {table}: {detail}",
        "write it as a row of work, '- [ ] ...'",
    ),
    "twice": ("{line} says the same", "say what differs: a day or a name"),
    "done": (
        "it is done already, and what is done is not suggested",
        "take its mark away, if it is not done",
    ),
    "unwanted": (
        "its title was rejected three times, and the agent learns from verdicts",
        "change the sentence, or turn learning off: {edit}learn",
    ),
    "outside": (
        "it is in words of others, as a mail, a quoted line or a clipped page has, and the agent drops those",
        "{edit}outside, to mark; of a mail, name the sender in known_senders; in a note, write it in words of"
        " your own, without '>' and outside of the clip",
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
        "write it as a row of work, '- [ ] ...', or {model}: hub help models",
    ),
    "unread_language": (
        "it is in {language}, of which rules read only check boxes and dates",
        "write it as a row of work, '- [ ] ...', or choose a model: hub help models",
    ),
    "no_row": (
        "it is in a table of which no row is work: no columns say what is to be done, and by which day",
        "head a column Task, or Due, Pay by or Call back by above a day in most rows: hub help extraction",
    ),
    "beyond_budget": (
        "{detail} were not read, as they would cost more than texts of its author may ({size})",
        "split the file, or write tasks as rows, '- [ ] ...', which cost little; of a mail by a known person,"
        " name its sender in known_senders",
    ),
    "not_prose": (
        "it is a part of its format that makes no record by itself: a heading, a field, or what is given up",
        "write it as a row of its own",
    ),
    "blank": ("the line has no words, or its device wrote it for an approved item", "name another line"),
    "empty": ("it is empty", "write something into it"),
    "own_rows": (
        "it has nothing but blanks and rows that its device wrote there for approved items",
        "write a line of your own; hub items ls --all has approved items",
    ),
    "no_line": (
        "its last line is {detail}",
        "name another line; of a converted file, lines are those of its text",
    ),
}
_CODES: Final[Mapping[type[Exception], str]] = {
    **dict.fromkeys((CannotRun, LivesAtGateway, NoDevice, BadPrompt), "cannot_run"),
    **dict.fromkeys((DeviceOffline, LinkLost), "device_away"),
    NotGranted: "not_granted",
    NoModel: "no_model",
}
Place = tuple[int, int]


class Reason(msgspec.Struct, kw_only=True):
    """Reason why a file or lines of it became an item, or none.

    Attributes:
        lines: numbers of lines, as in ``3, 7-9``; empty: the file as a whole.
        code: a key of ``REASONS``.
        because: the reason as a sentence.
        remedy: how to change it.
        run_id: the run that read or tried the file last.
        item_id: the item, or that of another source that says the same.
        judged: tier and probability of an item of a rule, what weighed most, and the verdicts that moved it;
            of the file, what kind of document it is taken for.
    """

    agent: str
    device: str | None
    path: str
    lines: str = ""
    code: str
    because: str
    remedy: str
    run_id: RunId | None = None
    table: str | None = None
    item_id: str | None = None
    title: str = ""
    found_by: str | None = None
    judged: str = ""


class _Recalled(RunModel):
    """A model that answers from the journal alone."""

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        # Not alone with the question: a run that asks it holds it for as long as the model thinks.
        if (answer := await self._journaled(question_of(self.name, request))) is None:
            raise ModelUnavailable("the journal has no answer")
        return answer


def similar(wrong: str, names: Iterable[str]) -> list[str]:
    """Return names that a wrong one may mean, the most similar first.

    Only the names that share most pairs of letters with it are compared.
    """
    pairs = {wrong[at : at + 2] for at in range(min(len(wrong), MAX_COMPARED_LETTERS) - 1)}
    nearest = nlargest(MAX_COMPARED, names, key=lambda name: sum(pair in name for pair in pairs))
    return get_close_matches(wrong, nearest, MAX_LIKELY)


class Explainer:
    """Maker of explanations. Two are made at once with the previews of a hub: both read documents."""

    def __init__(self, previews: Previews) -> None:
        self._previews = previews
        self._store = previews.store

    async def explain(
        self,
        agent: AgentRow,
        path: str,
        line: int | None,
        link: DeviceLink | None,
        *,
        within_s: float,
        away: str = "",
    ) -> list[Reason]:
        """Return the reason of a file, then those of all its lines, or of one.

        Args:
            within_s: longest time to read the file.
            away: why the device, which is connected to another node, cannot be asked; empty: it can.
        """
        key = await self.known(agent, path) or path
        code = detail = ""
        file, top = None, list[Reason]()
        try:
            with anyio.fail_after(within_s):
                preview = await self._previews.open(agent, PreviewRequest(), link)
                found = await preview.find(path)
                if key != path and (
                    found is None or (isinstance(found, UnreadUnit) and found.code == "missing")
                ):
                    found = await preview.find(key)
                if isinstance(found, Document) and found.recording is None:
                    file = _File(agent, found.unit_key, *await self._store.read(_past, agent, found.unit_key))
                    file.takes_marked = link is not None and refused_by(link, is_marked=True) is None
                    top = [file.of_document(found, preview.order.settings.config_fingerprint)]
                    if not found.text.strip():
                        return [*top, file.reason("own_rows" if found.text.strip("\r\n") else "empty")]
                    if len(found.text) <= MAX_TEXT:
                        rows = await self._sentences(preview, found, file, top[0])
                        return [*top, *_grouped(file, found.text, rows, line)]
            if isinstance(found, Document) and top:
                code, detail = "too_long", f"it has more than {MAX_TEXT:,} characters"
                if file is not None and (lines := file.notes.get("unread_lines")):
                    size = f"{file.notes['unread_chars']:,} characters"
                    top += [file.reason("beyond_budget", detail=f"sentences in {lines:,} lines", size=size)]
            elif isinstance(found, UnreadUnit):
                code, detail = found.code, found.message.partition(": ")[2] or found.message
            else:
                code = "message" if link is None else "other_extension" if found is None else "recording"
                endings = tuple(ending.lower() for ending in agent.file_extensions) or ("",)
                is_explained = link is None or link.can("agent_run.only") or not key.lower().endswith(endings)
                if found is None and not is_explained:
                    code = "not_sent"
        except TimeoutError:
            code, detail = "too_long" if top else "busy", f"it took more than {within_s:.1f} s"
        except HubError as exc:
            code, detail = _CODES.get(type(exc), "busy"), str(exc)
            if away and code == "device_away":
                code, detail = "elsewhere", away
        if code == "message" and await self.known(agent, path) is None:
            code = "no_message"
        key = path if code == "outside_shared" else key
        cause = await self._cause(agent, link) if code in ("device_away", "outside_shared") else None
        mend = ""
        if cause is not None:
            code = FOLDER_MISSING if link is not None else code
            detail, mend = cause.sentence, cause.remedy.format(device=agent.device_name)
        file = file or _File(agent, key, *await self._store.read(_past, agent, key))
        if code == "missing" and file.was_read:
            code = "gone"
        elif code in ("missing", "not_sent"):
            names = {
                unit_key.rpartition("/")[2]: unit_key
                for unit_key in await self._store.read(units.unit_keys, agent.id)
            }
            likely = [names[name] for name in similar(path.rpartition("/")[2], names)]
            detail = f"; did you mean {' or '.join(likely)}?" if likely else ""
        return [*top, file.reason(code, detail=detail, mend=mend)]

    async def _cause(self, agent: AgentRow, link: DeviceLink | None) -> AwayCause | None:
        """Return why the device is away, or connected without a folder; None: neither is so."""
        if link is not None:
            return cause_of(without_folders(link.missing)) if link.missing else None
        if agent.device_id is None:
            return None
        left = await self._store.read(why_left, [agent.device_id])
        return cause_of(left.get(agent.device_id)) or AWAY["connection_lost"]

    async def known(self, agent: AgentRow, path: str) -> str | None:
        """Return the path as the agent knows it, or its only file whose path ends so; None: it knows none.

        The end of a name, with its ending, may be written in another form and begin within the name.
        A device need not send what is before its shared folder, so a whole path may lack its first parts.
        """
        plain = plain_path(path)
        is_whole = path.startswith("~") or PureWindowsPath(path).anchor  # also of Linux and macOS
        parts = plain.split("/")[-MAX_PARTS:] if is_whole else []
        ends = [path, plain, *("/".join(parts[nth:]) for nth in range(len(parts)))]
        known = await self._store.read(units.past_units, agent.id, ends)
        if known:
            return next(end for end in ends if end in known)
        keys = await self._store.read(units.unit_keys, agent.id)
        inside = [key for key in keys if key.endswith(f"/{plain}")]
        if not inside and "." in plain:
            end = fold(plain)
            befores = {key: fold(key).removesuffix(end)[-1:] for key in keys if fold(key).endswith(end)}
            inside = [key for key, before in befores.items() if not (before.isalnum() or before == "_")]
            inside = [key for key in inside if befores[key] in ("", "/")] or inside
        return inside[0] if len(inside) == 1 else None

    async def _sentences(
        self, preview: RunPreview, document: Document, file: "_File", top: Reason
    ) -> list[tuple[Place, Reason]]:
        """Return the reasons of all sentences and items with their places, in the order of the text.

        Args:
            top: the reason of the file, which gets the kind of document.
        """
        order, extractor, models = preview.order, self._previews.extractor, preview.asking.models
        options = await preview.options()
        document = await self._previews.own_rows.blank(order.user_id, document)
        unit = preview.asking.about(document.unit_key)
        try:
            found = await extractor.extract(
                document, options, through=lambda model: _Recalled(model, unit), models=models
            )
        except ModelError:
            found = await extractor.extract_by_rules(document, options)
        everything = await extractor.read_all_tables(document, options, models)
        unread = "no_rule"
        if language := next(iter(found.notes.unread_languages), None):
            unread = "unread_language"
            file.name_language(language)
            top.because += f"; it is in {language}, which rules do not read: {file.reason(unread).remedy}"
        if rank_of_unit(document.unit_key) is Rank.OWN and (by_others := kind_of_others(document.text)):
            why, remedy = OF_OTHERS[by_others]
            top.because += f"; its words count as those of others, since {why}: if they are yours, {remedy}"
        if not extractor.reads_prose_by_rules(options, models):
            is_read = file.is_settled or not found.notes.awaits_model
            unread = "no_item" if is_read else "not_asked"
        elif models.choose(allow_cloud=options.allow_cloud) is not None:
            file.leaves_prose_to_rules()
        decided = await self._store.read(decided_kinds, order.agent_id)
        kind = judge.kind_of(document)
        top.judged = WEIGHED[f"document_{kind}"] if any(item.evidence for item in found.items) else ""
        found, tiers = tiered(document, found, decided)
        items = found_items(document, found.items, order.settings.timezone, options.tables, tiers.unsure)
        ordered = [found.items[item.ordinal] for item in items]
        finder = preview.finder(document)

        def read(c: Connection) -> KnownItems:
            known = known_items(c, finder, items)
            given = item_verdicts.newest_verdicts(
                c, [known_item.row.id for known_item in (*known.here, *known.elsewhere)]
            )
            names = audit.actor_names(c, {row.actor for row in given.values()})
            file.judges = {(id, row.settled_at): names[row.actor] for id, row in given.items()}
            return known

        known = await self._store.read(read)
        decisions = decide(
            known,
            found=items,
            document=document,
            timezone=order.settings.timezone,
            can_update=True,
            learns=order.settings.learn,
            with_done=True,
        )
        paired = {
            row.id
            for decision in decisions
            for row in (decision.before, decision.elsewhere)
            if row is not None
        }
        left = [known_item.row for known_item in known.here if known_item.row.id not in paired]

        def work() -> list[tuple[Place, Reason]]:
            judgements = {
                id(item): _judgement(tier, item, correction(item, document, decided))
                for tier, some in zip(TieredItems._fields, tiers, strict=True)
                for item in some
            }
            rows = [*_of_items(file, ordered, decisions, judgements), *_of_rows(file, document, left)]
            rows += [*_of_unlikely(file, tiers.unlikely, judgements), *_of_dropped(file, found, rows)]
            rows += [*_of_others(file, document.text, everything, order.settings.data_types, unread, rows)]
            return sorted(rows, key=lambda row: row[0])

        return await anyio.to_thread.run_sync(work)


def _past(c: Connection, agent: AgentRow, key: str) -> tuple[PastUnit, RunRow | None, bool]:
    """Return the past of a unit, the agent's newest run, and whether one ended well after the unit's last."""
    past = units.past_units(c, agent.id, [key]).get(key) or PastUnit(key)
    newest = next(iter(runs.list_runs(c, agent_id=agent.id, limit=1)), None)
    good = runs.list_runs(c, agent_id=agent.id, outcome=RunOutcome.SUCCESS, limit=1)
    is_over = past.unit is not None and any(
        run.id != past.run_id and (run.completed_at or 0) > past.unit.updated_at for run in good
    )
    return past, newest, is_over


class _File:
    """File of an agent, with its past.

    Attributes:
        judges: names of those who gave the newest verdicts at the hub, by item and end of the verdict.
        is_settled: a run has read it as it is, with the settings of now.
        takes_marked: its device takes verdicts about marked items from this hub.
        was_read: a run has had it, as it is or as it was.
    """

    def __init__(
        self, agent: AgentRow, path: str, past: PastUnit, newest: RunRow | None, is_over: bool
    ) -> None:
        self._agent = agent
        self._past = past
        self._newest = newest
        self.notes = (self._past.unit and self._past.unit.notes) or {}
        self.judges: dict[tuple[str, int | None], str] = {}
        self.is_settled = self.takes_marked = False
        self.was_read = self._past.done_in is not None
        when = f" at {utc_text(past.done_at)}" if past.done_at else ""
        last = "no run has read it so far"
        if past.done_in:
            last = f"run {past.done_in[-6:]} {'read' if past.content_hash else 'had'} it{when}"
        if past.unit is not None and past.unit.error and past.run_id and not is_over:
            last = f"run {past.run_id[-6:]} says of it: {past.unit.error}"
        self._facts: dict[str, object] = {
            "agent": agent.name,
            "device": agent.device_name,
            "path": path,
            "quoted": shell_word(path),
            "folder": shell_word(path.rpartition("/")[0] or "."),
            "state": agent.lifecycle,
            "when": when,
            "last": last,
            "edit": f"hub agents edit {agent.name} --set ",
            "endings": ", ".join(agent.file_extensions),
            "model": "set a model",
        }
        if agent.source == "file":
            self._facts["edit"] = f"hub.toml, [[agents]] {agent.name}: "
        self._name_run(self._past.run_id or self._past.done_in or (newest.id if newest is not None else None))

    def leaves_prose_to_rules(self) -> None:
        """Name the setting with which the model that is set reads prose."""
        self._facts["model"] = "set reads_prose of [model] to true, or name a larger model"

    def name_language(self, language: str) -> None:
        """Name the language of the file, which is not read."""
        self._facts["language"] = language

    def _name_run(self, run_id: RunId | None) -> None:
        self._run_id = run_id
        self._facts["run"] = (run_id or "RUN")[-6:]

    def reason(
        self, code: str, *, table: str | None = None, item_id: str | None = None, **facts: object
    ) -> Reason:
        """Return a reason in words."""
        because, remedy = REASONS.get(code, REASONS["unknown"])
        given = {"detail": code, "table": table, "item": (item_id or "")[-6:], **self._facts, **facts}
        return Reason(
            agent=self._agent.name,
            device=self._agent.device_name,
            path=str(self._facts["path"]),
            code=code,
            because=because.format_map(given),
            remedy=remedy.format_map(given),
            run_id=self._run_id,
            table=table,
            item_id=item_id,
        )

    def of_document(self, document: Document, fingerprint: str) -> Reason:
        """Return why the next run reads the file or does not; sentences may repeat it."""
        code, detail = self._code_of(document, fingerprint)
        reason = self.reason(code, detail=detail)
        self._facts |= {"because": reason.because, "remedy": reason.remedy}
        return reason

    def _code_of(self, document: Document, fingerprint: str) -> tuple[str, str]:
        past, unit, newest = self._past, self._past.unit, self._newest
        is_same = past.content_hash == document.content_hash
        self.is_settled = is_same and past.fingerprint == fingerprint
        if self.is_settled:
            self._name_run(past.done_in)
            return "settled", ""
        if unit is not None and unit.state is UnitState.PENDING:
            return "waits_for_model", unit.error or ""
        if (
            unit is not None
            and unit.state is UnitState.FAILED
            and document.content_hash.startswith(unit.content_hash)
        ):
            return "failed", unit.error or ""
        if newest is not None and newest.state not in FINAL_RUN_STATES:
            self._name_run(newest.id)
            self._facts["state"] = newest.state
            return "under_way", ""
        if self._agent.lifecycle != "active":
            return "paused", ""
        if past.content_hash:
            self._name_run(past.done_in)
            return ("other_settings" if is_same else "changed"), ""
        limits = (
            [error.message for error in newest.errors if not error.unit_key] if newest is not None else []
        )
        self._name_run(newest.id if newest is not None else None)
        return ("left", limits[0]) if limits else ("unread", "")

    def of_row(self, row: ItemRow, detail: str = "its file has changed since") -> Reason:
        """Return the reason of an item of the ledger. *detail*: what weighed most in its judgement."""
        code = "marked" if row.warnings else "item"
        if row.verdict == "held":
            code = "held"
        elif row.answered_at is None:
            code = "not_delivered"
        elif row.verdict != "open":
            code = row.verdict if (row.id, row.verdict_at) in self.judges else f"{row.verdict}_there"
        at, by = utc_text(row.verdict_at or 0), self.judges.get((row.id, row.verdict_at))
        marks = "; ".join(f"{mark}: {MARKS[mark]}" for mark in row.warnings if mark in MARKS)
        reason = self.reason(
            code, table=row.target_table, item_id=row.id, at=at, by=by, marks=marks, detail=detail
        )
        reason.remedy = reason.remedy.replace(_UNGRANTED, "") if self.takes_marked else reason.remedy
        reason.title = str(next(iter(row.data.values()), ""))
        reason.found_by = (row.source or {}).get("found_by")
        return reason


Rows = Iterator[tuple[Place, Reason]]


def _judgement(tier: str, item: Item, moved: str) -> str:
    """Return how an item was judged, as ``unsure, 0.62: it is long and it names a day``, or nothing."""
    if item.likelihood is None:
        return ""
    return f"{tier}, {item.likelihood:.2f}: {weighed(item)}" + (f"; {moved}" if moved else "")


def _of_items(
    file: _File, items: Iterable[Item], decisions: Sequence[Decision], judgements: Mapping[int, str]
) -> Rows:
    """Yield the reasons of the items that are found in a text now."""
    limits = ", ".join(file.notes.get("left_out", ()))
    for item, decision in zip(items, decisions, strict=True):
        row, other = decision.before, decision.elsewhere
        if other is not None:
            reason = file.reason("duplicate", table=other.target_table, item_id=other.id, path=other.unit_key)
        elif row is not None and not (row.verdict == "rejected" and decision.call is not None):
            reason = file.of_row(row, weighed(item))
        else:
            code = decision.skipped or ("unsure" if decision.is_held else "left_out" if limits else "new")
            detail = weighed(item) if code == "unsure" else limits
            reason = file.reason(code, table=item.table, detail=detail)
        reason.title, reason.found_by = str(next(iter(item.data.values()), "")), item.origin
        reason.judged = judgements.get(id(item), "")
        yield (item.start, item.end), reason


def _of_rows(file: _File, document: Document, left: Sequence[ItemRow]) -> Rows:
    """Yield the items of the ledger that were not found again, as those of a model that is not asked."""
    text = document.text
    sentences = chunk.sentences(text, 0, len(text)) if left else ()
    places = {quote_hash_of(text[start:end]): (start, end) for start, end in sentences}
    for row in left:
        source = row.source or {}
        place = places.get(row.place_hash) or places.get(row.quote_hash)
        if source.get("sha256") == document.content_hash:
            place = source["start"], source["end"]
        if place is not None:
            yield place, file.of_row(row)


def _of_unlikely(file: _File, items: Iterable[Item], judgements: Mapping[int, str]) -> Rows:
    """Yield the items that rules found and the judge takes for none."""
    for item in items:
        reason = file.reason("unlikely", table=item.table, detail=weighed(item))
        reason.judged = judgements[id(item)]
        yield (item.start, item.end), reason


def weighed(item: Item) -> str:
    """Return what weighed most in the judgement of an item, as a sentence."""
    return " and ".join(WEIGHED.get(reason, reason) for reason in item.reasons)


def _of_dropped(file: _File, found: Extraction, rows: Sequence[tuple[Place, Reason]]) -> Rows:
    """Yield the records that were found, and not used."""
    taken = _Spans(place for place, _ in rows)
    for note in found.dropped:
        if note.reason in REASONS and note.start < note.end and not taken.touch(note.start, note.end):
            code = "twice" if note.reason == "duplicate" else note.reason
            reason = file.reason(code, table=note.table, detail=note.detail, line="another line")
            yield (note.start, note.end), reason


def _of_others(
    file: _File,
    text: str,
    everything: RulesResult,
    chosen: Collection[str],
    unread: str,
    rows: Sequence[tuple[Place, Reason]],
) -> Rows:
    """Yield the sentences without an item.

    Args:
        everything: what the rules of all tables find; *chosen*: the tables of the agent.
        unread: the reason of prose in which nothing was found.
    """
    sentences = list(chunk.sentences(text, 0, len(text)))
    starts, begins = [start for start, _ in sentences], _begins(text)
    (begin, stop), (unread_from, unread_to) = everything.parts
    tables = {bisect_right(starts, item.start + begin) - 1: item.table for item in everything.items}
    taken = _Spans(place for place, _ in rows)
    prose = _Spans((passage.start + begin, passage.end + begin) for passage in everything.form.prose)
    rows_of_tables = _Spans((start + begin, end + begin) for start, end in everything.form.tables)
    first: dict[str, int] = {}
    if unread_from < unread_to:
        lines, rows_read = (
            f"lines {bisect_right(begins, start):,} to {bisect_right(begins, end - 1):,}"
            for start, end in ((unread_from, unread_to), (begin, stop))
        )
        size = f"{unread_to - unread_from:,} characters; rows with marks were read in {rows_read}"
        yield (
            (unread_from, unread_to),
            file.reason("beyond_budget", detail=f"sentences in {lines}", size=size),
        )
    for nth, start, end in _pieces(text, sentences, taken):
        words, table = fold(text[start:end]), tables.get(nth)
        if taken.touch(start, end):
            first.setdefault(words, start)
        elif chunk.is_readable(text[start:end]) and not unread_from <= start < unread_to:
            code = unread if prose.touch(start, end) else "not_prose"
            code = "no_row" if code == "no_rule" and rows_of_tables.touch(start, end) else code
            code = "twice" if words in first else code if table in (None, *chosen) else "not_chosen"
            line = f"line {bisect_right(begins, first.get(words, 0))}"
            yield (start, end), file.reason(code, table=table, line=line)


def _pieces(text: str, sentences: Sequence[Place], taken: "_Spans") -> Iterator[tuple[int, int, int]]:
    """Yield sentences, each with its number; one that has an item line by line, as others have none."""
    for nth, (start, end) in enumerate(sentences):
        at = start
        for line in (
            text[start:end].splitlines(keepends=True) if taken.touch(start, end) else [text[start:end]]
        ):
            yield nth, at, at + len(line)
            at += len(line)


class _Spans:
    """Places of a text."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._places = merged(places)
        self._ends = [end for _, end in self._places]

    def touch(self, start: int, end: int) -> bool:
        """Return True if one of the places has a part of this one."""
        nth = bisect_right(self._ends, start)
        return nth < len(self._places) and self._places[nth][0] < end


def _begins(text: str) -> list[int]:
    return [0, *(match.end() for match in _NEW_LINE.finditer(text))]


def _grouped(
    file: _File, text: str, rows: Sequence[tuple[Place, Reason]], line: int | None
) -> Sequence[Reason]:
    """Return the reasons of all lines or of one, those without an item together with equal ones."""
    begins = _begins(text)
    number = len(begins) - (begins[-1] == len(text))  # of lines: nothing follows the last one's end
    grouped: dict[object, tuple[Reason, list[str]]] = {}
    for (start, end), reason in rows:
        first, last = bisect_right(begins, start), bisect_right(begins, max(start, end - 1))
        if line is None or first <= line <= last:
            key = reason.item_id or (reason.code, reason.because, reason.judged)
            _, places = grouped.setdefault(key, (reason, []))
            places.append(str(first) if first == last else f"{first}-{last}")
    for reason, places in grouped.values():
        beyond = f" and {len(places) - MAX_PLACES} more" if len(places) > MAX_PLACES else ""
        reason.lines = ", ".join(dict.fromkeys(places[:MAX_PLACES])) + beyond
        reason.title = reason.title if len(places) == 1 else ""
    if line is not None and not grouped:
        reason = file.reason("blank" if line <= number else "no_line", detail=number)
        reason.lines = str(line)
        return [reason]
    return [reason for reason, _ in grouped.values()][:MAX_REASONS]
