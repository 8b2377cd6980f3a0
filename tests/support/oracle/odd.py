"""Odd answers of endpoints to questions about one text, while other texts are answered as they should be."""

import json
from collections.abc import Callable
from typing import Any, Final

from tests.support.oracle.asker import text_of
from tests.support.oracle.server import Completion, Oracle
from tests.support.oracle.stats import Asked
from tests.support.oracle.traits import Fault
from tests.support.oracle.wire import HttpResponse, refusal, respond

Body = dict[str, Any]
Odd = Callable[[Body], HttpResponse]  # of the completion that would be right

USAGE: Final = {"prompt_tokens": 700, "completion_tokens": 60}


class OddOracle(Oracle):
    """Oracle with an odd answer about texts with a word.

    Attributes:
        word: of the texts with odd answers.
        asked_odd: number of questions about them.
    """

    def __init__(self, odd: Odd, *, word: str, **traits: Any) -> None:
        super().__init__(**traits)
        self.word = word
        self.asked_odd = 0
        self._odd = odd

    def _sent(self, completion: Completion, request: Body, fault: Fault | None, asked: Asked) -> HttpResponse:
        if self.word not in text_of(request):
            return super()._sent(completion, request, fault, asked)
        self.asked_odd += 1
        return self._odd(self._body(completion, request))


def choice(**changes: Any) -> Odd:
    """Change the only choice; a member with ``...`` is left out."""

    def answer(body: Body) -> HttpResponse:
        body["choices"] = [_changed(body["choices"][0], changes)]
        return respond(200, body)

    return answer


def message(make: Callable[[str], Body]) -> Odd:
    """Replace the message by one that is made of its content."""
    return lambda body: choice(message=make(_content(body)))(body)


def top(**changes: Any) -> Odd:
    """Change the members of the body; a member with ``...`` is left out."""
    return lambda body: respond(200, _changed(body, changes))


def raw(make: Callable[[bytes], bytes], *, kind: str = "application/json") -> Odd:
    """Change the bytes of the body."""
    return lambda body: respond(200, make(json.dumps(body, ensure_ascii=False).encode()), kind=kind)


def wire(make: Callable[[bytes], bytes], *, breaks_off_at: int | None = None) -> Odd:
    """Write the response as bytes that are made of the body; the connection ends behind them."""

    def answer(body: Body) -> HttpResponse:
        content = make(json.dumps(body, ensure_ascii=False).encode())
        return HttpResponse(content, len(content) if breaks_off_at is None else breaks_off_at)

    return answer


def chunks(body: Body) -> list[Body]:
    """Return the parts of a stream with the same answer."""
    content, parts = _content(body), list[Body]()
    for at in range(0, len(content), 40):
        parts.append({"choices": [{"index": 0, "delta": {"content": content[at : at + 40]}}]})
    parts.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return [*parts, {"choices": [], "usage": body["usage"]}]


def stream(
    front: str = "data: ", *, end: str = "\n\n", last: str = "data: [DONE]\n\n", first: str = ""
) -> Odd:
    """Answer by a stream that was not asked for."""

    def answer(body: Body) -> HttpResponse:
        lines = (f"{front}{json.dumps(part)}{end}" for part in chunks(body))
        return respond(200, f"{first}{''.join(lines)}{last}".encode(), kind="text/event-stream")

    return answer


def endless(content: bytes = b"", drip: bytes = b"") -> Odd:
    """Begin a response that does not end: *drip* follows for ever, or nothing does."""
    return lambda body: HttpResponse(content, drip=drip)


def limited(*after_s: int) -> Odd:
    """Refuse for a rate limit, with the wait that is requested, if one is given."""
    headers = [("Retry-After", str(seconds)) for seconds in after_s]
    return lambda body: refusal(429, "rate_limit_exceeded", *headers, message="Rate limit reached")


def _content(body: Body) -> str:
    return str(body["choices"][0]["message"]["content"])


def _changed(members: Body, changes: Body) -> Body:
    return {name: value for name, value in (members | changes).items() if value is not ...}


def _function(arguments: Any) -> Body:
    return {"name": "items", "arguments": arguments}


PAGE: Final = b"<!doctype html><html><head><title>Just a moment</title></head><body>Checking</body></html>"
DECLINED: Final = "I cannot help with that."
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EVENTS: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
PART: Final = b'data: {"choices": [{"index": 0, "delta": {"content": "Hm. "}}]}\n\n'
TOO_LARGE: Final = "Request too large for the model on tokens per min (TPM): Limit 300, Requested 700."

