"""A run is a trace: its ids are read off the run, and are what W3C Trace Context asks for."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from protocol.frame import ErrorBody
from protocol.ids import CHANCE_BYTES, CallId, RunId, spell_id, trace_id_of, traceparent
from protocol.work import Answer
from tests.support.pair import Pair

# W3C Trace Context, 3.2.2: version 00.
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01")


def test_the_trace_of_a_run_is_its_id_without_hyphens() -> None:
    assert trace_id_of(RunId("019b8d2e-1f00-7abc-8def-0123456789ab")) == "019b8d2e1f007abc8def0123456789ab"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=CHANCE_BYTES, max_size=CHANCE_BYTES), st.text())
def test_every_frame_of_a_run_bears_a_traceparent_of_its_trace(now: int, chance: bytes, about: str) -> None:
    run_id = RunId(spell_id(now, chance))
    told = traceparent(run_id, "tool_call", about)
    assert TRACEPARENT.fullmatch(told)
    assert told.split("-")[1] == trace_id_of(run_id)


@given(st.text(), st.text())
def test_an_id_that_is_no_uuid_has_a_trace_of_its_own_all_the_same(one: str, other: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", trace_id_of(RunId(one)))
    assert (trace_id_of(RunId(one)) == trace_id_of(RunId(other))) == (one == other)


def test_a_span_is_the_same_after_a_restart_and_another_one_for_another_call() -> None:
    run = RunId("019b8d2e-1f00-7abc-8def-0123456789ab")
    assert traceparent(run, "tool_call", "c-1") == traceparent(run, "tool_call", "c-1")
    spans = {traceparent(run, "tool_call", "c-1"), traceparent(run, "tool_call", "c-2")}
    spans |= {traceparent(run, "agent_run", "1"), traceparent(run, "agent_run", "2")}
    assert len(spans) == 4


def test_an_answer_of_a_device_has_the_trace_of_its_call() -> None:
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
