"""Nothing secret gets into a line, whichever way it came into the log."""

import json
import logging
from collections.abc import Callable

import pytest
from pydantic import BaseModel, ValidationError

from hub.base.log import LAST_WORDS, Channel
from hub.base.log.redaction import MAX_TEXT, redact
from tests.hub.base.log.secret_texts import SECRET_TEXTS
from tests.support.families import each
from tests.support.log import Opened

log = Channel("hub.somewhere")

SECRETS = [
    ("hub_dev_0123456789abcdefghijABCDEFGHIJ0123456789", "hub_dev_[redacted]"),
    ("the token hub_op_0123456789abcdefghijABCDEFGHIJ is old", "the token hub_op_[redacted] is old"),
    ("sk-proj-abcdefghijklmnop1234", "[redacted]"),
    ("key AIzaSyA0123456789abcdefghijklmnopqrstu", "key [redacted]"),
    ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
    ("ghp_0123456789abcdefghij", "[redacted]"),
    ("xoxb-1234567890-abcdef", "[redacted]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123", "[redacted]"),
    ("token:019b8d2e-1f00-4abc-8def-0123456789ab", "token:[redacted]"),  # an id of ours is no such
    ("token:019b8d2e-1f00-7abc-8def-0123456789ab-and-more", "token:[redacted]"),
    ("token: 019b8d2e-1f00-7abc-8def-0123456789ab", "token: [redacted]"),
    ("Authorization: Bearer abc.def.ghi", "Authorization: Bearer [redacted]"),
    ("{'authorization': 'Basic dXNlcjpwYXNz'}", "{'authorization': 'Basic [redacted]'}"),
    ("(b'Authorization', b'Token abcdef')", "(b'Authorization', b'Token [redacted]')"),
    ("sent bearer 0123456789abcdef", "sent bearer [redacted]"),
    ("postgresql://hub:s3cret@db/hub is away", "postgresql://hub:[redacted]@db/hub is away"),
    ("GET /v1?token=abcdef&x=1", "GET /v1?token=[redacted]&x=1"),
    ("/callback?code=4/0Abc&state=xyz", "/callback?code=[redacted]&state=[redacted]"),
    ('{"password": "hunter2", "a": 1}', '{"password": "[redacted]", "a": 1}'),
    (
        "-----BEGIN PRIVATE KEY-----\nMIIE\nabc\n-----END PRIVATE KEY----- rest",
        "-----BEGIN PRIVATE KEY-----[redacted] rest",
    ),
]


@each(("text", "redacted"), SECRETS)
def test_secret_is_redacted_by_format_or_by_context(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_redacted_text_contains_no_part_of_a_secret_in_any_context() -> None:
    assert len(SECRET_TEXTS) >= 60
    for text, parts in SECRET_TEXTS:
        for whole in (text, f"request failed: {text}\nnext line", json.dumps({"why": text})):
            told = redact(whole)
            assert not [part for part in parts if part in told], (whole, told)
            assert redact(told) == told


def test_secret_is_redacted_before_a_long_text_is_cut(opened: Opened) -> None:
    secret = "hub_dev_0123456789abcdefghijABCDEFGHIJ0123456789"
    for before in range(MAX_TEXT // 2 - len(secret), MAX_TEXT // 2, 7):
        log.info("a.b", detail="x " * (before // 2) + secret + " y" * MAX_TEXT)
        log.error("a.b", exc=ValueError("x " * (before // 2) + secret + " y" * 9_000))
    assert not [line for line in opened.lines() if "ABCDEFGHIJ" in line or "cdefghij" in line]


@each(
    "text",
    [
        "1200 tokens, 3 keys: the first is new",
        "the hub has no password yet",
        "file secret-santa-list.md, line 3",
        "pip install sk-learn and task-list",
        "019b8d2e-1f00-7abc-8def-0123456789ab",
        "token:019b8d2e-1f00-7abc-8def-0123456789ab",
        "actor=token:019b8d2e-1f00-7abc-8def-0123456789ab, refused",
        "https://models.example/v1/chat/completions",
        "1200 prompt tokens: 300",
        "ws://127.0.0.1:8770/v1/device",
        "the device did not take the run on: busy",
        "token revoked; pair this device again with 'hub pair'",
    ],
)
def test_text_without_a_secret_is_unchanged(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "say",
    [
        lambda secret: log.info("a.b", detail=f"with {secret}"),
        lambda secret: log.info("a.b", names=["x", secret]),
        lambda secret: log.info("a.b", headers={"x": {"y": secret}}),
        lambda secret: log.info("a.b", token=secret[:9]),
        lambda secret: log.error("a.b", exc=ValueError(f"refused {secret}")),
        lambda secret: logging.getLogger("httpx2").warning("sent %s", secret),
        lambda secret: logging.getLogger("httpcore2").error("failed", exc_info=OSError(secret)),
    ],
    ids=["a text", "a list", "a mapping", "a field's name", "an error", "a library", "its error"],
)
def test_secret_is_redacted_in_each_kind_of_log_call(say: Callable[[str], None], opened: Opened) -> None:
    secret = "hub_dev_0123456789abcdefghijABCDEFGHIJ0123456789"
    say(secret)
    (line,) = opened.lines()
    assert "0123456789" not in line
    assert "[redacted]" in line
    assert secret not in str(opened.log.ring.since(0))


def test_numbers_in_secret_named_fields_are_not_redacted(opened: Opened) -> None:
    log.info("model.answered", token=17, secret=None, prompt_tokens=5)
    line = json.loads(opened.lines()[0])
    assert (line["token"], line["secret"], line["prompt_tokens"]) == (17, None, 5)


class Reading(BaseModel):
    done: bool


def test_document_text_is_logged_only_when_enabled(fresh: Callable[..., Opened]) -> None:
    said = " ".join(["Dear", "Ann"])  # put together, for a traceback shows the source

    def say() -> None:
        log.info("unit.read", prompt=said, text=said, item={"title": said}, path="a.md")
        log.info("connector.failed", detail=f"it ended{LAST_WORDS}{said}")
        try:
            Reading.model_validate({"done": said})
        except ValidationError as exc:
            log.error("unit.broke", exc=exc)

    closed = fresh()
    say()
    lines = closed.lines()
    assert len(lines) == 3
    assert not any(said in line for line in lines)
    assert json.loads(lines[1])["detail"] == "it ended; its last words: [redacted]"
    assert json.loads(lines[0])["path"] == "a.md"
    told = fresh(content=True)
    say()
    assert [line.count(said) for line in told.lines()] == [3, 1, 1]


def test_a_long_text_is_cut_in_the_middle(opened: Opened) -> None:
    log.info("a.b", detail="x" * 5_000 + "end")
    detail = json.loads(opened.lines()[0])["detail"]
    assert len(detail) < 2_100
    assert "[3003 characters cut]" in detail
    assert detail.endswith("end")


def test_actor_resembling_a_secret_is_not_redacted(opened: Opened) -> None:
    actor = "token:019b8d2e-1f00-7abc-8def-0123456789ab"
    log.info("run.queued", actor=actor)
    assert json.loads(opened.lines()[0])["actor"] == actor


def test_problem_of_a_secret_setting_is_logged_without_the_secret(opened: Opened) -> None:
    told = "/x/hub.toml:13:11: error: model.api_key: a secret must not be written in this file"
    log.error("settings.refused", first=told, other="error: model.api_key: hunter2")
    line = json.loads(opened.lines()[0])
    assert line["first"] == told
    assert "hunter2" not in line["other"]
