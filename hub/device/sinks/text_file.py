"""Sink to a text file: rows are spliced in, other bytes stay, links and modes are kept."""

import errno
import os
import re
import stat
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from hub.base.dates import DAY
from hub.base.system.files import copy_access, stamp_of_file
from hub.base.system.folders import Folder, enter, without_links
from hub.device.sinks.near_files import files_near
from hub.device.sinks.recognition import other_format
from hub.device.sinks.target import (
    Found,
    Snapshot,
    TargetChanged,
    Unconfirmed,
    Written,
    WrongPlace,
    is_archived,
)
from hub.text.quotations import others_at
from hub.text.rows.row import Fields, LateFields, Put, TargetFailed
from hub.text.rows.row_format import Format, Piece
from protocol.calls import PlaceProblem
from protocol.tables import DeviceTable

LINKS = "links"  # matters of Unconfirmed, this with the number of names and the inode
OWNER = "owner"
MODE = "mode"
FORMAT = "format"
DATE = "{date}"  # in a path: the day on which a row is first written
_KEY = re.compile(r"hub-[a-z2-7]{16}(?![a-z0-9])")
_MAX_BYTES = 64 * 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Who can give a new file the owner or the group of the old one, besides root.
_RIGHTS = {"owner": "this owner", "group": "a member of this group"}


def read_back(form: Format, table: DeviceTable, fields: Fields) -> Fields:
    """Return the fields that are read from a text to which *fields* were written."""
    text = form.insert("", Put("hub-", table, fields, "", 0))
    return next(iter(form.pieces(text, {"hub-": table}))).fields


def spliced(
    form: Format,
    text: str,
    puts: Sequence[Put],
    removals: Collection[str],
    tables: Mapping[str, DeviceTable],
) -> str:
    """Return the text with rows in place of those with the same keys, or at its end, and without others."""
    waiting = {put.key: put for put in puts}
    parts, at, is_quoted = [], 0, _quoted_in(form, text)
    changed = {key: tables[key] for key in (*waiting, *removals) if key in tables}
    for piece in form.pieces(text, changed):
        if is_quoted is not None and is_quoted(piece.start):
            continue
        if (put := waiting.pop(piece.key, None)) is None and piece.key not in removals:
            continue  # a copy of the row
        parts += [text[at : piece.start], "" if put is None else form.rendered(put, text, piece)]
        at = piece.end
    text = "".join([*parts, text[at:]])
    for put in waiting.values():
        text = form.insert(text, put)
    return text


def _quoted_in(form: Format, text: str) -> Callable[[int], bool] | None:
    """Return ``others_at`` of a place's own file; a title in a todo.txt may begin as a quotation."""
    return None if form.kind == "todo.txt" else others_at(text, is_own=True)


def _first_piece(form: Format, source: str, key: str, table: DeviceTable) -> Piece:
    """Return the row of a key in its own text, which is parsed by need and not kept."""
    return next(iter(form.pieces(source, {key: table})))


def _fields_of(read: Callable[[], Piece]) -> Fields:
    return read().fields


def _former_of(read: Callable[[], Piece]) -> Fields:
    return read().former


