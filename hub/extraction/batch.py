"""Client of the Batch API of a provider: questions at half the price, answered within a day.

A batch is an uploaded file of requests and a downloaded file of answers. It has a separate quota, so neither
limiter nor circuit breaker applies; unanswered questions are asked individually. ``hub.runs.asking``
decides when a batch is checked.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.outbound.client import AnswerTooLarge
from hub.base.outbound.rules import AddressRefused
from hub.extraction.circuit_breaker import EndpointRefused
from hub.extraction.completion import AnswerText, TokenCounts, Unusable, completion_of
from hub.extraction.endpoint import Endpoint, import_openai
from hub.extraction.endpoint_errors import RateLimited, TryEnd, end_of
from hub.extraction.model import (
    BATCH_REQUESTS,
    BatchResult,
    ModelAnswer,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    ModelUnavailable,
)
from protocol.frame import NO_JSON
from protocol.work import Usage

if TYPE_CHECKING:
    import openai

log = Channel(__name__)

MAX_FILE_BYTES: Final = 32 * 1024 * 1024  # BATCH_REQUESTS answers, with a margin for their length

_PATH: Final = "/v1/chat/completions"
_KEY: Final = "hub_key"  # metadata key of the hub's name for a batch
_MOVE_TIMEOUT_S: Final = 300.0  # for a whole file, in either direction
_UNDER_WAY: Final = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Error(msgspec.Struct):
    code: AnswerText | None = None
    message: AnswerText | None = None


class _BatchLine(msgspec.Struct):
    """Line of the file of answers, or of the file of errors."""

    custom_id: AnswerText
    response: _Response | None = None
    error: _Error | None = None


class BatchClient:
    """Client for the batches of one endpoint."""

    def __init__(self, endpoint: Endpoint, *, clock: Clock) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._opened: openai.AsyncOpenAI | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            with anyio.CancelScope(shield=True):
                await self._opened.close()

    async def submit(self, requests: Mapping[str, ModelRequest], *, key: str) -> str:
        """Submit a batch; see ``Batches.submit``."""
        if not 0 < len(requests) <= BATCH_REQUESTS:
            raise ValueError(f"a batch has 1 to {BATCH_REQUESTS} questions, and not {len(requests)}")
        lines = [
            msgspec.json.encode(
                {
                    "custom_id": name,
                    "method": "POST",
                    "url": _PATH,
                    "body": self._endpoint.dialect.body(self._endpoint.name, request),
                }
            )
            for name, request in requests.items()
        ]
        client = await self._client()
        try:
            with anyio.fail_after(_MOVE_TIMEOUT_S):
                file = await client.files.create(file=("questions.jsonl", b"\n".join(lines)), purpose="batch")
                batch = await client.batches.create(
                    input_file_id=file.id,
                    endpoint=_PATH,
                    completion_window="24h",
                    metadata={_KEY: key},
                )
        except _expected() as error:
            raise self._meaning_of(error) from None
        return batch.id

    async def find(self, key: str) -> str | None:
        """Find a batch by its key; see ``Batches.find``. Only the newest hundred are examined."""
        try:
            with anyio.fail_after(_MOVE_TIMEOUT_S):
                page = await (await self._client()).batches.list(limit=100)
        except _expected() as error:
            raise self._meaning_of(error) from None
        return next((batch.id for batch in page.data if (batch.metadata or {}).get(_KEY) == key), None)

    async def check(self, batch_id: str) -> BatchResult:
        """Return the state and answers of a batch; see ``Batches.check``."""
        client = await self._client()
        try:
            with anyio.fail_after(_MOVE_TIMEOUT_S):
                batch = await client.batches.retrieve(batch_id)
                if batch.status in _UNDER_WAY:
                    return BatchResult(is_done=False)
                files = [file for file in (batch.output_file_id, batch.error_file_id) if file]
                bodies = [(await client.files.content(file)).content for file in files]
        except _expected() as error:
            raise self._meaning_of(error) from None
        answers: dict[str, ModelAnswer] = {}
        failed: dict[str, str] = {}
        for line in (line for body in bodies for line in body.splitlines() if line.strip()):
            self._read(line, answers, failed)
        return BatchResult(is_done=True, answers=answers, failed=failed)

    async def discard(self, batch_id: str) -> None:
        """Delete a batch's files; see ``Batches.discard``."""
        client = await self._client()
        try:
            with anyio.fail_after(_MOVE_TIMEOUT_S):
                batch = await client.batches.retrieve(batch_id)
                for file in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
                    if file:
                        await client.files.delete(file)
        except _expected() as error:
            log.warning("batch.not_discarded", error=type(error).__name__)

    async def _client(self) -> "openai.AsyncOpenAI":
        """Return the HTTP client, opened on first use: most hubs never submit a batch."""
        if self._opened is None:
            await import_openai()
        if self._opened is None:
            self._opened = self._endpoint.open_client(connections=2, max_answer_bytes=MAX_FILE_BYTES)
        return self._opened

    def _read(self, line: bytes, answers: dict[str, ModelAnswer], failed: dict[str, str]) -> None:
        """Add the result in *line* to the answers or failures; an invalid line is skipped."""
        try:
            read = msgspec.json.decode(line, type=_BatchLine)
        except NO_JSON:
            return
        name, response = read.custom_id, read.response
        if response is None or response.status_code != 200:
            message = read.error and (read.error.message or read.error.code)
            failed[name] = message or f"HTTP {response.status_code if response else 'without an answer'}"
            self._endpoint.counting.tried(TryEnd.FAILED)
            return
        try:
            completion = completion_of(bytes(response.body))
        except Unusable as error:
            failed[name] = str(error)
            self._endpoint.counting.tried(TryEnd.UNUSABLE)
            self._spent(error.counted)
            return
        self._endpoint.counting.tried(end_of(completion))
        answers[name] = ModelAnswer(
            text=completion.text,
            finish=completion.finish,
            usage=self._spent(completion.counted),
            model=self._endpoint.name,
            thinking_tokens=completion.thinking_tokens,
        )

    def _spent(self, counted: TokenCounts | None) -> Usage:
        if counted is None:
            return Usage(requests=1)
        full = self._endpoint.price_of(counted.prompt, counted.completion)
        # Providers sell batches at half the price.
        spent = msgspec.structs.replace(full, requests=1, cost_nanos=full.cost_nanos // 2)
        self._endpoint.counting.spent(spent)
        return spent

    def _meaning_of(self, error: Exception) -> ModelError:
        """Return the ``ModelError`` that corresponds to *error*."""
        import openai

        place = self._endpoint.place
        if isinstance(error, AddressRefused):
            return EndpointRefused(f"the model endpoint {place.base_url} may not be called: {error}")
        if not isinstance(error, openai.APIStatusError):
            why = str(error) or type(error).__name__
            return ModelUnavailable(f"{place.base_url} gave no answer about a batch ({why})")
        if error.status_code in (404, 405, 501):
            return ModelRefused(
                f"the model endpoint {place.base_url} has no batches, or not this one any more"
            )
        match self._endpoint.meaning_of(error):
            case ModelError() as meaning:
                return meaning
            case RateLimited() as limited:
                return ModelExhausted(
                    f"{place.name} takes no batches for now ({limited})",
                    reason="rate_limit",
                    retry_after_s=limited.after_s,
                )
            case meaning if error.status_code >= 500 or error.status_code in (408, 409):
                return ModelUnavailable(f"{place.base_url} gave no answer about a batch ({meaning})")
            case meaning:
                return ModelRefused(f"the model endpoint {place.base_url} refused a batch ({meaning})")


def _expected() -> tuple[type[Exception], ...]:
    """Return the errors of a request."""
    import openai

    return (openai.APIStatusError, openai.APIConnectionError, AddressRefused, AnswerTooLarge, TimeoutError)
