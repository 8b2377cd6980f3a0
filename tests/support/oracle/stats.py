"""What the oracle saw: plain sums, and the questions that were asked again."""

import msgspec


class Stats(msgspec.Struct):
    """Sums over everything since the oracle was made.

    Attributes:
        calls: requests for a completion.
        answered: those answered with a completion, good or bad.
        refused: the others, by status, or by what happened.
        played: faults that happened, by name.
        prompt_tokens: of completions that came whole; their ``usage`` said so.
        completion_tokens: likewise.
        untold_tokens: of completions that broke off before their ``usage``.
        charged_tokens: taken from the limit of tokens per minute.
        distinct_prompts: different questions.
        answered_twice: questions that had been answered in full and came again.
        replayed: those of them that bore the ``Idempotency-Key`` of before: no work, no tokens.
        answered_questions: different questions that were answered in full.
        asked_early: questions that came again before the time they were told to wait.
        keys_changed: questions that came again under another ``Idempotency-Key``.
        most_in_flight: questions at once.
        hung_up: whose asker was gone before the answer was.
        batches: batches taken; ``batched`` is the questions in them.
        began_at, ended_at: monotonic seconds of the first question and of the last answer.
    """

    calls: int = 0
    answered: int = 0
    refused: dict[str, int] = {}
    played: dict[str, int] = {}
    prompt_tokens: int = 0
    completion_tokens: int = 0
    untold_tokens: int = 0
    charged_tokens: int = 0
    distinct_prompts: int = 0
    answered_twice: int = 0
    replayed: int = 0
    answered_questions: int = 0
    asked_early: int = 0
    keys_changed: int = 0
    most_in_flight: int = 0
    hung_up: int = 0
    batches: int = 0
    batched: int = 0
    began_at: float = 0.0
    ended_at: float = 0.0

    @property
    def seconds(self) -> float:
        """From the first question to the last answer."""
        return self.ended_at - self.began_at

    @property
    def tokens(self) -> int:
        """All that an asker could know of."""
        return self.prompt_tokens + self.completion_tokens

    def count_refused(self, kind: str) -> None:
        """One more request without a completion."""
        self.refused[kind] = self.refused.get(kind, 0) + 1


class Asked(msgspec.Struct):
    """One question, through all its attempts."""

    attempts: int = 0
    key: str | None = None
    answer: bytes | None = None  # in full, as it was sent
    not_before: float = 0.0


class Memory:
    """Every question that was ever asked; *stats* is told what comes again."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._asked: dict[str, Asked] = {}

    def ask(self, prompt: str, key: str | None, now: float) -> Asked:
        """A question came in."""
        asked = self._asked.setdefault(prompt, Asked(key=key))
        asked.attempts += 1
        self._stats.distinct_prompts = len(self._asked)
        self._stats.answered_twice += asked.answer is not None
        self._stats.asked_early += now < asked.not_before
        self._stats.keys_changed += asked.key != key
        return asked

    def keep(self, asked: Asked, answer: bytes) -> None:
        """A question was answered in full."""
        self._stats.answered_questions += asked.answer is None
        asked.answer = answer

    def replay(self, asked: Asked, key: str | None) -> bytes | None:
        """The answer of before, to a question that comes again under its key."""
        if key is None or key != asked.key or asked.answer is None:
            return None
        self._stats.replayed += 1
        return asked.answer
