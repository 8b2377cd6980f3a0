"""Edits of hub.toml by the API: which keys may change, comments kept, and revert of changes.

History of the settings: the keys that a change of hub.toml changed, with their old and new values.

A value is spelled as TOML. The audit log keeps an entry for each key; a secret or a long value has only its
digest there.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from hub.base.toml.origins import TomlPositions
from hub.base.toml.positions import KeyPath, Located, document, value_at
from hub.base.toml.problems import SettingsProblem, is_secret_like, spell
from hub.base.toml.schema import tables_at
from hub.base.toml.values import SettingsTable
from hub.settings.reading import SHARED, Shared
from hub.settings.settings import Settings
from hub.settings.settings_checks import removed_value
from protocol.errors import ErrorCode, HubError

NAMED: Final = (
    "agents",
    "tables",
    "templates",
    "connectors",
    "gateways",
    "notify",
)  # lists whose entries have names
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEAD: Final = re.compile(r"(#\s*)?\[([\w.-]+)\]")  # of a table, commented out or not
_ANY_HEAD: Final = re.compile(r"#?\s*\[")
_KEY: Final = re.compile(r"#\s*(?=([\w-]+)\s*=)")


class CannotEdit(HubError):
    """Edit of a key that cannot exist in the file; nothing was changed."""

    code = ErrorCode.BAD_PARAMS


def edited(text: str, values: Mapping[str, Any], without: Iterable[str] = ()) -> str:
    """Return *text* with the new *values* of keys, and without the keys of *without*.

    Keys are spelled ``limits.runs``; an agent is identified by its name, as in ``agents.notes.prompt``. A
    whole agent, as ``agents.notes``, can be added or removed; so can a template, connector or gateway.
    Values are not validated.

    Raises:
        CannotEdit: a key cannot exist, or *text* is not valid TOML.
    """
    line_end = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    try:
        for key, value in values.items():
            if used := removed_value(tuple(key.split("."))):
                raise CannotEdit(f"{key} is no longer a setting: the hub always uses {used}")
            text = _with(text, key, value)
        for key in without:
            text = _without(text, key)
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise CannotEdit(f"the file cannot be edited: {error}") from error
    return text.replace("\n", line_end)


def path_of(key: str, doc: Mapping[str, Any]) -> KeyPath:
    """Return the path of a spelled key in *doc*.

    Raises:
        CannotEdit: the key is malformed, or no entry of its list has this name.
    """
    path = key.split(".")
    if not all(path) or len(path) < 2:
        raise CannotEdit(f"{key!r} is no key; a key is TABLE.NAME, as in limits.runs")
    if path[0] not in NAMED:
        return tuple(path)
    entries = doc.get(path[0])
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        whole = f"{path[0]}.{entry.get('name')}"  # the name may have dots in it
        if key == whole or key.startswith(f"{whole}."):
            return (path[0], number, *filter(None, key.removeprefix(whole).split(".")))
    raise CannotEdit(f"no {path[0].removesuffix('s')} of hub.toml is named {path[1]}")


def _with(text: str, key: str, value: Any) -> str:
    doc = tomllib.loads(text)
    if _is_new_entry(key, value, doc):
        return _with_entry(text, key, value, doc)
    path = path_of(key, doc)
    if _is_entry(path):
        raise CannotEdit(f"{key} can only be added, with its name, or removed; its keys are set one by one")
    if not Located(text).has(path):
        text = _uncommented(text, path)
    located = Located(text)
    end = located.end_of(path[:-1])
    if located.has(path) or end is None:
        return _replaced(text, key, path, value)
    # New key of an existing table. tomlkit would insert it after the comments that follow the table, which
    # usually belong to the next table.
    line = tomlkit.table()
    line.add(str(path[-1]), _styled(value))
    at = text.find("\n", end)
    at = len(text) if at < 0 else at
    return f"{text[:at]}\n{line.as_string().rstrip()}{text[at:]}"


def _with_entry(text: str, key: str, value: Mapping[str, Any], doc: Mapping[str, Any]) -> str:
    """Return *text* with a new entry, after the last one of its list."""
    table, _, name = key.partition(".")
    entries = tomllib.loads(text).get(table, [])
    if not isinstance(value, Mapping) or any(entry.get("name") == name for entry in entries):
        raise CannotEdit(f"{key} can only be added or removed as a whole; its keys are set one by one")
    fields = {"name": name} | {field: inner for field, inner in value.items() if field != "name"}
    lines = [
        f"[[{table}]]",
        *(f"{_spelled_key(field)} = {spelled(inner)}" for field, inner in fields.items()),
    ]
    before = text.split("\n")
    at = max((Located(text).lines_of((table, n))[1] for n in range(len(entries))), default=len(before))
    apart = [""] if at and before[at - 1] else []
    return "\n".join([*before[:at], *apart, *lines, *before[at:]])


def _is_new_entry(key: str, value: object, doc: Mapping[str, Any]) -> bool:
    table, _, name = key.partition(".")
    if table not in NAMED or not isinstance(value, Mapping):
        return False
    if value.get("name", "" if "." in name else name) != name:  # a point begins a field
        return False
    return all(entry.get("name") != name for entry in doc.get(table, []))


def _is_entry(path: KeyPath) -> bool:
    return len(path) == 2 and path[0] in NAMED


def spelled(value: Any) -> str:
    """Spell a value as TOML, in one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            inside = ", ".join(f"{_spelled_key(key)} = {spelled(inner)}" for key, inner in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case list():
            return f"[{', '.join(map(spelled, value))}]"
        case _:
            return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _spelled_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _uncommented(text: str, path: KeyPath) -> str:
    """Return *text* with the line of a key, and the head of its table, without their comment signs.

    Without such lines *text* stays as it is. A value of several lines stays a comment.
    """
    if not all(isinstance(part, str) for part in path):
        return text
    lines = text.split("\n")
    table = ".".join(map(str, path[:-1]))
    heads = (n for n, line in enumerate(lines) if (found := _HEAD.match(line)) and found[2] == table)
    head = next(heads, None)
    if head is None:
        return text
    behind = next((n for n in range(head + 1, len(lines)) if _ANY_HEAD.match(lines[n])), len(lines))
    lines[head] = _HEAD.sub(r"[\2]", lines[head])
    for n in range(head + 1, behind):
        found = _KEY.match(lines[n])
        if found and found[1] == path[-1] and _is_toml(uncommented := lines[n][found.end() :]):
            lines[n] = uncommented
            break
    return "\n".join(lines)


def _is_toml(line: str) -> bool:
    try:
        tomllib.loads(line)
    except ValueError:
        return False
    return True


def _replaced(text: str, key: str, path: KeyPath, value: Any) -> str:
    doc = tomlkit.parse(text)
    here: Any = doc
    for part in path[:-1]:
        if isinstance(part, str) and part not in here:
            here[part] = tomlkit.inline_table() if isinstance(here, InlineTable) else tomlkit.table()
        here = here[part]
        if not isinstance(here, MutableMapping | list):
            raise CannotEdit(f"{key}: {part} is no table")
    here[path[-1]] = _styled(value)
    return doc.as_string()


def _without(text: str, key: str) -> str:
    tables = tomllib.loads(text)
    path = path_of(key, tables)
    table, located = path[:-1], Located(text)
    is_last = value_at(tables, table) == {path[-1]: value_at(tables, path)} and _needs_keys(table)
    whole = table if is_last and located.end_of(table) is not None else path if _is_entry(path) else None
    if whole is not None:
        first, behind = located.lines_of(whole)
        lines = text.split("\n")
        return "\n".join([*lines[:first], *lines[behind:]])  # comments after its last value stay
    if not located.has(path):
        return text
    doc = tomlkit.parse(text)
    here: Any = doc
    for part in table:
        here = here[part]
    del here[path[-1]]
    return doc.as_string()


def _needs_keys(path: KeyPath) -> bool:
    """Return True if the table at *path* cannot be empty: without its last key it is removed."""
    models = tables_at(path, Settings) if path else []
    return bool(models) and all(
        any(field.is_required() for field in model.model_fields.values()) for model in models
    )


def _styled(value: Any) -> Any:
    """Convert a table to an inline table: ``{env = "NAME"}``."""
    if not isinstance(value, dict):
        return value
    table = tomlkit.inline_table()
    table.update(value)
    return table


def problems_of_keys(keys: Collection[str], problems: Sequence[SettingsProblem]) -> list[SettingsProblem]:
    """Return *problems*, with those of the edited *keys* assigned to the key: no file was written."""

    def assigned(problem: SettingsProblem) -> SettingsProblem:
        if problem.path not in keys:
            return problem
        message = f"{problem.message}; nothing was written"
        return problem._replace(file=problem.path, line=0, column=0, path="", message=message)

    return [assigned(problem) for problem in problems]


def wrong_by_itself(keys: Collection[str], problems: Sequence[SettingsProblem]) -> list[SettingsProblem]:
    """Return the errors of *keys* in a text without overrides, which would hide an invalid value."""
    found = problems_of_keys(keys, problems)
    return [problem for problem in found if problem.file in keys and problem.severity == "error"]


def written_in_vain(keys: Collection[str], text: str, places: TomlPositions) -> Iterator[SettingsProblem]:
    """Yield a warning for each of *keys* whose value in *text* is overridden and thus has no effect."""
    for key, path in _paths(keys, text):
        place = places.origin(path)
        if place is not None and not place.line:
            assigned = f"written, but {place} overrides it"
            yield SettingsProblem("hub.toml", 0, 0, key, assigned, severity="warning")


def _paths(keys: Collection[str], text: str) -> list[tuple[str, KeyPath]]:
    if not keys:
        return []  # the whole text was edited, which may not be valid TOML
    doc = tomllib.loads(text)
    return [(key, path_of(key, doc)) for key in keys]


def check_own(edit: Collection[str], before: str, after: str, shared: Shared | None) -> None:
    """Check that an edit of a node's file leaves out the tables of a revision, which the file does not have.

    Args:
        edit: keys to set and to remove.

    Raises:
        CannotEdit: it does not; the message names the first such table.
    """
    if shared is None or shared.text is None:
        return
    was, would_be = document(before), document(after)
    named = [key.partition(".")[0] for key in edit]
    for table in SHARED:
        if table in named or (not edit and would_be.get(table) != was.get(table)):
            raise CannotEdit(
                f"[{table}] is in {shared.name}, for all nodes: edit the text of 'hub config show --revision"
                f" {shared.number}', then 'hub config push FILE'"
            )


GUARDED: Final = (
    ("model", "base_url"),
    ("model", "api_key"),
    ("model", "private"),
    ("fallback_models",),
    ("transcription", "base_url"),
    ("transcription", "api_key"),
    ("transcription", "private"),
    ("gateways",),
    ("connectors",),
    ("notify",),
    ("coordination", "reply_url"),
    ("storage", "url"),
    ("cluster", "bus"),
    ("listen", "devices", "tls"),
    ("listen", "operator", "tls"),
    ("listen", "webhooks", "tls"),
)


class BeyondSettings(HubError):
    """Change of a guarded key without all scopes; the new text was not evaluated."""

    code = ErrorCode.FORBIDDEN


def check_guarded(before: str, after: str) -> None:
    """Check that *after*, which is not evaluated yet, keeps every guarded key of *before*.

    Raises:
        BeyondSettings: a guarded key differs; the message names the first such key.
    """
    was, would_be = _guarded(before), _guarded(after)
    for key, value in would_be.items():
        if value != was.get(key):
            raise BeyondSettings(
                f"{key} (a secret, a file or where the model is found) is changed with all scopes of an"
                " admin: with such a token, or on the hub's own machine"
            )


def _guarded(text: str) -> dict[str, Any]:
    """Return the guarded keys of *text*; empty if *text* is not valid TOML."""
    try:
        doc: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError):  # also a number of too many digits
        return {}
    return {spell(path): value_at(doc, path) for path in GUARDED}


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
    for change in changes:
        found[change.key] = KeyChange(change.key, found.get(change.key, change).old, change.new)
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
    if isinstance(value, Mapping) and any(
        issubclass(model, SettingsTable) for model in tables_at(path, Settings)
    ):
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
