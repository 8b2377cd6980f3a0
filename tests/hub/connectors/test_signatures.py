"""A post is believed where it is signed as its sender signs, now, over this very body."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from hub.connectors.webhook import SECRETS, Delivery, Source, judge, problem_of
from tests.support.families import each

NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
SECRET, OLD, WRONG = "a secret of both sides", "the one before that one", "somebody else's secret"
BODY = b'{"text": "hello"}'

Signed = dict[str, str]


def mac(secret: str, signed: bytes) -> bytes:
    return hmac.new(secret.encode(), signed, hashlib.sha256).digest()


def standard(body: bytes = BODY, secret: str = SECRET, at: datetime = NOW, id: str = "msg_1") -> Signed:
    seconds = str(int(at.timestamp()))
    made = base64.b64encode(mac(secret, f"{id}.{seconds}.".encode() + body)).decode()
    return {"webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": f"v1a,x v1,{made}"}


def github(body: bytes = BODY, secret: str = SECRET) -> Signed:
    return {"x-hub-signature-256": f"sha256={mac(secret, body).hex()}", "x-github-event": "issues"}


def slack(body: bytes = BODY, secret: str = SECRET, at: datetime = NOW) -> Signed:
    seconds = str(int(at.timestamp()))
    made = mac(secret, f"v0:{seconds}:".encode() + body).hex()
    return {"x-slack-request-timestamp": seconds, "x-slack-signature": f"v0={made}"}


def generic(body: bytes = BODY, secret: str = SECRET) -> Signed:
    return {"authorization": f"Bearer {secret}"}


WAYS: dict[Source, Callable[..., Signed]] = {
    Source.STANDARD: standard,
    Source.GITHUB: github,
    Source.SLACK: slack,
    Source.GENERIC: generic,
}


def judged(
    source: Source | None, headers: Mapping[str, str], body: bytes = BODY, *secrets: str, now: datetime = NOW
) -> Delivery | None:
    return judge(source, headers, body, secrets or (SECRET,), now)


@each("source", Source)
def test_each_sender_is_believed_in_its_own_way_and_in_no_other(source: Source) -> None:
    for way, sign in WAYS.items():
        assert (judged(source, sign()) is not None) is (way is source)
    assert judged(None, WAYS[source]()) is None


@each("source", Source)
def test_without_a_signature_or_with_anothers_nothing_is_believed(source: Source) -> None:
    assert judged(source, {}) is None
    assert judged(source, WAYS[source](secret=WRONG)) is None
    assert judge(source, WAYS[source](secret=""), BODY, (), NOW) is None  # a webhook that has no secret


@each("source", [Source.STANDARD, Source.GITHUB, Source.SLACK])
def test_another_body_under_a_good_signature_is_refused(source: Source) -> None:
    assert judged(source, WAYS[source](), BODY + b" ") is None


@each("source", Source)
def test_while_secrets_change_the_old_one_is_good_beside_the_new_one(source: Source) -> None:
    for secret in (SECRET, OLD):
        assert judged(source, WAYS[source](secret=secret), BODY, SECRET, OLD) is not None
    assert judged(source, WAYS[source](secret=OLD), BODY, SECRET) is None
    assert SECRETS == 2


@pytest.mark.parametrize("source", [Source.STANDARD, Source.SLACK])
@pytest.mark.parametrize(("minutes", "is_good"), [(-6, False), (-4, True), (4, True), (6, False)])
def test_what_was_signed_at_another_time_is_refused(source: Source, minutes: int, is_good: bool) -> None:
    assert (judged(source, WAYS[source](at=NOW + timedelta(minutes=minutes))) is not None) is is_good


@each("header", ["webhook-id", "webhook-timestamp", "x-slack-request-timestamp", "x-github-event"])
def test_what_is_signed_cannot_be_exchanged(header: str) -> None:
    for source, sign in WAYS.items():
        if header in (headers := sign()):
            told = judged(source, headers | {header: "1780488001" if "stamp" in header else "msg_2"})
            if header == "x-github-event":  # no signature covers it, so nothing is told apart by it
                assert told is not None and told.keys == judged(source, headers).keys  # type: ignore[union-attr]
            else:
                assert told is None


@each(
    "headers",
    [
        {"webhook-id": "é", "webhook-timestamp": "\uff19", "webhook-signature": "v1,é v1,===="},
        {"webhook-id": "a", "webhook-timestamp": "9" * 400, "webhook-signature": "v1," * 400},
        {"x-hub-signature-256": "sha256=xyz", "x-slack-signature": "v0=é"},
        {"x-slack-request-timestamp": "-1", "x-slack-signature": "v0=00"},
        {"authorization": "Bearer "},
        {"authorization": "Basic eA=="},
    ],
)
def test_headers_that_mean_nothing_are_refused_and_nothing_more(headers: Signed) -> None:
    for source in Source:
        assert judged(source, headers) is None


def test_a_secret_with_its_prefix_is_base64_as_standard_webhooks_have_it() -> None:
    key = b"0123456789abcdef01234567"
    secret = "whsec_" + base64.b64encode(key).decode()
    seconds = str(int(NOW.timestamp()))
    made = hmac.new(key, f"m.{seconds}.".encode() + BODY, hashlib.sha256).digest()
    signed = {
        "webhook-id": "m",
        "webhook-timestamp": seconds,
        "webhook-signature": "v1," + base64.b64encode(made).decode(),
    }
    assert judged(Source.STANDARD, signed, BODY, secret) is not None
    assert problem_of(Source.STANDARD, secret) is None
    assert "base64" in (problem_of(Source.STANDARD, "whsec_!!!!!!!!!!!!!!!!") or "")
    assert "16" in (problem_of(Source.GENERIC, "short") or "")


def test_a_delivery_is_known_by_what_is_signed() -> None:
    def keys(source: Source, headers: Signed, body: bytes = BODY) -> tuple[str, ...]:
        found = judged(source, headers, body)
        assert found is not None
        return found.keys

    later = NOW + timedelta(seconds=9)
    assert keys(Source.STANDARD, standard()) == keys(Source.STANDARD, standard(at=later))
    assert keys(Source.STANDARD, standard()) != keys(Source.STANDARD, standard(id="msg_2"))
    renamed = github() | {"x-github-delivery": "another"}
    assert (keys(Source.GITHUB, github()), keys(Source.SLACK, slack())) == (
        keys(Source.GITHUB, renamed),
        keys(Source.SLACK, slack(at=later)),
    )
    assert keys(Source.SLACK, slack()) != keys(Source.SLACK, slack(b"{}"), b"{}")
    named = generic() | {"idempotency-key": "k"}
    assert keys(Source.GENERIC, named) == keys(Source.GENERIC, named, b"{}")


def test_the_same_words_under_a_bearer_token_are_a_retry_for_minutes_and_news_after_that() -> None:
    first = judged(Source.GENERIC, generic())
    soon = judged(Source.GENERIC, generic(), now=NOW + timedelta(minutes=5))
    later = judged(Source.GENERIC, generic(), now=NOW + timedelta(minutes=11))
    assert first and soon and later
    assert first.keys[0] in soon.keys and first.keys[0] not in later.keys
    assert soon.since == NOW
