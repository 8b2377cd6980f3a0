"""Bar 2: every fault of llmock is handled as providers ask, by its strict verdict."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

import anyio
from llmock.pytest_plugin import LLMock
from llmock.testing import LLMockServer

from hub.clock import SystemChance, SystemClock
from hub.extraction.endpoint import Endpoint
from hub.extraction.model import Message, ModelError, ModelRequest
from hub.extraction.prompt import schema_of
from protocol.tables import TABLES
from tests.evaluation.figures import Figure, Told, exactly

_RETRIED: Final = (408, 409, 429, 500, 502, 503, 504, 529)
_FINAL: Final = (400, 401, 403, 404, 422)
_SHORT_S: Final = 0.3

Scripted = Callable[[LLMock], object]


async def measure(told: Told) -> list[Figure]:
    """One question for each fault, and several at once where that matters."""
    scripts: list[tuple[str, Scripted, int]] = [
        ("429 with Retry-After, twice", lambda mock: mock.rate_limit(times=2, retry_after=_SHORT_S), 1),
        (
            "429 with Retry-After, four at once",
            lambda mock: mock.rate_limit(times=2, retry_after=_SHORT_S),
            4,
        ),
        ("a limit of tokens a minute", lambda mock: mock.limits(tpm=40_000), 12),
        ("a limit of requests a minute", lambda mock: mock.limits(rpm=600), 12),
        ("context_length_exceeded", lambda mock: mock.context_overflow(), 1),
        ("a slow answer", lambda mock: mock.delay(_SHORT_S), 1),
        ("an endless outage", lambda mock: mock.outage(), 1),
        *((f"{status} twice", _failing(status, 2), 1) for status in _RETRIED),
        *((f"{status} for good", _failing(status, None), 1) for status in _FINAL),
    ]
    figures: list[Figure] = []
    with LLMockServer() as server:
        mock = LLMock(server)
        for name, script, at_once in scripts:
            mock.reset()
            script(mock)
            findings = await _findings(mock, at_once)
            for finding in findings:
                told(f"{name}: {finding}")
            figures.append(exactly(f"llmock, {name}: findings", len(findings)))
    return figures


def _failing(status: int, times: int | None) -> Scripted:
    return lambda mock: mock.fail(status, times=times)


async def _findings(mock: LLMock, at_once: int) -> list[str]:
    """What the strict verdict has against us, after so many questions at once."""
    async with _endpoint(mock.base_url()) as endpoint, anyio.create_task_group() as tasks:
        for number in range(at_once):
            tasks.start_soon(_ask, endpoint, number)
    verdict = mock.verdict()
    return [f"{finding.code}: {finding.title}" for finding in (*verdict.errors, *verdict.warnings)]


async def _ask(endpoint: Endpoint, number: int) -> None:
    request = ModelRequest(
        messages=(Message("system", "Find tasks."), Message("user", f"Text {number}. " * 50)),
        schema=schema_of([TABLES["tasks"]], 5),
        max_tokens=500,
    )
    try:
        await endpoint.answer(request)
    except ModelError:
        return  # how it ended is not what is judged here


@asynccontextmanager
async def _endpoint(base_url: str) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(base_url, "gpt-4o", "key", clock=SystemClock(), chance=SystemChance())
    async with aclosing(endpoint):
        yield endpoint
