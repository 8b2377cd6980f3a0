"""IMAP against a real server: what is listed, what is read, and what is left as it was."""

import re
import shutil
import socket
import threading
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from imaplib import Time2Internaldate
from pathlib import Path

import anyio
import pytest

from hub.base.clock import SystemClock
from hub.connectors import imap as imap_module
from hub.connectors.blocking_imap_transport import MAX_LITERAL_BYTES
from hub.connectors.calling import (
    ConnectorFailure,
    FileUnusable,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    SignInNeeded,
    Unavailable,
    Unread,
)
from hub.connectors.connector import Page, documents_of
from hub.connectors.imap import Imap
from hub.connectors.imap_settings import ImapFilter, ImapSettings
from hub.document import Document
from hub.runs.mailbox_visit import READ_AT_ONCE
from tests.hub.connectors.imap_rig import (
    LONG_AGO,
    imap,
    last_cursor,
    listed,
    mail,
    pages,
    settings_of,
    subjects,
    texts,
    wire_to,
)
from tests.support.clock import FakeClock
from tests.support.dovecot import Dovecot
from tests.support.families import each

NOW = SystemClock().now().replace(microsecond=0)


def change(dovecot: Dovecot, user: str, *words: str) -> None:
    """Change mails of the inbox from another client."""
    client = dovecot.client(user)
    client.select("INBOX")
    client.uid(*words)
    client.expunge()
    client.logout()


async def test_a_mailbox_is_asked_only_to_be_read_and_stays_unread(user: str, dovecot: Dovecot) -> None:
    dovecot.deliver(user, [mail(1), mail(2, "", Message_ID="")])
    unread = dovecot.count(user, "UNSEEN")
    with wire_to(dovecot.port) as wire:
        connector = imap(settings_of(dovecot, user, port=wire.port), ImapFilter(special_use=("archive",)))
        await texts(connector, listed(await pages(connector)))
    commands = {re.sub(rb"^\S+ ((?:UID )?\S+).*", rb"\1", line) for line in wire.asked.splitlines()}
    reading = {b"AUTHENTICATE", b"CAPABILITY", b"EXAMINE", b"LIST", b"STATUS", b"UID FETCH", b"UID SEARCH"}
    assert commands <= reading
    assert wire.asked.count(b" BODY[") == 0 < wire.asked.count(b"BODY.PEEK[")
    assert dovecot.count(user, "UNSEEN") == unread == 2


async def test_resumed_first_imap_round_excludes_mail_older_than_the_back_fill_limit(
    settings: ImapSettings, user: str, dovecot: Dovecot
) -> None:
    since = NOW - timedelta(days=7)
    dovecot.deliver(user, (mail(n) for n in range(100)))
    client = dovecot.client(user)
    client.append("INBOX", "", Time2Internaldate(NOW - timedelta(days=30)), mail(100))
    client.append("INBOX", "", Time2Internaldate(NOW - timedelta(days=2)), mail(101))
    first, *_ = await pages(imap(settings), since=since)
    # It is old, and new in the folder: somebody moved it here.
    client.append("INBOX", "", Time2Internaldate(NOW - timedelta(days=30)), mail(200))
    client.logout()

    rest = await pages(imap(settings), first.cursor, since=NOW)

    assert subjects(rest) == ["Task 101", "Task 200"]


@pytest.mark.parametrize("zone", ["+1400", "-1200", "+0530"])
async def test_imap_back_fill_limit_is_exact_to_the_second_in_every_time_zone(
    user: str, dovecot: Dovecot, zone: str
) -> None:
    since = (NOW - timedelta(days=7)).replace(hour=0, minute=30)
    behind = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:])) * (-1 if zone[0] == "-" else 1)
    client = dovecot.client(user)
    for number, at in enumerate((since - timedelta(seconds=1), since, since + timedelta(seconds=1))):
        local = at + behind
        client.append("INBOX", "", f'"{local:%d-%b-%Y %H:%M:%S} {zone}"', mail(number))
    client.logout()

    found = await pages(imap(settings_of(dovecot, user)), since=since)

    assert subjects(found) == ["Task 1", "Task 2"]


