"""The server: lets questions in, decides their fate, answers them and counts."""

import hashlib
import json
import math
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

import anyio
import msgspec
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

from tests.support.oracle.asker import Asker, message_of, most_records_of, prompt_of, spell, text_of
from tests.support.oracle.planted import INVENTED, Record, facts_in, obeyed_in, reworded
from tests.support.oracle.stats import Asked, Memory, Stats
from tests.support.oracle.traits import MODEL_NAME, Fault, Traits
from tests.support.oracle.wire import Connection, HttpRequest, HttpResponse, body_of, refusal, respond

_FILE: Final = re.compile(r"/v1/files/(?P<id>[\w-]+)(?P<content>/content)?")
_BATCH: Final = re.compile(r"/v1/batches/(?P<id>[\w-]+)(?P<cancel>/cancel)?")

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class _Batch(msgspec.Struct):
    input_file: str
    done_at: float
    status: str = "in_progress"
    output_file: str | None = None
    error_file: str | None = None
    total: int = 0
    completed: int = 0
    metadata: dict[str, str] | None = None


class Batches:
    """Files and batches of one account; *answer* turns the body of a question into that of its completion."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}

    async def respond(self, request: HttpRequest, *, batch_s: float, share: float) -> HttpResponse | None:
        """The answer to a request about files or batches; ``None`` when it is about something else."""
        match request.method, request.path.partition("?")[0]:
            case "POST", "/v1/files":
                return respond(200, self._file(self._keep(_uploaded(request))))
            case "POST", "/v1/batches":
                return self._open(json.loads(request.body), batch_s)
            case "GET", "/v1/batches":
                listed = [self._told(batch_id) for batch_id in self._batches]
                return respond(200, {"object": "list", "data": listed, "has_more": False})
            case method, path if (found := _FILE.fullmatch(path)) is not None:
                return self._about_file(method, found["id"], is_content=bool(found["content"]))
            case _, path if (found := _BATCH.fullmatch(path)) is not None:
                return await self._about_batch(found["id"], share, is_cancel=bool(found["cancel"]))
            case _:
                return None

    def _open(self, said: dict[str, Any], batch_s: float) -> HttpResponse:
        if said["input_file_id"] not in self._files:
            return refusal(400, "invalid_request_error", message="no such input file")
        batch_id = f"batch_{len(self._batches) + 1}"
        lines = self._files[said["input_file_id"]].splitlines()
        self._batches[batch_id] = _Batch(
            said["input_file_id"],
            anyio.current_time() + batch_s,
            total=len(lines),
            metadata=said.get("metadata"),
        )
        return respond(200, self._told(batch_id))

    def _about_file(self, method: str, file_id: str, *, is_content: bool) -> HttpResponse:
        if file_id not in self._files:
            return refusal(404, "not_found")
        if method == "DELETE":
            del self._files[file_id]
            return respond(200, {"id": file_id, "object": "file", "deleted": True})
        if is_content:
            return respond(200, self._files[file_id], kind="application/octet-stream")
        return respond(200, self._file(file_id))

    async def _about_batch(self, batch_id: str, share: float, *, is_cancel: bool) -> HttpResponse:
        batch = self._batches.get(batch_id)
        if batch is None:
            return refusal(404, "not_found")
        if batch.status == "in_progress":
            if is_cancel:
                batch.status = "cancelled"
            elif anyio.current_time() >= batch.done_at:
                await self._finish(batch, share)
        return respond(200, self._told(batch_id))

    async def _finish(self, batch: _Batch, share: float) -> None:
        asked = [json.loads(line) for line in self._files[batch.input_file].splitlines()]
        batch.completed = int(len(asked) * share)
        done, late = asked[: batch.completed], asked[batch.completed :]
        answered = [
            {
                "custom_id": one["custom_id"],
                "response": {"status_code": 200, "body": await self._answer(one["body"])},
            }
            for one in done
        ]
        expired = {"code": "batch_expired", "message": "This request was not done in time."}
        failed = [{"custom_id": one["custom_id"], "response": None, "error": expired} for one in late]
        batch.output_file = self._keep(_lines(answered)) if answered else None
        batch.error_file = self._keep(_lines(failed)) if failed else None
        batch.status = "expired" if late else "completed"

    def _keep(self, content: bytes) -> str:
        file_id = f"file-{len(self._files) + 1}"
        self._files[file_id] = content
        return file_id

    def _file(self, file_id: str) -> dict[str, Any]:
        told = {"id": file_id, "object": "file", "bytes": len(self._files[file_id]), "created_at": 0}
        return told | {"filename": "questions.jsonl", "purpose": "batch", "status": "processed"}

    def _told(self, batch_id: str) -> dict[str, Any]:
        batch = self._batches[batch_id]
        counts = {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.total - batch.completed if batch.status == "expired" else 0,
        }
        told = {"id": batch_id, "object": "batch", "endpoint": "/v1/chat/completions", "created_at": 0}
        return told | {
            "completion_window": "24h",
            "input_file_id": batch.input_file,
            "output_file_id": batch.output_file,
            "error_file_id": batch.error_file,
            "status": batch.status,
            "request_counts": counts,
            "metadata": batch.metadata,
        }


def _uploaded(request: HttpRequest) -> bytes:
    """The content of the part called ``file`` of a multipart form."""
    match = re.search(r'boundary="?([^";]+)', request.headers["content-type"])
    assert match is not None
    for part in request.body.split(b"--" + match.group(1).encode()):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    return b""


def _lines(said: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in said)


Headers = tuple[tuple[str, str], ...]


class Bucket:
    """*per_minute* units come in, of which at most *burst_s* seconds' worth are kept. Full at first."""

    def __init__(self, per_minute: int, burst_s: float, now: float) -> None:
        self.per_minute = per_minute
        self.capacity = per_minute * burst_s / 60
        self._rate = per_minute / 60
        self._level = self.capacity
        self._seen_at = now

    def wait_s(self, amount: float, now: float) -> float:
        """How long until *amount* can be taken; 0: now. More than fits waits until it is full."""
        self._level = min(self.capacity, self._level + (now - self._seen_at) * self._rate)
        self._seen_at = now
        return max(0.0, min(amount, self.capacity) - self._level) / self._rate

    def take(self, amount: float) -> None:
        """Take *amount*, even where that leaves less than nothing."""
        self._level -= amount

    def headers(self, kind: str) -> Headers:
        """What OpenAI tells in every answer."""
        return (
            (f"x-ratelimit-limit-{kind}", str(self.per_minute)),
            (f"x-ratelimit-remaining-{kind}", str(max(0, math.floor(self._level)))),
            (f"x-ratelimit-reset-{kind}", spelled((self.capacity - self._level) / self._rate)),
        )


