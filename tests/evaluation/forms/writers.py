"""Documents of fifteen forms, as people and programs write them."""

import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from email.message import EmailMessage
from itertools import count
from typing import Final

from tests.evaluation.forms.facts import Fact, Paper, Writer

_FACTS: Final = 12  # in a document, about
_DEPTH: Final = 8  # of a thread of mails

Form = Callable[[Writer, int], Iterator[Paper]]


def papers(seed: int, *, each: int = 2) -> list[Paper]:
    """Return *each* documents of every form."""
    numbers = iter(count(1))
    return [
        paper
        for form, write in FORMS.items()
        for nth in range(each)
        for paper in write(Writer(f"{seed} {form} {nth}", numbers), nth)
    ]


def _paper(form: str, name: str, text: str, writer: Writer, written: date | None = None) -> Paper:
    """Return a document; *written*: the day of its file, if that is the day of its text."""
    text = text.replace("\r\n", "\n").replace("\n", writer.lots.one(("\n", "\n", "\r\n")))
    paper = Paper(form, name, text, tuple(writer.facts))
    at = datetime.combine(written, time(18), UTC) if written else paper.modified_at
    return paper._replace(modified_at=at)


def _emphasized(writer: Writer, sentence: str) -> str:
    """Return a sentence of Markdown with some of its words emphasized."""
    words = sentence.split(" ")
    sign = writer.lots.one(("**", "*", "_", "`", "~~", "***"))
    first = writer.lots.below(len(words))
    last = min(len(words) - 1, first + writer.lots.below(3))
    words[first], words[last] = f"{sign}{words[first]}", f"{words[last]}{sign}"
    return " ".join(words)


