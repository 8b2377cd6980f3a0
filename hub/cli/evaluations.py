"""What evaluations came to, kept in the state folder: the last ones of each agent."""

from pathlib import Path
from typing import Final

import msgspec

from hub.app.evaluation import Evaluation
from hub.settings.atomic import write_atomically

MOST_KEPT: Final = 20  # of an agent
FOLDER: Final = "evaluations"


class KeptEvaluation(msgspec.Struct, kw_only=True):
    """One of them: when it ended (ISO 8601, UTC), and the digest of its gold file."""

    at: str
    gold: str
    evaluation: Evaluation

    def is_like(self, other: "KeptEvaluation") -> bool:
        """Whether figures of both may be compared: taken from the same documents, and all of them."""
        is_whole = not (self.evaluation.unread or other.evaluation.unread)
        return is_whole and (self.gold, self.evaluation.documents) == (other.gold, other.evaluation.documents)


class KeptEvaluations:
    """Those of one agent, oldest first. No name of a user or an agent leads out of the folder."""

    def __init__(self, state: Path, *, user: str, agent: str) -> None:
        self.file = state / FOLDER / user / f"{agent}.json"

    def read(self) -> list[KeptEvaluation]:
        """All that are kept.

        Raises:
            msgspec.MsgspecError: the file is not one of ours.
            OSError: it cannot be read.
        """
        try:
            data = self.file.read_bytes()
        except FileNotFoundError:
            return []
        return msgspec.json.decode(data, type=list[KeptEvaluation])

    def keep(self, kept: list[KeptEvaluation]) -> None:
        """Keep the last of *kept*. Raises OSError."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(kept[-MOST_KEPT:]), indent=1)
        write_atomically(self.file, data, mode=0o600)
