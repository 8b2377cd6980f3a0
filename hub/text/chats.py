"""Conversion of chat exports to text: WhatsApp (text), Telegram and Slack (JSON). Pure functions.

The format is always the same; ``archives`` reads it::

    # Name of the chat
    [2025-01-06 14:22] Anna: Can you send the plan by Friday?
      Further lines of a message are indented.

Notices of the program ("Anna left") and markers of omitted media are left out. Each line of an export of
WhatsApp stays one line with the same number, so that a person finds a place in the file.

A numeric date is rewritten only if its order is certain, by its values or because the messages are in the
order of time. Otherwise it stays as written, and relative dates in its message stay unresolved.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from html import unescape
from itertools import pairwise
from typing import Final

import msgspec

from hub.text.files import NotConvertible
from hub.text.mime import on_one_line

# Beginning of a message in the text.
BEGINNING: Final = re.compile(r"^\[(?P<at>[^\]\n]{1,40})\] (?P<author>[^:\n]{1,80}):(?: |$)", re.MULTILINE)

_MOST_NAME_CHARS: Final = 60
_NOT_TEXT: Final = re.compile("[\0\ud800-\udfff]")


def is_export(head: str, *, is_json: bool) -> bool:
    """Return True if the beginning of a file seems to be of a chat's export."""
    if not is_json:
        return _is_whatsapp(head)
    is_telegram = ('"messages"' in head and ('"from_id"' in head or '"actor_id"' in head)) or (
        '"personal_information"' in head and '"user_id"' in head
    )
    return is_telegram or ('"ts"' in head and '"type"' in head and ('"user"' in head or '"bot_id"' in head))


