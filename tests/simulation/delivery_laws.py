"""Laws I6, I7 and I14, about deliveries to devices and questions to models."""

from collections import Counter
from collections.abc import Collection
from typing import Any, Final

from hub.base.log.channel import bound
from hub.runs.found_items import quote_hash_of
from protocol.ids import RunId
from storage.executing_runs import FencedRun
from storage.runs.plans import UnitPlan
from tests.simulation.device import SimDevice
from tests.simulation.files import REFUSED_WORD, edition, files_of, line_of
from tests.simulation.laws import Law
from tests.simulation.memory import Row
from tests.simulation.store import Commit

JUDGED_ITEM: Final = """
    SELECT device_id, json_extract(data, '$.title'), verdict, EXISTS (
        SELECT 1 FROM item_verdicts WHERE item_id = items.id AND verdict = 'undo' AND state = 'done')
    FROM items WHERE id = ?"""


class Deliveries(Law):
    """I6: a device has the items that were sent to it, each once; a COMPLETED run has no open call."""

    def __init__(
        self,
        *given: Any,
        devices: list[SimDevice],
        was_restored: bool = False,
        sent: Collection[str] = (),
    ) -> None:
        super().__init__(*given)
        self._sent = sent  # by hubs whose rows are gone
        self._was_restored = was_restored
        self._devices = devices
        self._rejected: dict[str, tuple[str, str]] = {}  # by item: device and title, as reported to the hub

    def row_made(self, device: SimDevice, row: Row) -> None:
        """Check a row that a device is about to insert or change."""
        call = self.facts.disk.one("SELECT state, action FROM run_calls WHERE call_id = ?", row.call_id)
        if call is None and (row.call_id in self._sent or self._is_sent_again(row)):
            call = ("SENT", None)
        if call is None or call[0] == "PLANNED":
            state = "not in the outbox" if call is None else "not marked as sent"
            self.findings.add("I6", f"{device.id} was sent the call {row.call_id}, which is {state}")
        if row.call_id in device.memory.answers:
            self.findings.add("I6", f"{device.id} does the call {row.call_id} twice")
        others = [other for other in device.memory.rows if other.row_id != row.row_id]
        same = [other for other in others if (other.title, other.sha256) == (row.title, row.sha256)]
        if not self._is_compared(device) and any(not self._is_to_change(device, other) for other in same):
            self.findings.add("I6", f"{device.id} has the item {row.title!r} of {row.path} twice")
        # In these files another sentence is another title.
        if (device.id, row.title) in self._rejected.values():
            self.findings.add("I6", f"{device.id} gets {row.title!r} again, which its owner has rejected")

    def _is_compared(self, device: SimDevice) -> bool:
        """Return True while device and hub reconcile their rows after one of the two was restored."""
        return self._was_restored and bool(
            self.facts.disk.rows(
                "SELECT 1 FROM device_stores WHERE device_id = ? AND agreed_at IS NULL", device.id
            )
        )

    def _is_to_change(self, device: SimDevice, row: Row) -> bool:
        """Return True if a restored device has an outdated copy of the row and an update of it is pending."""
        return self._was_restored and bool(
            self.facts.disk.rows(
                "SELECT 1 FROM items WHERE device_id = ? AND row_id = ? AND call_id <> ?"
                " AND answered_at IS NULL",
                *(device.id, row.row_id, row.call_id),
            )
        )

    def _is_sent_again(self, row: Row) -> bool:
        """Return True if the ledger records that the device had the row."""
        told = self.facts.disk.one("SELECT answered_at FROM items WHERE call_id = ?", row.call_id)
        return told is not None and told[0] is not None

    def after(self, commit: Commit) -> None:
        for item_id in commit.touched.ids.get("judged items", ()):
            self._note_rejected(item_id)
        if commit.name == "has_settled_tree" and commit.value:
            self._settled_tree(*commit.args)
        for _, run in self.facts.changes:
            if run is not None and run.state == "COMPLETED":
                (calls,) = self.facts.disk.one(
                    "SELECT count(*) FROM run_calls WHERE run_id = ? AND state IN ('PLANNED', 'SENT')", run.id
                )
                if calls:
                    self.findings.add("I6", f"run {run.id} is COMPLETED with {calls} open calls")

    def _note_rejected(self, item_id: str) -> None:
        """Note an item that its owner has rejected, until that is undone."""
        device_id, title, verdict, is_undone = self.facts.disk.one(JUDGED_ITEM, item_id)
        if title and verdict == "rejected":
            self._rejected[item_id] = (device_id, line_of(title))
        elif is_undone:
            self._rejected.pop(item_id, None)

    def _settled_tree(self, held: FencedRun, digest: str, at: int) -> None:
        """Check that each file of a tree that needs no listing is in the ledger."""
        entries = self.facts.disk.rows(
            "SELECT unit_key, content_hash FROM unit_ledger JOIN runs USING (agent_id, config_fingerprint)"
            " WHERE runs.id = ?",
            held.id,
        )
        for file in files_of(digest.split()[-1]):
            if (file.path, file.sha256) not in entries:
                self.findings.add(
                    "I6", f"run {held.id} passed over {file.path}, which the ledger does not have"
                )

    def at_the_end(self) -> None:
        done = {call_id for device in self._devices for call_id in device.memory.answers}
        calls = self.facts.disk.rows("SELECT call_id, state, run_id FROM run_calls")
        states = {call_id: state for call_id, state, _ in calls}
        sent = {c for c, state in states.items() if state != "PLANNED"}
        # After a restore, hub and device each know calls that the other does not.
        for call_id in () if self._was_restored else sorted(done - sent):
            self.findings.add("I6", f"the call {call_id} is done at a device, it was never sent")
        for call_id, state, run_id in calls:
            if state == "ACKED" and call_id not in done and not self._was_restored:
                self.findings.add("I6", f"the call {call_id} of run {run_id} is ACKED, no device has done it")
        for device in self._devices:
            self._ledger(device)
            self._settled_units(device)

    def _ledger(self, device: SimDevice) -> None:
        """Check that the device has every row that the ledger records, except rows removed by the owner.

        A row whose answer was lost before its owner's verdict was reported is known by its call only.
        """
        by_call = {row.call_id: row.row_id for row in device.memory.rows}
        there = {row.row_id: row.title for row in device.memory.rows}
        recorded = self.facts.disk.rows(
            "SELECT row_id, call_id, json_extract(data, '$.title') FROM items"
            " WHERE device_id = ? AND answered_at IS NOT NULL AND verdict <> 'rejected'"
            " AND config_fingerprint <> ''",
            device.id,
        )
        for known_row, call_id, title in recorded:
            row_id = str(known_row or by_call.get(call_id))
            title = line_of(title)
            if there.get(row_id) != title and title not in device.memory.rejected:
                self.findings.add(
                    "I6", f"{device.id} has {there.get(row_id)!r} in {row_id}, the ledger says {title!r}"
                )

    def _settled_units(self, device: SimDevice) -> None:
        """Check that each item of a file that all agents have processed is at the device exactly once."""
        there = Counter(row.title for row in device.memory.rows if not self._is_to_change(device, row))
        settled = self.facts.disk.rows(
            "SELECT unit_key, min(content_hash), max(content_hash) FROM unit_ledger"
            " JOIN agents ON agents.id = agent_id WHERE device_id = ? GROUP BY unit_key ORDER BY unit_key",
            device.id,
        )
        for path, first, last in settled:
            file = device.folder.find(path)
            if file is None or {first, last} != {file.sha256}:
                continue
            for title in file.items:
                count = there[title]
                if count > 1:
                    self.findings.add("I6", f"{device.id} has {title!r} twice")
                elif not count and REFUSED_WORD not in title and not self._is_rejected(device, title):
                    self.findings.add("I6", f"{device.id} has not {title!r}, which is settled")

    def _is_rejected(self, device: SimDevice, title: str) -> bool:
        """Return True if the owner rejected the item, or removed the row that would have become it."""
        told = self.facts.disk.rows(
            "SELECT json_extract(data, '$.title') FROM items WHERE device_id = ? AND verdict = 'rejected'",
            device.id,
        )
        hashes = self.facts.disk.rows(  # of items whose words only a device of a lost day knew
            "SELECT quote_hash FROM items WHERE device_id = ? AND verdict = 'rejected'", device.id
        )
        return (
            title in device.memory.rejected
            or title in {line_of(said) for (said,) in told}
            or (quote_hash_of(title),) in hashes
        )


