"""How to ask an endpoint for JSON: the best it understands, found out by being refused.

Pure. ``json_schema`` holds the model to our schema; ``json_object`` only to JSON;
``prompt`` to nothing, and the words must do.
"""

from enum import StrEnum
from typing import Any

import msgspec

from hub.extraction.model import Message, ModelRequest


class Mode(StrEnum):
    """How the shape of the answer is asked for."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    PROMPT = "prompt"


_SIMPLER = {Mode.JSON_SCHEMA: Mode.JSON_OBJECT, Mode.JSON_OBJECT: Mode.PROMPT}


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint is known to understand; the best is believed until it refuses."""

    mode: Mode = Mode.JSON_SCHEMA
    limit_field: str = "max_tokens"  # newer hosted models insist on max_completion_tokens
    has_temperature: bool = True  # and some of them take no temperature

    def body(self, model: str, request: ModelRequest) -> dict[str, Any]:
        """What to post to the endpoint."""
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
        """What to speak instead, where the endpoint may have named the parameter it refused.

        ``None`` when there is nothing simpler.
        """
        if param == "temperature" and self.has_temperature:
            return msgspec.structs.replace(self, has_temperature=False)
        if param == "max_tokens" and self.limit_field == "max_tokens":
            return msgspec.structs.replace(self, limit_field="max_completion_tokens")
        if self.mode in _SIMPLER:
            return msgspec.structs.replace(self, mode=_SIMPLER[self.mode])
        return None

    def after_answer(self, text: str) -> "Dialect":
        """What to speak from now on, when the first answer was *text*.

        Some servers take a schema and hold the model to nothing: it has not even seen it then.
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
        told = f"Answer with one JSON object and nothing else. It must fit this JSON Schema:\n{schema}"
        system, *turns = request.messages
        return (Message("system", f"{system.content}\n\n{told}"), *turns)
