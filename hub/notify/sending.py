"""Notification messages: webhook signatures, ntfy, Matrix and mail."""

import base64
import binascii
import hashlib
import hmac
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import partial
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, urlsplit

import anyio
import anyio.to_thread
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.base.clock import Clock, from_epoch_ms, utc_text
from hub.base.name_lists import counted
from hub.base.outbound.addresses import connect_to_first, parse_target, unreached
from hub.base.outbound.client import InvalidURL, OutboundClient, TransportError, trust_store
from hub.base.outbound.rules import OutboundRules, is_this_machine, retry_after
from hub.base.tls_faults import certificate_fix
from hub.base.toml.notify_targets import NotifySettings
from hub.base.version import VERSION
from protocol.errors import HubError
from storage.deliveries import DeliveryRow

TIMEOUT_S: Final = 20.0  # of an attempt, from the first byte to the last
SILENCE_S: Final = 10.0  # of a mail server
MAX_ANSWER_BYTES: Final = 64 * 1024  # its status says all
BODY_S: Final = 2.0  # in which an answer's body ends, or the connection is not used again
IN_A_MAIL: Final = 50  # events
SECRET_BYTES: Final = range(24, 65)  # as Standard Webhooks has them
MAX_TEXT: Final = 200  # characters of an answer, or a subject
SERVER_ERRORS: Final = 500
_MAY_PASS: Final = frozenset({408, 425, 429})


class BadSecret(ValueError):
    """Secret that signs nothing."""


class SendResult(NamedTuple):
    """Result of an attempt. *wait_s*: wait that the receiver requested."""

    outcome: Literal["delivered", "later", "refused", "gone"]
    text: str
    wait_s: float | None = None


def signatures(secret: str, id: str, at: int, body: bytes) -> str:
    """Return the signatures of Standard Webhooks, one for each key of a secret.

    Args:
        secret: keys with white space between them: ``whsec_`` and base64 of 24 to 64 bytes (HMAC), or
            ``whsk_`` and base64 of an Ed25519 key.
        at: epoch seconds.

    Raises:
        BadSecret: a key is neither.
    """
    signed = b"%s.%d.%s" % (id.encode(), at, body)
    found = [f"{kind},{base64.b64encode(sign(signed)).decode()}" for kind, sign in _keys(secret)]
    if not found:
        raise BadSecret("it has no key")
    return " ".join(found)


def _keys(secret: str) -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    for number, word in enumerate(secret.split(), 1):
        prefix, _, spelled = word.partition("_")
        try:
            raw = base64.b64decode(spelled, validate=True)
        except binascii.Error:
            raw = b""
        if prefix == "whsec" and len(raw) in SECRET_BYTES:
            yield "v1", partial(hmac.digest, raw, digest=hashlib.sha256)
        elif prefix == "whsk" and len(raw) in (32, 64):  # some libraries put the public half behind it
            yield "v1a", Ed25519PrivateKey.from_private_bytes(raw[:32]).sign
        else:
            raise BadSecret(
                f"key {number} is neither whsec_ and base64 of 24 to 64 bytes, nor whsk_ and base64 of 32"
            )


