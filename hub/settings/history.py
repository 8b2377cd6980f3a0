"""History of the settings: the keys that a change of hub.toml changed, with their old and new values.

A value is spelled as TOML. The audit log keeps an entry for each key; a secret or a long value has only its
digest there.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from hub.settings.edits import NAMED, CannotEdit, spelled
from hub.settings.problems import is_secret_like
from hub.settings.reading import Shared
from hub.settings.schema import tables_at
from hub.settings.values import Table

CHANGED: Final = "settings.changed"  # event of the audit log, for each key
APPLIED: Final = "settings.applied"  # for all keys that changed together; its subject is the node
# How settings came into use: the file was read, at a start or later; a caller edited it or reverted changes;
# or a revision was published for all nodes.
Source = Literal["file", "start", "edit", "revert", "revision"]
LONGEST: Final = 16 * 1024  # characters of a value in the audit log; a prompt has at most twice as many
_SECRET_KEY: Final = re.compile(r"secret|password|passphrase|token|api_?key|private_?key", re.IGNORECASE)


class KeyChange(msgspec.Struct):
    """Change of a key. *old*, *new*: TOML; null: the key is not in the file. A secret has its digest."""

    key: str
    old: str | None = None
    new: str | None = None


class Revision(NamedTuple):
    """Settings that were applied: their number, and the keys that differ from the ones before.

    *shared*: revision of the shared settings in them; *is_published*: it has to be published.
    """

    generation: int
    source: Source
    changes: tuple[KeyChange, ...] = ()
    shared: Shared | None = None
    is_published: bool = False


def key_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[KeyChange, ...]:
    """Return the keys whose values differ between two documents of hub.toml; an agent is found by its name.

    An entry of one of the documents is one key; an entry of both is named by its keys that differ.
    """
    old, new = _values(before), _values(after)
    found = []
    for key, value in (old | new).items():
        entry, text = value.entry, (_text(old, key), _text(new, key))
        is_in_both = entry in old and entry in new
        is_listed = not entry or is_in_both == (key != entry)
        if is_listed and text[0] != text[1]:
            found.append(KeyChange(key, *text))
    return tuple(found)


def combined(changes: Iterable[KeyChange]) -> tuple[KeyChange, ...]:
    """Return one change for each key, by key; *changes*: from the oldest to the newest."""
    found: dict[str, KeyChange] = {}
    for one in changes:
        found[one.key] = KeyChange(one.key, found.get(one.key, one).old, one.new)
    return tuple(found[key] for key in sorted(found) if found[key].old != found[key].new)


def undone(changes: Iterable[KeyChange]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the values that *changes* replaced, and the keys that they added.

    Raises:
        CannotEdit: a value was not kept.
    """
    values: dict[str, Any] = {}
    without: list[str] = []
    for change in changes:
        key, old = change.key, change.old
        if old is None:
            without.append(key)
        elif old.startswith("("):
            raise CannotEdit(f"{key}: its earlier value was not kept, only {old}; write it: hub config set")
        else:
            values[key] = tomllib.loads(f"x = {old}")["x"]
    return values, tuple(without)


class _Value(NamedTuple):
    """Spelled value of a key; *entry*: key of the entry of a list that has it, or an empty string."""

    text: str
    entry: str = ""


def _values(doc: Mapping[str, Any]) -> dict[str, _Value]:
    """Return every key of a document with its value, and every named entry of a list as a whole."""
    found: dict[str, _Value] = {}
    for table, value in doc.items():
        if table not in NAMED or not isinstance(value, list):
            found |= {key: _Value(_redacted(key, inner)) for key, inner in _fields((table,), value)}
            continue
        for entry in value:
            key = f"{table}.{entry.get('name')}"
            if key in found:  # a name is unique for each user
                key = f"{key} (of {entry.get('user')})"
            found[key] = _Value(_redacted(key, entry), key)
            for field, inner in entry.items():
                if field != "name":
                    found[f"{key}.{field}"] = _Value(_redacted(f"{key}.{field}", inner), key)
    return found


def _text(values: Mapping[str, _Value], key: str) -> str | None:
    return values[key].text if key in values else None


def _fields(path: tuple[str, ...], value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and any(issubclass(model, Table) for model in tables_at(path)):
        for name, inner in value.items():
            yield from _fields((*path, name), inner)
    else:
        yield ".".join(path), value


def _redacted(key: str, value: object) -> str:
    text = spelled(value)
    if _has_secret(key, value) or len(text) > LONGEST:
        kind = "long" if len(text) > LONGEST else "secret"
        return f"({kind}, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:16]})"
    return text


def _has_secret(key: str, value: object) -> bool:
    match value:
        case str():
            return bool(_SECRET_KEY.search(key.rpartition(".")[2])) or is_secret_like(value)
        case Mapping():
            if value.keys() <= {"env", "file", "credential"}:
                return False  # a reference to a secret
            return any(_has_secret(str(name), inner) for name, inner in value.items())
        case list():
            return any(_has_secret(key, inner) for inner in value)
        case _:
            return False
