"""Odd answers of model endpoints: each ends with its own code and the endpoint's words, after few questions.

The bodies have the forms of the documentation and of reported problems of these providers and servers.
"""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, NamedTuple

import anyio
import anyio.abc
import pytest

from hub.base.printable import CONTROLS
from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import REFUSED, ModelError, Models
from tests.hub.extraction.conftest import HastyClock, model_at
from tests.support.families import each

KEY: Final = "gsk-0a9b8c7d6e5f"
TEXT: Final = " ".join(f"Anna must send the quote number {n} to Bob by Friday." for n in range(40))


class Odd(NamedTuple):
    """Answer of an endpoint, and what must come of it.

    Attributes:
        code: of the error of the document.
        words: of the endpoint, which the error repeats.
        most: questions.
    """

    status: int
    body: Any
    code: str
    words: str
    most: int = 6


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message} | more}


def chat(content: str | None, finish: str | None, tokens: int = 300, **message: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content} | message,
        "finish_reason": finish,
    }
    return {"choices": [choice], "usage": {"prompt_tokens": 700, "completion_tokens": tokens}}


AZURE: Final = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
)
ANSWER: Final = json.dumps(chat('{"items": [{"quote": "Anna must send the quote"}]}', "stop"))
LOGIN: Final = (
    "<html><head><title>Wi-Fi</title><style>h1 {color: red}</style></head>"
    "<body><h1>Sign in to the network</h1></body></html>"
)
FEW: Final = 70  # questions about ever smaller pieces
ODD: Final[dict[str, Odd]] = {
    "azure: filtered prompt": Odd(
        400,
        error(
            AZURE,
            code="content_filter",
            type=None,
            param="prompt",
            status=400,
            innererror={
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"violence": {"filtered": True}},
            },
        ),
        "model_declined",
        "content management policy",
        1,
    ),
    "openai: refusal": Odd(
        200,
        chat(None, "stop", 9, refusal="I'm sorry, I cannot assist with that."),
        "model_declined",
        "I'm sorry, I cannot assist with that.",
        1,
    ),
    "azure: filtered answer": Odd(200, chat(None, "content_filter"), "model_declined", "content_filter", 1),
    "gemini: prohibited content": Odd(
        200,
        {"choices": [{"finish_reason": "content_filter: PROHIBITED_CONTENT", "index": 0}]},
        "model_declined",
        "PROHIBITED_CONTENT",
        1,
    ),
    "openrouter: moderation": Odd(
        403,
        error(
            'openai/gpt-4o requires moderation on OpenAI. Your input was flagged for "violence".',
            code=403,
            metadata={"reasons": ["violence"], "flagged_input": "Anna must", "provider_name": "OpenAI"},
        ),
        "model_declined",
        "Your input was flagged",
        1,
    ),
    "dashscope: inspection": Odd(
        400,
        error("Input data may contain inappropriate content.", code="data_inspection_failed"),
        "model_declined",
        "inappropriate content",
        1,
    ),
    "openai: flagged prompt": Odd(
        400,
        error(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            type="invalid_request_error",
            code="invalid_prompt",
        ),
        "model_declined",
        "violating our usage policy",
        1,
    ),
    "litellm: policy violation": Odd(
        400,
        error("litellm.ContentPolicyViolationError: AzureException - filtered", type=None, code="400"),
        "model_declined",
        "ContentPolicyViolationError",
        1,
    ),
    "openai: context": Odd(
        400,
        error(
            "This model's maximum context length is 4097 tokens. However, your messages resulted in 6988"
            " tokens. Please reduce the length of the messages.",
            type="invalid_request_error",
            param="messages",
            code="context_length_exceeded",
        ),
        "model_context_exceeded",
        "maximum context length is 4097 tokens",
        FEW,
    ),
    "llama.cpp: context": Odd(
        400,
        error(
            "the request exceeds the available context size, try increasing it",
            code=400,
            type="exceed_context_size_error",
            n_prompt_tokens=1407,
            n_ctx=256,
        ),
        "model_context_exceeded",
        "exceeds the available context size",
        FEW,
    ),
    "llama.cpp: context in a 200": Odd(
        200,
        error("the request exceeds the available context size", code=500, type="exceed_context_size_error"),
        "model_context_exceeded",
        "exceeds the available context size",
        FEW,
    ),
    "vllm: context": Odd(
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 6048 tokens. However, you requested 6616"
            " tokens (568 in the messages, 6048 in the completion).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "model_context_exceeded",
        "maximum context length is 6048 tokens",
        FEW,
    ),
    "gemini: context": Odd(
        400,
        [
            error(
                "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
                code=400,
                status="INVALID_ARGUMENT",
            )
        ],
        "model_context_exceeded",
        "input token count (1200293)",
        FEW,
    ),
    "anthropic: context": Odd(
        400,
        {"type": "error"}
        | error("prompt is too long: 208310 tokens > 200000 maximum", type="invalid_request_error"),
        "model_context_exceeded",
        "prompt is too long",
        FEW,
    ),
    "groq: tokens a minute": Odd(
        413,
        error(
            "Request too large for model `llama-3.1-8b-instant` on tokens per minute (TPM): Limit 6000,"
            " Requested 12328, please reduce your message size and try again.",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        "model_context_exceeded",
        "Request too large for model",
        FEW,
    ),
    "openai: tokens a minute": Odd(
        429,
        error(
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 42000. The input or"
            " output tokens must be reduced in order to run successfully.",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        "model_context_exceeded",
        "Request too large for gpt-4o",
        FEW,
    ),
    "ollama: context": Odd(
        400,
        error("the input length exceeds the context length", type="invalid_request_error"),
        "model_context_exceeded",
        "exceeds the context length",
        FEW,
    ),
    "ollama: no room for the answer": Odd(
        200,
        chat('{"items": [{"tab', "length", 12),
        "model_context_exceeded",
        "after 12 tokens",
        FEW,
    ),
    "openrouter: error in a choice": Odd(
        200,
        {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": ""},
                    "finish_reason": "error",
                    "error": {
                        "code": 502,
                        "message": "Provider returned error",
                        "metadata": {"raw": "upstream pool is empty", "provider_name": "Chutes"},
                    },
                }
            ]
        },
        "model_unavailable",
        "Provider returned error",
    ),
    "openrouter: no credits in a 200": Odd(
        200, error("Insufficient credits", code=402), "model_exhausted", "Insufficient credits", 1
    ),
    "ollama: text as error in a 200": Odd(
        200, {"error": "llama runner process has terminated"}, "model_answer_invalid", "llama runner process"
    ),
    "llama.cpp: loading": Odd(
        503,
        error("Loading model", code=503, type="unavailable_error"),
        "model_unavailable",
        "Loading model",
    ),
    "nginx: bad gateway": Odd(
        502,
        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>"
        "</center>\r\n<hr><center>nginx/1.25.3</center>\r\n</body>\r\n</html>\r\n",
        "model_unavailable",
        "502 Bad Gateway",
    ),
    "any: failed without a word": Odd(500, "", "model_unavailable", "(HTTP 500)"),
    "bedrock: tokens a minute": Odd(
        429,
        error("Too many tokens, please wait before trying again.", type="ThrottlingException"),
        "model_exhausted",
        "Too many tokens, please wait",
        FEW,
    ),
    "any: filter is away": Odd(
        503, error("The moderation service is overloaded."), "model_unavailable", "moderation service"
    ),
    "any: no model of that name": Odd(
        404,
        error("model 'llama-guardrails' not found"),
        "model_refused",
        "model 'llama-guardrails' not found",
        1,
    ),
    "proxy: page of its content filter": Odd(
        403, "<html><body>Blocked by the content filter</body></html>", "model_refused", "refused our key", 1
    ),
    "network: page with its policy": Odd(
        200,
        "<html><body>Accept our usage policy</body></html>",
        "model_answer_invalid",
        "Accept our usage policy",
    ),
    "network: page of its login": Odd(
        200, LOGIN, "model_answer_invalid", "200: Wi-Fi Sign in to the network"
    ),
    "any: part of an answer": Odd(200, ANSWER[:-9], "model_answer_invalid", "answered with no JSON object"),
    "any: error behind a byte order mark": Odd(
        400, f"\ufeff{json.dumps(error('no such field'))}", "model_refused", "(HTTP 400: no such field)"
    ),
    "openrouter: no credits": Odd(
        402,
        error("This request requires more credits, or fewer max_tokens.", code=402),
        "model_exhausted",
        "requires more credits",
        1,
    ),
    "openai: quota": Odd(
        429,
        error(
            "You exceeded your current quota, please check your plan and billing details.",
            type="insufficient_quota",
            code="insufficient_quota",
        ),
        "model_exhausted",
        "exceeded your current quota",
        1,
    ),
    "openai: country": Odd(
        403,
        error(
            "Country, region, or territory not supported",
            type="request_forbidden",
            code="unsupported_country_region_territory",
        ),
        "model_refused",
        "territory not supported",
        1,
    ),
    "openai: wrong key": Odd(
        401,
        error(f"Incorrect API key provided: {KEY}.", code="invalid_api_key"),
        "model_refused",
        "Incorrect API key provided",
        1,
    ),
    "ollama: no such model": Odd(
        404,
        error("model 'oracle' not found", type="api_error"),
        "model_refused",
        "model 'oracle' not found",
        1,
    ),
    "groq: no JSON": Odd(
        400,
        error(
            "Failed to generate JSON. Please adjust your prompt.",
            type="invalid_request_error",
            code="json_validate_failed",
            failed_generation="{",
        ),
        "model_refused",
        "Failed to generate JSON",
    ),
    "fastapi: other fields": Odd(
        422,
        {"detail": [{"type": "missing", "loc": ["body", "prompt"], "msg": "Field required"}]},
        "model_refused",
        "Field required",
    ),
    "fastapi: other fields, with the text": Odd(
        422,
        {"detail": [{"loc": ["body"], "msg": "Field required", "input": "Our content policy"}]},
        "model_refused",
        '[{"loc":["body"],"msg":"Field required"}]',
    ),
    "any: long answer that does not say how it ended": Odd(
        200,
        chat("Our content policy. " * 4_000, None),
        "model_answer_invalid",
        "it does not say how it ended",
    ),
    "any: refusal in prose": Odd(
        200,
        chat("I'm sorry, but I can't help with that.", "stop", 11),
        "model_answer_invalid",
        "I'm sorry, but I can't help with that.",
        FEW,
    ),
    "any: answer with the begin of a stored refusal": Odd(
        200,
        chat(f"{REFUSED}no\x1b[2J\u202e {'way ' * 9_000}", "stop"),
        "model_declined",
        "no\\x1b[2J\\u202e way way",
        1,
    ),
    "any: words that control a terminal": Odd(
        400, error(f"no\x1b[2J\u202e {'way ' * 9_000}"), "model_refused", "no\\x1b[2J\\u202e way way"
    ),
}


