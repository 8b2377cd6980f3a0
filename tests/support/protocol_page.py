"""Generated parts of PROTOCOL.md: frames, codes, limits, tables, states, conversations, signed texts.

Pure functions from structs and tables to Markdown. The comments of fields come in as *notes*, because reading
a source file is I/O.
"""

import hashlib
import inspect
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import msgspec
from msgspec import inspect as shapes

from protocol import frame as limits
from protocol import keys
from protocol.capabilities import CAPABILITY_OF, CapabilityName
from protocol.codec import FROM_DEVICE, FROM_HUB, type_of
from protocol.coordination import EventName, Method
from protocol.errors import CATALOGUE, CLOSE_MEANINGS, CloseCode
from protocol.frame import Frame, Id, Name, Parameters, Path, Record, Sha256, Values
from protocol.handshake import challenge_text, signed_text
from protocol.ids import DeviceId
from protocol.lifecycles import CALL, RUN, UNIT, Table
from protocol.session import (
    ALLOWED_FROM_DEVICE,
    ALLOWED_FROM_HUB,
    DEVICE_SESSION,
    HUB_SESSION,
    MAX_UNKNOWN_ANSWERED,
    OVER,
    WELCOME_TIMEOUT_S,
)
from protocol.skipped_files import LEFT_OUT, SkipReason
from protocol.tables import TABLES, Column, DeviceTable
from tests.support.protocol_examples import (
    CHALLENGE,
    CONVERSATIONS,
    DEVICE_NONCE,
    HELLO,
    HUB_KEY,
    KEY,
    NEXT_KEY,
    PROOF,
    ROTATION_PROOF,
    ROTATION_SIGNATURE,
    SIGNATURE,
    WELCOME,
)

Notes = Mapping[tuple[str, str], str]  # (struct, field) -> the field's comment

_MARKED = re.compile(r"(<!-- generated: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NAMED_SHAPES = {
    name: shapes.type_info(shape)
    for name, shape in {
        "id": Id,
        "name": Name,
        "path": Path,
        "digest": Sha256,
        "record": Record,
        "parameters": Parameters,
        "values": Values,
    }.items()
}
_EVERY_FRAME = tuple(dict.fromkeys(FROM_HUB + FROM_DEVICE))

_LIMITS = (
    ("MAX_HELLO_BYTES", "a message before the session is open"),
    ("MAX_MESSAGE_BYTES", "any other message, unless `welcome.limits` says less"),
    ("MAX_PIECE_BYTES", "text of one piece of a file"),
    ("MAX_PARAMS", "parameters of a `request`; more are answered with the error `too_large`"),
    ("MAX_PARAMS_BYTES", "of those of them that are no texts: lists, objects and numbers"),
    ("MAX_RESULT_BYTES", "the `result` of a `tool_result`; more is read as the error `result_too_large`"),
    ("MAX_USAGE_BYTES", "`resource_usage` of all agents in a `heartbeat`; more is refused as `too_large`"),
    (
        "MAX_EXTREME_NUMBERS",
        "numbers outside of texts whose exponent has three digits, as `1e308`: they are slow to read",
    ),
    (
        "MAX_CONTAINERS",
        "lists and objects outside of texts, in a message of at most MAX_RESULT_BYTES or in one open value",
    ),
    ("MAX_RESULT_DEPTH", "levels of lists and objects in a `result`"),
    ("MAX_PENDING_CALLS", "calls open at one device, those of `tool_calls` each by itself"),
    ("MAX_BATCH_CALLS", "calls in one `tool_calls`, answers in one `tool_results`"),
    ("MAX_PENDING_REQUESTS", "requests of one device open at the hub"),
    ("CREDIT_PIECES", "pieces that may be sent before the first `agent_credit`"),
    ("HELLO_TIMEOUT_S", "seconds in which the hello must come; and the challenge"),
    ("HEARTBEAT_INTERVAL_MS", "milliseconds between heartbeats"),
    ("SILENT_AFTER_HEARTBEATS", "heartbeats that may be missing before a device's agents count as offline"),
    ("MAX_REASON_BYTES", "the reason text of a close"),
)