def notes(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write running notes below dated headings, with emphasis, some of them wrapped."""
    day = writer.day()
    parts = ["# Notes"]
    for _ in range(4):
        heading = writer.lots.one(
            (day.isoformat(), writer.language.spelled(day), f"{day.isoformat()} - Standup")
        )
        parts.append(f"## {heading}")
        for _ in range(_FACTS // 4):
            said = writer.other(day)
            said = _emphasized(writer, said) if writer.lots.below(3) else said
            paragraph = f"{writer.idle()} {said} {writer.idle()}"
            parts.append(textwrap.fill(paragraph, 72) if nth % 2 else paragraph)
        day += timedelta(days=1 + writer.lots.below(9))
    yield _paper("notes", f"notes-{nth}.md", "\n\n".join(parts) + "\n", writer)


def lists(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write nested lists in which the parent names the person."""
    day = writer.day()
    mark = writer.lots.one(("-", "*", "1."))
    indent = " " * (len(mark) + 1) if nth % 2 else "\t"
    lines = [f"# Tasks, {day.isoformat()}" if nth % 2 else "# Tasks", ""]
    parent = writer.lots.one(("{mark} {who}", "{mark} **{who}**", "{mark} {who}:", "\n{who}:\n"))
    for who in writer.people[:4]:
        lines.append(parent.format(mark=mark, who=who))
        for topic in range(2):
            lines.append(f"{indent}{mark} {writer.idle(1)}")
            for _ in range(2):
                said = writer.bullet(day, who, who)
                said = said if writer.lots.below(4) else _emphasized(writer, said)
                lines.append(f"{indent * 2}{mark} {said}")
                lines += [f"{indent * 3}{mark} {writer.idle(2)}"] * (topic % 2)
    yield _paper("lists", f"lists-{nth}.md", "\n".join(lines) + "\n", writer, day)


def tables(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write tables with a row for each task."""
    day = writer.day()
    lines = [f"# {writer.language.spelled(day)}", "", writer.idle(), ""]
    lines += ["| Task | Who | When |", "|---|---|---|"]
    for row in range(2 * _FACTS):
        who, title, when = writer.person(), writer.title(), writer.language.when(writer.lots, day)
        if row % 2:
            lines.append(f"| {writer.idle(1)} |  |  |")
        sentence = f"| {title} | {who} | {when.words} |"
        lines.append(writer.keep(Fact(title, sentence, who, who, when)))
    yield _paper("tables", f"tables-{nth}.{'txt' if nth % 2 else 'md'}", "\n".join(lines) + "\n", writer)


def mails(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write a mail with seven others quoted in it, each in the next."""
    day = writer.day()
    gap = " " if nth % 2 else ""
    quoted: list[str] = []
    for level in range(_DEPTH):
        who = writer.people[level % len(writer.people)]
        said = [writer.own(day, who, f"{who} Berg"), writer.other(day)]
        body = textwrap.wrap(f"{writer.idle()} {said[0]} {writer.idle(1)} {said[1]}", 72)
        if level == _DEPTH - 1:
            break
        moment = datetime.combine(day, time(8 + level, 12), UTC)
        above = writer.language.above.format(
            day=writer.language.spelled(day), time=f"{moment:%H:%M}", who=f"{who} Berg", who_at=_address(who)
        )
        quoted = ["", above, *(_quote(line, gap) for line in [*body, *quoted])]
        day += timedelta(days=1 + writer.lots.below(6))
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = (
        "Re: Works",
        f"{who} Berg <{_address(who)}>",
        "desk@example.org",
    )
    mail["Date"] = datetime.combine(day, time(17, 3), UTC)
    mail.set_content("\n".join([*body, *quoted]) + "\n", cte="8bit")
    yield _paper("mails", f"thread-{nth}.eml", mail.as_bytes().decode(), writer)


def _quote(line: str, gap: str) -> str:
    return f">{'' if line.startswith('>') else ' '}{gap if line.startswith('>') else ''}{line}".rstrip()


def _address(who: str) -> str:
    return f"{who.lower()}@example.org"


_STAMPS: Final = (
    "[{day} {time}] {who}: {said}",
    "{d:02}.{m:02}.{yy:02}, {time} - {who}: {said}",
    "{day}T{time}:05Z {who}: {said}",
    "[{d:02}/{m:02}/{y}, {time}:05] {who}: {said}",
    "[{time}] {who}: {said}",  # below a line for each day
)


def chats(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write the log of a chat, with a stamp and a name in each line."""
    at = datetime.combine(
        date(2025, 1, 20 + writer.lots.below(10)), time(8), UTC
    )  # tells the order of strokes
    form = writer.lots.one(_STAMPS)
    lines: list[str] = []
    last = at.date()
    for row in range(2 * _FACTS):
        who, day = writer.person(), at.date()
        said = _line_of_chat(writer, day, who)
        if form == _STAMPS[-1] and (row == 0 or day != last):
            lines.append(f"{'' if row == 0 else chr(10)}## {day.isoformat()}\n")
        last = day
        lines.append(
            form.format(
                day=day.isoformat(),
                d=day.day,
                m=day.month,
                y=day.year,
                yy=day.year % 100,
                time=f"{at:%H:%M}",
                who=who,
                said=said,
            )
        )
        at += timedelta(minutes=writer.lots.below(900))
    yield _paper("chats", f"chat-{nth}.txt", "\n".join(lines) + "\n", writer)


def _line_of_chat(writer: Writer, day: date, who: str) -> str:
    match writer.lots.below(4):
        case 0:
            return writer.idle(2)
        case 1:
            return writer.other(day)
        case 2:
            return f"{writer.idle(1)}\n{writer.own(day, who, f'{who}:')}"
        case _:
            return writer.own(day, who, f"{who}:")


def minutes(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write the minutes of a meeting: a header, what was talked about, and who does what."""
    day = writer.day()
    label = writer.lots.one(("**{}:**", "{}:", "- {}:", "*{}*:", "| {} |")).format(writer.language.dated)
    spelled = writer.language.spelled(day) if writer.lots.below(2) else day.isoformat()
    parts = [f"# Jour fixe\n\n{label} {spelled}\n\nPresent: {' / '.join(writer.people)}"]
    for topic in range(3):
        talked = " ".join(f"{writer.idle()} {writer.other(day)}" for _ in range(2))
        parts.append(f"## {topic + 1}\n\n{talked}")
    rows = [f"- {who}: {writer.bullet(day, who, f'{who}:')}" for who in writer.people[:6]]
    parts.append("## Actions\n\n" + "\n".join(rows))
    yield _paper("minutes", f"minutes-{nth}.md", "\n\n".join(parts) + "\n", writer)


def captions(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write captions whose cues end anywhere in a sentence."""
    day = writer.day()
    is_vtt = nth % 2 == 0
    blocks: list[str] = ["WEBVTT"] if is_vtt else []
    cue = 0
    for _ in range(2 * _FACTS):
        who = writer.person()
        own = writer.own(day, who, f"{who}:")
        words = (f"{writer.idle()} {own}" if writer.lots.below(2) else f"{own} {writer.idle()}").split()
        for begin in range(0, len(words), 6):
            part = writer.lots.one((" ", "\n")).join(
                [
                    " ".join(words[begin : begin + 3]),
                    *([" ".join(words[begin + 3 : begin + 6])] if words[begin + 3 :] else []),
                ]
            )
            name = "" if begin else f"{who}: "
            voice = f"<v {who}>{part}</v>" if is_vtt else f"{name}{part}"
            point = "." if is_vtt else ","
            begins, ends = (f"00:{at // 60:02}:{at % 60:02}{point}000" for at in (cue * 3, cue * 3 + 3))
            number = "" if is_vtt else f"{cue + 1}\n"
            blocks.append(f"{number}{begins} --> {ends}\n{voice}")
            cue += 1
    name = f"{day.isoformat()} call {nth}.{'vtt' if is_vtt else 'srt'}"
    yield _paper("captions", name, "\n\n".join(blocks) + "\n", writer)


def dictation(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write what a machine heard: no mark, no capital letter, no line."""
    day = writer.day()
    words: list[str] = []
    for _ in range(2 * _FACTS):
        words += [writer.idle(), writer.other(day)]
    text = _unmarked(" ".join(words))
    text = textwrap.fill(text, 72) if writer.lots.below(2) else text
    writer.facts = [
        fact._replace(sentence=_unmarked(fact.sentence), cue=_unmarked(fact.cue)) for fact in writer.facts
    ]
    yield _paper("dictation", f"{day.isoformat()} dictation {nth}.txt", text, writer)


def _unmarked(text: str) -> str:
    return " ".join("".join(char for char in text if char not in ".,;:!?").lower().split())


def pages(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write a page of HTML with headings, emphasis, nested lists and a table."""
    day = writer.day()
    parts = [f"<h1>{writer.idle(1)}</h1><h2>{writer.language.spelled(day)}</h2>"]
    for _ in range(3):
        words = writer.other(day).split(" ")
        words[2] = f"<b>{words[2]}</b>"
        parts.append(f"<p>{writer.idle()} {' '.join(words)} {writer.idle()}</p>")
    for who in writer.people[:3]:
        rows = "".join(f"<li>{writer.bullet(day, who, who)}</li>\n" for _ in range(3))
        parts.append(f"<ul><li>{who}\n<ul>{rows}</ul></li></ul>")
    rows = ""
    for _ in range(4):
        who, title, when = writer.person(), writer.title(), writer.language.when(writer.lots, day)
        writer.keep(Fact(title, f"{title}\t{who}\t{when.words}", who, who, when))
        rows += f"<tr><td>{title}</td><td>{who}</td><td>{when.words}</td></tr>\n"
    parts.append(f"<table><tr><th>Task</th><th>Who</th><th>When</th></tr>\n{rows}</table>")
    page = "\n".join(parts)
    text = f"<!doctype html><html><head><title>Works</title></head><body>{page}</body></html>\n"
    yield _paper("pages", f"page-{nth}.html", text, writer)


def journals(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write a file for each day, or one file with a line or a list item for each day."""
    day, outline = writer.day(), writer.lots.below(3)
    parts: list[str] = []
    for _ in range(4):
        said = "\n\n".join(f"{writer.idle()} {writer.other(day)}" for _ in range(_FACTS // 4))
        if nth % 2 == 0:
            yield _paper("journals", f"journal-{nth}/{day.isoformat()}.md", f"{said}\n", writer)
            writer.facts = []
        weekday = writer.language.weekdays[day.weekday()].split()[-1]
        head = writer.lots.one(
            (writer.language.spelled(day), day.isoformat(), f"{weekday}, {day.isoformat()}")
        )
        below = "\n".join(f"  - {line}" for line in said.split("\n\n"))
        parts.append((f"{head}\n\n{said}", f"{head}\n{said}", f"- {head}\n{below}")[outline])
        day += timedelta(days=1 + writer.lots.below(4))
    if nth % 2:
        yield _paper("journals", f"diary-{nth}.txt", "\n\n".join(parts) + "\n", writer)


def front_matter(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write a note whose front matter has its date."""
    day = writer.day()
    parts = [f"---\ntitle: Works\ndate: {day.isoformat()}\ntags: [a, b]\n---"]
    parts += [f"{writer.idle()} {writer.other(day)} {writer.idle()}" for _ in range(_FACTS)]
    yield _paper("front matter", f"front-{nth}.md", "\n\n".join(parts) + "\n", writer)


def spreadsheets(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write rows with columns that rules know, some of them with dates in words."""
    day = writer.day()
    sign = ";" if nth % 2 else ","
    lines = [sign.join(("Task", "Assignee", "Due date"))]
    for _ in range(2 * _FACTS):
        who, title, when = writer.person(), writer.title(), writer.language.when(writer.lots, day)
        lines.append(sign.join((title, who, when.words)))
        writer.keep(Fact(title, lines[-1], who, who, when))
    yield _paper("spreadsheets", f"rows-{nth}.csv", "\n".join(lines) + "\n", writer, day)


def todo_lists(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write the lines of todo.txt; the form has no place for a person."""
    lines: list[str] = []
    for row in range(2 * _FACTS):
        title, day = writer.title(), writer.day()
        head = f"({'ABCD'[row % 4]}) 2025-01-02 " if row % 2 else ""
        sentence = f"{head}{title} @office due:{day.isoformat()}"
        lines.append(sentence)
        writer.keep(Fact(title, sentence, None, "", writer.language.when(writer.lots, day)._replace(day=day)))
        lines += [f"x 2025-01-03 2025-01-02 {writer.idle(1)}"] * (row % 3 == 0)
    yield _paper("todo.txt", f"{nth}/todo.txt", "\n".join(lines) + "\n", writer)


def calendars(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write a calendar with to-dos and events."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//example//forms//EN"]
    for row in range(_FACTS):
        who, title, day = writer.person(), writer.title(), writer.day()
        when = writer.language.when(writer.lots, day)._replace(day=day)
        kind, name, table = ("VTODO", "DUE", "tasks") if row % 2 else ("VEVENT", "DTSTART", "timelines")
        lines += [f"BEGIN:{kind}", f"UID:{nth}-{row}@example.org", f"SUMMARY:{title}"]
        lines += [f"{name};VALUE=DATE:{day:%Y%m%d}"]
        lines += [f"ATTENDEE;CN={who}:mailto:{_address(who)}"] * (kind == "VTODO") + [f"END:{kind}"]
        writer.keep(Fact(title, title, who if kind == "VTODO" else None, who, when, table))
    yield _paper("calendars", f"calendar-{nth}.ics", "\r\n".join([*lines, "END:VCALENDAR", ""]), writer)


def mailboxes(writer: Writer, nth: int) -> Iterator[Paper]:
    """Write an archive of mails."""
    parts: list[str] = []
    for _ in range(_FACTS // 2):
        day, who = writer.day(), writer.person()
        mail = EmailMessage()
        mail["Subject"], mail["From"] = "Works", f"{who} Berg <{_address(who)}>"
        mail["To"], mail["Date"] = "desk@example.org", datetime.combine(day, time(9), UTC)
        said = (writer.own(day, who, f"{who} Berg"), writer.other(day))
        mail.set_content(f"{writer.idle()}\n\n{said[0]}\n\n{said[1]}\n", cte="8bit")
        parts.append(f"From {_address(who)} {day:%a %b %d} 09:00:00 2025\n{mail.as_bytes().decode()}")
    yield _paper("mailboxes", f"archive-{nth}.mbox", "\n".join(parts), writer)


FORMS: Final[dict[str, Form]] = {
    "notes": notes,
    "lists": lists,
    "tables": tables,
    "mails": mails,
    "chats": chats,
    "minutes": minutes,
    "captions": captions,
    "dictation": dictation,
    "pages": pages,
    "journals": journals,
    "front matter": front_matter,
    "spreadsheets": spreadsheets,
    "todo.txt": todo_lists,
    "calendars": calendars,
    "mailboxes": mailboxes,
}
