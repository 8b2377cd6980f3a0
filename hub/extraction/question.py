"""State of one question during its attempts at an endpoint."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from hub.extraction.dialect import Dialect
from hub.extraction.model import ModelRequest, Usage


class Reply(NamedTuple):
    """Response with a successful HTTP status."""

    body: bytes
    headers: Mapping[str, str]


class Question:
    """State of a question.

    Attributes:
        dialect: dialect of the next attempt.
        spent: usage of all attempts so far.
        failures: attempts without an answer, which are limited.
        refusals: refusals by a rate limit, counted separately.
        waited_s: total wait for that rate limit, in seconds.
        unusable: number of unusable answers.
    """

    def __init__(self, request: ModelRequest) -> None:
        self.request = request
        self.dialect = Dialect()
        self.spent = Usage()
        self.failures = 0
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
        asked = (self.request.digest, str(self.dialect), self.unusable)
        return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