async def test_recreated_imap_folder_restarts_without_affecting_other_folders(
    settings: ImapSettings, user: str, dovecot: Dovecot
) -> None:
    wanted = ImapFilter(folders=("INBOX", "Work"))
    dovecot.deliver(user, [mail(1)])
    dovecot.deliver(user, [mail(2), mail(3)], folder="Work")
    cursor = last_cursor(await pages(imap(settings, wanted)))
    dovecot.recreate(user, "Work")
    hours = [(NOW - timedelta(hours=h)).timestamp() for h in (2, 30)]
    dovecot.deliver(user, [mail(4), mail(5)], folder="Work", received=hours)

    again = await pages(imap(settings, wanted), cursor, since=NOW)  # "from now": the overlap counts

    assert subjects(again) == ["Task 4"]
    assert again[0].is_backfill
    assert await pages(imap(settings, wanted), last_cursor(again)) == []


async def test_moved_imap_mail_has_the_same_key(settings: ImapSettings, user: str, dovecot: Dovecot) -> None:
    dovecot.deliver(user, [mail(1), mail(2, Message_ID="")])
    before = {message.key for message in listed(await pages(imap(settings)))}
    change(dovecot, user, "MOVE", "1:2", "Archive")

    after = listed(await pages(imap(settings, ImapFilter(folders=("Archive",)))))

    assert {message.key for message in after} == before
    assert len(before) == 2


async def test_imap_mail_deleted_before_reading_is_reported_removed(
    settings: ImapSettings, user: str, dovecot: Dovecot
) -> None:
    dovecot.deliver(user, [mail(1), mail(2), mail(3)])
    connector = imap(settings)
    found = [page async for page in connector.pages(None, NOW - timedelta(days=1))]
    change(dovecot, user, "STORE", "2", "+FLAGS", r"(\Deleted)")

    read = await texts(connector, listed(found))

    gone = read.pop("mid:2@example.org")
    assert isinstance(gone, Unread) and gone.is_removed
    assert all(isinstance(one, Document) for one in read.values())


async def test_mail_marked_unread_again_is_listed_by_an_unread_only_filter(
    settings: ImapSettings, user: str, dovecot: Dovecot
) -> None:
    wanted = ImapFilter(unread_only=True)
    dovecot.deliver(user, [mail(1), mail(2)], flags="S")
    first = await pages(imap(settings, wanted))
    assert subjects(first) == []
    change(dovecot, user, "STORE", "1", "-FLAGS", r"(\Seen)")

    again = await pages(imap(settings, wanted), last_cursor(first))

    assert subjects(again) == ["Task 1"]
    assert await pages(imap(settings, wanted), last_cursor(again)) == []


async def test_imap_folders_are_configured_by_decoded_names(
    settings: ImapSettings, user: str, dovecot: Dovecot
) -> None:
    name = 'Счета & "Rechnungen"'
    client = dovecot.client(user)
    client.create('"&BCEERwQ1BEIEMA- &- \\"Rechnungen\\""')
    client.append('"&BCEERwQ1BEIEMA- &- \\"Rechnungen\\""', "", "", mail(1))
    client.logout()

    assert subjects(await pages(imap(settings, ImapFilter(folders=(name,))))) == ["Task 1"]
    with pytest.raises(Misconfigured, match=r"no folder Archiv; did you mean 'Archive'\? There are: .*Счета"):
        await pages(imap(settings, ImapFilter(folders=("Archiv",))))


async def test_imap_folders_are_selected_by_special_use(
    settings: ImapSettings, user: str, dovecot: Dovecot
) -> None:
    dovecot.deliver(user, [mail(1)])
    dovecot.deliver(user, [mail(2)], folder="Archive")

    both = await pages(imap(settings, ImapFilter(special_use=("archive",))))

    assert subjects(both) == ["Task 1", "Task 2"]
    with pytest.raises(Misconfigured, match="no folder for trash"):
        await pages(imap(settings, ImapFilter(special_use=("trash",))))


