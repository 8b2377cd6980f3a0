"""Words that act, of a document or a model, in a vault that a browser shows: nothing is loaded or run."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from playwright.async_api import Browser

from hub.device.items import read_items
from hub.device.owner import approve
from hub.text.rows.lines import Markdown
from hub.text.rows.row import Put
from protocol.tables import TABLES
from tests.scenarios.scene import scene
from tests.support.active_texts import HOST, MARKDOWN, filled, texts
from tests.support.browser import chromium
from tests.support.dashboard import browsing
from tests.support.node_device import NodeDevice, needs_node
from tests.support.oracle import Fault, Oracle, plant
from tests.support.processes import POLL_S, KeptDevice
from tests.support.vault_reader import shown
from tests.support.wire import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
]
FORMS: Final = [filled(form) for form in MARKDOWN.values()]
A_NOTE: Final = 20  # facts
SINK: Final = """
[[sinks]]
name = "vault"
kind = "markdown"
path = "{path}"
"""


class HostileModel(Oracle):
    """Model whose titles and descriptions are the forms, one for each fact."""

    def _records(self, request: dict[str, Any], fault: Fault | None) -> list[dict[str, Any]]:
        records = super()._records(request, fault)
        forms = [FORMS[int(record["title"].rpartition(" ")[2])] for record in records]
        words = ({"title": f"Pay {form}", "description": form, "assignee": [form]} for form in forms)
        return [record | more for record, more in zip(records, words, strict=True)]


def documents() -> Iterator[tuple[str, str]]:
    """Yield notes with a fact for each form, by name."""
    for first in range(0, len(FORMS), A_NOTE):
        numbers = range(first, min(first + A_NOTE, len(FORMS)))
        facts = (plant("Anna", f"pay bill {number}", "2026-12-01", f"K-{number:04}") for number in numbers)
        yield f"letter{first}.md", "\n\n".join(facts) + "\n"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with browsing() as opened:
        yield opened


async def reads(note: Path, count: int) -> str:
    """Wait until a note has so many lines of suggestions, and return its text."""
    await until(lambda: note.read_text().count("%%hub:") == count)
    return await anyio.Path(note).read_text()


@pytest.mark.parametrize(
    ("form", "is_script"),
    [
        *(("picture", False), ("picture by reference", False), ("tag of a picture over two lines", False)),
        *(("frame", False), ("style", False), ("embedded address", False), ("math of a picture", False)),
        *(("script in the line", True), ("block of a script with tildes", True), ("template", True)),
        *(
            ("link of a script", True),
            ("math", True),
            ("handler of a tag", True),
            ("script over lines", True),
        ),
    ],
)
async def test_browser_loads_or_runs_an_unescaped_form(form: str, is_script: bool, browser: Browser) -> None:
    requests, seen = await shown(browser, f"- {filled(MARKDOWN[form]).replace(chr(10), chr(10) + '  ')}\n")
    assert "a script ran" in seen if is_script else any(HOST in request for request in requests)


async def test_browser_loads_and_runs_nothing_of_a_vault_with_all_texts(browser: Browser) -> None:
    form, note = Markdown(), "# Mine\n\n"
    for number, (_, text) in enumerate(texts()):
        data = {"title": text, "description": text, "assignee": text}
        table = TABLES["tasks" if number % 2 else "notes"]
        if text.strip():
            note += form.insert("", Put(f"hub-{number:016}", table, data, "", 0))
    assert note.count(" ^hub-") > 5_000
    requests, seen = await shown(browser, note)
    marks = {"data-mark=", "SPAN"}  # keys of rows
    assert (requests, set(seen) - marks) == ([], set())
    assert seen.count("SPAN") == note.count(" ^hub-")


async def test_browser_loads_nothing_of_a_row_after_a_block_of_html(browser: Browser) -> None:
    put = Put("hub-a", TABLES["notes"], {}, "", 0)
    rows = [Markdown().insert("<div>\n", put._replace(fields={"title": text})) for _, text in texts()]
    requests, seen = await shown(browser, "\n".join(rows))
    assert (requests, set(seen) - {"data-mark=", "SPAN"}) == ([], {"DIV"})


async def test_browser_loads_nothing_of_words_of_a_model_approved_into_a_vault(
    browser: Browser, tmp_path: Path
) -> None:
    vault = tmp_path / "vault.md"
    async with scene(tmp_path, dict(documents()), oracle=HostileModel()) as play:
        device = KeptDevice(tmp_path, play.wire.url)
        play.also(device)
        device.settings.write_text(device.settings.read_text() + SINK.format(path=vault))
        await device.let_in(play.hub)
        await play.has_connected()
        run = await play.hub.ended(await play.hub.start_run())
        assert run["outcome"] == "success", run
        items = [item.label for item in read_items(device.database)]
        assert len(items) > 100
        decided = approve(device.database, items, at_ms=1)
        assert len(decided.done) == len(items), decided
        with anyio.fail_after(60):
            while not vault.exists() or vault.read_text().count(" ^hub-") < len(items):
                await anyio.sleep(POLL_S)
    requests, seen = await shown(browser, vault.read_text())
    assert (requests, set(seen) - {"data-mark=", "SPAN"}) == ([], set())


@needs_node
async def test_browser_loads_nothing_of_undecided_titles_written_by_the_plug_in(
    browser: Browser, tmp_path: Path
) -> None:
    (name, letter), *_ = documents()
    async with scene(tmp_path, {name: letter}, oracle=HostileModel()) as play:
        await play.hub.post("/v1/devices/desk/revoke")
        play.device = device = NodeDevice(tmp_path, play.wire.url)
        device.script = "obsidian.mjs"
        play.also(device)
        await device.start()
        (notice,) = await device.happens("notice")
        await play.hub.post("/v1/pairings/approve", {"code": notice.split()[-1]})
        await device.happens("status")
        run = await play.hub.ended(await play.hub.start_run())
        assert run["items_created"] >= A_NOTE * 0.8, run
        text = await reads(tmp_path / "notes" / name, run["items_created"])
    requests, seen = await shown(browser, text)
    assert (requests, set(seen) - {"data-mark=", "SPAN"}) == ([], set())
