"""Tokens of devices, and those of operators. The answer that makes one is the only one that bears it."""

from typing import Annotated, Final

from fastapi import Response
from pydantic import Field, StringConstraints

from hub.api.deps import Actor, Caller, Hub, NounRouter
from hub.api.door.roles import Role, Scope
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.identity import NewOperatorToken, NewToken, OperatorTokenView, TokenView
from hub.api.views.view import View
from hub.settings.values import Name
from protocol.errors import ErrorCode

YEAR_S: Final = 366 * 86_400.0

Lifetime = Annotated[
    float, Field(ge=60.0, le=YEAR_S, description="How long it counts, in seconds.", examples=[7_776_000])
]
Label = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$", strip_whitespace=True)
]

router = NounRouter(tags=["tokens"], responses=refusals(ErrorCode.UNKNOWN_TOKEN, ErrorCode.LIMIT_REACHED))


class TokenRequest(View):
    """For which device a token is wanted, by its name."""

    device: Name
    ttl_s: Lifetime | None = None  # for ever


class Tokens(View):
    """Some tokens in order, without their secrets; *next_cursor* leads to those after them."""

    tokens: tuple[TokenView, ...]
    next_cursor: str | None = None


class OperatorTokenRequest(View):
    """What an operator's token is for, and what it may: all that its role brings, or less."""

    name: Label
    role: Role
    scopes: tuple[Scope, ...] = ()  # none: every scope of the role
    ttl_s: Lifetime | None = None  # as long as hub.toml says


class OperatorTokens(View):
    """Some tokens in order, without their secrets; *next_cursor* leads to those after them."""

    tokens: tuple[OperatorTokenView, ...]
    next_cursor: str | None = None


@router.get("/v1/tokens")
async def list_tokens(hub: Hub, paging: Paging) -> Tokens:
    """All tokens of devices, revoked ones too, the oldest first."""
    page = paging.cut(await hub.tokens.all(), key=_age)
    return Tokens(tokens=page.items, next_cursor=page.next_cursor)


@router.post("/v1/tokens", status_code=201)
async def create_token(hub: Hub, actor: Actor, wanted: TokenRequest, response: Response) -> NewToken:
    """Make a token for a device, which is made too where it is new; with ``user``, as that user's."""
    response.headers["cache-control"] = "no-store"
    return await hub.tokens.create(wanted.device, ttl_s=wanted.ttl_s, actor=actor)


@router.delete("/v1/tokens/{token_id}")
async def revoke_token(hub: Hub, actor: Actor, token_id: str) -> TokenView:
    """Revoke a token and close the connection that it opened; doing it twice is no error."""
    return await hub.tokens.revoke(token_id, actor=actor)


@router.get("/v1/operator-tokens")
async def list_operator_tokens(hub: Hub, paging: Paging) -> OperatorTokens:
    """All tokens of operators, revoked ones too, the oldest first."""
    page = paging.cut(await hub.operator_tokens.all(), key=_age)
    return OperatorTokens(tokens=page.items, next_cursor=page.next_cursor)


@router.post("/v1/operator-tokens", status_code=201)
async def create_operator_token(
    hub: Hub, caller: Caller, wanted: OperatorTokenRequest, response: Response
) -> NewOperatorToken:
    """Make a token for an operator, within the caller's own rights; with ``user``, one that sees no more."""
    response.headers["cache-control"] = "no-store"
    return await hub.operator_tokens.create(
        wanted.name, role=wanted.role, scopes=wanted.scopes, ttl_s=wanted.ttl_s, by=caller
    )


@router.delete("/v1/operator-tokens/{token_id}")
async def revoke_operator_token(hub: Hub, actor: Actor, token_id: str) -> OperatorTokenView:
    """Revoke a token; doing it twice is no error."""
    return await hub.operator_tokens.revoke(token_id, actor=actor)


def _age(token: TokenView | OperatorTokenView) -> tuple[str | int, ...]:
    return (token.created_at.isoformat(), token.id)