async def test_imap_filter_selects_by_flags_headers_and_senders(
    settings: ImapSettings, user: str, dovecot: Dovecot
) -> None:
    dovecot.deliver(user, [mail(1, X_Board="the red one"), mail(2, X_Board="Blue")])
    dovecot.deliver(user, [mail(3, From="Bob <bob@mail.example.net>")], flags="F")

    async def of(**filter: object) -> list[str]:
        return subjects(await pages(imap(settings, ImapFilter.model_validate(filter))))

    assert (
        await of(header={"x-board": "RED"}),
        await of(flags_none=[r"\Flagged"]),
        await of(from_any=["@example.net", "ana2@example.org"]),
    ) == (["Task 1"], ["Task 1", "Task 2"], ["Task 2", "Task 3"])


async def test_attachments_are_named_always_and_fetched_only_where_the_filter_asks(
    user: str, dovecot: Dovecot
) -> None:
    made = EmailMessage(policy=SMTP)
    made["From"], made["Message-ID"] = "ana@example.org", "<1@x>"
    made.set_content("See the plan.\n")
    made.add_alternative("<p>See the <b>plan</b>.</p>", subtype="html")
    made.add_attachment("step one\n" * 30_000, filename="план.txt")
    dovecot.deliver(user, [made.as_bytes()])

    with wire_to(dovecot.port) as wire:
        settings = settings_of(dovecot, user, port=wire.port)
        found = listed(await pages(imap(settings)))
        (named,) = (await texts(imap(settings), found)).values()
        assert wire.passed < 10_000  # of 270,000
        asking = ImapFilter.model_validate({"attachments": {"fetch": True}, "max_chars": 100_000})
        (read,) = (await texts(imap(settings, asking), found)).values()

    assert [attachment.name for attachment in found[0].attachments] == ["план.txt"]
    assert isinstance(named, Document) and "[attachment: план.txt" in named.text
    assert named.text.count("See the plan.") == 1
    assert "step one" not in named.text
    assert isinstance(read, Document) and "step one" in read.text


async def test_imap_mail_includes_the_text_of_an_attached_mail(
    settings: ImapSettings, user: str, dovecot: Dovecot
) -> None:
    made = EmailMessage(policy=SMTP)
    made["From"], made["Message-ID"], made["Subject"] = "ana@example.org", "<1@x>", "fwd"
    made.set_content("Please see below what they asked us for, it is urgent.\n")
    made.add_attachment(message_from_bytes(mail(7, "The roof leaks."), policy=SMTP))
    dovecot.deliver(user, [made.as_bytes()])

    (read,) = (await texts(imap(settings), listed(await pages(imap(settings))))).values()

    assert isinstance(read, Document) and "it is urgent" in read.text
    assert "The roof leaks." in read.text


async def test_new_imap_mail_ends_the_wait_for_news(user: str, dovecot: Dovecot) -> None:
    client = dovecot.client(user)
    with wire_to(dovecot.port) as wire:
        connector = imap(settings_of(dovecot, user, port=wire.port))
        try:
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(connector.wait_for_news)
                    await wire.has_asked(b"IDLE\r\n")
                    await anyio.to_thread.run_sync(client.append, "INBOX", "", "", mail(1))
                # What comes while nobody waits is told of at once, over a new line as well.
                await connector.aclose()
                await anyio.to_thread.run_sync(client.append, "INBOX", "", "", mail(2))
                await connector.wait_for_news()
        finally:
            await connector.aclose()
    client.logout()


async def test_imap_wait_over_a_dead_connection_ends_after_the_idle_time(
    user: str, dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_module, "IDLE_S", 0.5)
    with wire_to(dovecot.port) as wire:
        wire.is_silent = True
        connector = imap(settings_of(dovecot, user, port=wire.port))
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connector.wait_for_news)
                await wire.has_asked(b"IDLE\r\n")
                wire.on_answer = lambda _: False
                dovecot.deliver(user, [mail(1)])  # the wire tells nothing of it
            assert await wire.was_left()
            wire.on_answer = lambda _: True
            monkeypatch.undo()
            await connector.wait_for_news()  # over a new connection, at once
        await connector.aclose()


