"""Locks of agents: who holds which, who waits; and taking one from its holder."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.locks import LockView
from hub.api.views.view import View
from protocol.errors import ErrorCode
from protocol.locks import NAME_CHARACTERS

router = NounRouter(tags=["locks"])


class Locks(View):
    """Some locks in order; *next_cursor* leads to those after them."""

    locks: tuple[LockView, ...]
    next_cursor: str | None = None


class Release(View):
    """Which lock is to be free; *fence*: only if it is held under this one still."""

    resource: Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS, examples=["mailbox:anna"])]
    fence: Annotated[int, Field(ge=1, le=2**53 - 1, examples=[7])] | None = None


@router.get("/v1/locks", responses=refusals(ErrorCode.UNKNOWN_AGENT))
async def list_locks(
    hub: Hub,
    paging: Paging,
    agent: Annotated[
        str | None, Query(max_length=200, description="Only what this agent holds or waits for.")
    ] = None,
    free: Annotated[bool, Query(description="Those too that nobody has or wants.")] = False,
) -> Locks:
    """The locks that somebody holds or waits for, by user and name."""
    found = sorted(await hub.locks.all(agent=agent, and_free=free), key=_key)
    page = paging.cut(found, key=_key)
    return Locks(locks=page.items, next_cursor=page.next_cursor)


@router.post("/v1/locks/release", responses=refusals(ErrorCode.UNKNOWN_LOCK, ErrorCode.LOCK_LOST))
async def release_lock(hub: Hub, actor: Actor, wanted: Release) -> LockView:
    """Take a lock from whoever holds it; the next in turn has it then.

    What the old holder does under its fence is refused from then on. A free lock stays free.
    """
    return await hub.locks.release(wanted.resource, fence=wanted.fence, actor=actor)


def _key(lock: LockView) -> tuple[str, str]:
    return lock.user, lock.resource
