"""Law about verdicts that people give at a hub: each reaches its row once, or is answered with a conflict."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from protocol.errors import ErrorCode
from protocol.items import ReviewVerdict
from storage.runs.item_verdicts import VerdictRow
from tests.simulation.device import Review, SimDevice
from tests.simulation.facts import Facts
from tests.simulation.files import line_of
from tests.simulation.laws import Findings, Law, Surroundings
from tests.simulation.memory import Row
from tests.simulation.store import Commit

LAW: Final = "verdicts"
TITLE: Final = "SELECT json_extract(data, '$.title') FROM items WHERE id = ?"
CONFLICTS: Final = frozenset({ErrorCode.CHANGED_MEANWHILE, ErrorCode.DATABASE_CONFLICT})
AFTER: Final = {ReviewVerdict.APPROVE: "approved", ReviewVerdict.EDIT: "edited", ReviewVerdict.REJECT: None}


class Given(NamedTuple):
    """Verdict that a hub has accepted, with the words of its item."""

    row: VerdictRow
    title: str


class Applied(NamedTuple):
    """Verdict that a device has applied."""

    device_id: str
    before: Row | None
    after: Row | None


class VerdictsArrive(Law):
    """Law that a verdict is applied once and to its own row, or is refused because the row has changed.

    After undo, the row is what it was. No verdict waits for ever.
    """

    def __init__(
        self,
        facts: Facts,
        around: Surroundings,
        findings: Findings,
        *,
        devices: Sequence[SimDevice],
        was_restored: bool = False,
        given: dict[str, Given],
    ) -> None:
        super().__init__(facts, around, findings)
        self._devices = devices
        self._was_restored = was_restored
        self._given = given  # also before a restore
        self._applied: dict[str, Applied] = {}
        self._decided: set[str] = set()  # calls of rows about which their owners decided at the device

    def after(self, commit: Commit) -> None:
        if commit.name != "give":
            return
        for row in commit.value:
            if isinstance(row, VerdictRow) and row.id not in self._given:
                self._given[row.id] = Given(row, line_of(self.facts.disk.one(TITLE, row.item_id)[0]))

    def decided(self, row: Row) -> None:
        """Note a decision of a row's owner at the device."""
        self._decided.add(row.call_id)

    def reviewed(self, device: SimDevice, review: Review) -> None:
        """Check a verdict that a device has applied or refused."""
        call, before, after, answer = review
        assert call.review is not None
        given = self._given.get(call.id)
        stored = self.facts.disk.one("SELECT state FROM item_verdicts WHERE id = ?", call.id)
        if given is None or (stored is None and not self._was_restored):
            self._add(f"{device.id} got the verdict {call.id}, which nobody has given, or which was undone")
            return
        if stored is not None and stored[0] == "pending":
            self._add(f"{device.id} got the verdict {call.id}, which is not marked as sent")
        if answer.error is not None:
            if answer.error.code in CONFLICTS and not self._was_restored and self._is_as_seen(review):
                self._add(f"{device.id} refused the verdict {call.id} on a row that is as it was seen")
            return
        for row in (before, after):
            if row is not None and given.title and row.title != given.title:
                self._add(f"{device.id} applied the verdict {call.id} on {given.title!r} to {row.title!r}")
        if not self._is_as_seen(review):
            self._add(f"{device.id} applied the verdict {call.id} to {before}, which was changed meanwhile")
        if call.id in self._applied:
            self._add(f"{device.id} applied the verdict {call.id} twice")
        verdict = call.review.verdict
        if verdict in AFTER and (None if after is None else after.state) != AFTER[verdict]:
            self._add(f"{device.id} made {after} of {before} by the verdict {call.id}, which is {verdict}")
        undone = self._applied.get(call.review.seen)
        if verdict is ReviewVerdict.UNDO and undone is not None and after != undone.before:
            self._add(f"{device.id} made {after} of the row that was {undone.before} by undoing")
        self._applied[call.id] = Applied(device.id, before, after)

    def _is_as_seen(self, review: Review) -> bool:
        """Return True if the row is as its owner saw it at the hub."""
        asked = review.call.review
        assert asked is not None
        if asked.verdict is ReviewVerdict.UNDO:
            undone = self._applied.get(asked.seen)
            if undone is None:
                return self._was_restored
            return undone.after == review.before
        before = review.before
        return before is not None and before.state == "open" and before.call_id == asked.seen

    def at_the_end(self) -> None:
        there = {device.id: device for device in self._devices}
        query = "SELECT id, device_id, state, reason, seen_call, sends, epoch FROM item_verdicts ORDER BY id"
        for id, device_id, state, reason, seen, sends, epoch in self.facts.disk.rows(query):
            if state in ("pending", "sent"):
                known = there[device_id].memory.reviews.get(id)
                self._add(f"verdict {id} for {device_id} is {state} ({sends} times, {epoch}; {known})")
            if self._was_restored:
                continue
            if state == "refused" and id in self._applied and seen not in self._decided:
                self._add(f"verdict {id} is refused ({reason}), and {device_id} has applied it")
            if state == "done" and id not in self._applied and seen not in self._decided:
                self._add(f"verdict {id} is done, and {device_id} has not applied it")
        for device in self._devices if not self._was_restored else ():
            self._ledger_agrees(device)

    def _ledger_agrees(self, device: SimDevice) -> None:
        """Check that the hub has the verdict of each row as it is at its device."""
        states: dict[str, str] = {row.call_id: row.state for row in device.memory.rows}
        states |= {row.call_id: "rejected" for row in device.memory.removed}
        query = "SELECT call_id, verdict FROM items WHERE device_id = ? AND answered_at IS NOT NULL"
        for call_id, verdict in self.facts.disk.rows(query, device.id):
            if states.get(call_id, verdict) != verdict:
                self._add(
                    f"{device.id}: the row of {call_id} is {states[call_id]}, the ledger says {verdict}"
                )

    def _add(self, text: str) -> None:
        self.findings.add(LAW, text)