class Questions(Law):
    """I7: the model is not asked about content that was read in this run or known at its start.

    I14: a question that was answered for an agent is not asked again, and a run's cost is the sum of its
    calls.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._commits = 0
        self._began: dict[str, int] = {}  # run: number of the commit that started it last
        self._settled: dict[tuple[str, str], int] = {}  # agent and unit: number of the commit

    def after(self, commit: Commit) -> None:
        self._commits += 1
        for before, run in self.facts.changes:
            if run is not None and run.state == "PREPARING" and (before is None or before.state == "QUEUED"):
                self._began[run.id] = self._commits
        settled: Collection[tuple[RunId, str]] = ()
        if commit.name == "plan_units":
            settled = [
                (unit.held.id, unit.unit_key)
                for unit, plan in zip(commit.args[0], commit.value, strict=True)
                if isinstance(plan, UnitPlan) and plan.settled is not None
            ]
        elif commit.name == "settle_unit":
            settled = [(commit.args[0].id, commit.args[1])]
        elif commit.name == "settle_answers":
            settled = [
                (batch.held.id, unit)
                for batch, result in zip(commit.args[0], commit.value, strict=True)
                for unit in result.done
            ]
        for run_id, unit in settled:
            self._settled[self.facts.runs[run_id].agent_id, unit] = self._commits

    def asked(self, path: str, number: int, question: str) -> None:
        """Check a *question* to the model about an edition of a file."""
        run = self.facts.runs.get(str(bound().get("run_id")))
        if run is None:
            self.findings.add("I7", f"somebody asked about {path} outside of any run")
            return
        disk = self.facts.disk
        # Two hubs of one database do not see each other's open questions.
        if not self.around.is_shared and disk.one(
            "SELECT 1 FROM model_answers WHERE agent_id = ? AND question = ?", run.agent_id, question
        ):
            self.findings.add("I14", f"run {run.id} asked about {path} what was answered before")
        if bound().get("fence") != run.fence:
            return  # of a hub that was halted before the question: another one has taken the run over
        unit = disk.one("SELECT state FROM run_units WHERE run_id = ? AND unit_key = ?", run.id, path)
        if unit is not None and unit[0] in ("EXTRACTED", "DONE", "SKIPPED"):
            self.findings.add("I7", f"run {run.id} asked about {path}, which is {unit[0]}")
        known = disk.one(
            "SELECT ledger.run_id FROM unit_ledger AS ledger JOIN runs ON runs.id = ?"
            " WHERE ledger.agent_id = runs.agent_id AND ledger.unit_key = ? AND ledger.content_hash = ?"
            " AND ledger.config_fingerprint = runs.config_fingerprint",
            run.id,
            path,
            edition(path, number).sha256,
        )
        # Two concurrent runs of one agent do not see each other's results.
        if known is not None and self._settled.get((run.agent_id, path), 0) < self._began.get(run.id, 0):
            self.findings.add("I7", f"run {run.id} asked about {path}, settled in run {known[0]}")

    def at_the_end(self) -> None:
        for run_id, counted, asked in self.facts.disk.rows(
            "SELECT id, model_requests, coalesce((SELECT sum(requests) FROM model_calls"
            " WHERE run_id = runs.id), 0) AS asked FROM runs WHERE model_requests <> asked"
        ):
            self.findings.add("I14", f"run {run_id} counts {counted} questions, {asked} were sent for it")
