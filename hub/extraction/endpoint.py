"""Requests to a model endpoint, or to the next of a chain: retries, time limits, when a question waits.

The one rule: a question is retried only if that may help, and never before the endpoint permits it. The
client library's own retries are disabled, because they also repeat what cannot succeed (a used-up quota) and
hide its costs.

Answers are not streamed. ``max_tokens``, adapted to the piece of text, ends a runaway answer; aborting a
stream would cost the same without reporting its tokens. A question's tokens are estimated, and the estimate
is corrected by the endpoint's counts.

Of a chain, the first answer counts. An endpoint with an open circuit is skipped while another is available.
If none is, it is asked nonetheless, unless its quota is known to be used up.
"""

import gc
import hashlib
import sys
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import msgspec

from hub.base.clock import Chance, Clock
from hub.base.log import Channel, foreign_words
from hub.base.metrics import Metrics
from hub.base.name_lists import counted
from hub.base.outbound.client import MAX_ANSWER_BYTES, AnswerTooLarge, OutboundClient, was_never_sent
from hub.base.outbound.rules import AddressRefused, OutboundRules
from hub.extraction.circuit_breaker import Breaker, Circuit, EndpointRefused
from hub.extraction.completion import Completion, Unusable, completion_of
from hub.extraction.dialect import Dialect
from hub.extraction.endpoint_errors import (
    Counting,
    EndpointError,
    EndpointRef,
    RateLimited,
    TryEnd,
    UnsupportedParameter,
    end_of,
    meaning_of,
)
from hub.extraction.error_bodies import ReportedError, reported_error
from hub.extraction.model import (
    LESS_THINKING,
    MAX_THINKING_TOKENS,
    REFUSED,
    Finish,
    ModelAnswer,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelRequest,
    ModelUnavailable,
    OddAnswer,
    Price,
)
from hub.extraction.rate_limiter import Limiter, LimiterPermit
from protocol.backoff import Backoff
from protocol.work import Usage

if TYPE_CHECKING:
    import openai

CHUNK_TOKENS: Final = 1_500  # long enough for context, short enough that a model overlooks nothing
IN_FLIGHT: Final = 8
MAX_TRIES: Final = 6  # with the backoff below, about half a minute of failures is tolerated
MAX_SILENCES: Final = 2  # of these tries without an answer in time, while others get one
CONTROL_TRIES: Final = 3
MAX_REFUSALS: Final = 9  # of one question by a rate limit, each followed by a wait
MAX_RETRY_AFTER_S: Final = 120.0  # for a longer wait, the run pauses, or the text is left to the next run

REACH_S: Final = 8.0  # limit for a person waiting at a screen

_CONNECT_TIMEOUT_S: Final = 5.0
_BACKOFF: Final = Backoff(base_s=1.0, cap_s=30.0)

log = Channel("hub.extraction.endpoint")

BYTES_PER_TOKEN: Final = 3.5  # of UTF-8: 3.5 Latin letters per token, or about one Chinese character

_LEARNT: Final = 0.2  # weight of the newest answer in the ratio
_MIN_RATIO, _MAX_RATIO = 0.2, 5.0  # bounds for any endpoint
_SPARE: Final = 1.05  # initial margin, since tokenizers differ
_TEMPLATE_TOKENS: Final = 1_000  # of a model's own words around a question, at most
_ROOM_STEP: Final = 512  # tokens for thoughts
_THINKS_PER_S: Final = 25  # tokens, at least; a try may take longer by its room for thoughts
_THREAD_BYTES: Final = 131_072  # larger answers are parsed in a thread: streams with many parts


class EndpointQuestion:
    """State of a question.

    Attributes:
        dialect: dialect of the next attempt.
        spent: usage of all attempts so far.
        failures: attempts without an answer, which are limited.
        is_late: one of them lasted until a time limit.
        silences: number of the late ones that no other question explains.
        refusals: refusals by a rate limit, counted separately.
        waited_s: total wait for that rate limit, in seconds.
        unusable: number of unusable answers.
    """

    def __init__(self, request: ModelRequest) -> None:
        self.request = request
        self.dialect = Dialect()
        self.spent = Usage()
        self.failures = self.silences = 0
        self.is_late = False
        self.refusals = 0
        self.waited_s = 0.0
        self.unusable = 0

    @property
    def was_asked(self) -> bool:
        """True if it had a turn already."""
        return self.spent.requests > 0

    @property
    def key(self) -> str:
        """Idempotency key: equal for equal requests, but new after an unusable answer."""
        asked = (self.request.digest, self.request.limit, str(self.dialect), self.unusable)
        return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()


