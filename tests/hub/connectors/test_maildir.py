"""Mails in a folder of the hub's machine: what is news, and what is not read."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from hub.base.clock import SystemClock
from hub.connectors import mime
from hub.connectors.calling import CursorLost, FileUnusable, Unread
from hub.connectors.catalogue import find
from hub.connectors.conformance import ConnectorConformance, Place
from hub.connectors.connector import Context, Cursor, Filter, Message, documents_of
from hub.connectors.maildir import Maildir, MaildirSettings
from hub.document import Document
from tests.support.clock import SeededChance

pytestmark = pytest.mark.anyio

MAIL = b"From: Ana <ana@example.org>\nSubject: %b\nMessage-ID: <%b@x>\n\nAnna must send the contract.\n"


class Box:
    """A folder with mails, and connectors to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = SystemClock()
        self.numbers = count()
        for part in ("cur", "new", "tmp"):
            (path / part).mkdir(parents=True)

    def put(self, subject: str, name: str = "", content: bytes | None = None) -> Path:
        raw = subject.encode()
        file = self.path / (name or f"new/{next(self.numbers)}.M1P1.host")
        file.write_bytes(MAIL % (raw, raw.replace(b" ", b".")) if content is None else content)
        return file

    def open(self, **settings: Any) -> Maildir:
        context = Context(account="box", clock=self.clock, chance=SeededChance(1), caller=None)  # type: ignore[arg-type]
        return Maildir(context, MaildirSettings(**({"path": self.path} | settings)), Filter())

    async def run(
        self, cursor: Cursor | None = None, **settings: Any
    ) -> tuple[Cursor | None, dict[str, tuple[Message, Document | Unread]]]:
        connector, found = self.open(**settings), {}
        async for page in connector.pages(cursor, self.clock.now() - timedelta(days=7)):
            cursor = page.cursor
            async for message, result in documents_of(connector, page.messages):
                found[message.subject or message.fault] = message, result
        return cursor, found


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "Maildir")


class TestMaildir(ConnectorConformance):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        box = Box(self.path / f"{len(os.listdir(self.path))}")

        async def arrive(subject: str) -> None:
            box.put(subject)

        yield Place(box.open, arrive, box.clock.now() - timedelta(days=1))


async def test_maildir_mail_is_read_with_head_and_flags_without_changing_files(box: Box) -> None:
    box.put("first")
    box.put("second", "cur/2.host:2,FS")
    before = sorted(one.relative_to(box.path) for one in box.path.rglob("*"))
    _, found = await box.run()
    message, result = found["first"]
    assert isinstance(result, Document) and result.text.endswith("Anna must send the contract.\n")
    assert (message.key, str(message.sender), message.is_unread) == (
        "mid:first@x",
        "Ana <ana@example.org>",
        True,
    )
    assert (found["second"][0].is_unread, message.is_verified, message.link) == (False, False, "mid:first@x")
    assert sorted(one.relative_to(box.path) for one in box.path.rglob("*")) == before
    assert find("maildir") is Maildir


async def test_renamed_maildir_mail_is_not_relisted_and_a_removed_mail_is_ignored(box: Box) -> None:
    first, second = box.put("first"), box.put("second")
    cursor, found = await box.run()
    assert set(found) == {"first", "second"}
    first.rename(box.path / "cur" / f"{first.name}:2,S")
    second.unlink()
    box.put("third")
    cursor, found = await box.run(cursor)
    assert set(found) == {"third"}


async def test_a_mail_renamed_or_removed_between_listing_and_reading_is_found_or_left_out(box: Box) -> None:
    first, second = box.put("first"), box.put("second")
    connector = box.open()
    async for page in connector.pages(None, box.clock.now() - timedelta(days=1)):
        first.rename(box.path / "cur" / f"{first.name}:2,RS")
        second.unlink()
        read = {message.subject: result async for message, result in connector.read(page.messages)}
    assert isinstance(read["first"], Document)
    assert isinstance(read["second"], Unread) and read["second"].is_removed


