"""Maildir connector: mails in a folder of this machine, and detection of new ones.

A mail in a Maildir is a file that is never changed, but renamed when its flags change; the name before ``:``
stays. The kernel's time of a change (ctime) is set by each delivery, move and rename, so files changed since
the last reading are listed. The cursor has digests of the names of a day. So a clock that was set back makes
no difference, nor does a rename in that day. An older mail that is renamed is listed again under its key.

Only files in the folder itself are read: no links, no devices. Nothing is marked as read.
"""

import errno
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from anyio import to_thread
from pydantic import Field

from hub.base.toml.values import SettingsPath
from hub.connectors.calling import FileUnusable, Unread
from hub.connectors.connector import (
    PAGE_MESSAGES,
    Account,
    Auth,
    Connector,
    Context,
    Cursor,
    Message,
    Page,
    ProviderSettings,
    read_cursor,
)
from hub.connectors.mime import MAX_BYTES, Letters, message_key, mid_link, read_head
from hub.document import Document
from hub.text.files import NotConvertible

MAX_KNOWN: Final = 3_500  # digests in a cursor
MAX_HEAD_BYTES: Final = 256 * 1024
OVERLAP: Final = timedelta(days=1)
_NEW, _CUR = "new", "cur"
_MAIL: Final = ".eml"


class MaildirSettings(ProviderSettings):
    """Table ``settings`` of a connector of the provider maildir."""

    path: SettingsPath = Field(
        description="A Maildir (with cur and new), or a folder of .eml files, on the hub's machine."
    )
    authserv_id: str | None = Field(
        default=None,
        description="Name with which the own server's Authentication-Results begin; without it no sender is"
        " verified.",
    )

    def problem_of_files(self) -> str | None:
        """Return why this node cannot read the folder, or None."""
        try:
            for part in _parts(self.path):
                with _opened(self.path, part):
                    pass
        except FileUnusable as error:
            return str(error)
        return None


class MaildirLocation(msgspec.Struct, frozen=True, array_like=True):
    """Location of a mail when it was listed; *name*: the part of its name that stays."""

    part: str
    file: str
    name: str


class MaildirCursor(msgspec.Struct, frozen=True):
    """Cursor: all files changed before *at* were listed, and those with a name in *names*.

    *since*: mails received earlier were left out, and stay so.
    """

    at: float
    since: float
    names: tuple[str, ...] = ()


class MaildirFile(msgspec.Struct, frozen=True, order=True):
    """File of a mail, ordered by the time of its change. *received*: time of its content, epoch seconds."""

    changed: float
    part: str
    file: str
    received: float
    size: int

    @property
    def name(self) -> str:
        """Return the part of the name that stays when flags change."""
        return _name(self.file)

    @property
    def mark(self) -> str:
        """Return a digest of the name."""
        return hashlib.sha256(os.fsencode(self.name)).hexdigest()[:12]

    @property
    def flags(self) -> str:
        """Return the flags in the name, as in ``RS``."""
        return self.file.partition(":2,")[2]

    @property
    def is_discarded(self) -> bool:
        """True for a draft, and for a mail in the trash."""
        return bool(set("TD") & set(self.flags))


