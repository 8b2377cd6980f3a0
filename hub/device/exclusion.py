"""Exclusion of files that no hub may see: private names, generated folders, ignore files.

A folder is judged before it is opened, so no rule below it includes what a rule above excludes, as in git.
Of the rules that match, the last one decides. ``.hubignore`` is read after ``.gitignore`` of its folder. A
negated pattern also includes a generated folder, but never a private name.

The patterns of the owner's settings apply in every root, after all ignore files.

The ignore files around a root count up to the top of its git repository, as they do for git. A broken ignore
file closes its folder: nothing in it is offered.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from fnmatch import translate
from pathlib import Path
from typing import Final, NamedTuple

import pathspec
import re2

from hub.base.system.folders import Folder, enter, slashed
from protocol.skipped_files import SkipReason

_VERSION_CONTROL: Final = frozenset((".git", ".hg", ".svn", ".bzr", ".jj", "cvs", "_darcs", "sccs"))
_OF_SECRETS: Final = (
    *("password", "passwords", "credentials", "creds", "secrets", "passwort", "passwörter"),
    *("mots de passe", "contraseñas", "пароли", "密码"),
)
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
    "*.keytab",
    "*.htpasswd",
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".npmrc", ".pypirc", ".pgpass"),
    *(".git-credentials", ".vault-token", ".password-store", ".*_history", ".env.*", ".envrc", ".my.cnf"),
    "*_rsa",
    "wallet.dat",
    "client_secret*.json",
    "device.toml",
    "*service*account*.json",
    *(f"{name}{ending}" for name in _OF_SECRETS for ending in ("", ".*")),
)
_is_key_file: Final = re.compile("|".join(map(translate, _KEY_FILES))).match  # one: 100,000 names a run

_DEPENDENCIES: Final = "dependencies"
_OUTPUT: Final = "build output"
_CACHE: Final = "a cache"
_KEYS: Final = "a store of keys"
_ENVIRONMENT: Final = "a virtual environment"
_BROWSER: Final = "a profile of a browser"
# Folders that programs fill, by their name in lower case.
_BY_NAME: Final[Mapping[str, str]] = {
    **dict.fromkeys(("node_modules", "bower_components", "jspm_packages", "site-packages"), _DEPENDENCIES),
    **dict.fromkeys((".npm", ".yarn", ".cargo", ".rustup", ".gradle", ".m2"), _DEPENDENCIES),
    **dict.fromkeys(("__pycache__", "gpucache", "code cache", ".cache"), _CACHE),
    **dict.fromkeys(("keychains", "keyrings", "password-store"), _KEYS),
    **dict.fromkeys(("$recycle.bin", "system volume information", ".trash"), "a folder of the system"),
}
# Folders that programs fill, by a file or folder within.
_BY_CONTENT: Final[Mapping[str, str]] = {
    "CACHEDIR.TAG": _CACHE,  # https://bford.info/cachedir/
    "pyvenv.cfg": _ENVIRONMENT,
    "conda-meta": _ENVIRONMENT,
    "pubring.kbx": _KEYS,
    "login.keychain-db": _KEYS,
    "key4.db": _BROWSER,
    "Login Data": _BROWSER,
    "Local State": _BROWSER,
    "device.toml": "settings of a device",
}
# Folders of a project; elsewhere these names may be those of anything.
_PROJECT_FILES: Final = frozenset(
    (
        *("package.json", "composer.json", "Gemfile", "go.mod", "Podfile", "Package.swift", "mix.exs"),
        *("pyproject.toml", "setup.py", "Cargo.toml", "pom.xml", "build.gradle", "build.gradle.kts"),
        *("CMakeLists.txt", "Makefile", "meson.build", "build.sbt", "pubspec.yaml", "dune-project"),
    )
)
_OF_PROJECT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("build", "dist", "out", "target", "obj", "htmlcov", "coverage"), _OUTPUT),
    **dict.fromkeys(("vendor", "pods", "carthage", "deps"), _DEPENDENCIES),
}
# Files that a hub has side by side, and the locks that only the database of a device has.
_OF_HUB: Final = frozenset(("hub.db", "node_id"))
_LOCKS: Final = (".lock-sqlite", ".kept-sqlite")
# Endings of the other files of a device, after the stem of its database.
_OF_DEVICE: Final = re.compile(r"\.(?:(?:key|hubs)(?:\..*)?|sock|pause|end|digest|un\w{4}|failed)")
_GIT: Final = ".gitignore"
_OWN: Final = ".hubignore"
IGNORE_FILES: Final = (_GIT, _OWN)
STATE: Final = "the state of a device"
OWN_PATTERNS: Final = "ignore in device.toml"
_MAX_BYTES: Final = 1024 * 1024  # of an ignore file
QUIET: Final = re2.Options()
QUIET.log_errors = False  # RE2 writes to stderr, also where a large pattern is only matched more slowly
_NOT_A_PATTERN: Final = (ValueError, re.error, re2.error)


def why_private(name: str, *, hidden: bool = False) -> SkipReason | None:
    """Return why files and folders of this name stay on the device, or None if they may be sent.

    Args:
        hidden: hidden names may be sent, other than those of ignore files.
    """
    lowered = unicodedata.normalize("NFC", name).lower()  # macOS has other forms of some letters
    if lowered in _VERSION_CONTROL:
        return SkipReason.VERSION_CONTROL
    if _is_key_file(lowered):
        return SkipReason.KEY_FILE
    if name.startswith(".") and (not hidden or name in IGNORE_FILES):
        return SkipReason.HIDDEN
    return None


class BadIgnoreFile(Exception):
    """Ignore file that cannot be understood: its folder is not offered."""


class Exclusion(NamedTuple):
    """Reason why a name is not offered. *detail*: the rule, for its owner."""

    reason: SkipReason
    detail: str = ""


class Patterns:
    """Patterns of an ignore file or of the settings, each for the whole path of a file or folder.

    A walk by folders needs that: pathspec's own matching also applies a pattern to all that is below its
    match, so that ``*``, ``!*/`` and ``!*.md`` would differ from git. The time of a match grows with the
    path, whatever the patterns are.

    Raises:
        BadIgnoreFile: a line is not a pattern.
    """

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        self._set = re2.Set.FullMatchSet(QUIET)
        self._rules: list[tuple[int, bool]] = []  # line, and whether it excludes
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            if "[:" in line:
                raise BadIgnoreFile(f"{name}:{number}: a class such as [:alpha:] is not understood")
            try:
                (pattern,) = pathspec.GitIgnoreSpec.from_lines([line], backend="simple").patterns
                if pattern.include is None or pattern.regex is None:
                    raise ValueError
                self._set.Add(_whole(pattern.regex.pattern))
            except _NOT_A_PATTERN as error:
                raise BadIgnoreFile(f"{name}:{number}: {line.strip()!r} is not a pattern") from error
            self._rules.append((number, pattern.include))
        if self._rules:
            self._set.Compile()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def last(self, path: str) -> tuple[int, bool] | None:
        """Return the line of the last pattern that matches, and whether it excludes."""
        matched = self._set.Match(path) if self._rules else []
        return self._rules[max(matched)] if matched else None


def is_pattern(text: str) -> bool:
    """Return True if a line of an ignore file with this text would be a pattern."""
    try:
        return "\n" not in text and bool(Patterns("", [text]))
    except BadIgnoreFile:
        return False


def _whole(regex: str) -> str:
    """Return pathspec's expression, made for a search, as one of a whole path."""
    if regex == ".":
        return ".+"
    start = "" if regex.startswith("^") else ".*"
    end = ".+" if regex.endswith("/") else ""  # all that is in a folder
    return f"{start}{regex}{end}"


