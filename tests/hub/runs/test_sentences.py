"""Why a run waits: the first gate that is shut, in words."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import epoch_ms
from hub.runs.failures import FAILURES, describe_errors, explain
from hub.runs.sentences import (
    describe_decision,
    describe_missed,
    describe_pause,
    describe_reason,
    describe_wake,
)
from hub.runs.wait_sentences import CrashHold, WaitFacts, Wanting, why_waiting
from protocol.errors import ErrorCode
from protocol.ids import AgentId, UserId
from protocol.lifecycles import FINAL_RUN_STATES, PauseReason, RunState
from protocol.requirements import Unmet
from protocol.skipped_files import LEFT_OUT, SkipReason
from storage.agents import locks
from storage.runs.run_locks import LockInTheWay
from storage.runs.runs import RunError
from storage.schedules.fires import FireCount
from tests.storage.rows import make_run
from tests.support.clock import START
from tests.support.families import each
from tests.support.runs import Bench

LOCK = locks.LockRow(
    user_id=UserId("u"),
    resource="mailbox",
    fence=1,
    holder=locks.Holder("run", "r-1", AgentId("a")),
    agent_name="mail",
    device_name=None,
    ttl_ms=1,
    acquired_at=epoch_ms(START - timedelta(minutes=46)),
    expires_at=epoch_ms(START),
    request_id="run:r-1",
    user_name="owner",
)
QUEUED = WaitFacts(now=START, state=RunState.QUEUED, eligible_at=START, device="desk")


def _why(**facts: object) -> str | None:
    return why_waiting(msgspec.structs.replace(QUEUED, **facts), UTC)


@each(
    ("facts", "sentence"),
    [
        ({}, "next in line"),
        ({"pause_reason": PauseReason.USER}, "paused by hand"),
        ({"pause_reason": PauseReason.WAITING_INPUT}, "waits for an answer"),
        ({"lifecycle": "paused"}, "agent is paused"),
        ({"lifecycle": "maintenance"}, "agent is in maintenance"),
        ({"lifecycle": "ready"}, "agent is ready, not active yet"),
        ({"is_healthy": False}, "agent has a lasting error; start a run by hand to try it"),
        ({"is_healthy": False, "is_manual": True}, "next in line"),
        ({"device": None}, "agent has no device"),
        (
            {
                "state": RunState.PAUSED,
                "pause_reason": PauseReason.MODEL_AWAY,
                "reason": "80 files read; 3 files wait for the model: no answer",
                "is_online": False,
            },
            "80 files read; 3 files wait for the model: no answer; goes on when it answers",
        ),
        (
            {"lock": LockInTheWay(lock=LOCK, is_held=True, ahead=0)},
            "waits for lock mailbox, held by run r-1 of agent mail since 08:14 UTC",
        ),
        (
            {"lock": LockInTheWay(lock=LOCK, is_held=True, ahead=2)},
            "waits for lock mailbox, held by run r-1 of agent mail since 08:14 UTC; 2 before it in its queue",
        ),
        (
            {"lock": LockInTheWay(lock=LOCK, is_held=False, ahead=1)},
            "waits for lock mailbox: 1 before it in its queue",
        ),
        ({"is_online": False}, "device desk has not connected yet"),
        (
            {"is_online": False, "is_pairing": True},
            "device desk waits for pairing: hub pair approve CODE, as the device shows it",
        ),
        (
            {"is_online": False, "is_revoked": True, "offline_since": START - timedelta(days=1)},
            "device desk was revoked; let it in again: hub connect URL --root DIR --name desk --new-key",
        ),
        (
            {"is_online": False, "offline_since": START - timedelta(minutes=46)},
            "device desk is offline, last seen 08:14 UTC",
        ),
        (
            {"is_online": False, "offline_since": START - timedelta(days=1)},
            "device desk is offline, last seen 2026-01-04 09:00 UTC",
        ),
        (
            {
                "is_away": True,
                "away_since": START - timedelta(minutes=2),
                "away_reason": "no heartbeat for 45 s",
            },
            "agent is offline since 08:58 UTC, though device desk is connected: no heartbeat for 45 s",
        ),
        (
            {"is_exhausted": True, "recovery_at": START + timedelta(minutes=30)},
            "model's quota is used up; tried again at 09:30 UTC",
        ),
        ({"is_exhausted": True, "exhaust_reason": "billing"}, "model's bill is not paid"),
        (
            {
                "is_exhausted": True,
                "exhaust_reason": "budget",
                "budget": "budget.day_usd",
                "recovery_at": START + timedelta(hours=15),
            },
            "the budget budget.day_usd is reached; tried again at 2026-01-06 00:00 UTC",
        ),
        ({"is_exhausted": True, "exhaust_reason": "budget"}, "a budget of the day is reached"),
        (
            {"is_exhausted": True, "exhaust_reason": "rate_limit", "budget": "budget.day_usd"},
            "a rate limit is reached",
        ),
        (
            {"pause_reason": PauseReason.EXHAUSTED, "eligible_at": START + timedelta(minutes=5)},
            "model's quota is used up; tried again at 09:05 UTC",
        ),
        (
            {"unmet": [Unmet("file.read >= 1.2", of_device="1.1.0")]},
            "needs file.read >= 1.2: device desk has 1.1.0",
        ),
        (
            {"unmet": [Unmet("file.read >= 1.2", of_device="1.1.0", of_agent="1.0.0"), Unmet("web")]},
            "needs file.read >= 1.2: device desk has 1.1.0 and its agent has 1.0.0; and 1 more that it needs",
        ),
        ({"unmet": [Unmet("web")]}, "needs web: neither device desk nor its agent has it"),
        ({"unmet": [Unmet("web")], "is_online": False}, "device desk has not connected yet"),
        ({"is_draining": True}, "the hub stops; goes on when it is back"),
        ({"stopped": "disk is nearly full"}, "disk is nearly full"),
        ({"stopped": "the database is damaged", "is_online": False}, "the database is damaged"),
        (
            {"hold": CrashHold(START + timedelta(minutes=40), starts=8, within_s=90)},
            "held back until 09:40 UTC after 8 starts with crashes between them, "
            "each within 1.5 min of the last",
        ),
        ({"hold": CrashHold(START, starts=3, within_s=600)}, "next in line"),
        ({"starts_at": START + timedelta(seconds=5)}, "just connected; starts at 09:00:05 UTC"),
        ({"eligible_at": START + timedelta(seconds=40)}, "tried again at 09:00:40 UTC"),
        (
            {"state": RunState.RUNNING, "is_cancelling": True},
            "is being cancelled: device desk has to let go",
        ),
        (
            {"state": RunState.RUNNING, "unanswered_since": START - timedelta(seconds=5)},
            "device desk has not answered a call of 08:59:55 UTC",
        ),
        (
            {"state": RunState.RUNNING, "unanswered_since": START - timedelta(days=1)},
            "device desk has not answered a call of 2026-01-04 09:00:00 UTC",
        ),
        ({"state": RunState.RUNNING, "unanswered_since": START - timedelta(seconds=4)}, None),
        (
            {
                "state": RunState.RUNNING,
                "unanswered_since": START - timedelta(seconds=9),
                "advanced_at": START - timedelta(seconds=5),
            },
            "device desk has not answered a call of 08:59:51 UTC",
        ),
        (
            {
                "state": RunState.RUNNING,
                "unanswered_since": START - timedelta(seconds=40),
                "advanced_at": START - timedelta(seconds=4),
            },
            None,
        ),
        ({"state": RunState.RUNNING, "is_pausing": True}, "pauses when the files in hand are done"),
        (
            {"state": RunState.RUNNING, "is_pausing": True, "unanswered_since": START - timedelta(seconds=5)},
            "pauses when its calls are answered: device desk has not answered a call of 08:59:55 UTC",
        ),
        (
            {"state": RunState.RUNNING, "is_pausing": True, "is_cancelling": True},
            "is being cancelled: device desk has to let go",
        ),
        ({"follows": True}, "the run before it of this schedule goes first"),
        ({"on_device": 2, "per_device": 2}, "slot 2 of 2 taken on device desk"),
        ({"of_agent": 1}, "slot 1 of 1 taken by this agent"),
        ({"on_hub": 32}, "slot 32 of 32 taken on this hub"),
        ({"connector": Wanting(name="work"), "is_online": False, "on_device": 9}, "next in line"),
        ({"connector": Wanting(name="work"), "device": None}, "next in line"),
        (
            {"connector": Wanting(name="work"), "device": None, "has_place": False},
            "no device of the agent's user is admitted; admit one: hub connect on the device, then hub pair",
        ),
        ({"connector": Wanting(name=None)}, "its connector is no longer declared in hub.toml"),
        (
            {
                "connector": Wanting(
                    name="work", state="sign_in", detail="the grant has ended", is_granted=True
                )
            },
            "connector work needs a sign-in (the grant has ended): hub connectors login work",
        ),
        (
            {"connector": Wanting(name="work", state="sign_in", detail="refused")},
            "connector work needs another secret (refused): correct the one that hub.toml names;"
            " then: hub connectors test work",
        ),
        (
            {
                "connector": Wanting(name="work", state="blocked", code="provider_forbidden"),
                "is_manual": True,
            },
            "connector work may not be read: ask the administrator of its provider to allow it;"
            " then: hub connectors test work",
        ),
        (
            {"connector": Wanting(name="work", retry_at=START + timedelta(minutes=2))},
            "connector work did not answer; tried again at 09:02 UTC",
        ),
        (
            {"connector": Wanting(name="work", retry_at=START + timedelta(minutes=2)), "is_manual": True},
            "next in line",
        ),
        ({"connector": Wanting(name="work", retry_at=START)}, "next in line"),
        (
            {"connector": Wanting(name="work"), "of_mailboxes": 8},
            "slot 8 of 8 taken by runs that read connectors",
        ),
    ],
)
def test_waiting_run_is_described_by_the_closed_gate(facts: dict[str, object], sentence: str) -> None:
    assert _why(**facts) == sentence


def test_closed_gate_openable_by_a_person_is_described_first() -> None:
    shut: dict[str, object] = {
        "lifecycle": "paused",
        "is_online": False,
        "is_exhausted": True,
        "stopped": "disk is nearly full",
        "eligible_at": START + timedelta(hours=1),
        "on_device": 1,
    }
    opened: list[tuple[str, object]] = [
        ("lifecycle", "active"),
        ("stopped", None),
        ("is_online", True),
        ("is_exhausted", False),
        ("eligible_at", START),
        ("on_device", 0),
    ]
    told = [_why(**shut)]
    for name, value in opened:
        shut[name] = value
        told.append(_why(**shut))
    assert [sentence and sentence.split(";")[0] for sentence in told] == [
        "agent is paused",
        "disk is nearly full",
        "device desk has not connected yet",
        "model's quota is used up",
        "tried again at 10:00 UTC",
        "slot 1 of 1 taken on device desk",
        "next in line",
    ]


@each("state", sorted({RunState.PREPARING, RunState.RUNNING} | FINAL_RUN_STATES))
def test_executing_or_ended_run_has_no_cause_of_a_wait(state: RunState) -> None:
    assert _why(state=state, is_online=False) is None


def test_times_of_day_are_in_the_time_zone_of_the_reader() -> None:
    facts = msgspec.structs.replace(QUEUED, is_online=False, offline_since=START - timedelta(minutes=46))
    assert why_waiting(facts, ZoneInfo("Europe/Berlin")) == "device desk is offline, last seen 09:14 +01:00"


# --- what became of a schedule's fires, in words ---


@each(
    ("decision", "reason", "fires", "sentence"),
    [
        ("run", None, 1, "a run was queued"),
        ("run", None, 2, "a run was queued for each; the newest represents those without news"),
        ("coalesced", "device_offline", 1, "one run covers it: device desk was offline"),
        ("coalesced", "hub_down", 3, "one run covers them: the hub was down"),
        ("skipped_overlap", "still_running", 1, "skipped: the run before was still going"),
        ("skipped_window", "window", 9, "not caught up: older than the catch-up window"),
        ("skipped_paused", "agent_paused", 2, "skipped: the agent was paused"),
        ("skipped_exhausted", "exhausted", 1, "skipped: the model's rate limit or quota was reached"),
        ("dropped_queue_full", "queue_full", 1, "dropped: too many runs were waiting"),
        ("from_the_future", "new_word", 1, "from the future: new word"),
    ],
)
def test_each_decision_is_a_sentence(decision: str, reason: str | None, fires: int, sentence: str) -> None:
    assert describe_decision(decision, reason, fires=fires, device="desk") == sentence


@each(
    ("missed", "note"),
    [
        ([], None),
        ([FireCount("coalesced", "device_offline", 2)], "2 missed: device desk was offline"),
        ([FireCount("coalesced", None, 1)], "1 missed: for no known reason"),
        (
            [
                FireCount("coalesced", "device_offline", 2),
                FireCount("coalesced", "hub_down", 1),
                FireCount("coalesced", "device_offline", 1),
            ],
            "4 missed: device desk was offline (3), the hub was down (1)",
        ),
        ([FireCount("skipped_overlap", "still_running", 3)], "3 skipped while it was under way"),
        (
            [FireCount("coalesced", "hub_down", 1), FireCount("skipped_overlap", "still_running", 2)],
            "1 missed: the hub was down, 2 skipped while it was under way",
        ),
        (
            [FireCount("coalesced", "hub_down", 2_000), FireCount("coalesced", "exhausted", 999)],
            "2999 or more missed: the hub was down (2000 or more), the model's rate limit or quota was"
            " reached (999)",
        ),
        ([FireCount("skipped_overlap", None, 1_000)], "1000 or more skipped while it was under way"),
    ],
)
def test_run_note_lists_the_missed_fires(missed: list[FireCount], note: str | None) -> None:
    assert describe_missed(missed, "desk") == note


def test_pause_of_a_schedule_is_described_with_the_reason() -> None:
    assert describe_pause("failures", 5) == "paused after 5 failed runs in a row"
    assert describe_pause("finished", 0) == "it has fired for the last time"


def test_past_single_instant_is_not_reported_as_fired() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    told = describe_pause("finished", 0, at=datetime(2020, 12, 1, 9, tzinfo=berlin))
    assert told == "its time 2020-12-01 08:00 UTC is over"


def test_a_reason_of_a_run_is_shown_to_people_as_a_sentence() -> None:
    assert describe_reason("start_deadline", within_s=30.0) == "not started within 30 s of its time"
    assert describe_reason("hub_restart") == "the hub was ended"
    words = ("start_deadline", "crash_loop", "paused_too_long", "device_gone", "superseded")
    assert not [word for word in words if "_" in (describe_reason(word) or "_")]


def test_free_text_reason_is_described_unchanged() -> None:
    assert (describe_reason("wrong folder"), describe_reason(None)) == ("wrong folder", None)


def test_failures_of_a_run_are_summarized_with_the_sentence_of_the_first_and_their_numbers() -> None:
    def error(code: str, unit_key: str | None = "a.md") -> RunError:
        return RunError(unit_key, code, "", 1)

    def describe(errors: Sequence[RunError], failed: int) -> str | None:
        return describe_errors(errors, failed=failed, describe=lambda one: f"{one.unit_key or 'all'} is bad")

    assert (describe([], 0), describe([error("too_large")], 1)) == (None, "1 failed: a.md is bad")
    both = [error("changed"), *[error("too_large", "b.md")] * 4, error("too_large", "c.md")]
    assert describe(both, 3) == "3 failed: 2 too_large, 1 changed; first: a.md is bad"
    whole = RunError(None, "limit_reached", "", 1)
    assert describe([whole, whole], 0) == "all is bad"
    two = [error("changed"), error("changed", "b.md")]
    assert describe([*two, whole], 9) == "9 failed; the first 2: a.md is bad; all is bad"
    assert describe([], 9) == "9 failed"


@each(
    ("state", "reason", "sentence"),
    [
        ("acknowledged", None, "the agent was woken"),
        ("failed", "device_offline", "the agent did not wake: device desk was offline"),
        ("of_a_newer_hub", None, "of_a_newer_hub"),
    ],
)
def test_the_result_of_a_wake_is_a_sentence(state: str, reason: str | None, sentence: str) -> None:
    assert describe_wake(state, reason, device="desk") == sentence


# --- failures of runs and files have a sentence and what mends them, whatever their code is ---


async def test_every_stored_error_code_has_a_sentence_and_a_remedy_for_people(bench: Bench) -> None:
    run = await bench.store.write(make_run, agent=bench.agent)
    of_device = {str(reason) for reason in SkipReason} - LEFT_OUT.keys()
    assert of_device <= FAILURES.keys()
    for code, unit in product((*FAILURES, *ErrorCode, "only_a_device_knows"), ("a/b.md", None)):
        for message in (code, f"{code}: 5 bytes, at most 2 are read"):
            sentence, remedy = explain(RunError(unit, code, message, 1), run, "desk")
            assert sentence and remedy
            assert not re.search(r"[{}]|None", sentence + remedy.replace("{{", "")), code
            assert unit is None or code not in of_device - {"limit"} or unit in sentence, code


async def test_device_error_code_is_explained_with_detail_and_remedy_command(
    bench: Bench,
) -> None:
    run = await bench.store.write(make_run, agent=bench.agent)
    missing = explain(RunError("notez", "missing", "missing", 1), run, "desk")
    assert missing.sentence == "device desk has no notez in the folders that it shares"
    assert missing.remedy == "correct the paths: hub config set 'agents.notes.paths=[\"PATH\"]'"
    locked = explain(RunError("my notes", "unreadable", "unreadable", 1), run, "desk")
    assert locked.remedy == "on desk: chmod u+r 'my notes'; for a folder: chmod u+rx 'my notes'"
    undone = explain(RunError(None, "call_unsupported", "its device does no tasks", 1), run, "desk")
    assert undone.remedy.startswith("on desk, start a program that can do it")
    large = explain(RunError("a.pdf", "too_large", "too_large: 5 bytes, at most 2 are read", 1), run, "desk")
    assert large.sentence == "a.pdf is too large: 5 bytes, at most 2 are read"