async def test_cancelled_imap_wait_ends_at_once_and_the_connector_is_usable(dovecot: Dovecot) -> None:
    connector = imap(settings_of(dovecot, dovecot.fresh_user()))
    with anyio.fail_after(10), anyio.move_on_after(0.2):
        await connector.wait_for_news()
    assert (await connector.check()).detail == "INBOX: 0 messages"  # on a line of its own
    await connector.aclose()


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_imap_server_certificate_must_be_trusted(user: str, dovecot: Dovecot, tls: str) -> None:
    port = dovecot.tls_port if tls == "implicit" else dovecot.port
    settings = settings_of(dovecot, user, port=port, tls=tls, ca_file=dovecot.certificate, host="localhost")
    good = imap(settings)
    assert (await good.check()).name == user
    await good.aclose()

    stranger = imap(settings.model_copy(update={"ca_file": None}))
    with pytest.raises(Misconfigured, match="certificate that is not trusted"):
        await stranger.check()


async def test_a_missing_file_of_certificates_is_named(dovecot: Dovecot, tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    settings = settings_of(
        dovecot, dovecot.fresh_user(), port=dovecot.tls_port, tls="implicit", ca_file=missing
    )
    lacks = f"ca_file {missing} cannot be used here: No such file or directory"
    with pytest.raises(FileUnusable, match=re.escape(lacks)):
        await imap(settings).check()
    assert settings.problem_of_files() == lacks
    missing.write_text("nothing")
    assert "cannot be used here" in (settings.problem_of_files() or "")
    shutil.copy(dovecot.certificate, missing)
    assert settings.problem_of_files() is None


async def test_a_wrong_password_requires_a_new_sign_in_and_is_not_shown(dovecot: Dovecot) -> None:
    connector = imap(settings_of(dovecot, dovecot.fresh_user()), secret="hunter2")
    with pytest.raises(SignInNeeded) as caught:
        await connector.check()
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__cause__)


async def test_idle_imap_connection_is_checked_before_reuse(user: str, dovecot: Dovecot) -> None:
    clock = FakeClock()
    dovecot.deliver(user, [mail(1)])
    with wire_to(dovecot.port) as wire:
        connector = imap(settings_of(dovecot, user, port=wire.port), clock=clock)
        await connector.check()
        for one in wire._open:
            wire._end(one)
        clock.advance(60)
        assert subjects(await pages(connector)) == ["Task 1"]


_OK = "{tag} OK done"
_BROKEN = "{tag} NO [SERVERBUG] broken"


async def test_hanging_imap_server_is_unavailable_and_disconnected(user: str, dovecot: Dovecot) -> None:
    dovecot.deliver(user, (mail(n) for n in range(50)))
    with wire_to(dovecot.port) as wire:
        wire.is_silent = True
        wire.on_answer = lambda data: b"FETCH (" not in data
        connector = imap(settings_of(dovecot, user, port=wire.port), silence_s=0.2)
        with anyio.fail_after(10), pytest.raises(Unavailable):
            await pages(connector)
        assert await wire.was_left()


async def test_imap_run_waiting_for_a_hanging_server_can_be_cancelled(user: str, dovecot: Dovecot) -> None:
    dovecot.deliver(user, [mail(1)])
    with wire_to(dovecot.port) as wire:
        wire.is_silent = True
        wire.on_answer = lambda data: b"FETCH (" not in data
        connector = imap(settings_of(dovecot, user, port=wire.port), silence_s=100.0)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pages, connector)
                await wire.has_asked(b"UID FETCH")
                tasks.cancel_scope.cancel()
        assert await wire.was_left()


@each("after", [0, 200, 5_000])
async def test_imap_server_stopping_within_an_answer_is_unavailable(dovecot: Dovecot, after: int) -> None:
    user = dovecot.fresh_user()
    dovecot.deliver(user, (mail(n) for n in range(50)))
    with wire_to(dovecot.port) as wire:
        wire.on_answer = lambda _: wire.passed <= after
        connector = imap(settings_of(dovecot, user, port=wire.port))
        with anyio.fail_after(10), pytest.raises(Unavailable):
            found = await pages(connector)
            await texts(connector, listed(found))
        wire.on_answer = lambda _: True
        assert len(listed(await pages(connector))) == 50


