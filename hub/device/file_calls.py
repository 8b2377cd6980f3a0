"""Reading of shared files for programs (``files.list``, ``files.read``): which files are refused.

A file that no agent of the hub gets is none for a program either: one that is hidden, ignored, a link,
outside of the shared folders, or whose text has a secret. What is read is logged before it is sent.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import Final

import msgspec
from anyio import from_thread, to_thread

from hub.device.connection import Tools
from hub.device.granted_calls import GrantedCalls
from hub.device.rows import CallRefusal
from hub.device.run_reading import Library, cut
from hub.device.sending_log import SendingOrder
from hub.device.shared import FileLocation, SharedFile, UnreadableFile, is_hard_link
from hub.text import pictures
from hub.text.files import PICTURES
from hub.text.quotations import has_others
from protocol.calls import (
    MAX_PAGE_BYTES,
    PART_BYTES,
    FileExcerpt,
    FilesList,
    FilesPage,
    FilesRead,
    ListedFile,
)
from protocol.errors import ErrorCode
from protocol.owner_grants import OwnerGrant
from protocol.skipped_files import SkippedFile, SkipReason
from protocol.tool_calls import Action, ToolCall
from protocol.work import RunConfig

_WHOLE_BYTES: Final = 2**31  # of a text that is not cut yet
_UNNAMED: Final = (  # reasons of files whose names no hub gets
    *(SkipReason.HIDDEN, SkipReason.KEY_FILE, SkipReason.VERSION_CONTROL, SkipReason.IGNORED),
    *(SkipReason.GENERATED, SkipReason.SECRET, SkipReason.MISSING),
)


class FileCalls(GrantedCalls):
    """Executor of the calls of one connection. *hub*: its public key, for the log."""

    at_once = 4  # they share the threads of runs

    def __init__(self, library: Library, tools: Tools, hub: str) -> None:
        super().__init__(tools)
        self._library = library
        self._hub = hub

    async def execute(self, call: ToolCall, granted: Mapping[str, Sequence[str]]) -> FilesPage | FileExcerpt:
        work = self._list if call.action is Action.FILES_LIST else self._read
        roots = granted[OwnerGrant.FILES_READ]
        try:
            return await to_thread.run_sync(work, call, roots, limiter=self._library.threads)
        except sqlite3.Error as error:
            message = f"the device cannot log what it sends: {error}; free space on its disk"
            raise CallRefusal(ErrorCode.DATABASE_UNAVAILABLE, message) from error

    def _list(self, call: ToolCall, roots: Collection[str]) -> FilesPage:
        asked = msgspec.convert(call.data, FilesList)
        files, skipped = self._below(asked.path, roots)
        if not files and any(f"{asked.path}/".startswith(f"{file.path}/") for file in skipped):
            raise _not_offered(asked.path, skipped)
        listed: list[ListedFile] = []
        size = 0
        for file in files[bisect_right(files, asked.after, key=attrgetter("path")) :]:
            entry = ListedFile(path=file.path, size_bytes=file.size_bytes, modified_ms=file.modified_ms)
            size += len(msgspec.json.encode(entry)) + 1
            if len(listed) >= min(call.limit, 1_000) or size > MAX_PAGE_BYTES:
                return FilesPage(files=listed, more=True)
            listed.append(entry)
        return FilesPage(files=listed, more=False)

    def _read(self, call: ToolCall, roots: Collection[str]) -> FileExcerpt:
        asked = msgspec.convert(call.data, FilesRead)
        file = self._file(asked.path, roots)
        try:
            text = self._library.contents.text(
                file, from_thread.check_cancelled, piece_bytes=_WHOLE_BYTES, escaped_bytes=_WHOLE_BYTES
            )
        except UnreadableFile as error:
            raise CallRefusal(ErrorCode.UNKNOWN_FILE, f"{asked.path} is not sent: {error}") from error
        (whole,) = text.pieces
        start = min(asked.offset or _start_of_line(whole, asked.line), len(whole))
        end = _after_lines(whole, start, asked.lines)
        content = cut(
            whole[start : min(end, start + PART_BYTES)], piece_bytes=PART_BYTES, escaped_bytes=PART_BYTES
        )[0]
        end = start + len(content)
        order = SendingOrder(self._hub, call.id, call.agent_id or "", asked.reader)
        self._library.log.sent(order, [(file.path, len(content.encode()), text.sha256)])
        self._library.on_status(f"read for {asked.reader or 'a program'}: {file.path}")
        return FileExcerpt(
            path=file.path,
            sha256=text.sha256,
            media_type=text.media_type,
            modified_ms=text.modified_ms,
            content=content,
            offset=start,
            line=whole.count("\n", 0, start) + 1,
            lines=whole.count("\n") + 1,
            characters=len(whole),
            next_offset=end if end < len(whole) else None,
            hidden=text.hidden,
            quotes=has_others(whole, start, end),
        )

    def _file(self, path: str, roots: Collection[str]) -> SharedFile:
        """Return a file that may be read. Raises Refusal."""
        found, skipped = self._below(path, roots)
        for file in found:
            if file.path == path:
                return file
        raise _not_offered(path, skipped)

    def _below(self, path: str, roots: Collection[str]) -> tuple[list[SharedFile], list[SkippedFile]]:
        """Return the files at a path or below it, and what is left out."""
        root, _, inside = path.partition("/")
        files, skipped = self._files(self._places(path, roots))
        if inside and any(is_hard_link(file) for file in skipped):  # other names may be in the shared folder
            files, skipped = self._files(self._places(root, roots))
            files = [file for file in files if f"{file.path}/".startswith(f"{path}/")]
        return files, skipped

    def _places(self, path: str, roots: Collection[str]) -> list[FileLocation]:
        places, _ = self._library.shared.places([path])
        return [place for place in places if place.root.name in roots]

    def _files(self, places: list[FileLocation]) -> tuple[list[SharedFile], list[SkippedFile]]:
        readable = PICTURES if pictures.is_installed() else ()
        check = from_thread.check_cancelled
        return self._library.shared.list_files(places, RunConfig(), None, check, readable=readable)


def _not_offered(path: str, skipped: Collection[SkippedFile]) -> CallRefusal:
    """Return the refusal of a path, which does not reveal whether a private file exists."""
    named = [file.reason for file in skipped if file.path == path]
    why = next((reason for reason in named if reason.partition(":")[0] not in _UNNAMED), "")
    return CallRefusal(ErrorCode.UNKNOWN_FILE, f"{path}: {why or 'no file is offered under this path'}")


def _start_of_line(text: str, line: int) -> int:
    """Return the offset of a line, which is the end of a text that has fewer lines."""
    start = 0
    for _ in range(min(line - 1, len(text))):
        start = text.find("\n", start) + 1
        if not start:
            return len(text)
    return start


def _after_lines(text: str, start: int, lines: int) -> int:
    end = start
    for _ in range(lines):
        end = text.find("\n", end) + 1
        if not end:
            return len(text)
    return end
