"""Removed limits of hub.toml, which are answered with a warning."""

from collections.abc import Mapping
from typing import Any, Final

from hub.settings.locate import KeyPath

# Former keys of [limits], with the value that the hub always uses: a constant in the code that uses it.
REMOVED: Final[Mapping[str, float | str]] = {
    "handshake_timeout_s": 5.0,
    "hello_timeout_s": 10.0,
    "hello_bytes": 16_384,
    "message_bytes": 1_048_576,
    "message_fragments": 4_096,
    "strangers": 256,
    "strangers_per_network": "half of connections_per_network, at least 16",
    "new_connections_at_once": "twice new_connections_per_s",
    "spare_files": 256,
    "auth_window_s": 60.0,
    "auth_wait_s": 300.0,
    "auth_wait_most_s": 3_600.0,
    "pairing_ttl_s": 600.0,
    "pairings": 50,
    "pairings_per_network": 3,
    "key_rotation_wait_s": 60.0,
    "takeovers": 6,
    "takeover_window_s": 60.0,
    "takeover_wait_s": 300.0,
    "outgoing_bytes": 1_048_576,
    "outgoing_frames": 1_024,
    "pending_calls": 256,
    "write_timeout_s": 10.0,
    "call_timeout_s": 30.0,
    "wake_answer_s": 60.0,
    "call_sends": 5,
    "posted_waiting": 1_000,
    "posts_at_once": 32,
    "webhook_connections": 128,
    "webhook_connections_per_network": 64,
    "waiting_runs_per_device": 1_000,
    "waiting_runs_per_schedule": 100,
    "waiting_manual_runs": 20,
    "waiting_manual_runs_per_device": 100,
    "agents": 10_000,
    "templates": 200,
    "run_context_bytes": 16_384,
    "capabilities_per_agent": 256,
    "capability_config_bytes": 16_384,
    "checkpoints_per_agent": 16,
    "checkpoint_bytes": 65_536,
    "waiting_requests": 16,
    "device_events": 256,
    "metric_series_per_agent": 50,
    "metric_series": 2_000,
    "metric_reports_at_once": 50,
    "metric_reports_per_s": 5.0,
    "metric_points": 2_000,
    "metric_buckets": 100_000,
    "config_keys": 256,
    "config_value_bytes": 65_536,
    "config_bytes": 262_144,
    "resource_usage_bytes": 4_096,
    "locks_per_user": 1_000,
    "lock_waits": 100,
    "lock_waits_per_device": 16,
    "cancel_grace_s": 30.0,
    "paused_days": 7,
    "operator_body_bytes": 1_048_576,
    "device_tokens": 20_000,
    "device_tokens_per_user": 5_000,
    "operator_tokens": 100,
    "operator_tokens_per_user": 25,
    "operator_token_days": 90,
    "agent_tokens_per_agent": 16,
    "agent_token_days": 90,
    "boards_per_user": 1_000,
    "members_per_board": 64,
    "memory_items_per_board": 10_000,
    "memory_bytes": 65_536,
    "open_messages_per_user": 10_000,
    "agent_message_bytes": 32_768,
    "boards_per_broadcast": 1_000,
    "open_questions_per_user": 200,
    "soul_bytes": 262_144,
    "soul_versions": 200,
    "users": 1_000,
    "invitations": 100,
    "invitations_per_user": 25,
    "invitation_ttl_s": 600.0,
    "wrong_codes": 5,
    "wrong_code_window_s": 600.0,
    "wrong_code_wait_s": 600.0,
    "operator_body_timeout_s": 30.0,
    "operator_connections_per_network": "a quarter of operator_connections",
    "operator_strangers": 64,
    "operator_strangers_per_network": 16,
    "operator_new_connections_at_once": "as many as operator_connections",
    "operator_new_connections_per_s": "as many as operator_connections",
    "operator_head_timeout_s": 5.0,
    "log_entries": 2_000,
    "log_queue": 8_192,
    "log_repeats": 10,
}


def removed_value(path: KeyPath) -> str:
    """Return the value that the hub uses in place of a removed key; empty for any other key."""
    match path:
        case ("limits", str(name)) if name in REMOVED:
            value = REMOVED[name]
            return value if isinstance(value, str) else f"{value:_.15g}"
        case _:
            return ""


def drop_removed(doc: dict[str, Any]) -> list[KeyPath]:
    """Delete the removed keys in *doc* itself, and return them."""
    table = doc.get("limits")
    if not isinstance(table, dict):
        return []
    found: list[KeyPath] = [("limits", name) for name in table if name in REMOVED]
    if found:
        doc["limits"] = {name: value for name, value in table.items() if name not in REMOVED}
    return found