@asynccontextmanager
async def endpoint_with(status: int, body: Any) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve one answer to every request; yield the base URL and the list of requests."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    kind = "text/html" if isinstance(body, str) else "application/json"
    head = f"HTTP/1.1 {status} Odd\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
    asked: list[bytes] = []

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive()
            front, _, rest = request.partition(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in front.splitlines()
                if line.lower().startswith(b"content-length:")
            )
            while len(rest) < length:
                rest += await stream.receive()
            asked.append(rest)
            await stream.send(f"{head}Connection: close\r\n\r\n".encode() + data)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{port}/v1", asked
        tasks.cancel_scope.cancel()


@each("odd", ODD.values(), ids=ODD)
async def test_odd_answer_of_an_endpoint_has_the_code_and_words_after_few_questions(odd: Odd) -> None:
    options = ExtractionOptions(data_types=("tasks",), timezone="UTC")
    document = Document(unit_key="a.md", text=TEXT, content_hash="0" * 64, modified_at=None)
    async with (
        endpoint_with(odd.status, odd.body) as (url, asked),
        aclosing(model_at(url, clock=HastyClock(0.0), api_key=KEY)) as model,
    ):
        extractor = Extractor(Models(anywhere=model, local=model), secret=b"secret")
        with pytest.raises(ModelError) as caught:
            await extractor.extract(document, options)
    message = str(caught.value)
    assert (caught.value.code, odd.words in message) == (odd.code, True), message
    assert len(asked) <= odd.most
    assert "Anna must" not in message
    assert KEY not in message and not CONTROLS.search(message) and len(message) < 1_000
