"""Routes of users: list, create, remove, export of all data, and erasure."""

from collections.abc import Callable
from typing import Annotated, Any

from hub.api.binding import BodyField
from hub.api.resource import (
    ALL,
    MAX_LONG,
    Actor,
    Instant,
    ListPart,
    Name,
    Paging,
    Resource,
    View,
    audited,
    command,
    listed,
    route,
)
from hub.api.resources.tokens import IdentityLimits
from hub.base.clock import Clock, IdFactory
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.roles import Scope
from protocol.errors import CodedError, ErrorCode
from protocol.ids import UserId
from storage.devices import users as devices_users
from storage.effects import user_data
from storage.store import Store

log = Channel(__name__)


class UserView(View):
    """A user. *devices* counts those that are not revoked."""

    id: str
    name: str
    devices: int
    created_at: Instant


class UserRowView(View):
    """Row of a user: its table, and its columns without secrets."""

    table: str
    row: dict[str, Any]


class UserRows(View):
    """Page of the rows of a user, table by table; *left_out*: columns with secrets."""

    rows: tuple[UserRowView, ...]
    left_out: tuple[str, ...]
    next_cursor: str | None = None


class UsersResource(Resource):
    """Users; scoped to one user, that one.

    Args:
        on_erased: called when a user is to be erased.
    """

    name, path = "users", "/v1/users"

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        limits: IdentityLimits,
        on_erased: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self.limits = limits
        self._on_erased = on_erased

    @command(
        "users ls",
        example="hub users ls",
        json="users",
        table=("name as user", "devices", "created_at|moment as known since"),
        empty="no users",
    )
    @listed("", Scope.READ, key=lambda user: (user.name,))
    async def all(self, part: ListPart = ALL) -> list[UserView]:
        """List the users by name."""
        rows = await self._store.read(
            devices_users.list_users, user_id=self.user_id, limit=part.limit, after=part.after
        )
        return list(map(UserView.from_row, rows))

    @command(
        "users create NAME",
        example="hub users create anna",
        json="user",
        message="user {name} is created; admit a device: hub pair approve CODE --user {name}",
    )
    @route("POST", "", Scope.SYSTEM, errors=[ErrorCode.NAME_TAKEN, ErrorCode.LIMIT_REACHED], status=201)
    @audited("user.created")
    async def create(
        self, name: Annotated[Name, BodyField("UserRequest", "A user to create.")], actor: Actor
    ) -> UserView:
        """Create a user, whose devices and agents other users do not see."""
        most = self.limits.users
        if len(await self._store.read(devices_users.list_users)) >= most:
            self._metrics.limits_reached.labels("users").inc()
            raise CodedError(ErrorCode.LIMIT_REACHED, f"there are {most} users (users)")
        at = self._now
        made = await self._store.write(
            devices_users.create_user, id=UserId(self._ids.fresh()), name=name, at=at, actor=actor
        )
        log.info("user.created", user_id=made.id)
        return UserView.from_row(made)

    @command(
        "users remove NAME", example="hub users remove anna", json="user", message="user {name} is removed"
    )
    @route("DELETE", "/{name}", Scope.SYSTEM, errors=[ErrorCode.UNKNOWN_USER, ErrorCode.ILLEGAL_TRANSITION])
    @audited("user.removed")
    async def remove(self, name: str, actor: Actor) -> UserView:
        """Delete a user who owns no devices, agents, tokens or runs."""
        if name == devices_users.OWNER:
            raise CodedError(ErrorCode.ILLEGAL_TRANSITION, f"user {name!r} is made at each start, and stays")
        at = self._now
        removed = await self._store.write(devices_users.remove_user, name, at=at, actor=actor)
        log.info("user.removed", user_id=removed.id)
        return UserView.from_row(removed)

    @route("GET", "/{name}/rows", Scope.SYSTEM, errors=[ErrorCode.UNKNOWN_USER])
    @audited("user.exported", is_act=True, is_often=True)
    async def rows(self, name: str, paging: Paging) -> UserRows:
        """Return all rows of a user, table by table, with the audit entries about the user."""
        paging.limit = min(paging.limit, MAX_LONG)
        found = await self._store.read(user_data.read_rows, name, limit=paging.limit, after=paging.after)
        page = paging.fetched(found.rows, key=lambda one: (one[0],), rest=found.rest)
        views = tuple(UserRowView(table, row) for table, row in page.items)
        return UserRows(views, user_data.LEFT_OUT, page.next_cursor)

    @route(
        "POST", "/{name}/erase", Scope.SYSTEM, errors=[ErrorCode.UNKNOWN_USER, ErrorCode.ILLEGAL_TRANSITION]
    )
    @audited("user.erased")
    async def erase(self, name: str, actor: Actor) -> UserView:
        """Delete a user with all rows; it goes on after the response, and after a restart of the hub.

        The credentials are revoked at once. Refused where others use what the user owns.
        """
        at = self._now
        erased = await self._store.write(user_data.begin_erasing, name, at=at, actor=actor)
        log.warning("user.erasing", user_id=erased.id)
        self._on_erased()
        return UserView.from_row(erased)
