"""Client of Microsoft Graph for Outlook and Teams: pages, batches, and meaning of errors.

A link to another origin in an answer is refused before anything is sent (the caller's rule), because the
bearer token would go along. Batches of requests (``$batch``) are not used: each request in a batch counts,
and a mailbox permits only four concurrent requests.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from pydantic import Field

from hub.connectors.calling import (
    BaseUrl,
    ConnectorFailure,
    CursorLost,
    HttpReply,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    ProviderCaller,
    QuotaSpent,
    SignInNeeded,
    Unavailable,
    origin_of,
)
from hub.connectors.connector import Address, Auth, Connector, Context, OAuth, ProviderSettings
from hub.connectors.microsoft_sign_in import sign_in_codes, sign_in_failure
from hub.connectors.mime import Letters
from hub.text.mime import header_text
from protocol.frame import NO_JSON, read_json

MAX_LINK_CHARS: Final = 3_000  # links are stored in the cursor
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
    base_url: BaseUrl = Field(
        default="https://graph.microsoft.com/v1.0",
        description="Of Graph; another one in a national cloud.",
    )
    login_url: BaseUrl = Field(
        default="https://login.microsoftonline.com",
        description="Of the sign-in; another one in a national cloud.",
    )

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

    def __init__(self, caller: ProviderCaller, base_url: str, *, prefer: Sequence[str] = ()) -> None:
        self._caller = caller
        self._base_url = base_url
        self._headers = {"Accept": "application/json"} | ({"Prefer": ", ".join(prefer)} if prefer else {})
        self._pages_before: dict[
            str, set[str]
        ] = {}  # links of the pages of a list, by the link to its next page

    def url(self, *path: str, query: Mapping[str, str] | None = None) -> str:
        """Create a URL; each segment of *path* is quoted, because ids contain slashes and other signs."""
        whole = "/".join([self._base_url, *(quote(step, safe="$:@") for step in path)])
        return f"{whole}?{urlencode(query, safe=_SAFE, quote_via=quote)}" if query else whole

    async def ask(
        self, url: str, *, accept: Sequence[int] = (200,), expects_json: bool = True, is_stream: bool = False
    ) -> HttpReply:
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
            raise Unavailable("Microsoft Graph lost a state that the hub does not use") from lost

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
        before = self._pages_before.pop(url, set())
        before.add(url)
        if on in before:
            raise Unavailable("Microsoft Graph's pages lead in a circle")
        if on is not None:
            self._pages_before[on] = before
        return GraphPage(tuple(item for item in items if isinstance(item, dict)), on, end)

    def _link(self, body: dict[str, Any], name: str) -> str | None:
        """Return a link of an answer, checked first, since a bad link in a cursor would fail forever."""
        link = body.get(name)
        if link is None:
            return None
        if not isinstance(link, str) or len(link) > MAX_LINK_CHARS:
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
        addresses = [address.lower() for address in found if isinstance(address, str) and address]
        name = addresses[0] if addresses else str(profile.get("displayName") or "")
        return Person(str(profile.get("id") or ""), name, frozenset(addresses))


class GraphConnector(Connector):
    """Base of the connectors to Graph."""

    auth: ClassVar[Auth] = Auth.OAUTH2

    def __init__(
        self, context: Context, settings: GraphSettings, filter: Any, *, prefer: Sequence[str] = ()
    ) -> None:
        super().__init__(context, settings, filter)
        self._filter = filter
        self._graph = Graph(context.caller, settings.base_url, prefer=prefer)
        self._letters = Letters(filter)
        self._me: Person | None = None

    @classmethod
    def origin(cls, settings: GraphSettings) -> str:
        return f"{cls.provider} {settings.base_url}"

    @classmethod
    def origins(cls, settings: GraphSettings) -> frozenset[str]:
        return frozenset((origin_of(settings.base_url),))

    @staticmethod
    def judge(answer: HttpReply) -> ConnectorFailure | None:
        return judge(answer)

    async def _signed_in(self) -> Person:
        if self._me is None:
            self._me = await self._graph.me()
        return self._me


def judge(answer: HttpReply) -> ConnectorFailure | None:
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
        numbers = sign_in_codes(answer.body[:20_000].decode("utf-8", "replace"))
        if (known := sign_in_failure(numbers)) is not None:
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


def codes_of(answer: HttpReply) -> frozenset[str]:
    """Return an error's code and the nested codes, in lower case."""
    try:
        body = read_json(answer.body)
    except NO_JSON:
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


def inner(item: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return the nested mapping, or an empty one."""
    for name in names:
        found = item.get(name)
        item = found if isinstance(found, dict) else {}
    return item


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


_WORD: Final = re.compile(r"\S+")


def with_marks(whole: str, new: str) -> str:
    """Mark every line of *whole* after its beginning *new* as quoted.

    If *whole* does not begin with *new*, it is returned unchanged: other rules must detect the quotation
    then.
    """
    end = 0
    words = _WORD.finditer(whole)
    for expected in new.split():
        word = next(words, None)
        if word is None or word.group() != expected:
            return whole
        end = word.end()
    rest = whole[end:].strip()
    if not end or not rest:
        return whole
    lines = (line.strip() for line in rest.splitlines())
    marked = (line if line.startswith(">") else f"> {line}".rstrip() for line in lines)
    return "\n".join([whole[:end], "", *marked])
