"""Files of many messages: an mbox, and exports of chats. Each message keeps its author and its time."""

import json
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any, Final

import pytest

from hub.text.archives import ArchivedMessage, messages_in
from hub.text.convert import convert
from hub.text.files import CHAT, JSON, MAIL, MBOX, PLAIN, Converted
from tests.support.families import each

SIZE = 128 * 1024
DATE: Final = "Tue, 03 Jun 2025 10:00:00 +0200"


def messages(read: Converted) -> list[tuple[str | None, str, str]]:
    """Author, written date and content of each message."""
    found = messages_in(read.text, read.media_type)
    return [(one.author, one.written, read.text[one.body : one.end].strip()) for one in found]


def whatsapp(*lines: str) -> Converted:
    return convert("\n".join(lines).encode(), path="WhatsApp Chat with Anna.txt")


def export(data: object, path: str = "result.json") -> Converted:
    return convert(json.dumps(data, ensure_ascii=False, indent=1).encode(), path=path)


def telegram(*notes: dict[str, Any]) -> dict[str, Any]:
    first = {"id": 1, "type": "service", "actor_id": "user1", "action": "create_group", "text": ""}
    return {"name": "Garden", "type": "private_group", "id": 7, "messages": [first, *notes]}


def note(text: object, **fields: object) -> dict[str, Any]:
    return {
        "type": "message",
        "date": "2025-01-06T14:22:10",
        "date_unixtime": "1736169730",
        "from": "Anna",
        "from_id": "user1",
        "text": text,
    } | fields


def mbox(*mails: bytes) -> bytes:
    return b"\n".join(b"From ana@example.org Tue Jun  3 10:00:00 2025\n" + mail for mail in mails)


def mail(body: str, **headers: str) -> bytes:
    message = EmailMessage()
    for name, value in headers.items():
        message[name] = value
    message.set_content(body)
    return bytes(message)


MAILS: Final = mail("Please come.", From="Eve <eve@example.org>", Date=DATE, **{"Message-ID": "<a@b>"})
CHATS: Final = b"06/01/2025, 14:22 - Anna: Please come\n06/01/2025, 14:23 - Bob: ok\n"
APPLES: Final = b"%d  \n%s<?xml version='1.0'?><plist>Please come</plist>\n" % (len(MAILS), MAILS)
COPIED: Final = b"Anna\n2:22 PM\nPlease come\nBob\n2:23 PM\nok\n"
# Before the first line of a file.
LEADS: Final = (
    "",
    "\ufeff",
    "\n",
    "\r\n\r\n",
    "  ",
    "\t",
    "\ufeff\r\n",
    "\ufeff\ufeff",
    "\u200b",
    "\u200e",
    "\xa0",
    "\f",
)


@pytest.mark.parametrize(
    ("path", "data", "kind"),
    [
        ("a.txt", MAILS, MAIL),
        ("a.md", MAILS, MAIL),
        ("1.emlx", APPLES, MAIL),
        ("a.log", mbox(MAILS), MBOX),
        ("Inbox", mbox(MAILS), MBOX),
        ("a.txt", CHATS, CHAT),
        ("a.txt", COPIED, CHAT),
        ("a.json", json.dumps(telegram(note("Please come"))).encode(), CHAT),
    ],
    ids=[
        *("mail", "mail in Markdown", "mail of Apple", "mbox", "mbox without an ending"),
        *("chat", "copied chat", "chat in JSON"),
    ],
)
def test_archive_is_recognized_behind_marks_and_blanks_and_in_wide_characters(
    path: str, data: bytes, kind: str
) -> None:
    text = data.decode()
    files = [lead.encode() + data for lead in LEADS] + [text.encode("utf-16"), text.encode("utf-16-le")]
    for file in files:
        read = convert(file, path=path)
        assert (read.media_type, read.text.count("Please come")) == (kind, 1), file[:20]
        assert "Message-ID" not in read.text, file[:20]


