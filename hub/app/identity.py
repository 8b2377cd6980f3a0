"""Identity: its limits, converted from the settings, its services, and its nouns."""

from collections.abc import Iterator

from hub.api.identity import IdentityLimits
from hub.api.noun import Noun
from hub.api.nouns.agent_tokens import AgentTokens
from hub.api.nouns.devices import Devices
from hub.api.nouns.invitations import Invitations
from hub.api.nouns.operator_tokens import OperatorTokens
from hub.api.nouns.pairings import Pairings
from hub.api.nouns.tokens import Tokens
from hub.api.nouns.users import Users
from hub.app.boot import Boot
from hub.app.context import Context
from hub.clock import Chance, Clock, IdFactory
from hub.links.attempts import AttemptLimits, FailedAttempts
from hub.links.auth import Authenticator
from hub.links.pairing import PairingLimits
from hub.links.roster import Roster, TakeoverLimits, Takeovers
from hub.metrics import Metrics
from hub.settings.limit_settings import Limits
from protocol.ids import UserId
from storage.store import Store


def attempt_limits(limits: Limits) -> AttemptLimits:
    """Return the limits of failed attempts of a network, a key or a token."""
    return AttemptLimits(
        failures=limits.auth_failures,
        window_s=limits.auth_window_s,
        wait_s=limits.auth_wait_s,
        wait_most_s=limits.auth_wait_most_s,
    )


def pairing_limits(limits: Limits) -> PairingLimits:
    """Return the limits of the number and duration of pending pairings."""
    return PairingLimits(
        ttl_s=limits.pairing_ttl_s,
        most=limits.pairings,
        most_per_network=limits.pairings_per_network,
    )


def takeover_limits(limits: Limits) -> TakeoverLimits:
    """Return the limits of takeovers of a device."""
    return TakeoverLimits(
        most=limits.takeovers, window_s=limits.takeover_window_s, wait_s=limits.takeover_wait_s
    )


class Judges:
    """Services that decide who may connect, with the limits of the settings."""

    def __init__(self, context: Context, *, roster: Roster, takeovers: Takeovers) -> None:
        limits = context.settings.limits
        self._takeovers = takeovers
        self.of_devices = Authenticator(
            context.store,
            clock=context.clock,
            chance=context.chance,
            metrics=context.metrics,
            node_id=context.node_id,
            attempts=attempt_limits(limits),
            pairing=pairing_limits(limits),
            takeover_wait_s=roster.takeover_wait_s,
        )
        self.of_operators = FailedAttempts(context.clock, limits=attempt_limits(limits))

    def shut_out(self) -> Iterator[tuple[str, float]]:
        """Yield the clients locked out after failed attempts at either listener, with the seconds to wait."""
        yield from self.of_devices.shut_out()
        yield from self.of_operators.waiting()

    def apply(self, limits: Limits) -> None:
        """Apply new limits from the next attempt on."""
        self._takeovers.limits = takeover_limits(limits)
        self.of_devices.apply(attempts=attempt_limits(limits), pairing=pairing_limits(limits))
        self.of_operators.limits = attempt_limits(limits)


def identity_limits(limits: Limits) -> IdentityLimits:
    """Return the limits of objects that operators create."""
    return IdentityLimits(
        device_tokens=limits.device_tokens,
        device_tokens_per_user=limits.device_tokens_per_user,
        operator_tokens=limits.operator_tokens,
        operator_tokens_per_user=limits.operator_tokens_per_user,
        operator_token_days=limits.operator_token_days,
        agent_tokens_per_agent=limits.agent_tokens_per_agent,
        agent_token_days=limits.agent_token_days,
        users=limits.users,
        invitations=limits.invitations,
        invitations_per_user=limits.invitations_per_user,
        invitation_ttl_s=limits.invitation_ttl_s,
        wrong_codes=limits.wrong_codes,
        wrong_code_window_s=limits.wrong_code_window_s,
        wrong_code_wait_s=limits.wrong_code_wait_s,
    )


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


def make_identity(context: Context, start: Boot, *, roster: Roster) -> Identity:
    """Create the operators' operations on identity."""
    return Identity(
        store=context.store,
        roster=roster,
        clock=context.clock,
        ids=context.ids,
        chance=context.chance,
        metrics=context.metrics,
        owner_id=start.user_id,
        limits=identity_limits(context.settings.limits),
    )