class Maildir(Connector):
    """Mails in one folder."""

    provider = "maildir"
    auth = Auth.NONE
    settings_model = MaildirSettings

    settings: MaildirSettings

    def __init__(self, context: Context, settings: Any, filter: Any) -> None:
        super().__init__(context, settings, filter)
        self._letters = Letters(self.filter)

    @classmethod
    def origin(cls, settings: MaildirSettings) -> str:
        return f"{cls.provider} {settings.path}"

    async def check(self) -> Account:
        listed = await to_thread.run_sync(_list, self.settings.path)
        return Account(name=str(self.settings.path), detail=f"mails: {len(listed):,}")

    async def pages(self, cursor: Cursor | None, since: datetime) -> AsyncGenerator[Page]:
        start = (
            MaildirCursor(at=0.0, since=since.timestamp())
            if cursor is None
            else read_cursor(cursor, MaildirCursor)
        )
        overlap, now = OVERLAP.total_seconds(), self.context.clock.now().timestamp()
        at = min(start.at, now)  # a clock that was set back may have left times in the future
        seen = frozenset(start.names)
        listed = await to_thread.run_sync(_list, self.settings.path)
        recent = [entry for entry in listed if entry.changed >= at - overlap and not entry.is_discarded]
        new = [file for file in recent if file.mark not in seen and file.received >= start.since]
        passed = {file.mark: file.changed for file in recent if file.mark in seen}
        for begin in range(0, max(1, len(new)), PAGE_MESSAGES):
            some = new[begin : begin + PAGE_MESSAGES]
            messages = await to_thread.run_sync(self._messages, some)
            passed |= {file.mark: file.changed for file in some}
            at = min(now, max([at, *(file.changed for file in some)]))
            names = sorted((changed, mark) for mark, changed in passed.items() if changed >= at - overlap)
            known = MaildirCursor(at, start.since, tuple(mark for _, mark in names[-MAX_KNOWN:]))
            yield Page(messages=messages, cursor=msgspec.to_builtins(known), is_backfill=cursor is None)

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        for message in messages:
            try:
                data = await to_thread.run_sync(
                    self._content, msgspec.convert(message.place, MaildirLocation)
                )
                letter = None if data is None else await self._letters.in_mail(data)
            except (NotConvertible, OSError) as error:
                yield message, Unread(reason=str(error))
                continue
            if data is None or letter is None:
                yield message, Unread(reason="it was removed", is_removed=True)
                continue
            digest = hashlib.sha256(data).hexdigest()
            yield message, await self._letters.document(message, letter, digest)

    # --- files; in worker threads ---

    def _messages(self, listed: Sequence[MaildirFile]) -> tuple[Message, ...]:
        """Return the messages of the files that are mails and still exist."""
        found = []
        for entry in listed:
            try:
                head = self._content(MaildirLocation(entry.part, entry.file, entry.name), MAX_HEAD_BYTES)
            except OSError as error:
                found.append(self._faulty(entry, error))
                continue
            if head is not None:  # else it was removed
                found.append(self._message(entry, head))
        return tuple(found)

    def _message(self, file: MaildirFile, data: bytes) -> Message:
        head = read_head(data)
        digest = hashlib.sha256(data).hexdigest()
        location = MaildirLocation(file.part, file.file, file.name)
        return Message(
            key=message_key(head.message_id, f"maildir:{digest}"),
            copy=file.mark,
            place=msgspec.to_builtins(location),
            received_at=datetime.fromtimestamp(file.received, UTC),
            size_bytes=file.size,
            is_unread=file.part == _NEW or "S" not in file.flags,
            is_verified=head.is_verified(self.settings.authserv_id),
            link=mid_link(head.message_id),
            **head.fields(),
        )

    def _faulty(self, one: MaildirFile, error: OSError) -> Message:
        why = "a link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        name = one.file.encode("utf-8", "replace").decode()
        key, fault = f"maildir:name:{one.mark}", f"{one.part}/{name[:200]}: {why}".lstrip("/")
        if error.errno in (errno.ELOOP, errno.EINVAL):  # a link, or no file
            return Message(key=key, fault=fault)
        place = msgspec.to_builtins(MaildirLocation(one.part, one.file, one.name))
        return Message.refused(key, Unread(reason=fault), place=place)

    def _content(self, place: MaildirLocation, most: int = MAX_BYTES + 1) -> bytes | None:
        """Return the content of a mail under its present name, or None if it was removed."""
        folder = self.settings.path
        with suppress(FileNotFoundError):
            return _read(folder, place.part, place.file, most)
        for listed in _list(folder):
            if listed.name == place.name:
                with suppress(FileNotFoundError):
                    return _read(folder, listed.part, listed.file, most)
        return None


def _name(file: str) -> str:
    return file if file.lower().endswith(_MAIL) else file.partition(":")[0]


def _parts(folder: Path) -> tuple[str, ...]:
    return (_NEW, _CUR) if os.path.lexists(folder / _CUR) else ("",)


@contextmanager
def _opened(folder: Path, part: str) -> Iterator[int]:
    """Open a part of the folder, which is no link, so that files in it cannot be elsewhere.

    Raises:
        FileUnusable: this node cannot read it.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if part else 0)
    try:
        opened = os.open(folder / part, flags)
    except OSError as error:
        why = f"{error.strerror}; a link is not followed"
        raise FileUnusable(f"{folder / part} cannot be read here: {why}") from error
    try:
        yield opened
    finally:
        os.close(opened)


def _list(folder: Path) -> list[MaildirFile]:
    """Return the files of all mails, the earliest change first; a mail that was moved meanwhile once."""
    found: dict[str, MaildirFile] = {}
    for part in _parts(folder):
        with _opened(folder, part) as opened, os.scandir(opened) as entries:
            for entry in entries:
                is_mail = entry.name[:1] != "." and (part or entry.name.lower().endswith(_MAIL))
                with suppress(FileNotFoundError):
                    if is_mail and not entry.is_dir(follow_symlinks=False):
                        about = entry.stat(follow_symlinks=False)
                        one = MaildirFile(about.st_ctime, part, entry.name, about.st_mtime, about.st_size)
                        found[one.name] = one
    return sorted(found.values())


def _read(folder: Path, part: str, file: str, most: int) -> bytes:
    """Return the first bytes of a regular file. Raises OSError for links, and for other kinds of files."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _opened(folder, part) as within, os.fdopen(os.open(file, flags, dir_fd=within), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        return opened.read(most)
