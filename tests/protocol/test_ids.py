"""How ids are spelled, and how a call's is derived."""

import json
import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.frame import ErrorBody
from protocol.ids import (
    CHANCE_BYTES,
    AgentId,
    CallId,
    RunId,
    UserId,
    derive_call_id,
    derive_item_ids,
    spell_id,
    trace_id_of,
    traceparent,
)
from protocol.tool_calls import Answer
from tests.support.pair import Pair


@given(now_ms=st.integers(0, 2**48 - 1), chance=st.binary(min_size=CHANCE_BYTES, max_size=CHANCE_BYTES))
def test_a_fresh_id_is_a_uuid_of_version_seven(now_ms: int, chance: bytes) -> None:
    spelled = UUID(spell_id(now_ms, chance))
    assert (spelled.version, spelled.variant, spelled.int >> 80) == (7, "specified in RFC 4122", now_ms)


@given(early=st.integers(0, 2**47), later=st.integers(1, 2**20), chance=st.binary(min_size=20, max_size=20))
def test_fresh_ids_sort_by_creation_time(early: int, later: int, chance: bytes) -> None:
    assert spell_id(early, chance[:10]) < spell_id(early + later, chance[10:])


def test_spell_id_requires_exactly_ten_random_bytes() -> None:
    with pytest.raises(ValueError, match="10 random bytes, not 9"):
        spell_id(0, bytes(9))


def derive(item: str = "i-1", version: int = 1, content: str = "h") -> CallId:
    return derive_call_id(item_id=item, version=version, content=content)


def derive_item(agent: str = "a", unit: str = "u", likeness: str = "l", nth: int = 0) -> str:
    return derive_item_ids(user_id=UserId("me"), agent_id=AgentId(agent), unit_key=unit)(likeness, nth)


def test_the_same_version_of_an_item_has_the_same_call_id_for_ever() -> None:
    # Devices keep these for years: these spellings may never change.
    assert derive() == "c-f2238ba46d1ed9f48a4a2bf66f44605a"
    assert derive_item() == "i-8b75d852a1a89dd08beb6b1e1b460209"


def test_each_differing_part_of_an_item_changes_the_ids() -> None:
    assert len({derive(), derive("i-2"), derive(version=2), derive(content="i")}) == 4
    others = {derive_item("b"), derive_item(unit="v"), derive_item(likeness="m"), derive_item(nth=1)}
    assert len(others | {derive_item()}) == 5


def test_derived_ids_separate_their_parts_unambiguously() -> None:
    assert derive_item("a", "bc") != derive_item("ab", "c")


def test_path_with_a_lone_surrogate_has_a_distinct_item_id() -> None:
    assert derive_item(unit="\udcff.md") != derive_item(unit="?.md")


# --- a run is a trace: its ids are read off the run, and are what W3C Trace Context asks for ---


# W3C Trace Context, 3.2.2: version 00.
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01")


def test_trace_id_of_a_run_is_the_run_id_without_hyphens() -> None:
    assert trace_id_of(RunId("019b8d2e-1f00-7abc-8def-0123456789ab")) == "019b8d2e1f007abc8def0123456789ab"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=CHANCE_BYTES, max_size=CHANCE_BYTES), st.text())
def test_traceparent_of_a_run_frame_contains_the_trace_id_of_the_run(
    now: int, chance: bytes, about: str
) -> None:
    run_id = RunId(spell_id(now, chance))
    told = traceparent(run_id, "tool_call", about)
    assert TRACEPARENT.fullmatch(told)
    assert told.split("-")[1] == trace_id_of(run_id)


@given(st.text(), st.text())
def test_run_id_without_a_uuid_has_a_distinct_trace_id(one: str, other: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", trace_id_of(RunId(one)))
    assert (trace_id_of(RunId(one)) == trace_id_of(RunId(other))) == (one == other)


def test_span_is_stable_over_restarts_and_differs_between_calls() -> None:
    run = RunId("019b8d2e-1f00-7abc-8def-0123456789ab")
    assert traceparent(run, "tool_call", "c-1") == traceparent(run, "tool_call", "c-1")
    spans = {traceparent(run, "tool_call", "c-1"), traceparent(run, "tool_call", "c-2")}
    spans |= {traceparent(run, "agent_run", "1"), traceparent(run, "agent_run", "2")}
    assert len(spans) == 4


def test_answer_of_a_device_has_the_trace_of_the_call() -> None:
    pair = Pair()
    pair.settle()
    pair.device.answer([(CallId("c-1"), Answer(result={"id": "row-1"}), "00-ab-cd-01")])
    pair.device.answer([(CallId("c-2"), Answer(error=ErrorBody(code="busy")), "00-ab-ef-01")])
    pair.device.answer([(CallId("c-3"), Answer(), None)])
    said = [json.loads(message) for message in pair.device.data_to_send()]
    assert [(frame["id"], frame.get("trace")) for frame in said] == [
        ("c-1", "00-ab-cd-01"),
        ("c-2", "00-ab-ef-01"),
        ("c-3", None),
    ]
