"""Each limit, a setting or a constant, ends in something with a name, and is counted where it can be seen.

A new field of ``[limits]`` has no row here, so that whoever adds it has to say what becomes of it.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from hub.api.http.access import BODY_BYTES, BODY_S
from hub.api.http.request_parser import HEAD_S
from hub.api.resources.tokens import IdentityLimits
from hub.base.log.handler import A_MINUTE, QUEUE
from hub.base.log.ring import ENTRIES
from hub.base.metrics import Metrics
from hub.base.toml.limits import Limits
from hub.health.machine_and_load import COUNSEL
from hub.links.connection_limits import PortLimits
from hub.links.link_limits import LinkLimits
from hub.links.listener import OPEN_S
from hub.links.pairing import PAIRING_TTL_S, PAIRINGS, PAIRINGS_PER_NETWORK
from hub.links.roster import TAKEOVER_WAIT_S, TAKEOVER_WINDOW_S, TAKEOVERS
from hub.settings.edits import CannotEdit, edited
from hub.settings.reading import check_text
from hub.settings.settings_checks import REMOVED
from protocol.errors import ErrorCode
from storage.agents.config_changes import ConfigLimits
from storage.agents.declared_agents import AgentLimits
from storage.agents.locks import LockLimits
from storage.coordination.board_memory import MemoryLimits
from storage.coordination.boards import BoardLimits
from storage.coordination.messages import MessageLimits
from storage.devices.attempts import AttemptLimits
from storage.effects.fire_decisions import WAITING_PER_DEVICE, WAITING_PER_SCHEDULE
from tests.support.families import each
from tests.support.source import modules_of_the_product

# What becomes of whoever reaches it, where that is no error code.
OTHER_ENDS = {
    "no_request": "the socket is closed: there is nobody yet to tell anything",
    "no_pong": "the socket is closed with 1011: who answers no ping hears nothing",
    "slowed_down": "it is read later, and nothing is lost",
    "deadline": "the run fails, and says so",
    "left_out": "the heartbeat counts without it, and the log says so once a connection",
    "housekeeping.shortened": "ended work is kept for a shorter time, and the log says for how long",
    "dropped_queue_full": "the fire says so, and its schedule's agent once",
}

# By field: how it ends, and the label of hub_limits_reached_total.
COUNTED: dict[str, tuple[str, str]] = {
    "database_bytes": ("housekeeping.shortened", "database_bytes"),
    "handshake_timeout_s": ("no_request", "handshake_timeout_s"),
    "hello_timeout_s": (ErrorCode.HELLO_TIMEOUT, "hello_timeout_s"),
    "hello_bytes": (ErrorCode.TOO_LARGE, "hello_bytes"),
    "message_bytes": (ErrorCode.TOO_LARGE, "message_bytes"),
    "message_fragments": (ErrorCode.TOO_LARGE, "message_fragments"),
    "strangers": (ErrorCode.OVERLOADED, "strangers"),
    "strangers_per_network": (ErrorCode.OVERLOADED, "strangers_per_network"),
    "connections": (ErrorCode.TOO_MANY_CONNECTIONS, "connections"),
    "connections_per_network": (ErrorCode.TOO_MANY_CONNECTIONS, "connections_per_network"),
    "connections_per_user": (ErrorCode.TOO_MANY_CONNECTIONS, "connections_per_user"),
    "new_connections_at_once": (ErrorCode.RATE_LIMITED, "new_connections_per_s"),
    "new_connections_per_s": (ErrorCode.RATE_LIMITED, "new_connections_per_s"),
    "spare_files": (ErrorCode.TOO_MANY_CONNECTIONS, "open_files"),
    "auth_failures": (ErrorCode.RATE_LIMITED, "auth_failures"),
    "pairings": (ErrorCode.TOO_MANY_PAIRINGS, "pairings"),
    "pairings_per_network": (ErrorCode.TOO_MANY_PAIRINGS, "pairings_per_network"),
    "key_rotation_wait_s": (ErrorCode.RATE_LIMITED, "key_rotation_wait_s"),
    "takeovers": (ErrorCode.RATE_LIMITED, "takeovers"),
    "frames_per_s": ("slowed_down", "frames_per_s"),
    "bytes_per_s": ("slowed_down", "bytes_per_s"),
    "outgoing_bytes": (ErrorCode.DEVICE_SLOW, "outgoing_bytes"),
    "outgoing_frames": (ErrorCode.DEVICE_SLOW, "outgoing_bytes"),  # one queue, counted once
    "write_timeout_s": (ErrorCode.SLOW_CONSUMER, "write_timeout_s"),
    "ping_timeout_s": ("no_pong", "ping_timeout_s"),
    "pending_calls": (ErrorCode.TOO_MANY_CALLS, "pending_calls"),
    "call_timeout_s": (ErrorCode.CALL_TIMED_OUT, "call_timeout_s"),
    "wake_answer_s": (ErrorCode.CALL_TIMED_OUT, "wake_answer_s"),
    "call_sends": (ErrorCode.UNKNOWN_EFFECT, "call_sends"),
    "run_files": (ErrorCode.LIMIT_REACHED, "run_files"),
    "run_bytes": (ErrorCode.TOO_LARGE, "run_bytes"),
    "agent_tokens_per_agent": (ErrorCode.LIMIT_REACHED, "agent_tokens_per_agent"),
    "boards_per_user": (ErrorCode.LIMIT_REACHED, "boards_per_user"),
    "members_per_board": (ErrorCode.LIMIT_REACHED, "members_per_board"),
    "memory_items_per_board": (ErrorCode.LIMIT_REACHED, "memory_items_per_board"),
    "memory_bytes": (ErrorCode.TOO_LARGE, "memory_bytes"),
    "open_messages_per_user": (ErrorCode.LIMIT_REACHED, "open_messages_per_user"),
    "agent_message_bytes": (ErrorCode.TOO_LARGE, "agent_message_bytes"),
    "boards_per_broadcast": (ErrorCode.LIMIT_REACHED, "boards_per_broadcast"),
    "open_questions_per_user": (ErrorCode.LIMIT_REACHED, "open_questions_per_user"),
    "soul_bytes": (ErrorCode.TOO_LARGE, "soul_bytes"),
    "items_per_file": (ErrorCode.LIMIT_REACHED, "items_per_file"),
    "items_per_run": (ErrorCode.LIMIT_REACHED, "items_per_run"),
    "run_wall_s": ("deadline", "run_wall_s"),
    "convert_memory_bytes": (ErrorCode.NOT_CONVERTIBLE, "convert_memory_bytes"),
    "convert_seconds": (ErrorCode.NOT_CONVERTIBLE, "convert_seconds"),
    "posted_waiting": (ErrorCode.LIMIT_REACHED, "posted_waiting"),
    "posted_bytes": (ErrorCode.TOO_LARGE, "posted_bytes"),
    "posts_at_once": (ErrorCode.OVERLOADED, "posts_at_once"),
    "webhook_connections": (ErrorCode.TOO_MANY_CONNECTIONS, "webhook_connections"),
    "webhook_connections_per_network": (
        ErrorCode.TOO_MANY_CONNECTIONS,
        "webhook_connections_per_network",
    ),
    "waiting_runs_per_device": ("dropped_queue_full", "waiting_runs"),
    "waiting_runs_per_schedule": ("dropped_queue_full", "waiting_runs"),
    "waiting_manual_runs": (ErrorCode.LIMIT_REACHED, "waiting_manual_runs"),
    "waiting_manual_runs_per_device": (ErrorCode.LIMIT_REACHED, "waiting_manual_runs_per_device"),
    "agents": (ErrorCode.LIMIT_REACHED, "agents"),
    "agents_per_user": (ErrorCode.LIMIT_REACHED, "agents_per_user"),
    "templates": (ErrorCode.LIMIT_REACHED, "templates"),
    "run_context_bytes": (ErrorCode.TOO_LARGE, "run_context_bytes"),
    "capabilities_per_agent": (ErrorCode.LIMIT_REACHED, "capabilities_per_agent"),
    "capability_config_bytes": (ErrorCode.TOO_LARGE, "capability_config_bytes"),
    "checkpoints_per_agent": (ErrorCode.LIMIT_REACHED, "checkpoints_per_agent"),
    "checkpoint_bytes": (ErrorCode.TOO_LARGE, "checkpoint_bytes"),
    "waiting_requests": (ErrorCode.OVERLOADED, "waiting_requests"),
    "requests_per_s": (ErrorCode.RATE_LIMITED, "requests_per_s"),
    "locks_per_user": (ErrorCode.LIMIT_REACHED, "locks_per_user"),
    "lock_waits": (ErrorCode.LIMIT_REACHED, "lock_waits"),
    "lock_waits_per_device": (ErrorCode.LIMIT_REACHED, "lock_waits_per_device"),
    "device_events": (ErrorCode.DEVICE_SLOW, "device_events"),
    "metric_series_per_agent": (ErrorCode.TOO_MANY_SERIES, "metric_series_per_agent"),
    "metric_series": (ErrorCode.TOO_MANY_SERIES, "metric_series"),
    "metric_reports_at_once": (ErrorCode.RATE_LIMITED, "metric_reports_per_s"),
    "metric_reports_per_s": (ErrorCode.RATE_LIMITED, "metric_reports_per_s"),
    "metric_points": (ErrorCode.LIMIT_REACHED, "metric_points"),
    "metric_buckets": (ErrorCode.LIMIT_REACHED, "metric_buckets"),
    "config_keys": (ErrorCode.LIMIT_REACHED, "config_keys"),
    "config_value_bytes": (ErrorCode.LIMIT_REACHED, "config_value_bytes"),
    "config_bytes": (ErrorCode.LIMIT_REACHED, "config_bytes"),
    "resource_usage_bytes": ("left_out", "resource_usage_bytes"),
    "device_tokens": (ErrorCode.LIMIT_REACHED, "device_tokens"),
    "device_tokens_per_user": (ErrorCode.LIMIT_REACHED, "device_tokens_per_user"),
    "operator_tokens": (ErrorCode.LIMIT_REACHED, "operator_tokens"),
    "operator_tokens_per_user": (ErrorCode.LIMIT_REACHED, "operator_tokens_per_user"),
    "users": (ErrorCode.LIMIT_REACHED, "users"),
    "invitations": (ErrorCode.LIMIT_REACHED, "invitations"),
    "invitations_per_user": (ErrorCode.LIMIT_REACHED, "invitations_per_user"),
    "wrong_codes": (ErrorCode.RATE_LIMITED, "wrong_codes"),
    "operator_connections": (ErrorCode.TOO_MANY_CONNECTIONS, "operator_connections"),
    "operator_connections_per_network": (
        ErrorCode.TOO_MANY_CONNECTIONS,
        "operator_connections_per_network",
    ),
    "operator_new_connections_at_once": (ErrorCode.RATE_LIMITED, "operator_new_connections_per_s"),
    "operator_new_connections_per_s": (ErrorCode.RATE_LIMITED, "operator_new_connections_per_s"),
    "operator_strangers": (ErrorCode.OVERLOADED, "operator_strangers"),
    "operator_strangers_per_network": (ErrorCode.OVERLOADED, "operator_strangers_per_network"),
}

# The requests of operators: hub_operator_refusals_total counts them by this code.
REFUSED_BY_CODE = {
    "operator_body_bytes": ErrorCode.TOO_LARGE,
    "operator_body_timeout_s": ErrorCode.HELLO_TIMEOUT,
    "operator_head_timeout_s": ErrorCode.HELLO_TIMEOUT,
    "operator_requests": ErrorCode.OVERLOADED,
    "operator_event_streams": ErrorCode.OVERLOADED,
}

# Nobody is refused; what is lost, or waits, has a number of its own.
OWN_METRIC = {
    "runs": "hub_runs_in_progress",  # further ones wait, and say for what
    "runs_per_device": "hub_runs_in_progress",
    "connector_runs": "hub_runs_in_progress",
    "log_queue": "hub_log_dropped_total",
    "log_repeats": "hub_log_suppressed_total",
}

# Nothing that can be reached: how long something lasts or is kept, or how it is spread.
NO_LIMIT = {
    "auth_window_s": "how long a failure counts",
    "auth_wait_s": "how long the wait is",
    "auth_wait_most_s": "how long it may grow",
    "pairing_ttl_s": "how long a code counts; the device is told a new one",
    "takeover_window_s": "how long a takeover counts",
    "takeover_wait_s": "how long the wait is",
    "ping_interval_s": "how often it is done",
    "connected_s": "how long is waited before something is begun",
    "device_grace_s": "how long is waited before something is ended",
    "cancel_grace_s": "how long is waited before something is ended",
    "paused_days": "how long something that waits is kept",
    "restart_hold_s": "how long is waited before something is begun",
    "drain_timeout_s": "how long is waited before something is ended",
    "agent_token_days": "how long a token counts that says nothing else",
    "soul_versions": "how many versions are kept: the newest make room for themselves",
    "operator_token_days": "how long a token counts that says nothing else",
    "invitation_ttl_s": "how long an invitation counts that says nothing else",
    "wrong_code_window_s": "how long a wrong code counts",
    "wrong_code_wait_s": "how long the wait is",
    "log_entries": "how much is kept; the oldest goes",
    "log_bytes": "how much is kept; the oldest goes",
}

TABLES: tuple[dict[str, object], ...] = (
    dict(COUNTED),
    dict(REFUSED_BY_CODE),
    dict(OWN_METRIC),
    dict(NO_LIMIT),
)


@cache
def said_in_the_code() -> frozenset[str]:
    """Every word that is a text in the hub, or in its storage, outside of the settings and of the doctor."""
    told_of = ("hub.base.toml.limits", "hub.health.machine_and_load", "protocol.")
    modules = (one for one in modules_of_the_product() if not one.name.startswith(told_of))
    return frozenset(word for one in modules for word in re.findall(r'"(\w+)"', one.source))


def test_every_limit_setting_has_exactly_a_single_row_in_the_limit_tables() -> None:
    rows = [name for table in TABLES for name in table]
    assert sorted(rows) == sorted({*Limits.model_fields, *REMOVED})


@each(("end", "label"), sorted(set(COUNTED.values())))
def test_reached_limit_has_a_known_end_and_a_counter(end: str, label: str) -> None:
    assert end in OTHER_ENDS or end in set(ErrorCode)
    of_the_gate = label.removeprefix("operator_").removeprefix("webhook_")  # which puts that before it itself
    assert {label, of_the_gate} & said_in_the_code()


def test_own_metrics_of_limits_are_exported() -> None:
    shown = Metrics().render().decode()
    for metric in OWN_METRIC.values():
        assert f"\n{metric} " in shown


def test_doctor_gives_advice_only_for_counted_limits() -> None:
    counted = {label for _, label in COUNTED.values()} | {*IdentityLimits.__struct_fields__}
    counted.add("metric_series_of_hub")  # which no setting changes
    assert counted >= COUNSEL.keys()


def test_removed_limit_key_is_a_warning_with_the_fixed_value(tmp_path: Path) -> None:
    for name in REMOVED:
        assert name not in Limits.model_fields
    text = "[limits]\nusers = 'x'\nruns = 3\n"
    read = check_text(text, tmp_path / "hub.toml", name="hub.toml", environ={"HUB__LIMITS__LOG_QUEUE": "9"})
    assert read.usable().limits == Limits(runs=3)
    assert sorted(map(str, read.problems)) == [
        "HUB__LIMITS__LOG_QUEUE: warning: limits.log_queue: is no longer a setting: the hub always uses 8_192"
        " - remove the line",
        "hub.toml:2:1: warning: limits.users: is no longer a setting: the hub always uses 1_000"
        " - remove the line",
    ]


def test_edit_of_a_removed_limit_key_is_refused() -> None:
    with pytest.raises(CannotEdit, match="always uses twice new_connections_per_s"):
        edited("", {"limits.new_connections_at_once": 5})


def test_fixed_values_of_removed_limit_keys_equal_the_values_of_the_code() -> None:
    link, port, attempts, tokens = LinkLimits(), PortLimits(), AttemptLimits(), IdentityLimits()
    used: dict[str, object] = {
        "handshake_timeout_s": OPEN_S,
        "write_timeout_s": link.write_deadline_s,
        "auth_window_s": attempts.window_s,
        "auth_wait_s": attempts.wait_s,
        "auth_wait_most_s": attempts.wait_most_s,
        "pairing_ttl_s": PAIRING_TTL_S,
        "pairings": PAIRINGS,
        "pairings_per_network": PAIRINGS_PER_NETWORK,
        "takeovers": TAKEOVERS,
        "takeover_window_s": TAKEOVER_WINDOW_S,
        "takeover_wait_s": TAKEOVER_WAIT_S,
        "operator_body_bytes": BODY_BYTES,
        "operator_body_timeout_s": BODY_S,
        "operator_head_timeout_s": HEAD_S,
        "log_entries": ENTRIES,
        "log_queue": QUEUE,
        "log_repeats": A_MINUTE,
        "waiting_runs_per_schedule": WAITING_PER_SCHEDULE,
        "waiting_runs_per_device": WAITING_PER_DEVICE,
        "config_keys": ConfigLimits().keys,
        "config_value_bytes": ConfigLimits().value_bytes,
        "config_bytes": ConfigLimits().total_bytes,
    }
    bundles = (
        link,
        port,
        tokens,
        AgentLimits(),
        LockLimits(),
        MessageLimits(),
        BoardLimits(),
        MemoryLimits(),
    )
    fixed = {name for name, value in REMOVED.items() if not isinstance(value, str)}
    for bundle in bundles:
        used |= {name: getattr(bundle, name) for name in fixed if hasattr(bundle, name)}
    assert used == {name: REMOVED[name] for name in used}
    assert len(used) > 50
