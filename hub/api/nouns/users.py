"""Users: the people who own devices and agents."""

from hub.api.door.roles import Scope
from hub.api.noun import ALL, Noun, Part, audited, command, listed, route
from hub.api.nouns.tokens import IdentityLimits
from hub.api.parameters import Actor
from hub.api.view import Instant, Name, View
from hub.clock import Clock, IdFactory, epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from protocol.errors import CodedError, ErrorCode
from protocol.ids import UserId
from storage.devices import devices
from storage.store import Store

log = Channel(__name__)


class UserView(View):
    """A user. *devices* counts those that are not revoked."""

    id: str
    name: str
    devices: int
    created_at: Instant


class UserRequest(View):
    """A user to create."""

    name: Name


class Users(Noun):
    """Users; scoped to one user, that one."""

    name, path = "users", "/v1/users"

    def __init__(
        self, *, store: Store, clock: Clock, ids: IdFactory, metrics: Metrics, limits: IdentityLimits
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self.limits = limits

    @command(
        "users ls",
        example="hub users ls",
        json="users",
        table=("name as user", "devices", "created_at|moment as known since"),
        empty="no users",
    )
    @listed("", Scope.READ, key=lambda user: (user.name,))
    async def all(self, part: Part = ALL) -> list[UserView]:
        """List the users by name."""
        rows = await self._store.read(
            devices.list_users, user_id=self.user_id, limit=part.limit, after=part.after
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
    async def create(self, requested: UserRequest, actor: Actor) -> UserView:
        """Create a user, whose devices and agents other users do not see."""
        most = self.limits.users
        if len(await self._store.read(devices.list_users)) >= most:
            self._metrics.limits_reached.labels("users").inc()
            raise CodedError(ErrorCode.LIMIT_REACHED, f"there are {most} users (users)")
        at = epoch_ms(self._clock.now())
        made = await self._store.write(
            devices.create_user, id=UserId(self._ids.fresh()), name=requested.name, at=at, actor=actor
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
        if name == devices.OWNER:
            raise CodedError(ErrorCode.ILLEGAL_TRANSITION, f"user {name!r} is made at each start, and stays")
        at = epoch_ms(self._clock.now())
        removed = await self._store.write(devices.remove_user, name, at=at, actor=actor)
        log.info("user.removed", user_id=removed.id)
        return UserView.from_row(removed)
