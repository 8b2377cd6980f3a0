"""Tables of hub.toml about gateways, and about messages and questions between agents and people."""

import re
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
)

from hub.base.outbound.rules import is_this_machine
from hub.base.toml.values import (
    REQUIRED,
    Flag,
    Name,
    Seconds,
    SecretRef,
    SettingsPath,
    SettingsTable,
    live,
    refusal,
    shaped,
    url_parts,
)

MOST: Final = 100  # each needs up to two sockets, and memory


_REMOTE_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


_AS_IN: Final = 'as in "wss://gateway.example" or "ws://127.0.0.1:18789"'


_TOKEN_APART: Final = 'write the token in a key of its own: token = { file = "PATH" }'


def _gateway_address(url: str) -> str:
    parts = url_parts(url, "ws", "wss")
    if parts is None:
        raise refusal("url", "not the address of a gateway", hint=_AS_IN)
    if parts.query or parts.fragment:
        raise refusal("url", "an address has no query or fragment in it", hint=_TOKEN_APART)
    if parts.scheme == "ws" and not is_this_machine(parts.hostname or ""):
        message = "token and messages would cross the network unencrypted"
        raise refusal("not_encrypted", message, hint="use wss, or a gateway on this machine")
    return url


def _reply_address(url: str) -> str:
    parts = url_parts(url, "http", "https")
    if parts is None:
        raise refusal("url", "not the address of this hub", hint='as in "https://hub.example"')
    if parts.query or parts.fragment:
        message = "an address has no query or fragment in it"
        raise refusal("url", message, hint="agents show a token of their own: hub agents token")
    if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
        message = "agents' tokens would cross the network unencrypted"
        raise refusal("not_encrypted", message, hint="use https, or let agents answer in their chat")
    return url.rstrip("/")


def _remote_id(id: str) -> str:
    if not _REMOTE_ID.fullmatch(id):
        message = "not the id of an agent at a gateway"
        raise refusal("remote_id", message, hint="small letters, digits, - and _, at most 64 of them")
    return id


RemoteId = Annotated[str, AfterValidator(_remote_id)]


Url = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class GatewaySettings(SettingsTable):
    """Settings of a gateway."""

    name: Name = live(REQUIRED, "Name.")
    url: Annotated[
        Url,
        AfterValidator(_gateway_address),
        shaped(r"^wss?://[^/?#@ ]+[^?#@ ]*$", "wss://gateway.example", "ws://127.0.0.1:18789"),
    ] = live(REQUIRED, "URL: wss://, or ws:// on this machine.")
    token: SecretRef | None = live(None, "Token, if the gateway requires one.")
    user: Name = live("owner", "Owner of the gateway, its boards and its agents; a new name creates a user.")
    main_agent: RemoteId | None = live(
        None,
        "Agent there that talks with people; by default the gateway's own, else one that the hub creates.",
    )
    ca_file: SettingsPath | None = live(
        None, "Certificates (PEM) that are trusted for wss:// instead of this machine's."
    )
    device_identity: Flag | None = live(
        None, "Authenticate with a key that is approved at the gateway once; the default for other machines."
    )


Gateways = Annotated[tuple[GatewaySettings, ...], Field(max_length=MOST)]


class CoordinationSettings(SettingsTable):
    """``[coordination]``: messages between agents, and questions to people."""

    reply_url: (
        Annotated[
            Url,
            AfterValidator(_reply_address),
            shaped(r"^https?://[^/?#@ ]+[^?#@ ]*$", "https://hub.example"),
        ]
        | None
    ) = live(
        None,
        "URL of the operator listener for replies of agents; by default they reply in their chat.",
    )
    message_expires_s: Seconds = live(86_400.0, "Age after which a message that was not delivered expires.")
    question_expires_s: Seconds = live(604_800.0, "Age after which a question to a person expires.")
