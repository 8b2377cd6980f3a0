"""Names of files that are never sent: hidden files, keys, passwords and version control."""

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final


class SkipReason(StrEnum):
    """Reason why a file or folder was not sent; details may follow after a colon."""

    OUTSIDE_SHARED = "outside_shared"
    HIDDEN = "hidden"
    KEY_FILE = "key_file"
    VERSION_CONTROL = "version_control"
    SYMLINK = "symlink"
    HARD_LINK = "hard_link"
    NOT_A_FILE = "not_a_file"
    NAME_NOT_UTF8 = "name_not_utf8"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    LIMIT = "limit"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    CHANGED = "changed"
    NOT_OFFERED = "not_offered"
    NOT_CONVERTIBLE = "not_convertible"
    CONVERT_SECONDS = "convert_seconds"
    CONVERT_MEMORY = "convert_memory_bytes"


_VERSION_CONTROL: Final = frozenset((".git", ".hg", ".svn", ".bzr", ".jj", "cvs", "_darcs", "sccs"))
_KEY_FILES: Final = (
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "*.pem",
    "*.key",
    "*.p8",
    "*.p12",
    "*.pfx",
    "*.ppk",
    "*.jks",
    "*.keystore",
    "*.kdb",
    "*.kdbx",
    "*.gpg",
    "*.ovpn",
    "*.env",
    "*.token",
    "passwords.*",
    "passwords",
    "credentials.*",
    "credentials",
    "secrets.*",
    "secrets",
)


def why_private(name: str) -> SkipReason | None:
    """Return why files and folders of this name stay on the device, or None if they may be sent."""
    lowered = name.lower()
    if lowered in _VERSION_CONTROL:
        return SkipReason.VERSION_CONTROL
    if any(fnmatchcase(lowered, pattern) for pattern in _KEY_FILES):
        return SkipReason.KEY_FILE
    if name.startswith("."):
        return SkipReason.HIDDEN
    return None
