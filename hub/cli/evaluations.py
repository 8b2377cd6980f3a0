"""Results of evaluations, stored in the state folder: the last ones of each agent."""

from pathlib import Path
from typing import Final

import msgspec

from hub.app.evaluation import Evaluation
from hub.settings.settings_file import write_atomically

MOST_KEPT: Final = 20  # of an agent
FOLDER: Final = "evaluations"


class KeptEvaluation(msgspec.Struct, kw_only=True):
    """Stored evaluation.

    Attributes:
        at: end of the evaluation (ISO 8601, UTC).
        gold: digest of the gold file.
    """

    at: str
    gold: str
    evaluation: Evaluation

    def is_like(self, other: "KeptEvaluation") -> bool:
        """Return True if figures of both may be compared: both read the same documents completely."""
        is_whole = not (self.evaluation.unread or other.evaluation.unread)
        return is_whole and (self.gold, self.evaluation.documents) == (other.gold, other.evaluation.documents)


class KeptEvaluations:
    """Stored evaluations of one agent, oldest first. Names of users and agents are safe as file names."""

    def __init__(self, state: Path, *, user: str, agent: str) -> None:
        self.file = state / FOLDER / user / f"{agent}.json"

    def read(self) -> list[KeptEvaluation]:
        """Return all stored evaluations.

        Raises:
            msgspec.MsgspecError: the file has another format.
            OSError: the file cannot be read.
        """
        try:
            data = self.file.read_bytes()
        except FileNotFoundError:
            return []
        return msgspec.json.decode(data, type=list[KeptEvaluation])

    def keep(self, kept: list[KeptEvaluation]) -> None:
        """Write the last MOST_KEPT of *kept*. Raises OSError."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(kept[-MOST_KEPT:]), indent=1)
        write_atomically(self.file, data, mode=0o600)