# Answers that say what the model found.
READABLE: Final[dict[str, Odd]] = {
    "content: list of text parts": message(lambda text: {"content": [{"type": "text", "text": text}]}),
    "content: text in three parts": message(
        lambda text: {
            "content": [{"type": "text", "text": part} for part in (text[:9], text[9:30], text[30:])]
        }
    ),
    "content: list of strings": message(lambda text: {"content": [text]}),
    "content: thinking part before the text": message(
        lambda text: {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]},
                {"type": "text", "text": text},
            ]
        }
    ),
    "content: one part": message(lambda text: {"content": {"type": "text", "text": text}}),
    "content: JSON object": message(lambda text: {"content": json.loads(text)}),
    "content: JSON list of records": message(lambda text: {"content": json.loads(text)["items"]}),
    "content: Markdown fence": message(lambda text: {"content": f"```json\n{text}\n```"}),
    "content: thoughts before": message(lambda text: {"content": f"<think>\nHm {{1}}.\n</think>\n{text}"}),
    "tool call": message(
        lambda text: {"content": None, "tool_calls": [{"id": "1", "function": _function(text)}]}
    ),
    "tool call without content": message(
        lambda text: {"tool_calls": [{"id": "1", "function": _function(text)}]}
    ),
    "tool call: object": message(
        lambda text: {"content": "", "tool_calls": [{"function": _function(json.loads(text))}]}
    ),
    "function call": message(lambda text: {"content": None, "function_call": _function(text)}),
    "message: text": lambda body: choice(message=_content(body))(body),
    "delta in place of message": lambda body: choice(message=..., delta={"content": _content(body)})(body),
    "text in place of message": lambda body: choice(message=..., text=_content(body))(body),
    "two choices, the first empty": lambda body: top(
        choices=[body["choices"][0] | {"message": {"content": None}}, body["choices"][0]]
    )(body),
    "stream": stream(),
    "stream: comments and CRLF": stream(end="\r\n\r\n", first=": keep-alive\r\n\r\n"),
    "stream: no end mark": stream(last=""),
    "stream: events": stream("event: message\ndata: "),
    "lines of JSON": stream("", end="\n", last=""),
    "list around the body": lambda body: respond(200, json.dumps([body]).encode()),
    "NaN": raw(lambda body: body.replace(b'"index": 0', b'"index": 0, "logprob": NaN')),
    "bytes behind the body": raw(lambda body: body + b"\n\x00\x00 0\r\n"),
    "byte order mark": raw(lambda body: b"\xef\xbb\xbf" + body),
    "Latin-1": raw(lambda body: body.decode().encode("latin-1")),
    "UTF-16": raw(lambda body: body.decode().encode("utf-16")),
    "doubled keys": raw(lambda body: body[:-1] + b', "choices": ' + body.partition(b'"choices": ')[2]),
    "finish: null": choice(finish_reason=None),
    "finish: missing": choice(finish_reason=...),
    "finish: number": choice(finish_reason=3),
    "finish: unknown word": choice(finish_reason="banana"),
    "usage: null": top(usage=None),
    "usage: missing": top(usage=...),
    "usage: list": top(usage=[700, 60]),
    "usage: negative": top(usage={"prompt_tokens": -700, "completion_tokens": -60}),
    "usage: text": top(usage={"prompt_tokens": "700", "completion_tokens": "sixty"}),
    "usage: huge": top(usage={"prompt_tokens": 10**18, "completion_tokens": 10**18}),
    "usage: large": top(usage={"prompt_tokens": 90_000_000, "completion_tokens": 90_000_000}),
    "usage: infinite": raw(lambda body: body.replace(b'"prompt_tokens": ', b'"prompt_tokens": 1e999, "a": ')),
    "no type": wire(lambda body: b"HTTP/1.1 200 OK\r\n\r\n" + body),
    "299": lambda body: respond(299, body),
    "early hints before": wire(lambda body: b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9 + HEAD + b"\r\n" + body),
    "content: two objects": message(lambda text: {"content": f'{text}\n{{"items": []}}'}),
    "hundred choices": lambda body: top(choices=[*body["choices"] * 100])(body),
}