_CAPABILITIES = {
    CapabilityName.ROWS_SHA256: "takes digests of rows by SHA-256 from the hub, and has no BLAKE2b",
    CapabilityName.AGENT_DATA_CREDIT: "keeps to credit: at most so many pieces under way as were granted",
    CapabilityName.AGENT_MANIFEST: "answers `mode: manifest` with digests; an unchanged folder is one frame",
    CapabilityName.AGENT_MANIFEST_PAGES: "lists all its files in a `paged` run, a frame for each question",
    CapabilityName.AGENT_RUN_ONLY: "lists the one file that `only` names, or says why it is left out",
    CapabilityName.AGENT_WORK: "does tasks: takes `agent_run` with the mode `work`",
    CapabilityName.AGENT_CONFIG: "hears by the event of this name how its agents are configured",
    CapabilityName.TOOL_CALLS: "takes several calls on rows in one frame, and answers them together",
    CapabilityName.HUBS: "hears by the frame of this name when a node of the hub was added or removed",
    CapabilityName.ITEM_PLACES: "reports where approved items are outside of its file (`places.report`)",
    CapabilityName.AGENT_RECEIPT: "keeps what the hub received, as the frame of this name says it",
    CapabilityName.AGENT_ACK: "says at once whether a run is taken on; without it the first data says so",
}

_SKIPS = {
    SkipReason.OTHER_EXTENSION: "`file_extensions` do not name its extension; counted",
    SkipReason.OUTSIDE_SHARED: "the path leads out of the shared folders",
    SkipReason.OUTSIDE_PATHS: "of a run over one file: it is shared, and not in `paths`",
    SkipReason.HIDDEN: "its name, or that of a folder around it, begins with a dot; counted",
    SkipReason.KEY_FILE: "its name is that of keys or passwords; counted",
    SkipReason.VERSION_CONTROL: "it belongs to a version control system; counted",
    SkipReason.IGNORED: "the owner excludes it, as by an ignore file; counted",
    SkipReason.GENERATED: "a program fills its folder; counted",
    SkipReason.SECRET: "its text or name has a key or a password; details: its kind, and the line",
    SkipReason.SYMLINK: "it is a link, and none is followed",
    SkipReason.HARD_LINK: "it has other names outside of what is read",
    SkipReason.NOT_A_FILE: "it is a folder, a pipe, a socket or the like",
    SkipReason.NAME_NOT_UTF8: "its name cannot be sent",
    SkipReason.NOT_OFFERED: "it was fetched, and is not offered any more",
    SkipReason.NOT_CONVERTIBLE: "neither the device nor the hub makes text of it",
    SkipReason.BAD_IGNORE_FILE: "an ignore file of the folder is broken; nothing in it is offered",
    SkipReason.TOO_DEEP: "too many folders lie around it, or its path is too long",
    SkipReason.TOO_LARGE: "it has more bytes than the device sends",
    SkipReason.LIMIT: "`limits` of the run, or what a device lists, was reached; of many: counted",
    SkipReason.MISSING: "no shared folder has the path",
    SkipReason.UNREADABLE: "the system lets nobody read it, or its disk fails",
    SkipReason.CHANGED: "it changed or vanished while it was read; the next run reads it",
    SkipReason.CONVERT_SECONDS: "its conversion to text took too long",
    SkipReason.CONVERT_MEMORY: "its conversion to text took too much memory",
}


def sections(notes: Notes) -> dict[str, str]:
    """Return every generated part by its name, as inserted between the markers."""
    return {
        "conversations": _conversations(),
        "signed text": _hello_text(),
        "challenge text": _challenge_lines(),
        "key id": _key_id(),
        "rotation text": _rotation_text(),
        "capabilities": _capabilities(),
        "methods": _bullets(f"`{method}`" for method in Method),
        "events": _bullets(f"`{event}`" for event in EventName),
        "skip reasons": _skip_reasons(),
        "limits": _limits(),
        "close codes": _close_codes(),
        "error codes": _error_codes(),
        "device tables": "\n\n".join(_device_table(table) for table in TABLES.values()),
        "states": _states(),
        "diagrams": "\n\n".join(diagram(table) for table in (HUB_SESSION, DEVICE_SESSION, RUN, UNIT, CALL)),
        "frames": _frames(notes),
    }