class Admission(NamedTuple):
    """*wait_s* is 0 when the request is let in; *kind* is what there was too little of."""

    wait_s: float
    kind: str


class Quota:
    """Both limits of one account; either may be missing."""

    def __init__(
        self, requests_per_minute: int | None, tokens_per_minute: int | None, burst_s: float, now: float
    ) -> None:
        limits = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._buckets = {kind: Bucket(limit, burst_s, now) for kind, limit in limits.items() if limit}

    def admit(self, tokens: int, now: float) -> Admission:
        """Take a request of so many *tokens*, or nothing at all."""
        wanted = {"requests": 1, "tokens": tokens}
        waits = [Admission(bucket.wait_s(wanted[kind], now), kind) for kind, bucket in self._buckets.items()]
        worst = max(waits, default=Admission(0.0, ""))
        if not worst.wait_s:
            for kind, bucket in self._buckets.items():
                bucket.take(wanted[kind])
        return worst

    def take_tokens(self, tokens: int) -> None:
        """Count tokens that were not known when the request was let in."""
        if "tokens" in self._buckets:
            self._buckets["tokens"].take(tokens)

    def headers(self) -> Headers:
        """Of every answer."""
        return tuple(pair for kind, bucket in self._buckets.items() for pair in bucket.headers(kind))


def spelled(seconds: float) -> str:
    """A time as OpenAI spells it: ``20ms``, ``1.5s``, ``6m0s``."""
    if seconds < 1:
        return f"{max(0, math.ceil(seconds * 1000))}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.3f}s" if minutes else f"{rest:.3f}s"


CHARS_PER_TOKEN: Final = 3.5
_BORDER: Final = re.compile(r"^--- [0-9a-f]{8,64}$", re.MULTILINE)
_WRITES: Final = 4_096  # tokens of an answer nobody has set a limit to


