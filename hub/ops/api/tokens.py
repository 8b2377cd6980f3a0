"""Tokens of devices."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import StringConstraints

from hub.ops.api.deps import Hub
from hub.ops.views import NewToken, TokenView, View

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


class TokenRequest(View):
    """For which device a token is wanted, by its name."""

    device: Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,63}$")]


class Tokens(View):
    """All tokens, without their secrets."""

    tokens: tuple[TokenView, ...]


@router.get("")
async def list_tokens(hub: Hub) -> Tokens:
    """All tokens, revoked ones too, newest first."""
    return Tokens(tokens=tuple(await hub.tokens.all()))


@router.post("", status_code=201)
async def create_token(hub: Hub, wanted: TokenRequest, response: Response) -> NewToken:
    """Make a token. This answer is the only one that bears it."""
    response.headers["cache-control"] = "no-store"
    return await hub.tokens.create(wanted.device)


@router.delete("/{token_id}")
async def revoke_token(hub: Hub, token_id: str) -> TokenView:
    """Revoke a token; doing it twice is no error."""
    return await hub.tokens.revoke(token_id)
