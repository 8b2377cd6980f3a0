"""What a bar prints: a figure, what it has to be, and whether it is."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

Told = Callable[[str], None]

_NAME_CHARS: Final = 62


class Figure(NamedTuple):
    """One measured value. Without *bar* it stands there to be compared with."""

    name: str
    value: str
    bar: str = ""
    is_met: bool = True

    @property
    def line(self) -> str:
        """One row of the table."""
        verdict = ("ok" if self.is_met else "NOT") if self.bar else ""
        return f"  {self.name:<{_NAME_CHARS}} {self.value:>14}  {self.bar:<16} {verdict}".rstrip()


def at_least(name: str, value: float, least: float, form: str = ".3f") -> Figure:
    """A figure that must not be smaller."""
    return Figure(name, format(value, form), f">= {least:{form}}", value >= least)


def at_most(name: str, value: float, most: float, form: str = ".3f") -> Figure:
    """A figure that must not be larger."""
    return Figure(name, format(value, form), f"<= {most:{form}}", value <= most)


def exactly(name: str, value: int, wanted: int = 0) -> Figure:
    """A count that must be just that."""
    return Figure(name, f"{value:,}", f"= {wanted:,}", value == wanted)


def only(name: str, value: float | str, form: str = ".3f") -> Figure:
    """A figure to compare with."""
    return Figure(name, value if isinstance(value, str) else format(value, form))


def are_met(figures: Sequence[Figure]) -> bool:
    """Return True if every bar is kept."""
    return all(figure.is_met for figure in figures)
