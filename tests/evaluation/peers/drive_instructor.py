"""Runs in Instructor's own environment: documents in on standard input, titles out.

Imports nothing of ours.
"""

import asyncio
import json
import logging
import sys
from typing import Any

import instructor
import openai
import pydantic

ASKED = "Find the tasks in the text: who has to do what, and by when. quote is the sentence that says it."
IN_FLIGHT = 8


class Task(pydantic.BaseModel):
    quote: str
    title: str
    assignee: str | None
    dueDate: str | None


class Tasks(pydantic.BaseModel):
    items: list[Task]


async def read(client: Any, text: str, slots: asyncio.Semaphore) -> dict[str, Any]:
    """One document in one question, as its documentation does it; asked again up to twice."""
    async with slots:
        try:
            found = await client.chat.completions.create(
                model="oracle",
                response_model=Tasks,
                max_retries=2,
                messages=[{"role": "user", "content": text}, {"role": "system", "content": ASKED}],
            )
        except Exception as error:  # the document is lost, as it is to whoever calls it
            return {"error": f"{type(error).__name__}: {error}"[:200]}
    return {"titles": [task.title for task in found.items]}


async def main(base_url: str) -> None:
    """Some documents at once."""
    logging.disable(logging.CRITICAL)
    client = instructor.from_openai(openai.AsyncOpenAI(base_url=base_url, api_key="key"))
    slots = asyncio.Semaphore(IN_FLIGHT)
    answers = await asyncio.gather(*(read(client, text, slots) for text in json.load(sys.stdin)))
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
