"""Refused at agents."""

from tests.hub.refused.row import Device, Refused, Rest

ROWS = (
    Refused("an-unknown-agent", Rest("GET", "/v1/agents/nobody"), "unknown_agent", ("nobody", "hub agents")),
    Refused(
        "an-agent-of-another-device",
        Device("runs.start", {"agent_id": "phone-notes"}),
        "unknown_agent",
        ("phone-notes",),
    ),
    Refused("a-run-of-nothing", Device("runs.start"), "bad_params", ("agent_id: missing",)),
)