class Sender:
    """Sender of one target's messages, with connections of its own. *pages*: address of the dashboard."""

    def __init__(
        self,
        target: NotifySettings,
        *,
        hub: str,
        rules: OutboundRules,
        clock: Clock,
        pages: Callable[[], str | None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._target = target
        self._hub = hub
        self._clock = clock
        self._pages = pages
        self._tls = tls
        self._client = OutboundClient(
            rules, connections=1, max_answer_bytes=MAX_ANSWER_BYTES, body_s=BODY_S, tls=tls
        )
        self._thread = anyio.CapacityLimiter(1)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, sent: Sequence[DeliveryRow]) -> SendResult:
        """Send events in one message; only mail takes more than one."""
        target = self._target
        try:
            secret = "" if target.secret is None else target.secret.resolve()
            with anyio.fail_after(TIMEOUT_S):
                if target.kind == "smtp":
                    return await self._mail(sent, secret)
                return await self._request(sent[0], secret)
        except TimeoutError:
            host = urlsplit(target.url).hostname
            return SendResult(
                "later", f"{host}: no answer within {TIMEOUT_S:g} s: does it run, and is it too slow?"
            )
        except (HubError, BadSecret) as exc:  # a refused address, or a secret that is missing
            return SendResult("later", str(exc))

    async def _request(self, delivery: DeliveryRow, secret: str) -> SendResult:
        target, pages, method = self._target, self._pages(), "POST"
        headers = {"content-type": "application/json", "user-agent": f"device-hub/{VERSION}"}
        if target.kind == "webhook":
            url, body, at = target.url, body_of(delivery, pages), int(self._clock.now().timestamp())
            signed = signatures(secret, delivery.id, at, body)
            headers |= {"webhook-id": delivery.id, "webhook-timestamp": f"{at}", "webhook-signature": signed}
        elif target.kind == "ntfy":  # as JSON: a header could not bear each name
            url, _, topic = target.url.rstrip("/").rpartition("/")
            priority, tag = (4, "warning") if delivery.event in URGENT else (3, "information_source")
            about: dict[str, Any] = {
                "topic": topic,
                "title": f"hub {self._hub}",
                "message": sentence(delivery),
            }
            about |= {"priority": priority, "tags": [tag], "click": link_of(delivery, pages) or ""}
            body = msgspec.json.encode(about)
        else:  # a home server takes a message with a transaction id once
            room = quote(target.to[0], safe="")
            url = f"{target.url.rstrip('/')}/_matrix/client/v3/rooms/{room}/send/m.room.message/{delivery.id}"
            text = " ".join(filter(None, (sentence(delivery), link_of(delivery, pages))))
            method, body = "PUT", msgspec.json.encode({"msgtype": "m.text", "body": text})
        if secret and target.kind != "webhook":
            headers["authorization"] = f"Bearer {secret}"
        try:
            answer = await self._client.request(method, url, content=body, headers=headers)
        except (TransportError, InvalidURL) as exc:
            return SendResult("later", f"{urlsplit(url).hostname}: {exc}"[:MAX_TEXT])
        status, wait = answer.status_code, retry_after(answer.headers, self._clock.now())
        text = f"status {status}"
        if 200 <= status < 300:
            return SendResult("delivered", text)
        wait_s = None if wait is None else wait.seconds
        if status == 410:
            return SendResult("gone", text)
        is_away = status in _MAY_PASS or status >= SERVER_ERRORS
        return SendResult("later" if is_away else "refused", text, wait_s)

    async def _mail(self, sent: Sequence[DeliveryRow], secret: str) -> SendResult:
        target, (scheme, host, port) = self._target, parse_target(self._target.url)
        is_implicit = scheme == "smtps"
        try:
            addresses = await self._client.permitted(host, port)
            tls = self._tls or trust_store()
            mailer = _Mailer(addresses, tls if is_implicit else None)
            login = None if target.login is None else (target.login, secret)
            message = self._message(sent)
            work = partial(mailer.deliver, host, port, tls, login, message)
            try:
                refused = await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._thread)
            finally:
                mailer.abort()  # ends a thread that was abandoned
        except smtplib.SMTPDataError as exc:
            return SendResult(
                "refused" if exc.smtp_code >= SERVER_ERRORS else "later", f"SMTP {exc.smtp_code}"
            )
        except smtplib.SMTPResponseException as exc:
            return SendResult("later", f"SMTP {exc.smtp_code}{_SMTP.get(type(exc), '')}")
        except (OSError, smtplib.SMTPException, ValueError) as exc:
            return SendResult("later", f"{host}: {_why(exc)}"[:MAX_TEXT])
        refusals = f", refused by {refused} of {len(target.to)} addresses" if refused else ""
        return SendResult("delivered", f"mail with {counted(len(sent), 'event')}{refusals}")

    def _message(self, sent: Sequence[DeliveryRow]) -> EmailMessage:
        target, message = self._target, EmailMessage(policy=SMTP)
        about = sentence(sent[0]) if len(sent) == 1 else f"{len(sent)} events"
        message["Subject"] = f"hub {self._hub}: {about}"[:MAX_TEXT]
        message["From"], message["To"] = target.sender, ", ".join(target.to)
        message["Date"] = format_datetime(self._clock.now())
        message["Message-ID"] = f"<{sent[0].id}@{(target.sender or '').rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        pages = self._pages()
        lines = [
            f"{utc_text(delivery.created_at)}  {sentence(delivery)}\n"
            f"{link_of(delivery, pages) or ''}".rstrip()
            for delivery in sent
        ]
        message.set_content("\n\n".join(lines) + "\n")
        return message


_SMTP: Final = {
    smtplib.SMTPAuthenticationError: ", it refuses the login: check login and secret of the target",
    smtplib.SMTPSenderRefused: ", it refuses the sender: check sender of the target",
    smtplib.SMTPConnectError: ", it takes no mail now",
    smtplib.SMTPHeloError: ", it refuses this hub",
}


