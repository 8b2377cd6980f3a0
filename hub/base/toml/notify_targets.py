"""Tables ``[[notify]]`` of hub.toml: addresses that are notified of events."""

import hashlib
import re
from typing import Annotated, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from hub.base.outbound.addresses import parse_target
from hub.base.outbound.rules import is_this_machine
from hub.base.toml.values import REQUIRED, Flag, Name, SecretRef, SettingsTable, live, refusal, shaped

Event = Literal[
    "run.completed",
    "run.failed",
    "run.cancelled",
    "items.waiting",
    "item.approved",
    "question.asked",
    "agent.failing",
    "agent.well",
    "device.away",
    "device.back",
    "issue.opened",
    "issue.closed",
]
Kind = Literal["webhook", "ntfy", "matrix", "smtp"]
MOST: Final = 20  # each has connections and a task of its own
_SCHEMES: Final = {"smtp": ("smtp", "smtps")}
_AS_IN: Final = {
    "webhook": 'as in "https://example.org/hooks/hub"',
    "ntfy": 'as in "https://ntfy.sh/TOPIC"',
    "matrix": 'as in "https://matrix.example.org"',
    "smtp": 'as in "smtps://mail.example.org" or "smtp://mail.example.org:587"',
}
_MAIL: Final = r"^[^@\s<>\",;:()\[\]\\]{1,64}@(?:[\w-]{1,63}\.)*[\w-]{1,63}$(?!\n)"
_ROOM: Final = r"^[!#][^\s/?]{1,250}$(?!\n)"


def _address(written: str) -> str:
    if not written.isascii() or not (re.fullmatch(_MAIL, written) or re.fullmatch(_ROOM, written)):
        hint = 'as in "anna@example.org" or "!room:example.org"'
        raise refusal("address", "neither a mail address nor the id of a room", hint=hint)
    return written


Recipient = Annotated[
    str, AfterValidator(_address), shaped(r"^\S+$", "anna@example.org", "!room:example.org")
]


class NotifySettings(SettingsTable):
    """``[[notify]]``: an address that is notified of events."""

    name: Name = live(REQUIRED, "Name.")
    kind: Kind = live(REQUIRED, "webhook (signed as Standard Webhooks), ntfy, matrix or smtp.")
    url: Annotated[
        str,
        StringConstraints(min_length=1, max_length=2_000),
        shaped(r"^(https?|smtps?)://[^/?#@ ]+", "https://example.org/hooks/hub", "smtps://mail.example.org"),
    ] = live(REQUIRED, "Webhook, topic of ntfy, home server of Matrix, or mail server.")
    secret: SecretRef | None = live(
        None,
        "Signing keys of a webhook (whsec_..., whsk_...), a token, or the password of the mail server.",
    )
    events: Annotated[tuple[Event, ...], Field(max_length=100)] = live(
        (), "Events that are sent; all, if there are none."
    )
    user: Name | None = live(None, "Send the events of this user's things only.")
    titles: Flag = live(False, "Send titles of items, words of questions and explanations of issues too.")
    to: Annotated[tuple[Recipient, ...], Field(max_length=20)] = live(
        (), "Mail addresses, or the room of Matrix."
    )
    sender: Recipient | None = live(None, "Address that mails come from.")
    login: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = live(
        None, "Name at the mail server, if it asks for one."
    )

    @property
    def sent_events(self) -> tuple[Event, ...]:
        """Events that are sent."""
        return self.events or get_args(Event)

    @property
    def digest(self) -> str:
        """Digest of these settings."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        self._check_url()
        is_mail = self.kind == "smtp"
        if self.kind in ("webhook", "matrix") and self.secret is None:
            what = "signed with a key" if self.kind == "webhook" else "sent with a token"
            raise refusal(
                "no_secret", f"a {self.kind} is {what}", key="secret", hint='secret = { file = "PATH" }'
            )
        if is_mail and (not self.to or self.sender is None):
            raise refusal("no_address", "a mail needs sender and to", key="sender" if self.to else "to")
        if self.kind == "matrix" and len(self.to) != 1:
            raise refusal(
                "no_address", "the one room is missing", key="to", hint='to = ["!room:example.org"]'
            )
        named = (*self.to, *filter(None, [self.sender]))
        if any((recipient[0] not in "!#") != is_mail for recipient in named):
            wrong = "a mail goes to mail addresses" if is_mail else "not the id of a room"
            raise refusal("address", wrong, key="to")
        if (self.login is None) != (self.secret is None) and is_mail:
            raise refusal("half_a_login", "login and secret are given together", key="login")
        return self

    def _check_url(self) -> None:
        as_in = _AS_IN[self.kind]
        try:
            scheme, host, _ = parse_target(self.url)
        except ValueError as error:
            raise refusal("url", "not an address", key="url", hint=as_in) from error
        parts = urlsplit(self.url)
        if scheme not in _SCHEMES.get(self.kind, ("http", "https")):
            raise refusal("url", f"not the address of a {self.kind} target", key="url", hint=as_in)
        if parts.fragment:
            raise refusal("url", "an address has no fragment in it", key="url", hint=as_in)
        if scheme == "http" and not is_this_machine(host):
            message = "events would cross the network unencrypted"
            raise refusal("not_encrypted", message, key="url", hint="use https")
        if self.kind == "ntfy" and not parts.path.strip("/"):
            raise refusal("url", "the topic is missing", key="url", hint=as_in)


NotifyTargets = Annotated[tuple[NotifySettings, ...], Field(max_length=MOST)]
