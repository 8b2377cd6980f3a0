"""Query parameters that select agents or devices in lists."""

from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from hub.api.binding import From
from protocol.agent_status import Activity, Availability, Axis, Connectivity, Health, Lifecycle
from protocol.agent_types import TYPE_NAMES, AgentKind, kind_of
from protocol.errors import CodedError, ErrorCode
from protocol.requirements import MAX_CHARACTERS, parse_requirement
from protocol.status_vocabularies import Vocabulary, status_columns
from storage.agents.agent_snapshot import AgentFilter

_Word = Annotated[str, Meta(max_length=20)]


class AgentQuery(NamedTuple):
    """Parameters by which agents are listed."""

    status: Annotated[_Word, Meta(description="Only agents whose status is this word.")] | None = None
    state_detail: Annotated[_Word, Meta(description="Only with this detail of the orchestrator.")] | None = (
        None
    )
    lifecycle: Annotated[Lifecycle, Meta(description="Only with this lifecycle.")] | None = None
    availability: Annotated[Availability, Meta(description="Only with this availability.")] | None = None
    connectivity: Annotated[Connectivity, Meta(description="Only with this connectivity.")] | None = None
    health: Annotated[Health, Meta(description="Only with this health.")] | None = None
    activity: Annotated[Activity, Meta(description="Only with this activity.")] | None = None
    type: Annotated[_Word, Meta(description="Only agents of this type or subtype.")] | None = None
    project_id: Annotated[str, Meta(max_length=128, description="Only agents of this project.")] | None = None
    capability: (
        Annotated[
            str,
            Meta(
                max_length=MAX_CHARACTERS,
                description="Only agents that have this capability themselves, as in ``file.read >= 1.2``.",
            ),
        ]
        | None
    ) = None

    def filter(self, vocabulary: Vocabulary) -> AgentFilter:
        """Return the filter that the parameters mean; *vocabulary* is that of the status words.

        Raises:
            CodedError (BAD_PARAMS): the vocabulary has no such column or word, or there is no such type.
            BadRequirement: the capability cannot be parsed.
        """
        return AgentFilter(
            axes={axis: str(value) for axis in Axis if (value := getattr(self, axis)) is not None},
            vocabulary=vocabulary,
            words=self._words(vocabulary),
            needed=None if self.capability is None else parse_requirement(self.capability),
            kind=None if self.type is None else _kind(self.type),
            project_id=self.project_id,
        )

    def _words(self, vocabulary: Vocabulary) -> dict[str, str]:
        columns = list(status_columns(vocabulary).items())
        found: dict[str, str] = {}
        for place, (name, word) in enumerate((("status", self.status), ("state_detail", self.state_detail))):
            if word is None:
                continue
            if place >= len(columns):
                with_it = ", ".join(other for other in Vocabulary if place < len(status_columns(other)))
                raise CodedError(
                    ErrorCode.BAD_PARAMS, f"query.{name}: agents have none in {vocabulary}, but in: {with_it}"
                )
            column, words = columns[place]
            if word not in list(words):
                known = ", ".join(words)
                raise CodedError(
                    ErrorCode.BAD_PARAMS,
                    f"query.{name}: {vocabulary}.{column} has no value {word!r}; values: {known}",
                )
            found[column] = word
        return found


def _kind(written: str) -> AgentKind:
    try:
        return kind_of(written)
    except ValueError:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"query.type: there is no type {written!r}; types: {', '.join(TYPE_NAMES)}"
        ) from None


ANY: Final = AgentQuery()


AgentFilters = Annotated[AgentQuery, From(AgentQuery)]