class Completion(msgspec.Struct):
    """An answer before it is sent."""

    text: str
    finish: str | None
    prompt_tokens: int
    completion_tokens: int
    has_choices: bool = True
    thought_tokens: int = 0


class Oracle(Traits):
    """The server. Faults are queued in the order they are to be played; then its traits decide.

    Attributes:
        base_url: ends in ``/v1``; empty until it listens.
        stats: what it saw.
        requests: the bodies of all requests for a completion, in order, unless ``keeps_requests`` is off.
    """

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.base_url = ""
        self.stats = Stats()
        self.requests: list[dict[str, Any]] = []
        self.keeps_requests = True
        self._worded: Counter[str] = Counter()  # how often each text was answered
        self._faults: deque[Fault] = deque()
        self._memory = Memory(self.stats)
        self._batches = Batches(self._batched)
        self._quota: Quota | None = None
        self._in_flight = 0

    def play(self, *faults: Fault, times: int = 1) -> "Oracle":
        """Queue *faults*, the whole row *times* over."""
        self._faults.extend(faults * times)
        return self

    async def serve(self, *, port: int = 0, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer on loopback until cancelled; ready with the base URL, which ends in ``/v1``."""
        now = anyio.current_time()
        self._quota = Quota(self.requests_per_minute, self.tokens_per_minute, self.burst_s, now)
        async with await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=port, backlog=1024
        ) as listener:
            bound = listener.extra(SocketAttribute.local_port)
            self.base_url = f"http://127.0.0.1:{bound}/v1"
            task_status.started(self.base_url)
            await listener.serve(self._talk)

    async def _talk(self, stream: SocketStream) -> None:
        await Connection(stream).serve(self._respond)

    async def _respond(self, request: HttpRequest, connection: Connection) -> HttpResponse:
        if self.rejects_keys:
            return refusal(401, "invalid_api_key")
        match request.method, request.path:
            case "GET", "/v1/models" if self.list_status != 200:
                return refusal(self.list_status, "no_list")
            case "GET", "/v1/models":
                listed = [{"id": MODEL_NAME, "object": "model"}]
                return respond(200, {"object": "list", "data": listed})
            case "GET", "/stats":
                return respond(200, msgspec.to_builtins(self.stats))
            case "POST", "/v1/chat/completions":
                return await self._while_there(request, connection)
        about_batches = await self._batches.respond(request, batch_s=self.batch_s, share=self.batch_share)
        if about_batches is not None and (request.method, request.path) == ("POST", "/v1/batches"):
            self.stats.batches += 1
        return about_batches or refusal(404, "not_found", message="no such path")

    async def _while_there(self, request: HttpRequest, connection: Connection) -> HttpResponse:
        """A completion for somebody who waits for it; nothing once they have hung up."""
        self._in_flight += 1
        self.stats.most_in_flight = max(self.stats.most_in_flight, self._in_flight)
        key = request.headers.get("idempotency-key")
        try:
            response = await connection.while_there(partial(self._complete, json.loads(request.body), key))
        finally:
            self._in_flight -= 1
        if response is None:
            self.stats.hung_up += 1
            raise anyio.BrokenResourceError
        self.stats.ended_at = anyio.current_time()
        return response

    async def _complete(self, request: dict[str, Any], key: str | None) -> HttpResponse:
        now = anyio.current_time()
        self.stats.began_at = self.stats.began_at or now
        if not request["messages"]:
            return refusal(400, "empty_array")
        self.stats.calls += 1
        if self.keeps_requests:
            self.requests.append(request)
        prompt = prompt_of(request)
        digest = digest_of(request)
        asked = self._memory.ask(digest, key, now)
        tokens = math.ceil(len(prompt) / CHARS_PER_TOKEN)
        if (kept := self._memory.replay(asked, key)) is not None:
            return HttpResponse(kept)
        if (refused := self._refused(request, tokens, asked, now)) is not None:
            return refused
        fault = self._faults.popleft() if self._faults else self.fate(digest, asked.attempts)
        if fault is not None:
            self.stats.played[fault] = self.stats.played.get(fault, 0) + 1
        if self.latency_s:
            await anyio.sleep(self.latency_s)
        if (refused := await self._failed(fault, asked)) is not None:
            return refused
        completion = self._completion(request, tokens, fault)
        if not self.counts_max_tokens:
            self._charge(completion.completion_tokens)
        return self._sent(completion, request, fault, asked)

    def _refused(self, request: dict[str, Any], tokens: int, asked: Asked, now: float) -> HttpResponse | None:
        """What this server does not understand, or has no room for now."""
        wanted = request.get("response_format", {}).get("type")
        if (wanted == "json_schema" and not self.has_json_schema) or (
            wanted == "json_object" and not self.has_json_object
        ):
            return self._refuse(400, "unsupported_response_format")
        if self.context_tokens is not None and tokens > self.context_tokens:
            return self._refuse(400, "context_length_exceeded")
        if self.answer_tokens is not None and (asked_for := _limit_of(request)) > self.answer_tokens:
            told = f"max_tokens is too large: {asked_for}. This model supports at most {self.answer_tokens}"
            told += f" completion tokens, whereas you provided {asked_for}."
            return self._refuse(400, "invalid_value", message=told)
        if self.quota_calls is not None and self.stats.answered >= self.quota_calls:
            return self._refuse(429, "insufficient_quota")
        assert self._quota is not None
        wanted_tokens = tokens + (_limit_of(request) if self.counts_max_tokens else 0)
        admission = self._quota.admit(wanted_tokens, now)
        if admission.wait_s:
            asked.not_before = now + admission.wait_s
            wait_ms = str(math.ceil(admission.wait_s * 1000))
            return self._refuse(
                429, "rate_limit_exceeded", ("retry-after-ms", wait_ms), *self._quota.headers()
            )
        self.stats.charged_tokens += wanted_tokens
        return None

    async def _failed(self, fault: Fault | None, asked: Asked) -> HttpResponse | None:
        """The faults that leave no completion at all."""
        match fault:
            case Fault.RATE_LIMIT:
                asked.not_before = anyio.current_time() + self.retry_after_s
                return self._refuse(429, "rate_limit_exceeded", ("Retry-After", f"{self.retry_after_s}"))
            case Fault.RATE_LIMIT_MS:
                asked.not_before = anyio.current_time() + self.retry_after_s
                wait_ms = f"{self.retry_after_s * 1000:.0f}"
                return self._refuse(429, "rate_limit_exceeded", ("retry-after-ms", wait_ms))
            case Fault.SPENT_QUOTA:
                return self._refuse(429, "insufficient_quota")
            case Fault.SERVER_ERROR:
                return self._refuse(500, "server_error")
            case Fault.REDIRECT:
                return self._refuse(307, "elsewhere", ("location", f"{self.base_url}/chat/completions"))
            case Fault.HANG:
                self.stats.count_refused("hang")
                await anyio.sleep_forever()
        return None

    def _refuse(
        self, status: int, code: str, *headers: tuple[str, str], message: str | None = None
    ) -> HttpResponse:
        self.stats.count_refused(str(status))
        return refusal(status, code, *headers, message=message)

    def _charge(self, tokens: int) -> None:
        assert self._quota is not None
        self._quota.take_tokens(tokens)
        self.stats.charged_tokens += tokens

    def _completion(self, request: dict[str, Any], prompt_tokens: int, fault: Fault | None) -> Completion:
        """What the model says, as *fault* would have it."""
        text = spell(self._records(request, fault), Asker.of(request))
        limit = _limit_of(request)
        finish: str | None = "stop"
        match fault:
            case Fault.CHATTER:
                text = f"Sure! Here is what I found:\n```json\n{text}\n```\nAnything else?"
            case Fault.MALFORMED_ANSWER:
                text = "I am sorry, but I would rather talk about the weather."
            case Fault.EMPTY_ANSWER:
                text = ""
            case Fault.FILTERED:
                text, finish = text[: len(text) // 2], "content_filter"
            case Fault.LOOSE_JSON:
                text = text.replace("}]", ",},]").replace('{"items"', '// here they are\n{"items"')
            case Fault.NO_FINISH:
                text, finish = text[: len(text) // 2], None
            case Fault.RUNAWAY_BLANKS:
                text = text[:-1] + " \n" * int(limit * CHARS_PER_TOKEN)
            case Fault.RUNAWAY_RECORDS:
                text += (", " + json.dumps(INVENTED)) * (limit // 20)
            case Fault.CUT_OFF:
                limit = max(1, _tokens_of(text) // 2)
        thought = min(self.thinks_tokens, limit)
        limit -= thought
        if _tokens_of(text) > limit:
            text, finish = text[: int(limit * CHARS_PER_TOKEN)], "length"
        written = thought + _tokens_of(text)
        return Completion(text, finish, prompt_tokens, written, fault is not Fault.NO_CHOICES, thought)

    def _records(self, request: dict[str, Any], fault: Fault | None) -> list[Record]:
        text = text_of(request, with_context=fault is Fault.BEFORE_BORDER)
        records = list(facts_in(text))
        if self.follows_prompt and (words := re.search(r"Only ([a-z, ]+)\.", prompt_of(request))):
            chosen = words[1].split(", ")
            records = [record for record in records if record["title"].partition(" ")[0] in chosen]
        records = records[: most_records_of(request)][: self.most_records]
        if fault is Fault.INVENTED:
            records.append(INVENTED)
        elif fault is Fault.DOUBLED:
            records += records[:1]
        elif fault is Fault.FOREIGN_TABLE:
            records += [record | {"table": "users"} for record in records[:1]]
        if self.rewords:
            self._worded[text] += 1
            records = [reworded(record, self._worded[text]) for record in records]
        if self.is_gullible:
            records += obeyed_in(text)
        return records

    def _sent(
        self, completion: Completion, request: dict[str, Any], fault: Fault | None, asked: Asked
    ) -> HttpResponse:
        self.stats.answered += 1
        headers: Headers = self._quota.headers() if self._quota else ()
        response = respond(200, self._body(completion, request), *headers)
        spent = completion.prompt_tokens + completion.completion_tokens
        if fault is Fault.DISCONNECT:
            self.stats.untold_tokens += spent
            return response._replace(breaks_off_at=len(response.content) - len(body_of(response)) // 2)
        if fault is Fault.MALFORMED_BODY:
            self.stats.untold_tokens += spent
            body = body_of(response)
            return respond(200, body[: len(body) // 2], *headers)
        self.stats.prompt_tokens += completion.prompt_tokens
        self.stats.completion_tokens += completion.completion_tokens
        # Half an answer, or none, may be asked for again; anything else was somebody's to keep.
        if fault not in (Fault.NO_CHOICES, Fault.NO_FINISH):
            self._memory.keep(asked, response.content)
        return response

    def _body(self, completion: Completion, request: dict[str, Any]) -> dict[str, Any]:
        message = message_of(completion.text + " " * self.padding_chars, request)
        usage: dict[str, Any] = {
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
            "total_tokens": completion.prompt_tokens + completion.completion_tokens,
        }
        if completion.thought_tokens:
            thoughts = "Hm." * completion.thought_tokens
            match self.thinks_in:
                case "details":
                    usage["completion_tokens_details"] = {"reasoning_tokens": completion.thought_tokens}
                case "reasoning_content":
                    message["reasoning_content"] = thoughts
                case "content":
                    is_over = completion.thought_tokens < _limit_of(request)
                    message["content"] = f"<think>{thoughts}{'</think>' * is_over}{message['content']}"
                case "hidden":
                    pass
        choice = {"index": 0, "finish_reason": completion.finish, "message": message}
        return {
            "id": f"oracle-{self.stats.calls}",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [choice] if completion.has_choices else [],
            "usage": usage,
        }

    async def _batched(self, request: dict[str, Any]) -> dict[str, Any]:
        """One question of a batch: no limits, no faults, half the price."""
        self.stats.batched += 1
        asked = self._memory.ask(digest_of(request), None, anyio.current_time())
        completion = self._completion(request, _tokens_of(prompt_of(request)), None)
        response = self._sent(completion, request, None, asked)
        body: dict[str, Any] = json.loads(body_of(response))
        return body


def digest_of(request: dict[str, Any]) -> str:
    """The same for the same question, however its answer is asked for and its text is fenced."""
    return hashlib.sha256(_BORDER.sub("---", prompt_of(request)).encode()).hexdigest()


def _tokens_of(text: str) -> int:
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def _limit_of(request: dict[str, Any]) -> int:
    """How many tokens the answer may have."""
    return int(request.get("max_tokens") or request.get("max_completion_tokens") or _WRITES)
