"""A model whose answers are written down before it is asked: an OpenAI-compatible server on loopback.

The gateway asks it as it would ask any other. Which part it plays is decided by words in the
prompt; a part that is held answers when it is let, so that an agent is busy for as long as a
scene needs it.
"""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import SocketAttribute, SocketStream

from tests.support.oracle.wire import Connection, HttpRequest, HttpResponse, refusal, respond

MODEL: Final = "scripted"
# What the gateway adds to a conversation of its own accord: not what somebody said to the agent.
_ASIDES: Final = ("<<<BEGIN_OPENCLAW_INTERNAL", "[System] Your previous turn was interrupted")
_STAMP: Final = re.compile(r"^\[[^\]]*UTC\]\s*")
_PIECE: Final = re.compile(r"\S+\s*")


class Say(msgspec.Struct, frozen=True):
    """The agent says *text*, and its turn is over."""

    text: str


class Run(msgspec.Struct, frozen=True):
    """The agent runs *command* in a shell of its gateway; then the part's next step."""

    command: str


class Refuse(msgspec.Struct, frozen=True):
    """The provider refuses, as OpenAI spells it."""

    code: str = "rate_limit_exceeded"
    status: int = 429
    retry_after_s: int | None = None


NO_CREDIT: Final = Refuse("insufficient_quota")

Step = Say | Run | Refuse
Given = Step | Callable[[str], Step]  # a step, or what makes one of the prompt


class Part:
    """What the model does when *words* stand in the newest prompt.

    Attributes:
        asked: how often it was asked for its first step.
        heard: what the tools gave back, in order.
    """

    def __init__(self, words: str, steps: tuple[Given, ...], is_held: bool) -> None:
        self.words = words
        self.steps = steps
        self.asked = 0
        self.heard: list[str] = []
        self._may_answer = anyio.Event()
        self._was_asked = anyio.Event()
        if not is_held:
            self._may_answer.set()

    def release(self) -> None:
        """Let it answer, now and from now on."""
        self._may_answer.set()

    async def until_asked(self, within_s: float = 60.0) -> None:
        """Wait until the gateway asks for it."""
        with anyio.fail_after(within_s):
            await self._was_asked.wait()

    async def step(self, prompt: str, done: list[str]) -> Step:
        """The next one, after the tools gave *done* back; waits while it is held."""
        if not done:
            self.asked += 1
            self._was_asked.set()
            await self._may_answer.wait()
        self.heard[:] = done
        given = self.steps[min(len(done), len(self.steps) - 1)]
        return given if isinstance(given, Step) else given(prompt)


class ScriptedModel:
    """The server.

    Attributes:
        base_url: ends in ``/v1``; empty until it listens.
        outage: what everybody is told instead of an answer.
        prompts: what it was asked, in order, without what the gateway adds.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.outage: Refuse | None = None
        self.prompts: list[str] = []
        self._parts: list[Part] = []

    def when(self, words: str, *steps: Given, is_held: bool = False) -> Part:
        """Play *steps* whenever *words* stand in the newest prompt; the latest part given wins."""
        part = Part(words, steps, is_held)
        self._parts.insert(0, part)
        return part

    async def talk(self, stream: SocketStream) -> None:
        """Answer one client, request after request, until it is gone."""
        await Connection(stream).serve(self._answer)

    async def _answer(self, request: HttpRequest, connection: Connection) -> HttpResponse:
        if request.method != "POST":
            return respond(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        asked = json.loads(request.body)
        step = await connection.while_there(partial(self._played, asked))
        return step if step is not None else HttpResponse(b"", breaks_off_at=0)

    async def _played(self, asked: dict[str, Any]) -> HttpResponse:
        prompt, done = _newest(asked["messages"])
        if not done:
            self.prompts.append(prompt)
        if self.outage is not None:
            return _refused(self.outage)
        part = next((part for part in self._parts if part.words in prompt), None)
        step: Step = Say("Understood.") if part is None else await part.step(prompt, done)
        match step:
            case Refuse():
                return _refused(step)
            case Say(text):
                return _streamed([{"content": piece} for piece in _PIECE.findall(text)], "stop")
            case Run(command):
                call = {
                    "index": 0,
                    "id": f"call_{len(self.prompts)}_{len(done)}",
                    "type": "function",
                    "function": {"name": "exec", "arguments": json.dumps({"command": command})},
                }
                return _streamed([{"tool_calls": [call]}], "tool_calls")


@asynccontextmanager
async def scripted_model() -> AsyncIterator[ScriptedModel]:
    """One on a free port of this machine."""
    model = ScriptedModel()
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener,
        anyio.create_task_group() as tasks,
    ):
        model.base_url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1"
        tasks.start_soon(listener.serve, model.talk)
        yield model
        tasks.cancel_scope.cancel()


def _newest(messages: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """What was said to the agent last, and what its tools gave back since."""
    done: list[str] = []
    for message in reversed(messages):
        text = _text(message.get("content"))
        if message["role"] == "tool":
            done.insert(0, text)
        elif message["role"] == "user" and not _STAMP.sub("", text).startswith(_ASIDES):
            return text, done
    return "", done


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(piece.get("text", "") for piece in content or [])


def _refused(refuse: Refuse) -> HttpResponse:
    told = [] if refuse.retry_after_s is None else [("Retry-After", str(refuse.retry_after_s))]
    return refusal(refuse.status, refuse.code, *told)


def _streamed(deltas: list[dict[str, Any]], finish: str) -> HttpResponse:
    """An answer as server-sent events, piece by piece."""
    usage = {"prompt_tokens": 10, "completion_tokens": len(deltas), "total_tokens": 10 + len(deltas)}
    chunks = [
        _chunk({"role": "assistant", "content": ""}),
        *(_chunk(delta) for delta in deltas),
        _chunk({}, finish),
        {**_chunk({}), "choices": [], "usage": usage},
    ]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return respond(200, "".join([*lines, "data: [DONE]\n\n"]).encode(), kind="text/event-stream")


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "scripted",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
