"""An oracle: a chat-completions server that really reads what it is sent.

It answers with exactly the planted sentences it finds in the text of the last user
turn, so that what a test sees is the pipeline and never a model's mood::

    Anna must send the quote by 2026-12-01 (ref K-0007).

It speaks enough of the OpenAI API for the hub (``/v1/chat/completions``,
``/v1/models``), plays the faults it is told to, and counts. In a test it lives in a
task group; ``python -m tests.support.model --port N`` runs it for scenarios and
serves what it counted at ``/stats``.
"""

import argparse
import hashlib
import json
import math
import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

MODEL_NAME: Final = "oracle"

_PLANTED: Final = re.compile(
    r"(?P<who>[^\W\d_]+) must (?P<what>[^.\r\n]+?) by (?P<when>\d{4}-\d{2}-\d{2}) \(ref [A-Z]-\d+\)\."
)
_MAX_HEAD_BYTES: Final = 64 * 1024
_CHARS_PER_TOKEN: Final = 3.5


def plant(who: str, what: str, when: str, ref: str) -> str:
    """A sentence the oracle knows: ``plant("Anna", "send the quote", "2026-12-01", "K-0007")``."""
    return f"{who} must {what} by {when} (ref {ref})."


class Fault(StrEnum):
    """What can go wrong, each for one request."""

    RATE_LIMIT = "rate_limit"  # 429 with Retry-After in seconds
    RATE_LIMIT_MS = "rate_limit_ms"  # 429 with retry-after-ms
    SERVER_ERROR = "server_error"  # 500
    REDIRECT = "redirect"  # 307 to itself
    CUT_OFF = "cut_off"  # half an answer, finish_reason length
    CHATTER = "chatter"  # the answer in a fence, with words around it
    INVENTED = "invented"  # one record more, whose quote is nowhere
    MALFORMED_ANSWER = "malformed_answer"  # a good body around text that is no JSON
    MALFORMED_BODY = "malformed_body"  # 200, and the body breaks off
    HANG = "hang"  # no answer at all


class Stats(msgspec.Struct):
    """What the oracle saw."""

    calls: int = 0
    answered: int = 0
    refused: dict[str, int] = {}
    prompt_tokens: int = 0
    completion_tokens: int = 0
    distinct_prompts: int = 0
    most_in_flight: int = 0


