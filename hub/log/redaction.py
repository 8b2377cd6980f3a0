"""Redaction of secrets and document content in log texts and fields.

Tokens and keys are recognized by their form, passwords by their context, and document content by the name of
its field. This is the last line of defence: callers should not log any of it.
"""

import re
from collections.abc import Mapping
from typing import Final

REDACTED: Final = "[redacted]"
MAX_TEXT: Final = 2_000  # characters of one value

# Names of fields whose value is always redacted.
SECRET_FIELDS: Final = frozenset(
    {
        "access_token",
        "api_key",
        "authorization",
        "client_secret",
        "code_verifier",
        "cookie",
        "credential",
        "device_code",
        "invitation",
        "pairing_code",
        "passphrase",
        "password",
        "private_key",
        "refresh_token",
        "secret",
        "signature",
        "token",
    }
)
# Names of fields with document content, logged only with log.content = true.
CONTENT_FIELDS: Final = frozenset(
    {"completion", "content", "data", "document", "item", "items_found", "prompt", "quote", "text"}
)

_NAMES: Final = (
    r"(?:api_?key|access_token|refresh_token|client_secret|code_verifier|device_code"
    r"|password|passphrase|passwd|secret|token)"
)
# Id of an actor or a credential, ``token:ID``: it identifies the owner but grants no access.
_TOKEN_ID: Final = (
    r"(?<=\btoken:)[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?![\w-])"
)
_SECRETS: Final = re.compile(
    "|".join(
        (
            r"(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            r"(?P<ours>\bhub_[a-z]{2,5}_)[A-Za-z0-9]{8,}",
            r"\bsk-[A-Za-z0-9_-]{16,}",
            r"\bgh[pousr]_\w{16,}",
            r"\bxox[abeprs]-[\w-]{10,}",
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
            r"\bAIza[\w-]{30,}",
            r"\b(?:gsk|hf|glpat)[_-][A-Za-z0-9_-]{16,}",
            r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*",
            r"(?P<header>\bauthorization['\"]?\s*[:=,]\s*(?:b(?=['\"]))?['\"]?(?:(?:bearer|basic|digest)\s+)?)[^\s'\",;}\])]+",
            r"(?P<bearer>\bbearer\s+)[\w.~+/=-]{8,}",
            r"(?P<url>://[^/\s:@]*:)[^/\s@]+(?=@)",
            rf"(?P<named>(?<![\w-]){_NAMES}['\"]?\s*[:=]\s*['\"]?)(?!{_TOKEN_ID})(?![{{\[])[^\s'\",;&}}\])]+",
            r"(?P<query>[?&](?:code|key|sig|signature|state)=)[^&\s'\"]+",
        )
    ),
    re.IGNORECASE | re.DOTALL,
)
# Text before the key in a problem of hub.toml, which never quotes the value.
_OUR_PROBLEM: Final = re.compile(r"\.toml:\d+:\d+: (?:error|warning): (?:\w+\.)+\Z")
_ID: Final = re.compile(r"[0-9a-f-]{1,40}\Z")  # most values are ids, and no secret has this form
# Pydantic's quotation of invalid input.
_QUOTED_INPUT: Final = re.compile(r"(input_value=).*?(?=, input_type=|\]$|\Z)", re.DOTALL)


def redact(text: str, *, content: bool = False) -> str:
    """Return *text* without secrets; also without content that an error quotes, unless *content*."""
    text = _SECRETS.sub(_replaced, text)
    return text if content or "input_value=" not in text else _QUOTED_INPUT.sub(rf"\1{REDACTED}", text)


def redact_fields(fields: Mapping[str, object], *, content: bool = False) -> dict[str, object]:
    """Return *fields* as plain values, redacted, each text at most MAX_TEXT characters.

    Args:
        content: True if document content may be logged.
    """
    return {
        name: REDACTED if _is_hidden(name, value, content) else _plain(value, content)
        for name, value in fields.items()
    }


def shortened(text: str, most: int = MAX_TEXT) -> str:
    """Return *text*, or its two ends if it is longer than *most* characters."""
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - end]} [{len(text) - most} characters cut] {text[-end:]}"


def _is_hidden(name: object, value: object, content: bool) -> bool:
    if value is None or isinstance(value, bool | int | float):
        return False  # a count of tokens is not a token
    return name in SECRET_FIELDS or (not content and name in CONTENT_FIELDS)


def _plain(value: object, content: bool) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value) if _ID.match(value) else redact(shortened(value), content=content)
        case Mapping():
            return redact_fields({str(name): inner for name, inner in value.items()}, content=content)
        case list() | tuple() | set() | frozenset():
            return [_plain(inner, content) for inner in value]
        case _:
            return redact(shortened(str(value)), content=content)


def _replaced(found: re.Match[str]) -> str:
    """Return the replacement for a secret; the text before it is kept, as it tells its type."""
    if found.lastgroup == "named" and _OUR_PROBLEM.search(found.string, 0, found.start("named")):
        return found.group()
    prefix = found.group(found.lastgroup) if found.lastgroup else ""
    return f"{prefix}{REDACTED}"