class Sizer:
    """Estimator for one model at its endpoint."""

    def __init__(self) -> None:
        self._ratio = 1.0  # counted tokens per estimated token

    def prompt_tokens(self, request: ModelRequest) -> float:
        """Estimate the prompt tokens of *request*, including its schema."""
        return estimated_prompt(request) * self._ratio

    def tokens(self, request: ModelRequest) -> float:
        """Estimate the maximum tokens of *request* and its answer."""
        return (self.prompt_tokens(request) + request.limit) * _SPARE

    def learn(self, request: ModelRequest, prompt_tokens: int) -> None:
        """Correct the ratio by the endpoint's count for *request*."""
        if prompt_tokens > 0:
            ratio = min(_MAX_RATIO, max(_MIN_RATIO, prompt_tokens / estimated_prompt(request)))
            self._ratio += _LEARNT * (ratio - self._ratio)


def estimated_prompt(request: ModelRequest) -> float:
    """Estimate the tokens of a question and its schema, without knowledge of the model."""
    content_bytes = sum(len(turn.content.encode()) for turn in request.messages)
    return (content_bytes + len(msgspec.json.encode(request.schema))) / BYTES_PER_TOKEN


async def import_openai() -> None:
    """Import the client library in a thread, without collections of garbage: the first time takes 0.3 s."""
    await anyio.to_thread.run_sync(_import_openai)


def _import_openai() -> None:
    """Import the library, and exclude its objects from later collections, as the hub's are excluded."""
    is_first = "openai" not in sys.modules
    gc.disable()
    try:
        import_module("openai")  # waits for another thread that imports it
        if is_first:
            gc.freeze()
    finally:
        gc.enable()


class ListFailed(ModelUnavailable):
    """Error: the endpoint answered the request for its list of models with an error of its own."""


