"""The documents that are made from the code."""

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

import jsonschema  # no stubs are published with it
import pytest
from hypothesis import given

from protocol.codec import FROM_DEVICE, FROM_HUB, JSON, type_of
from protocol.errors import CloseCode, ErrorCode
from protocol.frame import Frame
from protocol.items import EVIDENCE, MARKS, EvidenceKind, Mark
from protocol.lifecycles import CALL, RUN, UNIT, Table
from protocol.session import DEVICE_SESSION, HUB_SESSION, SessionState
from tests.support.families import each
from tests.support.frames import frames
from tests.support.protocol_examples import CONVERSATIONS, Conversation
from tests.support.protocol_page import diagram, notes_in, rewrite, sections
from tests.support.protocol_schema import asyncapi, json_schema
from tests.support.script import HELLO, WELCOME, DeviceScript, Script

SCHEMA: dict[str, Any] = json.loads(json_schema())
EVERY_FRAME = sorted({*FROM_DEVICE, *FROM_HUB}, key=type_of)


def validator(union: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{union}", "$defs": SCHEMA["$defs"]})


def test_exported_schema_is_a_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("union", "of"), [("FromDevice", FROM_DEVICE), ("FromHub", FROM_HUB)])
def test_every_frame_matches_the_schema(union: str, of: tuple[type[Frame], ...]) -> None:
    check = validator(union)

    @given(frame=frames(of, JSON))
    def holds(frame: Frame) -> None:
        check.validate(json.loads(JSON.encode(frame)))

    holds()


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "telemetry"},
        {"type": "welcome"},
        {"type": "tool_result", "id": ""},
        {"type": "agent_data", "run_id": "r-1", "files": [{"path": 7}]},
        {"type": "request", "id": "q-1"},
    ],
    ids=str,
)
def test_an_invalid_frame_does_not_match_the_schema(wrong: dict[str, object]) -> None:
    assert not validator("FromDevice").is_valid(wrong)


def references(document: object) -> set[str]:
    found = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))
    assert found
    return found


@pytest.mark.parametrize("document", [SCHEMA, json.loads(asyncapi())], ids=["schema", "asyncapi"])
def test_each_reference_in_an_exported_document_resolves(document: Any) -> None:
    for reference in references(document):
        part = document
        for step in reference.split("/"):
            part = part[step]


def test_the_asyncapi_document_has_the_frames_of_each_side() -> None:
    document = json.loads(asyncapi())
    assert (document["asyncapi"], document["channels"]["device"]["address"]) == ("3.0.0", "/v1/device")
    assert set(document["components"]["messages"]) == {type_of(frame) for frame in EVERY_FRAME}
    said = {
        name: {message["$ref"].rpartition("/")[2] for message in operation["messages"]}
        for name, operation in document["operations"].items()
    }
    assert said["hubSays"] == {type_of(frame) for frame in FROM_HUB}
    assert said["deviceSays"] == {type_of(frame) for frame in FROM_DEVICE}


@pytest.mark.parametrize(("terms", "kind"), [(MARKS, Mark), (EVIDENCE, EvidenceKind)])
def test_each_mark_of_an_item_has_an_explanation_for_the_reviewer(
    terms: Mapping[str, str], kind: object
) -> None:
    assert terms.keys() == set(get_args(kind))


def test_every_frame_has_an_example() -> None:
    shown = {type(frame) for conversation in CONVERSATIONS for frame in conversation.frames}
    assert shown == set(EVERY_FRAME)


@pytest.mark.parametrize("conversation", CONVERSATIONS[2:], ids=lambda conversation: conversation.title)
def test_example_conversation_is_accepted_by_hub_and_device_sessions(conversation: Conversation) -> None:
    hub = Script().device_says(HELLO).accept()
    device = DeviceScript().greet().hub_says(WELCOME)
    for line in conversation.lines():
        speaker, _, text = line.partition("-> ")
        if speaker.strip() == "hub":
            device.device_is(SessionState.READY).hub_says(text)
        else:
            hub.hub_is(SessionState.READY).device_says(text)
    hub.hub_is(SessionState.READY)


def test_example_greeting_opens_a_session() -> None:
    challenge, hello, welcome = (line.partition("-> ")[2] for line in CONVERSATIONS[0].lines())
    Script().device_says(hello).hub_is(SessionState.JUDGING)
    DeviceScript().hub_says(challenge).greet().hub_says(welcome).device_is(SessionState.READY)


def test_example_pairing_leaves_both_sessions_in_judging() -> None:
    challenge, hello, refusal = (line.partition("-> ")[2] for line in CONVERSATIONS[1].lines())
    Script().device_says(hello).hub_is(SessionState.JUDGING)
    DeviceScript().hub_says(challenge).greet().hub_says(refusal).device_is(SessionState.JUDGING)


@each("frame", EVERY_FRAME)
def test_every_frame_documents_the_direction_and_answer(frame: type[Frame]) -> None:
    told = (frame.__doc__ or "").strip()
    way = {(True, False): "hub -> device", (False, True): "device -> hub", (True, True): "both ways"}
    assert told.startswith(way[frame in FROM_HUB, frame in FROM_DEVICE] + ": ")
    assert "nswered" in told


@pytest.mark.parametrize(
    "table", [HUB_SESSION, DEVICE_SESSION, RUN, UNIT, CALL], ids=lambda table: table.name
)
def test_diagram_has_every_move_of_the_table(table: Table[Any, Any]) -> None:
    drawn = diagram(table)
    moves = [
        rf"{before.name} --> {after.name}: .*\b{event.name.lower()}\b"
        for before, event, after in table.moves()
    ]
    moves.append(rf"\[\*\] --> {table.initial.name}\b")
    assert [move for move in moves if not re.search(move, drawn)] == []


def test_the_page_has_every_close_code_and_every_error_code() -> None:
    parts = sections({})
    assert [code for code in CloseCode if f"| {int(code)} |" not in parts["close codes"]] == []
    assert [error for error in ErrorCode if f"| `{error}` |" not in parts["error codes"]] == []


def test_rewrite_replaces_only_text_between_the_markers() -> None:
    page = "# A\n<!-- generated: limits -->\nold\n<!-- end -->\nB\n"
    once = rewrite(page, {"limits": "new"})
    assert once == "# A\n<!-- generated: limits -->\n\nnew\n\n<!-- end -->\nB\n"
    assert rewrite(once, {"limits": "new"}) == once


def test_rewrite_refuses_unmatched_sections_and_markers() -> None:
    with pytest.raises(ValueError, match="frames"):
        rewrite("# A\n", {"frames": "x"})
    with pytest.raises(KeyError, match="limits"):
        rewrite("<!-- generated: limits -->\n<!-- end -->\n", {})


def test_comment_of_a_frame_field_is_in_the_exported_table() -> None:
    source = "class Goodbye(Frame):\n    reason: Name  # one word\n    message: Text | None = None\n"
    assert notes_in(source) == {("Goodbye", "reason"): "one word"}
    assert "| `reason` | name | **required** | one word |" in sections(notes_in(source))["frames"]
