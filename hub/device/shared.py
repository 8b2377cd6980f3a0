"""Shared folders: which folders may be shared, which files agents may read, safe opening of files.

A folder is shared by its real path; the whole disk is refused. Every file is opened from ``/`` one component
at a time, each relative to the previous one and never through a symbolic link (``hub.base.system.folders``).
Checking a path before opening it can be raced by any process that may write in the folder; this walk cannot
(measured: 84 escapes in 4 s against none in 436,000 attempts).

On the wire, a file is named by its root's name and its relative path, such as ``notes/monday.md``. The name
of a root is permanent and stored in the device's file, because the hub stores its progress by file name
(``DeviceStore.name_roots``).

All functions block.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from hub.base.printable import shell_word
from hub.base.system.folders import (
    Folder,
    enter,
    is_hidden,
    is_link,
    is_same_name,
    name_in,
    real_path,
    slashed,
    spelled_for_system,
)
from hub.device.digests import Digests, Stamp, stamp_of
from hub.device.exclusion import (
    OWN_PATTERNS,
    STATE,
    BadIgnoreFile,
    IgnoreRules,
    Patterns,
    generated_by,
    state_files,
    why_private,
)
from hub.device.folder_watch import FolderWatch
from hub.device.secret_scan import secret_names
from hub.text.files import AUDIO, PICTURES, media_type_of
from hub.text.pictures import TO_ADD_OCR
from protocol.skipped_files import SkippedFile, SkipReason
from protocol.work import MANY, RunConfig, RunLimits

MAX_FILE_BYTES: Final = 16 * 1024 * 1024  # larger files are not documents; one file is in memory at a time
MAX_ROOTS: Final = 64  # in a hello
MAX_ROOT: Final = 1_024  # characters of one root
_MAX_ROOT_CHARACTERS: Final = 2_048  # characters of all roots: a hello is limited to 16 KiB
_MAX_DEPTH: Final = 48  # levels of folders below a root; each holds a descriptor during the walk
_MAX_LISTED: Final = 1_000_000  # files in one listing, as many as a hub accepts; about 300 bytes each
_MAX_PATH: Final = 4096  # characters, by the protocol
_CHECKED_EVERY: Final = 100  # files between two checks for a cancelled listing
_JOINED: Final = 20  # names of folders, of which some may be words of one

# Extensions of files without text. They are excluded before a run's limits are counted; otherwise a folder of
# photos would use up the limits before any note is read. An agent that names such an extension gets its files
# if this device or the hub can convert them. Extensions that are also used for text (.ts, .doc) are missing:
# such files are opened.
NO_TEXT: Final = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".heif", ".avif"),
    *(".ico", ".icns", ".jp2", ".jxl", ".psd", ".xcf", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".rw2"),
    *(".mp3", ".m4a", ".m4b", ".aac", ".wav", ".flac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff"),
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv", ".mpg", ".mpeg", ".3gp", ".ogv"),
    *(".zip", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".lz4", ".7z", ".rar", ".tar"),
    *(".iso", ".dmg", ".img", ".vhd", ".vhdx", ".vmdk", ".vdi", ".qcow2"),
    *(".deb", ".rpm", ".apk", ".jar", ".whl", ".exe", ".dll", ".msi", ".dylib", ".pyc", ".wasm"),
    *(".sqlite", ".sqlite3", ".parquet", ".ttf", ".otf", ".woff", ".woff2"),
)

Check = Callable[[], None]  # called regularly; raises to cancel the work


class UnreadableFile(Exception):
    """File that is not sent; *reason* and *detail* say why."""

    def __init__(self, reason: SkipReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


@dataclass(frozen=True)
class Root:
    """Shared folder.

    Attributes:
        name: name on the wire; without a slash.
        path: absolute path, without symbolic links at the time of its declaration.
        spelling: absolute path as its owner wrote it.
    """

    name: str
    path: str
    spelling: str


class SharedFile(msgspec.Struct, frozen=True, gc=False):
    """File found by the walk.

    Attributes:
        path: name on the wire.
        parts: path components below the root.
        inode: device and inode of a file with several hard links; otherwise None.
        links: number of hard links.
        sha256: kept digest, if the file is unchanged since it was made.
    """

    path: str
    root: Root
    parts: tuple[str, ...]
    size_bytes: int
    modified_ms: int
    inode: tuple[int, int] | None = None
    links: int = 1
    sha256: bytes | None = None

    @property
    def folder(self) -> str:
        """Absolute path of the folder that contains the file."""
        return _folder_at(self.root, self.parts[:-1])


class LeftOut(NamedTuple):
    """File or folder that is not offered, and is not named to a hub either, unless an agent asks for it.

    Attributes:
        path: absolute path.
        detail: the rule, for its owner.
    """

    path: str
    reason: SkipReason
    detail: str = ""


class _Excluded(Exception):
    """Folder that is not offered; *seen* is what a listing has instead of its files."""

    def __init__(self, seen: LeftOut | SkippedFile) -> None:
        self.seen = seen


@dataclass(frozen=True)
class FileLocation:
    """Part of a root that an agent may read; *asked* is the requested path. Without parts, the whole root."""

    root: Root
    parts: tuple[str, ...]
    asked: str


class _FileFilter(NamedTuple):
    """Files that an agent reads: extensions (all files if empty), and readable media types without text."""

    endings: tuple[str, ...]
    readable: Collection[str]

    @classmethod
    def of(cls, config: RunConfig, readable: Collection[str]) -> "_FileFilter":
        """Return the filter of an agent."""
        return cls(tuple(_ending(extension) for extension in config.file_extensions), readable)

    def why_not(self, name: str) -> str:
        """Return why a file whose extension is one without text is not read; empty if it is."""
        kind = media_type_of(name)
        if kind not in AUDIO | PICTURES:
            return "its ending says that it holds no text"
        if not self.endings:
            return "such files are read only for an agent whose file_extensions name their ending"
        if kind in self.readable:
            return ""
        if kind in AUDIO:
            return "a recording needs [transcription] in the settings of the hub"
        return f"a picture of text needs the extra [ocr]: {TO_ADD_OCR}"


def _joined(words: Sequence[Path]) -> str:
    """Return a hint if some words in a row are the name of a folder, typed without quotes; else nothing."""
    words = words[:_JOINED]
    ends = [(first, end) for first in range(len(words)) for end in range(first + 2, len(words) + 1)]
    names = (" ".join(map(str, words[first:end])) for first, end in ends)
    name = next(filter(os.path.isdir, names), None)
    return "" if name is None else f"; put the name of a folder with blanks in quotes: {shell_word(name)}"


def declare(folders: Sequence[Path]) -> list[tuple[str, str]]:
    """Return shared folders as (path, said) of ``Root``, without duplicates.

    Raises:
        ValueError: a path is not a folder, is the whole disk, or is not UTF-8.
    """
    declared: dict[str, str] = {}
    for folder in folders:
        spelling = slashed(os.path.abspath(os.path.expanduser(folder)))
        path = real_path(spelling)
        if not os.path.isdir(path):
            raise ValueError(f"{folder} is not a folder{_joined(folders)}")
        if os.path.dirname(path) == path:
            raise ValueError("the whole disk cannot be shared; name a folder")
        if not _is_utf8(path):
            raise ValueError(f"the name of {path!r} is not UTF-8")
        declared[path] = spelling
    return list(declared.items())


def root_spellings(declared: Sequence[tuple[str, str]], home: str) -> list[str]:
    """Return the shared folders as agents' paths may spell them: below the owner's home with ``~``.

    Returns all of them, or none if they exceed a hello's limits: a hub warns of paths outside of them.
    """
    home = slashed(home)
    spellings: dict[str, None] = {}
    for folder in (form for both in declared for form in both):
        for own in (home, real_path(home)):
            if folder == own or _below(folder, own):
                spellings[f"~{folder[len(own) :]}"] = None
                break
            if _below(own, folder):
                spellings["~"] = None
        else:
            spellings[folder] = None
    is_little = (
        len(spellings) <= MAX_ROOTS
        and sum(map(len, spellings)) <= _MAX_ROOT_CHARACTERS
        and all(map(_is_utf8, spellings))
    )
    return list(spellings) if is_little and all(len(root) <= MAX_ROOT for root in spellings) else []


def settle(
    declared: Sequence[tuple[str, str]], known: Sequence[str], *, hidden: bool = False
) -> list[tuple[str, str]]:
    """Return the folders that become roots, given the paths of all former roots.

    A file's name on the wire must never change, or the hub extracts its content again. So a root stays a root
    when a folder around it is shared later, even if it is not named any more: its files are still shared. A
    new folder inside another shared folder does not become a root.

    A root inside a private folder stays only if it is named: sharing the outer folder does not share it.

    Args:
        hidden: hidden folders are not private.
    """
    settled = {
        path: spelling
        for path, spelling in declared
        if path in known or not any(_below(path, other) for other, _ in declared)
    }
    for path in known:
        for outer, spelling in declared:
            if path not in settled and _below(path, outer):
                between = path[len(outer) + 1 :]
                is_private = any(why_private(part, hidden=hidden) for part in between.split("/"))
                if not is_private and os.path.isdir(path) and real_path(path) == path:
                    settled[path] = f"{spelling}/{between}"
    return list(settled.items())


class SharedFolders:
    """Access to the shared files, and to no others.

    With nested roots, a file belongs to the innermost root.

    Args:
        home: replacement for ``~`` in an agent's paths.
        max_file_bytes: larger files are skipped.
        hidden: also offer files and folders whose names begin with a dot.
        ignore: patterns as in an ignore file, which apply after those of all files.
        digests: kept digests, with which listed files are compared.
        database: the device's own database, whose files are never opened, whatever names lead to them.
        watch: watches the folders that are listed.

    Raises:
        BadIgnoreFile: an entry of *ignore* is not a pattern.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        *,
        home: str,
        max_file_bytes: int = MAX_FILE_BYTES,
        hidden: bool = False,
        ignore: Sequence[str] = (),
        digests: Digests | None = None,
        database: Path | None = None,
        watch: FolderWatch | None = None,
    ) -> None:
        self._watch = watch
        self._roots = list(roots)
        self._paths = frozenset(root.path for root in roots)
        self._home = slashed(home)
        self._max_file_bytes = max_file_bytes
        self._hidden = hidden
        self._ignore = Patterns(OWN_PATTERNS, ignore)
        self._digests = digests
        self._database = None if database is None else os.path.realpath(database)
        self._own = self._own_files()

    def places(self, asked: Sequence[str]) -> tuple[list[FileLocation], list[SkippedFile]]:
        """Return the shared places of the requested paths, and the refused paths. Without paths: everything.

        Paths are resolved as text: ``~`` is the owner's home, ``..`` goes up, and a relative path starts at a
        root, with or without the root's name.
        """
        if not asked:
            return [FileLocation(root, (), root.name) for root in self._roots], []
        places: list[FileLocation] = []
        refused: list[SkippedFile] = []
        for path in asked:
            found = [] if "\0" in path else list(dict.fromkeys(self._places_of(path)))
            places.extend(found)
            if not found:
                refused.append(SkippedFile(path=path, reason=SkipReason.OUTSIDE_SHARED))
        return places, refused

    def only(self, path: str, places: Sequence[FileLocation]) -> tuple[list[FileLocation], list[SkippedFile]]:
        """Return the places of one file within *places*, or why it is not read, as ``places`` does.

        A path without its folder may be of a file in any of the shared folders.
        """
        named, refused = self.places([path])
        found = [
            place
            for place in named
            if any(
                place.root is other.root and place.parts[: len(other.parts)] == other.parts
                for other in places
            )
        ]
        if named and not found:
            refused = [SkippedFile(path=path, reason=SkipReason.OUTSIDE_PATHS)]
        if any(stat.S_ISDIR(_mode(_folder_at(place.root, place.parts))) for place in found):
            return [], [SkippedFile(path=path, reason=SkipReason.NOT_A_FILE)]
        if any(len(place.parts) > _MAX_DEPTH + 1 for place in found):
            return [], [SkippedFile(path=path, reason=SkipReason.TOO_DEEP)]
        return found, refused

    def list_files(
        self,
        places: Sequence[FileLocation],
        config: RunConfig,
        limits: RunLimits | None,
        check: Check,
        *,
        readable: Collection[str] = (),
        note: Callable[[LeftOut], None] | None = None,
    ) -> tuple[list[SharedFile], list[SkippedFile]]:
        """Return the files an agent may read, sorted by path, and the skipped files.

        Private names and other extensions are counted without their names, in entries of the path ``MANY``.

        Args:
            limits: limits of one run; ``None``: the hub selects the files of a run from the complete list.
            readable: media types of recordings and pictures that this device or the hub converts to text.
            note: called with what is counted without its name.
        """
        files: dict[str, SharedFile] = {}
        skipped: dict[str, SkippedFile] = {}
        unlisted = 0
        left_out: Counter[SkipReason] = Counter()  # files that are counted without their names
        file_filter = _FileFilter.of(config, readable)
        self._own = self._own_files()
        # The generator holds descriptors of open folders.
        with closing(self._see(places, file_filter)) as everything:
            for number, seen in enumerate(everything):
                if not number % _CHECKED_EVERY:
                    check()
                if isinstance(seen, LeftOut):
                    left_out[seen.reason] += 1
                    if note is not None:
                        note(seen)
                elif isinstance(seen, SkippedFile):
                    skipped.setdefault(seen.path, seen)
                elif len(files) < _MAX_LISTED or seen.path in files:
                    files[seen.path] = seen
                else:
                    unlisted += 1
        linked = [file for file in files.values() if file.inode is not None]
        names = Counter(file.inode for file in linked)
        for file in linked:
            if names[file.inode] < file.links:
                del files[file.path]
                why = (
                    f"{SkipReason.HARD_LINK}: {file.links} names lead to it, not all of them in what is read"
                )
                skipped[file.path] = SkippedFile(path=file.path, reason=why)
        counts = [SkippedFile(path=MANY, reason=why, files=count) for why, count in left_out.items()]
        if unlisted:
            reason = f"{SkipReason.LIMIT}: beyond the {_MAX_LISTED} files that a device lists"
            counts.append(SkippedFile(path=MANY, reason=reason, files=unlisted))
        if limits is None:
            return [files[path] for path in sorted(files)], [*counts, *skipped.values()]
        listed: list[SharedFile] = []
        total = 0
        for path in sorted(files):
            if len(listed) < limits.files and total + files[path].size_bytes <= limits.bytes:
                listed.append(files[path])
                total += files[path].size_bytes
            else:
                skipped.setdefault(path, SkippedFile(path=path, reason=SkipReason.LIMIT))
        return listed, [*counts, *skipped.values()]

    def has_changed(
        self, changes: Mapping[str, Collection[str]], config: RunConfig, readable: Collection[str]
    ) -> bool:
        """Return True if a change is one of a file that an agent may read.

        Args:
            changes: names of files and folders, by the absolute path of the folder with them.
        """
        places, _ = self.places(config.paths)
        file_filter = _FileFilter.of(config, readable)
        for path, names in changes.items():
            folder = self._innermost(path, path)
            only = {name for name in names if any(_has(place, folder, name) for place in places)}
            if not only:
                continue
            with suppress(OSError), closing(self._see_place(folder, file_filter, only)) as found:
                # the digest of a file that was read since is known
                if any(isinstance(file, SharedFile) and file.sha256 is None for file in found):
                    return True
        return False

    def has_read(self, files: Collection[SharedFile]) -> bool:
        """Return True if something in a folder of one of these files was read before, also if it changed."""
        folders = {_folder_at(file.root, file.parts[:-1]) for file in files}
        return self._digests is not None and any(map(self._digests.of_folder, folders))

    @contextmanager
    def open(self, file: SharedFile) -> Iterator[int]:
        """Open *file* by the safe walk and yield its descriptor: a regular file of an allowed size.

        Raises:
            Unreadable: the file was deleted or replaced, or may not be read.
        """
        try:
            with enter(file.root.path, file.parts[:-1], lists=False) as folder:
                before = folder.stat(file.parts[-1])
                if (before.st_dev, before.st_ino) in self._own_files():  # opened, it would lose its locks
                    raise UnreadableFile(SkipReason.GENERATED, STATE)
                descriptor = folder.open_file(file.parts[-1])
        except OSError as error:
            raise UnreadableFile(_why(error)) from error
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise UnreadableFile(SkipReason.NOT_A_FILE)
            if info.st_size > self._max_file_bytes:
                raise UnreadableFile(SkipReason.TOO_LARGE, self._why_too_large(file.parts[-1], info.st_size))
            if info.st_nlink > file.links:  # a hard link was added since its folder was read
                raise UnreadableFile(SkipReason.HARD_LINK)
            if file.inode not in (None, (info.st_dev, info.st_ino)):
                raise UnreadableFile(SkipReason.CHANGED)
            yield descriptor
        finally:
            os.close(descriptor)

    def _own_files(self) -> frozenset[tuple[int, int]]:
        """Return device and inode of the files of the device's own database."""
        found: set[tuple[int, int]] = set()
        for ending in () if self._database is None else ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                info = os.stat(f"{self._database}{ending}")
                found.add((info.st_dev, info.st_ino))
        return frozenset(found)

    def _places_of(self, asked: str) -> Iterator[FileLocation]:
        path = slashed(asked)
        if path == "~" or path.startswith("~/"):
            path = self._home + path[1:]
        path = slashed(os.path.normpath(path))
        for root in self._roots:
            if os.path.isabs(path):
                parts = _shared_part(path, root)
            else:
                parts = _relative_part(path, root, {other.name for other in self._roots})
            if parts is not None:
                whole = "/".join((root.path, *parts))
                yield self._innermost(whole, asked)
                for other in self._roots:
                    if _below(other.path, whole):
                        yield FileLocation(other, (), asked)

    def _innermost(self, path: str, asked: str) -> FileLocation:
        around = [root for root in self._roots if path == root.path or _below(path, root.path)]
        root = max(around, key=lambda root: len(root.path))
        below = path[len(root.path) + 1 :]
        return FileLocation(root, tuple(below.split("/")) if below else (), asked)

    def _see(
        self, places: Sequence[FileLocation], file_filter: _FileFilter
    ) -> Generator[SharedFile | SkippedFile | LeftOut, None, None]:
        missing: dict[str, bool] = {}
        for place in places:
            try:
                yield from self._see_place(place, file_filter)
                missing[place.asked] = False
            except FileNotFoundError:
                missing.setdefault(place.asked, True)
            except OSError as error:
                missing[place.asked] = False
                yield _skip(place.root, place.parts, _why(error))
        # A relative path needs to exist in one of the roots only.
        for asked, is_missing in missing.items():
            if is_missing:
                yield SkippedFile(path=asked, reason=SkipReason.MISSING)

    def _see_place(
        self, place: FileLocation, file_filter: _FileFilter, only: Collection[str] | None = None
    ) -> Generator[SharedFile | SkippedFile | LeftOut, None, None]:
        """Yield what is at a place; *only*: of the folder there, these names and what is below them."""
        try:
            rules, place = self._rules_above(place)
        except _Excluded as error:
            yield error.seen
            return
        try:
            folder = enter(place.root.path, place.parts)
        except NotADirectoryError:
            if not place.parts:
                raise  # the root itself was replaced
            # the path is one of a file
            with enter(place.root.path, place.parts[:-1], lists=False) as parent:
                self._is_new(_folder_at(place.root, place.parts[:-1]))
                info = parent.stat(place.parts[-1])
            digests = self._digests_of(place.root, place.parts[:-1])
            yield self._judge(place.root, place.parts, info, file_filter, digests)
            return
        walked: set[str] = set()
        with folder:
            yield from self._walk(place.root, place.parts, folder, rules, file_filter, walked, only)
        top = _folder_at(place.root, place.parts)
        if only is None and not any(_below(path, top) for path in self._paths):
            if self._digests is not None:
                self._digests.forget_folders(top, walked)
            if self._watch is not None:
                self._watch.end_others(top, walked)

    def _rules_above(self, place: FileLocation) -> tuple[IgnoreRules, FileLocation]:
        """Return the rules for a place, before those of its own files, and the place as its folders list it.

        Raises:
            _Excluded: the place, or a folder around it, is not offered.
            OSError: a folder around it cannot be listed, or does not have it.
        """
        root, parts = place.root, place.parts
        try:
            rules = IgnoreRules.around(root.path, self._ignore)
        except BadIgnoreFile as error:
            raise _Excluded(_skip(root, (), SkipReason.BAD_IGNORE_FILE, str(error))) from error
        for depth, part in enumerate(parts):
            if (private := why_private(part, hidden=self._hidden)) is not None:
                raise _Excluded(_skip(root, parts[: depth + 1], private))
            with enter(root.path, parts[:depth]) as folder:
                names = frozenset(folder.names())
                part = name_in(folder, part, names)
                parts = (*parts[:depth], part, *parts[depth + 1 :])
                if not depth and (kind := state_files(names).get(part)):
                    raise _Excluded(_skip(root, parts[: depth + 1], SkipReason.GENERATED, kind))
                if rule := secret_names([part]).get(part):
                    raise _Excluded(_skip(root, parts[: depth + 1], SkipReason.SECRET, f"{rule} in its name"))
                rules = _rules_in(root, parts[:depth], folder, names, rules)
                info = folder.stat(part)
            if (private := _why_hidden(part, info, hidden=self._hidden)) is not None:
                raise _Excluded(_skip(root, parts[: depth + 1], private))
            is_folder = stat.S_ISDIR(info.st_mode)
            if (exclusion := rules.why_not(part, is_folder=is_folder, siblings=names)) is not None:
                raise _Excluded(_skip(root, parts[: depth + 1], exclusion.reason))
            rules = rules.below(part)
        return rules, FileLocation(root, parts, place.asked)

    def _walk(
        self,
        root: Root,
        parts: tuple[str, ...],
        folder: Folder,
        rules: IgnoreRules,
        file_filter: _FileFilter,
        walked: set[str],
        only: Collection[str] | None = None,
    ) -> Iterator[SharedFile | SkippedFile | LeftOut]:
        walked.add(_folder_at(root, parts))
        try:
            names = sorted(folder.names())
            siblings = frozenset(names)
        except OSError as error:
            yield _skip(root, parts, _why(error))
            return
        try:
            rules = _rules_in(root, parts, folder, siblings, rules)
        except _Excluded as error:
            yield error.seen
            return
        if self._is_new(_folder_at(root, parts)):
            names = sorted(folder.names())  # a file may have come before the watch
        names = names if only is None else [name for name in names if name in only]
        digests = self._digests_of(root, parts)
        if self._digests is not None and (deleted := digests.keys() - siblings):
            self._digests.forget(_folder_at(root, parts), deleted)
        secrets, of_state = secret_names(names), {} if parts else state_files(siblings)
        for name in names:
            below = (*parts, name)
            if (private := why_private(name, hidden=self._hidden)) is not None:
                yield LeftOut(_folder_at(root, below), private)
                continue
            if name in of_state:
                yield LeftOut(_folder_at(root, below), SkipReason.GENERATED, of_state[name])
                continue
            if name in secrets:  # a hub is given names, so it does not get this one
                yield LeftOut(_folder_at(root, below), SkipReason.SECRET, f"{secrets[name]} in its name")
                continue
            if not _is_utf8(name):
                yield _skip(root, below, SkipReason.NAME_NOT_UTF8)
                continue
            try:
                info = folder.stat(name)
                is_folder = stat.S_ISDIR(info.st_mode)
                if (private := _why_hidden(name, info, hidden=self._hidden)) is not None:
                    yield LeftOut(_folder_at(root, below), private)
                elif exclusion := rules.why_not(name, is_folder=is_folder, siblings=siblings):
                    yield LeftOut(_folder_at(root, below), *exclusion)
                elif is_folder:
                    yield from self._walk_into(root, below, folder, rules.below(name), file_filter, walked)
                else:
                    yield self._judge(root, below, info, file_filter, digests)
            except OSError as error:
                yield _skip(root, below, _why(error))

    def _walk_into(
        self,
        root: Root,
        parts: tuple[str, ...],
        folder: Folder,
        rules: IgnoreRules,
        file_filter: _FileFilter,
        walked: set[str],
    ) -> Iterator[SharedFile | SkippedFile | LeftOut]:
        if _folder_at(root, parts) in self._paths:
            return  # nested root: its files have its name
        if len(parts) > _MAX_DEPTH:
            yield _skip(root, parts, SkipReason.TOO_DEEP)
        else:
            with folder.open_folder(parts[-1]) as inner:
                yield from self._walk(root, parts, inner, rules, file_filter, walked)

    def _is_new(self, path: str) -> bool:
        """Watch a folder, where folders are watched. Return True if it was not watched before."""
        return self._watch is not None and self._watch.add(path)

    def _digests_of(self, root: Root, parts: tuple[str, ...]) -> Mapping[str, tuple[Stamp, bytes]]:
        return {} if self._digests is None else self._digests.of_folder(_folder_at(root, parts))

    def _why_too_large(self, name: str, size: int) -> str:
        """Return the size of a file, the limit, and what its owner can do."""
        is_mbox = name.lower().endswith((".mbox", ".mbx"))
        ways = "split it by year, or let the hub read the mailbox" if is_mbox else "split it into parts"
        return f"{size} bytes, at most {self._max_file_bytes} are read; {ways}"

    def _judge(
        self,
        root: Root,
        parts: tuple[str, ...],
        info: os.stat_result,
        file_filter: _FileFilter,
        digests: Mapping[str, tuple[Stamp, bytes]],
    ) -> SharedFile | SkippedFile | LeftOut:
        """Return the file of an entry, or why it is skipped."""
        name = parts[-1]
        if is_link(info):
            return _skip(root, parts, SkipReason.SYMLINK)
        inode = (info.st_dev, info.st_ino)
        if inode in self._own:
            return LeftOut(_folder_at(root, parts), SkipReason.GENERATED, STATE)
        lowered = name.lower()
        if file_filter.endings and not lowered.endswith(file_filter.endings):
            return LeftOut(_folder_at(root, parts), SkipReason.OTHER_EXTENSION)
        if not stat.S_ISREG(info.st_mode):
            return _skip(root, parts, SkipReason.NOT_A_FILE)
        if lowered.endswith(NO_TEXT) and (why := file_filter.why_not(name)):
            return _skip(root, parts, SkipReason.NOT_CONVERTIBLE, why)
        if info.st_size > self._max_file_bytes:
            return _skip(root, parts, SkipReason.TOO_LARGE, self._why_too_large(name, info.st_size))
        if len(path := _on_the_wire(root, parts)) > _MAX_PATH:
            return _skip(root, parts, SkipReason.TOO_DEEP)
        modified_ms = max(0, info.st_mtime_ns // 1_000_000)
        stamp, sha256 = digests.get(name, (None, None))
        if stamp != stamp_of(info):
            sha256 = None
        linked = inode if info.st_nlink > 1 else None
        return SharedFile(path, root, parts, info.st_size, modified_ms, linked, info.st_nlink, sha256)


def _rules_in(
    root: Root, parts: tuple[str, ...], folder: Folder, names: Collection[str], rules: IgnoreRules
) -> IgnoreRules:
    """Return *rules* with those of a folder's own ignore files.

    Raises:
        _Excluded: a program fills the folder, or one of its ignore files is broken.
    """
    if parts and (kinds := set(state_files(names).values())):
        raise _Excluded(LeftOut(_folder_at(root, parts), SkipReason.GENERATED, kinds.pop()))
    if parts and (kind := generated_by(names)) and not rules.has_included:
        raise _Excluded(LeftOut(_folder_at(root, parts), SkipReason.GENERATED, kind))
    try:
        return rules.within(folder, names)
    except BadIgnoreFile as error:
        raise _Excluded(_skip(root, parts, SkipReason.BAD_IGNORE_FILE, str(error))) from error


def _has(place: FileLocation, folder: FileLocation, name: str) -> bool:
    """Return True if a name in a folder is at or below a place."""
    return place.root is folder.root and (*folder.parts, name)[: len(place.parts)] == place.parts


def _folder_at(root: Root, parts: Sequence[str]) -> str:
    return "/".join((root.path, *parts))


def _shared_part(path: str, root: Root) -> tuple[str, ...] | None:
    asked = path.rstrip("/").split("/")
    for base in (root.spelling, root.path):
        shared = base.rstrip("/").split("/")
        if all(map(is_same_name, asked, shared)):
            return tuple(asked[len(shared) :])
    return None


def _relative_part(path: str, root: Root, names: set[str]) -> tuple[str, ...] | None:
    first, *others = path.split("/")
    if first == "..":
        return None
    if first == ".":
        return ()
    if first in names:
        return tuple(others) if first == root.name else None
    return (first, *others)


def _below(path: str, other: str) -> bool:
    return path.startswith(other.rstrip("/") + "/") and path != other


def is_hard_link(skipped: SkippedFile) -> bool:
    """Return True if a file is skipped because not all of its names are in what is read."""
    return skipped.reason.startswith(SkipReason.HARD_LINK)


def _mode(path: str) -> int:
    try:
        return os.lstat(spelled_for_system(path)).st_mode
    except (OSError, ValueError):
        return 0


def _why_hidden(name: str, info: os.stat_result, *, hidden: bool) -> SkipReason | None:
    """Return why an entry of a folder is private, by its name as listed, or hidden by the system.

    Args:
        hidden: hidden entries may be sent.
    """
    is_left_out = is_hidden(info) and not hidden
    return why_private(name, hidden=hidden) or (SkipReason.HIDDEN if is_left_out else None)


def _why(error: OSError) -> SkipReason:
    match error.errno:
        case errno.ENOENT | errno.ESTALE:
            return SkipReason.CHANGED  # deleted since it was listed
        case errno.EISDIR:
            return SkipReason.NOT_A_FILE
        case errno.ELOOP | errno.EMLINK | errno.ENOTDIR:
            return SkipReason.SYMLINK  # a folder or file was replaced by a link
        case _:
            return SkipReason.UNREADABLE


def _skip(root: Root, parts: Sequence[str], reason: SkipReason, more: str = "") -> SkippedFile:
    text = f"{reason}: {more}" if more else str(reason)
    return SkippedFile(path=_on_the_wire(root, parts)[:_MAX_PATH], reason=text)


def _on_the_wire(root: Root, parts: Sequence[str]) -> str:
    path = "/".join((root.name, *parts))
    return path if path.isascii() else path.encode("utf-8", "replace").decode()


def _is_utf8(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def _ending(extension: str) -> str:
    return extension.lower() if extension.startswith(".") else f".{extension.lower()}"
