"""Refused at checkpoints, and at reports on runs."""

from typing import Any

from tests.hub.refused.row import Device, Refused, Rest

CHECKPOINTS = "/v1/agents/phone-notes/checkpoints"
GIVEN = (Rest("PUT", f"{CHECKPOINTS}/agent", {"sequence": 7, "state": {"page": 1}}),)


def put(**params: Any) -> Device:
    return Device("checkpoints.put", {"agent_id": "notes", "sequence": 1, "state": {}} | params)


ROWS = (
    Refused(
        "a-checkpoint-that-is-not-newer",
        Rest("PUT", f"{CHECKPOINTS}/agent", {"sequence": 7, "state": {"page": 2}}),
        "stale_checkpoint",
        ("'agent' is at sequence 7", "7 is not beyond it", "go on from there"),
    ),
    Refused(
        "a-checkpoint-without-a-sequence",
        Rest("PUT", f"{CHECKPOINTS}/agent", {"state": {}}),
        "bad_params",
        ("sequence",),
    ),
    Refused(
        "a-checkpoint-before-the-first",
        put(sequence=-1),
        "bad_params",
        ("sequence: expected a whole number, at least 0, not -1",),
    ),
    Refused(
        "a-checkpoint-whose-state-is-no-object",
        put(state=[1]),
        "bad_params",
        ("state: expected an object, not a list",),
    ),
    Refused(
        "a-checkpoint-that-is-too-long",
        put(state={"text": "x" * 70_000}),
        "too_large",
        ("state: 70011 bytes as JSON", "65536", "checkpoint_bytes"),
    ),
    Refused(
        "a-checkpoint-of-a-scope-with-a-slash",
        put(scope="a/b"),
        "bad_params",
        ("'a/b' cannot be the scope of a checkpoint", "mailbox:anna"),
    ),
    Refused("a-checkpoint-of-no-scope", put(scope=""), "bad_params", ("'' cannot be the scope",)),
    Refused(
        "a-checkpoint-of-a-run-without-its-fence",
        put(run_id="r-1"),
        "bad_params",
        ("run_id, fence: give both",),
    ),
    Refused(
        "a-checkpoint-of-a-run-that-is-not-there",
        put(run_id="r-1", fence=1),
        "unknown_run",
        ("no run 'r-1' at this device",),
    ),
    Refused(
        "a-checkpoint-under-a-lock-without-its-fence",
        put(lock="mailbox"),
        "bad_params",
        ("lock, lock_fence: give both",),
    ),
    Refused(
        "a-checkpoint-under-a-lock-that-nobody-holds",
        put(lock="mailbox-of-nobody", lock_fence=4),
        "lock_lost",
        ("mailbox-of-nobody",),
    ),
    Refused(
        "a-checkpoint-that-is-not-there",
        Rest("GET", f"{CHECKPOINTS}/mailbox"),
        "unknown_checkpoint",
        ("no checkpoint 'mailbox'", "hub agents checkpoints"),
    ),
    Refused(
        "a-cleared-checkpoint-that-is-not-there",
        Device("checkpoints.clear", {"agent_id": "notes", "scope": "mailbox"}),
        "unknown_checkpoint",
        ("no checkpoint 'mailbox'",),
    ),
    Refused(
        "a-checkpoint-that-was-changed-meanwhile",
        Rest("DELETE", f"{CHECKPOINTS}/agent", None, {"if-match": '"another"'}),
        "changed_meanwhile",
        ("it changed since it was read",),
    ),
    Refused(
        "a-checkpoint-of-an-agent-of-another-device",
        Device("checkpoints.get", {"agent_id": "phone-notes"}),
        "unknown_agent",
        ("phone-notes",),
    ),
    Refused(
        "a-report-on-a-run-that-is-not-there",
        Device("runs.report", {"run_id": "r-1", "fence": 1, "message": "reading"}),
        "unknown_run",
        ("no run 'r-1'",),
    ),
    Refused(
        "a-report-of-more-than-all",
        Device("runs.report", {"run_id": "r-1", "fence": 1, "progress": 140}),
        "bad_params",
        ("progress: expected a number, at most 100",),
    ),
    Refused(
        "a-report-without-a-fence",
        Device("runs.report", {"run_id": "r-1", "progress": 40}),
        "bad_params",
        ("fence: ", "missing"),
    ),
)
