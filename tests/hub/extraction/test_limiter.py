"""Turns at an endpoint: fair, never too early, and as many as its quota has."""

import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import anyio
import pytest

from hub.extraction.rate_limiter import Limiter, QuotaModel, ReportedQuota, duration_s, reported_quota
from tests.support.clock import FakeClock
from tests.support.families import each

NOTHING: Mapping[str, str] = {}
STEPS = 30  # of the event loop until whoever woke sleeps again


class BriskClock(FakeClock):
    """Passes time for tasks that do nothing but wait for it: no need to ask whether all are blocked."""

    async def pass_time(self, seconds: float) -> None:
        end = self._monotonic + seconds
        while True:
            for _ in range(STEPS):
                await anyio.lowlevel.checkpoint()
            if not self._sleepers or self._sleepers[0][0] > end:
                break
            self._move_to(self._sleepers[0][0])
        self._move_to(end)


@dataclass
class Provider:
    """A quota of tokens a minute, kept in virtual time as providers keep it.

    Attributes:
        window_s: 0: what is used comes back all the time; else all at once, so often.
        burst_s: how much can be saved up.
        tells: the quota is in the headers of answers.
    """

    clock: FakeClock
    window_s: float = 0.0
    burst_s: float = 60.0
    tells: bool = True
    latency_s: float = 2.0
    tokens: float = 60_000
    told_at = opens_at = -math.inf  # when it last asked to be left alone, and until when
    used = 0.0
    asked = refused = early = 0

    def __post_init__(self) -> None:
        self.level = self.size = self.tokens * self.burst_s / 60.0
        self.at = self.began = self.clock.monotonic()

    def _refill(self) -> None:
        now = self.clock.monotonic()
        if not self.window_s:
            self.level = min(self.size, self.level + (now - self.at) * self.tokens / 60.0)
        elif (now - self.began) // self.window_s > (self.at - self.began) // self.window_s:
            self.level = self.size
        self.at = now

    def admit(self, tokens: float) -> float | None:
        """Count a question of so many tokens; the seconds to wait when there is no room for it."""
        self._refill()
        self.asked += 1
        self.early += self.told_at < self.at < self.opens_at - 1e-6
        if tokens <= self.level:
            self.level -= tokens
            self.used += tokens
            return None
        self.refused += 1
        wait_s = (tokens - self.level) / (self.tokens / 60.0)
        if self.window_s:
            wait_s = self.window_s - (self.at - self.began) % self.window_s
        return wait_s

    def tell_to_wait(self, wait_s: float) -> None:
        """Its refusal arrives."""
        self.told_at = self.clock.monotonic()
        self.opens_at = max(self.opens_at, self.told_at + wait_s)

    def headers(self) -> dict[str, str]:
        if not self.tells:
            return {}
        reset_s = (self.size - self.level) / (self.tokens / 60.0)
        if self.window_s:
            reset_s = self.window_s - (self.at - self.began) % self.window_s
        return {
            "x-ratelimit-limit-tokens": f"{self.tokens:.0f}",
            "x-ratelimit-remaining-tokens": f"{math.floor(self.level)}",
            "x-ratelimit-reset-tokens": f"{reset_s:.3f}s",
        }


async def ask_on(provider: Provider, limiter: Limiter, user: str, held: float, counted: float) -> None:
    """Ask one question after the other; of each we set *held* tokens aside, and *counted* are counted."""
    again = False
    while True:
        async with limiter.turn(user, held, again=again) as turn:
            wait_s = provider.admit(counted)
            headers = provider.headers()
            await provider.clock.sleep(provider.latency_s)
            again = wait_s is not None
            if wait_s is None:
                limiter.answered(turn, counted, headers)
            else:
                provider.tell_to_wait(wait_s)
                limiter.refused(turn, wait_s, headers)


async def six_minutes(provider: Provider, *limiters: Limiter, held: float, counted: float) -> None:
    """Three users at each limiter, with more questions than fit."""
    async with anyio.create_task_group() as asking:
        for limiter in limiters:
            for number in range(16):
                asking.start_soon(ask_on, provider, limiter, f"user {number % 3}", held, counted)
        await provider.clock.pass_time(360)
        asking.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("others", "answered", "is_own", "next_at_once"),
    [
        ((), (), True, 8),  # nothing else was asked
        ((0,), (), False, 1),  # nothing was answered since it was asked
        ((2,), (), False, 1),
        ((0, 2), (0,), False, 4),  # the answer to an earlier question
        ((0, 2), (2,), True, 8),  # a later one was answered first
    ],
)
async def test_late_answer_lowers_the_pace_unless_the_question_alone_explains_the_delay(
    others: tuple[int, ...], answered: tuple[int, ...], is_own: bool, next_at_once: int
) -> None:
    limiter = Limiter(BriskClock(), in_flight=8)
    async with AsyncExitStack() as stack:
        turns = {}
        for number in sorted({1, *others}):
            turns[number] = await stack.enter_async_context(limiter.turn("anna", 1.0))
        for number in answered:
            limiter.answered(turns[number], None, {})
        assert limiter.slow_down(turns[1]) is is_own
    assert await taken_at_once(limiter) == next_at_once