class Endpoint:
    """Model at one endpoint, shared by all of its callers.

    Args:
        base_url: ends in ``/v1``.
        name: name of the model at the endpoint.
        api_key: may be None for a local endpoint.
        chunk_tokens: estimated tokens of text in one question.
        in_flight: concurrent questions of all runs together.
        is_literal: see ``LanguageModel``.
        is_local: documents stay on the operator's machines.
        read_timeout_s: the longest silence of the endpoint.
        max_tries: attempts of one question without an answer; rate limits do not count.
        requests_per_min: limit of the provider; ``None``: taken from its headers.
        tokens_per_min: likewise.
        rules: addresses that may be called.
        insecure: allow plain http to another machine.
        table: its table in hub.toml, for messages.
        prepare: awaited before each request, as by an endpoint whose server starts when it is needed; raises
            ModelUnavailable.
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
        is_local: bool = False,
        read_timeout_s: float = 60.0,
        max_tries: int = MAX_TRIES,
        requests_per_min: int | None = None,
        tokens_per_min: int | None = None,
        rules: OutboundRules | None = None,
        insecure: bool = False,
        price: Price | None = None,
        table: str = "[model]",
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.price = price or Price()
        self.chunk_tokens = chunk_tokens
        self.in_flight = in_flight
        self.is_literal = is_literal
        self.is_local = is_local
        self.place = EndpointRef(base_url, name, table)
        self.breaker = Breaker(clock)
        self.dialect = Dialect()
        self._clock = clock
        self._chance = chance
        self.api_key = api_key
        self._insecure = insecure
        self._rules = rules or OutboundRules()
        self._read_timeout_s = read_timeout_s
        # A slow but steady endpoint never triggers the read timeout, so an attempt has a total limit, too.
        self._try_timeout_s = _CONNECT_TIMEOUT_S + 2 * read_timeout_s
        self._max_tries = max_tries
        self.limiter = Limiter(
            clock, in_flight=in_flight, requests_per_min=requests_per_min, tokens_per_min=tokens_per_min
        )
        self._sizer = Sizer()
        self._is_proved = self._has_listed = self._is_late = False
        self._proving = anyio.Lock()
        self.counting = Counting(metrics or Metrics(), name)
        self.counting.watch(
            waiting=lambda: float(len(self.limiter)),
            is_open=lambda: float(self.breaker.circuit is not Circuit.CLOSED),
        )
        self._prepare = prepare
        self._client: openai.AsyncOpenAI | None = None

    async def _opened(self) -> "openai.AsyncOpenAI":
        """Return the HTTP client, opened on first use. Raises what ``prepare`` raises."""
        if self._prepare is not None:
            await self._prepare()
        if self._client is None:
            await import_openai()
        if self._client is None:  # no other question opened it meanwhile
            # One more than questions in flight: one may start before the connection of another is released.
            self._client = self.open_client(connections=self.in_flight + 1)
        return self._client

    def open_client(
        self, *, connections: int, max_answer_bytes: int = MAX_ANSWER_BYTES
    ) -> "openai.AsyncOpenAI":
        """Open a client of this endpoint, with its rules, after ``import_openai``; the caller closes it."""
        import openai

        return openai.AsyncOpenAI(
            base_url=self.place.base_url,
            api_key=self.api_key or "none",  # the client requires a key
            max_retries=0,
            http_client=OutboundClient(
                self._rules,
                insecure=self._insecure,
                read_timeout_s=self._read_timeout_s,
                connections=connections,
                max_answer_bytes=max_answer_bytes,
                on_refused=self.counting.outbound_refused,
            ),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            with anyio.CancelScope(shield=True):
                await self._client.close()

    @property
    def is_available(self) -> bool:
        """True unless its circuit is open, or half open and a question is testing it."""
        match self.breaker.circuit:
            case Circuit.CLOSED:
                return True
            case Circuit.HALF_OPEN:
                return not self._proving.locked()
            case Circuit.OPEN:
                return False

    async def reach(self) -> str | None:
        """Check the endpoint by listing its models, or else by a question without a text; return its problem.

        An endpoint that answers "not found" to the list may have none, or be no endpoint of models at all.
        """
        wrong = await self._list_models()
        answers = self._is_proved and self.breaker.error is None
        if wrong is None and not self._has_listed and not answers:
            nothing = EndpointQuestion(ModelRequest(messages=(), schema={"type": "object"}, max_tokens=1))
            with (
                anyio.move_on_after(REACH_S),
                suppress(EndpointError, RateLimited, UnsupportedParameter),
            ):
                try:
                    await self._post(nothing)
                except ModelError as error:
                    return str(error)
        return None if wrong is None or (answers and isinstance(wrong, ListFailed)) else str(wrong)

    async def probe(self) -> ModelError | None:
        """Check whether a question is worth while; return why it is not, or ``None``.

        A list of models that never came proves nothing: some endpoints fail at it, and answer questions.
        """
        wrong = await self._list_models()
        return None if isinstance(wrong, ListFailed) and not self._has_listed else wrong

    async def _list_models(self) -> ModelError | None:
        """List the models of the endpoint, and return its problem.

        Returns:
            ModelUnavailable: no answer. Another ModelError: the endpoint answers, but refuses the hub.
                ``None``: the endpoint works, or has no list of models.
        """
        base_url = self.place.base_url
        try:
            client = await self._opened()
        except ModelUnavailable as error:
            return error
        import openai

        try:
            with anyio.fail_after(REACH_S):
                await client.models.with_raw_response.list()
        except AddressRefused as error:
            return EndpointRefused(f"{base_url} may not be called: {error}")
        except (openai.APIConnectionError, AnswerTooLarge, TimeoutError) as error:
            why = error.__cause__ or error
            return ModelUnavailable(f"{base_url} does not answer ({str(why) or type(why).__name__})")
        except openai.APIStatusError as error:
            if error.status_code in (404, 405, 501):  # the endpoint answers, but has no list of models
                return None
            meaning = self.meaning_of(error)
            if isinstance(meaning, ModelError):
                return meaning
            if isinstance(meaning, EndpointError):
                return ListFailed(f"{base_url} answers {meaning}")
            # The endpoint answers, but is busy or refuses the request.
            return ModelRefused(f"{base_url}: {meaning}")
        self._has_listed = True
        return None

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Answer a request; see ``LanguageModel.answer``."""
        began = self._clock.monotonic()
        question = EndpointQuestion(request)
        try:
            answer = await self._first_or_with_others(question)
        except ModelError as error:
            error.spent = question.spent
            self.breaker.failed(error)
            self._is_proved = self._is_proved and self.breaker.circuit is Circuit.CLOSED
            self._record_end(error.code, question, began)
            raise
        self.breaker.succeeded()
        self._record_end(answer.finish, question, began)
        return answer

    async def _first_or_with_others(self, question: EndpointQuestion) -> ModelAnswer:
        """Ask a question; serialize questions until the endpoint's dialect and availability are known.

        An answer that does not come in time may come to other questions, so they are serialized no longer.
        """
        answer = None
        if not (self._is_proved or question.request.is_control):
            async with self._proving:
                while answer is None and not (self._is_proved or self._is_late):
                    answer = await self._ask(question)
        while answer is None:
            answer = await self._ask(question)
        return answer

    async def _ask(self, question: EndpointQuestion) -> ModelAnswer | None:
        """Make one attempt of a question, and wait if another is to follow: then return None.

        The limiter's slot is released before the wait.
        """
        if not question.was_asked:
            question.dialect = self.dialect
        tokens = self._sizer.tokens(question.request)
        async with self.limiter.turn(question.request.user, tokens, again=question.was_asked) as turn:
            try:
                answer = await self._try(question, turn)
            except EndpointError as trouble:
                wait_s = self._wait_s(question, trouble)
            except RateLimited as refusal:
                wait_s = self._sit_out(question, turn, refusal)
            except UnsupportedParameter as dislike:
                request = question.request
                if dislike.error.is_too_long and request.thinking_tokens:
                    # The context has no place for so many thoughts.
                    room = request.thinking_tokens // 4 // _ROOM_STEP * _ROOM_STEP
                    question.request = msgspec.structs.replace(request, thinking_tokens=room)
                    return None
                if (refused := self._refused_text(question, dislike.error)) is not None:
                    return refused
                wait_s = self._ask_simpler(question, dislike)
            else:
                # Stored only after a success: a request that always fails must not degrade the dialect
                # for others.
                self.dialect, self._is_proved, self._is_late = question.dialect, True, False
                return answer
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        return None

    async def _try(self, question: EndpointQuestion, turn: LimiterPermit) -> ModelAnswer:
        """Make one attempt.

        Raises:
            Trouble: no usable answer, but a retry may succeed.
            RateLimited: too many requests.
            Disliked: the endpoint refuses this form of the question.
            ModelExhausted: the account's quota is used up.
            EndpointRefused: the configuration does not fit the endpoint.
        """
        if not question.request.is_control:  # which finds out whether it was the quota of one text alone
            self.breaker.check_quota()  # the quota may have run out while this question waited
        question.spent += Usage(requests=1)
        try:
            reply = await self._post(question)
        except (EndpointError, RateLimited, UnsupportedParameter, ModelError) as error:
            self.counting.tried(end_of(error))
            self.limiter.failed(turn)
            if isinstance(error, EndpointError) and error.is_late:
                self._is_late = question.is_late = True
                question.silences += self.limiter.slow_down(turn)
            raise
        try:
            answer: Completion | Unusable = await self._parsed(question, reply.content)
        except Unusable as unusable:
            answer = unusable
        counted = answer.counted
        if counted is not None:
            usage = self.price_of(counted.prompt, counted.completion)
            question.spent += usage
            self.counting.spent(usage)
            self._sizer.learn(question.request, counted.prompt)
        total = None if counted is None else counted.prompt + counted.completion
        self.limiter.answered(turn, total, reply.response.headers)
        if isinstance(answer, Unusable):
            self.counting.tried(TryEnd.UNUSABLE)
            raise self.meaning_of(reply, str(answer))
        self.counting.tried(end_of(answer))
        if not self._is_proved and answer.finish is Finish.WHOLE:
            self._speak(question, self._dialect_after(question, answer))
        return ModelAnswer(
            text=answer.text,
            finish=answer.finish,
            usage=question.spent,
            model=self.name,
            words=answer.words,
            thinking_tokens=answer.thinking_tokens,
        )

    async def _parsed(self, question: EndpointQuestion, body: bytes) -> Completion:
        if len(body) > _THREAD_BYTES:
            return await anyio.to_thread.run_sync(self._completion_of, question, body)
        with self.counting.reading():
            return self._completion_of(question, body)

    def _completion_of(self, question: EndpointQuestion, body: bytes) -> Completion:
        request = question.request
        return completion_of(
            body.removeprefix(BOM_UTF8),
            room=request.thinking_tokens,
            # A token has a byte at least, but for a model's own words around a question, and hidden thoughts.
            most_prompt=int(estimated_prompt(request) * BYTES_PER_TOKEN) + _TEMPLATE_TOKENS,
            most_completion=max(request.limit, len(body)),
        )

    def _dialect_after(self, question: EndpointQuestion, completion: Completion) -> Dialect:
        """Return the dialect to use after the first answer."""
        return question.dialect.after_answer(completion.text)

    def price_of(self, prompt_tokens: int, completion_tokens: int) -> Usage:
        """Return the usage for these token counts, with their costs at this endpoint."""
        cost_nanos = self.price.of(prompt_tokens, completion_tokens)
        return Usage(0, prompt_tokens, completion_tokens, cost_nanos)

    async def _post(self, question: EndpointQuestion) -> "openai.HttpxBinaryResponseContent":
        client = await self._opened()
        import openai

        limit_s = self._limit_s(question.request)
        try:
            with anyio.fail_after(limit_s):
                return await self._send(client, question)
        except AnswerTooLarge as error:
            why = f"more than {MAX_ANSWER_BYTES:,} bytes"
            raise EndpointError(why, is_answer=error.status < 300) from None
        except TimeoutError:
            if question.request.thinking_tokens == MAX_THINKING_TOKENS:  # once more would take as long
                raise OddAnswer(
                    f"{self.place} did not end its thoughts within {limit_s:.0f} s{LESS_THINKING}"
                ) from None
            raise self._late(f"no whole answer within {limit_s:g} s") from None
        except AddressRefused as error:
            raise EndpointRefused(
                f"the model endpoint {self.place.base_url} may not be called: {error}"
            ) from None
        except openai.APIStatusError as error:
            raise self.meaning_of(error) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            if isinstance(error, openai.APITimeoutError) and not was_never_sent(cause):
                waited_s = self._silence_s(question.request)
                raise self._late(f"nothing within {waited_s:g} s") from None
            raise EndpointError(foreign_words(str(cause)) or type(cause).__name__) from None

    def _late(self, what: str) -> EndpointError:
        hint = f"timeout_s in {self.place.table} of hub.toml sets how long it may take"
        return EndpointError(f"{what}; {hint}", is_late=True)

    def _silence_s(self, request: ModelRequest) -> float:
        """Return the longest silence in one try: a model that thinks, or answers others first, is silent."""
        is_silent = request.thinking_tokens > 0 or request.is_control
        return self._limit_s(request) if is_silent else self._read_timeout_s

    def _limit_s(self, request: ModelRequest) -> float:
        """Return the longest duration of one try."""
        return self._try_timeout_s + request.thinking_tokens / _THINKS_PER_S

    async def _send(
        self, client: "openai.AsyncOpenAI", question: EndpointQuestion
    ) -> "openai.HttpxBinaryResponseContent":
        import openai

        # Encoded here: the client would spend a third of a question's time on walking the schema.
        body = msgspec.json.encode(question.dialect.body(self.name, question.request))
        return await client.post(
            "/chat/completions",
            cast_to=openai.HttpxBinaryResponseContent,
            content=body,
            options={
                "headers": {"Idempotency-Key": question.key},
                "timeout": openai.Timeout(self._silence_s(question.request), connect=_CONNECT_TIMEOUT_S),
            },
        )

    def meaning_of(
        self, response: "openai.APIStatusError | openai.HttpxBinaryResponseContent", problem: str = ""
    ) -> EndpointError | RateLimited | UnsupportedParameter | ModelError:
        """Return the exception for a response without an answer; *problem*: of one that reports no error."""
        raw = response.response
        error = reported_error(raw.content, raw.status_code, secret=self.api_key or "")
        if error is None:
            return EndpointError(problem, is_answer=True)
        return meaning_of(error, raw.headers, self.place, self._clock.now())

    def _refused_text(self, question: EndpointQuestion, error: ReportedError) -> ModelAnswer | None:
        """Return the answer to a question whose text was refused, for its length or content; else None."""
        text, finish = (REFUSED + error.words, Finish.WHOLE) if error.is_declined else ("", Finish.TOO_LONG)
        is_limit = question.dialect.within_limit(error.words, question.request.limit) is not None
        if not error.is_declined and (is_limit or not error.is_too_long):
            return None
        return ModelAnswer(text=text, finish=finish, usage=question.spent, model=self.name, words=error.words)

    def _wait_s(self, question: EndpointQuestion, trouble: EndpointError) -> float:
        """Return the wait before the next attempt. Raises ModelUnavailable after the last one."""
        question.failures += 1
        question.unusable += trouble.is_answer
        after_s, is_control = trouble.after_s, question.request.is_control
        most = min(CONTROL_TRIES, self._max_tries) if is_control else self._max_tries
        is_silent = question.silences >= MAX_SILENCES or (is_control and question.is_late)
        is_last = is_silent or question.failures >= most
        if is_last and trouble.is_answer:
            raise OddAnswer(f"{self.place} answered with {trouble} (asked {question.failures} times)")
        if is_last or (after_s or 0.0) > MAX_RETRY_AFTER_S:
            tries = counted(question.failures, "try")
            raise ModelUnavailable(f"{self.place} gave no answer in {tries} ({trouble})")
        wait_s = self._backoff_s(question.failures) if after_s is None else after_s
        self._log_retry(question, wait_s, trouble)
        if after_s is None or question.failures > 1:  # others need not wait for a text that always fails
            return wait_s
        self.limiter.shut(after_s)
        return 0.0  # the limiter enforces the wait for all questions

    def _sit_out(self, question: EndpointQuestion, turn: LimiterPermit, refusal: RateLimited) -> float:
        """Delay all questions as the endpoint requests. Raises ModelExhausted if the wait is too long."""
        question.refusals += 1
        after_s = self._backoff_s(question.refusals) if refusal.after_s is None else refusal.after_s
        question.waited_s += after_s
        is_last = question.refusals > MAX_REFUSALS or question.waited_s > MAX_RETRY_AFTER_S
        if is_last or question.request.is_control:  # a control may be early: its text has waited already
            tries = counted(question.refusals, "try")
            raise ModelExhausted(
                f"{self.name} is at its rate limit after {tries} ({refusal})",
                reason="rate_limit",
                retry_after_s=refusal.after_s,
                observed=f"{self.name} refused a text in {tries} for a rate limit ({refusal})",
            )
        self.limiter.refused(turn, after_s, refusal.headers)
        self._log_retry(question, after_s, refusal)
        return 0.0

    def _ask_simpler(self, question: EndpointQuestion, dislike: UnsupportedParameter) -> float:
        """Switch to a simpler dialect at once. Raises ModelRefused if none exists."""
        dialect, error = question.dialect, dislike.error
        simpler = dialect.within_limit(error.words, question.request.limit)
        simpler = simpler or dialect.after_refusal(error.param)
        if simpler is None:
            observed = f"the model endpoint {self.place.base_url} refused the request ({dislike})"
            raise ModelRefused(
                f"{observed}: look at base_url and name in {self.place.table} of hub.toml", observed=observed
            )
        self._speak(question, simpler)
        return 0.0

    def _speak(self, question: EndpointQuestion, dialect: Dialect) -> None:
        if dialect != question.dialect:
            log.info("model.dialect_changed", model=self.name, dialect=str(dialect))
            question.dialect = dialect

    def _backoff_s(self, times: int) -> float:
        # Only the upper half of the jitter, so that each wait is longer than the previous one.
        return _BACKOFF.delay(times - 1, 0.5 + self._chance.uniform(0.0, 1.0) / 2)

    def _log_retry(self, question: EndpointQuestion, wait_s: float, why: Exception) -> None:
        tries = question.spent.requests
        log.info("model.retried", model=self.name, tries=tries, wait_s=round(wait_s, 3), why=str(why))

    def _record_end(self, outcome: str, question: EndpointQuestion, began: float) -> None:
        """Record the result and costs of a question."""
        seconds, spent = self._clock.monotonic() - began, question.spent
        self.counting.took(seconds)
        log.debug(
            "model.answered",
            outcome=str(outcome),
            seconds=round(seconds, 3),
            requests=spent.requests,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
        )


