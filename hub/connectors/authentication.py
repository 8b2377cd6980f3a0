"""Verification of a mail's sender by the Authentication-Results of the mailbox's own server (RFC 8601).

A sender can write any header, so a result counts only if the mailbox's server wrote it. Servers put their
header on top of those that a mail brought along, so only the topmost Authentication-Results is read. It must
bear the name (authserv-id) of the server; Microsoft's writes none, and is known by that form.

The sender is verified by DMARC, or by DKIM or SPF for the domain in From or for a domain above it. A failed
DMARC refuses all. Texts of the sender, such as comments and quoted addresses, are skipped. Pure functions.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

GOOGLE: Final = "mx.google.com"
MICROSOFT: Final = ""  # without a name
HEADER: Final = "authentication-results"

_MOST_CHARS: Final = 8_000  # longer ones are none of a server's
_MOST_DEPTH: Final = 10  # of comments in comments
_TOKEN: Final = re.compile(r'\\.|"(?:[^"\\]|\\.)*"|[^\s()";=\\]+|[()";=\\]')
_NO_FAULT: Final = ("pass", "none", "bestguesspass")
_VALUES: Final = ("header.from", "header.d", "header.i", "smtp.mailfrom")


class Result(NamedTuple):
    """Result of one method, as ``dkim=pass header.d=example.org``."""

    method: str
    result: str
    values: dict[str, str]


def is_verified(header: str, authserv_id: str | None, address: str) -> bool:
    """Return True if the mailbox's server verified the domain of the sender's *address*.

    Args:
        header: the topmost Authentication-Results of the mail.
        authserv_id: name of the mailbox's server; empty: it writes none; None: unknown, so nothing counts.
    """
    domain = address.rpartition("@")[2].lower()
    if authserv_id is None or not header or not domain or len(header) > _MOST_CHARS:
        return False
    name, results = _parsed(header)
    if name != authserv_id.lower():
        return False
    found = list(results)
    if any(one.method in ("dmarc", "compauth") and one.result not in _NO_FAULT for one in found):
        return False
    return any(one.result == "pass" and _covers(one, domain) for one in found)


def _covers(one: Result, domain: str) -> bool:
    match one.method:
        case "dmarc":
            return one.values.get("header.from", "") == domain
        case "dkim":
            signer = one.values.get("header.d") or one.values.get("header.i", "")
            return _is_above(signer, domain)
        case "spf":
            return _is_above(one.values.get("smtp.mailfrom", ""), domain)
        case _:
            return False


def _is_above(found: str, domain: str) -> bool:
    """Return True if *found*, a domain or an address, is of *domain* or of a domain above it."""
    above = found.rpartition("@")[2]
    return "." in above and (domain == above or domain.endswith(f".{above}"))


def _parsed(header: str) -> tuple[str, Iterator[Result]]:
    """Return the name of the server, in lower case, and the results."""
    parts = _parts(header)
    first = parts[0] if parts else []
    if "=" in first:  # a result: the server writes no name
        return "", map(_result, parts)
    return (first[0].lower() if first else "-"), map(_result, parts[1:])


def _parts(header: str) -> list[list[str]]:
    """Return the tokens between semicolons, without comments."""
    parts: list[list[str]] = [[]]
    depth = 0
    for match in _TOKEN.finditer(header):
        token = match[0]
        if token == "(":
            depth += 1
        elif token == ")":
            depth -= 1
            if depth < 0:
                return []
        elif depth == 0 and token == ";":
            parts.append([])
        elif depth == 0:
            parts[-1].append(token)
        # An open quotation mark, or one in a comment, which readers understand in different ways.
        if depth > _MOST_DEPTH or token == '"' or (depth and token.startswith('"')):
            return []
    return parts if depth == 0 else []


def _result(part: list[str]) -> Result:
    """Return the result in *part*; a value that is given twice is none."""
    pairs = [
        (part[at - 1].lower(), part[at + 1].strip('"').lower())
        for at in range(1, len(part) - 1)
        if part[at] == "="
    ]
    names = [name for name, _ in pairs]
    values = {name: value for name, value in pairs[1:] if name in _VALUES and names.count(name) == 1}
    method, result = pairs[0] if pairs else ("", "")
    return Result(method, result, values)
