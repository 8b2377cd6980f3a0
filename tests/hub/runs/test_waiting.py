"""Why a run waits: the first gate that is shut, in words."""

from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import epoch_ms
from hub.runs.sentences import Hold, WaitFacts, Wanting, why_waiting
from protocol.ids import AgentId, UserId
from protocol.lifecycles import FINAL_RUN_STATES, PauseReason, RunState
from protocol.requirements import Unmet
from storage.agents import locks
from storage.runs.run_locks import LockInTheWay
from tests.support.clock import START
from tests.support.families import each

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
                "reason": "80 files read by rules; 3 files wait for the model: no answer",
                "is_online": False,
            },
            "80 files read by rules; 3 files wait for the model: no answer; goes on when it answers",
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
            "model's quota is used up",
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
            {"hold": Hold(START + timedelta(minutes=40), starts=8, within_s=90)},
            "held back until 09:40 UTC after 8 starts with crashes between them, "
            "each within 1.5 min of the last",
        ),
        ({"hold": Hold(START, starts=3, within_s=600)}, "next in line"),
        ({"starts_at": START + timedelta(seconds=5)}, "just connected; starts at 09:00:05 UTC"),
        ({"eligible_at": START + timedelta(seconds=40)}, "tried again at 09:00:40 UTC"),
        (
            {"state": RunState.RUNNING, "is_cancelling": True},
            "is being cancelled: device desk has to let go",
        ),
        ({"state": RunState.RUNNING, "is_pausing": True}, "pauses when the files in hand are done"),
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
            "connector work needs another secret (refused): put it right, then hub connectors test work",
        ),
        (
            {"connector": Wanting(name="work", state="blocked"), "is_manual": True},
            "connector work is blocked: put that right, then hub connectors test work",
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
def test_a_waiting_run_names_the_gate_that_is_shut(facts: dict[str, object], sentence: str) -> None:
    assert _why(**facts) == sentence


def test_of_several_shut_gates_the_one_that_a_person_can_open_comes_first() -> None:
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
def test_what_executes_or_has_ended_waits_for_nothing(state: RunState) -> None:
    assert _why(state=state, is_online=False) is None


def test_times_of_day_are_in_the_time_zone_of_the_reader() -> None:
    facts = msgspec.structs.replace(QUEUED, is_online=False, offline_since=START - timedelta(minutes=46))
    assert why_waiting(facts, ZoneInfo("Europe/Berlin")) == "device desk is offline, last seen 09:14 +01:00"
