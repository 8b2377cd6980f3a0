"""Refused at gateways, and at agents that live there."""

from tests.hub.refused.row import Refused, Rest

SETTINGS = """
[[gateways]]
name = "away"
url = "ws://127.0.0.1:1"
"""
ADOPT = "/v1/gateways/away/agents"
GIVEN = (Rest("POST", ADOPT, {"name": "away-reader", "remote_id": "reader"}),)

ROWS = (
    Refused(
        "a-gateway-nobody-declared",
        Rest("GET", "/v1/gateways/nowhere"),
        "unknown_gateway",
        ("'nowhere'", "hub gateways"),
    ),
    Refused(
        "trying-a-gateway-nobody-declared-again",
        Rest("POST", "/v1/gateways/nowhere/reconnect"),
        "unknown_gateway",
        ("'nowhere'",),
    ),
    Refused(
        "an-agent-at-a-gateway-nobody-declared",
        Rest("POST", "/v1/gateways/nowhere/agents", {"name": "x"}),
        "unknown_gateway",
        ("'nowhere'",),
    ),
    Refused("an-agent-at-a-gateway-without-a-name", Rest("POST", ADOPT, {}), "bad_params", ("name",)),
    Refused(
        "an-agent-at-a-gateway-with-a-blank-in-its-name",
        Rest("POST", ADOPT, {"name": "my agent"}),
        "bad_params",
        ("name",),
    ),
    Refused(
        "an-agent-at-a-gateway-by-an-id-that-is-none",
        Rest("POST", ADOPT, {"name": "x", "remote_id": "My Agent"}),
        "bad_params",
        ("remote_id", "not the id of an agent at a gateway"),
    ),
    Refused(
        "an-agent-at-a-gateway-of-a-name-that-is-taken",
        Rest("POST", ADOPT, {"name": "notes"}),
        "name_taken",
        ("'notes'", "choose another name"),
    ),
    Refused(
        "an-agent-of-a-gateway-that-is-another-already",
        Rest("POST", ADOPT, {"name": "x", "remote_id": "reader"}),
        "name_taken",
        ("agent 'away-reader' is 'reader' at gateway 'away' already",),
    ),
    Refused(
        "a-run-of-an-agent-at-a-gateway",
        Rest("POST", "/v1/agents/away-reader/runs", {}),
        "bad_params",
        ("agent 'away-reader' lives at gateway 'away'", "message"),
    ),
    Refused(
        "an-estimate-of-an-agent-at-a-gateway",
        Rest("POST", "/v1/agents/away-reader/estimate"),
        "bad_params",
        ("agent 'away-reader' lives at gateway 'away'",),
    ),
    Refused(
        "a-device-for-an-agent-at-a-gateway",
        Rest("PATCH", "/v1/agents/away-reader", {"device": "desk"}),
        "bad_params",
        ("device: the agent lives at gateway 'away'", "can be changed", "description"),
    ),
    Refused(
        "a-schedule-for-an-agent-at-a-gateway",
        Rest("PATCH", "/v1/agents/away-reader", {"schedule": "0 7 * * *"}),
        "bad_params",
        ("schedule: the agent lives at gateway 'away'",),
    ),
    Refused(
        "making-up-for-fires-of-an-agent-at-a-gateway",
        Rest(
            "POST",
            "/v1/agents/away-reader/backfill",
            {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
        ),
        "bad_params",
        ("schedule",),
    ),
    Refused(
        "removing-the-main-agent-of-a-gateway",
        Rest("DELETE", "/v1/agents/away-main"),
        "managed_by_file",
        ("agent 'away-main' is the main agent of gateway 'away'", "hub.toml"),
    ),
)
