"""The README and the handbook: size, style, links, code blocks, and the questions that they answer."""

import re
from pathlib import Path

import click
import pytest

from hub import docs
from hub.device.settings import check_device_file
from hub.settings.reading import check_settings
from tests.support.families import each
from tests.support.handbook import (
    README,
    WRITTEN,
    Block,
    blocks,
    commands,
    headings,
    inline_commands,
    links,
    parse,
    target,
)
from tests.support.source import ROOT

KIB = 1024
LONGEST_LINE = 120
HANDBOOK = [docs.FOLDER / "README.md", *(docs.FOLDER / f"{topic}.md" for topic in docs.TOPICS)]
# A question of a user, and the heading below which it is answered.
QUESTIONS = {
    "approve an item": "Approve or reject an item",
    "add a mailbox": "Add a mailbox",
    "back up": "Make a backup",
    "add a schedule": "Add a schedule",
    "see why a run waits": "See why a run waits",
    "write a device": "A whole device",
}


def written(language: str) -> list[Block]:
    return [block for page in WRITTEN for block in blocks(page, language)]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_readme_and_the_architecture_are_short() -> None:
    assert len(README.read_bytes()) <= 9 * KIB
    assert len((docs.FOLDER / "architecture.md").read_bytes()) <= 9 * KIB


@each("page", [README, *HANDBOOK])
def test_no_line_is_too_long(page: Path) -> None:
    if page.stem in ("vocabularies", "log-events", "scopes", "proofs"):  # tables of long names or sentences
        return
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > LONGEST_LINE] == []


@each("topic", docs.TOPICS)
def test_handbook_page_begins_with_a_title_and_a_summary(topic: str) -> None:
    title, empty, summary, behind = docs.page(topic).split("\n")[:4]
    assert title.startswith("# ")
    assert (empty, behind) == ("", "")
    assert summary.endswith(".")


@each("page", [README, *HANDBOOK])
def test_every_link_leads_to_a_file_or_a_heading(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        file, anchor = target(page, link)
        assert file.exists(), link
        assert not anchor or anchor in headings(file), link


@each("page", WRITTEN)
def test_shipped_page_links_to_shipped_files_only(page: Path) -> None:
    shipped = [ROOT / package for package in ("hub", "protocol", "storage")]
    if page in (README, docs.FOLDER / "architecture.md"):  # for people who have the repository
        return
    for link in links(page):
        file, _ = target(page, link)
        assert "://" in link or any(file.is_relative_to(folder) for folder in shipped), link


def test_every_file_named_by_the_architecture_exists() -> None:
    named = re.findall(r"`((?:[\w-]+/)+[\w.-]+)`", docs.page("architecture"))
    assert len(named) > 50
    folders = (ROOT, ROOT / "hub")
    assert [
        name
        for name in named
        if not any((folder / f"{name}{suffix}").exists() for folder in folders for suffix in ("", ".py"))
    ] == []


@each("page", WRITTEN)
def test_every_command_mentioned_in_the_handbook_exists(page: Path) -> None:
    for words in inline_commands(page):
        if words[1].isupper():  # 'hub COMMAND --help'
            continue
        _can_be_typed(page, words, is_whole=False)


def _can_be_typed(page: Path, words: list[str], *, is_whole: bool = True) -> None:
    try:
        parse(words, is_whole=is_whole)
    except click.UsageError as error:
        pytest.fail(f"{name_of(page)}: {' '.join(words)}: {error.format_message()}")


def test_every_piece_of_settings_is_accepted(tmp_path: Path) -> None:
    for number, block in enumerate(written("toml")):
        file = tmp_path / f"{number}.toml"
        if "device.toml" in block.page.read_text() and "roots = [" in block.text:
            file.write_text(block.text)
            check_device_file(file).usable()
            continue
        rest = (
            "" if "[model]" in block.text else '\n[model]\nkind = "local"\n'
        )  # as 'hub init --local' has it
        file.write_text(block.text + rest)
        found = check_settings(file, environ={}).problems
        errors = [str(problem) for problem in found if problem.severity == "error"]
        assert errors == [], f"{name_of(block.page)}:{block.line}"


@each("block", written("python"))
def test_every_program_compiles(block: Block) -> None:
    compile(block.text, name_of(block.page), "exec")


@each(("question", "heading"), QUESTIONS.items())
def test_a_question_is_answered_within_two_links_of_the_readme(question: str, heading: str) -> None:
    near = _linked_from([README])
    assert any(heading in headings(page).values() for page in (README, *near, *_linked_from(near)))


def _linked_from(pages: list[Path]) -> list[Path]:
    found = {target(page, link)[0] for page in pages for link in links(page) if "://" not in link}
    return sorted(page for page in found if page.suffix == ".md")


def test_a_wrong_command_is_found() -> None:
    for line in ("hub rnus", "hub runs --nosuch", "hub runs show", "hub check a b"):
        (words,) = commands(f"true | {line} > x  # why\n")
        with pytest.raises(click.UsageError):
            parse(words)


def test_heading_anchors_equal_the_anchors_of_github() -> None:
    page = docs.FOLDER / "settings.md"
    assert {"settings", "listendevices"} <= set(headings(page))
    assert re.fullmatch(r"[\w\-]+", next(iter(headings(page))))