class TextFile:
    """Target that is one file, or one for each day."""

    def __init__(self, path: Path, form: Format) -> None:
        self._path = str(path)
        self._form = form
        # keys that a file near this one did not have, and its stamp then, by its path
        self._without: dict[str, tuple[Hashable, frozenset[str]]] = {}
        self._strays: dict[str, Found] = {}  # of the last search
        # keys that the last search did not find for certain, and the files that it read, with their stamp
        self._not_found: tuple[frozenset[str], Collection[str], Hashable] = (frozenset(), (), None)

    def fresh_place(self, now: datetime) -> str:
        return self._path.replace(DATE, now.astimezone().date().isoformat())

    def owns(self, place: str) -> bool:
        head, is_daily, tail = self._path.partition(DATE)
        day = place[len(head) : len(place) - len(tail)]
        is_of_days = place.startswith(head) and place.endswith(tail) and DAY.fullmatch(day) is not None
        return is_of_days if is_daily else place == self._path

    def link(self, place: str, key: str) -> str:
        return ""

    def expressed(self, table: DeviceTable, fields: Fields) -> Fields:
        return read_back(self._form, table, fields)

    def examine(self, place: str, tables: Collection[DeviceTable], agreed: Collection[str]) -> None:
        text = text_in(place, content_of(Path(place))[0], self._form.newline)[0]
        require_writable(Path(place), {(place, matter) for matter in agreed})
        if FORMAT not in agreed and (what := other_format(text, self._form.kind)):
            raise Unconfirmed(place, FORMAT, what)

    def try_to_write(self, place: str) -> None:
        """Write the file as it is, and take that back. Raises TargetFailed: it cannot be written."""
        before, _ = content_of(Path(place))
        replace_content(Path(place), before, before or b"\n", is_trial=True)

    def stamp(self, places: Collection[str]) -> Hashable:
        return tuple(stamp_of_file(Path(place)) for place in sorted(places))

    def read(self, places: Collection[str], tables: Mapping[str, DeviceTable]) -> Snapshot:
        """Return the rows, of the file and of the newest day first; see ``Target.read``.

        A place to which rows were moved, and that cannot be read, counts as missing.
        """
        lines: dict[str, list[Found]] = {}
        contents: dict[str, bytes | None] = {}
        unreadable: dict[str, str] = {}
        for place in sorted(places, key=lambda place: (self.owns(place), place), reverse=True):
            try:
                contents[place], at_ms = content_of(Path(place))
                text = text_in(place, contents[place], self._form.newline)[0]
            except TargetFailed:
                if self.owns(place):
                    raise
                contents[place], at_ms, text = None, 0, ""
            line, at = 1, 0
            is_by_others = _quoted_in(self._form, text) if self.owns(place) else others_at(text)
            for piece in self._form.pieces(text, tables):
                line, at = line + text.count("\n", at, piece.start), piece.start
                source = piece.context + text[piece.start : piece.end]
                read_again = partial(_first_piece, self._form, source, piece.key, tables[piece.key])
                fields = LateFields(partial(_fields_of, read_again))
                has_former = isinstance(piece.former, LateFields)
                former = LateFields(partial(_former_of, read_again)) if has_former else piece.former
                is_stray = is_by_others is not None and is_by_others(piece.start)
                row = Found(fields, place, at_ms, former, line, source, is_stray)
                lines.setdefault(piece.key, []).append(row)
            line, at = 1, 0
            for key in _KEY.finditer(text):
                if key[0] in tables and key[0] not in lines:
                    line, at = line + text.count("\n", at, key.start()), key.start()
                    where = f"{place}:{line}"
                    unreadable[key[0]] = f"{where}: the key of an item in no item: mend or delete it"
        found = {key: several[0] for key, several in lines.items()}
        copies = {key: several for key, several in lines.items() if len(several) > 1}
        missing = {place for place, content in contents.items() if not content or not content.strip()}
        strays = {key: row for key, row in self._strays.items() if key in tables}
        return Snapshot(found, missing, contents, tables, unreadable, copies=copies, strays=strays)

    def search(self, snapshot: Snapshot, lost: Mapping[str, str], others: Collection[str]) -> Snapshot:
        """Return the snapshot with *lost* rows that are in files near the file; see ``SearchingTarget``.

        A file in which most rows are still at their own places is a copy: no row was moved there. The notes
        of days earlier than that of a row count last.
        """
        left, found, contents = {*lost}, dict[str, Found](), {**snapshot.contents}
        earlier, strays = dict[str, Found](), dict[str, Found]()
        folder = Path(f"{self._path.partition(DATE)[0]}_").parent
        near = files_near(folder, Path(self._path).suffix)
        near.sort(key=lambda place: place if self.owns(place) else "", reverse=True)
        searched = {*near} - {*others, *filter(self.owns, snapshot.contents)}
        stamp_before = self.stamp(searched)
        self._without = {place: self._without[place] for place in self._without.keys() & {*near}}
        for place in near:
            is_own = self.owns(place)
            if not left or place in others or (place in snapshot.contents and is_own):
                continue
            stamp = stamp_of_file(Path(place))
            seen, without = self._without.get(place, (None, frozenset[str]()))
            if seen == stamp and left <= without:
                continue
            with suppress(TargetFailed):
                content, at_ms = content_of(Path(place))
                text = text_in(place, content, self._form.newline)[0]
                if left.isdisjoint(_KEY.findall(text)):
                    self._without[place] = stamp, frozenset(left)
                    continue
                rows, is_by_others = dict[str, Found](), others_at(text)
                for piece in self._form.pieces(text, snapshot.tables):
                    line = text.count("\n", 0, piece.start) + 1
                    row = Found(piece.fields, place, at_ms, piece.former, line)
                    is_stray = is_by_others is not None and is_by_others(piece.start)
                    (strays if is_stray else rows)[piece.key] = row
                lost_here = left & rows.keys()
                here = rows.keys() & snapshot.found.keys()
                stays = [key for key in here if not is_archived(self, place, rows[key].fields)]
                if is_own or len(stays) <= len(lost_here):
                    contents[place] = content
                    of_earlier = {key for key in lost_here if is_own and place < lost[key]}
                    earlier = {key: rows[key] for key in of_earlier} | earlier
                    found |= {key: rows[key] for key in lost_here - of_earlier}
                    left -= found.keys()
        moved = {
            key
            for key, row in found.items()
            if self.owns(row.place) or is_archived(self, row.place, row.fields)
        }
        self._not_found = frozenset(lost.keys() - moved), searched, stamp_before
        found = {**snapshot.found, **earlier, **found}
        self._strays = {key: row for key, row in strays.items() if key in lost.keys() - found.keys()}
        return snapshot._replace(found=found, contents=contents, strays=self._strays)

    def was_searched(self, keys: Collection[str]) -> bool:
        not_found, searched, stamp = self._not_found
        return not keys or (not_found.issuperset(keys) and self.stamp(searched) == stamp)

    def write(
        self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]
    ) -> Mapping[str, Written]:
        for place, before in snapshot.contents.items():
            here = [put for put in puts if put.place == place]
            removals = {
                key for key in removed if key in snapshot.found and snapshot.found[key].place == place
            }
            if not here and not removals:
                continue
            text, newline = text_in(place, before, self._form.newline)
            text = spliced(self._form, text, here, removals, snapshot.tables)
            content, note = bytes_of(text, newline, before), partial(snapshot.note, here)
            replace_content(Path(place), before, content, snapshot.agreed, note)
        return {}