@each(
    ("said", "failure"),
    [
        ("NO [AUTHENTICATIONFAILED] no", SignInNeeded),
        ("NO [EXPIRED] no", SignInNeeded),
        ("NO Invalid credentials (Failure)", SignInNeeded),
        ("NO [AUTHORIZATIONFAILED] no", PermissionMissing),
        ("NO [UNAVAILABLE] no", Unavailable),
        ("NO [INUSE] no", Unavailable),
        ("NO Temporary authentication failure", Unavailable),
        ("NO [LIMIT] too many", ProviderBusy),
        ("NO [PRIVACYREQUIRED] no", Misconfigured),
        ("BAD what?", Misconfigured),
    ],
)
async def test_refused_imap_sign_in_raises_the_matching_failure_without_the_secret(
    said: str, failure: type[ConnectorFailure]
) -> None:
    with scripted({"LOGIN": [f"{{tag}} {said}"]}) as settings, pytest.raises(failure) as caught:
        await imap(settings, secret="hunter2").check()
    assert type(caught.value) is failure
    assert "hunter2" not in str(caught.value)


@each(
    ("status", "failure"),
    [
        (["{tag} NO [NOPERM] no"], PermissionMissing),
        (["{tag} NO [LIMIT] slowly"], ProviderBusy),
        (["{tag} NO whatever"], Unavailable),
        (["* BYE I am tired"], Unavailable),
        (["* STATUS INBOX (((((", _OK], Unavailable),
        (["* STATUS INBOX )", _OK], Unavailable),
        (["* STATUS INBOX (UIDNEXT {{99999999999}}"], Unavailable),
        (["garbage"], Unavailable),
        (["x" * 1_100_000], Unavailable),
    ],
)
async def test_imap_folder_status_error_is_mapped_to_a_failure(
    status: list[str], failure: type[ConnectorFailure]
) -> None:
    answers = {"STATUS": status, "LIST": ['* LIST () "/" INBOX', _OK]}
    with scripted(answers) as settings:
        connector = imap(settings)
        with anyio.fail_after(10), pytest.raises(failure):
            await connector.check()
        await connector.aclose()


async def test_imap_server_without_uidnext_is_asked_for_the_last_uid() -> None:
    answers = {
        "STATUS": ["* STATUS INBOX (UIDVALIDITY 7 MESSAGES 1)", _OK],
        "EXAMINE": ["* OK [UIDVALIDITY 7] ok", "{tag} OK [READ-ONLY]"],
        "UID SEARCH UID *": ["* SEARCH 41", _OK],
        "UID SEARCH": ["* SEARCH 41", _OK],
        "UID FETCH": [
            '* 1 FETCH (UID 41 BODY[HEADER.FIELDS ("X")] {{12}}',
            "Subject: a\r\n)",
            _OK,
        ],
    }
    with scripted(answers) as settings:
        found = await pages(imap(settings))
    assert [message.subject for message in listed(found)] == ["a"]
    assert found[-1].cursor is not None and found[-1].cursor["folders"]["INBOX"]["uid"] == 41


async def test_unfetchable_imap_message_does_not_block_other_messages() -> None:
    head = ["BODY[HEADER.FIELDS (X)] {{21}}", "Message-ID: <{n}@x>\r\n\r\n)"]
    answers = {
        "STATUS": ["* STATUS INBOX (UIDVALIDITY 7 UIDNEXT 4 MESSAGES 3)", _OK],
        "EXAMINE": ["* OK [UIDVALIDITY 7] ok", _OK],
        "UID SEARCH": ["* SEARCH 1 2 3", _OK],
        "UID FETCH 2 ": [_BROKEN],
        "UID FETCH 1:3": [
            f"* 1 FETCH (UID 1 {head[0]}",
            head[1].replace("{n}", "1"),
            _BROKEN,
        ],
        "UID FETCH 3 ": [f"* 3 FETCH (UID 3 {head[0]}", head[1].replace("{n}", "3"), _OK],
        "UID FETCH 1 ": ["* 1 FETCH (UID 1)", _OK],
    }
    with scripted(answers) as settings:
        found = listed(await pages(imap(settings)))
    assert (len(found), [message.key for message in found][::2]) == (3, ["mid:1@x", "mid:3@x"])