def _skip_reasons() -> str:
    """Return the reasons of ``skipped``: those of files left out on purpose first."""
    by_failure = sorted(SkipReason, key=lambda reason: reason not in LEFT_OUT)
    rows = ((f"`{one}`", _SKIPS[one], "no" if one in LEFT_OUT else "yes") for one in by_failure)
    return _rows(("reason", "meaning", "a failed file"), rows)


def rewrite(page: str, parts: Mapping[str, str]) -> str:
    """Replace each part between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in *page*.

    Raises:
        KeyError: the page has a marker for an unknown part.
        ValueError: the page lacks the marker of a part.
    """
    written = [marked["name"] for marked in _MARKED.finditer(page)]
    if missing := set(parts) - set(written):
        raise ValueError(f"no place in the page for: {', '.join(sorted(missing))}")
    return _MARKED.sub(lambda marked: f"{marked[1]}\n{parts[marked['name']]}\n\n{marked[3]}", page)


def notes_in(source: str) -> dict[tuple[str, str], str]:
    """Return the comments of the fields of the structs in *source*."""
    notes, struct = {}, ""
    for line in source.splitlines():
        if named := re.match(r"class (\w+)\(", line):
            struct = named[1]
        elif field := re.match(r"    (\w+): .*?  # (.*)$", line):
            notes[struct, field[1]] = field[2]
    return notes


def direction_of(frame: type[Frame]) -> str:
    """Return the direction of a frame, in words."""
    if frame in FROM_HUB and frame in FROM_DEVICE:
        return "both ways"
    return "hub to device" if frame in FROM_HUB else "device to hub"


def purpose_of(frame: type[Frame]) -> str:
    """Return the first line of a frame's docstring, without the direction."""
    return _doc_of(frame).partition("\n")[0].partition(": ")[2]