async def test_maildir_mail_with_new_flags_has_the_same_key_or_remains_excluded(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, old = box.put("first"), box.put("old")
    os.utime(old, (0, (box.clock.now() - timedelta(days=20)).timestamp()))
    cursor, before = await box.run()
    assert set(before) == {"first"}
    assert cursor is not None
    cursor["names"] = []  # as after a day
    first.rename(box.path / "cur" / f"{first.name}:2,S")
    old.rename(box.path / "cur" / f"{old.name}:2,S")
    _, after = await box.run(cursor)
    assert set(after) == {"first"}
    assert after["first"][0].seen_key == before["first"][0].seen_key


@pytest.mark.parametrize("hours", [-20, 20])
async def test_maildir_run_after_a_clock_change_lists_new_mail(box: Box, hours: int) -> None:
    box.put("first")
    cursor, _ = await box.run()
    assert cursor is not None
    cursor["at"] += hours * 3_600
    box.put("second")
    assert set((await box.run(cursor))[1]) == {"second"}


async def test_maildir_drafts_and_trash_are_omitted_until_the_flag_is_removed(box: Box) -> None:
    draft = box.put("draft", "cur/1.host:2,DS")
    box.put("trash", "cur/2.host:2,T")
    box.put("hidden", "cur/.3.host")
    cursor, found = await box.run()
    assert found == {}
    draft.rename(box.path / "cur" / "1.host:2,S")
    assert set((await box.run(cursor))[1]) == {"draft"}


async def test_maildir_links_and_special_files_are_refused_and_other_mails_listed(
    box: Box, tmp_path: Path
) -> None:
    outside = tmp_path / "secret"
    outside.write_text("Subject: secret\n\nx\n")
    (box.path / "new" / "1.link").symlink_to(outside)
    os.mkfifo(box.path / "new" / "2.pipe")
    (box.path / "new" / "3.folder").mkdir()
    box.put("good")
    cursor, found = await box.run()
    assert set(found) == {"new/1.link: a link, which is not followed", "new/2.pipe: it is no file", "good"}
    assert all(isinstance(result, Unread) == bool(message.fault) for message, result in found.values())
    assert (await box.run(cursor))[1] == {}
    (box.path / "new").rename(tmp_path / "elsewhere")
    (box.path / "new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileUnusable, match=r"new cannot be read here: .*; a link is not followed"):
        await box.run()


async def test_maildir_folder_replaced_by_a_symlink_before_reading_is_refused(
    box: Box, tmp_path: Path
) -> None:
    mail = box.put("first")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / mail.name).write_text("Subject: secret\n\nx\n")
    connector = box.open()
    async for page in connector.pages(None, box.clock.now() - timedelta(days=1)):
        (box.path / "new").rename(tmp_path / "aside")
        (box.path / "new").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(FileUnusable, match="a link is not followed"):
            await anext(connector.read(page.messages))


async def test_folder_of_eml_files_is_read_and_a_missing_folder_is_named(tmp_path: Path) -> None:
    box = Box(tmp_path / "x")
    folder = tmp_path / "mails"
    folder.mkdir()
    (folder / "a.EML").write_bytes(MAIL % (b"first", b"first"))
    (folder / "notes.txt").write_text("no mail")
    cursor, found = await box.run(path=folder)
    assert set(found) == {"first"}
    assert (await box.open(path=folder).check()).detail == "mails: 1"
    missing = tmp_path / "missing"
    for run in (box.run(path=missing), box.run(cursor, path=missing), box.open(path=missing).check()):
        with pytest.raises(FileUnusable, match="missing cannot be read here: No such file or directory"):
            await run
    assert "No such file" in (MaildirSettings(path=missing).problem_of_files() or "")
    assert MaildirSettings(path=folder).problem_of_files() is None
    with pytest.raises(CursorLost):
        await box.run({"at": "x"})


async def test_unreadable_maildir_mail_is_reported_as_unread(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mime, "MAX_BYTES", 1_000)
    box.put("large", content=MAIL % (b"large", b"large") + b"x" * 1_000)
    box.put("tangled", content=MAIL.replace(b"\n\n", b"\n" + b"Content-Type: multipart/x\n" * 200 + b"\n"))
    _, found = await box.run()
    results = [result for _, result in found.values()]
    assert all(isinstance(result, Unread) for result in results) and len(results) == 2


async def test_a_mail_without_an_id_has_the_same_key_under_each_name(box: Box) -> None:
    box.put("first", content=b"Subject: first\n\nx\n")
    (key,) = [message.key for message, _ in (await box.run())[1].values()]
    assert key.startswith("maildir:")
    (box.path / "new" / "0.M1P1.host").rename(box.path / "cur" / "0.M1P1.host:2,S")
    assert [message.key for message, _ in (await box.run())[1].values()] == [key]