async def test_imap_literals_of_100_mb_are_skipped_with_a_reason_and_bounded_memory() -> None:
    size = 100 * 1024 * 1024
    head = ["BODY[HEADER.FIELDS (X)] {{21}}", "Message-ID: <{n}@x>\r\n\r\n)"]
    structure = 'BODYSTRUCTURE ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 9 1)'
    answers = {
        "STATUS": ["* STATUS INBOX (UIDVALIDITY 7 UIDNEXT 4 MESSAGES 3)", _OK],
        "EXAMINE": ["* OK [UIDVALIDITY 7] ok", _OK],
        "UID SEARCH": ["* SEARCH 1 2 3", _OK],
        **{
            f"UID FETCH {n} (UID INTERNALDATE": [
                f"* {n} FETCH (UID {n} {structure} {head[0]}",
                head[1].replace("{n}", str(n)),
                _OK,
            ]
            for n in (1, 3)
        },
        **{
            f"UID FETCH {words} ": [f"* 2 FETCH (UID 2 BODY[HEADER.FIELDS (X)] {{{{{size}}}}}"]
            for words in ("1:3", "2", "2:3")
        },
        "UID FETCH 1 (UID BODY.PEEK[1]": ["* 1 FETCH (UID 1 BODY[1]<0> {{9}}", "Call Ana.)", _OK],
        **{
            f"UID FETCH {words} (UID BODY.PEEK[1]": [f"* 3 FETCH (UID 3 BODY[1]<0> {{{{{size}}}}}"]
            for words in ("3", "1,3")
        },
    }
    tracemalloc.start()
    with scripted(answers) as settings:
        connector = imap(settings)
        messages = listed(await pages(connector))
        read = await texts(connector, messages)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    why = f"the server wants to send {size} bytes at once, {MAX_LITERAL_BYTES} are taken"
    assert [message.fault for message in messages] == ["", f"UID 2 in INBOX: {why}", ""]
    first, second, third = (read[message.key] for message in messages)
    assert isinstance(first, Document) and first.text.endswith("Call Ana.\n")
    assert second == Unread(reason=f"UID 2 in INBOX: {why}", is_final=True)
    assert third == Unread(reason=f"UID 3 in INBOX: {why}", is_final=True)
    assert peak < MAX_LITERAL_BYTES / 4


async def test_imap_wait_for_news_without_idle_support_is_not_implemented() -> None:
    with scripted({}) as settings:
        connector = imap(settings)
        with pytest.raises(NotImplementedError):
            await connector.wait_for_news()
        await connector.aclose()


def test_unprotected_imap_password_requires_the_insecure_setting() -> None:
    told = {"host": "mail.example.org", "username": "me", "tls": "none"}
    with pytest.raises(ValueError, match="unprotected"):
        ImapSettings.model_validate(told)
    assert (
        ImapSettings.model_validate({**told, "insecure": True}).at_port,
        ImapSettings.model_validate({**told, "tls": "implicit"}).at_port,
    ) == (143, 993)
    with pytest.raises(ValueError, match="needs oauth"):
        ImapSettings.model_validate({**told, "tls": "implicit", "auth": "xoauth2"})
    with pytest.raises(ValueError, match="nothing would be read"):
        ImapFilter(folders=())