def diagram(table: Table[Any, Any]) -> str:
    """Return a transition table as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {table.initial.name}"]
    between: dict[tuple[Enum, Enum], list[str]] = {}
    for before, event, after in table.moves():
        between.setdefault((before, after), []).append(event.name.lower())
    lines += [
        f"    {before.name} --> {after.name}: {', '.join(events)}"
        for (before, after), events in between.items()
    ]
    ends = dict.fromkeys(after for _, _, after in table.moves() if table.is_final(after))
    lines += [f"    {state.name} --> [*]" for state in ends]
    return f"The {table.name}:\n\n" + "\n".join([*lines, "```"])


def _doc_of(struct: type[Any]) -> str:
    return inspect.cleandoc(struct.__doc__ or "")


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


# Frames


def _frames(notes: Notes) -> str:
    parts, shown = [], set[type[Any]]()
    for frame in _EVERY_FRAME:
        first, _, rest = _doc_of(frame).partition("\n")
        head = f"### `{type_of(frame)}`\n\n**{direction_of(frame).capitalize()}**: {first.partition(': ')[2]}"
        parts.append(f"{head}\n{rest}\n\n{_fields(frame, notes)}".rstrip())
        for struct in _structs_in(frame):
            if struct not in shown:
                shown.add(struct)
                parts.append(f"#### {struct.__name__}\n\n{_doc_of(struct)}\n\n{_fields(struct, notes)}")
    return "\n\n".join(parts)


def _fields(struct: type[Any], notes: Notes) -> str:
    fields = [field for field in msgspec.structs.fields(struct) if field.name != "trace"]
    if not fields:
        return "No fields."
    kinds = {field.name: field for field in _shape(struct).fields}
    rows = (
        (
            f"`{field.name}`",
            _spelled(kinds[field.name].type),
            _default(field),
            notes.get((struct.__name__, field.name), ""),
        )
        for field in fields
    )
    return _rows(("field", "type", "default", ""), rows)


def _shape(struct: type[Any]) -> shapes.StructType:
    shape = shapes.type_info(struct)
    while isinstance(shape, shapes.Metadata):
        shape = shape.type
    if not isinstance(shape, shapes.StructType):
        raise TypeError(f"{struct} is not a struct")
    return shape


def _structs_in(struct: type[Any]) -> list[type[Any]]:
    """Return the structs inside *struct*, in the order of its fields, innermost last."""
    found: list[type[Any]] = []

    def visit(kind: shapes.Type) -> None:
        match kind:
            case shapes.Metadata():
                visit(kind.type)
            case shapes.UnionType():
                for one in kind.types:
                    visit(one)
            case shapes.ListType() | shapes.VarTupleType():
                visit(kind.item_type)
            case shapes.StructType():
                found.append(kind.cls)
                found.extend(_structs_in(kind.cls))

    for field in _shape(struct).fields:
        visit(field.type)
    return found


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "**required**"
    default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if default is None or default is msgspec.UNSET:
        return "absent"
    if isinstance(default, msgspec.Struct):
        return "its defaults"
    return f"`{msgspec.json.encode(default).decode()}`"


def _spelled(kind: shapes.Type) -> str:
    for name, shape in _NAMED_SHAPES.items():
        if kind == shape:
            return name
    match kind:
        case shapes.Metadata():
            return _spelled(kind.type)
        case shapes.UnionType():
            return " or ".join(_spelled(one) for one in kind.types if not isinstance(one, shapes.NoneType))
        case shapes.StrType():
            return f"text, at most {kind.max_length}" if kind.max_length else "text"
        case shapes.IntType():
            return f"integer{_range(kind)}"
        case shapes.FloatType():
            return "number"
        case shapes.BoolType():
            return "boolean"
        case shapes.EnumType():
            return ", ".join(f"`{value.value}`" for value in kind.cls)
        case shapes.ListType() | shapes.VarTupleType():
            return f"list{_at_most(kind)} of {_spelled(kind.item_type)}"
        case shapes.DictType():
            return f"object{_at_most(kind)} of {_spelled(kind.value_type)}"
        case shapes.StructType():
            return f"[{kind.cls.__name__}](#{kind.cls.__name__.lower()})"
        case shapes.RawType():
            return "any value"
    raise TypeError(f"no words for {kind}: add them when a frame needs it")


def _range(kind: shapes.IntType) -> str:
    if kind.ge is None or kind.le is None:
        return ""
    return f" from {kind.ge}" if kind.le > 10**12 else f", {kind.ge} to {kind.le}"


def _at_most(kind: shapes.ListType | shapes.VarTupleType | shapes.DictType) -> str:
    return f" (at most {kind.max_length})" if kind.max_length else ""


# Keys: signed texts, and the spelling of ids


def _hello_text() -> str:
    """Return the text that a hello's signature covers, and a signature."""
    assert CHALLENGE.proof is not None
    text = signed_text(CHALLENGE, HELLO, CHALLENGE.ts_ms, address=CHALLENGE.proof.address)
    return (
        f"{_quoted(text)}\n\n"
        f"For the greeting above, signed at its `ts_ms`: {_measured(text)} The secret key"
        f" of RFC 8032, 7.1, test 1 (its public key travels as `{keys.encode(KEY)}`) signs it with\n\n"
        f"```\n{SIGNATURE}\n```"
    )


def _challenge_lines() -> str:
    """Return the text that the hub's signature covers, and a signature."""
    text = challenge_text(
        CHALLENGE, public_key=keys.encode(HUB_KEY), address="hub.example", device_nonce=DEVICE_NONCE
    )
    return (
        f"{_quoted(text)}\n\n"
        f"{_measured(text)} The secret key of RFC 8032, 7.1, test 3 signs it with\n\n"
        f"```\n{PROOF}\n```"
    )


