"""What is made of the bytes that an endpoint sends back."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.extraction.completion import MAX_CHARS, TokenCounts, Unusable, completion_of, runs_away
from hub.extraction.dialect import Dialect
from hub.extraction.endpoint import Sizer
from hub.extraction.model import Finish, ModelRequest, PromptMessage

ITEM = '{"table": "tasks", "title": "send the quote"}'


def body(text: str | None = "{}", finish: str | None = "stop", **more: object) -> bytes:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    return json.dumps(
        {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}} | more
    ).encode()


@pytest.mark.parametrize(
    ("finish", "meant"),
    [
        ("stop", Finish.WHOLE),
        ("eos", Finish.WHOLE),
        ("length", Finish.CUT_OFF),
        ("max_tokens", Finish.CUT_OFF),
        ("content_filter", Finish.CUT_OFF),
    ],
)
def test_finish_reason_of_each_provider_spelling_is_recognized(finish: str, meant: Finish) -> None:
    assert completion_of(body(finish=finish)).finish is meant


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", "an empty body"),
        (b"\xff\xfe", "no JSON object"),
        (b"[]", "no JSON object"),
        (body()[:-40], "no JSON object"),
        (body(choices=None), "no list of choices"),
        (body(choices=[]), "an empty list of choices"),
        (b'{"error": {"message": "overloaded"}}', "no list of choices"),
        (body("x" * 6 * MAX_CHARS), "a longer answer than any text has"),
        (body('{"items": [', finish=None), "does not say how it ended"),
    ],
)
def test_body_without_an_answer_is_unusable(sent: bytes, told: str) -> None:
    with pytest.raises(Unusable, match=told):
        completion_of(sent)


def counted(sent: bytes) -> TokenCounts | None:
    try:
        return completion_of(sent).counted
    except Unusable as error:
        return error.counted


def test_tokens_are_read_from_a_body_without_an_answer() -> None:
    assert counted(body(choices="none at all")) == TokenCounts(7, 3)
    assert counted(body(usage=None)) is None
    assert counted(body(usage={"prompt_tokens": None, "completion_tokens": -5})) == TokenCounts(0, 0)
    assert counted(b"<html>") is None


def test_impossible_token_counts_are_bounded() -> None:
    sent = body(usage={"prompt_tokens": 10**18, "completion_tokens": 10**18})
    assert completion_of(sent, most_prompt=900, most_completion=80).counted == TokenCounts(900, 80)


@pytest.mark.parametrize(
    ("usage", "room", "text"),
    [
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 390}}, 0, ""),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 390}}, 390, "{"),
        ({"completion_tokens": 400}, 0, ""),
        ({"completion_tokens": 0}, 0, "{"),
    ],
)
def test_answer_cut_off_behind_more_thoughts_than_their_room_has_no_text(
    usage: dict[str, object], room: int, text: str
) -> None:
    completion = completion_of(body("{", "length", usage=usage), room=room)
    assert (completion.finish, completion.text) == (Finish.CUT_OFF, text)


@pytest.mark.parametrize(
    ("text", "is_runaway"),
    [
        ('{"items": [' + " " * 900, True),
        ('{"items": [' + " \n" * 300, True),
        ('{"items": [' + (ITEM + ", ") * 30, True),
        ('{"items": [{"title": "' + "very " * 200, True),
        ("a" * 500, True),
        ("", False),
        ('{"items": []}' + " " * 900, False),
        ('{"items": [' + ", ".join([ITEM] * 30) + "]}", False),
        ("Sure! " + ITEM, False),
        ('{"items": [' + ", ".join(f'{{"title": "task {number}"}}' for number in range(200)), False),
    ],
)
def test_only_an_endless_repetitive_answer_is_a_runaway(text: str, is_runaway: bool) -> None:
    assert runs_away(text) == is_runaway


def test_runaway_answer_is_cut_off_under_any_finish_reason() -> None:
    completion = completion_of(body('{"items": [' + " " * 900))
    assert completion.is_runaway
    assert completion.finish is Finish.CUT_OFF


@given(st.text())
def test_completion_of_any_text_has_the_same_text(text: str) -> None:
    runs_away(text)
    assert completion_of(body(text)).text == text


def request(text: str) -> ModelRequest:
    return ModelRequest(messages=(PromptMessage("user", text),), schema={}, max_tokens=100)


def test_token_estimate_converges_to_the_count_of_the_endpoint() -> None:
    sizer, asked = Sizer(), request("Anna sends the quote. " * 50)
    assert 300 < sizer.prompt_tokens(asked) < 330
    for _ in range(30):
        sizer.learn(asked, 600)
    assert sizer.prompt_tokens(asked) == pytest.approx(600, rel=0.01)
    assert sizer.tokens(asked) > 700


def test_token_estimate_counts_about_a_token_per_chinese_character() -> None:
    assert 80 < Sizer().prompt_tokens(request("明" * 100)) < 100


def test_answer_over_the_longest_requested_length_is_cut_off() -> None:
    completion = completion_of(body(", ".join(f"[{number}]" for number in range(20_000))))
    assert (len(completion.text), completion.finish) == (MAX_CHARS, Finish.CUT_OFF)


@pytest.mark.parametrize("text", ["[" * 50_000, '{"a":' * 5_000 + " " * 5_000])
def test_an_answer_nested_without_an_end_is_cut_off(text: str) -> None:
    assert completion_of(body(text)).finish is Finish.CUT_OFF


def test_endlessly_nested_response_body_is_unusable() -> None:
    nested = b'{"other": ' + b"[" * 50_000
    assert counted(nested) is None
    with pytest.raises(Unusable):
        completion_of(nested)


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("max_tokens is too large: 16384. This model supports at most 4096 completion tokens.", 4_096),
        ("max_tokens: 16384 > 8,192, which is the maximum allowed number of output tokens for x-3-5", 8_192),
        ("max_completion_tokens must be less than 12_000 for model m-2024-12-17", 12_000),
        ("max_tokens has to be between 1 and 128", None),
        ("Unsupported parameter: 'max_tokens' for o-2024-12-17. Use 'max_completion_tokens' instead.", None),
        ("the schema may have 5000 properties", None),
        ("max_tokens " + "9" * 100_000, None),
    ],
)
def test_answer_token_limit_is_learned_from_the_refusal_text(message: str, limit: int | None) -> None:
    smaller = Dialect().within_limit(message, 16_384)
    assert (smaller and smaller.answer_tokens) == limit
    # The same refusal again: it was about something else.
    assert (smaller or Dialect()).within_limit(message, 16_384) is None


MEMBERS = (
    "message",
    "delta",
    "content",
    "text",
    "type",
    "tool_calls",
    "function",
    "arguments",
    "finish_reason",
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
)


@given(VALUES, st.integers(0, 200))
def test_body_with_members_of_any_type_is_read_or_unusable(value: object, cut: int) -> None:
    sent = json.dumps({"choices": value, "usage": value}).encode()
    for form in (sent, sent[:cut], b"data: " + sent):
        with suppress(Unusable):
            assert isinstance(completion_of(form).text, str)
