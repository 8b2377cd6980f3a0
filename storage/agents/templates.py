"""Templates of agents in the database: reading, listing and use counts.

This module reads them; ``storage.agents.template_changes`` writes them and validates their agents.
"""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.agent_types import AgentSubtype, AgentType
from protocol.errors import ErrorCode, HubError
from protocol.ids import TemplateId
from storage.kernel.columns import Key, columns_of, fetch_page, paged, struct_from, struct_or_none
from storage.schema import agent_templates, agents


class UnknownTemplate(HubError):
    """Error: no template has that name."""

    code = ErrorCode.UNKNOWN_TEMPLATE

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no template {name!r}")
        self.name = name


class WrittenTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """Declaration of a template, in hub.toml or over the API.

    Attributes:
        configuration_schema: JSON Schema 2020-12 of the configuration, defaults included.
        prompt_template: prompt of agents without their own.
    """

    name: str
    description: str | None = None
    agent_type: AgentType = AgentType.CUSTOM
    subtype: AgentSubtype | None = None
    configuration_schema: dict[str, Any] = {}
    default_configuration: dict[str, Any] = {}
    prompt_template: str | None = None


class TemplateRow(WrittenTemplate, frozen=True, kw_only=True):
    """Template. *source*: ``file`` or ``api``; *version* grows with each change."""

    id: TemplateId
    source: str
    version: int
    created_at: int
    updated_at: int

    @property
    def written(self) -> WrittenTemplate:
        """Declaration of the template."""
        return struct_from(WrittenTemplate, self)


TEMPLATES = sa.select(*columns_of(TemplateRow, agent_templates))
COUNT = sa.select(sa.func.count()).select_from(agent_templates)

TEMPLATES_LOCK: Final = 0x6875_7401  # key of PostgreSQL's advisory lock on templates


def change_alone(c: sa.Connection) -> None:
    """Serialize changes of templates, and of agents validated by them, until the transaction ends.

    Called before the first read. A SQLite database has only one writer anyway.
    """
    if c.dialect.name == "postgresql":
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(TEMPLATES_LOCK)))


def keep_templates(c: sa.Connection) -> None:
    """Prevent changes of templates until the transaction ends, for a change of an agent that they validate.

    Called before the first read. See ``change_alone``.
    """
    if c.dialect.name == "postgresql":
        c.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(TEMPLATES_LOCK)))


def get_template(c: sa.Connection, name: str) -> TemplateRow:
    """Return the template with that name.

    Raises:
        UnknownTemplate: no template has that name.
    """
    found = find_template(c, name)
    if found is None:
        raise UnknownTemplate(name)
    return found


def template_called(c: sa.Connection, given: str) -> TemplateRow:
    """Return the template with that id or, failing that, that name.

    Raises:
        UnknownTemplate: no template has the id or the name.
    """
    row = c.execute(TEMPLATES.where(agent_templates.c.id == given)).one_or_none()
    return get_template(c, given) if row is None else struct_from(TemplateRow, row)


def find_template(c: sa.Connection, name: str) -> TemplateRow | None:
    """Return the template with that name, if any."""
    return struct_or_none(
        TemplateRow, c.execute(TEMPLATES.where(agent_templates.c.name == name)).one_or_none()
    )


def names_of_templates(c: sa.Connection) -> set[str]:
    """Return the names of all templates; of a database without tables, none."""
    is_created = sa.inspect(c).has_table(agent_templates.name)
    return set(c.execute(sa.select(agent_templates.c.name)).scalars()) if is_created else set()


def list_templates(
    c: sa.Connection, *, limit: int | None = None, after: Key | None = None
) -> list[TemplateRow]:
    """Return the templates, by name."""
    query = paged(TEMPLATES, agent_templates.c.name, limit=limit, after=after)
    return fetch_page(c, TemplateRow, query, limit)


def uses_of_templates(c: sa.Connection) -> dict[TemplateId, int]:
    """Return the number of agents of each used template; archived agents do not count."""
    query = (
        sa.select(agents.c.template_id, sa.func.count().label("used"))
        .where(agents.c.template_id.is_not(None), agents.c.deleted_at.is_(None))
        .group_by(agents.c.template_id)
    )
    return {TemplateId(row.template_id): row.used for row in c.execute(query)}
