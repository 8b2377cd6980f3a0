"""Identity: its services, and its nouns."""

from collections.abc import Iterator
from typing import Any, TypeVar

from hub.api.noun import Noun
from hub.api.nouns.devices import Devices, Pairings, Users
from hub.api.nouns.tokens import (
    AgentTokens,
    IdentityLimits,
    Invitations,
    OperatorTokens,
    SecretsOfKind,
    Sessions,
    Tokens,
)
from hub.app.boot import Boot, Context
from hub.clock import Chance, Clock, IdFactory
from hub.links.auth import Authenticator
from hub.links.gate import FailedAttempts
from hub.links.roster import Roster
from hub.metrics import Metrics
from hub.settings.limit_settings import Limits
from protocol.ids import UserId
from storage.devices.attempts import AttemptLimits
from storage.store import Store

Secrets = TypeVar("Secrets", bound=SecretsOfKind[Any])


class Judges:
    """Services that decide who may connect, with the limits of the settings."""

    def __init__(self, context: Context, *, roster: Roster) -> None:
        attempts = AttemptLimits(failures=context.settings.limits.auth_failures)
        self.of_devices = Authenticator(
            context.store,
            clock=context.clock,
            chance=context.chance,
            metrics=context.metrics,
            boot_id=context.boot_id,
            attempts=attempts,
            takeover_wait_s=roster.takeover_wait_s,
            connections_per_user=context.settings.limits.connections_per_user,
        )
        self.of_operators = FailedAttempts(context.store, context.clock, kind="operator", limits=attempts)

    def shut_out(self) -> Iterator[tuple[str, float]]:
        """Yield the clients locked out after failed attempts at either listener, with the seconds to wait."""
        yield from self.of_devices.shut_out()
        yield from self.of_operators.waiting()

    def apply(self, limits: Limits) -> None:
        """Apply new limits from the next attempt on."""
        attempts = AttemptLimits(failures=limits.auth_failures)
        self.of_devices.failed.limits = self.of_operators.limits = attempts
        self.of_devices.connections_per_user = limits.connections_per_user


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
        self.pairings = Pairings(
            store=store, clock=clock, ids=ids, metrics=metrics, owner_id=owner_id, limits=bounds
        )

        def secrets(kind: type[Secrets]) -> Secrets:
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

        self.tokens = secrets(Tokens)
        self.operator_tokens = secrets(OperatorTokens)
        self.agent_tokens = secrets(AgentTokens)
        self.invitations = secrets(Invitations)
        self.sessions = secrets(Sessions)

    @property
    def nouns(self) -> tuple[Noun, ...]:
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
    )
