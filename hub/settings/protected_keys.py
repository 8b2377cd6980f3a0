"""Keys of hub.toml that reach beyond the settings: secrets, files of the hub's user, where documents go.

Whoever sets one can have the hub read a file, or find out that it is there, and send what
it reads to a place of their own. So the right to change settings is not enough for these: over
TCP all scopes of an admin are needed, and somebody at the hub's own machine needs none.
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
    """A guarded key would have another value, and who wants it has not all scopes; nothing was looked at."""

    code = ErrorCode.FORBIDDEN


def check_guarded(before: str, after: str) -> None:
    """See that *after*, which is yet to be read, leaves every guarded key of *before* as it is.

    Raises:
        BeyondSettings: it does not; the message names the first key.
    """
    was, would_be = _guarded(before), _guarded(after)
    for key, value in would_be.items():
        if value != was.get(key):
            raise BeyondSettings(
                f"{key}: a secret, a file or where the model is found is changed with all scopes of an admin:"
                " with such a token, or on the hub's own machine"
            )


def _guarded(text: str) -> dict[str, Any]:
    """The guarded keys as *text* writes them; none of what is no TOML, whose values nobody reads."""
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
