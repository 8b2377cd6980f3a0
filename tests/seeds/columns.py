"""Every column of the documents about agents, read on an agent that has a row in each table."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hub.agents.vocabularies import TABLES, VocabularyTable
from protocol.lifecycles import RunState
from protocol.status_vocabularies import Vocabulary
from tests.seeds.walk import OF_WALK, Document, Walk

DOCUMENTS = {
    Vocabulary.CALENDAR: Document("calendar"),
    Vocabulary.ORCHESTRATOR: Document("orchestrator"),
    Vocabulary.FOUNDATION: Document("foundation"),
    Vocabulary.RUN_LOG: Document("run log"),
    Vocabulary.COORDINATION: Document("coordination"),
}


async def furnish(walk: Walk) -> str:
    """Make an agent with one row in each table of the documents, and return its name."""
    schema = {"properties": {"tone": {"type": "string"}}}
    await walk.put(
        "templates/polite", {"type": "PLANNER", "configuration_schema": schema, "prompt": "Be polite."}
    )
    await walk.post("agents", {"name": "mail", "device": "desk", "template": "polite"} | OF_WALK)
    await walk.put("agents/mail/config/tone", {"value": "warm"})
    await walk.put("agents/mail/capabilities/file.read/1.0.0", {})
    await walk.put("agents/mail/checkpoints/agent", {"sequence": 1, "state": {"page": 2}})
    await walk.ask("metrics.report", samples=[{"agent_id": "mail", "name": "mails", "value": 3}])
    await walk.post("boards", {"name": "garden"})
    await walk.post("boards/garden/agents", {"agent": "mail", "is_lead": True})
    await walk.ask("questions.ask", agent_id="mail", board="garden", content="Which hedge?")
    await walk.sql(
        "INSERT INTO soul_versions (agent_id, seq, kind, content, sha256, size_bytes, actor, at)"
        " SELECT id, 1, 'seen', 'I read.', 'x', 7, 'hub', 0 FROM agents WHERE name = 'mail'"
    )
    await walk.hub.run("r-1", agent="mail")
    await walk.hub.move("r-1", RunState.COMPLETED)
    return "mail"


def _row(document: dict[str, Any], table: VocabularyTable, is_top: bool) -> dict[str, Any]:
    """Return the first row of a table in the document of an agent."""
    if is_top:
        return document
    rows = document[table.name]
    row: dict[str, Any] = rows[0] if isinstance(rows, list) else rows
    return row


def _walk_of(vocabulary: Vocabulary, tables: Sequence[VocabularyTable]) -> Callable[[Walk], Awaitable[None]]:
    async def drive(walk: Walk) -> None:
        where = f"agents/{await furnish(walk)}/as/{vocabulary}"
        asked = await walk.ask("status.get", agent_id="mail", **{"as": str(vocabulary)})
        shown = await walk.cli("agents", "status", "mail", "--as", str(vocabulary))
        for document in (await walk.get(where), asked["agent"], shown):
            for table in tables:
                row = _row(document, table, table is tables[0])
                missing = {one.name for one in table.columns} - row.keys()
                assert not missing, (table.name, missing)
        for column in (column for table in tables for column in table.columns):
            for stored in column.lives.split():
                name, _, of = stored.partition(".")
                await walk.sql(f"SELECT {of} FROM {name} LIMIT 1")
        for column in tables[0].columns:
            if not column.written.startswith("PATCH"):
                says = f"{column.name} is not written here"
                await walk.refused("PATCH", where, {column.name: "x"}, status=422, says=says)

    drive.__name__ = "columns"
    return drive


for vocabulary, tables in TABLES.items():
    drive = _walk_of(vocabulary, tables)
    for table in tables:
        for column in table.columns:
            lives = f"{column.lives}: {column.note}; written: {column.written}"
            DOCUMENTS[vocabulary](f"{table.name}.{column.name}", lives=lives)(drive)
