"""The way this program began, as the baseline: the first 8000 characters, free words, ``json.loads``.

Errors are treated as they were: an answer that cannot be read is "nothing found", and
the file counts as done; a failed request loses the file. The client tries twice more,
as that one did by default.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import anyio
import openai

from tests.evaluation.documents import Planted
from tests.evaluation.tally import Tally

_SYSTEM: Final = """\
You are a data extraction assistant for a freelance project management tool. Given a document, \
extract structured records matching the user's instructions. Output a JSON array (no markdown \
fences, no explanation) of objects shaped: [{"table": "", "data": {...fields}}, ...] Allowed table \
names and their fields: %s Rules: \
- Only extract tables listed in the "data_types" instructions. - Use camelCase field names exactly \
as shown above. - Omit optional fields you cannot determine; do not invent data. - Never include id, \
createdAt, updatedAt, isAiSuggested, or isApproved. - If nothing relevant is found, return an empty \
JSON array: [] - Return ONLY the JSON array."""
_FIELDS: Final = {
    "tasks": (
        "title (str, required), description (str), status (todo|in_progress|done, default todo), "
        "priority (high|medium|low, default medium), assignee (JSON array string), "
        "dueDate (ms timestamp int), projectId (str)"
    ),
    "notes": "title (str, required), content (str, markdown), projectId (str)",
    "timelines": "title (str, required), projectId (str, required), date (ms timestamp int)",
    "projects": "name (str, required), clientId (str)",
    "taskComments": "taskId (str, required), author (str), content (str, required)",
}
ASKED: Final = "Find the tasks: who has to do what, and by when."
READ_CHARS: Final = 8_000


class SeedWay:
    """Reads one document after the other.

    Args:
        max_tokens: of an answer; it had no limit of its own, but a small model may never end.
    """

    def __init__(
        self,
        base_url: str,
        model: str = "oracle",
        *,
        tables: Sequence[str] = ("tasks",),
        asked: str = ASKED,
        max_tokens: int | None = None,
    ) -> None:
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key="none")
        self._model = model
        self._tables = tables
        self._asked = asked
        self._max_tokens = openai.omit if max_tokens is None else max_tokens
        self.tally = Tally()
        self.unparsable = 0

    async def records(self, text: str) -> list[dict[str, Any]]:
        """What one document gives: dicts with ``table`` and ``data``, as the model said them.

        Raises:
            openai.OpenAIError: the request failed; the file was lost with it.
        """
        fields = " ".join(f"{table}: {_FIELDS[table]}" for table in self._tables)
        asked = (
            f"User instructions: {self._asked}\n\nExtract these record types: {', '.join(self._tables)}\n\n"
        )
        answer = await self._client.chat.completions.create(
            model=self._model,
            messages=[
                {"role": "system", "content": _SYSTEM % fields},
                {"role": "user", "content": f"{asked}Document:\n{text[:READ_CHARS]}"},
            ],
            temperature=0,
            max_tokens=self._max_tokens,
        )
        try:
            said = json.loads((answer.choices[0].message.content or "").strip())
        except json.JSONDecodeError:
            self.unparsable += 1
            return []
        records = said if isinstance(said, list) else []
        return [one for one in records if isinstance(one, dict) and isinstance(one.get("data"), dict)]

    async def read(self, documents: Sequence[Planted]) -> Tally:
        """All of *documents*."""
        async with self._client:
            for document in documents:
                unparsable, records = self.unparsable, []
                try:
                    records = await self.records(document.text)
                # A body that broke off raises a bare JSONDecodeError, a lack of choices a TypeError.
                except (openai.OpenAIError, json.JSONDecodeError, TypeError, IndexError):
                    self.tally.failed += 1
                self.tally.silent += self.unparsable - unparsable
                self.tally.add(document.titles, [str(one["data"].get("title")) for one in records])
                await anyio.lowlevel.checkpoint()
        return self.tally
