"""Files of a simulated device: their content, their changes, and the items in them."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from tests.simulation.dice import Dice

MARK = re.compile(r"(\S+\.(?:txt|md)) edition (\d+)")  # in a line of each question, so that it tells its file
MAX_FILES = 5
NEW_AT_ONCE = 8  # files that another program writes together
OTHER_WORDS = " once more"  # added by a model that rephrases
REFUSED_WORD = "unwelcome"  # a device refuses an item with it, for good


@dataclass(frozen=True, slots=True)
class Edition:
    """Content of a file at one time."""

    path: str
    text: str
    sha256: str
    items: tuple[str, ...]  # titles of the items


@cache
def edition(path: str, number: int) -> Edition:
    """Return the edition of this path and number; it is always the same."""
    dice = Dice(f"{path} {number}")
    mark = f"{path} edition {number}"
    lines = []
    for task in range(dice.choice((0, 1, 2, 2, 3, 5))):
        word = REFUSED_WORD if dice.says(0.02) else dice.choice(("blue", "green", "old", "small"))
        lines.append(f"We must paint the {word} door {task} of {mark}.")
    of_file = Dice(path)
    if of_file.says(0.4):  # in each of its editions
        lines.append(f"We must water the plants of {path}.")
    if of_file.says(0.4):  # and in other files of its device
        lines.append(f"We must call the mayor of {path.partition('/')[0]}.")
    text = "\n".join([*lines, f"Nothing else is said in {mark}.", ""])
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Edition(path, text, sha256, tuple(lines))


def line_of(title: str | None) -> str:
    """Return the line of a title, independent of the model's wording."""
    return (title or "").replace(OTHER_WORDS, "")


_trees: dict[str, tuple[Edition, ...]] = {}


def tree_of(files: Sequence[Edition]) -> str:
    """Return the digest of a list of files."""
    digest = hashlib.sha256("".join(f"{file.path} {file.sha256}\n" for file in files).encode()).hexdigest()
    _trees[digest] = tuple(files)
    return digest


def files_of(tree: str) -> tuple[Edition, ...]:
    """Return the files of a digest."""
    return _trees[tree]


class Folder:
    """Files that are created, changed, restored and removed."""

    def __init__(self, device: str, dice: Dice) -> None:
        self._dice = dice
        self._device = device
        self._names = [f"{device}/{number}.txt" for number in range(MAX_FILES)]
        self._numbers: dict[str, int] = {}
        self._newest: dict[str, int] = {}
        for _ in range(dice.between(1, 3)):
            self.change()

    def change(self) -> None:
        """Change one file: write a new edition, restore an old one, or remove the file."""
        name = self._dice.choice(self._names)
        newest = self._newest.get(name, 0)
        if name in self._numbers and self._dice.says(0.15):
            del self._numbers[name]
        elif newest > 1 and self._dice.says(0.3):
            self._numbers[name] = self._dice.between(1, newest)
        else:
            self._newest[name] = self._numbers[name] = newest + 1

    def change_many(self) -> None:
        """Write new editions of many files at once, as an import does."""
        for number in range(NEW_AT_ONCE):
            name = f"{self._device}/import-{number}.txt"
            self._newest[name] = self._numbers[name] = self._newest.get(name, 0) + 1

    def files(self) -> list[Edition]:
        """Return the current files by name."""
        return [edition(name, self._numbers[name]) for name in sorted(self._numbers)]

    def find(self, path: str) -> Edition | None:
        """Return the current edition of a file, or None."""
        number = self._numbers.get(path)
        return None if number is None else edition(path, number)