# Answers without a text of the model.
UNREADABLE: Final[dict[str, Odd]] = {
    "choices: empty": top(choices=[]),
    "choices: null": top(choices=None),
    "choices: missing": top(choices=...),
    "choices: object": lambda body: top(choices={"0": body["choices"][0]})(body),
    "choices: of null": top(choices=[None]),
    "choices: number": top(choices=1),
    "message: null": choice(message=None),
    "message: missing": choice(message=...),
    "message: list": choice(message=["assistant"]),
    "content: null": choice(message={"role": "assistant", "content": None}),
    "content: missing": choice(message={"role": "assistant"}),
    "content: empty": choice(message={"content": ""}),
    "content: blanks": choice(message={"content": " \n \n"}),
    "content: number": choice(message={"content": 42}),
    "content: empty list": choice(message={"content": []}),
    "content: picture": choice(message={"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}),
    "content: prose": choice(message={"content": "As a language model, I like the weather."}),
    "content: half of a list": lambda body: choice(message={"content": _content(body)[:30]})(body),
    "refusal": choice(message={"content": None, "refusal": DECLINED}),
    "finish: content filter": choice(message={"content": None}, finish_reason="content_filter"),
    "finish: null, half an answer": lambda body: choice(
        message={"content": _content(body)[:30]}, finish_reason=None
    )(body),
    "thoughts alone": choice(message={"content": None, "reasoning_content": "Let me see. " * 20}),
    "thoughts without an end": choice(message={"content": "<think>Let me see. " + "Hm. " * 50}),
    "error in a 200": lambda body: respond(200, {"error": {"message": "upstream said no", "code": None}}),
    "error text in a 200": lambda body: respond(200, {"error": "upstream said no"}),
    "error of a choice": choice(message={"content": ""}, error={"message": "upstream said no", "code": 1}),
    "page": lambda body: respond(200, PAGE, kind="text/html"),
    "empty body": raw(lambda body: b""),
    "204": lambda body: respond(204, b""),
    "text": raw(lambda body: b"OK", kind="text/plain"),
    "null": raw(lambda body: b"null"),
    "number": raw(lambda body: b"7"),
    "empty list": raw(lambda body: b"[]"),
    "half a body": raw(lambda body: body[: len(body) // 2]),
    "nested without an end": raw(lambda body: b'{"choices": ' + b"[" * 50_000),
    "bytes": raw(lambda body: bytes(range(256)) * 9),
    "5 MiB": raw(lambda body: body.replace(b'"choices"', b'"more": "' + b"x" * 5 * 2**20 + b'", "choices"')),
    "stream: end mark alone": raw(lambda body: b"data: [DONE]\n\n", kind="text/event-stream"),
    "stream: error": raw(
        lambda body: b'event: error\ndata: {"error": {"message": "upstream said no"}}\n\n',
        kind="text/event-stream",
    ),
    "stream: broken off": raw(
        lambda body: b'data: {"choices": [{"delta": {"content": "{\\"items\\": ["}}]}\n\n',
        kind="text/event-stream",
    ),
    "gzip that is none": wire(
        lambda body: HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    ),
    "broken chunks": wire(lambda body: HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body),
    "broken off": wire(lambda body: HEAD + b"Content-Length: 9999\r\n\r\n" + body),
    "no HTTP": wire(lambda body: b"SSH-2.0-OpenSSH_9.2\r\n"),
    "closed without a word": wire(lambda body: b""),
    "body of the interface of responses": lambda body: respond(
        200, {"output": [{"type": "message", "content": [{"type": "output_text", "text": _content(body)}]}]}
    ),
    "body of another provider": lambda body: respond(
        200, {"candidates": [{"content": {"parts": [{"text": _content(body)}]}}]}
    ),
    "body with a message alone": lambda body: respond(200, {"message": {"content": "Hm."}, "done": True}),
    "tool call: half of the arguments": message(
        lambda text: {"content": None, "tool_calls": [{"function": _function(text[:20])}]}
    ),
    "content: encoded twice": message(lambda text: {"content": json.dumps(text)}),
    "half a surrogate": raw(
        lambda body: body.replace(b'"finish_reason"', b'"name": "\\ud800", "finish_reason"')
    ),
    "content: other words for the keys": message(lambda text: {"content": text.upper()}),
    "head of 200 KB": wire(lambda body: HEAD + b"X: " + b"x" * 200_000 + b"\r\n\r\n" + body),
    "length below nothing": wire(lambda body: HEAD + b"Content-Length: -5\r\n\r\n" + body),
    "last chunk missing": wire(
        lambda body: HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n"
    ),
    "never": endless(),
    "never a body": endless(HEAD + b"Content-Length: 700\r\n\r\n"),
    "never the rest of a body": endless(HEAD + b"Content-Length: 700\r\n\r\n" + b'{"choices": ['),
    "endless stream": endless(EVENTS, PART),
    "endless comments": endless(EVENTS, b": keep-alive\n\n"),
    "endless body": endless(HEAD + b"Content-Length: 99999999\r\n\r\n{", b" "),
    "endless hints": endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "408": lambda body: refusal(408, "timeout"),
    "413 page": lambda body: respond(413, PAGE, kind="text/html"),
    "429 of a text that is too large": lambda body: refusal(429, "tokens", message=TOO_LARGE),
    "429 of this text": limited(),
    "429 of this text, asks for a second": limited(1),
    "429 of this text, asks for a minute": limited(60),
    "429 of this text, asks for an hour": limited(3_600),
    "429 of a quota": lambda body: refusal(429, "insufficient_quota"),
    "402": lambda body: refusal(402, "payment_required", message="Insufficient credits"),
    "403 of a quota": lambda body: refusal(403, "insufficient_quota"),
    "500": lambda body: refusal(500, "server_error"),
    "500, asks for an hour": lambda body: refusal(500, "server_error", ("Retry-After", "3600")),
    "503, asks for a minute": lambda body: refusal(503, "overloaded", ("Retry-After", "60")),
    "999": lambda body: respond(999, {"error": "beyond all numbers"}),
    "502 page": lambda body: respond(502, PAGE, kind="text/html"),
    "400": lambda body: refusal(400, "bad_request"),
    "401": lambda body: refusal(401, "invalid_api_key"),
    "404": lambda body: refusal(404, "model_not_found"),
    "307": lambda body: refusal(307, "elsewhere", ("location", "http://127.0.0.1:1/v1")),
}
