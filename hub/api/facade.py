"""The hub as the operator's side sees it: what may be asked, noun by noun.

These contracts stand between ``api/nouns`` and the daemon, which implements them in
``hub.operations``. ``UnknownAgent`` and ``UnknownRun`` are the store's. Every method
may raise any ``HubError``; its code becomes the HTTP status. Where an *actor* is
asked for, it is who wants the change, as history and activities will tell it.
"""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Protocol, TypeVar

from hub.api.facades.agent_configs import AgentConfigFacade
from hub.api.facades.agent_writing import AgentWritingFacade, TemplateFacade
from hub.api.facades.audit import AuditFacade
from hub.api.facades.boards import AgentTokenFacade
from hub.api.facades.capabilities import CapabilityFacade
from hub.api.facades.checkpoints import CheckpointFacade
from hub.api.facades.config import ConfigFacade
from hub.api.facades.connectors import ConnectorFacade
from hub.api.facades.costs import CostFacade
from hub.api.facades.devices import DeviceFacade
from hub.api.facades.events import EventFacade
from hub.api.facades.issues import IssueFacade
from hub.api.facades.items import ItemFacade
from hub.api.facades.keys import KeyFacade
from hub.api.facades.measurements import MeasurementFacade
from hub.api.facades.observe import DebugFacade, LogFacade
from hub.api.facades.pairings import InvitationFacade, PairingFacade
from hub.api.facades.slots import SlotFacade
from hub.api.facades.standings import StandingFacade
from hub.api.facades.tokens import OperatorTokenFacade, TokenFacade
from hub.api.facades.upkeep import UpkeepFacade
from hub.api.noun import Noun
from hub.api.views.view import (
    AgentView,
    BackfillView,
    DecisionView,
    Health,
    Readiness,
    RunDetail,
    RunProgress,
    RunView,
    ScheduleView,
    StatusView,
)
from hub.runs.wishes import NOTHING_MORE, RunWish
from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId

AnyNoun = TypeVar("AnyNoun", bound=Noun)


class AmbiguousRun(HubError):
    """Several runs' ids end so."""

    code = ErrorCode.BAD_PARAMS


class AmbiguousAgent(HubError):
    """Several users have an agent of this name."""

    code = ErrorCode.BAD_PARAMS


class NoSchedule(HubError):
    """The agent has no schedule, so there is nothing to ask about it."""

    code = ErrorCode.BAD_PARAMS


class AgentFacade(Protocol):
    """Agents. Each method that names one raises UnknownAgent."""

    async def all(self) -> list[AgentView]:
        """All agents that are not archived, by name."""
        ...

    async def get(self, name: str) -> AgentView: ...

    async def start_run(
        self, name: str, idempotency_key: str | None, *, actor: str, wish: RunWish = NOTHING_MORE
    ) -> RunView:
        """Queue a run of an agent; the same key gives the run that it gave before.

        Args:
            wish: what the run needs, takes and is for, beside what its agent says.

        Raises TooManyWaiting, BadDocument, DocumentTooLarge.
        """
        ...

    async def pause(self, name: str, *, actor: str) -> AgentView:
        """No run of it starts any more; one that executes goes on to its end. Twice is once."""
        ...

    async def resume(self, name: str, *, catch_up: bool, actor: str) -> AgentView:
        """It works again, and its schedules fire again, those too that paused after failures.

        Args:
            catch_up: what a paused schedule passed over is caught up, as its policy says.
        """
        ...


class ScheduleFacade(Protocol):
    """Schedules of an agent. Each method raises UnknownAgent."""

    async def of_agent(self, name: str) -> list[ScheduleView]:
        """The agent's schedules, with the next five fires of each."""
        ...

    async def decisions(
        self, name: str, *, limit: int, after: tuple[int, str] | None = None
    ) -> list[DecisionView]:
        """What became of the agent's last fires, the newest first.

        Args:
            after: the time of a fire (epoch ms) and its schedule's id; those that follow it.
        """
        ...

    async def backfill(
        self, name: str, *, first: datetime, last: datetime, dry_run: bool, actor: str
    ) -> BackfillView:
        """A run for each fire from *first* to *last* that had none.

        Args:
            dry_run: only say what it would be.

        Raises:
            NoSchedule: nothing was queued.
        """
        ...


