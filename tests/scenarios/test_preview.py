"""A preview says beforehand what a run with another prompt does and costs, with real processes."""

import json
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
import pytest

from tests.scenarios.scene import Scene, are_there_once, rows, scene, write
from tests.support.oracle import Oracle, plant
from tests.support.processes import POLL_S

FIRST: Final = "Only send, call."
SECOND: Final = "Only call, pay."
PRICES: Final = "price_in_usd = 0.5\nprice_out_usd = 2.0\n"
# Tables that change with a preview: answers of the model, their cost, and what a device knows of its files.
WRITTEN: Final = {"model_answers", "model_calls", "nodes", "digests"}

# Tables of what was found, read and sent: others change with each start of a hub, and as runs are measured.
FOUND: Final = {
    *(f"hub.db {name}" for name in ("items", "unit_ledger", "run_units", "run_calls", "agent_locks")),
    *(f"desk.db {name}" for name in ("tasks", "notes", "calls")),
}


def folder_of(count: int) -> dict[str, str]:
    """Files with three facts each; every second pair of files has its last one in common."""
    return {f"page{number:03}.md": _page(number) for number in range(count)}


def _page(number: int, *, day: int = 1) -> str:
    shared = number // 2 * 2 if number // 2 % 2 else number
    facts = (
        plant("Anna", f"send offer {number:03}", "2026-12-01", f"K-{number:04}"),
        plant("Ben", f"call client {number:03}", f"2026-12-{day:02}", f"L-{number:04}"),
        plant("Carl", f"pay bill {shared:03} of the year", "2026-12-03", f"M-{shared:04}"),
    )
    return f"# Page {number}\n\nWe met on Monday, and it rained.\n\n" + "\n\n".join(facts) + "\n"


def edited(count: int) -> dict[str, str]:
    """A tenth of the files with another day for the call."""
    return {f"page{number:03}.md": _page(number, day=9) for number in range(0, count, 10)}


async def preview(play: Scene, **settings: Any) -> dict[str, Any]:
    """The last step of a preview, with the items and problems of all."""
    answer = await play.hub.ask("POST", "/v1/agents/notes/preview", json=settings)
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    steps = [json.loads(line) for line in lines]
    assert steps[-1]["is_done"] and [step["seq"] for step in steps] == [*range(1, len(steps) + 1)]
    found = {name: [one for step in steps for one in step[name]] for name in ("items", "problems")}
    last: dict[str, Any] = steps[-1]
    return last | found | {"steps": len(steps)}


def titles(found: dict[str, Any], change: str) -> list[str]:
    """The titles of the items with this change, sorted."""
    return sorted(item["title"] for item in found["items"] if item["change"] == change)


async def with_prompt(play: Scene, prompt: str) -> None:
    """Give the agent another prompt, as its owner would."""
    path = play.folder / "hub.toml"
    text = path.read_text()
    begin = text.index("prompt = ")
    path.write_text(text[:begin] + f'prompt = "{prompt}"' + text[text.index("\n", begin) :])
    with anyio.fail_after(30):
        while (await play.hub.get("/v1/agents/notes"))["prompt"] != prompt:
            await play.hub.ask("POST", "/v1/config/reload")
            await anyio.sleep(POLL_S)


async def run(play: Scene) -> dict[str, Any]:
    """A run, once it has ended."""
    return await play.hub.ended(await play.hub.start_run(), within_s=300)


def state_of(play: Scene) -> dict[str, list[str]]:
    """Every row of the hub's and the device's databases that a preview may not write."""
    found = {}
    for database in (play.folder / "hub.db", play.device.database):
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for name in {*names} - WRITTEN:
                listed = [row for row in db.execute(f'SELECT * FROM "{name}"') if "query" not in row]
                found[f"{database.name} {name}"] = sorted(map(repr, listed))
    return found


def changed_in(after: dict[str, list[str]], before: dict[str, list[str]]) -> set[str]:
    """The tables whose rows are not the same."""
    return {name for name, found in after.items() if found != before[name]}


def not_found(play: Scene) -> list[str]:
    """The titles of items that the newest settings of the agent do not find, sorted."""
    query = """
        SELECT json_extract(data, '$.title') FROM items WHERE config_fingerprint <>
        (SELECT config_fingerprint FROM runs ORDER BY created_at DESC, id DESC LIMIT 1)
    """
    return sorted(title for (title,) in rows(play.folder / "hub.db", query))


