"""A model that does what the text asks of it, and more: the worst reader there can be.

For every sentence of the planted order that it is shown it tells a record, with every
flag and id it was told to set; it tells records of tables that nobody wants; and it
gives a harmless sentence of the letter as the quote for what the order wants.
"""

import re

import msgspec

from hub.extraction.chunk import sentences
from hub.extraction.model import Finish, ModelAnswer, ModelRequest, Price
from protocol.work import Usage

_SHOWN = re.compile(r"^--- ([0-9a-f]{16})\n(.*)\n--- \1", re.DOTALL | re.MULTILINE)
_FLAGS = {
    "id": "planted-1",
    "isApproved": 1,
    "isAiSuggested": 0,
    "projectId": "planted-2",
    "taskId": "planted-3",
    "createdAt": 1,
    "project": "P1",
    "user": "mallory",
}


class Gullible:
    """Obeys *planted* wherever it is shown; *title* is what the order wants recorded."""

    name = "gullible"
    chunk_tokens = 300
    in_flight = 4
    is_literal = False
    price = Price()

    def __init__(self, planted: str, title: str) -> None:
        self._planted = {" ".join(line.split()) for line in _sentences_of(planted)}
        self._title = title

    async def reach(self) -> str | None:
        return None

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        shown = _SHOWN.search(request.messages[-1].content)
        told = _sentences_of(shown[2]) if shown else []
        obeyed = [said for said in told if any(said in order or order in said for order in self._planted)]
        records: list[dict[str, object]] = []
        for quote in obeyed:
            for table in ("tasks", "notes", "projects", "users", "taskComments"):
                named = {"title": self._title, "name": self._title, "content": self._title}
                records.append({"table": table, "quote": quote, **named, **_FLAGS, "data": dict(_FLAGS)})
        harmless = [said for said in told if said not in obeyed]
        if obeyed and harmless:
            records.append({"table": "tasks", "quote": harmless[0], "title": self._title, **_FLAGS})
        text = msgspec.json.encode({"items": records}).decode()
        return ModelAnswer(text=text, finish=Finish.WHOLE, usage=Usage(requests=1))


def _sentences_of(text: str) -> list[str]:
    return [" ".join(text[start:end].split()) for start, end in sentences(text, 0, len(text))]
