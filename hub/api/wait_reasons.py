"""Facts for the explanation of waiting runs, read in one snapshot and passed to ``hub.runs``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from hub.base.clock import Clock, epoch_ms, from_epoch_ms
from hub.runs.budget import Reached
from hub.runs.dispatcher import Dispatcher
from hub.runs.wait_sentences import CrashHold, WaitFacts, Wanting, why_waiting
from protocol.ids import RunId
from protocol.lifecycles import LIVE_RUN_STATES
from protocol.requirements import Unmet
from storage.devices import pairings
from storage.runs import run_claims
from storage.runs import run_needs as runs_run_needs
from storage.runs.run_claims import WaitingConditions
from storage.runs.run_needs import Offered
from storage.runs.runs import RunRow
from storage.store import Connection

STARTED_BY_A_PERSON = frozenset({"manual", "rerun"})  # as ``run_claims`` lets them pass


class WaitConditions(NamedTuple):
    """Conditions of waiting runs, by run.

    *unmet*: needs that their connected devices do not meet; *pairing*: when the requests of devices that
    show a code expire, by device name.
    """

    gates: Mapping[RunId, WaitingConditions]
    unmet: Mapping[RunId, Sequence[Unmet]]
    pairing: Mapping[str, int]


def read_waits(c: Connection, rows: Iterable[RunRow], offered: Offered) -> WaitConditions:
    """Return the conditions of the live ones of these runs.

    Args:
        offered: what the connected devices offer, as ``Dispatcher.offered``.
    """
    live = [row for row in rows if row.state in LIVE_RUN_STATES]
    needy = [row.id for row in live if row.needs and (row.device_id is None or row.device_id in offered)]
    gates = run_claims.waits_of(c, [row.id for row in live])
    are_new = any(gate.device_name is not None and gate.last_seen_at is None for gate in gates.values())
    pairing = pairings.waiting_labels(c) if are_new else {}
    return WaitConditions(gates, runs_run_needs.unmet_of(c, needy, offered), pairing)


class WaitReasons:
    """Source of the reasons why runs wait: the rows and the dispatcher's gates."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        clock: Clock,
        hold: CrashHold | None,
        reached_budgets: Callable[[], Iterable[Reached]] = tuple,
    ) -> None:
        self._reached_budgets = reached_budgets
        self._hold = hold
        self._dispatcher = dispatcher
        self._clock = clock

    def sentences(self, rows: Iterable[RunRow], waits: WaitConditions) -> dict[RunId, str]:
        """Return a sentence for each run that waits; runs that wait for nothing are left out."""
        waiting = ((row.id, why_waiting(self._facts(row, waits))) for row in rows if row.id in waits.gates)
        return {run_id: sentence for run_id, sentence in waiting if sentence is not None}

    def _facts(self, run: RunRow, waits: WaitConditions) -> WaitFacts:
        dispatcher, gates = self._dispatcher, waits.gates[run.id]
        now = self._clock.now()
        by_a_person = run.trigger_kind in STARTED_BY_A_PERSON
        waits_for_calm = not by_a_person and (run.trigger_kind == "catchup" or run.crash_count > 0)
        device_id = run.device_id
        starts_at_once = by_a_person or gates.reads_mailbox
        settles_at = (
            None if starts_at_once or device_id is None else dispatcher.arrivals.settles_at(device_id)
        )
        reached = [budget.setting for budget in self._reached_budgets() if budget.holds(run.agent_id)]
        return WaitFacts(
            now=now,
            state=run.state,
            pause_reason=run.pause_reason,
            reason=run.reason,
            is_cancelling=run.cancel_requested_at is not None,
            is_pausing=dispatcher.is_pausing(run.id),
            is_manual=by_a_person,
            eligible_at=from_epoch_ms(run.eligible_at),
            device=gates.device_name,
            is_online=gates.is_online,
            is_pairing=waits.pairing.get(gates.device_name or "", 0) > epoch_ms(now),
            is_revoked=gates.is_revoked,
            offline_since=None if gates.last_seen_at is None else from_epoch_ms(gates.last_seen_at),
            is_away=gates.is_away,
            away_since=None if gates.away_since is None else from_epoch_ms(gates.away_since),
            away_reason=gates.away_reason,
            starts_at=settles_at,
            lifecycle=gates.lifecycle,
            is_exhausted=gates.availability == "exhausted",
            exhaust_reason=gates.exhaust_reason,
            budget=reached[0] if reached else None,
            recovery_at=None if gates.recovery_at is None else from_epoch_ms(gates.recovery_at),
            is_healthy=gates.health == "ok",
            follows=gates.follows,
            unmet=waits.unmet.get(run.id, ()),
            lock=gates.lock,
            on_device=gates.on_device,
            per_device=dispatcher.limits.runs_per_device,
            of_agent=gates.of_agent,
            per_agent=gates.per_agent,
            on_hub=gates.on_hub,
            per_hub=dispatcher.limits.runs,
            of_mailboxes=gates.of_mailboxes,
            mailboxes=dispatcher.limits.connector_runs,
            has_place=gates.has_place,
            connector=_wanting(gates) if gates.reads_mailbox else None,
            unanswered_since=None
            if gates.unanswered_since is None
            else from_epoch_ms(gates.unanswered_since),
            advanced_at=from_epoch_ms(run.updated_at),
            is_draining=dispatcher.is_draining,
            stopped=dispatcher.why_stopped(),
            hold=self._hold if waits_for_calm else None,
        )


def _wanting(gates: WaitingConditions) -> Wanting:
    retry_at = gates.connector_retry_at
    return Wanting(
        name=gates.connector,
        state=gates.connector_state,
        code=gates.connector_reason,
        detail=gates.connector_detail,
        retry_at=None if retry_at is None else from_epoch_ms(retry_at),
        is_granted=gates.is_granted,
        was_reached=gates.connector_ok_at is not None,
    )
