"""The first run of a page of the handbook, typed at a terminal line by line."""

import re
from pathlib import Path
from typing import Final

from tests.support.handbook import blocks
from tests.support.terminal import Terminal

INSTALLS: Final = "python3 -m venv"  # first words of the block whose effect the tests' own environment has
SHORT: Final = "hub up"  # first words of the block that test_up types

_OUTPUT: Final = re.compile(r"^```sh\n[^`]*```\n\n```text\n(?!\$)(.*?)```$", re.MULTILINE | re.DOTALL)
_VALUE: Final = re.compile(r"\d+(/\d+)?|(?<=\ )/\S+|\b[A-Z0-9]{4,}(\\-[A-Z0-9]{4,})+")  # in an escaped line


def first_run(page: Path) -> list[str]:
    """Return the commands of a page from the empty machine to the first approved item, without comments."""
    lines: list[str] = []
    for block in blocks(page, "sh"):
        if "make demo" not in block.text and not block.text.startswith((INSTALLS, SHORT)):
            lines += (line.partition("  #")[0].strip() for line in block.text.splitlines())
    return [line for line in lines if line]


def outputs(page: Path) -> list[str]:
    """Return a pattern for each line of output that *page* shows after a block of commands."""
    shown = _OUTPUT.findall(page.read_text(encoding="utf-8"))
    lines = [line for block in shown for line in block.splitlines()]
    return [_VALUE.sub(r"\\S+", re.escape(line)) for line in lines]


async def type_first_run(typed: Terminal, page: Path, *, port: int, has_model: bool) -> None:
    """Type the commands of *page*, with what a person fills in: code, answer, and numbers of items.

    Args:
        port: of the hub for devices; the default one may be taken on this machine.
    """
    code, listed = "", ""
    for line in first_run(page):
        match line.split():
            case ["hub", "serve", *_]:
                typed.type(line)
                await typed.shows("is ready")
            case ["hub", "connect", *_]:
                typed.type(line.replace(":8770", f":{port}"))
                code = (await typed.shows(r"hub pair approve (\S+)"))[1]
            case ["hub", "pair", "approve", shown]:
                typed.type(line.replace(shown, code))
                await typed.shows(r"\[y/N\]")
                typed.type("y")
                await typed.shows("connected as")
            case ["hub", "run", *_]:
                await _reads_both_files(typed, line, has_model=has_model)
            case ["hub", "review"]:
                before = len(typed.shown)
                typed.type(line)
                await typed.shows("approve, edit or reject them by their numbers")
                listed = typed.shown[before:]
            case ["hub", "review", "approve", *_]:
                wanted = ("timelines  Opening party", "tasks  Water the plants")
                found = [re.search(rf"(\d+)  {item}", listed) for item in wanted]
                typed.type(f"hub review approve {' '.join(one[1] for one in found if one)}")
                await typed.shows("approved: ")
                await typed.shows("approved: ")
            case _:
                typed.type(f"{line}; echo code $?")
                await typed.shows("code 0")


async def _reads_both_files(typed: Terminal, line: str, *, has_model: bool) -> None:
    typed.type(line)
    told = await typed.shows(r"success: 2 read, 0 skipped, 0 failed, (\d+) items, (\d+) model requests")
    assert (int(told.group(2)) > 0) == has_model
    await typed.shows("  timelines  Opening party")
    await typed.shows("they wait for review on desk; run there: hub review")
