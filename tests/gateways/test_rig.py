"""What the check against a real gateway stands on, tried without one."""

import json
from pathlib import Path
from typing import Any

import anyio
import httpx2

from tests.gateways.letters import answer
from tests.gateways.scripted_model import Run, Say, ScriptedModel, scripted_model
from tests.gateways.witness import History

ASIDE = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnothing\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
LETTER = """\
A LEAD ASKS THE USER

POST http://127.0.0.1:1/v1/agent/boards/b/memory
Body: {"content":"...","tags":["user_reply"],"reply_to":"q"}

Put the answer there and not into this chat."""


async def said(model: ScriptedModel, *messages: tuple[str, str]) -> str:
    """What the model streams, in one piece."""
    asked = {"model": "scripted", "messages": [{"role": role, "content": text} for role, text in messages]}
    async with httpx2.AsyncClient() as client:
        answered = await client.post(f"{model.base_url}/chat/completions", json=asked)
    lines = [line.removeprefix("data: ") for line in answered.text.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    calls = [call for one in choices for call in one["delta"].get("tool_calls", ())]
    words = "".join(one["delta"].get("content", "") for one in choices)
    return words + "".join(json.loads(call["function"]["arguments"])["command"] for call in calls)


async def test_the_model_plays_the_part_that_the_newest_prompt_names() -> None:
    async with scripted_model() as model:
        model.when("weather", Say("It rains."))
        part = model.when("garden", Run("dig"), Say("It is dug."))
        before = (("user", "the weather?"), ("assistant", "It rains."), ("user", "the garden?"))

        assert await said(model, ("user", "the weather?"), ("user", ASIDE)) == "It rains."
        assert await said(model, *before) == "dig"
        assert await said(model, *before, ("tool", "a hole")) == "It is dug."
        assert part.heard == ["a hole"]


async def test_a_part_that_is_held_answers_once_it_is_let() -> None:
    heard: list[str] = []
    async with scripted_model() as model, anyio.create_task_group() as tasks:
        part = model.when("sheep", Say("A thousand."), is_held=True)

        async def ask() -> None:
            heard.append(await said(model, ("user", "count the sheep")))

        tasks.start_soon(ask)
        await part.until_asked()
        assert heard == []
        part.release()
    assert heard == ["A thousand."]


def test_an_agent_answers_a_letter_as_the_letter_says(tmp_path: Path) -> None:
    command = answer("It's red.", tmp_path / "token")(LETTER).command
    assert "POST http://127.0.0.1:1/v1/agent/boards/b/memory" in command
    assert f"$(cat {tmp_path / 'token'})" in command
    assert '"reply_to": "q"' in command


def row(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **more}


def test_a_letter_that_was_said_twice_is_found_twice_and_an_answer_only_behind_it() -> None:
    shown = History(
        {
            "messages": [
                row("user", "letter one", idempotencyKey="one-1:user"),
                row("assistant", "", stopReason="toolUse"),
                row("assistant", "first", stopReason="stop"),
                row("user", "letter two", idempotencyKey="two-1:user"),
                row("user", "[System] Your previous turn was interrupted", idempotencyKey="x:user"),
                row("assistant", "second", stopReason="stop"),
                row("user", "letter one", idempotencyKey="one-2:user"),
                row("user", "letter four", idempotencyKey="four-1:user"),
                row("custom", "This turn ended before a reply", customType="run-failed-before-reply"),
                row("user", "letter four", idempotencyKey="four-2:user"),
            ],
            "pendingInputs": {"items": [{"state": "interrupted", "message": row("user", "letter three")}]},
        }
    )
    assert shown.keys("letter one") == ["one-1", "one-2"]
    assert shown.answers_after("letter two") == ["second"]
    assert shown.answers_after("letter one") == []
    assert shown.pending("letter three") == ["interrupted"]
    assert (shown.keys("letter four"), shown.dropped("letter four")) == (["four-2"], 1)
