"""The README and the handbook as tests read them: code blocks, commands, headings, links."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import click

from hub.cli.app import hub
from hub.docs import FOLDER, TOPICS
from tests.support.source import ROOT

README: Final = ROOT / "README.md"
# Written by hand; the others are generated.
WRITTEN: Final = (
    README,
    *(
        path
        for path in (FOLDER / f"{topic}.md" for topic in TOPICS)
        if "<!-- Generated from" not in path.read_text(encoding="utf-8")
    ),
)
_FENCE: Final = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)  # also in a list
_LINK: Final = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_INLINE: Final = re.compile(r"`(hub [^`\n]+)`")
_PLACEHOLDER: Final = re.compile(r"[A-Z:_]+")
_ENDS_A_COMMAND: Final = set("();<>|&") | {"&&", "||", ">>"}


class Block(NamedTuple):
    """A code block of a page."""

    page: Path
    language: str
    text: str
    line: int


def blocks(page: Path, language: str) -> Iterator[Block]:
    """Return the code blocks of *page* in *language*."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if found[1] == language:
            yield Block(page, language, found[2], text.count("\n", 0, found.start()) + 1)


@cache
def prose(page: Path) -> str:
    """Return the text of *page* without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


@cache
def links(page: Path) -> tuple[str, ...]:
    """Return the targets of the links of *page*, as they are written."""
    return tuple(_LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page))))


@cache
def headings(page: Path) -> dict[str, str]:
    """Return the headings of *page* by their anchors."""
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"): heading for heading in found}


def target(page: Path, link: str) -> tuple[Path, str]:
    """Return the file and the anchor that *link* in *page* leads to."""
    file, _, anchor = link.partition("#")
    return ((page.parent / file).resolve() if file else page), anchor


def commands(shell: str) -> Iterator[list[str]]:
    """Return the calls of ``hub`` in a piece of shell, each as its words."""
    for line in shell.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        call: list[str] = []
        for word in [*words, ";"]:
            if word in _ENDS_A_COMMAND:
                if call[:1] == ["hub"]:
                    yield call
                call = []
            else:
                call.append(word)


def inline_commands(page: Path) -> Iterator[list[str]]:
    """Return the calls of ``hub`` that the prose of *page* mentions."""
    for found in _INLINE.findall(prose(page)):
        yield [word for word in shlex.split(found.replace("\\|", "|")) if word != "..."]


def parse(words: list[str], *, is_whole: bool = True) -> None:
    """Parse a call of ``hub`` as click does, and run nothing.

    A file that it names need not exist, and a word in capitals may be any value.

    Args:
        is_whole: arguments that are required have to be present.

    Raises:
        click.UsageError: the command, an option or an argument is wrong.
    """
    command: click.Command = hub
    ctx: click.Context | None = None
    name, rest = words[0], words[1:]
    try:
        while True:
            ctx = command.make_context(name, rest, parent=ctx)
            if not isinstance(command, click.Group):
                return
            given = [*ctx._protected_args, *ctx.args]
            if command.invoke_without_command and not given:
                return
            found, inner, rest = command.resolve_command(ctx, given)
            assert inner is not None
            name, command = found or "", inner
    except click.exceptions.NoArgsIsHelpError:
        if is_whole:
            raise
    except click.exceptions.MissingParameter:
        if is_whole:
            raise
    except click.BadParameter as bad:
        is_of_a_file = isinstance(bad.param and bad.param.type, click.Path)
        if not (is_of_a_file or any(word in bad.message for word in words if _PLACEHOLDER.fullmatch(word))):
            raise
    except click.exceptions.Exit:
        return  # --help and --version
