"""Calibration of a model: the largest chunk size in which it still finds nearly all items.

The same documents are read in chunks of several sizes, the smallest first, until the model clearly overlooks
more. From all labels found and overlooked, with the lengths of their chunks, the share found at any size
follows. The chosen size is the largest whose share is within ``TOLERANCE`` of the best one. If the endpoint
cut answers off, the answers about chunks of this size fit its limit.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from hub.base.toml.limits import NANOS
from hub.extraction.chunk import Chunk, estimated_tokens
from hub.extraction.endpoint import estimated_prompt
from hub.extraction.extractor import first_questions
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import Price
from hub.lab.evaluation import Evaluated, Means, evaluate
from hub.lab.gold import GoldDocument, Label
from hub.lab.miss_rate import Curve, Observation, fit
from hub.runs.run_order import AgentConfig, extraction_config_of
from hub.settings.settings import OpenAIModelSettings, Settings
from protocol.errors import ErrorCode, HubError

SIZES: Final = (500, 1_000, 2_000, 4_000, 8_000)  # tokens of text in a question; none beyond is chosen
TOLERANCE: Final = 0.01  # of the best share found
MAX_CUT: Final = 0.02  # of the answers
_STEP: Final = 1.05  # ratio of the sizes between which is chosen
_ROUNDED: Final = 10  # tokens
_CLEARLY: Final = 0.1  # of the best share: with so many labels fewer, larger sizes are not measured
_MOSTLY: Final = 0.25  # of the answers: with so many cut off, larger sizes are not measured
_RECORD_TOKENS: Final = 70  # of an answer, before any is known
_ANSWER_TOKENS: Final = 10  # of an answer without records
_SPARE: Final = 2  # times the estimate: incomplete answers are asked for again, in parts


class CannotCalibrate(HubError):
    """Documents or settings that say nothing about the sizes of chunks."""

    code = ErrorCode.BAD_SETTINGS


class CalibrationPlan(NamedTuple):
    """Estimated costs of a calibration that measures all sizes. *most_tokens* are never exceeded."""

    sizes: tuple[int, ...]
    questions: int
    tokens: int
    cost_nanos: int
    most_tokens: int


class MeasuredSize(NamedTuple):
    """Reading of all documents in chunks of one size."""

    chunk_tokens: int
    labels: int
    found: int
    cut_off: int
    requests: int
    tokens: int
    cost_nanos: int
    seconds: float

    @property
    def recall(self) -> float:
        """Share of labels found."""
        return self.found / self.labels


class Calibration(NamedTuple):
    """Result of a calibration.

    Attributes:
        chunk_tokens: the chosen size.
        share: estimated share of labels found with it; *best_share*: with the best size.
        answer_tokens: limit of answers that the endpoint was seen to have; None: no answer was cut off.
        is_cut_short: the budget ended it before all sizes were measured that tell something.
    """

    measured: tuple[MeasuredSize, ...]
    chunk_tokens: int
    share: float
    best_share: float
    answer_tokens: int | None
    is_cut_short: bool


class _Case(NamedTuple):
    """Document with the labels that the agent looks for, and the document's chunks by their size."""

    gold: GoldDocument
    labels: tuple[Label, ...]
    options: ExtractionOptions

    def chunks(self, chunk_tokens: int) -> list[Chunk]:
        """Return the chunks of the prose that a model reads."""
        document = self.gold.document(self.options.timezone)
        return [piece for piece, _ in first_questions(document, self.options, chunk_tokens)]

    def lengths(self, chunks: Sequence[Chunk]) -> list[int | None]:
        """Return the tokens of the chunk of each label; None for a label that rules alone read."""
        tokens = [estimated_tokens(self.gold.text[piece.start : piece.end]) for piece in chunks]
        return [None if nth is None else tokens[nth] for nth in self.places(chunks)]

    def places(self, chunks: Sequence[Chunk]) -> list[int | None]:
        """Return the index of the chunk of each label."""
        starts = [piece.start for piece in chunks]
        found: list[int | None] = []
        for label in self.labels:
            nth = bisect_right(starts, label.places[0][0]) - 1
            found.append(nth if nth >= 0 and label.places[0][0] < chunks[nth].end else None)
        return found