def text_of_export(text: str) -> str:
    """Return the messages of a chat's export as text.

    Raises:
        NotConvertible: the text is no such export.
    """
    first = text.lstrip("\ufeff \t\r\n")[:1]
    try:
        if first == "{":
            written = list(_telegram(text))
        elif first == "[" and not _is_whatsapp(text[:4_000]):
            written = list(_slack(text))
        else:
            written = _whatsapp(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise NotConvertible("not an export of a chat") from error
    if not any(BEGINNING.match(line) for line in written):
        raise NotConvertible("not an export of a chat: it contains no message")
    return "\n".join(written) + "\n"


def _lines(written_at: str, author: str | None, content: str) -> str:
    name = on_one_line(author or "", _MOST_NAME_CHARS).replace(":", " ").strip() or "unknown"
    content = _NOT_TEXT.sub("\ufffd", content).replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    first, *others = content.split("\n")
    return "\n".join([f"[{written_at}] {name}: {first}", *(f"  {line}".rstrip() for line in others)]).rstrip()


_DAY: Final = r"(?P<a>\d{4}|\d{1,2})(?P<sign>[./-]) ?(?P<b>\d{1,2})(?P=sign) ?(?P<c>\d{4}|\d{1,2})\.?"
_TIME: Final = (
    r"(?:(?P<noon>上午|下午|午前|午後|오전|오후)\s?)?(?P<h>\d{1,2})[:.](?P<m>\d{2})(?P<s>[:.]\d{2})?"
    r"(?:\s?(?P<half>[ap])\.?\s?m\.?)?"
)
_INVISIBLE: Final = "\u200e\u200f\u202a\u202c\ufeff"
_WHATSAPP: Final = (
    re.compile(rf"[{_INVISIBLE}]?\[{_DAY}(?P<comma>,?)\s{_TIME}\]\s", re.IGNORECASE),  # iOS
    re.compile(rf"[{_INVISIBLE}]?{_DAY}(?P<comma>,?)\s{_TIME}\s[-\u2013]\s", re.IGNORECASE),  # Android
)
_AFTERNOON: Final = ("p", "下午", "午後", "오후")
_STAMP_CHARS: Final = 60
# A message of people, in contrast to a notice of the program.
_AUTHOR: Final = re.compile(
    rf"(?:[~{_INVISIBLE}]|[^\S\n])*+(?P<name>[^:\"“”„«»\n]{{1,{_MOST_NAME_CHARS}}}):(?:\s|$)"
)
# "<Media omitted>" in any language; "IMG-1.jpg (file attached)"; what iOS marks as its own words.
_MEDIA: Final = re.compile(
    rf"[{_INVISIBLE}]|<[^<>\n]{{1,60}}>\s*$|\S{{1,120}}\.\w{{2,4}} \([^()\n]{{1,40}}\)\s*$"
)
_EDITED: Final = re.compile(r"\s?\u200e?<[^<>\n]{1,60}>\s*$")


def _is_whatsapp(head: str) -> bool:
    lines = head.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if (stamp := _stamp(first)) is None:
        return False
    # "[2025-01-06 14:22] Anna: ..." is also how people write notes.
    if first.lstrip(_INVISIBLE).startswith("[") and not (stamp["comma"] or stamp["s"]):
        return False
    stamped = [(line, found) for line in lines if (found := _stamp(line))]
    return len(stamped) > 1 and any(_AUTHOR.match(line, found.end()) for line, found in stamped)


def _stamp(line: str) -> re.Match[str] | None:
    return next(filter(None, (form.match(line[:_STAMP_CHARS]) for form in _WHATSAPP)), None)


def _whatsapp(text: str) -> list[str]:
    """Return one line for each line of the export; empty for notices and omitted media."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    stamps = [_stamp(line) for line in lines]
    orders = {sign: _order([stamp for stamp in stamps if stamp and stamp["sign"] == sign]) for sign in "./-"}
    written: list[str] = []
    begun: str | None = None  # beginning of the current message, if it has no text yet
    is_of_person = False
    for line, stamp in zip(lines, stamps, strict=True):
        if stamp is None:
            if begun is not None and line.strip():  # the text below a picture
                written[-1] = written[-1] or begun
                begun = None
            written.append(f"  {line}".rstrip() if is_of_person and begun is None else "")
            continue
        author = _AUTHOR.match(line, stamp.end())
        begun, is_of_person = None, author is not None
        if author is None:
            written.append("")
            continue
        content = line[author.end() :].strip()
        at = _written_at(stamp, orders[stamp["sign"]])
        if not content or _MEDIA.match(content):
            begun = _lines(at, author["name"], "")
            written.append("")
        else:
            shown = content if content.endswith("\u200e") else _EDITED.sub("", content)
            written.append(_lines(at, author["name"], shown))
    return written


def _order(stamps: Sequence[re.Match[str]]) -> str | None:
    """Return the order of year, month and day in *stamps*, such as ``dmy``; None if it is ambiguous."""
    if not stamps:
        return None
    if all(len(stamp["a"]) == 4 for stamp in stamps):
        return "ymd"
    if stamps[0]["sign"] == ".":
        return "dmy"
    possible: dict[str, bool] = {}  # whether the messages are in the order of time
    for order in ("dmy", "mdy"):
        days = [_day(stamp, order) for stamp in stamps]
        known = [day for day in days if day is not None]
        if len(known) == len(days):
            possible[order] = all(day <= later for day, later in pairwise(known))
    best = [order for order, is_sorted in possible.items() if is_sorted or not any(possible.values())]
    if len(best) == 2 and all(stamp["a"].zfill(2) == stamp["b"].zfill(2) for stamp in stamps):
        return best[0]
    return best[0] if len(best) == 1 else None


def _day(stamp: re.Match[str], order: str) -> date | None:
    parts = dict(zip(order, (stamp["a"], stamp["b"], stamp["c"]), strict=True))
    year = int(parts["y"])
    try:
        return date(year if year > 99 else 2000 + year, int(parts["m"]), int(parts["d"]))
    except ValueError:
        return None


def _written_at(stamp: re.Match[str], order: str | None) -> str:
    hour = int(stamp["h"])
    if half := (stamp["half"] or stamp["noon"] or "").lower():
        hour = hour % 12 + (12 if half in _AFTERNOON else 0)
    day = _day(stamp, order) if order else None
    shown = day.isoformat() if day else stamp["sign"].join((stamp["a"], stamp["b"], stamp["c"]))
    return f"{shown} {hour:02}:{stamp['m']}"


class _Part(msgspec.Struct):
    """Part of a message of Telegram with a format, such as a link."""

    text: str = ""


class _Note(msgspec.Struct):
    """Message of Telegram."""

    type: str = ""
    date: str = ""
    date_unixtime: str | int = ""
    author: str | None = msgspec.field(name="from", default=None)
    forwarded_from: str | None = None
    text: str | list[str | _Part] = ""


class _Chat(msgspec.Struct):
    """Chat of Telegram. Messages are decoded one by one, so that a broken one does not affect the others."""

    name: str | None = None
    messages: list[msgspec.Raw] = []


class _Chats(msgspec.Struct):
    """Chats of an export of Telegram."""

    chats: list[_Chat] = msgspec.field(name="list", default_factory=list)


class _Export(_Chat):
    """Export of Telegram: of one chat, or of all."""

    chats: _Chats = msgspec.field(default_factory=_Chats)
    left_chats: _Chats = msgspec.field(default_factory=_Chats)


def _telegram(text: str) -> Iterator[str]:
    export = msgspec.json.decode(text, type=_Export)
    for chat in (export, *export.chats.chats, *export.left_chats.chats):
        lines = [line for raw in chat.messages if (line := _of_telegram(raw))]
        if lines:
            yield f"# {on_one_line(chat.name or 'Chat', _MOST_NAME_CHARS)}"
            yield from lines


def _of_telegram(raw: msgspec.Raw) -> str:
    try:
        note = msgspec.json.decode(raw, type=_Note)
    except msgspec.DecodeError:
        return ""
    parts = [note.text] if isinstance(note.text, str) else note.text
    content = "".join(part if isinstance(part, str) else part.text for part in parts)
    if note.type != "message" or not content.strip():
        return ""
    author = note.author if note.forwarded_from is None else f"{note.forwarded_from} (forwarded)"
    return _lines(_telegram_time(note), author, content)


def _telegram_time(note: _Note) -> str:
    """Return the local time of the export with its distance from UTC, if that is known."""
    local = note.date[:16].replace("T", " ")
    try:
        at = datetime.fromtimestamp(int(note.date_unixtime), UTC)
        offset = datetime.fromisoformat(note.date).replace(tzinfo=UTC) - at
        is_zone = abs(offset) <= timedelta(hours=15) and offset.total_seconds() % 900 == 0
        return at.astimezone(timezone(offset) if is_zone else UTC).isoformat(" ", "minutes")
    except (ValueError, OverflowError, OSError):
        return _NOT_TEXT.sub("", local).replace("]", "").replace("\n", "") or "unknown"


class _Profile(msgspec.Struct):
    real_name: str | None = None
    display_name: str | None = None


class _Post(msgspec.Struct):
    """Message of Slack."""

    type: str = ""
    subtype: str | None = None
    user: str | None = None
    username: str | None = None
    bot_id: str | None = None
    user_profile: _Profile | None = None
    text: str | None = None
    ts: str = ""

    @property
    def author(self) -> str | None:
        profile = self.user_profile or _Profile()
        return profile.real_name or profile.display_name or self.username or self.user or self.bot_id


_NOTICES: Final = (
    "channel_",
    "group_",
    "pinned_",
    "bot_add",
    "bot_remove",
    "reminder_",
    "tombstone",
    "huddle_",
)
_REFERENCE: Final = re.compile(r"<(?P<kind>[@#!]?)(?P<to>[^<>|\n]*)(?:\|(?P<label>[^<>\n]*))?>")


def _slack(text: str) -> Iterator[str]:
    posts: list[_Post] = []
    for raw in msgspec.json.decode(text, type=list[msgspec.Raw]):
        try:
            posts.append(msgspec.json.decode(raw, type=_Post))
        except msgspec.DecodeError:
            continue
    names = {post.user: post.author or post.user for post in posts if post.user}
    for post in posts:
        content = _REFERENCE.sub(lambda match: _referred(match, names), post.text or "")
        if post.type == "message" and not (post.subtype or "").startswith(_NOTICES) and content.strip():
            yield _lines(_slack_time(post.ts), post.author, unescape(content))


def _referred(match: re.Match[str], names: dict[str, str]) -> str:
    """Return a reference as Slack shows it: a name, a label, or an address."""
    to, label = match["to"], match["label"]
    match match["kind"]:
        case "@":
            return f"@{label or names.get(to, to)}"
        case "#":
            return f"#{label or to}"
        case "!":
            return f"@{label or to.partition('^')[0]}"
        case _:
            return f"{label} ({to})" if label and label != to else to


def _slack_time(ts: str) -> str:
    try:
        return datetime.fromtimestamp(int(ts.partition(".")[0]), UTC).isoformat(" ", "minutes")
    except (ValueError, OverflowError, OSError):
        return "unknown"
