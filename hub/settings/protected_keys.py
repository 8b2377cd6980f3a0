"""Guarded keys of hub.toml, which affect more than settings: secrets, file paths, document destinations.

A user who sets such a key can make the hub read a file, or send document content to an own server. So the
right to change settings is not sufficient for them: over TCP, all admin scopes are required; on the hub's own
machine, none.
"""

import tomllib
from collections.abc import Mapping
from typing import Any, Final

from hub.settings.problems import spell
from hub.settings.renames import follow_renames
from protocol.errors import ErrorCode, HubError

GUARDED: Final = (
    ("model", "base_url"),
    ("model", "api_key"),
    ("model", "private"),
    ("fallback_models",),
    ("gateways",),
    ("connectors",),
    ("coordination", "reply_url"),
    ("storage", "url"),
    ("listen", "devices", "tls"),
    ("listen", "operator", "tls"),
    ("listen", "webhooks", "tls"),
)


class BeyondSettings(HubError):
    """Change of a guarded key without all scopes; the new text was not evaluated."""

    code = ErrorCode.FORBIDDEN


def check_guarded(before: str, after: str) -> None:
    """Check that *after*, which is not evaluated yet, keeps every guarded key of *before*.

    Raises:
        BeyondSettings: a guarded key differs; the message names the first such key.
    """
    was, would_be = _guarded(before), _guarded(after)
    for key, value in would_be.items():
        if value != was.get(key):
            raise BeyondSettings(
                f"{key}: a secret, a file or where the model is found is changed with all scopes of an admin:"
                " with such a token, or on the hub's own machine"
            )


def _guarded(text: str) -> dict[str, Any]:
    """Return the guarded keys of *text*; empty if *text* is not valid TOML."""
    try:
        doc: dict[str, Any] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}
    list(follow_renames(doc))
    return {spell(path): _value(doc, path) for path in GUARDED}


def _value(doc: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    here: Any = doc
    for part in path:
        here = here.get(part) if isinstance(here, Mapping) else None
    return here