class RunFacade(Protocol):
    """Runs. A run is named by its id, or by the last six or more characters of it.

    Each method that names one raises UnknownRun, or AmbiguousRun; then nothing happened.
    """

    async def newest(self, *, agent: str | None, limit: int, before: str | None = None) -> list[RunView]:
        """The newest runs first, at most *limit*, of those that are older than the run *before*.

        Raises:
            UnknownAgent: *agent* was given and there is none of that name.
        """
        ...

    async def get(self, name: str) -> RunDetail: ...

    def follow(self, name: str) -> AsyncGenerator[RunProgress]:
        """The run now, then after each change, until its state is final.

        A reader that is slower than the run misses steps, never the last one. Raises
        UnknownRun at the first step. Whoever reads it closes it (``contextlib.aclosing``).
        """
        ...

    async def cancel(self, name: str, *, reason: str, actor: str) -> RunView:
        """End it: at once where it waits, as soon as its device let go where it executes."""
        ...

    async def pause(self, name: str, *, actor: str) -> RunView:
        """It waits until it is resumed. Raises IllegalTransition for a run that has ended."""
        ...

    async def resume(self, name: str, *, actor: str) -> RunView:
        """Queue it again. Raises IllegalTransition unless a person had paused it."""
        ...

    async def rerun(self, name: str, *, actor: str) -> RunView:
        """A new run of the same agent, with its settings as they are now. Raises TooManyWaiting."""
        ...


class HubFacade(Protocol):
    """What an operator can ask of a running hub.

    As one user sees it (``seen_by``), what belongs to others is not there: not listed, not
    counted, and unknown by name or id, never forbidden.
    """

    def seen_by(self, user_id: UserId | None) -> "HubFacade":
        """The hub as this user sees it; None: as somebody sees it who sees all users."""
        ...

    async def user_named(self, name: str) -> UserId:
        """Raises UnknownUser."""
        ...

    def noun(self, kind: type[AnyNoun]) -> AnyNoun:
        """Return the noun of this class, as this user sees it."""
        ...

    @property
    def devices(self) -> DeviceFacade: ...

    @property
    def agents(self) -> AgentFacade: ...

    @property
    def agent_writing(self) -> AgentWritingFacade: ...

    @property
    def templates(self) -> TemplateFacade: ...

    @property
    def schedules(self) -> ScheduleFacade: ...

    @property
    def slots(self) -> SlotFacade: ...

    @property
    def runs(self) -> RunFacade: ...

    @property
    def items(self) -> ItemFacade: ...

    @property
    def connectors(self) -> ConnectorFacade: ...

    @property
    def agent_tokens(self) -> AgentTokenFacade: ...

    @property
    def pairings(self) -> PairingFacade: ...

    @property
    def invitations(self) -> InvitationFacade: ...

    @property
    def tokens(self) -> TokenFacade: ...

    @property
    def operator_tokens(self) -> OperatorTokenFacade: ...

    @property
    def audit(self) -> AuditFacade: ...

    @property
    def costs(self) -> CostFacade: ...

    @property
    def standings(self) -> StandingFacade: ...

    @property
    def measurements(self) -> MeasurementFacade: ...

    @property
    def agent_configs(self) -> AgentConfigFacade: ...

    @property
    def capabilities(self) -> CapabilityFacade: ...

    @property
    def checkpoints(self) -> CheckpointFacade: ...

    @property
    def issues(self) -> IssueFacade: ...

    @property
    def keys(self) -> KeyFacade: ...

    @property
    def upkeep(self) -> UpkeepFacade: ...

    @property
    def config(self) -> ConfigFacade: ...

    @property
    def events(self) -> EventFacade: ...

    @property
    def logs(self) -> LogFacade: ...

    @property
    def debug(self) -> DebugFacade: ...

    def health(self) -> Health:
        """Answer at once, without I/O."""
        ...

    async def readiness(self) -> Readiness:
        """Look at what the hub needs: database, listeners, disk, not draining."""
        ...

    async def status(self) -> StatusView:
        """One screen about the daemon."""
        ...