def content_of(path: Path) -> tuple[bytes | None, int]:
    """Return the bytes of a file and when it was changed, in epoch ms; None if there is no file.

    Raises:
        TargetFailed: it cannot be read, is too large, or is reached by a symbolic link.
    """
    try:
        with _folder_of(path) as folder:
            info = folder.stat(path.name)
            if stat.S_ISDIR(info.st_mode):
                what = f"{path}: is a folder: write the path of a file in it"
                raise WrongPlace(what)
            if not stat.S_ISREG(info.st_mode):
                raise WrongPlace(f"{path}: is a pipe or a device: write the path of a file")
            if info.st_size > _MAX_BYTES:
                what = f"{path}: is larger than {_MAX_BYTES >> 20} MiB: write the path of a smaller file"
                raise TargetFailed(what, PlaceProblem.UNREADABLE)
            with open(folder.open_file(path.name), "rb") as file:
                return file.read(), info.st_mtime_ns // 1_000_000
    except FileNotFoundError:
        if not os.path.isdir(path.parent):  # False also where a name is too long
            what = f"there is no folder {path.parent}: items follow once it is made, or back"
            raise TargetFailed(what, PlaceProblem.UNREACHABLE) from None
        return None, 0
    except OSError as error:
        raise TargetFailed(f"{path}: {error.strerror}", PlaceProblem.UNREADABLE) from error


