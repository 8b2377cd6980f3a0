"""What goes over the wire in every comparison: the same calls, answers and files for each server."""

import hashlib
from collections.abc import Iterator
from itertools import count
from typing import Final, NamedTuple

import msgspec

from protocol.frame import Record
from protocol.work import AgentData, FilePiece

CALL_DATA: Final[Record] = {
    "title": "Send the revised quote to the studio",
    "description": "Two variants, with and without hosting, each with its taxes and the new dates of phase 2",
    "status": "todo",
    "priority": "high",
    "assignee": ["anna"],
    "dueDate": 1_766_000_000_000,
    "projectId": "7f0a9b1c",
}
RESULT: Final = b'{"ok":true,"table":"tasks","id":"0198c2f0-7d7e-7f7c-9d3b-2f0b6a7c5d11","changes":1}'
RUN_ID: Final = "bench-run"
AGENT_ID: Final = "a-1"


class FileSet(NamedTuple):
    """Files for uploads: different texts of one size, so that no decoder learns them by heart."""

    name: str
    size_bytes: int  # of a text, in UTF-8; a little more or less
    is_mixed: bool
    different: int


FILE_SETS: Final = {
    files.name: files
    for files in (
        FileSet("ascii-64k", 64_000, False, 32),
        FileSet("ascii-256k", 256_000, False, 12),
        FileSet("mixed-64k", 64_000, True, 32),
    )
}
_PLAIN: Final = (
    *("the", "project", "quote", "client", "invoice", "deadline", "review", "design", "hosting", "budget"),
    *("draft", "call", "meeting", "studio", "2026", "- [ ]", "todo:", "## Notes", '"phase 2"'),
    "https://example.org/a?b=1&c=2",
)
_ACCENTED: Final = (
    *("perché", "città", "già", "così", "più", "会议", "项目", "截止日期", "прогресс", "Übergabe"),
    *("naïve", "\u2013", "\u201cquote\u201d", "façade", "señor"),
)
_LINE_WORDS: Final = 12


def call_ids() -> Iterator[str]:
    """Ids of one length, like those of the hub's own calls."""
    return (f"c-{number:032x}" for number in count())


def text(files: FileSet, number: int) -> str:
    """The *number*-th text of a set."""
    words = _PLAIN + _ACCENTED * 3 if files.is_mixed else _PLAIN
    draws = iter(hashlib.shake_256(f"{files.name}/{number}".encode()).digest(files.size_bytes))
    chosen: list[str] = []
    size = 0
    while size < files.size_bytes:
        word = words[next(draws) % len(words)] + ("\n" if len(chosen) % _LINE_WORDS == 0 else "")
        chosen.append(word)
        size += len(word.encode()) + 1
    return " ".join(chosen)


def agent_data(files: FileSet) -> list[bytes]:
    """``agent_data`` frames of RUN_ID, one file each."""
    return [
        msgspec.json.encode(
            AgentData(run_id=RUN_ID, seq=n, files=[FilePiece(path=f"notes/{n}.md", content=text(files, n))])
        )
        for n in range(files.different)
    ]


def token_of(number: int) -> str:
    """What the *number*-th device shows."""
    return f"hub_bench_{number:08d}"
