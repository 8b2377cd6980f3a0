"""HTTP to a provider: nothing leaves for elsewhere, tokens are renewed once, waits are kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.calling import (
    PATIENCE_S,
    TRIES,
    ConnectorFailure,
    HttpReply,
    MessageUnreadable,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    ProviderCaller,
    ProviderQuota,
    QuotaSpent,
    SignInNeeded,
    Throttle,
    Unavailable,
    origin_of,
)
from tests.support.asgi import serving
from tests.support.clock import FakeClock, SeededChance
from tests.support.families import each

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
OK = Response(b'{"a": 1}', headers=JSON)


class Provider:
    """Answers in the order of *script*, the last one again and again."""

    def __init__(self, *script: Response) -> None:
        self.script = list(script) or [OK]
        self.asked: list[Request] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(Request(scope))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        await answer(scope, receive, send)

    @property
    def tokens(self) -> list[str]:
        return [request.headers["authorization"].removeprefix("Bearer ") for request in self.asked]


class Renewed:
    """Tokens t1, t2, ...: another one for each that was refused."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    async def token(self, rejected: str | None = None) -> str:
        if rejected is not None and rejected not in self.refused:
            self.refused.append(rejected)
        return f"t{len(self.refused) + 1}"


class Bench:
    def __init__(
        self, provider: Provider, base: str, client: OutboundClient, tokens: Renewed | None, judge: Any
    ) -> None:
        self.provider = provider
        self.base = base
        self.clock = FakeClock()
        self.tokens = tokens
        self.caller = ProviderCaller(
            client,
            tokens=tokens,
            throttle=Throttle(ProviderQuota(), self.clock),
            origins={origin_of(base)},
            clock=self.clock,
            chance=SeededChance(1),
            judge=judge,
        )

    async def ask(self, **said: Any) -> HttpReply:
        """Ask, and let the waits between the tries go by."""
        found: list[HttpReply] = []
        failed: list[ConnectorFailure] = []

        async def go() -> None:
            try:
                found.append(await self.caller.ask("GET", f"{self.base}/x", **said))
            except ConnectorFailure as failure:
                failed.append(failure)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(go)
            while not found and not failed:
                await anyio.sleep(0.001)
                self.clock.advance(1.0)
        if failed:
            raise failed[0]
        return found[0]


@asynccontextmanager
async def bench(
    *script: Response, tokens: Renewed | None = None, judge: Any = None, **options: Any
) -> AsyncIterator[Bench]:
    provider = Provider(*script)
    async with serving(provider) as base, OutboundClient(OutboundRules(), **options) as client:
        yield Bench(provider, base, client, tokens, judge)


async def test_provider_call_sends_a_token_and_returns_lower_case_headers() -> None:
    async with bench(Response(b"{}", headers={"X-Odd": "1"}), tokens=Renewed()) as here:
        answer = await here.ask(params={"q": "a b"})
    assert (answer.status, answer.headers["x-odd"], answer.json()) == (200, "1", {})
    assert (here.provider.tokens, here.provider.asked[0].url.query) == (["t1"], "q=a+b")


@each(
    "url", ["http://127.0.0.1:1/x", "http://localhost/x", "http://a@127.0.0.1/x", "ftp://127.0.0.1/", "x", ""]
)
async def test_request_to_a_foreign_origin_is_not_sent(url: str) -> None:
    async with bench(tokens=Renewed()) as here:
        with pytest.raises(Misconfigured, match="nothing was sent"):
            await here.caller.ask("GET", url)
    assert here.provider.asked == []


async def test_a_refused_token_is_renewed_once_and_then_a_person_has_to_sign_in() -> None:
    async with bench(Response(status_code=401), OK, Response(status_code=401), tokens=Renewed()) as here:
        assert (await here.ask()).json() == {"a": 1}
        with pytest.raises(SignInNeeded):
            await here.ask()
    assert here.provider.tokens == ["t1", "t2", "t2", "t3"]


async def test_half_surrogate_in_a_json_answer_is_replaced() -> None:
    cut = Response(rb'{"title": "cut \ud83d", "next": "\ud83d\ude00 \\ud83d"}', headers=JSON)
    async with bench(cut) as here:
        found = (await here.ask(expects_json=True)).json()
    assert found == {"title": "cut \ufffd", "next": "\U0001f600 \\ud83d"}


