"""An oracle that finds the labels of given documents, and is as good at it as it is told to be."""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from hub.lab.gold import GoldDocument
from protocol.tables import TableName
from tests.support.oracle.asker import most_records_of, text_of
from tests.support.oracle.planted import Record, task
from tests.support.oracle.server import CHARS_PER_TOKEN, Completion, Oracle
from tests.support.oracle.traits import Fault


class Reader(Oracle):
    """It finds tasks by their sentences.

    Attributes:
        share: of what it finds in a text of so many tokens; the same text always with the same result.
        cuts_at: its answers end after so many tokens, whatever was asked for.
    """

    def __init__(
        self,
        documents: Iterable[GoldDocument],
        *,
        share: Callable[[float], float] = lambda tokens: 1.0,
        cuts_at: int | None = None,
        **traits: Any,
    ) -> None:
        super().__init__(**traits)
        self.keeps_requests = False
        self.share = share
        self.cuts_at = cuts_at
        self._titles = {
            document.text[slice(*label.places[0])]: str(label.data["title"])
            for document in documents
            for label in document.labels
            if label.table is TableName.TASKS
        }
        self._known = re.compile("|".join(map(re.escape, self._titles)))

    def _records(self, request: dict[str, Any], fault: Fault | None) -> list[Record]:
        text = text_of(request)
        share = self.share(len(text) / CHARS_PER_TOKEN)
        found = [
            task(self._titles[match.group()], match.group())
            for match in self._known.finditer(text)
            if self._drawn(match.group(), text) < share
        ]
        return found[: most_records_of(request)]

    def _completion(self, request: dict[str, Any], prompt_tokens: int, fault: Fault | None) -> Completion:
        if self.cuts_at is not None:
            request = request | {"max_tokens": min(request["max_tokens"], self.cuts_at)}
        return super()._completion(request, prompt_tokens, fault)

    def _drawn(self, sentence: str, text: str) -> float:
        drawn = hashlib.sha256(f"{self.seed}:{sentence}:{text}".encode()).digest()
        return int.from_bytes(drawn[:8], "big") / 2**64
