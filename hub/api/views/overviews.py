"""An agent on one screen."""

from pydantic import AwareDatetime

from hub.api.nouns.agent_status import AgentStatusView
from hub.api.nouns.capabilities import CapabilityView
from hub.api.nouns.costs import SpendView
from hub.api.nouns.locks import LockView
from hub.api.views.slots import SlotView
from hub.api.views.view import AgentView, RunView, View


class CheckpointBrief(View):
    """That an agent remembers something of a scope; what, the checkpoint itself tells."""

    scope: str
    sequence: int
    is_recoverable: bool
    updated_at: AwareDatetime


class AgentOverview(View):
    """An agent, how it stands and why, what is to come, what was, what it holds, can and remembers.

    *runs* are the newest five; *capabilities* those that are enabled; *locks* those that it holds or
    waits for; *config* the keys of its configuration; *series* how many metrics it has.
    """

    agent: AgentView
    standing: AgentStatusView
    slots: tuple[SlotView, ...]
    runs: tuple[RunView, ...]
    locks: tuple[LockView, ...]
    capabilities: tuple[CapabilityView, ...]
    config: tuple[str, ...]
    checkpoints: tuple[CheckpointBrief, ...]
    spend: SpendView
    series: int
