"""The ledger of items, as operators are told of it."""

from hub.api.views.items import ItemVerdict, ItemView
from hub.clock import from_epoch_ms
from hub.operations.moments import moment
from hub.operations.names import agent_named
from hub.operations.seen import Seen
from protocol.ids import RunId
from protocol.tables import TABLES, TableName
from storage.runs import items
from storage.runs.items import ItemRow
from storage.store import Store


class ItemOperations(Seen):
    """Implements ``api.facades.items.ItemFacade``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def newest(
        self,
        *,
        agent: str | None,
        verdict: ItemVerdict | None,
        run: str | None,
        limit: int,
        before: tuple[int, str] | None = None,
    ) -> list[ItemView]:
        """The items found last first."""
        agent_id = None
        if agent is not None:
            agent_id = (await agent_named(self._store, agent, self.user_id, or_removed=True)).id
        found = await self._store.read(
            items.list_items,
            user_id=self.user_id,
            agent_id=agent_id,
            verdict=verdict,
            run_id=None if run is None else RunId(run),
            before=before,
            limit=limit,
        )
        return [_view(row, agent_name) for row, agent_name in found]


def _view(row: ItemRow, agent_name: str) -> ItemView:
    title = TABLES[TableName(row.target_table)].title
    return ItemView(
        id=row.id,
        agent=agent_name,
        run_id=row.run_id,
        path=row.unit_key,
        table=row.target_table,
        title=str(row.data.get(title, "")),
        warnings=row.warnings,
        verdict=row.verdict,
        version=row.version,
        row_id=row.row_id,
        created_at=from_epoch_ms(row.created_at),
        told_at=moment(row.told_at),
        verdict_at=moment(row.verdict_at),
    )
