"""Who asks, what text they show, and in which form they want the answer.

The hub, the first version of this program (*seed*), LangExtract and Instructor ask the
same model about the same text; each has its own words around it. What an answer holds
is decided elsewhere: here records are only spelled.
"""

import json
import re
from enum import StrEnum
from typing import Any, Final

from tests.support.oracle.planted import Record, has_facts

Request = dict[str, Any]

# Two border lines with the same mark; what stands before the first is context.
_BORDERED: Final = re.compile(r"--- (?P<mark>[0-9a-f]{8,64})\n(?P<text>.*)\n--- (?P=mark)", re.DOTALL)


class Asker(StrEnum):
    """By the shape of its questions."""

    HUB = "hub"
    SEED = "seed"
    LANGEXTRACT = "langextract"
    INSTRUCTOR = "instructor"

    @classmethod
    def of(cls, request: Request) -> "Asker":
        """Who sent *request*."""
        if request.get("tools"):
            return cls.INSTRUCTOR
        turns = " ".join(turn["content"] or "" for turn in request["messages"] if turn["role"] != "assistant")
        if '"extractions"' in turns:
            return cls.LANGEXTRACT
        return cls.SEED if "Return ONLY the JSON array" in turns else cls.HUB


def prompt_of(request: Request) -> str:
    """All that the model is shown, of which the tokens are counted; tools and schemas are not."""
    return "\n".join(turn["content"] or "" for turn in request["messages"])


def text_of(request: Request, *, with_context: bool = False) -> str:
    """The text that is asked about; *with_context*: and what stands before it in the same turn."""
    turns = [turn["content"] or "" for turn in request["messages"] if turn["role"] == "user"]
    match Asker.of(request):
        case Asker.LANGEXTRACT:
            return turns[-1].rpartition("\nQ: ")[2].removesuffix("\nA: ")
        case Asker.SEED:
            return turns[-1].partition("Document:\n")[2]
        case Asker.INSTRUCTOR:
            return turns[0]  # its reasks come behind it
        case Asker.HUB:
            for turn in reversed(turns):
                if (found := _BORDERED.search(turn)) is not None:
                    return turn if with_context else found["text"]
            return next((turn for turn in reversed(turns) if has_facts(turn)), turns[-1] if turns else "")


def most_records_of(request: Request) -> int | None:
    """What the schema allows; a server that is held to it stops there without a word."""
    response_format = request.get("response_format", {})
    if response_format.get("type") != "json_schema":
        return None
    items = response_format["json_schema"]["schema"]["properties"].get("items", {})
    most: int | None = items.get("maxItems")
    return most


def spell(records: list[Record], asker: Asker) -> str:
    """*records* as the asker wants to read them."""
    match asker:
        case Asker.HUB | Asker.INSTRUCTOR:
            said: object = {
                "items": [_flat(record) if asker is Asker.INSTRUCTOR else record for record in records]
            }
        case Asker.SEED:
            said = [{"table": record["table"], "data": _told(record)} for record in records]
        case Asker.LANGEXTRACT:
            said = {"extractions": [_extraction(record) for record in records]}
    return json.dumps(said, ensure_ascii=False)


def message_of(text: str, request: Request) -> dict[str, Any]:
    """*text* as the model's turn: a call of the only tool, where there is one."""
    if Asker.of(request) is not Asker.INSTRUCTOR:
        return {"role": "assistant", "content": text}
    function = {"name": request["tools"][0]["function"]["name"], "arguments": text}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _told(record: Record) -> Record:
    return {
        name: value for name, value in record.items() if value is not None and name not in ("quote", "table")
    }


def _flat(record: Record) -> Record:
    """With one name instead of a list of them."""
    return record | {"assignee": (record["assignee"] or [None])[0]}


def _extraction(record: Record) -> Record:
    flat = _flat(record)
    attributes = {name: flat[name] for name in ("title", "assignee", "dueDate")}
    return {"task": record["quote"], "task_attributes": attributes}