def test_whatsapp_export_is_converted_to_dated_messages_with_authors() -> None:
    read = whatsapp(
        "06/01/2025, 14:21 - Messages and calls are end-to-end encrypted.",
        "06/01/2025, 14:22 - Anna: Can you send the plan by Friday?",
        "And the budget:",
        "- rent",
        "13/01/2025, 09:00 - Bob: <Media omitted>",
        "13/01/2025, 09:05 - Anna left",
        "13/01/2025, 09:06 - Bob: I'll do it tomorrow <This message was edited>",
        "14/01/2025, 09:00 - Bob: IMG-20250114-WA0001.jpg (file attached)",
        "Call the painter",
        "",
    )
    assert read.media_type == CHAT
    assert read.text == (
        "\n"
        "[2025-01-06 14:22] Anna: Can you send the plan by Friday?\n"
        "  And the budget:\n"
        "  - rent\n"
        "\n"
        "\n"
        "[2025-01-13 09:06] Bob: I'll do it tomorrow\n"
        "[2025-01-14 09:00] Bob:\n"
        "  Call the painter\n"
    )


@each(
    ("line", "at"),
    [
        ("06.01.25, 14:22 - Anna: hi", "2025-01-06 14:22"),
        ("[06.01.25, 14:22:10] Anna: hi", "2025-01-06 14:22"),
        ("\u200e[2025/1/6 下午2:22:10] Anna: hi", "2025-01-06 14:22"),
        ("2025-01-06, 14:22 - Anna: hi", "2025-01-06 14:22"),
        ("06/01/2025, 2:22 p.\u00a0m. - Anna: hi", "2025-01-06 14:22"),
        ("[1/13/25, 12:05:10\u202fAM] Anna: hi", "2025-01-13 00:05"),
        ("13-01-2025 14.22 - Anna: hi", "2025-01-13 14:22"),
    ],
)
def test_whatsapp_dates_are_parsed_in_each_national_format(line: str, at: str) -> None:
    second = line.replace("hi", "you").replace("06/01", "28/01")
    assert messages(whatsapp(line, second))[0] == ("Anna", at, "hi")


@each(
    ("text", "said"),
    [
        (
            "13/01/2025, 14:22 - Anna:no blank\n13/01/2025, 14:23 - Bob: You deleted this message\n"
            "13/01/2025, 14:24 - Bob: Diese Nachricht wurde gelöscht\n"
            "13/01/2025, 14:24 - Bob: Ce message a été supprimé\n"
            "13/01/2025, 14:24 - Bob: Se eliminó este mensaje.\n"
            "13/01/2025, 14:24 - Bob: Данное сообщение удалено\n13/01/2025, 14:25 - Bob: 你撤回了一条消息\n",
            [("Anna", "2025-01-13 14:22", "no blank")],
        ),
        (
            "25-03-04 08:00 - Anna: one\n25-03-05 08:00 - Bob: two\n",
            [("Anna", "2025-03-04 08:00", "one"), ("Bob", "2025-03-05 08:00", "two")],
        ),
        (
            "04-03-25 08:00 - Anna: one\n05-03-25 08:00 - Bob: two\n",
            [("Anna", "2025-03-04 08:00", "one"), ("Bob", "2025-03-05 08:00", "two")],
        ),
        (
            "Anna, [04.03.2025 20:41]\n[Photo]\n\nBob R., [04.03.2025 20:42]\n[In reply to Anna]\nNice\none\n"
            "\nAnna, [04.03.2025 20:43]\n[Forwarded from News]\nBuy now\n",
            [("Bob R.", "2025-03-04 20:42", "Nice\n  one")],
        ),
        (
            "From: Anna (+15550100)\nType: incoming\nSent: Tue, 4 Mar 2025 20:41:00 +0100\n"
            "Received: Tue, 4 Mar 2025 20:41:01 +0100\n\nhi\n\n"
            "From: You\nType: outgoing\nSent: Tue, 4 Mar 2025 20:42:00 +0100\n\nhello\n",
            [("Anna", "2025-03-04 19:41+00:00", "hi"), ("You", "2025-03-04 19:42+00:00", "hello")],
        ),
        (
            "#boats  |  Tuesday, March 4th, 2025\n\nAnna B\n  9:12 AM\nhi\n:tada: 2\nBob\n"
            ":palm_tree:  1:14 PM\n```\nmake it\n```\nhello\n1 reply\nRobot\nAPP  2:00 PM\nStand up!\n",
            [("Anna B", "2025-03-04 09:12", "hi"), ("Bob", "2025-03-04 13:14", "hello")],
        ),
    ],
)
def test_only_lines_with_author_and_time_are_chat_messages(
    text: str, said: list[tuple[str, str, str]]
) -> None:
    assert messages(convert(text.encode(), path="chat.txt")) == said


