"""Request format of a model endpoint (JSON schema, parameters), adapted after refusals. Pure.

Of the forms of a JSON answer, the best that the endpoint supports is used, detected by refusals:
``json_schema`` enforces the schema, ``json_object`` only JSON; ``prompt`` relies on instructions.
"""

import re
from enum import StrEnum
from typing import Any, Final

import msgspec

from hub.extraction.model import REFUSED, ModelRequest, PromptMessage


class Mode(StrEnum):
    """Mechanism that determines the form of the answer."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    PROMPT = "prompt"


_SIMPLER = {Mode.JSON_SCHEMA: Mode.JSON_OBJECT, Mode.JSON_OBJECT: Mode.PROMPT}


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """Known capabilities of an endpoint; the best is assumed until a refusal."""

    mode: Mode = Mode.JSON_SCHEMA
    limit_field: str = "max_tokens"  # newer hosted models require max_completion_tokens
    has_temperature: bool = True  # some of them refuse a temperature
    answer_tokens: int | None = None  # most that the endpoint lets a request ask for; None: not refused yet

    def body(self, model: str, request: ModelRequest) -> dict[str, Any]:
        """Create the body of a request."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in self._messages(request)],
            self.limit_field: min(request.limit, self.answer_tokens or request.limit),
        }
        if self.has_temperature:
            body["temperature"] = 0
        match self.mode:
            case Mode.JSON_SCHEMA:
                shape = {"name": "items", "strict": True, "schema": request.schema}
                body["response_format"] = {"type": "json_schema", "json_schema": shape}
            case Mode.JSON_OBJECT:
                body["response_format"] = {"type": "json_object"}
            case Mode.PROMPT:
                pass
        return body

    def within_limit(self, message: str, max_tokens: int) -> "Dialect | None":
        """Return the dialect for the limit of an answer that *message* names, or None if it names none.

        Args:
            message: of the endpoint.
            max_tokens: limit that the refused request asked for.
        """
        message = message[:1_000]  # characters of a refusal
        below = min(max_tokens, self.answer_tokens or max_tokens)
        numbers = (int(re.sub(r"[,_]", "", found)) for found in _NUMBER.findall(message))
        # With less than 256, no chunk could be answered.
        limit = max((number for number in numbers if 256 <= number < below), default=None)
        is_limit = limit is not None and _ABOUT_LIMIT.search(message) is not None
        return msgspec.structs.replace(self, answer_tokens=limit) if is_limit else None

    def after_refusal(self, param: str | None) -> "Dialect | None":
        """Return a simpler dialect after a refusal, or None if none exists.

        Args:
            param: refused parameter, if the endpoint names it.
        """
        if param == "temperature" and self.has_temperature:
            return msgspec.structs.replace(self, has_temperature=False)
        if param == "max_tokens" and self.limit_field == "max_tokens":
            return msgspec.structs.replace(self, limit_field="max_completion_tokens")
        if self.mode in _SIMPLER:
            return msgspec.structs.replace(self, mode=_SIMPLER[self.mode])
        return None

    def after_answer(self, text: str) -> "Dialect":
        """Return the dialect to use after the first answer *text*.

        Some servers accept a schema, but do not enforce it: the model has not even seen it then.
        """
        is_held = text.lstrip()[:1] in ("", "{") or text.startswith(REFUSED)
        if is_held or self.mode is not Mode.JSON_SCHEMA:
            return self
        return msgspec.structs.replace(self, mode=Mode.JSON_OBJECT)

    def __str__(self) -> str:
        limit = "" if self.answer_tokens is None else f"/{self.answer_tokens}"
        return f"{self.mode}/{self.limit_field}{limit}"

    def _messages(self, request: ModelRequest) -> tuple[PromptMessage, ...]:
        if self.mode is Mode.JSON_SCHEMA:
            return request.messages
        schema = msgspec.json.encode(request.schema).decode()
        instruction = f"Answer with one JSON object and nothing else. It must fit this JSON Schema:\n{schema}"
        system, *turns = request.messages
        return (PromptMessage("system", f"{system.content}\n\n{instruction}"), *turns)


_ABOUT_LIMIT: Final = re.compile(r"max_(?:completion_|output_)?tokens|(?:completion|output) tokens", re.I)
_NUMBER: Final = re.compile(
    r"(?<![\w.-])\d{1,3}(?:[,_]?\d{3}){0,3}(?![\w-])"
)  # none of a model's name or a date
