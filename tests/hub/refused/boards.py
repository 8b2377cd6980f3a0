"""Refused at boards, their memory, and the tokens of agents."""

from typing import Any

from tests.hub.refused.row import Device, Refused, Rest

SETTINGS = """
[[agents]]
name = "gardener"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
"""
ROSES, LAWN = "/v1/boards/roses", "/v1/boards/lawn"


def remember(board: str = "roses", **about: Any) -> Device:
    return Device("memory.add", {"board": board, "content": "cut them"} | about)


GIVEN = (
    Rest("POST", "/v1/boards", {"name": "roses"}),
    Rest("POST", "/v1/boards", {"name": "lawn"}),
    Rest("POST", f"{ROSES}/agents", {"agent": "gardener"}),
    *(Rest("POST", "/v1/agents/gardener/tokens", {}) for _ in range(16)),
)

ROWS = (
    Refused(
        "a-board-without-a-name", Rest("POST", "/v1/boards", {"description": "x"}), "bad_params", ("name",)
    ),
    Refused("a-board-with-a-slash", Rest("POST", "/v1/boards", {"name": "a/b"}), "bad_params", ("name",)),
    Refused(
        "a-board-whose-name-is-taken",
        Rest("POST", "/v1/boards", {"name": "roses"}),
        "name_taken",
        ("'roses'",),
    ),
    Refused(
        "a-board-at-a-gateway-nobody-knows",
        Rest("POST", "/v1/boards", {"name": "weeds", "gateway": "nowhere"}),
        "unknown_gateway",
        ("'nowhere'", "hub gateways"),
    ),
    Refused(
        "a-board-of-a-user-nobody-knows",
        Rest("POST", "/v1/boards?user=nobody", {"name": "weeds"}),
        "unknown_user",
        ("'nobody'",),
    ),
    Refused(
        "a-board-nobody-knows", Rest("GET", "/v1/boards/rozes"), "unknown_board", ("'rozes'", "hub boards")
    ),
    Refused(
        "a-board-renamed-to-one-there-is",
        Rest("PATCH", ROSES, {"name": "lawn"}),
        "name_taken",
        ("'lawn'",),
    ),
    Refused(
        "a-board-with-a-key-nobody-knows", Rest("PATCH", ROSES, {"colour": "red"}), "bad_params", ("colour",)
    ),
    Refused(
        "an-agent-on-two-boards",
        Rest("POST", f"{LAWN}/agents", {"agent": "gardener"}),
        "illegal_transition",
        ("on board 'roses'", "take it off"),
    ),
    Refused(
        "an-agent-nobody-knows-on-a-board",
        Rest("POST", f"{ROSES}/agents", {"agent": "nots"}),
        "unknown_agent",
        ("'nots'",),
    ),
    Refused(
        "an-agent-dropped-that-is-not-there",
        Rest("DELETE", f"{ROSES}/agents/notes"),
        "unknown_agent",
        ("not on this board",),
    ),
    Refused(
        "a-lead-that-is-not-on-the-board",
        Rest("PUT", f"{ROSES}/lead", {"agent": "notes"}),
        "unknown_agent",
        ("not on this board",),
    ),
    Refused("a-lead-that-is-not-told", Rest("PUT", f"{ROSES}/lead", {}), "bad_params", ("agent",)),
    Refused(
        "nothing-to-remember",
        Rest("POST", f"{ROSES}/memory", {"content": " \n "}),
        "bad_params",
        ("content",),
    ),
    Refused(
        "a-null-character-to-remember",
        Rest("POST", f"{ROSES}/memory", {"content": "a\0b"}),
        "bad_params",
        ("null character",),
    ),
    Refused(
        "more-to-remember-than-may-be",
        Rest("POST", f"{ROSES}/memory", {"content": "x" * 65537}),
        "too_large",
        ("65537 bytes", "65536", "memory_bytes"),
    ),
    Refused(
        "a-tag-of-65-characters",
        Rest("POST", f"{ROSES}/memory", {"content": "x", "tags": ["y" * 65]}),
        "bad_params",
        ("1 to 64 characters",),
    ),
    Refused(
        "seventeen-tags",
        Rest("POST", f"{ROSES}/memory", {"content": "x", "tags": [f"t-{n}" for n in range(17)]}),
        "bad_params",
        ("17 are more than 16",),
    ),
    Refused(
        "a-memory-taken-away-that-nobody-has",
        Rest("DELETE", f"{ROSES}/memory/nothing"),
        "unknown_memory",
        ("'nothing'", "hub boards memory"),
    ),
    Refused(
        "one-token-too-many-of-an-agent",
        Rest("POST", "/v1/agents/gardener/tokens", {}),
        "limit_reached",
        ("agent_tokens_per_agent",),
    ),
    Refused(
        "a-token-of-an-agent-nobody-knows",
        Rest("POST", "/v1/agents/nots/tokens", {}),
        "unknown_agent",
        ("'nots'",),
    ),
    Refused(
        "a-token-of-an-agent-revoked-that-nobody-made",
        Rest("DELETE", "/v1/agent-tokens/nothing"),
        "unknown_token",
        ("'nothing'",),
    ),
    Refused(
        "what-an-agent-asks-asked-by-an-operator",
        Rest("POST", "/v1/agent/boards/roses/memory", {"content": "x"}),
        "forbidden",
        ("asked by agents", "hub agents token"),
    ),
    Refused("a-memory-of-no-board", Device("memory.add", {"content": "x"}), "bad_params", ("board",)),
    Refused("nothing-to-remember-from-a-device", remember(content=" "), "bad_params", ("content",)),
    Refused("memory-for-a-board-nobody-knows", remember("rozes"), "unknown_board", ("'rozes'",)),
    Refused(
        "memory-by-an-agent-of-another-device",
        remember(agent_id="phone-notes"),
        "unknown_agent",
        ("phone-notes",),
    ),
    Refused(
        "memory-by-an-agent-of-another-board",
        remember("lawn", agent_id="gardener"),
        "not_your_board",
        ("not the board of the agent", "its own board"),
    ),
    Refused(
        "memory-with-a-cursor-of-another-list",
        Device("memory.list", {"board": "roses", "cursor": "x"}),
        "bad_params",
        ("cursor",),
    ),
    Refused(
        "two-hundred-and-one-items-of-memory",
        Device("memory.list", {"board": "roses", "limit": 201}),
        "bad_params",
        ("limit", "200"),
    ),
)
