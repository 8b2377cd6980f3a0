"""Client of Microsoft Graph, shared by Outlook and Teams: addresses, pages, and meanings of errors.

A link to another origin in an answer is refused before anything is sent (the caller's rule), because the
bearer token would go along. Batches of requests (``$batch``) are not used: each request in a batch counts,
and a mailbox permits only four concurrent requests.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import anyio
import msgspec
from pydantic import Field, field_validator

from hub.connectors import aadsts
from hub.connectors.calling import Answer, Caller, origin_of
from hub.connectors.connector import Address, OAuth, ProviderSettings
from hub.connectors.failures import (
    ConnectorFailure,
    CursorLost,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    QuotaSpent,
    SignInNeeded,
    Unavailable,
)
from hub.outbound.rules import is_this_machine
from hub.text.mime import header_text
from protocol.json_bounds import read_json

MOST_LINK_CHARS: Final = 3_000  # links are stored in the cursor
T = TypeVar("T")
_SAFE: Final = "$,:()/'"

_BUSY: Final = frozenset(
    {
        "activitylimitreached",
        "applicationthrottled",
        "errorexceededconnectioncount",
        "errormailboxstoreunavailable",
        "errorserverbusy",
        "mailboxconcurrency",
        "toomanyrequests",
    }
)
_LOST: Final = frozenset(
    ("syncstatenotfound", "resyncrequired", "syncstateinvalid", "errorinvalidsyncstatedata")
)
_NO_MAILBOX: Final = frozenset(
    ("mailboxnotenabledforrestapi", "mailboxnotsupportedforrestapi", "errornonexistentmailbox")
)


class GraphSettings(ProviderSettings):
    """Addresses of Microsoft, and the account's tenant."""

    tenant: str = Field(
        default="common",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,127}$",
        description='The tenant\'s name or id; "common", "organizations" or "consumers" for any.',
    )
    base_url: str = Field(
        default="https://graph.microsoft.com/v1.0",
        description="Of Graph; another one in a national cloud.",
    )
    login_url: str = Field(
        default="https://login.microsoftonline.com",
        description="Of the sign-in; another one in a national cloud.",
    )

    @field_validator("base_url", "login_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            origin_of(value)
        except ValueError:
            raise ValueError("not the address of a server: https://HOST") from None
        parts = urlsplit(value)
        if parts.query or parts.fragment:
            raise ValueError("an address without ? and #")
        if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
            raise ValueError("what goes to another machine is sent over https only")
        return value.rstrip("/")

    def oauth(self, *scopes: str) -> OAuth:
        """Return the OAuth parameters for *scopes*, with a refresh token."""
        base = f"{self.login_url}/{self.tenant}/oauth2/v2.0"
        return OAuth(
            authorize_url=f"{base}/authorize",
            token_url=f"{base}/token",
            device_url=f"{base}/devicecode",
            scopes=(*scopes, "User.Read", "offline_access"),
            authorize=(("prompt", "select_account"),),
            loopback="localhost",
        )


class Person(msgspec.Struct, frozen=True):
    """Signed-in person. *addresses* are in lower case."""

    id: str
    name: str
    addresses: frozenset[str]


class GraphPage(msgspec.Struct, frozen=True):
    """Page of a list. *delta*: link for later changes, on the last page only."""

    items: tuple[dict[str, Any], ...]
    next: str | None
    delta: str | None


class Graph:
    """Client of Graph. *prefer* is sent with every request, including those by a link from an answer."""

    def __init__(self, caller: Caller, base_url: str, *, prefer: Sequence[str] = ()) -> None:
        self._caller = caller
        self._base_url = base_url
        self._headers = {"Accept": "application/json"} | ({"Prefer": ", ".join(prefer)} if prefer else {})

    def url(self, *path: str, query: Mapping[str, str] | None = None) -> str:
        """Create a URL; each segment of *path* is quoted, because ids contain slashes and other signs."""
        whole = "/".join([self._base_url, *(quote(step, safe="$:@") for step in path)])
        return f"{whole}?{urlencode(query, safe=_SAFE, quote_via=quote)}" if query else whole

    async def ask(
        self, url: str, *, accept: Sequence[int] = (200,), expects_json: bool = True, is_stream: bool = False
    ) -> Answer:
        """Send a GET request and return the answer.

        Args:
            is_stream: *url* refers to a sync state that Microsoft may forget.

        Raises:
            CursorLost: the sync state is lost; only of a stream.
            ConnectorFailure: any other failure.
        """
        try:
            return await self._caller.ask(
                "GET", url, headers=self._headers, accept=accept, expects_json=expects_json
            )
        except CursorLost as lost:
            if is_stream:
                raise
            raise Unavailable("Microsoft Graph says that it forgot what nobody asked it to keep") from lost

    async def get(self, url: str, *, is_stream: bool = False) -> dict[str, Any]:
        """Fetch one object. Raises as ``ask``."""
        body = (await self.ask(url, is_stream=is_stream)).json()
        if not isinstance(body, dict):
            raise Unavailable("Microsoft Graph answered something else than was asked for")
        return body

    async def page(self, url: str, *, is_stream: bool = False) -> GraphPage:
        """Fetch one page of a list.

        Raises:
            Misconfigured: the answer links to another host; nothing is sent there.
            ConnectorFailure: as ``ask``.
        """
        body = await self.get(url, is_stream=is_stream)
        items = body.get("value")
        if not isinstance(items, list):
            raise Unavailable("Microsoft Graph answered something else than a list")
        on, end = self._link(body, "@odata.nextLink"), self._link(body, "@odata.deltaLink")
        if on == url:
            raise Unavailable("Microsoft Graph's page leads to itself")
        return GraphPage(tuple(item for item in items if isinstance(item, dict)), on, end)

    def _link(self, body: dict[str, Any], name: str) -> str | None:
        """Return a link of an answer, checked first, since a bad link in a cursor would fail forever."""
        link = body.get(name)
        if link is None:
            return None
        if not isinstance(link, str) or len(link) > MOST_LINK_CHARS:
            raise Unavailable("Microsoft Graph answered a link that is none")
        try:
            is_its_own = origin_of(link) == origin_of(self._base_url)
        except ValueError:
            is_its_own = False
        if not is_its_own:
            raise Misconfigured("Microsoft Graph's answer leads to another host; nothing was sent there")
        return link

    async def me(self) -> Person:
        """Return the signed-in person."""
        profile = await self.get(self.url("me", query={"$select": "id,displayName,mail,userPrincipalName"}))
        found = [profile.get("mail"), profile.get("userPrincipalName")]
        addresses = [one.lower() for one in found if isinstance(one, str) and one]
        name = addresses[0] if addresses else str(profile.get("displayName") or "")
        return Person(str(profile.get("id") or ""), name, frozenset(addresses))


async def gather(asks: Sequence[Callable[[], Awaitable[T]]], at_once: int) -> list[T | ConnectorFailure]:
    """Run *asks* concurrently and return their results or failures in order."""
    found: dict[int, T | ConnectorFailure] = {}
    places = anyio.Semaphore(at_once)

    async def one(at: int) -> None:
        async with places:
            try:
                found[at] = await asks[at]()
            except ConnectorFailure as failure:
                found[at] = failure

    async with anyio.create_task_group() as tasks:
        for at in range(len(asks)):
            tasks.start_soon(one, at)
    return [found[at] for at in range(len(asks))]


def judge(answer: Answer) -> ConnectorFailure | None:
    """Interpret an error of Graph; None: the general meaning of its status applies."""
    codes = codes_of(answer)
    if codes & _LOST or answer.status == 410:
        return CursorLost("Microsoft does not know any more how far we were")
    if codes & _NO_MAILBOX:
        return PermissionMissing(
            "the account has no mailbox that Microsoft Graph can read: it has no licence, or is on premises"
        )
    if codes & _BUSY or answer.status in (429, 509):
        return ProviderBusy("Microsoft wants us to ask less often")
    if answer.status in (400, 401, 403):
        numbers = aadsts.codes_in(answer.body[:20_000].decode("utf-8", "replace"))
        if (known := aadsts.failure_of(numbers)) is not None:
            return known
    match answer.status:
        case 401:
            return SignInNeeded("Microsoft does not take the sign-in any more")
        case 402:
            return QuotaSpent("Microsoft wants to be paid for this interface")
        case 403:
            return PermissionMissing(
                "Microsoft does not let this account read here; the right is missing, or an administrator's"
                " consent to it"
            )
        case 404:
            return Misconfigured(
                "Microsoft does not find what is to be read: a folder, chat or channel is gone"
            )
    return None


def codes_of(answer: Answer) -> frozenset[str]:
    """Return an error's code and the nested codes, in lower case."""
    try:
        body = read_json(answer.body)
    except msgspec.DecodeError:
        return frozenset()
    found = set()
    error = body.get("error") if isinstance(body, dict) else None
    for _ in range(8):  # bounds the nesting, which is less deep in practice
        if not isinstance(error, dict):
            break
        found.add(str(error.get("code") or "").lower())
        error = error.get("innerError") or error.get("innererror")
    return frozenset(found - {""})


def spell_time(at: datetime) -> str:
    """Format a time for Graph's filters: UTC, truncated to whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(value: object) -> datetime | None:
    """Parse a time of Graph, aware UTC; None if it is invalid."""
    if not isinstance(value, str):
        return None
    try:
        return msgspec.convert(value, datetime).astimezone(UTC)
    except (msgspec.ValidationError, ValueError, OverflowError):
        return None


def read_address(value: object) -> Address | None:
    """Parse Graph's ``recipient``."""
    inner = value.get("emailAddress") if isinstance(value, dict) else None
    if not isinstance(inner, dict):
        return None
    email, name = header_text(str(inner.get("address") or "")), header_text(str(inner.get("name") or ""))
    return Address(email.lower(), name) if email or name else None


def text_field(item: Mapping[str, Any], name: str) -> str:
    """Return a text on one line, or an empty string."""
    value = item.get(name)
    return header_text(value) if isinstance(value, str) else ""


def web_link(value: object) -> str | None:
    """Return a link that is safe to open in a browser, or None."""
    return value if isinstance(value, str) and value.startswith("https://") and len(value) <= 4_000 else None