@contextmanager
def scripted(answers: Mapping[str, Sequence[str]]) -> Iterator[ImapSettings]:
    """A server that answers each command by how it begins, the first that fits; and OK to all others."""
    door = socket.create_server(("127.0.0.1", 0))
    door.settimeout(10)

    clients: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = door.accept()
                clients.append(client)
                with client, client.makefile("rwb") as file, suppress(OSError):
                    file.write(b"* OK [CAPABILITY IMAP4rev1] hello\r\n")
                    file.flush()
                    while line := file.readline().decode():
                        tag, _, command = line.strip().partition(" ")
                        fitting = (said for begin, said in answers.items() if command.startswith(begin))
                        usual = ["* CAPABILITY IMAP4rev1", _OK]
                        for said in next(fitting, usual):
                            text = said.replace("{tag}", tag).replace("{{", "{").replace("}}", "}")
                            file.write(text.encode() + b"\r\n")
                        file.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield ImapSettings(host="127.0.0.1", port=door.getsockname()[1], tls="none", username="me")
    finally:
        for one in (door, *clients):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        door.close()
        thread.join()


@pytest.mark.parametrize(
    ("hidden", "arriving"),
    [
        ([*range(31, 37)], {*range(1, 39)} - {*range(31, 37)}),
        ([*range(1, 7)], {*range(7, 39)}),
        ([*range(31, 39)], {*range(1, 31)}),
        ([*range(6, 18), *range(33, 39)], {*range(1, 6), *range(18, 33)}),
    ],
    ids=["near the end", "at the begin", "at the end", "in between and at the end"],
)
async def test_imap_messages_with_a_lost_connection_are_named_and_all_others_arrive(
    settings: ImapSettings, user: str, dovecot: Dovecot, hidden: Sequence[int], arriving: set[int]
) -> None:
    dovecot.deliver(user, [mail(number) for number in range(1, 39)])
    dovecot.hide(user, hidden)
    found = await listed_and_read(imap(settings))
    assert {key for key, one in found.items() if isinstance(one, Document)} == {
        f"mid:{number}@example.org" for number in arriving
    }
    assert sum(isinstance(one, Unread) and not one.is_removed for one in found.values()) == len(hidden)


async def test_imap_server_without_any_readable_message_gets_few_requests(
    user: str, dovecot: Dovecot
) -> None:
    dovecot.deliver(user, [mail(number) for number in range(1, 39)])
    dovecot.hide(user, range(1, 39))
    with wire_to(dovecot.port) as wire:
        with pytest.raises(Unavailable):
            await listed_and_read(imap(settings_of(dovecot, user, port=wire.port)))
        assert wire.asked.count(b" FETCH ") < 10


async def test_imap_messages_before_the_failure_of_the_server_are_yielded_without_a_cursor() -> None:
    answers: Mapping[str, Sequence[str]] = {
        "STATUS": ["* STATUS INBOX (UIDVALIDITY 7 UIDNEXT 11 MESSAGES 10)", _OK],
        "EXAMINE": ["* OK [UIDVALIDITY 7] ok", _OK],
        "UID SEARCH": ["* SEARCH 1 2 3 4 5 6 7 8 9 10", _OK],
    }
    # Messages 1 to 5 are shown once, and nothing after that.
    head = "* {n} FETCH (UID {n} BODY[HEADER.FIELDS (X)] {{21}}\r\nMessage-ID: <{n}@x>\r\n\r\n)"
    shown = [head.replace("{n}", str(number)) for number in range(1, 6)]
    with scripted({**answers, "UID FETCH 1:5 ": [*shown, _OK], "UID FETCH": ["* BYE no"]}) as settings:
        connector, found = imap(settings), list[Page]()
        with pytest.raises(Unavailable):
            async for page in connector.pages(None, SystemClock().now() - LONG_AGO):
                found.append(page)
        await connector.aclose()
    assert [one.key for one in listed(found)] == [f"mid:{number}@x" for number in range(1, 6)]
    assert [page.cursor for page in found] == [None]


async def listed_and_read(connector: Imap) -> dict[str, Document | Unread]:
    """Return what a run reads of each message, by key."""
    found: dict[str, Document | Unread] = {}
    try:
        async for page in connector.pages(None, SystemClock().now() - LONG_AGO):
            for begin in range(0, len(page.messages), READ_AT_ONCE):
                some = page.messages[begin : begin + READ_AT_ONCE]
                found |= {message.key: read async for message, read in documents_of(connector, some)}
    finally:
        await connector.aclose()
    return found
