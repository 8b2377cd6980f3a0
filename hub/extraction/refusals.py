"""Interpretation of HTTP errors of an endpoint: retry, wait, stop, or change the request. Pure functions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
import openai

from hub.extraction.breaker import EndpointRefused
from hub.extraction.headers import retry_after_s
from hub.extraction.model import ModelError, ModelExhausted

_RETRIED: Final = frozenset({408, 409})
_SPENT_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TOO_LONG: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})  # OpenAI, llama.cpp


class Place(msgspec.Struct, frozen=True):
    """Model, endpoint and settings table, for messages to people.

    Attributes:
        base_url: ends in ``/v1``.
        name: name of the model at the endpoint.
        table: table of hub.toml.
    """

    base_url: str
    name: str
    table: str = "[model]"

    def __str__(self) -> str:
        return f"{self.name} at {self.base_url}"


class Trouble(Exception):
    """Failed attempt; a retry may succeed. *after_s* is the requested wait, or None."""

    def __init__(self, why: str, *, after_s: float | None = None) -> None:
        super().__init__(why)
        self.after_s = after_s


class RateLimited(Exception):
    """Refusal by a rate limit: a wait (*after_s*, if requested) that does not count as a failure."""

    def __init__(self, why: str, after_s: float | None, headers: Mapping[str, str]) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.headers = headers


class Disliked(Exception):
    """Refusal of this form of the question; *param* is the refused parameter, or None."""

    def __init__(self, why: str, param: str | None, *, is_too_long: bool) -> None:
        super().__init__(why)
        self.param = param
        self.is_too_long = is_too_long


def meaning_of(
    error: openai.APIStatusError, place: Place, now: datetime
) -> Trouble | RateLimited | Disliked | ModelError:
    """Convert *error* to an exception that the caller raises. *now*: wall time, aware."""
    status, code = error.status_code, str(error.code or "")
    told = f"HTTP {status} {code}".rstrip()
    if status == 402 or code in _SPENT_QUOTA or error.type in _SPENT_QUOTA:
        return ModelExhausted(
            f"the account behind {place.name} has no quota left ({code or status}): look at its plan "
            f"and billing, or name another model in {place.table} of hub.toml",
            reason="billing",
        )
    headers = error.response.headers
    if status == 429:
        return RateLimited(told, retry_after_s(headers, now), headers)
    if status in _RETRIED or status >= 500:
        return Trouble(told, after_s=retry_after_s(headers, now))
    if status in (401, 403):
        return EndpointRefused(
            f"the model endpoint {place.base_url} refused our key (HTTP {status}): "
            f"correct api_key in {place.table} of hub.toml"
        )
    if 300 <= status < 400:
        return EndpointRefused(
            f"the model endpoint {place.base_url} sends us elsewhere (HTTP {status}), "
            f"and redirects are not followed: correct base_url in {place.table} of hub.toml"
        )
    if status == 404:
        return EndpointRefused(
            f"the model endpoint {place.base_url} has no model {place.name!r} (HTTP 404): "
            f"correct name or base_url in {place.table} of hub.toml"
        )
    return Disliked(told, error.param, is_too_long=error.code in _TOO_LONG or error.type in _TOO_LONG)
