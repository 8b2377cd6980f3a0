"""Refused at messages between agents."""

from typing import Any

from tests.hub.refused.row import Device, Refused, Rest

SETTINGS = """
[[agents]]
name = "herald"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
[[agents]]
name = "herald-helper"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
[[agents]]
name = "herald-second"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
"""
BOARD = "talking"
NOBODYS = "019b0000-0000-7000-8000-000000000000"


def nudge(agent: str = "herald", board: str = BOARD, query: str = "?wait_s=0", **about: Any) -> Rest:
    path = f"/v1/boards/{board}/agents/{agent}/nudge{query}"
    return Rest("POST", path, {"content": "is the gate shut?"} | about)


def of_agent(sender: str, agent: str = "herald", **about: Any) -> Device:
    said = {"agent_id": sender, "board": BOARD, "agent": agent, "content": "is the gate shut?"}
    return Device("messages.nudge", said | about)


GIVEN = (
    Rest("POST", "/v1/boards", {"name": BOARD}),
    Rest("POST", f"/v1/boards/{BOARD}/agents", {"agent": "herald", "is_lead": True}),
    Rest("POST", f"/v1/boards/{BOARD}/agents", {"agent": "herald-helper"}),
    Rest("POST", f"/v1/boards/{BOARD}/agents", {"agent": "herald-second"}),
)

ROWS = (
    Refused("a-nudge-without-words", nudge(content=" \n"), "bad_params", ("content is empty",)),
    Refused("a-nudge-with-a-nul", nudge(content="a\0b"), "bad_params", ("no text",)),
    Refused(
        "a-nudge-of-40000-bytes",
        nudge(content="x" * 40_000),
        "too_large",
        ("40000", "32768", "agent_message_bytes"),
    ),
    Refused(
        "a-nudge-that-is-missing",
        Rest("POST", f"/v1/boards/{BOARD}/agents/herald/nudge", {}),
        "bad_params",
        ("content",),
    ),
    Refused(
        "a-nudge-on-a-board-nobody-has", nudge(board="nowhere"), "unknown_board", ("'nowhere'", "hub boards")
    ),
    Refused("a-nudge-to-an-agent-nobody-has", nudge("nobody"), "unknown_agent", ("nobody", BOARD)),
    Refused(
        "a-nudge-to-an-agent-that-is-not-on-the-board",
        nudge("phone-notes"),
        "unknown_agent",
        ("phone-notes", BOARD),
    ),
    Refused(
        "a-nudge-that-would-lose-its-key",
        nudge(queue_mode="collect"),
        "bad_params",
        ("queue_mode", "steer, followup, interrupt", "'collect'"),
    ),
    Refused(
        "a-nudge-with-a-long-word", nudge(correlation_id="x" * 129), "bad_params", ("correlation_id", "128")
    ),
    Refused(
        "a-nudge-that-is-waited-for-too-long", nudge(query="?wait_s=121"), "bad_params", ("wait_s", "120")
    ),
    Refused("a-nudge-with-a-field-nobody-knows", nudge(urgent=True), "bad_params", ("urgent",)),
    Refused(
        "a-nudge-of-a-worker-to-another-worker",
        of_agent("herald-helper", "herald-second"),
        "forbidden",
        ("an agent that is not the lead may not nudge another agent of the board",),
    ),
    Refused(
        "a-nudge-of-a-lead-to-itself",
        of_agent("herald", "herald"),
        "forbidden",
        ("the lead of a board may not nudge itself",),
    ),
    Refused(
        "a-nudge-of-an-agent-of-no-board",
        of_agent("notes"),
        "not_your_board",
        ("not the board of the agent",),
    ),
    Refused(
        "a-nudge-of-an-agent-of-another-device", of_agent("phone-notes"), "unknown_agent", ("phone-notes",)
    ),
    Refused(
        "a-nudge-of-a-device-without-words",
        Device("messages.nudge", {"board": BOARD, "agent": "herald"}),
        "bad_params",
        ("content",),
    ),
    Refused(
        "an-answer-to-no-message",
        Device("messages.answer", {"message_id": NOBODYS, "answer": "it is"}),
        "unknown_message",
        (NOBODYS, "hub messages"),
    ),
    Refused(
        "an-answer-to-a-message-without-words",
        Device("messages.answer", {"message_id": NOBODYS}),
        "bad_params",
        ("answer",),
    ),
    Refused(
        "messages-in-a-state-there-is-not",
        Device("messages.list", {"states": ["lost"]}),
        "bad_params",
        ("states", "lost"),
    ),
    Refused(
        "messages-of-an-agent-of-another-device",
        Device("messages.list", {"agent_id": "phone-notes"}),
        "unknown_agent",
        ("phone-notes",),
    ),
    Refused("a-message-nobody-sent", Rest("GET", f"/v1/messages/{NOBODYS}"), "unknown_message", (NOBODYS,)),
    Refused(
        "giving-up-no-message",
        Rest("POST", f"/v1/messages/{NOBODYS}/cancel"),
        "unknown_message",
        (NOBODYS, "hub messages"),
    ),
    Refused(
        "trying-no-message-again",
        Rest("POST", f"/v1/messages/{NOBODYS}/retry"),
        "unknown_message",
        (NOBODYS, "hub messages"),
    ),
    Refused(
        "messages-of-a-board-nobody-has",
        Rest("GET", "/v1/messages?board=nowhere"),
        "unknown_board",
        ("'nowhere'",),
    ),
    Refused(
        "messages-of-an-agent-nobody-has",
        Rest("GET", "/v1/messages?agent=nobody"),
        "unknown_agent",
        ("'nobody'",),
    ),
    Refused("messages-in-no-state", Rest("GET", "/v1/messages?state=lost"), "bad_params", ("state",)),
)
