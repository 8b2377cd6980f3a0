"""SOUL.md of agents on the device: read in parts, written over what was read, once for each call."""

import hashlib
from typing import Any

import msgspec
import pytest

from hub.device.inserts import KEEP_CALLS, DeviceStore
from protocol.calls import PART_BYTES
from protocol.errors import ErrorCode
from protocol.frame import MAX_RESULT_BYTES, Record
from protocol.work import Action, Answer, ToolCall
from tests.support.clock import FakeClock

ANNA = "agent-anna"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def put(store: DeviceStore, text: Any, over: str | None = None, id: str = "w-1", **about: Any) -> Answer:
    data: Record = {"name": "SOUL.md", "content": text, "expected_sha256": over} | about
    return store.apply([ToolCall(id=id, action=Action.FILE_PUT, agent_id=ANNA, data=data)])[0]


def get(store: DeviceStore, offset: int = 0, *, name: str = "SOUL.md", agent_id: str | None = ANNA) -> Answer:
    data: Record = {"name": name, "offset": offset}
    return store.apply([ToolCall(id="r-1", action=Action.FILE_GET, agent_id=agent_id, data=data)])[0]


def code(answer: Answer) -> str | None:
    return answer.error.code if answer.error else None


def test_there_is_no_soul_before_its_first_write(store: DeviceStore) -> None:
    answer = get(store)
    assert answer.error is None
    assert (answer.result["sha256"], answer.result["content"]) == (None, "")


def test_a_soul_is_returned_with_the_hash_of_its_bytes(store: DeviceStore) -> None:
    written = put(store, "be kind, Zoë")

    assert written.result == {
        "name": "SOUL.md",
        "sha256": sha256("be kind, Zoë"),
        "size_bytes": 13,
        "updated_at": 1767603600000,
    }
    assert get(store).result == {
        "name": "SOUL.md",
        "sha256": sha256("be kind, Zoë"),
        "content": "be kind, Zoë",
        "size_bytes": 13,
        "offset": 0,
        "next_offset": None,
        "updated_at": 1767603600000,
    }


def test_a_soul_is_written_over_the_one_that_was_read_and_over_no_other(store: DeviceStore) -> None:
    put(store, "first")

    assert put(store, "second", sha256("first"), "w-2").error is None
    refused = put(store, "third", sha256("first"), "w-3")

    assert code(refused) == ErrorCode.CHANGED_MEANWHILE
    assert refused.error is not None and sha256("second") in refused.error.message
    assert (get(store).result["content"], code(put(store, "third", None, "w-4"))) == (
        "second",
        ErrorCode.CHANGED_MEANWHILE,
    )


def test_a_write_that_comes_again_is_answered_as_it_was_the_first_time(store: DeviceStore) -> None:
    first = put(store, "first")
    put(store, "second", sha256("first"), "w-2")

    assert (put(store, "first"), get(store).result["content"]) == (first, "second")


def test_a_refused_write_is_refused_again_whatever_is_there_by_then(store: DeviceStore) -> None:
    refused = put(store, "first", sha256("nothing"))

    assert code(refused) == ErrorCode.CHANGED_MEANWHILE
    assert put(store, "first", None) == refused


def test_a_read_of_a_file_is_not_stored_and_returns_the_current_text(store: DeviceStore) -> None:
    get(store)
    put(store, "first")
    assert get(store).result["content"] == "first"


def test_an_answer_to_a_write_is_kept_as_long_as_the_file(store: DeviceStore, clock: FakeClock) -> None:
    first = put(store, "first")
    clock.advance(KEEP_CALLS.total_seconds() + 1)
    store.prune()
    assert put(store, "first") == first


@pytest.mark.parametrize(
    "text", ["x" * 200_000, '"\\\n' * 60_000, "\u0001" * 20_000, "ä€𝄞" * 30_000], ids=["x", "q", "c", "w"]
)
def test_a_long_soul_is_returned_in_parts_that_fit_an_answer(store: DeviceStore, text: str) -> None:
    put(store, text)

    parts, offset = [], 0
    while True:
        part = get(store, offset).result
        assert len(msgspec.json.encode(part)) <= MAX_RESULT_BYTES
        assert (part["offset"], part["sha256"], part["size_bytes"]) == (
            offset,
            sha256(text),
            len(text.encode()),
        )
        parts.append(part["content"])
        if part["next_offset"] is None:
            break
        offset = part["next_offset"]

    assert "".join(parts) == text
    assert len(parts) > 1 and all(len(msgspec.json.encode(part)) <= PART_BYTES for part in parts)


def test_each_agent_has_a_soul_of_its_own(store: DeviceStore) -> None:
    put(store, "first")
    assert get(store, agent_id="agent-bo").result["sha256"] is None


@pytest.mark.parametrize(
    ("about", "word"),
    [
        ({"content": ""}, "SOUL.md has to say something"),
        ({"content": " \n"}, "SOUL.md has to say something"),
        ({"content": "a\0b"}, "without NUL"),
        ({"content": 7}, "Expected `str`, got `int` - at `$.content`"),
        ({"expected_sha256": "abc"}, "$.expected_sha256"),
        ({"name": "AGENTS.md"}, "there is no text 'AGENTS.md', only SOUL.md"),
        ({"name": "../SOUL.md"}, "there is no text '../SOUL.md'"),
    ],
)
def test_what_is_no_soul_is_refused_in_words(store: DeviceStore, about: dict[str, Any], word: str) -> None:
    refused = put(store, "text", **about)
    assert code(refused) == ErrorCode.BAD_PARAMS
    assert refused.error is not None and word in refused.error.message


def test_a_file_request_without_an_agent_is_refused(store: DeviceStore) -> None:
    refused = get(store, agent_id=None)
    assert code(refused) == ErrorCode.BAD_PARAMS
    assert refused.error is not None and "agent_id" in refused.error.message
