"""The model behind any OpenAI-compatible endpoint.

The one rule: a question is tried again only where that may help, and never before
the endpoint allows it. The client library's own retries are off, because they also
repeat what cannot succeed (a spent quota) and hide what was spent.
"""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final

import anyio
import msgspec
import openai

from hub.clock import Chance, Clock
from hub.extraction.dialect import Dialect
from hub.extraction.model import (
    Finish,
    ModelAnswer,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    ModelUnavailable,
    Usage,
)
from hub.log import Channel
from hub.metrics import Metrics
from hub.outbound import AddressRefused, AnswerTooLarge, OutboundClient, OutboundRules
from protocol.backoff import Backoff

CHUNK_TOKENS: Final = 1_500  # long enough for context, short enough that a model overlooks nothing
IN_FLIGHT: Final = 8
MAX_TRIES: Final = 6  # with the backoff below: about half a minute of trouble is sat out
MAX_RETRY_AFTER_S: Final = 120.0  # longer than this is not a hiccup: the run pauses instead

REACH_S: Final = 8.0  # for somebody who waits in front of a screen

_CONNECT_TIMEOUT_S: Final = 5.0
_BACKOFF: Final = Backoff(base_s=1.0, cap_s=30.0)
_RETRIED: Final = frozenset({408, 409, 429})
_SPENT_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TOO_LONG: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})  # OpenAI, llama.cpp

log = Channel("hub.extraction.llm")


class _TryAgain(Exception):
    """This try gave nothing; *after_s* is what the endpoint asked us to wait, if it did."""

    def __init__(self, why: str, *, after_s: float | None = None, is_quota: bool = False) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.is_quota = is_quota


