"""One question to an endpoint, on its way through its tries."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from hub.extraction.dialect import Dialect
from hub.extraction.model import ModelRequest, Usage


class Reply(NamedTuple):
    """What came back with a good HTTP status."""

    body: bytes
    headers: Mapping[str, str]


class Question:
    """What is known of a question while it is asked.

    Attributes:
        dialect: how it is put.
        spent: by all its tries so far.
        failures: tries without an answer; these count.
        refusals: by a rate limit; these do not.
        waited_s: for that rate limit.
        unusable: answers that were none.
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
        """Whether it had a turn already."""
        return self.spent.requests > 0

    @property
    def key(self) -> str:
        """The same for the same bytes; another one after an answer that was none, lest that comes again."""
        asked = (self.request.digest, str(self.dialect), self.unusable)
        return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