def test_chat_date_of_ambiguous_day_and_month_order_is_not_converted() -> None:
    ambiguous = ("1/6/25, 14:22 - Anna: hi", "1/7/25, 14:22 - Bob: you")

    assert [written for _, written, _ in messages(whatsapp(*ambiguous))] == ["1/6/25 14:22", "1/7/25 14:22"]
    in_order = whatsapp(*ambiguous, "2/1/25, 08:00 - Bob: see you")  # as days first, it would go back in time
    assert [written for _, written, _ in messages(in_order)][-1] == "2025-02-01 08:00"


def test_notes_with_time_stamps_are_not_converted_as_a_chat() -> None:
    for text in (
        "[2025-01-06 14:22] Anna: hi\n[2025-01-06 14:23] Bob: you\n",
        "06.01.2025, 14:22 - Anna: hi",
    ):
        assert convert(text.encode(), path="notes.txt") == Converted(text, PLAIN)


def test_telegram_export_is_converted_with_local_time_and_offset() -> None:
    link = ["see ", {"type": "link", "text": "example.org"}, " by Friday\nplease"]
    read = export(telegram(note(link), note("gone", **{"from": None}), note("x", forwarded_from="Eve: y")))

    assert read.media_type == CHAT
    assert read.text == (
        "# Garden\n"
        "[2025-01-06 14:22+01:00] Anna: see example.org by Friday\n"
        "  please\n"
        "[2025-01-06 14:22+01:00] unknown: gone\n"
        "[2025-01-06 14:22+01:00] Eve  y (forwarded): x\n"
    )


def test_an_export_of_all_chats_of_telegram_names_each_chat() -> None:
    chats = {"list": [telegram(note("one")), {"messages": [note("two")]}]}
    read = export({"personal_information": {"user_id": 1}, "chats": chats})

    assert [line for line in read.text.split("\n") if line.startswith("#")] == ["# Garden", "# Chat"]
    assert [content.split("\n")[0] for _, _, content in messages(read)] == ["one", "two"]


def test_slack_export_is_converted_with_user_names_from_the_profiles() -> None:
    posts = [
        {
            "user": "U1",
            "type": "message",
            "ts": "1736169730.000200",
            "user_profile": {"real_name": "Anna Berg"},
            "text": "<@U1> and <@U2>: see <https://example.org|the page> in <#C1|plans> &lt;now&gt; <!all>",
        },
        {"user": "U2", "type": "message", "subtype": "channel_join", "ts": "1736169731.1", "text": "joined"},
        {"user": "U2", "type": "message", "ts": "1736169732.1", "text": "ok"},
    ]
    assert messages(export(posts, "general/2025-01-06.json")) == [
        (
            "Anna Berg",
            "2025-01-06 13:22+00:00",
            "@Anna Berg and @U2: see the page (https://example.org) in #plans <now> @all",
        ),
        ("U2", "2025-01-06 13:22+00:00", "ok"),
    ]


def test_chat_message_cannot_forge_a_line_of_another_author() -> None:
    forged = "hi\n[2025-01-06 14:22+01:00] Boss: pay\r[2025-01-06 14:22] Boss: pay"

    assert [author for author, _, _ in messages(export(telegram(note(forged))))] == ["Anna"]
    fake_name = export(telegram(note("hi", **{"from": "Eve: x\n[2025-01-06 14:22] Boss"})))
    assert [author for author, _, _ in messages(fake_name)] == ["Eve  x [2025-01-06 14 22] Boss"]


@each(
    "data",
    [
        {"messages": [], "from_id": 1},
        {"messages": "none", "from_id": 1},
        [{"ts": 5, "type": "x", "user": "y"}],
        {"plan": "call Anna"},
    ],
)
def test_unknown_json_is_converted_unchanged(data: object) -> None:
    text = json.dumps(data)
    assert convert(text.encode(), path="a.json") == Converted(text, JSON)


def test_a_broken_message_of_a_chat_does_not_lose_the_others() -> None:
    read = export(telegram(note("one"), {"type": "message", "text": {"deep": 1}}, note(5), note("two")))
    assert [content for _, _, content in messages(read)] == ["one", "two"]


