"""Conversion of chat exports (WhatsApp, Telegram, Slack, Signal) to text. Pure.

The format is always the same; ``archives`` reads it::

    # Name of the chat
    [2025-01-06 14:22] Anna: Can you send the plan by Friday?
      Further lines of a message are indented.

Notices of the program ("Anna left") and markers of omitted media are left out, and so is what was forwarded
in a copied chat. Each line of an export of WhatsApp stays one line with the same number, so that a person
finds a place in the file.

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
from hub.text.folding import LEAD
from hub.text.header_values import CHAT_MESSAGE, date_in, on_one_line

_MAX_NAME_CHARS: Final = 60
_NOT_TEXT: Final = re.compile("[\0\ud800-\udfff]")


def is_export(head: str, *, is_json: bool) -> bool:
    """Return True if the beginning of a file seems to be of a chat's export."""
    if not is_json:
        return _is_whatsapp(head) or any(len(form.findall(head)) > 1 for form in _COPIED)
    is_telegram = ('"messages"' in head and ('"from_id"' in head or '"actor_id"' in head)) or (
        '"personal_information"' in head and '"user_id"' in head
    )
    return is_telegram or ('"ts"' in head and '"type"' in head and ('"user"' in head or '"bot_id"' in head))


def text_of_export(text: str) -> str:
    """Return the messages of a chat's export as text.

    Raises:
        NotConvertible: the text is no such export.
    """
    lead = text[: len(text) - len(text.lstrip(LEAD))]
    text = "\n" * lead.count("\n") + text[len(lead) :]  # so that lines keep their numbers
    first = text.lstrip()[:1]
    try:
        if first == "{":
            written = list(_telegram(text))
        elif first == "[" and not _is_whatsapp(text[:4_000]):
            written = list(_slack(text))
        elif _is_whatsapp(text[:4_000]):
            written = _whatsapp(text)
        else:
            written = list(_copied(text.replace("\r\n", "\n")))
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise NotConvertible("not an export of a chat") from error
    if not any(CHAT_MESSAGE.match(line) for line in written):
        raise NotConvertible("not an export of a chat: it contains no message")
    return "\n".join(written) + "\n"


def _lines(written_at: str, author: str | None, content: str) -> str:
    name = on_one_line(author or "", _MAX_NAME_CHARS).replace(":", " ").strip() or "unknown"
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
# A message of people, in contrast to a notice of the program.
_AUTHOR: Final = re.compile(
    rf"(?>(?:[~{_INVISIBLE}]|[^\S\n])*)(?P<name>[^:\"“”„«»\n]{{1,{_MAX_NAME_CHARS}}}):(?!//|\d)\s?"
)
# "<Media omitted>" in any language; "IMG-1.jpg (file attached)"; what iOS marks as its own words.
_MEDIA: Final = re.compile(
    rf"[{_INVISIBLE}]|<[^<>\n]{{1,60}}>\s*$|\S{{1,120}}\.\w{{2,4}} \([^()\n]{{1,40}}\)\s*$"
)
# What a program writes in the name of a person, in six languages.
_NOTICE: Final = re.compile(
    r"(?:you deleted this message|this message was deleted|missed (?:voice|video|group)[\w ]* call"
    r"|(?:diese nachricht wurde|du hast diese nachricht) gelöscht|verpasster \w*anruf"
    r"|(?:ce message a été|vous avez) supprimé(?: ce message)?|appel (?:vocal|vidéo) manqué"
    r"|se eliminó este mensaje|este mensaje fue eliminado|eliminaste este mensaje|(?:video)?llamada perdida"
    r"|(?:вы удалили )?(?:данное|это) сообщение(?: удалено| было удалено)?|пропущенный \w*звонок"
    r"|.{0,20}撤回了一条消息|.{0,4}(?:此消息|这条消息)已(?:被)?删除|未接(?:语音|视频)通话)\W*",
    re.IGNORECASE,
)
_EDITED: Final = re.compile(r"\s?\u200e?<[^<>\n]{1,60}>\s*$")


_OMITTED: Final = re.compile(
    rf": [{_INVISIBLE}]?(?:<[^<>\n]{{1,60}}>|\S{{1,120}}\.\w{{2,4}} \([^()\n]{{1,40}}\))[ \t\r]*$",
    re.MULTILINE,
)


def count_media(text: str) -> int:
    """Return how many pictures and recordings a copied or exported chat only marks, as WhatsApp does."""
    return len(_OMITTED.findall(text))


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
    return next(filter(None, (form.match(line[:60]) for form in _WHATSAPP)), None)


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
        if not content or _MEDIA.match(content) or _NOTICE.fullmatch(content):
            begun = _lines(at, author["name"], "")
            written.append("")
        else:
            shown = content if content.endswith("\u200e") else _EDITED.sub("", content)
            written.append(_lines(at, author["name"], shown))
    return written