class _RuleFile(NamedTuple):
    """Rules of an ignore file. *depth*: number of components of its folder, above which it does not apply."""

    path: str
    depth: int
    patterns: Patterns


class IgnoreRules:
    """Ignore rules that apply in a folder: those of its own ignore files, and of the folders around it.

    Args:
        files: ignore files from the outermost to the innermost.
        way: components of the folder's path from the place where the outermost rules apply.
        own: patterns of the owner's settings, as a file that is always the innermost.
    """

    def __init__(
        self,
        files: tuple[_RuleFile, ...] = (),
        way: tuple[str, ...] = (),
        own: tuple[_RuleFile, ...] = (),
    ) -> None:
        self._files = files
        self._way = way
        self._own = own

    @classmethod
    def around(cls, root: str, own: Patterns) -> "IgnoreRules":
        """Return the rules of the folders around a root, up to the top of its git repository.

        A root that they exclude was shared in spite of them: they do not apply in it.

        Args:
            own: patterns of the owner's settings, which apply in the root.

        Raises:
            BadIgnoreFile: a file of them is broken.
        """
        anchor, *names = Path(root).parts
        way, start = tuple(names), slashed(anchor)
        top = next((at for at in range(len(way), 0, -1) if _is_top(start + "/".join(way[:at]))), len(way))
        rules = cls(way=way[:top])
        for depth in range(top, len(way)):
            with enter(start, way[:depth]) as folder:
                rules = rules.within(folder, {_GIT}.intersection(folder.names()))
            if rules.why_not(way[depth], is_folder=True, siblings=()) is not None:
                rules = cls()
                break
            rules = rules.below(way[depth])
        return cls(rules._files, way, (_RuleFile(OWN_PATTERNS, len(way), own),) if own else ())

    def below(self, name: str) -> "IgnoreRules":
        """Return the rules for a folder in this one, before those of its own files."""
        return IgnoreRules(self._files, (*self._way, name), self._own)

    def within(self, folder: Folder, names: Collection[str]) -> "IgnoreRules":
        """Return the rules with those of the folder's own ignore files.

        Args:
            names: names in the folder.

        Raises:
            BadIgnoreFile: a file of them is broken, or cannot be read.
        """
        found = [self._read(folder, name) for name in IGNORE_FILES if name in names]
        return IgnoreRules((*self._files, *found), self._way, self._own) if found else self

    def why_not(self, name: str, *, is_folder: bool, siblings: Collection[str]) -> Exclusion | None:
        """Return why a name in this folder is not offered, or None. Private names are judged by their own.

        Args:
            siblings: all names in this folder.
        """
        decided = None
        if self._files or self._own:
            decided = self._last_match("/".join((*self._way, f"{name}/" if is_folder else name)))
        if decided is not None and decided[2]:
            return Exclusion(SkipReason.IGNORED, f"line {decided[1]} of {decided[0].path}")
        if not is_folder or decided is not None:
            return None
        lowered = name.lower()
        kind = _BY_NAME.get(lowered)
        if kind is None and lowered in _OF_PROJECT and not _PROJECT_FILES.isdisjoint(siblings):
            kind = _OF_PROJECT[lowered]
        return None if kind is None else Exclusion(SkipReason.GENERATED, kind)

    @property
    def has_included(self) -> bool:
        """True if a rule includes this folder by its name."""
        decided = self._last_match(f"{'/'.join(self._way)}/")
        return decided is not None and not decided[2]

    def _last_match(self, path: str) -> tuple[_RuleFile, int, bool] | None:
        """Return the file, the line, and whether it excludes, of the last rule for a path."""
        for file in (*self._own, *reversed(self._files)):
            below = path.split("/", file.depth)[-1] if file.depth else path
            if (found := file.patterns.last(below)) is not None:
                return file, *found
        return None

    def _read(self, folder: Folder, name: str) -> _RuleFile:
        path = f"{folder.path.rstrip('/')}/{name}"
        try:
            descriptor = folder.open_file(name)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise BadIgnoreFile(f"{name} is not a file")
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise BadIgnoreFile(f"{name} cannot be read: {error.strerror}") from error
        if len(data) > _MAX_BYTES:
            raise BadIgnoreFile(f"{name} has more than {_MAX_BYTES} bytes")
        try:
            lines = data.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise BadIgnoreFile(f"{name}:{line}: it is not UTF-8") from error
        return _RuleFile(path, len(self._way), Patterns(name, lines))


def generated_by(names: Collection[str]) -> str | None:
    """Return what program fills a folder with these names, or None."""
    return next((kind for marker, kind in _BY_CONTENT.items() if marker in names), None)


def state_files(names: Collection[str]) -> dict[str, str]:
    """Return the names in a folder that are of the state of a device or hub, with what they are.

    No rule and no setting includes them. SQLite's locks on a database end once any descriptor of its file is
    closed in the same process; then another process may delete its log.
    """
    if _OF_HUB.issubset(names):
        return dict.fromkeys(names, "the state of a hub")
    found: dict[str, str] = {}
    databases = tuple(name.rpartition(".")[0] for name in names if name.endswith(_LOCKS))
    if databases:
        stems = {os.path.splitext(database)[0] for database in databases}
        for name in names:
            dots = (at for at, letter in enumerate(name) if letter == ".")
            if name.startswith(databases) or any(
                name[:at] in stems and _OF_DEVICE.fullmatch(name, at) for at in dots
            ):
                found[name] = STATE
    return found


def _is_top(folder: str) -> bool:
    return os.path.lexists(f"{folder}/.git")
