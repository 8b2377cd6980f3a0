"""Programs read what agents may read of the folders that the owner grants, and nothing else."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from hub.device.connection import Answered, HubConnection, Tools
from hub.device.device_file import DeviceStore
from hub.device.file_calls import FileCalls
from hub.device.grants import BadGrant, changed
from hub.device.run_reading import Contents, Library
from hub.device.sending_log import open_sending_log
from hub.device.sent_files import read_sent
from hub.device.shared import Root, SharedFolders
from protocol.calls import PART_BYTES
from protocol.frame import MAX_RESULT_BYTES
from protocol.tool_calls import Action, Answer, ToolCall
from tests.support.clock import FakeClock

SECRET = "key = ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"[:36]
FILES = {
    "notes/a.md": "# Plan\n- [ ] call Ann\n- [ ] pay\n",
    "notes/work/b.md": "b\n",
    "notes/work/c.txt": "c",
    "notes/.hidden.md": "hidden",
    "notes/.git/config": "x",
    "notes/id_rsa": "x",
    "notes/drafts/d.md": "ignored",
    "notes/.hubignore": "drafts/\n*.bak\n",
    "notes/old.bak": "ignored",
    "notes/token.md": SECRET,
    "notes/photo.jpg": "\x01",
    "mine/own.md": "of a folder that is not granted",
    "outside.md": "outside",
}
READABLE = ["notes/a.md", "notes/token.md", "notes/work/b.md", "notes/work/c.txt"]


class Desk:
    """A device with two shared folders, one of which programs may read."""

    def __init__(self, calls: FileCalls, store: DeviceStore) -> None:
        self.calls, self.store = calls, store
        self.answers: list[Answer] = []

    async def answer(self, answered: Answered) -> None:
        self.answers += [answer for _, answer in answered]

    async def ask(self, action: Action, limit: int = 50, **data: Any) -> Any:
        """Return the result of a call, or the code of its refusal."""
        call = ToolCall(id="q-1", action=action, data=data, limit=limit)
        await self.calls.handle_call(cast(HubConnection, self), call)
        answer = self.answers.pop()
        return answer.result if answer.error is None else (answer.error.code, answer.error.message)

    async def paths(self, path: str, limit: int = 50, after: str = "") -> tuple[list[str], bool]:
        page = await self.ask(Action.FILES_LIST, limit, path=path, after=after)
        return [one.path for one in page.files], page.more


@pytest.fixture
def desk(store: DeviceStore, db: Path, tmp_path: Path, clock: FakeClock) -> Iterator[Desk]:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "notes/link.md").symlink_to(tmp_path / "outside.md")
    (tmp_path / "notes/way").symlink_to(tmp_path / "mine")
    os.link(tmp_path / "outside.md", tmp_path / "notes/hard.md")
    folders = [str(tmp_path / name) for name in ("notes", "mine")]
    roots = [Root(name, path, path) for name, path in zip(store.name_roots(folders), folders, strict=True)]
    shared = SharedFolders(roots, home=str(tmp_path), database=db)
    store.meet("hub-key")
    store.granted(["+files.read=notes"])
    with open_sending_log(db, clock) as log:
        library = Library(shared, Contents(shared, clock), log=log, on_status=lambda text: None)
        yield Desk(FileCalls(library, Tools(store), "hub-key"), store)


async def test_files_are_listed_by_path_in_pages_without_private_ones(desk: Desk) -> None:
    assert await desk.paths("notes") == (READABLE, False)
    assert await desk.paths("notes/work") == (READABLE[2:], False)
    assert await desk.paths("notes", 3) == (READABLE[:3], True)
    assert await desk.paths("notes", 3, READABLE[2]) == (READABLE[3:], False)
    assert await desk.paths("notes", 3, "notes/b") == (READABLE[1:], False)


async def test_a_file_with_two_names_in_the_shared_folder_is_listed_below_each(
    desk: Desk, tmp_path: Path
) -> None:
    os.link(tmp_path / "notes/work/b.md", tmp_path / "notes/twin.md")
    assert await desk.paths("notes/work") == (READABLE[2:], False)
    assert await desk.paths("notes/twin.md") == (["notes/twin.md"], False)
    assert (await desk.ask(Action.FILES_LIST, path="notes/hard.md"))[0] == "unknown_file"


async def test_shared_folder_within_a_granted_folder_requires_a_separate_grant(
    desk: Desk, tmp_path: Path
) -> None:
    paths = [str(tmp_path / name) for name in ("notes", "notes/work")]
    roots = [Root(name, path, path) for name, path in zip(("notes", "work"), paths, strict=True)]
    desk.calls._library.shared = SharedFolders(roots, home=str(tmp_path))
    assert await desk.paths("notes") == (READABLE[:2], False)
    assert (await desk.ask(Action.FILES_READ, path="notes/work/b.md"))[0] == "unknown_file"
    assert (await desk.ask(Action.FILES_READ, path="work/b.md"))[0] == "not_granted"


async def test_a_file_is_read_in_parts_by_lines_and_by_characters(desk: Desk) -> None:
    text = FILES["notes/a.md"]
    whole = await desk.ask(Action.FILES_READ, path="notes/a.md")
    assert (whole.content, whole.line, whole.lines, whole.characters, whole.next_offset) == (
        text,
        1,
        4,
        len(text),
        None,
    )
    second = await desk.ask(Action.FILES_READ, path="notes/a.md", line=2, lines=1)
    assert (second.content, second.line, second.offset) == ("- [ ] call Ann\n", 2, 7)
    rest = await desk.ask(Action.FILES_READ, path="notes/a.md", offset=second.next_offset)
    assert (rest.content, rest.line, rest.next_offset) == ("- [ ] pay\n", 3, None)
    for beyond in ({"line": 99}, {"offset": 10_000}):
        assert (await desk.ask(Action.FILES_READ, path="notes/a.md", **beyond)).content == ""


@pytest.mark.parametrize(
    ("text", "quotes"),
    [
        ("# Tea\n- [ ] buy tea\n> Bob:\n> bring milk\n", [False, False, True, True]),
        ("> [!todo] Tea\n> - [ ] buy tea\n> > bring milk\n", [False, False, True]),
        ("---\nsource: https://x.example\n---\n- [ ] buy tea\n", [True] * 4),
    ],
)
async def test_part_of_a_file_says_if_words_of_others_are_in_the_part(
    desk: Desk, tmp_path: Path, text: str, quotes: list[bool]
) -> None:
    (tmp_path / "notes/tea.md").write_text(text)
    lines = range(1, len(quotes) + 1)
    parts = [await desk.ask(Action.FILES_READ, path="notes/tea.md", line=line, lines=1) for line in lines]
    assert [part.quotes for part in parts] == quotes


@pytest.mark.parametrize("text", ["x" * 80_000, '"\\\n' * 20_000, "ä€𝄞" * 10_000])
async def test_long_file_is_read_in_parts_within_the_answer_limit(
    desk: Desk, tmp_path: Path, text: str
) -> None:
    (tmp_path / "notes/long.md").write_text(text)
    read, offset = "", 0
    for _ in range(30):
        part = await desk.ask(Action.FILES_READ, path="notes/long.md", offset=offset)
        assert len(part.content.encode()) <= PART_BYTES < MAX_RESULT_BYTES and part.content
        read, offset = read + part.content, part.next_offset or len(text)
        if part.next_offset is None:
            break
    assert read == text


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("notes/.hidden.md", "unknown_file", "no file is offered"),
        ("notes/.git/config", "unknown_file", "no file is offered"),
        ("notes/id_rsa", "unknown_file", "no file is offered"),
        ("notes/drafts/d.md", "unknown_file", "no file is offered"),
        ("notes/old.bak", "unknown_file", "no file is offered"),
        ("notes/nothing.md", "unknown_file", "no file is offered"),
        ("notes/work", "unknown_file", "no file is offered"),
        ("notes/token.md", "unknown_file", "key_in_text"),
        ("notes/photo.jpg", "unknown_file", "not_convertible"),
        ("notes/link.md", "unknown_file", "symlink"),
        ("notes/way/own.md", "unknown_file", "symlink"),
        ("notes/hard.md", "unknown_file", "hard_link"),
        ("mine/own.md", "not_granted", "files.read"),
        ("outside.md", "not_granted", "files.read"),
        ("notes/../mine/own.md", "not_granted", "files.read"),
        ("notes\\..\\mine\\own.md", "not_granted", "files.read"),
        ("notes/./a.md", "not_granted", "files.read"),
        ("/etc/passwd", "not_granted", "files.read"),
        ("~/outside.md", "not_granted", "files.read"),
        ("notes/a.md\0", "unknown_file", "no file is offered"),
    ],
)
async def test_refused_file_read_is_not_logged_as_sent(
    desk: Desk, db: Path, path: str, code: str, words: str
) -> None:
    answer = await desk.ask(Action.FILES_READ, path=path)
    assert isinstance(answer, tuple), "the file was read"
    assert answer[0] == code and words in answer[1], answer
    assert read_sent(db, 0, 10) == []


async def test_private_file_is_refused_like_a_missing_file(desk: Desk, tmp_path: Path) -> None:
    for path in ("notes/old.bak", "notes/drafts", "notes/id_rsa", "notes/drafts/d.md"):
        for action in (Action.FILES_READ, Action.FILES_LIST):
            refused = await desk.ask(action, path=path)
            missing = await desk.ask(action, path="notes/missing")
            assert [refused[0], refused[1].replace(path, "")] == [
                missing[0],
                missing[1].replace("notes/missing", ""),
            ]


async def test_file_read_is_logged_before_sending_and_refused_without_a_log(desk: Desk, db: Path) -> None:
    await desk.ask(Action.FILES_READ, path="notes/a.md", lines=1, reader="assistant helper")
    (entry,) = read_sent(db, 0, 10)
    assert (entry.path, entry.reader, entry.bytes) == ("notes/a.md", "assistant helper", len("# Plan\n"))
    with closing(sqlite3.connect(db)) as other:
        other.execute("DROP TABLE sent")
    refused = await desk.ask(Action.FILES_READ, path="notes/a.md")
    assert refused[0] == "database_unavailable", "a log that cannot be written keeps the text here"


async def test_file_calls_are_refused_after_the_grant_is_withdrawn(desk: Desk) -> None:
    assert (await desk.paths("notes"))[0] == READABLE
    desk.store.granted(["-files.read"])
    assert (await desk.ask(Action.FILES_LIST, path="notes"))[0] == "not_granted"
    for _ in range(FileCalls.at_once):
        desk.calls._slots.acquire_nowait()
    assert (await desk.ask(Action.FILES_LIST, path="notes"))[0] == "too_many_calls"


async def test_bad_requests_are_refused_with_the_reason(desk: Desk) -> None:
    assert (await desk.ask(Action.FILES_READ, path="notes/a.md", line=0))[0] == "bad_params"
    assert (await desk.ask(Action.FILES_LIST))[0] == "not_granted"


def test_device_file_of_release_0_2_accepts_the_files_read_grant(desk: Desk, db: Path) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as old:
        old.execute("DROP TABLE owner_grants")
        old.execute(
            "CREATE TABLE owner_grants (hub TEXT NOT NULL,"
            " name TEXT NOT NULL CHECK (name IN ('review.remote', 'rows.read')),"
            " tables TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tables)), PRIMARY KEY (hub, name)) STRICT"
        )
        old.execute("INSERT INTO owner_grants VALUES ('hub-key', 'rows.read', '[\"tasks\"]')")
    expected = {"files.read": ["notes"], "rows.read": ["tasks"]}
    assert desk.store.granted(["+files.read=notes"]) == expected
    assert desk.store.granted() == expected


@pytest.mark.parametrize("change", ["+files.read", "+files.read=", "+files.read=other", "+files.read=a,,b"])
def test_a_grant_names_shared_folders(change: str) -> None:
    with pytest.raises(BadGrant, match="notes, work"):
        changed({}, [change], folders=["notes", "work"])
    assert changed({}, ["+files.read=notes,work"], folders=["notes", "work"]) == {
        "files.read": ["notes", "work"]
    }