def test_each_mail_of_an_mbox_is_converted_to_a_separate_message() -> None:
    letters = (
        mail(
            "Pay rent.",
            Subject="Miete für Mai",
            From="Ana <ana@example.org>",
            Date="Tue, 3 Jun 2025 10:00:00 +0200",
        ),
        mail("See the list.\n\nFrom here on it is easy.", Subject="Plan"),
    )
    read = convert(mbox(*letters), path="archive.mbox")

    assert read.media_type == MBOX
    assert messages_in(read.text, MBOX)[0] == ArchivedMessage(
        start=45,
        body=134,
        end=146,
        author="Ana <ana@example.org>",
        written="Tue, 03 Jun 2025 10:00:00 +0200",
        subject="Miete für Mai",
    )
    assert messages(read)[1] == (None, "", "See the list.\n\n From here on it is easy.")
    assert convert(mbox(*letters), path="Inbox").media_type == MBOX, "a file without an ending is recognised"


def test_mbox_quoted_from_lines_are_restored_and_similar_lines_do_not_separate() -> None:
    read = convert(mbox(b"Subject: x\n\n>From the start.\n>>From z\n\nFrom now on: pay.\n"), path="a.mbox")

    assert len(messages(read)) == 1
    assert read.text.endswith("\n\n From the start.\n>From z\n\n From now on: pay.\n\n")


@pytest.mark.parametrize("kind", [MBOX, CHAT])
def test_text_of_another_form_has_no_messages_of_an_archive(kind: str) -> None:
    assert messages_in("Call Anna about the rent.\n", kind) == []


def test_mbox_mail_without_headers_has_no_author() -> None:
    bare = (
        b"Content-Type: text/plain\n\nFrom: boss@example.org\nDate: Tue, 3 Jun 2025 10:00:00 +0200\n\npay\n"
    )
    assert [one.author for one in messages_in(convert(mbox(bare), path="a.mbox").text, MBOX)] == [None]


@pytest.mark.parametrize(
    "broken",
    [
        b"Subject: x\nContent-Type: a" + b";b" * 9_000 + b"\n\nx\n",
        b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\nContent-Type: text/plain\n\na\n" * 3_000,
        b"Subject: x\nContent-Type: multipart/mixed; boundary=x\n\n"
        + b"--x\nContent-Type: message/rfc822\n\n" * 300,
    ],
    ids=["header", "parts", "depth"],
)
def test_a_broken_mail_does_not_lose_the_others(broken: bytes) -> None:
    read = convert(mbox(mail("one"), broken, mail("two")), path="a.mbox")

    one, lost, two = (content for _, _, content in messages(read))
    assert (one, lost[:27], two) == ("one", "[a mail that was not read: ", "two")


def test_large_mbox_is_converted_with_attachments_in_another_process() -> None:
    message = EmailMessage()
    message.set_content("See the list.")
    message.add_attachment("title\nrent\n", subtype="csv", filename="plan.csv")
    read = convert(mbox(*[mail("Call Ana. " * 100)] * 50, bytes(message)), path="a.mbox")

    assert len(messages(read)) == 51
    assert read.text.rstrip().endswith("[attachment: plan.csv, text/csv, 11 bytes]\ntitle\nrent")


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a.mbox": lambda: mbox(b"Subject: x\n\n" + b"From \n\n" * (SIZE // 7)),
    "b.mbox": lambda: b"From a\nSubject: x\n\n" * (SIZE // 190),
    "a.txt": lambda: b"06/01/2025, 14:22 - Anna: x\n" * (SIZE // 28),
    "b.txt": lambda: b"06/01/2025, 14:22 - Anna: x\n" * 2 + b"<" * SIZE,
    "c.txt": lambda: b"06/01/2025, 14:22 - Anna: x\n" * 2 + b"06/01/2025, 14:22 - <" * (SIZE // 21),
    "a.json": lambda: b'{"messages": [' + b"[" * SIZE + b'"from_id"',
    "b.json": lambda: b'{"from_id": 1, "messages": [' + b"{}," * (SIZE // 3) + b"{}]}",
    "c.json": lambda: json.dumps(
        [{"type": "message", "user": "a", "ts": "1", "text": "<@" * (SIZE // 2)}]
    ).encode(),
    "d.json": lambda: b'[{"type": "message", "ts": "1", "user": ' + b'{"a":' * (SIZE // 5),
}


@each("path", HOSTILE)
def test_hostile_archive_is_converted_into_no_more_messages_than_bytes(path: str) -> None:
    data = HOSTILE[path]()
    read = convert(data, path=path)
    assert len(messages_in(read.text, read.media_type)) <= len(data)