async def note(limiter: Limiter, user: str, noted: list[str], word: str = "", *, again: bool = False) -> None:
    """Take a turn and note whose it was."""
    async with limiter.turn(user, 1.0, again=again):
        noted.append(word or user)


class Given(NamedTuple):
    """What a limiter knows of a provider, and the traits of that provider."""

    traits: dict[str, Any]
    held: float = 2_600
    counted: float = 2_500
    tokens_per_min: int | None = None  # the quota of hub.toml
    limiters: int = 1  # hubs with one key
    most_refused: float = 0.02


GIVEN = {
    "as we count": Given({}),
    "we set aside more": Given({}, counted=900),
    "we set aside less": Given({}, held=1_900, counted=2_100),
    "in windows": Given({"window_s": 60.0}),
    "with little saved up": Given({"burst_s": 6.0}),
    "of hub.toml": Given({"tells": False}, tokens_per_min=60_000, most_refused=0.05),
    "unknown": Given({"tells": False}, most_refused=1.0),
    "shared with another client": Given({}, limiters=2, most_refused=0.2),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
async def test_limiter_uses_the_quota_and_rarely_exceeds_the_quota(given: Given) -> None:
    clock = BriskClock()
    provider = Provider(clock, **given.traits)
    limiters = [
        Limiter(clock, in_flight=8, tokens_per_min=given.tokens_per_min) for _ in range(given.limiters)
    ]
    if provider.tells and given.limiters == 1:  # the first question is asked alone
        async with limiters[0].turn("first", given.held) as turn:
            provider.admit(given.counted)
            limiters[0].answered(turn, given.counted, provider.headers())
    await six_minutes(provider, *limiters, held=given.held, counted=given.counted)
    assert given.tokens_per_min or provider.early == 0
    assert provider.refused < given.most_refused * provider.asked
    assert provider.used >= 0.9 * 6 * 60_000


async def test_sporadic_refusals_hardly_reduce_the_limiter_throughput() -> None:
    clock = BriskClock()
    limiter = Limiter(clock, in_flight=8)
    answered = 0

    async def ask_on() -> None:
        nonlocal answered
        for number in count():
            async with limiter.turn("anna", 500.0) as turn:
                await clock.sleep(1.0)
                if number % 20 == 7:
                    limiter.refused(turn, 0.02, NOTHING)
                else:
                    limiter.answered(turn, 500, NOTHING)
                    answered += 1

    async with anyio.create_task_group() as asking:
        for _ in range(8):
            asking.start_soon(ask_on)
        await clock.pass_time(300)
        asking.cancel_scope.cancel()
    assert answered >= 0.7 * 8 * 300


@pytest.mark.parametrize(
    ("shares", "served"),
    [((1.0,), [30 + 15]), ((0.8, 0.2), [24 + 12, 6 + 3])],  # what was there, and what came back since
)
async def test_limiters_sharing_a_requests_per_minute_limit_do_not_exceed_the_limit(
    shares: tuple[float, ...], served: list[int]
) -> None:
    clock = BriskClock()
    given: list[str] = []
    async with anyio.create_task_group() as asking:
        for share in shares:
            limiter = Limiter(clock, in_flight=100, requests_per_min=30)
            limiter.use_share(share)
            for _ in range(60):
                asking.start_soon(note, limiter, f"{share}", given)
        await clock.pass_time(30)
        assert [given.count(f"{share}") for share in shares] == served
        asking.cancel_scope.cancel()


async def test_limiter_serves_users_in_turn_despite_unequal_queues() -> None:
    limiter = Limiter(FakeClock(), in_flight=1)
    served: list[str] = []
    async with anyio.create_task_group() as asking, limiter.turn("first", 1.0):
        for user in ("anna", "anna", "anna", "anna", "boris", "boris", "carla"):
            asking.start_soon(note, limiter, user, served)
        await anyio.wait_all_tasks_blocked()
        assert len(limiter) == 7
    assert served == ["anna", "boris", "carla", "anna", "boris", "anna", "anna"]


async def test_refused_question_precedes_other_questions_of_the_same_user() -> None:
    limiter = Limiter(FakeClock(), in_flight=1)
    served: list[str] = []
    async with anyio.create_task_group() as asking, limiter.turn("first", 1.0):
        asking.start_soon(note, limiter, "anna", served)
        await anyio.wait_all_tasks_blocked()
        asking.start_soon(partial(note, limiter, "anna", served, "anna, again", again=True))
        await anyio.wait_all_tasks_blocked()
    assert served == ["anna, again", "anna"]


async def test_cancelled_question_frees_the_place_in_the_limiter() -> None:
    limiter = Limiter(FakeClock(), in_flight=1)
    served: list[str] = []
    async with anyio.create_task_group() as asking, anyio.create_task_group() as leaving:

        async def ask_for_ever(user: str) -> None:
            async with limiter.turn(user, 1.0):
                await anyio.sleep_forever()

        leaving.start_soon(ask_for_ever, "anna")
        leaving.start_soon(ask_for_ever, "anna")
        await anyio.wait_all_tasks_blocked()
        asking.start_soon(note, limiter, "boris", served)
        await anyio.wait_all_tasks_blocked()
        assert served == []
        leaving.cancel_scope.cancel()
    assert (served, len(limiter)) == (["boris"], 0)


async def test_retry_wait_of_a_question_delays_all_questions() -> None:
    clock = BriskClock()
    limiter = Limiter(clock, in_flight=8)
    served: list[str] = []
    async with limiter.turn("anna", 1.0) as turn:
        limiter.refused(turn, 7.5, NOTHING)
    async with anyio.create_task_group() as asking:
        asking.start_soon(note, limiter, "boris", served)
        await clock.pass_time(7.499)
        assert served == []
        await clock.pass_time(0.001)
    assert served == ["boris"]


async def test_question_larger_than_the_token_quota_waits_for_the_full_quota() -> None:
    clock = BriskClock()
    limiter = Limiter(clock, in_flight=8, tokens_per_min=1_000)
    async with limiter.turn("anna", 100.0) as turn:
        limiter.answered(turn, 100, NOTHING)
    async with anyio.create_task_group() as asking:
        asking.start_soon(clock.pass_time, 60)
        async with limiter.turn("anna", 50_000.0):
            waited_s = clock.monotonic() - 1_000.0
    assert waited_s == pytest.approx(6.0, abs=0.01)


async def test_limiter_concurrency_shrinks_on_refusals_and_recovers_on_answers() -> None:
    limiter = Limiter(FakeClock(), in_flight=10)
    for _ in range(3):
        async with limiter.turn("anna", 1.0) as turn:
            limiter.refused(turn, 0.0, NOTHING)
    assert await taken_at_once(limiter) == 2  # 10 x 0.6 x 0.6 x 0.6
    for _ in range(10):
        async with limiter.turn("anna", 1.0) as turn:
            limiter.answered(turn, 1, NOTHING)
    assert await taken_at_once(limiter) == 7


async def taken_at_once(limiter: Limiter) -> int:
    """How many turns are given while nobody ends."""
    async with anyio.create_task_group() as asking:

        async def ask_for_ever() -> None:
            async with limiter.turn("anna", 1.0):
                await anyio.sleep_forever()

        for _ in range(20):
            asking.start_soon(ask_for_ever)
        await anyio.wait_all_tasks_blocked()
        taken = 20 - len(limiter)
        asking.cancel_scope.cancel()
    return taken


@each(
    ("text", "seconds"),
    [
        *(("20ms", 0.02), ("1s", 1.0), ("6m0s", 360.0), ("1h2m3.5s", 3_723.5), ("12", 12.0), ("0s", 0.0)),
        *((text, None) for text in ("", "soon", "5 min", "s", "1s later", "nan", "2026-01-05T09:00:00Z")),
    ],
)
def test_duration_is_parsed_in_each_provider_spelling(text: str, seconds: float | None) -> None:
    assert duration_s(text) == (seconds and pytest.approx(seconds))


def test_daily_quota_refills_at_the_reported_rate() -> None:
    quota = QuotaModel(14_400, now=0.0)
    quota.apply_report(
        ReportedQuota(limit=14_400, remaining=13_400, reset_s=6_000.0), later=0, now=0.0
    )  # 1000 in 100 minutes
    assert quota.wait_s(13_401, now=0.0, pace=1.0) == pytest.approx(6.0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-limit-tokens": "60000"},
        {"x-ratelimit-limit-tokens": "many", "x-ratelimit-remaining-tokens": "1"},
        {"x-ratelimit-limit-tokens": "0", "x-ratelimit-remaining-tokens": "0"},
        {"x-ratelimit-limit-tokens": "5", "x-ratelimit-remaining-tokens": "9"},
    ],
)
def test_senseless_headers_report_no_quota(headers: dict[str, str]) -> None:
    assert reported_quota(headers, "tokens") is None


async def test_reported_quota_is_reduced_by_questions_still_in_flight() -> None:
    clock = BriskClock()
    limiter = Limiter(clock, in_flight=8)
    told = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "59s",
    }
    served: list[str] = []
    async with (
        limiter.turn("anna", 1.0),
        limiter.turn("anna", 1.0) as second,
        anyio.create_task_group() as asking,
    ):
        limiter.answered(second, 1, told)
        asking.start_soon(note, limiter, "boris", served)
        await clock.pass_time(0.99)
        assert served == []
        await clock.pass_time(0.02)
        assert served == ["boris"]
