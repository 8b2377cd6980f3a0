"""Users, as operators are told of them, and made."""

from hub.api.facades.users import OwnerStays, TooManyUsers
from hub.api.views.identity import UserView
from hub.clock import Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from hub.operations.limits import IdentityLimits
from hub.operations.seen import Seen
from protocol.ids import UserId
from storage.devices import users
from storage.devices.users import UserRow
from storage.store import Store

log = Channel(__name__)


class UserOperations(Seen):
    """Implements ``api.facades.users.UserFacade``."""

    def __init__(
        self, *, store: Store, clock: Clock, ids: IdFactory, metrics: Metrics, limits: IdentityLimits
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self.limits = limits

    async def all(self) -> list[UserView]:
        """All users, by name; as one user sees it, that one."""
        known = await self._store.read(users.list_users)
        return [_view(row) for row in known if self.user_id in (None, row.id)]

    async def create(self, name: str, *, actor: str) -> UserView:
        """Make a user."""
        most = self.limits.users
        if len(await self._store.read(users.list_users)) >= most:
            self._metrics.limits_reached.labels("users").inc()
            raise TooManyUsers(f"there are {most} users (users)")
        at = epoch_ms(self._clock.now())
        made = await self._store.write(
            users.create_user, id=UserId(self._ids.fresh()), name=name, at=at, actor=actor
        )
        log.info("user.created", user_id=made.id)
        return _view(made)

    async def remove(self, name: str, *, actor: str) -> UserView:
        """Take a user away who owns nothing any more."""
        if name == users.OWNER:
            raise OwnerStays(f"user {name!r} is made at each start, and stays")
        at = epoch_ms(self._clock.now())
        removed = await self._store.write(users.remove_user, name, at=at, actor=actor)
        log.info("user.removed", user_id=removed.id)
        return _view(removed)


def _view(row: UserRow) -> UserView:
    return UserView(id=row.id, name=row.name, devices=row.devices, created_at=from_epoch_ms(row.created_at))