def plan(
    documents: Sequence[GoldDocument], agent: AgentConfig, settings: Settings, price: Price
) -> CalibrationPlan:
    """Return the sizes to measure and their estimated costs.

    Raises:
        CannotCalibrate: the documents have no label for a model, or are too short.
    """
    options = extraction_config_of(agent)
    cases = _cases(documents, options)
    sizes: list[int] = []
    counts: list[int] = []
    questions = prompt_tokens = 0
    for size in SIZES:
        asked = [
            request
            for case in cases
            for _, request in first_questions(case.gold.document(options.timezone), options, size)
        ]
        if counts and len(asked) == counts[-1]:  # no document is longer
            break
        sizes.append(size)
        counts.append(len(asked))
        questions += len(asked)
        prompt_tokens += round(sum(map(estimated_prompt, asked)))
    labels = sum(length is not None for case in cases for length in case.lengths(case.chunks(SIZES[0])))
    if not labels:
        raise CannotCalibrate(
            "the documents have no label that the model of this agent could find: label prose, in tables of"
            " its data_types"
        )
    if len(sizes) < 2:
        raise CannotCalibrate(
            f"no document is longer than {SIZES[0]} tokens, so that all sizes are alike: use longer"
            " documents, or leave out --gold for built-in ones"
        )
    answer_tokens = len(sizes) * labels * _RECORD_TOKENS + questions * _ANSWER_TOKENS
    tokens = prompt_tokens + answer_tokens
    limit = settings.budget.run_tokens
    most = _SPARE * tokens if limit is None else min(_SPARE * tokens, limit)
    return CalibrationPlan(tuple(sizes), questions, tokens, price.of(prompt_tokens, answer_tokens), most)


async def calibrate(
    documents: Sequence[GoldDocument],
    agent: AgentConfig,
    means: Means,
    planned: CalibrationPlan,
    *,
    on_measured: Callable[[MeasuredSize], None],
) -> Calibration:
    """Measure the sizes of a plan with the only model of the settings, and choose one.

    Raises:
        CannotCalibrate: nothing was found, or the budget is too small for two sizes.
        ModelError: as ``evaluate``.
    """
    options = extraction_config_of(agent)
    cases = _cases(documents, options)
    observations: list[Observation] = []
    measured: list[MeasuredSize] = []
    answer_tokens, record_tokens = 0, float(_RECORD_TOKENS)
    is_cut_short = False
    for size in planned.sizes:
        settings = _with(means.settings, size, planned, measured)
        if settings is None:
            is_cut_short = True
            break
        evaluated = await evaluate(
            documents, agent, means._replace(settings=settings), on_read=lambda count: None
        )
        if evaluated.evaluation.unread:
            is_cut_short = True
            break
        result = _measured(size, cases, evaluated, observations)
        measured.append(result)
        on_measured(result)
        answer_tokens = max(answer_tokens, evaluated.evaluation.cut_off_tokens)
        if len(measured) == 1 and result.found:
            spent = evaluated.evaluation.spent
            record_tokens = max(
                1.0, (spent.completion_tokens - _ANSWER_TOKENS * spent.requests) / result.found
            )
        is_overlooking = result.recall < (1 - _CLEARLY) * max(other.recall for other in measured)
        if not result.found or is_overlooking or result.cut_off > _MOSTLY * result.requests:
            break
    if is_cut_short and len(measured) < 2:
        raise CannotCalibrate(
            "the budget is too small for a second size: raise [budget] run_usd or run_tokens"
        )
    if not any(result.found for result in measured):
        raise CannotCalibrate("the model found none of the labels, so there is nothing to compare")
    curve = fit(observations)
    chosen, share, best = _chosen(
        cases, curve, planned.sizes[-1], answer_tokens=answer_tokens, record_tokens=record_tokens
    )
    return Calibration(tuple(measured), chosen, share, best, answer_tokens or None, is_cut_short)


