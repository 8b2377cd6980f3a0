"""What an oracle is like: its abilities, its limits, and the odds that something goes wrong."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

MODEL_NAME: Final = "oracle"


class Fault(StrEnum):
    """What can go wrong, each for one request."""

    RATE_LIMIT = "rate_limit"  # 429 with Retry-After in seconds
    RATE_LIMIT_MS = "rate_limit_ms"  # 429 with retry-after-ms
    SPENT_QUOTA = "spent_quota"  # 429 insufficient_quota
    SERVER_ERROR = "server_error"  # 500
    REDIRECT = "redirect"  # 307 to itself
    HANG = "hang"  # no answer at all
    DISCONNECT = "disconnect"  # 200, and the connection ends in the middle of the body
    MALFORMED_BODY = "malformed_body"  # 200, and the body breaks off
    NO_CHOICES = "no_choices"  # a good body without any answer in it
    NO_FINISH = "no_finish"  # half an answer, and nothing says why it ended
    CUT_OFF = "cut_off"  # half an answer, finish_reason length
    RUNAWAY_BLANKS = "runaway_blanks"  # the answer never ends: blanks up to max_tokens
    RUNAWAY_RECORDS = "runaway_records"  # likewise, the same record again and again
    MALFORMED_ANSWER = "malformed_answer"  # a good body around text that is no JSON
    CHATTER = "chatter"  # the answer in a fence, with words around it
    INVENTED = "invented"  # one record more, whose quote is nowhere
    DOUBLED = "doubled"  # the first record twice
    FOREIGN_TABLE = "foreign_table"  # the first record once more, for a table nobody asked for
    BEFORE_BORDER = "before_border"  # what stands before the text, as context, is taken for text
    EMPTY_ANSWER = "empty_answer"  # a good body around no text at all
    FILTERED = "filtered"  # half an answer, finish_reason content_filter
    LOOSE_JSON = "loose_json"  # JSON as people write it: commas too many, a remark
    MISQUOTED = "misquoted"  # the first record has a quote that is nowhere; played by readers that know it


# Every fault that a run must get over without losing anything, at the odds of a very bad day.
BAD_DAY: Final[dict[Fault, float]] = {
    Fault.RATE_LIMIT_MS: 0.05,
    Fault.SERVER_ERROR: 0.05,
    Fault.DISCONNECT: 0.03,
    Fault.MALFORMED_BODY: 0.02,
    Fault.NO_CHOICES: 0.02,
    Fault.NO_FINISH: 0.02,
    Fault.CUT_OFF: 0.05,
    Fault.RUNAWAY_BLANKS: 0.02,
    Fault.RUNAWAY_RECORDS: 0.02,
    Fault.MALFORMED_ANSWER: 0.03,
    Fault.CHATTER: 0.05,
    Fault.INVENTED: 0.08,
    Fault.DOUBLED: 0.08,
    Fault.FOREIGN_TABLE: 0.05,
    Fault.BEFORE_BORDER: 0.05,
}
# Twenty kinds.
WORST_DAY: Final[dict[Fault, float]] = BAD_DAY | {
    Fault.RATE_LIMIT: 0.02,
    Fault.EMPTY_ANSWER: 0.03,
    Fault.FILTERED: 0.03,
    Fault.LOOSE_JSON: 0.03,
    Fault.MISQUOTED: 0.05,
}


@dataclass(kw_only=True, eq=False)
class Traits:
    """How an oracle behaves when no fault is queued.

    Attributes:
        has_json_schema: without it every request for json_schema is refused with 400.
        has_json_object: likewise.
        rejects_keys: every request is refused with 401.
        list_status: of the response to a request for the list of models.
        context_tokens: a longer prompt is refused with 400 ``context_length_exceeded``.
        answer_tokens: a request that asks for a longer answer is refused with 400, which names this limit.
        most_records: lazy: it never tells more records than this in one answer.
        rewords: it has other words for the same in each of its answers.
        is_gullible: it obeys the orders that it finds in a text.
        follows_prompt: it tells only facts that begin with a word of ``Only send, pay.`` in the prompt.
        requests_per_minute: more are refused with 429; the headers tell what is left.
        tokens_per_minute: likewise.
        burst_s: how many seconds of its limits can be used at once after a rest.
        counts_max_tokens: what an answer may have, and not what it has, is taken from the limit.
        quota_calls: after so many answers the account is spent.
        retry_after_s: what a queued rate limit asks for.
        latency_s: how long it takes.
        thinks_tokens: before each answer; they count for its limit, and may use it up.
        thinks_in: where its thoughts are: ``details`` of the usage, ``reasoning_content``, ``content``, or
            nowhere (``hidden``).
        padding_chars: blanks behind every answer.
        batch_s: how long a batch takes.
        batch_share: how much of a batch is done when it expires; 1: all of it, and it completes.
        seed: of the fate of questions.
        odds: how often each fault happens; together at most 1.
    """

    has_json_schema: bool = True
    has_json_object: bool = True
    rejects_keys: bool = False
    list_status: int = 200
    context_tokens: int | None = None
    answer_tokens: int | None = None
    most_records: int | None = None
    rewords: bool = False
    is_gullible: bool = False
    follows_prompt: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    burst_s: float = 60.0
    counts_max_tokens: bool = True
    quota_calls: int | None = None
    retry_after_s: float = 0.2
    latency_s: float = 0.0
    thinks_tokens: int = 0
    thinks_in: Literal["details", "reasoning_content", "content", "hidden"] = "details"
    padding_chars: int = 0
    batch_s: float = 0.0
    batch_share: float = 1.0
    seed: int = 0
    odds: dict[Fault, float] = field(default_factory=dict)

    def fate(self, prompt: str, attempt: int) -> Fault | None:
        """What happens to a question the *attempt*-th time it is asked; for one seed always the same."""
        if not self.odds:
            return None
        drawn = hashlib.sha256(f"{self.seed}:{prompt}:{attempt}".encode()).digest()
        left = int.from_bytes(drawn[:8], "big") / 2**64
        for fault, odds in self.odds.items():
            left -= odds
            if left < 0:
                return Fault(fault)
        return None
