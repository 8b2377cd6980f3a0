"""Connectors: whether they work, trying them, signing in, giving back what was granted."""

from typing import Annotated, Literal

from pydantic import Field

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.connectors import (
    ConnectorDetail,
    ConnectorView,
    ForgottenView,
    SelfTestView,
    SignInView,
)
from hub.api.views.view import View
from protocol.errors import ErrorCode

router = NounRouter(tags=["connectors"])

_E = ErrorCode


class Connectors(View):
    """Some connectors in order; *next_cursor* leads to those after them."""

    connectors: tuple[ConnectorView, ...]
    next_cursor: str | None = None


class SignInWanted(View):
    """How somebody wants to sign in; by default through a device that is there, else by pasting."""

    way: Literal["device", "paste", "code"] | None = None


class Pasted(View):
    """The address at which a browser ended after a sign-in."""

    address: Annotated[str, Field(min_length=1, max_length=8_000)]


@router.get("/v1/connectors")
async def list_connectors(hub: Hub, paging: Paging) -> Connectors:
    """The connectors of hub.toml, by name, and whether they work."""
    page = paging.cut(await hub.connectors.all(), key=_key)
    return Connectors(connectors=page.items, next_cursor=page.next_cursor)


@router.get("/v1/connectors/{connector}", responses=refusals(_E.UNKNOWN_CONNECTOR))
async def get_connector(hub: Hub, connector: str) -> ConnectorDetail:
    """One of them, by name or id, with the messages that could not be read."""
    return await hub.connectors.get(connector)


@router.post("/v1/connectors/{connector}/test", responses=refusals(_E.UNKNOWN_CONNECTOR))
async def check_connector(hub: Hub, actor: Actor, connector: str) -> SelfTestView:
    """Sign in, list and read one message. One that works may start runs again. Tells no word of a mail."""
    return await hub.connectors.test(connector, actor=actor)


@router.post("/v1/connectors/{connector}/retry", responses=refusals(_E.UNKNOWN_CONNECTOR))
async def retry_connector(hub: Hub, actor: Actor, connector: str) -> ConnectorDetail:
    """Forget that messages could not be read, and that it failed."""
    return await hub.connectors.try_again(connector, actor=actor)


@router.post(
    "/v1/connectors/{connector}/sign-in",
    status_code=201,
    responses=refusals(
        _E.UNKNOWN_CONNECTOR, _E.SIGN_IN_FAILED, _E.BAD_CONNECTOR, _E.PROVIDER_UNAVAILABLE, _E.PROVIDER_BUSY
    ),
)
async def begin_sign_in(hub: Hub, actor: Actor, connector: str, wanted: SignInWanted) -> SignInView:
    """Begin a sign-in; an earlier one of the same connector ends."""
    return await hub.connectors.sign_in(connector, wanted.way, actor=actor)


@router.get(
    "/v1/connectors/{connector}/sign-in/{sign_in}",
    responses=refusals(_E.UNKNOWN_CONNECTOR, _E.SIGN_IN_FAILED),
)
async def get_sign_in(hub: Hub, connector: str, sign_in: str) -> SignInView:
    """How a sign-in stands."""
    return await hub.connectors.sign_in_of(connector, sign_in)


@router.post(
    "/v1/connectors/{connector}/sign-in/answer",
    responses=refusals(_E.UNKNOWN_CONNECTOR, _E.SIGN_IN_FAILED),
)
async def answer_sign_in(hub: Hub, actor: Actor, connector: str, pasted: Pasted) -> SignInView:
    """Take the address that the browser ended at."""
    return await hub.connectors.answer(connector, pasted.address, actor=actor)


@router.delete("/v1/connectors/{connector}/grant", responses=refusals(_E.UNKNOWN_CONNECTOR, _E.BAD_CONNECTOR))
async def forget_grant(hub: Hub, actor: Actor, connector: str) -> ForgottenView:
    """Give what was granted back at the provider, and forget it."""
    return await hub.connectors.forget(connector, actor=actor)


def _key(connector: ConnectorView) -> tuple[str]:
    return (connector.name,)