UNREADABLE = (
    Response(b'{"a": ', headers=JSON),
    Response(b"<html>gateway</html>", headers=JSON),
    Response(b"", headers=JSON),
    Response(status_code=302, headers={"location": "http://127.0.0.1:1/sorry"}),
    Response(b"not gzip at all", headers={"content-encoding": "gzip"}),
)


@each("odd", [*(Response(status_code=status) for status in (408, 425, 500, 502, 503, 504)), *UNREADABLE])
async def test_transient_error_or_proxy_answer_is_retried(odd: Response) -> None:
    async with bench(odd, OK) as here:
        assert (await here.ask(expects_json=True)).json() == {"a": 1}
    assert len(here.provider.asked) == 2


@each(
    ("answer", "failure", "tries"),
    [
        (Response(status_code=503), Unavailable, TRIES),
        (Response(status_code=400), Misconfigured, 1),
        (Response(status_code=403), PermissionMissing, 1),
        (Response(status_code=404), Misconfigured, 1),
        (Response(b"x" * 100), MessageUnreadable, 1),
    ],
)
async def test_only_transient_provider_failures_are_retried_up_to_four_tries(
    answer: Response, failure: type[ConnectorFailure], tries: int
) -> None:
    async with bench(answer, max_answer_bytes=99) as here:
        with pytest.raises(failure):
            await here.ask()
    assert len(here.provider.asked) == tries


async def test_short_retry_after_is_waited_within_the_run() -> None:
    async with bench(Response(status_code=429, headers={"Retry-After": "20"}), OK) as here:
        began = here.clock.now()
        assert (await here.ask()).json() == {"a": 1}
        assert here.clock.now() - began >= timedelta(seconds=20)


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "a date"])
async def test_long_retry_after_ends_the_run_with_the_retry_time(as_date: bool) -> None:
    at = FakeClock().now() + timedelta(seconds=120)
    told = format_datetime(at, usegmt=True) if as_date else "120"
    async with bench(Response(status_code=429, headers={"Retry-After": told})) as here:
        with pytest.raises(ProviderBusy) as busy:
            await here.ask()
    assert busy.value.retry_at is not None
    # In seconds it counts from the answer, and the clock goes on while that is waited for.
    assert at <= busy.value.retry_at <= (at if as_date else here.clock.now() + timedelta(seconds=120))
    assert len(here.provider.asked) == 1


async def test_provider_cookies_are_not_sent_back() -> None:
    async with bench(Response(b"{}", headers={"set-cookie": "who=ana; Path=/"})) as here:
        await here.ask()
        await here.ask()
    assert ["cookie" in request.headers for request in here.provider.asked] == [False, False]


async def test_provider_specific_judgement_of_a_status_has_precedence() -> None:
    async with bench(Response(status_code=403), judge=lambda answer: QuotaSpent("the day is spent")) as here:
        with pytest.raises(QuotaSpent):
            await here.ask()


def test_an_address_is_compared_by_scheme_host_and_port() -> None:
    assert (
        origin_of("https://Graph.example/x?y")
        == origin_of("https://graph.example:443")
        == "https://graph.example:443"
    )


async def test_throttle_allows_a_burst_and_then_the_steady_rate() -> None:
    clock = FakeClock()
    throttle = Throttle(ProviderQuota(units_per_min=75, at_once=2), clock)  # 80 %: one a second, six at once
    times: list[float] = []

    async def ask() -> None:
        async with throttle.place():
            times.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
        await clock.pass_time(30)
    waits = [at - times[0] for at in times]
    assert waits == [0.0] * 6 + [pytest.approx(number) for number in (1.0, 2.0, 3.0, 4.0)]


async def test_throttle_limits_concurrent_requests() -> None:
    throttle = Throttle(ProviderQuota(at_once=2), FakeClock())
    inside: list[int] = []
    most = 0

    async def ask() -> None:
        nonlocal most
        async with throttle.place():
            inside.append(1)
            most = max(most, len(inside))
            await anyio.lowlevel.checkpoint()
            inside.pop()

    async with anyio.create_task_group() as tasks:
        for _ in range(9):
            tasks.start_soon(ask)
    assert most == 2


async def test_throttle_hold_delays_all_requests() -> None:
    clock = FakeClock()
    throttle = Throttle(ProviderQuota(), clock)
    throttle.hold(PATIENCE_S)
    asked: list[float] = []

    async def ask() -> None:
        async with throttle.place():
            asked.append(clock.monotonic())

    began = clock.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await clock.pass_time(PATIENCE_S + 1)
    assert asked == [began + PATIENCE_S]
