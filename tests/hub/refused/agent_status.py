"""Refused at how an agent stands: ``notes`` is active, available and online, ``phone-notes`` is offline."""

import json
from typing import Any

from tests.hub.refused.row import Device, Refused, Rest

STATUS = "/v1/agents/notes/status"


def _as(vocabulary: str, **change: Any) -> Rest:
    return Rest("PATCH", f"/v1/agents/notes/as/{vocabulary}", change)


GONE = {"name": "gone", "device": "desk", "paths": ["gone"], "data_types": ["tasks"], "prompt": "Find tasks."}
GIVEN = (Rest("POST", "/v1/agents", GONE), Rest("POST", "/v1/agents/gone/terminate", {}))
ROWS = (
    Refused(
        "work-of-an-agent-that-is-terminated",
        Rest("PATCH", "/v1/agents/gone/status", {"lifecycle": "active"}),
        "bad_status",
        ("lifecycle: terminated -> active is not a move", "make another one"),
    ),
    Refused(
        "another-word-for-an-agent-that-is-terminated",
        Rest("PATCH", "/v1/agents/gone/as/orchestrator", {"status": "ACTIVE"}),
        "bad_status",
        ("orchestrator: 'ACTIVE' is not written: the agent is terminated", "make another one"),
    ),
    Refused(
        "a-status-of-the-calendar-for-an-agent-that-is-terminated",
        Rest("PATCH", "/v1/agents/gone/as/calendar", {"status": "idle"}),
        "bad_status",
        ("calendar.status: 'idle' is not written: the agent is terminated", "make another one"),
    ),
    Refused(
        "an-edit-of-an-agent-that-is-terminated",
        Rest("PATCH", "/v1/agents/gone", {"description": "back again"}),
        "bad_status",
        ("'gone' is terminated", "make another one"),
    ),
    Refused(
        "an-external-identifier-that-nobody-has",
        Rest("GET", "/v1/agents/external:crm-99/overview"),
        "unknown_agent",
        ("no agent with the external identifier 'crm-99'",),
    ),
    Refused(
        "a-run-of-an-agent-that-is-terminated",
        Rest("POST", "/v1/agents/gone/runs", {}),
        "bad_status",
        ("'gone' is terminated", "make another one"),
    ),
    Refused(
        "a-step-back-that-the-table-has-not",
        Rest("PATCH", STATUS, {"lifecycle": "created"}),
        "bad_status",
        ("lifecycle: active -> created is not a move", "ready, paused, maintenance, terminated"),
    ),
    Refused(
        "a-lifecycle-that-there-is-not",
        Rest("PATCH", STATUS, {"lifecycle": "asleep"}),
        "bad_params",
        ("lifecycle has no value 'asleep'", "maintenance"),
    ),
    Refused(
        "being-online-by-word-alone",
        Rest("PATCH", "/v1/agents/phone-notes/status", {"connectivity": "online"}),
        "bad_status",
        ("connectivity follows the device",),
    ),
    Refused(
        "an-axis-that-there-is-not",
        Rest("PATCH", STATUS, {"mood": "fine"}),
        "bad_params",
        ("mood",),
    ),
    Refused(
        "an-activity-that-is-derived",
        Rest("PATCH", STATUS, {"activity": "saturated"}),
        "bad_params",
        ("activity",),
    ),
    Refused(
        "a-recovery-of-who-is-not-exhausted",
        Rest("PATCH", STATUS, {"recovery_at": "2200-01-01T00:00:00Z"}),
        "bad_params",
        ("belong to an exhausted agent", "available"),
    ),
    Refused(
        "a-recovery-in-the-past",
        Rest(
            "PATCH",
            STATUS,
            {
                "availability": "exhausted",
                "exhaust_reason": "rate_limit",
                "recovery_at": "2001-01-01T00:00:00Z",
            },
        ),
        "bad_params",
        ("recovery_at", "past"),
    ),
    Refused(
        "one-move-of-two-that-is-not-legal",
        Rest("PATCH", STATUS, {"availability": "on_call", "lifecycle": "created"}),
        "bad_status",
        ("lifecycle: active -> created",),
    ),
    Refused(
        "a-state-that-changed-meanwhile",
        Rest("PATCH", STATUS, {"lifecycle": "paused"}, {"if-match": '"of-long-ago"'}),
        "changed_meanwhile",
        ("it changed since it was read", "read it again"),
    ),
    Refused(
        "the-end-of-an-agent-of-the-file",
        Rest("POST", "/v1/agents/notes/terminate", {"reason": "not needed"}),
        "managed_by_file",
        ("is managed by hub.toml: /", "hub.toml:10"),
    ),
    Refused(
        "busy-which-the-calendar-does-not-write",
        _as("calendar", status="busy"),
        "bad_status",
        ("calendar.status: 'busy' is not written", "activity is derived from runs"),
    ),
    Refused(
        "a-calendar-status-that-there-is-not",
        _as("calendar", status="sleeping"),
        "bad_params",
        ("calendar.status has no value 'sleeping'", "idle, on_call, busy, exhausted, offline"),
    ),
    Refused(
        "a-heartbeat-written-by-hand",
        _as("calendar", last_heartbeat="2026-01-01T00:00:00Z"),
        "bad_params",
        ("calendar.last_heartbeat is not written here", "heartbeats of the device"),
    ),
    Refused(
        "a-recovery-without-its-zone",
        _as("calendar", status="exhausted", exhaust_reason="billing", recovery_at="2200-01-01T00:00:00"),
        "bad_params",
        ("recovery_at", "2026-03-01T08:00:00Z"),
    ),
    Refused(
        "an-exhaust-reason-of-nobody",
        _as("calendar", status="exhausted", exhaust_reason="tired"),
        "bad_params",
        ("exhaust_reason: expected one of rate_limit, billing",),
    ),
    Refused(
        "a-detail-that-skips-steps",
        _as("orchestrator", state_detail="CREATED"),
        "bad_status",
        ("orchestrator: 'CREATED' cannot follow ACTIVE + ACTIVE", "ACTIVE + READY"),
    ),
    Refused(
        "a-status-of-the-other-vocabulary",
        _as("orchestrator", status="idle"),
        "bad_params",
        ("orchestrator.status has no value 'idle'", "INACTIVE"),
    ),
    Refused(
        "a-table-written-as-a-status",
        _as("orchestrator", agent_template={"name": "reader"}),
        "bad_params",
        ("orchestrator.agent_template is a table, and not written here", "hub help vocabularies"),
    ),
    Refused(
        "a-status-that-is-no-text",
        _as("foundation", current_status=7),
        "bad_params",
        ("current_status: expected text",),
    ),
    Refused(
        "waiting-which-is-derived",
        _as("foundation", current_status="waiting"),
        "bad_status",
        ("foundation.current_status: 'waiting' is not written", "start, pause or cancel runs"),
    ),
    Refused(
        "metadata-that-is-no-object",
        _as("foundation", metadata=[1]),
        "bad_params",
        ("metadata: expected an object",),
    ),
    Refused(
        "metadata-that-is-too-deep",
        _as("foundation", metadata={"notes": json.loads("[" * 40 + "]" * 40)}),
        "bad_params",
        ("metadata: deeper than 32 levels",),
    ),
    Refused(
        "metadata-that-is-too-large",
        _as("foundation", metadata={"notes": "x" * 70_000}),
        "bad_params",
        ("at most 65536 are kept",),
    ),
    Refused(
        "a-column-of-nobody",
        _as("foundation", colour="red"),
        "bad_params",
        ("foundation has no column 'colour'", "current_status, metadata"),
    ),
    Refused(
        "a-write-to-the-run-log",
        _as("runlog", last_run_at="2026-01-01T00:00:00Z"),
        "bad_params",
        ("runlog.last_run_at is not written here",),
    ),
    Refused(
        "a-vocabulary-that-there-is-not",
        Rest("GET", "/v1/agents/notes/as/klingon"),
        "unknown_name",
        ("there is no vocabulary 'klingon'", "calendar, orchestrator, foundation, runlog, coordination"),
    ),
    Refused(
        "a-history-of-no-axis",
        Rest("GET", "/v1/agents/notes/history?axis=mood"),
        "bad_params",
        ("query.axis", "expected one of lifecycle", "not 'mood'"),
    ),
    Refused(
        "an-external-identifier-of-nobody",
        Rest("GET", "/v1/agents/external:ghost/status"),
        "unknown_agent",
        ("external identifier 'ghost'",),
    ),
    Refused(
        "a-status-of-another-devices-agent",
        Device("status.set", {"agent_id": "phone-notes", "set": {"availability": "on_call"}}),
        "unknown_agent",
        ("this device has no agent 'phone-notes'",),
    ),
    Refused(
        "a-status-that-sets-nothing",
        Device("status.set", {"agent_id": "notes", "set": {}}),
        "bad_params",
        ("set: expected an object",),
    ),
    Refused(
        "a-device-that-gives-a-novel-as-reason",
        Device("status.set", {"agent_id": "notes", "set": {"health": "error", "reason": "x" * 1_001}}),
        "bad_params",
        ("set.reason: expected text, at most 1000 long, not 1001",),
    ),
    Refused(
        "metadata-with-a-null-character",
        Rest("PATCH", "/v1/agents/notes/status", {"metadata": {"note": "a\0b"}}),
        "bad_params",
        ("metadata: a null character",),
    ),
    Refused(
        "a-reason-with-a-null-character",
        Rest("PATCH", "/v1/agents/notes/status", {"availability": "on_call", "reason": "a\0b"}),
        "bad_params",
        ("reason",),
    ),
    Refused(
        "an-end-with-a-novel-as-reason",
        Rest("POST", "/v1/agents/phone-notes/terminate", {"reason": "x" * 1_001}),
        "bad_params",
        ("reason", "1000"),
    ),
    Refused(
        "a-device-that-names-no-axis",
        Device("status.set", {"agent_id": "notes", "set": {"mood": "fine"}}),
        "bad_params",
        ("set.mood: there is no such field", "known are lifecycle, availability"),
    ),
    Refused(
        "a-device-that-writes-what-is-derived",
        Device("status.set", {"agent_id": "notes", "set": {"activity": "saturated"}}),
        "bad_params",
        ("set.activity: it is derived from runs", "start, pause or cancel runs"),
    ),
    Refused(
        "a-device-that-skips-steps",
        Device("status.set", {"agent_id": "notes", "set": {"lifecycle": "initializing"}}),
        "bad_status",
        ("lifecycle: active -> initializing is not a move",),
    ),
    Refused(
        "a-device-that-writes-a-derived-word",
        Device("status.set", {"agent_id": "notes", "as": "calendar", "set": {"status": "busy"}}),
        "bad_status",
        ("activity is derived from runs",),
    ),
)