# The line above a message that was copied from Telegram, exported from Signal, or copied from Slack.
_COPIED: Final = (
    re.compile(rf"^(?P<who>[^\n,\[\]]{{1,60}}), \[{_DAY}(?P<comma>,?) {_TIME}\]\n", re.M | re.I),
    re.compile(
        r"^From: (?P<who>[^\n(]{1,60}?)(?: \([^\n)]*\))?\nType: \w+\n"
        r"Sent: (?P<sent>[^\n]*(?P<h>\d\d):(?P<m>\d\d)[^\n]*)\n(?:[A-Z]\w+: [^\n]*\n)*",
        re.MULTILINE,
    ),
    re.compile(
        r"^(?P<who>[^\n:#\[]{1,60})\n(?:APP|:[\w+-]{1,40}:)?[ \t]*(?P<h>\d{1,2}):(?P<m>\d\d)"
        r"(?:[ \u202f](?P<half>[AP])M)?\n",
        re.MULTILINE,
    ),
)
_OF_A_BOT: Final = re.compile(r"\nAPP\b")
_LONG_DAY: Final = re.compile(r"(?P<month>[A-Z][a-z]{2,8}) (?P<day>\d{1,2})(?:st|nd|rd|th), (?P<year>\d{4})")
_FORWARDED: Final = re.compile(r"\[Forwarded from ")
# Lines of a program in a copied message.
_MARKER: Final = re.compile(
    r"\[[^\]\n]*\]|:[\w+-]{1,40}:(?: \d+)?(?: \(edited\))?|\d+ repl(?:y|ies)|Last reply .*|New|joined #\S+"
)
_CODE: Final = re.compile(r"```[^`]*```")


def _copied(text: str) -> Iterator[str]:
    """Yield the messages of a copied chat; none for other text."""
    heads = max((list(form.finditer(text)) for form in _COPIED), key=len)
    spoken = _LONG_DAY.search(text, 0, heads[0].start() if heads else 0)
    moment = date_in(f"{spoken['day']} {spoken['month'][:3]} {spoken['year']} 00:00") if spoken else None
    order = _order(heads) if heads and "sign" in heads[0].groupdict() else None
    for head, end in zip(heads, [*(head.start() for head in heads[1:]), len(text)], strict=False):
        lines = _CODE.sub("", text[head.end() : end]).split("\n")
        content = "\n".join(line for line in lines if not _MARKER.fullmatch(line.strip())).strip()
        if not content or _FORWARDED.match(text, head.end()) or _OF_A_BOT.search(head[0]):
            continue
        groups = head.groupdict()
        if "sign" in groups:
            written = _written_at(head, order)
        elif at := date_in(groups.get("sent") or ""):
            written = at.isoformat(" ", "minutes")
        else:
            written = f"{moment.date() if moment else ''} {_hour(head):02}:{head['m']}".strip()
        yield _lines(written, groups["who"], content)


def _order(stamps: Sequence[re.Match[str]]) -> str | None:
    """Return the order of year, month and day in *stamps*, such as ``dmy``; None if it is ambiguous."""
    if not stamps:
        return None
    if all(len(stamp["a"]) == 4 for stamp in stamps):
        return "ymd"
    if stamps[0]["sign"] == ".":
        return "dmy"
    possible: dict[str, bool] = {}  # whether the messages are in the order of time
    spans: dict[str, timedelta] = {}
    for order in ("dmy", "ymd") if stamps[0]["sign"] == "-" else ("dmy", "mdy"):
        days = [_day(stamp, order) for stamp in stamps]
        known = [day for day in days if day is not None]
        if len(known) == len(days):
            possible[order] = all(day <= later for day, later in pairwise(known))
            spans[order] = known[-1] - known[0]
    best = [order for order, is_sorted in possible.items() if is_sorted or not any(possible.values())]
    if len(best) == 2 and stamps[0]["sign"] == "-" and len(set(spans.values())) == 2:
        return min(best, key=spans.__getitem__)  # what is said in a few days is a chat
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
    hour = _hour(stamp)
    day = _day(stamp, order) if order else None
    shown = day.isoformat() if day else stamp["sign"].join((stamp["a"], stamp["b"], stamp["c"]))
    return f"{shown} {hour:02}:{stamp['m']}"


def _hour(stamp: re.Match[str]) -> int:
    hour = int(stamp["h"])
    if half := (stamp.groupdict().get("half") or stamp.groupdict().get("noon") or "").lower():
        hour = hour % 12 + (12 if half in ("p", "下午", "午後", "오후") else 0)
    return hour


class _ChatPart(msgspec.Struct):
    """Part of a message of Telegram with a format, such as a link."""

    text: str = ""


class _Note(msgspec.Struct):
    """Message of Telegram."""

    type: str = ""
    date: str = ""
    date_unixtime: str | int = ""
    author: str | None = msgspec.field(name="from", default=None)
    forwarded_from: str | None = None
    text: str | list[str | _ChatPart] = ""


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
            yield f"# {on_one_line(chat.name or 'Chat', _MAX_NAME_CHARS)}"
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
