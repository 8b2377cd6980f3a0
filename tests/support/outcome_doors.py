"""Words of a model or its endpoint about a file, and the places that show them: rows of the handbook."""

from typing import Final, NamedTuple

from hub.extraction.model import (
    REFUSED,
    Finish,
    ModelAnswer,
    ModelError,
    ModelExhausted,
    ModelRefused,
    ModelUnavailable,
    OddAnswer,
)
from protocol.errors import ErrorCode
from protocol.work import Usage

WORDS: Final = "so says the other side"
_SPENT: Final = Usage(1, 10, 20_000)


class Outcome(NamedTuple):
    """Outcome of a question.

    Attributes:
        said: what the other side said.
        answer: what the client of the endpoint makes of it.
        shown: the words that are shown.
    """

    said: str
    code: ErrorCode
    answer: ModelAnswer | ModelError
    shown: str = WORDS


OUTCOMES: Final = (
    Outcome(
        "a refusal: `message.refusal`, `finish_reason: content_filter`, an error of a filter",
        ErrorCode.MODEL_DECLINED,
        ModelAnswer(text=f"{REFUSED}{WORDS}", finish=Finish.WHOLE, usage=_SPENT),
    ),
    Outcome(
        "the text is too long for the context, in the smallest part, too",
        ErrorCode.MODEL_CONTEXT_EXCEEDED,
        ModelAnswer(text="", finish=Finish.TOO_LONG, usage=_SPENT, words=WORDS),
    ),
    Outcome(
        "an answer that ends before its limit of tokens",
        ErrorCode.MODEL_CONTEXT_EXCEEDED,
        ModelAnswer(text='{"items": [', finish=Finish.CUT_OFF, usage=Usage(1, 10, 12)),
        "after 12 tokens",
    ),
    Outcome(
        "an answer that ends at its limit of tokens",
        ErrorCode.MODEL_ANSWER_CUT_OFF,
        ModelAnswer(text='{"items": [', finish=Finish.CUT_OFF, usage=_SPENT),
        "cut off at its limit",
    ),
    Outcome(
        "thoughts up to the limit of tokens, twice",
        ErrorCode.MODEL_ANSWER_CUT_OFF,
        ModelAnswer(text="", finish=Finish.CUT_OFF, usage=_SPENT),
        "switch thinking off",
    ),
    Outcome(
        "a success without a text in a known form, six times",
        ErrorCode.MODEL_ANSWER_INVALID,
        OddAnswer(f"the model answered with {WORDS}"),
    ),
    Outcome(
        "prose instead of a list, twice",
        ErrorCode.MODEL_ANSWER_INVALID,
        ModelAnswer(text=WORDS, finish=Finish.WHOLE, usage=_SPENT),
    ),
    Outcome(
        "HTTP 5xx six times, or nothing in time, while a short question about no text is answered",
        ErrorCode.MODEL_ANSWER_INVALID,
        ModelUnavailable(f"the model gave no answer in 6 tries (HTTP 500: {WORDS})"),
    ),
    Outcome(
        "HTTP 4xx, while that question is answered",
        ErrorCode.MODEL_ANSWER_INVALID,
        ModelExhausted(f"the model refused a text (HTTP 402: {WORDS})", reason="billing"),
    ),
    Outcome(
        "HTTP 400, 401, 403, 404 or 422, while that question is not answered",
        ErrorCode.MODEL_REFUSED,
        ModelRefused(f"the model endpoint refused the request (HTTP 400: {WORDS})"),
    ),
)


# Places, by which words they show of a file's text, and of an error of the endpoint itself.
DOORS: Final = (
    ("error of the run: `hub runs show`, `GET /v1/runs/{id}`", "words", "words"),
    ("`hub why FILE`", "words", "words"),
    ("`hub doctor`", "words, in `agent.files_fail`", "words, in `model.away`"),
    ("log", "no words", "words, in `model.retried`"),
    ("notification", "no words", "no words, but with `titles = true`"),
)
_ABOUT: Final = """
The words of a model, an endpoint or a program are shown in one printable line of at most 400 characters,
without secrets. Words about a file are shown to those who may see its run. Errors of an endpoint are
reported also where they come in a 200, or as a page of a proxy.
"""


def table() -> str:
    """Return the section of the handbook: what was said, its code, and where the words are shown."""
    outcomes = (f"| {one.said} | `{one.code}` |" for one in OUTCOMES)
    doors = (f"| {' | '.join(door)} |" for door in DOORS)
    head = "| where | about a file | of the endpoint |\n|---|---|---|"
    return "\n".join(
        (
            "## What a model said",
            _ABOUT,
            "| the other side says | code |\n|---|---|",
            *outcomes,
            "",
            head,
            *doors,
        )
    )
