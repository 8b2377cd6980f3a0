"""What a server may do to the hub: hang, die, refuse, lie. Each is a failure with one meaning, and soon."""

import socket
import threading
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import anyio
import pytest

from hub.connectors.calling import (
    ConnectorFailure,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    SignInNeeded,
    Unavailable,
)
from hub.connectors.connector import Unread
from hub.connectors.imap_line import MOST_LITERAL_BYTES, ImapFilter, ImapSettings
from hub.document import Document
from tests.hub.connectors.imap_rig import imap, listed, mail, pages, settings_of, texts, wire_to
from tests.support.dovecot import Dovecot
from tests.support.families import each

_OK = "{tag} OK done"
_BROKEN = "{tag} NO [SERVERBUG] broken"


async def test_a_server_that_hangs_is_left(user: str, dovecot: Dovecot) -> None:
    dovecot.deliver(user, (mail(n) for n in range(50)))
    with wire_to(dovecot.port) as wire:
        wire.is_silent = True
        wire.on_answer = lambda data: b"FETCH (" not in data
        connector = imap(settings_of(dovecot, user, port=wire.port), silence_s=0.2)
        with anyio.fail_after(10), pytest.raises(Unavailable):
            await pages(connector)
        assert await wire.was_left()


async def test_who_waits_for_a_server_that_hangs_can_be_cancelled(user: str, dovecot: Dovecot) -> None:
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


@pytest.mark.parametrize("after", [0, 200, 5_000, 30_000])
async def test_a_server_that_dies_in_mid_word_is_unavailable(user: str, dovecot: Dovecot, after: int) -> None:
    dovecot.deliver(user, (mail(n) for n in range(100)))
    with wire_to(dovecot.port) as wire:
        wire.on_answer = lambda _: wire.passed <= after
        connector = imap(settings_of(dovecot, user, port=wire.port))
        with anyio.fail_after(10), pytest.raises(Unavailable):
            found = await pages(connector)
            await texts(connector, listed(found))
        wire.on_answer = lambda _: True
        assert len(listed(await pages(connector))) == 100


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    settings = ImapSettings(host="127.0.0.1", port=port, tls="none", username="me")
    with pytest.raises(Unavailable):
        await imap(settings).check()


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
async def test_a_refused_sign_in_says_what_to_do(said: str, failure: type[ConnectorFailure]) -> None:
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
async def test_what_a_server_says_of_a_folder_ends_in_one_meaning(
    status: list[str], failure: type[ConnectorFailure]
) -> None:
    answers = {"STATUS": status, "LIST": ['* LIST () "/" INBOX', _OK]}
    with scripted(answers) as settings:
        connector = imap(settings)
        with anyio.fail_after(10), pytest.raises(failure):
            await connector.check()
        await connector.aclose()


async def test_a_server_without_uidnext_is_asked_for_its_last_number() -> None:
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


async def test_a_message_that_the_server_cannot_show_does_not_hold_up_the_others() -> None:
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


async def test_literals_of_100_mb_are_skipped_with_the_reason_and_without_memory_for_them() -> None:
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
    why = f"the server wants to send {size} bytes at once, {MOST_LITERAL_BYTES} are taken"
    assert [message.fault for message in messages] == ["", f"UID 2 in INBOX: {why}", ""]
    first, second, third = (read[message.key] for message in messages)
    assert isinstance(first, Document) and first.text.endswith("Call Ana.\n")
    assert second == Unread(reason=f"UID 2 in INBOX: {why}", is_final=True)
    assert third == Unread(reason=f"UID 3 in INBOX: {why}", is_final=True)
    assert peak < MOST_LITERAL_BYTES / 4


async def test_a_server_that_does_not_push_says_so() -> None:
    with scripted({}) as settings:
        connector = imap(settings)
        with pytest.raises(NotImplementedError):
            await connector.wait_for_news()
        await connector.aclose()


def test_a_password_travels_unprotected_only_where_that_is_meant() -> None:
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