class Chain:
    """``LanguageModel`` of one or more endpoints, in the order in which they are asked."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        first = endpoints[0]
        self.endpoints = tuple(endpoints)
        self.name = first.name
        self.chunk_tokens = min(endpoint.chunk_tokens for endpoint in endpoints)
        self.in_flight = first.in_flight
        self.is_literal = first.is_literal
        self.price = Price(
            max(endpoint.price.prompt_nanos for endpoint in endpoints),
            max(endpoint.price.completion_nanos for endpoint in endpoints),
        )

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Answer a request; see ``LanguageModel.answer``. The usage includes failed endpoints."""
        spent = Usage()
        errors: list[ModelError] = []
        left = list(self.endpoints)
        while left:
            # The first available endpoint, else the one available soonest.
            soonest = min(left, key=lambda endpoint: endpoint.breaker.wait_s)
            endpoint = next((candidate for candidate in left if candidate.is_available), soonest)
            left.remove(endpoint)
            try:
                answer = await endpoint.answer(request)
            except ModelError as error:
                spent += error.spent
                errors.append(error)
                if left:
                    log.info("model.passed_over", model=endpoint.name, why=error.code)
            else:
                return msgspec.structs.replace(answer, usage=spent + answer.usage)
        raise _together(errors, spent)

    async def reach(self) -> str | None:
        """Check the endpoints; see ``LanguageModel.reach``. One that answers is sufficient.

        If all endpoints refuse the configuration, the result is None: waiting would not help, and a question
        returns the error.
        """
        wrong: list[ModelError] = []
        for endpoint in self.endpoints:
            problem = await endpoint.probe()
            if problem is None:
                return None
            wrong.append(problem)
        is_away = any(isinstance(problem, ModelUnavailable) for problem in wrong)
        return "; ".join(map(str, wrong)) if is_away else None


def _together(errors: Sequence[ModelError], spent: Usage) -> ModelError:
    """Combine the errors of all endpoints; a known wait takes precedence, because it loses no work."""
    message = "; ".join(str(error) for error in errors)
    observed = "; ".join(error.observed for error in errors)
    if any(isinstance(error, OddAnswer) for error in errors):
        return OddAnswer(message, spent=spent)
    exhausted = [error for error in errors if isinstance(error, ModelExhausted)]
    is_known = len(exhausted) == len(errors) and all(error.is_known for error in exhausted)
    limited = [error for error in exhausted if error.reason == "rate_limit"]
    if limited:
        waits = [error.retry_after_s for error in limited if error.retry_after_s is not None]
        soonest_s = min(waits, default=None)
        return ModelExhausted(
            message,
            reason="rate_limit",
            retry_after_s=soonest_s,
            is_known=is_known,
            observed=observed,
            spent=spent,
        )
    if any(isinstance(error, ModelUnavailable) for error in errors):
        return ModelUnavailable(message, spent=spent)
    if exhausted:
        return ModelExhausted(message, reason="billing", is_known=is_known, observed=observed, spent=spent)
    return ModelRefused(message, observed=observed, spent=spent)
