"""State machines as tables: ``(state, event) -> state``.

Only the table decides on a move; the engine is a look-up. An event that the state does not allow raises
``IllegalTransition`` and changes nothing.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Generic, TypeVar

from protocol.errors import IllegalTransition

StateT = TypeVar("StateT", bound=Enum)
EventT = TypeVar("EventT", bound=Enum)


class Table(Generic[StateT, EventT]):
    """State machine as a table.

    Args:
        name: name of the machine, for messages and diagrams.
        initial: initial state.
        moves: the legal moves; missing pairs are illegal.
    """

    def __init__(self, name: str, initial: StateT, moves: Mapping[tuple[StateT, EventT], StateT]) -> None:
        self.name = name
        self.initial = initial
        self._moves = dict(moves)

    def after(self, state: StateT, event: EventT) -> StateT:
        """Return the state that follows on *event*.

        Raises:
            IllegalTransition: the table has no such move.
        """
        try:
            return self._moves[state, event]
        except KeyError:
            legal = ", ".join(sorted(e.name for s, e in self._moves if s is state)) or "none, it is final"
            raise IllegalTransition(
                f"{self.name}: {event.name} is not a move from {state.name}; legal moves: {legal}"
            ) from None

    def allows(self, state: StateT, event: EventT) -> bool:
        """Return True if the table has the move."""
        return (state, event) in self._moves

    def is_final(self, state: StateT) -> bool:
        """Return True if no event leads out of *state*."""
        return all(before is not state for before, _ in self._moves)

    def moves(self) -> Iterator[tuple[StateT, EventT, StateT]]:
        """Iterate over every move, in the order of declaration."""
        for (before, event), after in self._moves.items():
            yield before, event, after