def model_to_calibrate(settings: Settings) -> OpenAIModelSettings:
    """Return the first model of *settings*.

    Raises:
        CannotCalibrate: there is none, or its chunks are sentences.
    """
    if not isinstance(settings.model, OpenAIModelSettings):
        raise CannotCalibrate(
            "there is no endpoint to calibrate: the small local model reads single sentences"
            if settings.model
            else "there is no endpoint to calibrate: add [model] to the settings"
        )
    return settings.model


def _cases(documents: Sequence[GoldDocument], options: ExtractionOptions) -> list[_Case]:
    return [
        _Case(gold, tuple(label for label in gold.labels if label.table in options.data_types), options)
        for gold in documents
    ]


def _with(
    settings: Settings, size: int, planned: CalibrationPlan, measured: Iterable[MeasuredSize]
) -> Settings | None:
    """Return the settings for one size with the rest of the budget, or None if nothing is left."""
    spent_tokens, spent_nanos = 0, 0
    for result in measured:
        spent_tokens, spent_nanos = spent_tokens + result.tokens, spent_nanos + result.cost_nanos
    left: dict[str, float] = {"run_tokens": planned.most_tokens - spent_tokens}
    if settings.budget.run_cost_nanos is not None:
        left["run_usd"] = (settings.budget.run_cost_nanos - spent_nanos) / NANOS
    if min(left.values()) <= 0:
        return None
    model = model_to_calibrate(settings).model_copy(update={"chunk_tokens": size})
    return settings.model_copy(update={"model": model, "budget": settings.budget.model_copy(update=left)})


def _measured(
    size: int, cases: Sequence[_Case], evaluated: Evaluated, observations: list[Observation]
) -> MeasuredSize:
    """Count the labels of one size, and add them to the observations."""
    labels = found = 0
    missed_by_id = {document.id: set(document.missed) for document in evaluated.documents}
    for case in cases:
        missed = missed_by_id[case.gold.id]
        for number, length in enumerate(case.lengths(case.chunks(size))):
            if length is not None:
                labels += 1
                found += number not in missed
                observations.append(Observation(length, number not in missed))
    evaluation = evaluated.evaluation
    return MeasuredSize(
        chunk_tokens=size,
        labels=labels,
        found=found,
        cut_off=evaluation.cut_off,
        requests=evaluation.spent.requests,
        tokens=evaluation.spent.prompt_tokens + evaluation.spent.completion_tokens,
        cost_nanos=evaluation.spent.cost_nanos,
        seconds=evaluation.seconds,
    )


def _chosen(
    cases: Sequence[_Case], curve: Curve, most: int, *, answer_tokens: int, record_tokens: float
) -> tuple[int, float, float]:
    """Return the chosen size, its share found, and the best share.

    The documents are split in each size, without asking: the lengths of their chunks and the records in each
    are known.
    """
    best, chosen, share = 0.0, SIZES[0], 0.0
    for tokens in _sizes(most):
        lengths: list[int] = []
        counts: list[int] = []
        for case in cases:
            chunks = case.chunks(tokens)
            places = [nth for nth in case.places(chunks) if nth is not None]
            counts += (places.count(nth) for nth in range(len(chunks)))
            lengths += (length for length in case.lengths(chunks) if length is not None)
        here = sum(map(curve.share, lengths)) / len(lengths)
        best = max(best, here)
        cut = sum(_ANSWER_TOKENS + count * record_tokens > answer_tokens for count in counts) / len(counts)
        if tokens > SIZES[0] and (here < (1 - TOLERANCE) * best or (answer_tokens and cut > MAX_CUT)):
            break
        chosen, share = tokens, here
    return chosen, share, best


def _sizes(most: int) -> Iterator[int]:
    """Yield the sizes to choose from."""
    size = float(SIZES[0])
    while size < most:
        yield round(size / _ROUNDED) * _ROUNDED
        size *= _STEP
    yield most
