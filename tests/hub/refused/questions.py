"""Refused at questions to people."""

from typing import Any

from tests.hub.refused.row import Device, Refused, Rest

SETTINGS = """
[[agents]]
name = "asker"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
[[agents]]
name = "asker-helper"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
"""
BOARD = "asking"
NOBODYS = "019b0000-0000-7000-8000-000000000000"


def ask(board: str = BOARD, **about: Any) -> Rest:
    return Rest("POST", f"/v1/boards/{board}/ask-user", {"content": "Which colour?"} | about)


def of_agent(agent: str, method: str = "questions.ask", **about: Any) -> Device:
    return Device(method, {"agent_id": agent, "board": BOARD, "content": "Which colour?"} | about)


GIVEN = (
    Rest("POST", "/v1/boards", {"name": BOARD}),
    Rest("POST", f"/v1/boards/{BOARD}/agents", {"agent": "asker", "is_lead": True}),
    Rest("POST", f"/v1/boards/{BOARD}/agents", {"agent": "asker-helper"}),
    of_agent("asker"),
)

ROWS = (
    Refused("a-question-without-words", ask(content="  "), "bad_params", ("content", "may not be empty")),
    Refused(
        "a-question-of-9000-characters", ask(content="x" * 9_000), "bad_params", ("content", "8192", "9000")
    ),
    Refused("a-question-with-a-null", ask(content="a\0b"), "bad_params", ("content", "null character")),
    Refused(
        "a-question-that-is-missing",
        Rest("POST", f"/v1/boards/{BOARD}/ask-user", {}),
        "bad_params",
        ("content",),
    ),
    Refused("a-question-on-a-board-nobody-has", ask("nowhere"), "unknown_board", ("'nowhere'", "hub boards")),
    Refused("a-question-with-17-tags", ask(reply_tags=["t"] * 17), "bad_params", ("reply_tags", "16")),
    Refused(
        "a-question-with-an-empty-tag", ask(reply_tags=[" "]), "bad_params", ("tags", "1 to 64 characters")
    ),
    Refused(
        "a-question-with-a-channel-of-lines",
        ask(preferred_channel="a\nb"),
        "bad_params",
        ("preferred_channel",),
    ),
    Refused(
        "a-question-with-a-long-word", ask(correlation_id="x" * 129), "bad_params", ("correlation_id", "128")
    ),
    Refused(
        "a-question-of-an-agent-that-does-not-lead",
        of_agent("asker-helper"),
        "forbidden",
        ("an agent that is not the lead may not ask the user",),
    ),
    Refused(
        "a-question-of-an-agent-of-no-board",
        of_agent("notes"),
        "not_your_board",
        ("not the board of the agent",),
    ),
    Refused(
        "a-question-of-an-agent-of-another-device",
        of_agent("phone-notes"),
        "unknown_agent",
        ("phone-notes",),
    ),
    Refused(
        "a-question-of-a-device-without-words",
        Device("questions.ask", {"board": BOARD}),
        "bad_params",
        ("content",),
    ),
    Refused(
        "an-answer-to-nothing",
        Rest("POST", f"/v1/questions/{NOBODYS}/answer", {"answer": "Red."}),
        "unknown_question",
        (NOBODYS, "hub ask"),
    ),
    Refused(
        "an-answer-without-words",
        Rest("POST", f"/v1/questions/{NOBODYS}/answer", {"answer": ""}),
        "bad_params",
        ("answer", "may not be empty"),
    ),
    Refused(
        "an-answer-of-a-device-to-nothing",
        Device("questions.answer", {"question_id": NOBODYS, "answer": "Red."}),
        "unknown_question",
        (NOBODYS, "hub ask"),
    ),
    Refused(
        "an-answer-of-a-device-without-a-question",
        Device("questions.answer", {"answer": "Red."}),
        "bad_params",
        ("question_id",),
    ),
    Refused(
        "questions-in-a-state-there-is-not",
        Device("questions.list", {"states": ["lost"]}),
        "bad_params",
        ("states", "open, answered, withdrawn, expired", "lost"),
    ),
    Refused(
        "withdrawing-nothing",
        Rest("POST", f"/v1/questions/{NOBODYS}/withdraw"),
        "unknown_question",
        (NOBODYS, "hub ask"),
    ),
    Refused(
        "a-question-nobody-asked", Rest("GET", f"/v1/questions/{NOBODYS}"), "unknown_question", (NOBODYS,)
    ),
    Refused(
        "questions-of-a-board-nobody-has",
        Rest("GET", "/v1/questions?board=nowhere"),
        "unknown_board",
        ("'nowhere'",),
    ),
    Refused("questions-in-no-state", Rest("GET", "/v1/questions?state=lost"), "bad_params", ("state",)),
)