def _why(error: Exception) -> str:
    """Return why a mail server did not take a mail, and what to do."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "it refuses all addresses: check to of the target"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}; {certificate_fix(error)}"
    return unreached(error) or str(error) or "the connection broke: is the port one of encrypted mail?"


class _Mailer(smtplib.SMTP):
    """Connection to a mail server at checked addresses. *tls*: from the first byte on; None: by STARTTLS."""

    def __init__(self, addresses: Sequence[str], tls: ssl.SSLContext | None) -> None:
        self._addresses = addresses
        self._first_tls = tls
        self._opened: socket.socket | None = None
        super().__init__(local_hostname="localhost", timeout=SILENCE_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        self._opened = connect_to_first(self._addresses, port, timeout)
        if self._first_tls is not None:
            self._opened = self._first_tls.wrap_socket(self._opened, server_hostname=host)
        return self._opened

    def deliver(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext,
        login: tuple[str, str] | None,
        message: EmailMessage,
    ) -> int:
        """Send a message, encrypted unless to this machine. Return the number of refused addresses."""
        self._host = host  # whose certificate is checked
        try:
            code, text = self.connect(host, port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, text)
            self.ehlo_or_helo_if_needed()
            if self._first_tls is None and (self.has_extn("starttls") or not is_this_machine(host)):
                self.starttls(context=tls)
            if login is not None:
                self.login(*login)
            refused = self.send_message(message)
            with suppress(smtplib.SMTPException, OSError):  # the server has the message
                self.quit()
            return len(refused)
        finally:
            self.close()

    def abort(self) -> None:
        """End the connection from another thread, whose work ends then."""
        for sock in filter(None, (self._opened, self.sock)):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


TEST: Final = "notify.test"
URGENT: Final = frozenset(
    {"run.failed", "question.asked", "agent.failing", "device.away", "issue.opened", "notify.gap"}
)
_SENTENCES: Final[Mapping[str, str]] = {
    "run.completed": "Run of {agent} completed ({outcome}), items: {items}",
    "run.failed": "Run of {agent} failed",
    "run.cancelled": "Run of {agent} was cancelled",
    "items.waiting": "Items of {agent} wait for review: {count}",
    "item.approved": "An item of {agent} was approved",
    "question.asked": "A question waits for an answer",
    "agent.failing": "Agent {agent} fails",
    "agent.well": "Agent {agent} works again",
    "device.away": "Device {device} is away, and runs wait for it",
    "device.back": "Device {device} is back",
    "issue.opened": "Issue {issue} ({severity})",
    "issue.closed": "Issue {issue} is over",
    "notify.gap": "Events were left out: {left_out}",
    TEST: "Test of the target {target}",
}
_PAGES: Final[Mapping[str, tuple[str, str]]] = {  # by the first part of the event: page, and what names it
    "run": ("runs", "run_id"),
    "items": ("runs", "run_id"),
    "item": ("review", ""),
    "question": ("questions", ""),
    "agent": ("agents", "agent"),
    "device": ("devices", "device"),
}
_TIMES: Final = ("since", "expires_at")


class _Fields(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


def sentence(delivery: DeliveryRow) -> str:
    """Return an event in one line, with its title or explanation if it has one."""
    text = _SENTENCES[delivery.event].format_map(_Fields(delivery.data))
    more = delivery.data.get("title") or delivery.data.get("explanation")
    return " ".join(f"{text}: {more}".split() if more else text.split())


def link_of(delivery: DeliveryRow, pages: str | None) -> str | None:
    """Return the address of the dashboard's page about an event. *pages*: of the dashboard; None: unknown."""
    if pages is None:
        return None
    page, name = _PAGES.get(delivery.event.partition(".")[0], ("", ""))
    parts = [page, str(delivery.data[name])] if delivery.data.get(name) else [page]
    return f"{pages}/{'/'.join(quote(part, safe='') for part in parts)}"


def body_of(delivery: DeliveryRow, pages: str | None) -> bytes:
    """Return the body of a webhook: the same for each attempt, but for the address of the dashboard."""
    data = {
        name: from_epoch_ms(value) if name in _TIMES and isinstance(value, int) else value
        for name, value in delivery.data.items()
    }
    link = link_of(delivery, pages)
    data |= {} if link is None else {"link": link}
    return msgspec.json.encode(
        {"type": delivery.event, "timestamp": from_epoch_ms(delivery.created_at), "data": data}
    )
