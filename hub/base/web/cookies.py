"""Sign-in cookie of a browser: its name and attributes, and the header that proves the same origin.

Cookies are shared by all ports of a host, so the name has the port: two hubs on one machine do not sign each
other out. Over TLS the prefix ``__Host-`` keeps other hosts of the domain from setting it.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope as Request

MARK: Final = "x-hub-request"  # header of a change, which no form and no other origin can send


def is_encrypted(scope: Request) -> bool:
    """Return whether the browser uses TLS, up to this listener or up to a trusted proxy."""
    headers = Headers(scope=scope)
    forwarded = headers.get("x-forwarded-proto", "").strip().lower() == "https"
    return (
        scope.get("scheme") == "https" or forwarded or "proto=https" in headers.get("forwarded", "").lower()
    )


def cookie_of(scope: Request) -> str | None:
    """Return the secret of the session that a request has in its cookie, or None."""
    cookies = Headers(scope=scope).getlist("cookie")
    return cookie_parser("; ".join(cookies)).get(_name(scope)) or None


def spelled_cookie(scope: Request, secret: str, lasts_s: int) -> str:
    """Return the header that makes the browser store the secret for *lasts_s* seconds; 0 removes it."""
    secure = "; Secure" if is_encrypted(scope) else ""
    return f"{_name(scope)}={secret}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"


def origin_of(scope: Request) -> str:
    """Return the origin at which a client has found the hub; its Host was checked."""
    return f"{'https' if is_encrypted(scope) else 'http'}://{Headers(scope=scope).get('host', '')}"


def _name(scope: Request) -> str:
    port = Headers(scope=scope).get("host", "").rpartition("]")[2].partition(":")[2]
    name = f"hub-{port}" if port.isdigit() else "hub"
    return f"__Host-{name}" if is_encrypted(scope) else name