async def opened(stack: AsyncExitStack, folder: Path, count: int) -> tuple[Scene, Oracle]:
    """A hub and a device that have read the folder with the first prompt; then a tenth of it was edited."""
    await anyio.Path(folder).mkdir()
    oracle = Oracle(follows_prompt=True)
    play = await stack.enter_async_context(scene(folder, folder_of(count), oracle=oracle))
    settings = folder / "hub.toml"
    settings.write_text(settings.read_text().replace('name = "oracle"\n', f'name = "oracle"\n{PRICES}'))
    await play.stop_hub()
    await play.start_hub()
    await play.device.start()
    await play.has_connected()
    await with_prompt(play, FIRST)
    assert (await run(play))["items_created"] == 2 * count
    write(folder, edited(count))
    return play, oracle


def used(done: dict[str, Any]) -> tuple[Any, ...]:
    """Return the cost of a run or a preview."""
    return done["model_requests"], done["prompt_tokens"], done["completion_tokens"], round(done["usd"], 9)


async def foretells(folder: Path, count: int) -> None:
    """A preview before a run, and in another world the run alone: they agree in all."""
    async with AsyncExitStack() as stack:
        play, oracle = await opened(stack, folder / "previewed", count)
        alone, _ = await opened(stack, folder / "alone", count)
        before, asked = state_of(play), oracle.stats.calls

        foretold = await preview(play, prompt=SECOND)

        assert (foretold["read"], foretold["problems"], foretold["failure"]) == (count, [], None)
        assert oracle.stats.calls - asked == foretold["model_requests"]
        assert changed_in(state_of(play), before) & FOUND == set()
        assert {item["path"] for item in foretold["items"]} <= {f"notes/{name}" for name in folder_of(count)}
        assert all(item["quote"] for item in foretold["items"])
        previewed = (await play.hub.get("/v1/audit?event=agent.previewed"))["entries"]
        assert {one["detail"]["name"] for one in previewed} == {"notes"}

        await with_prompt(alone, SECOND)
        done = await run(alone)
        assert (done["items_created"], done["items_updated"], done["items_known"]) == (
            *(foretold["added"], foretold["changed"], foretold["known"]),
        )
        assert titles(foretold, "removed") == not_found(alone)
        assert len(titles(foretold, "changed")) == len(edited(count)) == done["items_updated"]
        assert used(foretold) == used(done)

        asked = oracle.stats.calls
        await with_prompt(play, SECOND)
        paid = await run(play)
        assert (paid["model_requests"], oracle.stats.calls) == (0, asked)
        assert (paid["items_created"], paid["items_updated"]) == (
            done["items_created"],
            done["items_updated"],
        )
        are_there_once(play.items(), alone.items())
        print(  # noqa: T201  # figures of the proof, with -s
            f"{count} files: {foretold['added']} added, {foretold['removed']} removed, {foretold['changed']} "
            f"changed, {foretold['known']} known; {used(foretold)} foretold, {used(done)} by the run alone, "
            f"{used(paid)} by the run after the preview; {foretold['steps']} steps"
        )


@pytest.mark.slow
async def test_preview_with_another_prompt_predicts_items_and_costs(tmp_path: Path) -> None:
    await foretells(tmp_path, 12)


@pytest.mark.soak
async def test_preview_of_two_hundred_documents_predicts_items_and_costs(tmp_path: Path) -> None:
    await foretells(tmp_path, 200)


@pytest.mark.soak
async def test_hub_killed_in_a_preview_keeps_the_answers_of_the_model_alone(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        play, oracle = await opened(stack, tmp_path / "killed", 40)
        before, asked = state_of(play), oracle.stats.answered
        oracle.latency_s = 0.05

        async def kill() -> None:
            while oracle.stats.answered < asked + 15:
                await anyio.sleep(POLL_S)
            await play.kill_hub()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill)
            with pytest.raises((httpx2.TransportError, AssertionError, json.JSONDecodeError)):
                await preview(play, prompt=SECOND)
        await play.start_hub()
        await play.has_connected()

        assert changed_in(state_of(play), before) & FOUND == set()
        assert len((await play.hub.get("/v1/runs"))["runs"]) == 1
        await with_prompt(play, SECOND)
        done = await run(play)
        answered = oracle.stats.answered - asked
        assert done["items_created"] and 40 <= answered <= 40 + 8  # those in flight at most were paid twice
        assert done["model_requests"] <= 40 - 15 + 8
        print(f"answered {answered} for 40 files, {done['model_requests']} after the kill")  # noqa: T201
