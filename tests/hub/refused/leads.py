"""Refused at leads of boards, and at broadcasts to them."""

from typing import Any

from tests.hub.refused.row import Refused, Rest

SHED = "leaderless"
NOBODYS = "019b0000-0000-7000-8000-000000000000"
GIVEN = (Rest("POST", "/v1/boards", {"name": SHED}),)


def say(board: str = SHED, query: str = "?wait_s=0", **about: Any) -> Rest:
    return Rest("POST", f"/v1/boards/{board}/lead/message{query}", {"content": "is it done?"} | about)


def broadcast(query: str = "?wait_s=0", **about: Any) -> Rest:
    return Rest("POST", f"/v1/broadcasts{query}", {"content": "is it done?"} | about)


ROWS = (
    Refused(
        "a-lead-for-a-board-without-a-gateway",
        Rest("POST", f"/v1/boards/{SHED}/lead/ensure"),
        "no_lead",
        (SHED, "no lead", "hub boards lead"),
    ),
    Refused(
        "a-lead-for-a-board-nobody-has",
        Rest("POST", "/v1/boards/nowhere/lead/ensure"),
        "unknown_board",
        ("'nowhere'",),
    ),
    Refused(
        "a-lead-that-is-waited-for-too-long",
        Rest("POST", f"/v1/boards/{SHED}/lead/ensure?wait_s=121"),
        "bad_params",
        ("wait_s", "120"),
    ),
    Refused("a-word-to-a-lead-that-is-not", say(), "no_lead", (SHED, "no gateway", "hub boards lead")),
    Refused("a-word-to-the-lead-of-no-board", say("nowhere"), "unknown_board", ("'nowhere'",)),
    Refused("a-word-to-a-lead-of-no-kind", say(kind="nudge"), "bad_params", ("kind",)),
    Refused(
        "a-word-to-a-lead-with-a-long-tag",
        say("talking", reply_tags=["x" * 65]),
        "bad_params",
        ("tags", "64"),
    ),
    Refused("a-word-to-a-lead-without-words", say("talking", content=" "), "bad_params", ("empty",)),
    Refused("a-broadcast-without-words", broadcast(content="\n"), "bad_params", ("empty",)),
    Refused("a-broadcast-with-a-nul", broadcast(content="a\0b"), "bad_params", ("no text",)),
    Refused(
        "a-broadcast-of-40000-bytes",
        broadcast(content="x" * 40_000),
        "too_large",
        ("40000", "32768", "agent_message_bytes"),
    ),
    Refused("a-broadcast-to-no-boards", broadcast(boards=[]), "bad_params", ("boards",)),
    Refused("a-broadcast-of-no-kind", broadcast(kind="nudge"), "bad_params", ("kind",)),
    Refused(
        "a-broadcast-nobody-sent",
        Rest("GET", f"/v1/broadcasts/{NOBODYS}"),
        "unknown_broadcast",
        (NOBODYS, "hub messages broadcasts"),
    ),
    Refused(
        "resuming-a-broadcast-nobody-sent",
        Rest("POST", f"/v1/broadcasts/{NOBODYS}/resume?wait_s=0"),
        "unknown_broadcast",
        (NOBODYS,),
    ),
    Refused(
        "a-page-of-broadcasts-after-nothing",
        Rest("GET", "/v1/broadcasts?cursor=nonsense"),
        "bad_params",
        ("cursor",),
    ),
)
