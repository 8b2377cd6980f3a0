"""Users: who owns devices and agents."""

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.identity import UserView
from hub.api.views.view import View
from hub.settings.values import Name
from protocol.errors import ErrorCode

router = NounRouter(
    prefix="/v1/users", tags=["users"], responses=refusals(ErrorCode.NAME_TAKEN, ErrorCode.LIMIT_REACHED)
)


class Users(View):
    """Some users in order; *next_cursor* leads to those after them."""

    users: tuple[UserView, ...]
    next_cursor: str | None = None


class UserRequest(View):
    """What a user is to be called."""

    name: Name


@router.get("")
async def list_users(hub: Hub, paging: Paging) -> Users:
    """All users, by name."""
    page = paging.cut(await hub.users.all(), key=lambda user: (user.name, user.id))
    return Users(users=page.items, next_cursor=page.next_cursor)


@router.post("", status_code=201)
async def create_user(hub: Hub, actor: Actor, wanted: UserRequest) -> UserView:
    """Make a user."""
    return await hub.users.create(wanted.name, actor=actor)


@router.delete("/{name}", responses=refusals(ErrorCode.UNKNOWN_USER, ErrorCode.ILLEGAL_TRANSITION))
async def remove_user(hub: Hub, actor: Actor, name: str) -> UserView:
    """Take a user away who owns no device, agent or token any more, and has no runs in the history."""
    return await hub.users.remove(name, actor=actor)
