"""Construction of the services for authentication, pairing, tokens and users."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from hub.api.resource import Resource
from hub.api.resources.devices import DevicesResource
from hub.api.resources.pairings import PairingsResource
from hub.api.resources.tokens import (
    AgentTokensResource,
    IdentityLimits,
    InvitationsResource,
    OperatorTokensResource,
    PagesAt,
    SecretsOfKind,
    SessionsResource,
    TokensResource,
)
from hub.api.resources.users import UsersResource
from hub.app.boot import HubContext, StartResult
from hub.base.clock import Chance, Clock, IdFactory
from hub.base.metrics import Metrics
from hub.links.roster import Roster
from protocol.ids import UserId
from storage.store import Store

Secrets = TypeVar("Secrets", bound=SecretsOfKind[Any])


class IdentityResources:
    """Nouns of identity of one hub, unscoped."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        clock: Clock,
        ids: IdFactory,
        chance: Chance,
        metrics: Metrics,
        owner_id: UserId,
        limits: IdentityLimits | None = None,
        pages_at: Callable[[], PagesAt | None] = lambda: None,
        on_erased: Callable[[], None] = lambda: None,
    ) -> None:
        """Create the nouns.

        Args:
            owner_id: owner of a device that is created for no user in particular.
            pages_at: returns where browsers find the pages; None: nothing listens yet.
            on_erased: called when a user is to be erased.
        """
        bounds = limits or IdentityLimits()
        self.devices = DevicesResource(store=store, roster=roster, clock=clock)
        self.users = UsersResource(
            store=store, clock=clock, ids=ids, metrics=metrics, limits=bounds, on_erased=on_erased
        )
        self.pairings = PairingsResource(
            store=store, clock=clock, ids=ids, metrics=metrics, owner_id=owner_id, limits=bounds
        )

        def secrets(kind: Callable[..., Secrets]) -> Secrets:
            return kind(
                store=store,
                roster=roster,
                clock=clock,
                ids=ids,
                chance=chance,
                metrics=metrics,
                owner_id=owner_id,
                limits=bounds,
            )

        self.tokens = secrets(TokensResource)
        self.operator_tokens = secrets(OperatorTokensResource)
        self.agent_tokens = secrets(AgentTokensResource)
        self.invitations = secrets(InvitationsResource)
        self.sessions = secrets(partial(SessionsResource, pages_at=pages_at))

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Return the nouns."""
        return (
            self.agent_tokens,
            self.devices,
            self.invitations,
            self.operator_tokens,
            self.pairings,
            self.sessions,
            self.tokens,
            self.users,
        )


def make_identity(
    context: HubContext,
    start: StartResult,
    *,
    roster: Roster,
    pages_at: Callable[[], PagesAt | None],
    on_erased: Callable[[], None],
) -> IdentityResources:
    """Create the operators' operations on identity."""
    return IdentityResources(
        store=context.store,
        roster=roster,
        clock=context.clock,
        ids=context.ids,
        chance=context.chance,
        metrics=context.metrics,
        owner_id=start.user_id,
        pages_at=pages_at,
        on_erased=on_erased,
    )
