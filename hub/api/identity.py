"""Builds the nouns of identity: users, devices, pairings, invitations, tokens."""

from hub.api.identity_limits import IdentityLimits
from hub.api.noun import Noun
from hub.api.nouns.agent_tokens import AgentTokens
from hub.api.nouns.devices import Devices
from hub.api.nouns.invitations import Invitations
from hub.api.nouns.operator_tokens import OperatorTokens
from hub.api.nouns.pairings import Pairings
from hub.api.nouns.tokens import Tokens
from hub.api.nouns.users import Users
from hub.clock import Chance, Clock, IdFactory
from hub.links.roster import Roster
from hub.metrics import Metrics
from protocol.ids import UserId
from storage.store import Store


class Identity:
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
    ) -> None:
        """Create the nouns. *owner_id*: owner of a device that is created for no user in particular."""
        bounds = limits or IdentityLimits()
        self.devices = Devices(store=store, roster=roster, clock=clock)
        self.users = Users(store=store, clock=clock, ids=ids, metrics=metrics, limits=bounds)
        self.tokens = Tokens(
            store=store,
            roster=roster,
            clock=clock,
            ids=ids,
            chance=chance,
            metrics=metrics,
            owner_id=owner_id,
            limits=bounds,
        )
        self.operator_tokens = OperatorTokens(
            store=store, clock=clock, ids=ids, chance=chance, metrics=metrics, limits=bounds
        )
        self.agent_tokens = AgentTokens(
            store=store, clock=clock, ids=ids, chance=chance, metrics=metrics, limits=bounds
        )
        self.pairings = Pairings(
            store=store, clock=clock, ids=ids, metrics=metrics, owner_id=owner_id, limits=bounds
        )
        self.invitations = Invitations(
            store=store,
            clock=clock,
            ids=ids,
            chance=chance,
            metrics=metrics,
            owner_id=owner_id,
            limits=bounds,
        )

    @property
    def nouns(self) -> tuple[Noun, ...]:
        """Return the nouns."""
        return (
            self.agent_tokens,
            self.devices,
            self.invitations,
            self.operator_tokens,
            self.pairings,
            self.tokens,
            self.users,
        )

    def apply(self, limits: IdentityLimits) -> None:
        """Apply new limits to what is created from now on. Those on wrong codes take a restart."""
        self.users.limits = self.tokens.limits = self.operator_tokens.limits = limits
        self.invitations.limits = self.agent_tokens.limits = limits
