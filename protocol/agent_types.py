"""Types of agents, and the names that the orchestrator vocabulary has for them.

The orchestrator vocabulary has ten types. Each is mapped to one of eight shared types; a finer one is also
stored as the *subtype*, so that it reads back unchanged.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class AgentType(StrEnum):
    """Shared types, as stored in rows."""

    COORDINATOR = "COORDINATOR"
    ASSISTANT = "ASSISTANT"
    RESEARCHER = "RESEARCHER"
    DEVELOPER = "DEVELOPER"
    DESIGNER = "DESIGNER"
    SPECIALIST = "SPECIALIST"
    AUDITOR = "AUDITOR"
    CUSTOM = "CUSTOM"


class AgentSubtype(StrEnum):
    """Types of the orchestrator vocabulary that are finer than a shared type."""

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
TYPE_NAMES: Final = (*AgentType, *AgentSubtype)  # accepted spellings of an agent's type


class AgentKind(NamedTuple):
    """Shared type, with the finer subtype if there is one."""

    type: AgentType
    subtype: AgentSubtype | None = None

    @property
    def written(self) -> AgentType | AgentSubtype:
        """Single word for the pair."""
        return self.subtype or self.type


def kind_of(written: str) -> AgentKind:
    """Parse an agent's type in either vocabulary.

    Raises:
        ValueError: the type is in neither vocabulary.
    """
    if written in AgentType.__members__:
        return AgentKind(AgentType(written))
    subtype = AgentSubtype(written)
    return AgentKind(TYPE_OF[subtype], subtype)


# The orchestrator vocabulary has no words for these three types.
_OWN_TYPES: Final[Mapping[AgentType, str]] = {
    AgentType.COORDINATOR: AgentSubtype.PLANNER,
    AgentType.ASSISTANT: AgentType.CUSTOM,
    AgentType.DESIGNER: AgentType.CUSTOM,
}


def own_type(kind: AgentKind) -> str:
    """Return the orchestrator vocabulary's word for a type, or its nearest word."""
    return str(kind.subtype or _OWN_TYPES.get(kind.type, kind.type))
