"""HTTP requests to a provider, and classification of failures: retry, sign in, wait or give up.

A request yields an accepted answer or a ``ConnectorFailure``. A connector's ``Judge`` interprets the statuses
of its provider; ``general`` interprets all others. A connector does not know the source of its access tokens.
Each account has one throttle, shared by all of its runs. It uses less than the provider allows.

Failures at a provider, by the action that they require.

Each class has one meaning: sign in again, grant a permission, correct the settings, wait, pay, start anew, or
retry. The message is for a person, and contains neither secrets nor mail content.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Protocol, TypeVar

import anyio
import msgspec
from pydantic import AfterValidator

from hub.base.clock import Chance, Clock
from hub.base.outbound.addresses import parse_target, unreached
from hub.base.outbound.client import AnswerTooLarge, DecodingError, InvalidURL, OutboundClient, TransportError
from hub.base.outbound.refusal_reach import MAX_REFUSALS, RefusalScope
from hub.base.outbound.rules import AddressRefused, bounded_wait, is_this_machine, retry_after
from hub.base.printable import with_whole_characters
from protocol.errors import ErrorCode, HubError
from protocol.frame import check_numbers, read_json


class ConnectorFailure(HubError):
    """Base of all failures that a connector raises deliberately.

    *scope*: how far the failure of a request for one message reaches.
    """

    code = ErrorCode.PROVIDER_UNAVAILABLE
    scope: ClassVar[RefusalScope] = RefusalScope.PLACE


class SignInNeeded(ConnectorFailure):
    """Missing or ended sign-in: a person must sign in again.

    Attributes:
        version: version of the refused credential; a result for an older version is ignored.
    """

    code = ErrorCode.SIGN_IN_NEEDED
    scope = RefusalScope.ACCOUNT

    def __init__(self, message: str, *, version: int = 0) -> None:
        super().__init__(message)
        self.version = version


class PermissionMissing(ConnectorFailure):
    """Missing permission despite a sign-in: a scope, a licence, or an administrator's rule."""

    code = ErrorCode.PROVIDER_FORBIDDEN


class Misconfigured(ConnectorFailure):
    """Settings in hub.toml that do not fit the provider: a deleted folder, or an invalid query."""

    code = ErrorCode.BAD_CONNECTOR
    scope = RefusalScope.ROW  # the settings fitted the request for the list


class FileUnusable(Misconfigured):
    """File that the settings name and this node cannot use; another node may have it."""

    scope = RefusalScope.ACCOUNT


