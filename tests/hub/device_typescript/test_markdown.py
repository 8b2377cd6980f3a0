"""Words in Markdown are escaped by the package and by the plug-in as by the sinks."""

import json
import subprocess
from pathlib import Path

import pytest

from hub.text.rows.markdown_escapes import escape, unescape
from tests.support import markdown_escapes
from tests.support.active_texts import random_texts, texts
from tests.support.node_device import PACKAGE, needs_node, run_script
from tests.support.vault_reader import active

pytestmark = needs_node


def test_package_escapes_each_text_as_the_sinks_do() -> None:
    examples = json.loads(markdown_escapes.FILE.read_text())
    words = [word for word, _ in examples]
    words += [text for _, text in texts()] + [text for _, text in random_texts(5, 1_000)]
    escaped = run_script("node_markdown.mjs", words)["escaped"]
    assert [markdown for markdown, _ in escaped[: len(examples)]] == [markdown for _, markdown in examples]
    assert escaped == [[escape(word), unescape(escape(word))] for word in words]


@pytest.mark.slow
@pytest.mark.skipif(not (PACKAGE / "node_modules").exists(), reason="its tools are not installed: make web")
def test_no_title_of_a_suggestion_acts_in_a_note_of_the_plug_in(tmp_path: Path) -> None:
    notes = tmp_path / "notes.mjs"
    bundle = ["npx", "--offline", "esbuild", "obsidian/src/notes.ts", "--bundle", "--format=esm"]
    subprocess.run(
        [*bundle, "--log-level=warning", f"--outfile={notes}"], cwd=PACKAGE, check=True, capture_output=True
    )
    titles = [text for _, text in texts()]
    written = run_script("node_markdown.mjs", titles, str(notes))["lines"]
    for number, (title, (line, *others)) in enumerate(zip(titles, written, strict=True)):
        mark = f" %%hub:item-{number}%%"
        assert line.endswith(mark), line
        acting = [*active(f"{line.removesuffix(mark)}\n")]
        assert acting == ["item with a box: - [?] "], (title, line)
        # Fields that an approval changes, a title of the owner that stays, a line of a former version.
        assert others == [{}, True, True], (title, line)
