"""Laws about what reaches devices and models: I6 and I7."""

from collections import Counter
from typing import Any

from hub.log.channel import bound
from tests.simulation.device import Row, SimDevice
from tests.simulation.files import REFUSED_WORD, edition, known_edition
from tests.simulation.laws import Law
from tests.simulation.store import Commit

Identity = tuple[str, str, str, str, str]


class Deliveries(Law):
    """I6: what a device has is what was sent to it, each item once; a run that is COMPLETED owes nothing."""

    def __init__(self, *given: Any, devices: list[SimDevice]) -> None:
        super().__init__(*given)
        self._devices = devices
        self._there: dict[str, set[Identity]] = {}

    def row_made(self, device: SimDevice, row: Row) -> None:
        """A device is about to write a row."""
        call = self.facts.disk.one("SELECT state FROM run_calls WHERE call_id = ?", row.call_id)
        if call is None or call[0] == "PLANNED":
            state = "not in the outbox" if call is None else "not marked as sent"
            self.findings.add("I6", f"{device.id} was sent the call {row.call_id}, which is {state}")
        if any(known.call_id == row.call_id for known in device.memory.rows):
            self.findings.add("I6", f"{device.id} has two rows for the call {row.call_id}")
        item = self._identity(row)
        there = self._there.setdefault(device.id, set())
        if item in there:
            self.findings.add("I6", f"{device.id} has the item {row.title!r} of {row.path} twice")
        there.add(item)

    def after(self, commit: Commit) -> None:
        for _, run in self.facts.changes:
            if run is not None and run.state == "COMPLETED":
                (calls,) = self.facts.disk.one(
                    "SELECT count(*) FROM run_calls WHERE run_id = ? AND state IN ('PLANNED', 'SENT')", run.id
                )
                if calls:
                    self.findings.add("I6", f"run {run.id} is COMPLETED with {calls} open calls")

    def at_the_end(self) -> None:
        rows = {row.call_id: row for device in self._devices for row in device.memory.rows}
        calls = self.facts.disk.rows("SELECT call_id, state, run_id FROM run_calls")
        states = {call_id: state for call_id, state, _ in calls}
        for call_id in sorted(rows.keys() - {c for c, state in states.items() if state != "PLANNED"}):
            self.findings.add("I6", f"a row of the call {call_id} is at a device, the call was never sent")
        for call_id, state, run_id in calls:
            if state == "ACKED" and call_id not in rows:
                self.findings.add("I6", f"the call {call_id} of run {run_id} is ACKED, its row is nowhere")
        self._settled_units()

    def _settled_units(self) -> None:
        """Every item of every edition of a file that was settled is at the device once."""
        there = Counter(
            (row.agent_id, row.path, row.sha256, self._fingerprint(row.run_id), row.title)
            for device in self._devices
            for row in device.memory.rows
        )
        settled = self.facts.disk.rows(
            "SELECT DISTINCT runs.agent_id, unit_key, content_hash, config_fingerprint FROM run_units"
            " JOIN runs ON runs.id = run_units.run_id WHERE run_units.state = 'DONE'"
            " ORDER BY 1, 2, 3, 4"
        )
        for agent_id, path, sha256, fingerprint in settled:
            file = known_edition(sha256)
            for title in file.items if file is not None else ():
                count = there[(agent_id, path, sha256, fingerprint, title)]
                if count != (0 if REFUSED_WORD in title else 1):
                    self.findings.add("I6", f"{count} rows of {title!r}, settled for agent {agent_id}")

    def _identity(self, row: Row) -> Identity:
        return row.agent_id, row.path, row.sha256, self._fingerprint(row.run_id), row.title

    def _fingerprint(self, run_id: str) -> str:
        found = self.facts.disk.one("SELECT config_fingerprint FROM runs WHERE id = ?", run_id)
        return "" if found is None else str(found[0])


class Questions(Law):
    """I7: the model is not asked about what was read in this run, or known when it began."""

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
        if commit.name == "settle_unit":
            held, unit = commit.args
            self._settled[self.facts.runs[held.id].agent_id, unit] = self._commits

    def asked(self, path: str, number: int) -> None:
        """The model is about to be asked about an edition of a file."""
        run = self.facts.runs.get(str(bound().get("run_id")))
        if run is None:
            self.findings.add("I7", f"somebody asked about {path} outside of any run")
            return
        disk = self.facts.disk
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
        # Two runs of one agent at the same time do not see what the other one settles meanwhile.
        if known is not None and self._settled.get((run.agent_id, path), 0) < self._began.get(run.id, 0):
            self.findings.add("I7", f"run {run.id} asked about {path}, settled in run {known[0]}")
