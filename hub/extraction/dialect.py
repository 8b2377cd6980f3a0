"""Dialect of an endpoint for JSON answers: the best that it supports, detected by refusals.

Pure functions. ``json_schema`` enforces the schema, ``json_object`` only JSON; ``prompt`` enforces nothing
and relies on instructions.
"""

from enum import StrEnum
from typing import Any

import msgspec

from hub.extraction.model import Message, ModelRequest


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

    def body(self, model: str, request: ModelRequest) -> dict[str, Any]:
        """Create the body of a request."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in self._messages(request)],
            self.limit_field: request.max_tokens,
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

    def after_refusal(self, param: str | None) -> "Dialect | None":
        """Return a simpler dialect after a refusal, which may name the refused parameter.

        ``None`` if no simpler dialect exists.
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
        is_held = text.lstrip()[:1] in ("", "{")
        if is_held or self.mode is not Mode.JSON_SCHEMA:
            return self
        return msgspec.structs.replace(self, mode=Mode.JSON_OBJECT)

    def __str__(self) -> str:
        return f"{self.mode}/{self.limit_field}"

    def _messages(self, request: ModelRequest) -> tuple[Message, ...]:
        if self.mode is Mode.JSON_SCHEMA:
            return request.messages
        schema = msgspec.json.encode(request.schema).decode()
        instruction = f"Answer with one JSON object and nothing else. It must fit this JSON Schema:\n{schema}"
        system, *turns = request.messages
        return (Message("system", f"{system.content}\n\n{instruction}"), *turns)