def _key_id() -> str:
    """Return a key's id, with and without check characters."""
    return (
        f"That key's id is `{keys.key_id(KEY)}`, and people compare it as\n\n"
        f"```\n{keys.shown(keys.key_id(KEY))}\n```"
    )


def _rotation_text() -> str:
    """Return the text that both keys sign, and their signatures."""
    text = keys.rotation_text(WELCOME.hub_id, DeviceId(WELCOME.device_id), old_key=KEY, new_key=NEXT_KEY)
    return (
        f"{_quoted(text)}\n\n"
        f"{_measured(text)} The new key is that of RFC 8032, 7.1, test 2. `signature` and `proof` are\n\n"
        f"```\n{ROTATION_SIGNATURE}\n{ROTATION_PROOF}\n```"
    )


def _quoted(text: bytes) -> str:
    return f"```\n{text.decode()}\n```"


def _measured(text: bytes) -> str:
    return f"{len(text)} bytes, SHA-256 `{hashlib.sha256(text).hexdigest()}`."


# Everything else


def _conversations() -> str:
    return "\n\n".join(
        f"{conversation.title}:\n\n```\n" + "\n".join(conversation.lines()) + "\n```"
        for conversation in CONVERSATIONS
    )


def _capabilities() -> str:
    actions = {name: f"takes `tool_call` with action `{action}`" for action, name in CAPABILITY_OF.items()}
    return _rows(
        ("name", "a device that lists it"),
        ((f"`{name}`", (_CAPABILITIES | actions)[name]) for name in CapabilityName),
    )


def _limits() -> str:
    rows = [(name, str(getattr(limits, name)), meaning) for name, meaning in _LIMITS]
    rows.append(
        ("WELCOME_TIMEOUT_S", f"{WELCOME_TIMEOUT_S:g}", "seconds in which the device is welcomed or refused")
    )
    unknown = "unknown types that are answered in one session"
    rows.append(("MAX_UNKNOWN_ANSWERED", str(MAX_UNKNOWN_ANSWERED), unknown))
    return _rows(
        ("limit", "value", "of"),
        ((f"`{name}`", value.removesuffix(".0"), meaning) for name, value, meaning in rows),
    )


def _close_codes() -> str:
    return _rows(
        ("code", "meaning", "come back by yourself"),
        ((str(int(code)), meaning, _returns(code)) for code, meaning in CLOSE_MEANINGS.items()),
    )


def _returns(code: CloseCode) -> str:
    if code is CloseCode.PAIRING_REQUIRED:
        return "with `retry_after_ms`: yes; without: no"
    return "yes, with backoff" if code.may_return else "no"


def _error_codes() -> str:
    return _rows(
        ("code", "who has to change something", "a retry may help", "HTTP", "hint"),
        (
            (f"`{code}`", info.fault, "yes" if info.retryable else "no", str(info.http_status), info.hint)
            for code, info in CATALOGUE.items()
        ),
    )


def _device_table(table: DeviceTable) -> str:
    rows = (
        (f"`{column.name}`", column.kind, column.filler, _needed(column), _about(column))
        for column in table.columns
    )
    return f"### `{table.name}`: {table.about}\n\n" + _rows(
        ("column", "kind", "filled by", "required", ""), rows
    )


def _needed(column: Column) -> str:
    if column.required:
        return "yes"
    return "to approve" if column.required_to_approve else ""


def _about(column: Column) -> str:
    parts = [column.about] if column.about else []
    if column.choices:
        parts.append("one of " + ", ".join(f"`{choice}`" for choice in column.choices))
    if column.refers_to:
        parts.append(f"an id in `{column.refers_to}`")
    if column.default is not None:
        parts.append(f"else `{column.default}`")
    return "; ".join(parts)


def _states() -> str:
    rows = (
        (state.name, _names(ALLOWED_FROM_DEVICE[state]), _names(ALLOWED_FROM_HUB[state]))
        for state in ALLOWED_FROM_DEVICE
        if state not in OVER
    )
    return _rows(("state of the hearer", "a hub hears", "a device hears"), rows)


def _names(frames: Iterable[type[Frame]]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(map(type_of, frames))) or "nothing"
