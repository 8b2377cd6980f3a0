"""Items, as an operator asks for them."""

from typing import Protocol

from hub.api.views.items import ItemVerdict, ItemView


class ItemFacade(Protocol):
    """What was found, and what became of it."""

    async def newest(
        self,
        *,
        agent: str | None,
        verdict: ItemVerdict | None,
        run: str | None,
        limit: int,
        before: tuple[int, str] | None = None,
    ) -> list[ItemView]:
        """The items found last first, at most *limit*, of those that follow *before*.

        Args:
            run: its id: items whose newest call it has planned.
            before: when an item was found (epoch ms), and its id.

        Raises:
            UnknownAgent: *agent* was given and there is none of that name.
        """
        ...
