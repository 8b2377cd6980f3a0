"""Words in Markdown: nothing of them acts in a vault, they are read back as they were, an owner's stay."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from hub.device.sinks.text_file import TextFile, read_back
from hub.text.rows.lines import Markdown
from hub.text.rows.markdown_escapes import escape, unescape
from hub.text.rows.row import Put
from protocol.tables import TABLES
from tests.hub.device.sinks.bench import SinkBench
from tests.support import markdown_escapes
from tests.support.active_texts import MARKDOWN, ActiveText, filled, random_texts, texts
from tests.support.families import each
from tests.support.vault_reader import active

SHARE: Final = 12  # each of so many texts, of which the slow test has all
EXAMPLES: Final[list[list[str]]] = json.loads(markdown_escapes.FILE.read_text())
BRACKETS: Final = str.maketrans("[]", "()")
# Forms that act by the place where they are, or only look as if they did.
HARMLESS: Final = {
    *("tag of a picture with a slash", "tag of a picture, unfinished", "entities of a tag", "numeric entity"),
    *("key of a row at a word", "properties", "callout"),
}


def rows(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield rows with a text at each place of Markdown: after a box, in a list, in a field, below a row."""
    yield "tasks", {"title": text}
    yield "notes", {"title": text}
    yield "tasks", {"title": "x", "assignee": text}
    yield "tasks", {"title": text, "assignee": text, "description": text}
    yield "notes", {"title": "x", "content": text}


def note_of(table: str, data: Mapping[str, str]) -> str:
    return Markdown().insert("# Mine\n\n", Put("hub-aaaaaaaaaaaaaaab", TABLES[table], data, "", 0))


def acting(note: str) -> list[str]:
    """Return what acts in a note but for the marks of its only row."""
    own = ["key of a block: hub-aaaaaaaaaaaaaaab"]
    own += ["item with a box: - [ ] "] if note.startswith("# Mine\n\n- [ ] ") else []
    own += ["field: e::"] if "[assignee:: " in note else []
    seen = list(active(note))
    missing = [f"no {mark}" for mark in own if mark not in seen]
    for mark in own:
        if mark in seen:
            seen.remove(mark)
    return seen + missing


def read_as(text: str) -> tuple[str, str]:
    """Return the words of a title and those of a text below it as they are read back."""
    lines = re.sub(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]", "\n", text)
    below = "\n".join(line if line.strip() else "" for line in lines.strip("\n").split("\n"))
    return " ".join(lines.split()), below.strip("\n")


def wrong_with(written: Sequence[ActiveText]) -> Iterator[tuple[str, object]]:
    """Yield what acts in the notes of these texts, and what is not read back as it was written."""
    for name, text in written:
        text = text.translate({0: None, 0xFEFF: None})  # characters that no row has
        line, below = read_as(text)
        expected = {
            "title": line,
            "assignee": line.translate(BRACKETS),
            "description": below,
            "content": below,
        }
        for table, data in rows(text) if line else ():
            note = note_of(table, data)
            yield from ((name, (what, note)) for what in acting(note))
            fields = read_back(Markdown(), TABLES[table], data)
            for column in data:
                if data[column] != "x" and fields.get(column) != expected[column]:
                    yield name, (column, fields.get(column), note)


@each("form", sorted(MARKDOWN.keys() - HARMLESS))
def test_reader_of_vaults_finds_an_unescaped_form(form: str) -> None:
    note = "- " + filled(MARKDOWN[form]).replace("\n", "\n  ") + "\n"
    assert list(active(note)) != []


def test_no_text_acts_in_a_vault_and_each_is_read_back() -> None:
    assert list(wrong_with(list(islice(texts(), 0, None, SHARE)))) == []


@pytest.mark.slow
def test_no_text_of_all_acts_in_a_vault_and_each_is_read_back() -> None:
    written = list(texts())
    assert len(written) > 5_000
    assert list(wrong_with(written)) == []


def test_no_text_drawn_from_pieces_of_forms_acts_in_a_vault() -> None:
    assert list(wrong_with(list(random_texts(20_261_127, 400)))) == []


def test_examples_are_escaped_as_in_their_file_and_read_back() -> None:
    assert [[words, escape(words)] for words, _ in EXAMPLES] == EXAMPLES
    assert [unescape(markdown) for _, markdown in EXAMPLES] == [filled(words) for words, _ in EXAMPLES]
    assert {words for words, _ in markdown_escapes.examples()} == {words for words, _ in EXAMPLES}


@each("words", markdown_escapes.ORDINARY)
def test_ordinary_words_are_not_escaped(words: str) -> None:
    assert escape(words) == words


@pytest.mark.parametrize("sign", "\U0001f4c5\U0001f6eb\u2705")
def test_day_in_other_digits_stays_in_the_title(sign: str) -> None:
    words = f"Pay {sign} \u0662\u0660\u0662\u0667-\u0660\u0662-\u0660\u0663"
    fields = read_back(Markdown(), TABLES["tasks"], {"title": words})
    assert (fields["title"], fields["dueDate"]) == (words, "")


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (r"Copy to \\server\share", r"Copy to \\server\share"),
        (r"Match \[a-z] and \$HOME", r"Match \[a-z] and \$HOME"),
        ("See ![x](http://a/)", r"See \![x](http://a/)"),
        ("A <b class=x>", r"A \<b class=x>"),
        ("`code` [link](http://a/) #tag", "`code` [link](http://a/) #tag"),
    ],
)
def test_row_written_by_a_former_release_is_read_as_unchanged(
    words: str, written: str, bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "T.md"
    row = bench.approve({"title": words, "description": words})
    bench.synchronize(TextFile(path, Markdown()))
    key = path.read_text().partition(" ^")[2].partition("\n")[0]
    path.write_text(f"- [ ] {written} ^{key}\n  {written}\n")
    synced = bench.synchronize(TextFile(path, Markdown()))
    assert (synced.taken_back, synced.written, synced.problem) == (0, 0, "")
    path.write_text(path.read_text().replace("- [ ]", "- [x]"))
    bench.clock.advance(60)
    assert bench.synchronize(TextFile(path, Markdown())).taken_back == 1
    stored = bench.row(row)
    assert (stored["title"], stored["description"], stored["status"]) == (words, words, "done")


def test_markdown_of_an_owner_on_a_row_stays_when_another_field_changes(
    bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "T.md"
    target = TextFile(path, Markdown())
    row = bench.approve({"title": "Call `Ana`", "description": "one\ntwo"})
    bench.synchronize(target)
    own = "Call [[Ana]] about [it](https://a.example) #work \\`now\\`"
    path.write_text(path.read_text().replace(r"Call \`Ana\`", own).replace("two", "![[two]]"))
    bench.clock.advance(60)
    bench.synchronize(target)
    assert bench.row(row)["title"] == unescape(own)
    bench.clock.advance(60)
    bench.change(row, {"priority": "high"})
    bench.synchronize(target)
    assert path.read_text().startswith(f"- [ ] {own} ⏫ ^hub-")
    assert path.read_text().endswith("\n  one\n  ![[two]]\n")
    bench.clock.advance(60)
    bench.change(row, {"title": "Call [[Bo]]"})
    bench.synchronize(target)
    assert path.read_text().startswith(r"- [ ] Call \[\[Bo]] ⏫ ^hub-")
