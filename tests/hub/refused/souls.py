"""Refused at souls."""

from typing import Any

from tests.hub.refused.row import Refused, Rest

SETTINGS = """
[[agents]]
name = "soul-keeper"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
[[agents]]
name = "soul-away"
device = "phone"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
"""
GIVEN = (
    Rest("POST", "/v1/boards", {"name": "souls"}),
    Rest("POST", "/v1/boards/souls/agents", {"agent": "soul-keeper"}),
    Rest("POST", "/v1/boards/souls/agents", {"agent": "soul-away"}),
)
PATH = "/v1/boards/souls/agents/soul-keeper/soul"


def put(content: str = "be kind", headers: dict[str, str] | None = None, **about: Any) -> Rest:
    return Rest("PUT", PATH, {"content": content} | about, headers or {})


ROWS = (
    Refused(
        "a-soul-on-a-board-nobody-knows",
        Rest("GET", "/v1/boards/nowhere/agents/soul-keeper/soul"),
        "unknown_board",
        ("'nowhere'", "hub boards"),
    ),
    Refused(
        "a-soul-of-an-agent-that-is-not-on-the-board",
        Rest("GET", "/v1/boards/souls/agents/phone-notes/soul"),
        "unknown_agent",
        ("phone-notes", "souls"),
    ),
    Refused("a-soul-without-a-word", put(""), "bad_params", ("content", "may not be empty")),
    Refused("a-soul-of-blanks", put(" \n\t"), "bad_params", ("content", "may not be empty")),
    Refused("a-soul-with-a-nul", put("a\0b"), "bad_params", ("content", "control characters")),
    Refused("a-soul-of-300000-bytes", put("x" * 300_000), "too_large", ("soul_bytes", "262144", "300000")),
    Refused("a-soul-over-no-hash", put(expected_sha256="abc"), "bad_params", ("expected_sha256",)),
    Refused(
        "a-soul-over-an-etag-that-is-none",
        put(headers={"if-match": '"abc"'}),
        "bad_params",
        ("If-Match", "ETag with which the soul was read"),
    ),
    Refused(
        "a-soul-over-two-hashes",
        put(headers={"if-match": f'"{"0" * 64}"'}, expected_sha256="1" * 64),
        "bad_params",
        ("If-Match and expected_sha256 name two different texts",),
    ),
    Refused(
        "a-soul-that-is-waited-for-too-long",
        Rest("PUT", f"{PATH}?wait_s=121", {"content": "be kind"}),
        "bad_params",
        ("wait_s", "120"),
    ),
    Refused("a-soul-with-a-field-nobody-knows", put(source="x"), "bad_params", ("source",)),
    Refused(
        "a-soul-on-a-device-that-keeps-none",
        Rest("GET", PATH),
        "call_unsupported",
        ("file.get",),
    ),
    Refused(
        "a-soul-on-a-device-that-is-away",
        Rest("GET", "/v1/boards/souls/agents/soul-away/soul"),
        "device_offline",
        ("device phone of agent soul-away is not connected",),
    ),
    Refused(
        "a-version-of-a-soul-that-is-not-kept",
        Rest("GET", f"{PATH}/history/7"),
        "unknown_soul_version",
        ("version 7", "hub boards soul-history"),
    ),
    Refused("version-0-of-a-soul", Rest("GET", f"{PATH}/history/0"), "bad_params", ("seq", "1")),
)