def require_writable(path: Path, agreed: Collection[tuple[str, str]]) -> None:
    """Check that a file is no write-protected one, before it is replaced for the first time.

    Raises:
        Unconfirmed: it is, and its owner has not agreed.
    """
    with suppress(OSError):
        mode = path.stat().st_mode
        if not mode & 0o222 and (str(path), MODE) not in agreed:
            raise Unconfirmed(str(path), MODE, f"it is write-protected (mode {stat.S_IMODE(mode):04o})")


def _folder_of(path: Path) -> Folder:
    """Open the folder of a file. Raises OSError if the file or a folder above is a link of any account."""
    return enter(str(Path(without_links(str(path))).parent), lists=False)


def text_in(place: str, content: bytes | None, newline: str) -> tuple[str, str]:
    """Return a text with line feeds and without its byte order mark, and how its lines end, or *newline*.

    A carriage return that ends no line, or some lines only, stays in the text: other bytes never change.
    """
    try:
        text = (content or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        what = f"{place}:{line}: is not UTF-8; nothing is written there"
        raise TargetFailed(what, PlaceProblem.UNREADABLE) from None
    plain = text.replace("\r\n", "\n")
    if "\n" not in plain:
        return text, newline
    return (plain, "\r\n") if plain.replace("\n", "\r\n") == text else (text, "\n")


def bytes_of(text: str, newline: str, before: bytes | None) -> bytes:
    """Return the bytes of a changed text, with the mark at its start that the file had *before*."""
    mark = BOM_UTF8 if (before or b"").startswith(BOM_UTF8) else b""
    return mark + text.replace("\n", newline).encode()


class _TakenBack(Exception):
    """End of a trial, before the old file is replaced."""


def replace_content(
    path: Path,
    before: bytes | None,
    content: bytes,
    agreed: Collection[tuple[str, str]] = (),
    note: Callable[[int], None] = lambda inode: None,
    *,
    is_trial: bool = False,
) -> None:
    """Replace the content of a file, but of no link; it keeps its owner, group, mode and access list.

    Args:
        agreed: place and matter of each ``Unconfirmed`` that the owner has agreed to.
        note: called before the exchange, with the inode of the new file, which is left if that fails.
        is_trial: write all next to the old file, which stays.

    Raises:
        TargetChanged: the file has other content than *before*.
        Unconfirmed: it would lose its owner, its group or another name.
        TargetFailed: it cannot be written.
    """

    def check(inode: int) -> bool:
        if content_of(path)[0] != before:
            raise TargetChanged(f"{path}: another program changed it just now")
        note(inode)
        return True

    try:
        with _folder_of(path) as folder, ExitStack() as opened:
            old: int | None = None
            with suppress(FileNotFoundError):
                old = folder.open_file(path.name)
                opened.callback(os.close, old)
            info = None if old is None else os.fstat(old)
            # The consent is for these names of this file.
            links = "" if info is None else f"{LINKS} {info.st_nlink} {info.st_ino}"
            if info is not None and info.st_nlink > 1 and (str(path), links) not in agreed:
                names = f"it has {info.st_nlink} names (hard links): the others would keep the old text"
                raise Unconfirmed(str(path), links, names)
            mode = 0o600 if info is None else stat.S_IMODE(info.st_mode)
            with folder.replacing(path.name, mode=mode, check=check) as file:
                lost = [] if old is None else copy_access(old, file.fileno())
                opened.close()  # Windows replaces no open file
                if lost and (str(path), OWNER) not in agreed:
                    able = " who is ".join(_RIGHTS[name] for name in lost if name in _RIGHTS)
                    keepers = f"root, or {able}," if able else "root"
                    what = f"it would lose its {' and '.join(lost)}: only {keepers} can keep that"
                    raise Unconfirmed(str(path), OWNER, what)
                file.write(content)
                if is_trial:
                    file.flush()
                    raise _TakenBack
    except _TakenBack:
        return
    except OSError as error:
        why = PlaceProblem.FULL if error.errno in _FULL else PlaceProblem.READ_ONLY
        raise TargetFailed(f"{path}: cannot be written: {error.strerror}", why) from error
