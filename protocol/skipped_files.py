"""Reasons why a run skips a file."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from protocol.frame import (
    Count,
    Path,
    Text,
)


class SkippedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """File that the device did not send; an entry of the path ``*`` counts *files* without their names."""

    path: Path
    reason: Text
    files: Count = 1


class SkipReason(StrEnum):
    """Reason why a file or folder was not sent; details may follow after a colon."""

    OTHER_EXTENSION = "other_extension"
    OUTSIDE_SHARED = "outside_shared"
    OUTSIDE_PATHS = "outside_paths"
    HIDDEN = "hidden"
    KEY_FILE = "key_file"
    VERSION_CONTROL = "version_control"
    IGNORED = "ignored"
    GENERATED = "generated"
    BAD_IGNORE_FILE = "bad_ignore_file"
    SECRET = "key_in_text"
    SYMLINK = "symlink"
    HARD_LINK = "hard_link"
    NOT_A_FILE = "not_a_file"
    NAME_NOT_UTF8 = "name_not_utf8"
    NOT_OFFERED = "not_offered"
    NOT_CONVERTIBLE = "not_convertible"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    LIMIT = "limit"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    CHANGED = "changed"
    CONVERT_SECONDS = "convert_seconds"
    CONVERT_MEMORY = "convert_memory_bytes"


# What the reason means, and how to change it. These files are left out on purpose; others have failed.
LEFT_OUT: Final[Mapping[str, str]] = {
    SkipReason.OTHER_EXTENSION: "file_extensions of the agent do not name it; without that key, all are read",
    SkipReason.OUTSIDE_SHARED: "the device does not share it: add it to roots of device.toml or hub connect",
    SkipReason.OUTSIDE_PATHS: "it is outside of the paths of the agent: add its folder to paths",
    SkipReason.HIDDEN: "its name or folder begins with a dot: rename it, or set hidden in device.toml",
    SkipReason.KEY_FILE: "its name is that of a file with keys or passwords, which stays here: rename it",
    SkipReason.VERSION_CONTROL: "it belongs to a version control system: copy it out of its folder",
    SkipReason.IGNORED: "an ignore file excludes it: change the rule that hub device preview names",
    SkipReason.GENERATED: "a program fills its folder: a line !FOLDER/ in .hubignore above includes it",
    SkipReason.SECRET: "a key or a password is in its text or name: take it out, or add gitleaks:allow",
    SkipReason.SYMLINK: "it is a link: share the folder that it leads to",
    SkipReason.HARD_LINK: "it has other names outside of what is read: copy it",
    SkipReason.NOT_A_FILE: "it is a folder, a pipe, a socket or the like: name a file",
    SkipReason.NAME_NOT_UTF8: "its name is not UTF-8: rename it",
    SkipReason.NOT_OFFERED: "the device does not offer it any more",
    SkipReason.TOO_LARGE: "it is larger than max_file_bytes of its device: split it into parts",
    SkipReason.NOT_CONVERTIBLE: "no text can be made of it: hub help agents lists what is read",
}