class ProviderBusy(ConnectorFailure):
    """Wait requested by the provider that is too long for a run.

    Attributes:
        retry_at: aware UTC; ``None`` if the provider did not say.
    """

    code = ErrorCode.PROVIDER_BUSY
    scope = RefusalScope.MOMENT

    def __init__(self, message: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class QuotaSpent(ConnectorFailure):
    """Paid quota that is used up; waiting alone may not help."""

    code = ErrorCode.PROVIDER_QUOTA
    scope = RefusalScope.ACCOUNT


class CursorLost(ConnectorFailure):
    """Cursor that the provider has forgotten: the stream starts anew, with an overlap."""

    code = ErrorCode.CURSOR_LOST
    scope = RefusalScope.ROW  # a message has no cursor


class Unavailable(ConnectorFailure):
    """Transient error: the network, a server fault, or a truncated answer. A retry may help."""

    code = ErrorCode.PROVIDER_UNAVAILABLE


class NeedsOtherNode(Unavailable):
    """Key or file that this node lacks and another node may have: that node can read the connector."""

    scope = RefusalScope.ACCOUNT


NEEDS_A_PERSON: Final = (SignInNeeded, PermissionMissing, Misconfigured)


class MessageUnreadable(ConnectorFailure):
    """Message that cannot be read, unlike the others."""

    code = ErrorCode.MESSAGE_UNREADABLE
    scope = RefusalScope.ROW


TRIES: Final = 4
MIN_WAIT_S: Final = 1.0
MAX_WAIT_S: Final = 30.0  # between two attempts without a wait requested by the provider
PATIENCE_S: Final = 60.0  # a longer requested wait ends the run, which continues later
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024

_PASSING: Final = frozenset({408, 425, 500, 502, 503, 504})

Params = Mapping[str, str | Sequence[str]]
T = TypeVar("T")
R = TypeVar("R")

MINUTE_S: Final = 60.0
SHARE: Final = 0.8  # of a provider's limit, because other clients use the account, too
BURST_S: Final = 6.0  # seconds whose units may be spent at once


class ProviderQuota(msgspec.Struct, frozen=True):
    """Provider's limits for one account: units per minute, and concurrent requests."""

    units_per_min: float = 6_000.0
    at_once: int = 4


class Throttle:
    """Limiter that enforces a quota."""

    def __init__(self, quota: ProviderQuota, clock: Clock) -> None:
        self.quota = quota
        self._clock = clock
        self._places = anyio.Semaphore(quota.at_once)
        self._rate = quota.units_per_min * SHARE / MINUTE_S
        # Time at which the bucket would be full again. A request may start BURST_S earlier, and advances it
        # (GCRA).
        self._full_at = clock.monotonic()
        self._held_until = self._full_at

    @asynccontextmanager
    async def place(self, units: float = 1.0) -> AsyncIterator[None]:
        """Wait for a free place and for *units*; hold the place inside the block."""
        async with self._places:
            now = self._clock.monotonic()
            self._full_at = max(self._full_at, now) + units / self._rate
            goes_at = self._full_at - max(BURST_S, units / self._rate)
            while (wait_s := max(goes_at, self._held_until) - now) > 0:
                await self._clock.sleep(wait_s)
                now = self._clock.monotonic()
            yield

    def hold(self, seconds: float) -> None:
        """Block all requests for some seconds: after one request was asked to wait, others would be, too."""
        self._held_until = max(self._held_until, self._clock.monotonic() + seconds)


MAX_SHOWN_CHARS: Final = 10_000  # of a text for people, which is cut where it is shown or kept
Shown = Annotated[str, msgspec.Meta(max_length=MAX_SHOWN_CHARS)]


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """Reason for a message that could not be read.

    *is_removed*: it was removed meanwhile, which is no fault. *is_final*: it can never be read, so that no
    later run tries it again. *is_passing*: it may not be the message's fault, so that later runs try it again
    however often. *is_busy*: the provider wants a pause for it and accepts others, so that more runs than for
    another fault try it again.
    """

    reason: Shown
    is_removed: bool = False
    is_final: bool = False
    is_passing: bool = False
    is_busy: bool = False


class Refusals:
    """Refusals of single messages in one run, and the evidence that they are not of the provider."""

    def __init__(self) -> None:
        self.accepted = 0  # messages of this run
        self._in_a_row = 0  # refusals since the latest accepted message

    async def each(
        self, items: Sequence[T], ask: Callable[[T], Awaitable[R]], *, at_once: int = 100
    ) -> AsyncGenerator[tuple[T, R | Unread]]:
        """Apply *ask* to all items, limited by the throttle; yield items and results in order.

        The failure of an item is its result if the provider accepted others in this run. So is a failure
        whose scope is the row. The last item is asked for first: if it is accepted, refusals in a row of
        others are not of the provider.

        Args:
            at_once: items that are asked for concurrently.

        Raises:
            ConnectorFailure: the first failure, after the results so far, if it is of the provider.
        """
        found: dict[int, R | ConnectorFailure] = {}
        places = anyio.Semaphore(at_once)

        async def ask_one(at: int, item: T) -> None:
            async with places:
                if self._are_all_refused([*found.values()]):
                    return
                try:
                    found[at] = await ask(item)
                except ConnectorFailure as failure:
                    found[at] = failure

        async with anyio.create_task_group() as tasks:
            for at in [*range(len(items))[-1:], *range(len(items) - 1)]:
                tasks.start_soon(ask_one, at, items[at])
        results = [(items[at], found[at]) for at in sorted(found)]
        failures = [result for _, result in results if isinstance(result, ConnectorFailure)]
        self.accepted += len(results) - len(failures)
        is_over = self._are_all_refused([*found.values()])
        self._in_a_row = self._in_a_row + len(failures) if len(failures) == len(results) else 0
        of_all = [
            failure
            for failure in failures
            if is_over or not (self.accepted or failure.scope is RefusalScope.ROW)
        ]
        for item, result in results:
            if not isinstance(result, ConnectorFailure):
                yield item, result
            elif result not in of_all:
                is_busy = result.scope is RefusalScope.MOMENT and len(failures) < len(results)
                is_passing = not self.accepted or result.scope in (RefusalScope.ACCOUNT, RefusalScope.MOMENT)
                yield item, Unread(reason=str(result), is_passing=is_passing and not is_busy, is_busy=is_busy)
        if of_all:
            raise of_all[0]

    def _are_all_refused(self, results: Sequence[object]) -> bool:
        """Return True if so many messages in a row were refused that the provider refuses all."""
        are_failures = [isinstance(result, ConnectorFailure) for result in results]
        return bool(results) and all(are_failures) and self._in_a_row + len(results) >= MAX_REFUSALS


class AccessTokens(Protocol):
    """Access tokens of one account, refreshed once for all waiting callers."""

    async def token(self, rejected: str | None = None) -> str:
        """Return a valid token.

        Args:
            rejected: a token that was just refused; it is replaced, unless that has already happened.

        Raises:
            SignInNeeded: a person must sign in.
            Unavailable: a temporary failure.
        """
        ...


class HttpReply(msgspec.Struct, frozen=True):
    """Answer of a provider. Header names are in lower case; *at*: time of arrival by the hub's clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def json(self) -> Any:
        """Decode the body as JSON; a half of a character, where a service cut a text, becomes U+FFFD.

        Raises:
            Unavailable: the body is not JSON: a page of an intermediary, or a truncated answer.
        """
        try:
            try:
                return read_json(self.body)
            except msgspec.DecodeError:
                check_numbers(self.body)  # else it takes long to read them
                if (whole := with_whole_characters(self.body)) is None:
                    raise
                return read_json(whole)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unavailable("the provider's answer is cut off, or no JSON") from error


Judge = Callable[[HttpReply], ConnectorFailure | None]


def general(answer: HttpReply) -> ConnectorFailure:
    """Interpret a status without a provider-specific meaning."""
    status = answer.status
    if status == 401:
        return SignInNeeded("the provider does not take the sign-in any more")
    if status == 403:
        return PermissionMissing("the provider does not allow it")
    if status == 429:
        return ProviderBusy("the provider wants us to ask less often")
    # A redirect comes from an intermediary: a fault, or a captcha page.
    if status in _PASSING or status >= 500 or 300 <= status < 400:
        return Unavailable(f"the provider answered {status}")
    return Misconfigured(f"the provider does not take what it is asked: {status}")


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL in a normalized form: ``https://graph.microsoft.com:443``.

    Raises:
        ValueError: the URL is invalid.
    """
    scheme, host, port = parse_target(url)
    if scheme not in ("http", "https"):
        raise ValueError("no address of a server")
    return f"{scheme}://{host}:{port}"


def server_address(value: str) -> str:
    """Return the address of a server in hub.toml as written. Raises ValueError if it is unusable."""
    try:
        scheme, host, _ = parse_target(value)
    except ValueError:
        raise ValueError("not the address of a server: https://HOST") from None
    if "?" in value or "#" in value:
        raise ValueError("an address without ? and #")
    if scheme != "https" and not (scheme == "http" and is_this_machine(host)):
        raise ValueError("requests to other machines require https")
    return value


BaseUrl = Annotated[str, AfterValidator(lambda value: server_address(value).rstrip("/"))]


class ProviderCaller:
    """HTTP client for one account at its provider.

    Args:
        tokens: source of access tokens; ``None``: the connector authenticates by itself.
        origins: allowed origins, as ``origin_of`` spells them; all other addresses are refused.
    """

    def __init__(
        self,
        client: OutboundClient,
        *,
        tokens: AccessTokens | None,
        throttle: Throttle,
        origins: Collection[str],
        clock: Clock,
        chance: Chance,
        judge: Judge | None = None,
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._throttle = throttle
        self._origins = frozenset(origins)
        self._clock = clock
        self._chance = chance
        self._judge = judge

    async def ask(
        self,
        method: str,
        url: str,
        *,
        params: Params = {},  # noqa: B006 - never written to
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        units: float = 1.0,
        accept: Collection[int] = (200,),
        expects_json: bool = False,
    ) -> HttpReply:
        """Send a request and return an answer with a status in *accept*.

        Args:
            units: cost of the request in the provider's quota.
            expects_json: retry a 2xx answer that is not JSON as if it had been lost.

        Raises:
            Misconfigured: *url* is not at the provider, and nothing was sent; or the provider refused the
                request.
            SignInNeeded, PermissionMissing, ProviderBusy, QuotaSpent, CursorLost: meaning of the status.
            MessageUnreadable: the answer exceeds the size limit.
            Unavailable: four attempts got no proper answer.
        """
        self._check(url)
        rejected: str | None = None
        for attempt in range(1, TRIES + 1):
            token = None if self._tokens is None else await self._tokens.token(rejected=rejected)
            async with self._throttle.place(units):
                found = await self._once(method, url, params, headers, body, token)
            if isinstance(found, HttpReply):
                if found.status in accept:
                    if not expects_json or found.status >= 300 or _is_json(found):
                        return found
                    found = Unavailable("the provider's answer is cut off, or no JSON")
                elif found.status == 401 and token is not None and rejected is None:
                    rejected = token  # once: after a refused fresh token, a person must sign in again
                    continue
                else:
                    found = await self._judged(found)
            if not isinstance(found, Unavailable | ProviderBusy) or attempt == TRIES:
                raise found
            await self._wait(found, attempt)
        raise Unavailable("the provider did not answer properly")

    async def permitted(self, host: str, port: int) -> Sequence[str]:
        """Resolve *host* to the addresses that may be called, for a protocol other than HTTP.

        Raises:
            Misconfigured: a rule forbids all of them.
            Unavailable: the name cannot be resolved.
        """
        try:
            return await self._client.permitted(host, port)
        except AddressRefused as error:
            raise Misconfigured(str(error)) from error
        except OSError as error:
            raise Unavailable(f"{host}: {unreached(error) or error}") from error

    def _check(self, url: str) -> None:
        try:
            origin = origin_of(url)
        except ValueError:
            origin = ""
        if origin not in self._origins:
            raise Misconfigured("the provider points to an address not its own; nothing was sent there")

    async def _once(
        self,
        method: str,
        url: str,
        params: Params,
        headers: Mapping[str, str],
        body: bytes | None,
        token: str | None,
    ) -> HttpReply | ConnectorFailure:
        shown = dict(headers) | ({} if token is None else {"Authorization": f"Bearer {token}"})
        try:
            answer = await self._client.request(
                method, url, params=dict(params) or None, headers=shown, content=body
            )
        except AddressRefused as error:
            return Misconfigured(str(error))
        except AnswerTooLarge:
            return MessageUnreadable("the provider's answer is larger than what is read of one")
        except InvalidURL:
            return Misconfigured(
                "the provider points to something that is no address; nothing was sent there"
            )
        except (TransportError, DecodingError) as error:
            return Unavailable(f"the provider cannot be reached: {error}")
        return HttpReply(
            answer.status_code,
            {k.lower(): v for k, v in answer.headers.items()},
            answer.content,
            self._clock.now(),
        )

    async def _judged(self, answer: HttpReply) -> ConnectorFailure:
        """Interpret an answer as a failure; a requested wait holds all requests of this account."""
        failure = (None if self._judge is None else self._judge(answer)) or general(answer)
        if not isinstance(failure, ProviderBusy | Unavailable):
            return failure
        now = self._clock.now()
        wait = retry_after(answer.headers, now)
        if wait is None and isinstance(failure, ProviderBusy) and failure.retry_at is not None:
            wait = bounded_wait((failure.retry_at - now).total_seconds())
        if wait is None:
            return failure
        self._throttle.hold(min(wait.seconds, PATIENCE_S))
        return ProviderBusy(f"{failure}{wait.note}", retry_at=now + timedelta(seconds=wait.seconds))

    async def _wait(self, failure: ConnectorFailure, attempt: int) -> None:
        """Wait until the next attempt. Raises the failure if the wait is too long."""
        if isinstance(failure, ProviderBusy) and failure.retry_at is not None:
            wait_s = (failure.retry_at - self._clock.now()).total_seconds()
            if wait_s > PATIENCE_S:
                raise failure
        else:
            # Full jitter: clients refused together do not retry together.
            wait_s = self._chance.uniform(MIN_WAIT_S, min(MAX_WAIT_S, 2.0**attempt))
        await self._clock.sleep(wait_s)


def _is_json(answer: HttpReply) -> bool:
    try:
        answer.json()
    except Unavailable:
        return False
    return True


# Names of release 0.2, which plug-ins import.
Quota, Answer, Caller, Tokens = ProviderQuota, HttpReply, ProviderCaller, AccessTokens
