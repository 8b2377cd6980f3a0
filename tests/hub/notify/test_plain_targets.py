"""ntfy, Matrix and mail get a sentence for each event, and no text of a document."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.base.outbound.addresses import Resolve, resolve
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.base.toml.notify_targets import NotifySettings
from hub.notify.sending import Sender, SendResult
from storage.deliveries import DeliveryRow
from tests.hub.notify.bench import opened, trusting
from tests.hub.notify.receivers import MailServer, receiving, server_tls
from tests.support.certificates import write_certificate
from tests.support.clock import FakeClock

FAILED = "run.failed", {"agent": "notes", "run_id": "r-1"}


def delivery(event: str = FAILED[0], data: dict[str, Any] = FAILED[1], id: str = "msg_1") -> DeliveryRow:
    return DeliveryRow(id, "ops", 1, None, event, "run:r-1", data, "waiting", 0, None, 0, 1_000, None)


async def test_ntfy_gets_title_priority_tag_and_link(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, pages="https://hub.example") as bench,
        receiving() as receiver,
    ):
        sender = bench.notifier.sender(
            bench.target(f"{receiver.url}/alerts", kind="ntfy", secret="tk_1"),
        )
        assert await sender.send([delivery()]) == SendResult("delivered", "status 204")
        await sender.send([delivery("run.completed", FAILED[1] | {"outcome": "success", "items": 3})])
        await sender.aclose()
    first, second = (one.event for one in receiver.got)
    assert receiver.got[0].headers["authorization"] == "Bearer tk_1"
    assert first == {
        "topic": "alerts",
        "title": "hub home",
        "message": "Run of notes failed",
        "priority": 4,
        "tags": ["warning"],
        "click": "https://hub.example/runs/r-1",
    }
    assert (second["message"], second["priority"]) == ("Run of notes completed (success), items: 3", 3)


async def test_matrix_message_uses_the_event_id_as_transaction_id(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, receiving() as receiver:
        target = bench.target(receiver.url, kind="matrix", secret="syt_1", to=("!room:example.org",))
        sender = bench.notifier.sender(target)
        for _ in range(2):
            await sender.send([delivery()])
        await sender.aclose()
    path = "/_matrix/client/v3/rooms/%21room%3Aexample.org/send/m.room.message/msg_1"
    assert [(one.method, one.path) for one in receiver.got] == [("PUT", path)] * 2
    assert receiver.got[0].event == {"msgtype": "m.text", "body": "Run of notes failed"}
    assert receiver.got[0].headers["authorization"] == "Bearer syt_1"


def mail(port: int, scheme: str = "smtp", **about: Any) -> NotifySettings:
    given = {
        "name": "mail",
        "kind": "smtp",
        "url": f"{scheme}://localhost:{port}",
        "to": ("anna@example.org",),
    }
    return NotifySettings.model_validate(given | {"sender": "hub@example.org"} | about)


async def send(
    target: NotifySettings,
    *sent: DeliveryRow,
    certificate: Path | None = None,
    allow: tuple[str, ...] = (),
    resolve: Resolve = resolve,
) -> SendResult:
    tls = None if certificate is None else trusting(certificate)
    rules = OutboundRules.parse(allow)
    sender = Sender(target, hub="home", rules=rules, clock=FakeClock(), pages=lambda: None, tls=tls)
    sender._client = OutboundClient(rules, resolve=resolve, tls=tls)
    try:
        return await sender.send(sent)
    finally:
        await sender.aclose()


@pytest.mark.parametrize("is_implicit", [False, True])
async def test_mail_has_all_events_and_goes_encrypted_with_a_login(tmp_path: Path, is_implicit: bool) -> None:
    files = write_certificate(tmp_path)
    (tmp_path / "password").write_text("geheim")
    tls = server_tls(files.certificate, files.key)
    async with MailServer(tls, is_implicit=is_implicit).serving() as server:
        target = mail(
            server.port,
            "smtps" if is_implicit else "smtp",
            login="hub",
            secret={"file": str(tmp_path / "password")},
            to=("anna@example.org", "ops@example.org"),
        )
        answer = await send(
            target,
            delivery(),
            delivery("question.asked", {"title": "Which?\r\nBcc: eve@example.org\r\n.\r\n"}, "msg_2"),
            certificate=files.certificate,
        )
    assert answer == SendResult("delivered", "mail with 2 events")
    (got,) = server.mails
    assert (got["Subject"], got["From"], got["To"]) == (
        "hub home: 2 events",
        "hub@example.org",
        "anna@example.org, ops@example.org",
    )
    assert (got["Message-ID"], got["Bcc"]) == ("<msg_1@example.org>", None)
    text = got.get_content()
    assert "Run of notes failed" in text
    assert "A question waits for an answer: Which? Bcc: eve@example.org ." in text
    commands = [one.partition(" ")[0].upper() for one in server.commands]
    assert commands.count("RCPT") == 2
    assert ("STARTTLS" in commands) != is_implicit
    assert commands.index("AUTH") > (-1 if is_implicit else commands.index("STARTTLS"))


async def test_subject_with_a_line_break_in_a_name_stays_a_single_header(tmp_path: Path) -> None:
    async with MailServer().serving() as server:
        answer = await send(mail(server.port), delivery(data={"agent": "n\r\nBcc: eve@example.org\nX: y"}))
    assert answer.outcome == "delivered"
    assert server.mails[0]["Subject"] == "hub home: Run of n Bcc: eve@example.org X: y failed"
    assert (server.mails[0]["Bcc"], server.mails[0]["X"]) == (None, None)
    assert [one for one in server.commands if one.startswith("rcpt")] == ["rcpt TO:<anna@example.org>"]


async def test_server_elsewhere_without_encryption_or_with_another_certificate_gets_nothing(
    tmp_path: Path,
) -> None:
    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    files = write_certificate(tmp_path)
    tls = server_tls(files.certificate, files.key)
    for server, why in ((MailServer(), "STARTTLS"), (MailServer(tls), "certificate")):
        async with server.serving():
            target = mail(server.port).model_copy(update={"url": f"smtp://mail.test:{server.port}"})
            answer = await send(target, delivery(), allow=("mail.test",), resolve=here)
        assert (answer.outcome, why in answer.text) == ("later", True), answer
        assert not any(one.upper().startswith(("MAIL", "AUTH")) for one in server.commands)


@pytest.mark.parametrize(
    ("server", "outcome", "text"),
    [
        (MailServer(on_data="554 spam"), "refused", "SMTP 554"),
        (MailServer(on_data="451 busy"), "later", "SMTP 451"),
        (MailServer(greeting="554 away"), "later", "SMTP 554, it takes no mail now"),
        (
            MailServer(greeting=""),
            "later",
            "localhost: no answer within 0.3 s: does it run, and is it too slow?",
        ),
    ],
)
async def test_mail_server_answer_decides_the_delivery_outcome(
    server: MailServer, outcome: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.notify.sending.TIMEOUT_S", 0.3)
    async with server.serving():
        with anyio.fail_after(5):
            assert await send(mail(server.port), delivery()) == SendResult(outcome, text)  # type: ignore[arg-type]
    assert server.mails == []
