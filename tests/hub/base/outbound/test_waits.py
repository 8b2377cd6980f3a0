"""Numbers that other parties name, at each place where they enter: bounded, said, and never an exception."""

import json
import math
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from hub.base.outbound.rules import bounded, bounded_wait, retry_after
from hub.extraction.completion import completion_of
from hub.extraction.rate_limiter import QuotaModel, reported_quota
from hub.openclaw.frames import RefusalBody
from hub.openclaw.gateway_errors import REFUSED_S, of_answer, of_opening, of_refusal
from protocol.backoff import MAX_WAIT_S, Backoff, requested_wait_s
from protocol.errors import CloseCode
from tests.support.clock import START

DAY_S = MAX_WAIT_S
IN_2099 = START.replace(year=2099)
# What a header may say, the wait that it means, and whether it was shortened.
SAID: list[tuple[str, float | None, bool]] = [
    ("7", 7.0, False),
    ("0", 0.0, False),
    ("-5", None, False),
    ("86400", DAY_S, False),
    ("86401", DAY_S, True),
    ("1e308", DAY_S, True),
    (f"{10**20}", DAY_S, True),
    ("9" * 5_000, DAY_S, True),
    ("inf", None, False),
    ("nan", None, False),
    ("soon", None, False),
    ("", None, False),
    (f"{START.timestamp() + 90:.0f}", 90.0, False),  # epoch seconds
    (f"{START.timestamp() - 90:.0f}", 0.0, False),
    (f"{IN_2099.timestamp():.0f}", DAY_S, True),
    (format_datetime(START + timedelta(seconds=90)), 90.0, False),
    (format_datetime(IN_2099), DAY_S, True),
    (format_datetime(START.replace(year=1970)), 0.0, False),
    ("Fri, 31 Dec 9999 23:59:59 -1200", DAY_S, True),
    ("Mon, 05 Jan 2026 09:01:30", None, False),  # without a zone
]


def test_retry_after_is_bounded_and_notes_the_requested_wait() -> None:
    for text, seconds, is_shortened in SAID:
        wait = retry_after({"retry-after": text}, START)
        assert (text, None if wait is None else wait.seconds) == (text, seconds)
        assert (text, wait is not None and "days was requested" in wait.note) == (text, is_shortened)
    assert retry_after({"retry-after-ms": "1500", "retry-after": "2"}, START) == (1.5, "")
    assert retry_after({}, START) is None


def test_a_reset_of_a_quota_beyond_a_day_is_ignored_and_the_bucket_refills() -> None:
    for text in ("1e308", f"{10**20}", f"{IN_2099.timestamp():.0f}", "9" * 400 + "h", "nan", "-5", "1970"):
        headers = {"limit": "600", "remaining": "0", "reset": text}
        report = reported_quota(
            {f"x-ratelimit-{key}-tokens": value for key, value in headers.items()}, "tokens"
        )
        assert report is not None
        quota = QuotaModel(600, now=0.0)
        quota.apply_report(report, later=0, now=0.0)
        assert (text, quota.wait_s(1, now=DAY_S, pace=1.0)) == (text, 0.0)
    huge = {"x-ratelimit-limit-tokens": "1e308", "x-ratelimit-remaining-tokens": "1e307"}
    assert reported_quota(huge, "tokens") is None


def test_waits_of_a_gateway_are_bounded() -> None:
    for value in (-5.0, 0.0, 1e308, 1e20, START.timestamp() * 1000):
        refusal = RefusalBody(code="UNAVAILABLE", message="later", retryable=True, retry_after_ms=value)
        ending, error = of_refusal(refusal), of_answer("home", "sessions.send", refusal)
        assert 0 <= ending.wait_s <= DAY_S
        assert 0 <= (error.retry_after_ms or 0) <= DAY_S * 1000
        is_shortened = value > DAY_S * 1000
        assert ("days was requested" in ending.problem.message) == is_shortened
        assert ("days was requested" in str(error)) == is_shortened
    for text, _, _ in SAID:
        turned = InvalidStatus(Response(503, "", Headers({"Retry-After": text})))
        assert 0 <= of_opening("ws://h", turned).wait_s <= REFUSED_S


def test_device_reconnects_within_a_day_despite_a_longer_requested_wait() -> None:
    requested = 2**53 - 1
    assert requested_wait_s(requested) == DAY_S
    for code in (None, CloseCode.RESTARTING, CloseCode.OVERLOADED):
        wait_s = Backoff().after_close(code, 0, 0.99, requested)
        assert wait_s is not None and wait_s <= DAY_S + 60


def test_token_counts_of_an_endpoint_are_bounded() -> None:
    choice = b'{"message": {"content": "{}"}, "finish_reason": "stop"}'
    for count in (-5, 0, 10**20, 10**400):
        found = completion_of(b'{"choices": [%s], "usage": {"prompt_tokens": %d}}' % (choice, count)).counted
        assert (count == 10**400) if found is None else 0 <= found.prompt <= 10**8


def test_foreign_numbers_are_bounded_and_invalid_values_become_the_default() -> None:
    cases: list[tuple[Any, float]] = [
        (-5, 1.0),
        (5, 5.0),
        ("7.5", 7.5),
        (1e308, 60.0),
        (10**400, 60.0),
        (math.inf, 60.0),
        (-math.inf, 1.0),
        (math.nan, 3.0),
        (None, 3.0),
        ("soon", 3.0),
        ([1], 3.0),
        (json.loads("NaN"), 3.0),
    ]
    assert [bounded(value, least=1.0, most=60.0, default=3.0) for value, _ in cases] == [
        number for _, number in cases
    ]
    assert bounded_wait(-1.0) == (0.0, "")
