"""What kind of colleague an agent is: eight types that all share, and the finer ones that some know.

The orchestrator seed has ten types of its own. Each of them is read as one of the shared
eight; where it is finer than that, it is kept beside it as the *subtype*, so that it
reads back as it was written.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class AgentType(StrEnum):
    """The shared types, as they stand in rows."""

    COORDINATOR = "COORDINATOR"
    ASSISTANT = "ASSISTANT"
    RESEARCHER = "RESEARCHER"
    DEVELOPER = "DEVELOPER"
    DESIGNER = "DESIGNER"
    SPECIALIST = "SPECIALIST"
    AUDITOR = "AUDITOR"
    CUSTOM = "CUSTOM"


class AgentSubtype(StrEnum):
    """The orchestrator's own types that are finer than a shared one."""

    PLANNER = "PLANNER"
    REVIEWER = "REVIEWER"
    MANAGER = "MANAGER"
    TOOL_CURATOR = "TOOL_CURATOR"
    DEPLOYMENT = "DEPLOYMENT"


TYPE_OF: Final = {
    AgentSubtype.PLANNER: AgentType.COORDINATOR,
    AgentSubtype.MANAGER: AgentType.COORDINATOR,
    AgentSubtype.REVIEWER: AgentType.AUDITOR,
    AgentSubtype.TOOL_CURATOR: AgentType.SPECIALIST,
    AgentSubtype.DEPLOYMENT: AgentType.SPECIALIST,
}
TYPE_NAMES: Final = (*AgentType, *AgentSubtype)  # what may be written as the type of an agent


class Kind(NamedTuple):
    """A type, and what it was more finely, if it was."""

    type: AgentType
    subtype: AgentSubtype | None = None

    @property
    def written(self) -> AgentType | AgentSubtype:
        """The one word that stands for it."""
        return self.subtype or self.type


def kind_of(written: str) -> Kind:
    """What is meant by a type as somebody wrote it, in either vocabulary.

    Raises:
        ValueError: it is in neither.
    """
    if written in AgentType.__members__:
        return Kind(AgentType(written))
    subtype = AgentSubtype(written)
    return Kind(TYPE_OF[subtype], subtype)