class Oracle:
    """The server. Faults are queued in the order they are to be played; then it behaves.

    Attributes:
        has_json_schema: without it every request for json_schema is refused with 400.
        has_json_object: likewise.
        context_tokens: a longer prompt is refused with 400 ``context_length_exceeded``.
        retry_after_s: what its rate limit asks for.
        latency_s: how long it thinks.
        padding_chars: blanks behind every answer.
    """

    def __init__(self) -> None:
        self.base_url = ""  # known once it listens
        self.stats = Stats()
        self.requests: list[dict[str, Any]] = []
        self.has_json_schema = True
        self.has_json_object = True
        self.context_tokens: int | None = None
        self.retry_after_s = 0.2
        self.latency_s = 0.0
        self.padding_chars = 0
        self._faults: deque[Fault] = deque()
        self._prompts: set[str] = set()
        self._in_flight = 0

    def play(self, *faults: Fault, times: int = 1) -> "Oracle":
        """Queue *faults*, the whole row *times* over."""
        self._faults.extend(faults * times)
        return self

    async def serve(self, *, port: int = 0, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer on loopback until cancelled; ready with the base URL, which ends in ``/v1``."""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as listener:
            bound = listener.extra(SocketAttribute.local_port)
            self.base_url = f"http://127.0.0.1:{bound}/v1"
            task_status.started(self.base_url)
            await listener.serve(self._talk)

    async def _talk(self, stream: SocketStream) -> None:
        """One connection, kept alive from request to request."""
        received = BufferedByteReceiveStream(stream)
        async with stream:
            with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                while True:
                    head = (await received.receive_until(b"\r\n\r\n", _MAX_HEAD_BYTES)).decode("latin-1")
                    match = re.search(r"^content-length:\s*(\d+)", head, re.IGNORECASE | re.MULTILINE)
                    body = await received.receive_exactly(int(match.group(1))) if match else b""
                    method, path, _ = head.split(" ", 2)
                    await stream.send(await self._respond(method, path, body))

    async def _respond(self, method: str, path: str, body: bytes) -> bytes:
        match method, path:
            case "GET", "/v1/models":
                return _response(200, {"object": "list", "data": [{"id": MODEL_NAME, "object": "model"}]})
            case "GET", "/stats":
                return _response(200, msgspec.to_builtins(self.stats))
            case "POST", "/v1/chat/completions":
                self._in_flight += 1
                self.stats.most_in_flight = max(self.stats.most_in_flight, self._in_flight)
                try:
                    return await self._complete(json.loads(body))
                finally:
                    self._in_flight -= 1
            case _:
                return _response(404, _error("no such path", "not_found"))

    async def _complete(self, request: dict[str, Any]) -> bytes:
        self.stats.calls += 1
        self.requests.append(request)
        if self.latency_s:
            await anyio.sleep(self.latency_s)
        prompt = "\n".join(turn["content"] for turn in request["messages"])
        self._prompts.add(hashlib.sha256(prompt.encode()).hexdigest())
        self.stats.distinct_prompts = len(self._prompts)
        tokens = math.ceil(len(prompt) / _CHARS_PER_TOKEN)
        if (refusal := self._refusal(request, tokens)) is not None:
            return refusal
        fault = self._faults.popleft() if self._faults else None
        match fault:
            case Fault.RATE_LIMIT:
                return self._refuse(429, "rate_limit_exceeded", ("Retry-After", f"{self.retry_after_s}"))
            case Fault.RATE_LIMIT_MS:
                wait_ms = f"{self.retry_after_s * 1000:.0f}"
                return self._refuse(429, "rate_limit_exceeded", ("retry-after-ms", wait_ms))
            case Fault.SERVER_ERROR:
                return self._refuse(500, "server_error")
            case Fault.REDIRECT:
                return self._refuse(307, "elsewhere", ("location", f"{self.base_url}/chat/completions"))
            case Fault.HANG:
                self._count_refusal("hang")
                await anyio.sleep_forever()
        return self._answer(request, tokens, fault)

    def _refusal(self, request: dict[str, Any], tokens: int) -> bytes | None:
        """400 for what this server does not understand."""
        wanted = request.get("response_format", {}).get("type")
        if (wanted == "json_schema" and not self.has_json_schema) or (
            wanted == "json_object" and not self.has_json_object
        ):
            return self._refuse(400, "unsupported_response_format")
        if self.context_tokens is not None and tokens > self.context_tokens:
            return self._refuse(400, "context_length_exceeded")
        return None

    def _refuse(self, status: int, code: str, *headers: tuple[str, str]) -> bytes:
        self._count_refusal(str(status))
        return _response(status, _error(f"the oracle was told to say {code}", code), *headers)

    def _count_refusal(self, kind: str) -> None:
        self.stats.refused[kind] = self.stats.refused.get(kind, 0) + 1

    def _answer(self, request: dict[str, Any], prompt_tokens: int, fault: Fault | None) -> bytes:
        records = list(_records_in(_document_of(request)))[: _most_records(request)]
        if fault is Fault.INVENTED:
            records.append(_record("Nobody", "believe this", "2026-01-01", "Nobody said it, and nowhere."))
        text = json.dumps({"items": records}, ensure_ascii=False)
        finish, padding = "stop", " " * self.padding_chars
        if fault is Fault.CHATTER:
            text = f"Sure! Here is what I found:\n```json\n{text}\n```\nAnything else?"
        elif fault is Fault.MALFORMED_ANSWER:
            text = "I am sorry, but I would rather talk about the weather."
        completion_tokens = math.ceil(len(text) / _CHARS_PER_TOKEN)
        limit = request.get("max_tokens") or request.get("max_completion_tokens") or completion_tokens
        if fault is Fault.CUT_OFF or completion_tokens > limit:
            text, finish = text[: min(len(text) // 2, int(limit * _CHARS_PER_TOKEN))], "length"
            completion_tokens = math.ceil(len(text) / _CHARS_PER_TOKEN)
        self.stats.answered += 1
        self.stats.prompt_tokens += prompt_tokens
        self.stats.completion_tokens += completion_tokens
        response = _response(
            200,
            {
                "id": f"oracle-{self.stats.calls}",
                "object": "chat.completion",
                "created": 0,
                "model": request["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": finish,
                        "message": {"role": "assistant", "content": text + padding},
                    }
                ],
                "usage": {
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": completion_tokens,
                    "total_tokens": prompt_tokens + completion_tokens,
                },
            },
        )
        if fault is Fault.MALFORMED_BODY:
            head, _, body = response.partition(b"\r\n\r\n")
            half = body[: len(body) // 2]
            head = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(half), head)
            return head + b"\r\n\r\n" + half
        return response


def _document_of(request: dict[str, Any]) -> str:
    """The text asked about: of the last turn that is a question and no correction."""
    turns = [turn["content"] for turn in request["messages"] if turn["role"] == "user"]
    return next((turn for turn in reversed(turns) if _PLANTED.search(turn)), "")


def _most_records(request: dict[str, Any]) -> int | None:
    """What the schema allows; a server that is held to it stops there without a word."""
    response_format = request.get("response_format", {})
    if response_format.get("type") != "json_schema":
        return None
    most: int | None = response_format["json_schema"]["schema"]["properties"]["items"].get("maxItems")
    return most


def _records_in(text: str) -> Iterator[dict[str, Any]]:
    for match in _PLANTED.finditer(text):
        yield _record(match["who"], match["what"], match["when"], match.group())


def _record(who: str, what: str, when: str, quote: str) -> dict[str, Any]:
    return {
        "quote": quote,
        "table": "tasks",
        "title": what,
        "description": None,
        "status": None,
        "priority": None,
        "assignee": [who],
        "dueDate": when,
    }


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "code": code, "param": None}}


def _response(status: int, body: object, *headers: tuple[str, str]) -> bytes:
    content = json.dumps(body, ensure_ascii=False).encode()
    told = [("Content-Type", "application/json"), ("Content-Length", str(len(content))), *headers]
    head = "".join(f"{name}: {value}\r\n" for name, value in told)
    return f"HTTP/1.1 {status} Oracle\r\n{head}\r\n".encode() + content


async def main(port: int, latency_s: float, faults: list[str]) -> None:
    """Serve until the process is ended; says so on standard output when it is ready."""
    oracle = Oracle().play(*map(Fault, faults))
    oracle.latency_s = latency_s
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(lambda *, task_status: oracle.serve(port=port, task_status=task_status))
        print("READY", base_url, flush=True)  # noqa: T201  # whoever started us waits for this line


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--fault", action="append", default=[], choices=list(Fault))
    chosen = parser.parse_args()
    anyio.run(main, chosen.port, chosen.latency_s, chosen.fault)