class OpenAIModel:
    """One model at one endpoint, shared by everyone who asks it.

    Args:
        base_url: ends in ``/v1``.
        name: as the endpoint lists it.
        api_key: a local endpoint may need none.
        chunk_tokens: estimated tokens of text in one question.
        in_flight: questions at once, of all runs together.
        is_literal: see ``LanguageModel``.
        read_timeout_s: the longest silence of the endpoint while it thinks.
        rules: which addresses may be called.
        insecure: over plain http too, to another machine.
    """

    def __init__(
        self,
        base_url: str,
        name: str,
        api_key: str | None,
        *,
        clock: Clock,
        chance: Chance,
        metrics: Metrics | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
        in_flight: int = IN_FLIGHT,
        is_literal: bool = False,
        read_timeout_s: float = 60.0,
        max_tries: int = MAX_TRIES,
        max_retry_after_s: float = MAX_RETRY_AFTER_S,
        rules: OutboundRules | None = None,
        insecure: bool = False,
    ) -> None:
        self.name = name
        self.chunk_tokens = chunk_tokens
        self.in_flight = in_flight
        self.is_literal = is_literal
        self._base_url = base_url
        self._clock = clock
        self._metrics = metrics
        self._chance = chance
        self._max_tries = max_tries
        self._max_retry_after_s = max_retry_after_s
        # An endpoint that drips one byte a minute is never silent, so a try has an end as well.
        self._try_timeout_s = _CONNECT_TIMEOUT_S + 2 * read_timeout_s
        self._slots = anyio.Semaphore(in_flight)
        self._opens_at = -math.inf  # monotonic: nobody asks before it
        self._dialect = Dialect()
        self._is_proved = False
        self._proving = anyio.Lock()
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",  # the client insists on one
            max_retries=0,
            http_client=OutboundClient(
                rules or OutboundRules(),
                insecure=insecure,
                read_timeout_s=read_timeout_s,
                # One more than questions in flight: a slot may be taken before its last answer is put away.
                connections=in_flight + 1,
                on_refused=self._count_refused,
            ),
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["OpenAIModel"]:
        """Use the model inside the block; its connections are closed at the end."""
        try:
            yield self
        finally:
            with anyio.CancelScope(shield=True):
                await self._client.close()

    async def reach(self) -> str | None:
        """Ask the endpoint which models it has; what is wrong with it, or ``None``."""
        try:
            with anyio.fail_after(REACH_S):
                await self._client.models.with_raw_response.list()
        except AddressRefused as error:
            return f"{self._base_url} may not be called: {error}"
        except (openai.APIConnectionError, AnswerTooLarge, TimeoutError) as error:
            why = error.__cause__ or error
            return f"{self._base_url} does not answer ({str(why) or type(why).__name__})"
        except openai.APIStatusError as error:
            if error.status_code in (404, 405):  # it answers, and has no such list
                return None
            return str(self._meaning_of(error, Usage()))
        return None

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """See ``LanguageModel.answer``."""
        async with self._slots:
            if self._is_proved:
                return await self._counted(request)
            async with self._proving:  # one alone finds out what the endpoint understands
                return await self._counted(request)

    async def _counted(self, request: ModelRequest) -> ModelAnswer:
        began = self._clock.monotonic()
        try:
            answer = await self._answer(request)
        except ModelError as error:
            self._count(error.code, error.spent, began)
            raise
        self._count(answer.finish, answer.usage, began)
        return answer

    def _count(self, outcome: str, spent: Usage, began: float) -> None:
        """The questions sent, by how it ended in the end, and what they cost."""
        took_s = self._clock.monotonic() - began
        log.debug(
            "model.answered",
            outcome=str(outcome),
            seconds=round(took_s, 3),
            requests=spent.requests,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
        )
        if self._metrics is None:
            return
        self._metrics.llm_requests.labels(self.name, outcome).inc(spent.requests)
        self._metrics.llm_request_duration.labels(self.name).observe(took_s)
        self._metrics.llm_tokens.labels(self.name, "prompt").inc(spent.prompt_tokens)
        self._metrics.llm_tokens.labels(self.name, "completion").inc(spent.completion_tokens)

    def _count_refused(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.outbound_refused.labels(reason).inc()

    async def _answer(self, request: ModelRequest) -> ModelAnswer:
        spent = Usage()
        tries = 0
        dialect = self._dialect
        while True:
            await self._gate()
            spent += Usage(requests=1)
            try:
                completion = await self._try(dialect.arguments(self.name, request), spent)
            except _TryAgain as trouble:
                tries += 1
                await self._wait_after(trouble, tries, spent)
                continue
            except openai.APIStatusError as error:
                if _is_too_long(error):
                    return ModelAnswer(text="", finish=Finish.TOO_LONG, usage=spent)
                dialect = self._simpler(dialect, error, spent)
                continue
            except AnswerTooLarge:
                return ModelAnswer(text="", finish=Finish.CUT_OFF, usage=spent)
            # Remembered only now: a request nobody can serve must not cost the others their dialect.
            self._dialect, self._is_proved = dialect, True
            return completion.answer(spent)

    async def _gate(self) -> None:
        """Wait until the endpoint may be asked: what it told one of us holds for all."""
        while (wait_s := self._opens_at - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait_s)

    async def _wait_after(self, trouble: _TryAgain, tries: int, spent: Usage) -> None:
        """Wait for the next try, or raise when there is none."""
        after_s = trouble.after_s
        is_far_off = after_s is not None and after_s > self._max_retry_after_s
        if trouble.is_quota and (is_far_off or tries >= self._max_tries):
            raise ModelExhausted(
                f"{self.name} is at its rate limit after {tries} tries ({trouble})",
                reason="rate_limit",
                retry_after_s=after_s,
                spent=spent,
            ) from None
        if is_far_off or tries >= self._max_tries:
            raise ModelUnavailable(
                f"{self.name} at {self._base_url} gave no answer in {tries} tries ({trouble})", spent=spent
            ) from None
        if after_s is None:
            # The upper half of the jitter only, so that each wait is longer than the one before it.
            wait_s = _BACKOFF.delay(tries - 1, 0.5 + self._chance.uniform(0.0, 1.0) / 2)
        else:
            wait_s = after_s
            self._opens_at = max(self._opens_at, self._clock.monotonic() + after_s)
        log.info("model.retried", model=self.name, tries=tries, wait_s=round(wait_s, 3), why=str(trouble))
        await self._clock.sleep(wait_s)

    async def _try(self, arguments: dict[str, Any], spent: Usage) -> "_Completion":
        """Ask once.

        Raises:
            _TryAgain: nothing usable, but another try may bring it.
            AnswerTooLarge: more than we read of any answer.
            ModelExhausted: the account's quota is spent.
            ModelRefused: our settings do not fit the endpoint.
            openai.APIStatusError: this request is not liked.
        """
        try:
            with anyio.fail_after(self._try_timeout_s):
                response = await self._client.chat.completions.with_raw_response.create(**arguments)
        except TimeoutError:
            raise _TryAgain(f"no whole answer within {self._try_timeout_s:.0f} s") from None
        except AddressRefused as error:
            raise ModelRefused(
                f"the model endpoint {self._base_url} may not be called: {error}", spent=spent
            ) from None
        except openai.APIStatusError as error:
            raise self._meaning_of(error, spent) from None
        except openai.APIConnectionError as error:
            raise _TryAgain(f"{error.message} {type(error.__cause__).__name__}") from None
        try:
            return msgspec.json.decode(response.content, type=_Completion)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _TryAgain("what it sent is no chat completion") from None

    def _meaning_of(self, error: openai.APIStatusError, spent: Usage) -> Exception:
        status, code = error.status_code, str(error.code or "")
        if status == 402 or code in _SPENT_QUOTA or error.type in _SPENT_QUOTA:
            return ModelExhausted(
                f"the account behind {self.name} has no quota left ({code or status}): look at its plan "
                "and billing, or name another model in [model] of hub.toml",
                reason="billing",
                spent=spent,
            )
        if status in _RETRIED or status >= 500:
            after_s = self._retry_after_s(error.response.headers)
            return _TryAgain(f"HTTP {status} {code}".rstrip(), after_s=after_s, is_quota=status == 429)
        if status in (401, 403):
            return ModelRefused(
                f"the model endpoint {self._base_url} refused our key (HTTP {status}): "
                "correct api_key in [model] of hub.toml",
                spent=spent,
            )
        if 300 <= status < 400:
            return ModelRefused(
                f"the model endpoint {self._base_url} sends us elsewhere (HTTP {status}), "
                "and redirects are not followed: correct base_url in [model] of hub.toml",
                spent=spent,
            )
        if status == 404:
            return ModelRefused(
                f"the model endpoint {self._base_url} has no model {self.name!r} (HTTP 404): "
                "correct name or base_url in [model] of hub.toml",
                spent=spent,
            )
        return error

    def _simpler(self, dialect: Dialect, error: openai.APIStatusError, spent: Usage) -> Dialect:
        simpler = dialect.after_refusal(error.param) if error.status_code in (400, 422) else None
        if simpler is None:
            raise ModelRefused(
                f"the model endpoint {self._base_url} refused the request (HTTP {error.status_code} "
                f"{error.code or ''}): look at base_url and name in [model] of hub.toml",
                spent=spent,
            ) from None
        log.info("model.dialect_changed", model=self.name, dialect=str(simpler))
        return simpler

    def _retry_after_s(self, headers: Mapping[str, str]) -> float | None:
        """What the endpoint asked for: ``retry-after-ms``, or ``retry-after`` in seconds or as a date."""
        for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
            try:
                seconds = float(headers[name]) * unit
            except (KeyError, ValueError):
                continue
            if math.isfinite(seconds):
                return max(0.0, seconds)
        try:
            at = parsedate_to_datetime(headers["retry-after"])
            return max(0.0, (at - self._clock.now()).total_seconds())
        except (KeyError, ValueError, TypeError):  # TypeError: a date that tells no zone
            return None


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _Tokens(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    """What we read of a chat completion."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Tokens | None = None

    def answer(self, spent: Usage) -> ModelAnswer:
        """The first choice as an answer; *spent* is what all tries cost before its tokens."""
        choice, tokens = self.choices[0], self.usage or _Tokens()
        return ModelAnswer(
            text=choice.message.content or "",
            finish=Finish.CUT_OFF if choice.finish_reason == "length" else Finish.WHOLE,
            usage=spent + Usage(0, tokens.prompt_tokens, tokens.completion_tokens),
        )


def _is_too_long(error: openai.APIStatusError) -> bool:
    return error.code in _TOO_LONG or error.type in _TOO_LONG
