"""Calibration of an endpoint: the largest chunks in which its model overlooks hardly more than in small ones.

The same documents are read in chunks of several sizes, the smallest first, until the model clearly overlooks
more. From all labels found and overlooked, with the lengths of their chunks, the share found at any size
follows. The chosen size is the largest whose share is within ``TOLERANCE`` of the best one. If the endpoint
cut answers off, the answers about chunks of this size fit its limit.

Share of labels that a model finds, by the length of the text that it is asked about.

A model may overlook more in a longer text. The share found is fitted by the highest likelihood of all
observations as ``base * exp(-(length / scale) ** power)``. With a large scale the length does not matter; the
power tells a gradual decline from a sudden one. So each length that was measured contributes to all others.

Long documents with tasks and events in known sentences, for a calibration without a gold file.

The prose around them says nothing that an agent looks for. Its words are drawn by hashes, so that the
documents are the same at each hub. Every sentence with a task or an event is one of several wordings.
"""

import hashlib
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from hub.extraction.chunk import Chunk, estimated_tokens
from hub.extraction.endpoint import estimated_prompt
from hub.extraction.extractor import first_questions
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import Price
from hub.lab.evaluation import Evaluated, Means, evaluate
from hub.lab.gold import GoldDocument, Label, LabelValue
from hub.runs.run_order import AgentConfig, extraction_config_of
from hub.settings.limit_settings import NANOS
from hub.settings.settings import OpenAIModelSettings, Settings
from protocol.errors import ErrorCode, HubError
from protocol.tables import TableName

_BIN: Final = 1.1  # ratio of the lengths that are counted together
_POWERS: Final = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 9.0)
_SCALES: Final = tuple(100 * 1.3**step for step in range(50))  # tokens; the last is so large that none matter
_FINE: Final = 1.05  # ratio of the scales that are tried around the best one
_FINE_STEPS: Final = range(-5, 6)
_STEPS: Final = 20  # of the search for the base
_EQUALLY: Final = 1e-6  # likely
_MIN_SHARE: Final = 1e-9  # of a label that was found nonetheless


class Observation(NamedTuple):
    """Label in a text of *length* tokens that a model read."""

    length: int
    is_found: bool


class Curve(NamedTuple):
    """Fitted share of labels found."""

    base: float
    scale: float
    power: float

    def share(self, length: float) -> float:
        """Return the share found in texts of this length."""
        return self.base * _fading(length, self.scale, self.power)


class _Bin(NamedTuple):
    length: float
    found: int
    overlooked: int


def fit(observations: Iterable[Observation]) -> Curve:
    """Return the most likely curve. Without observations, everything is found."""
    bins = _binned(observations)
    if not bins:
        return Curve(1.0, _SCALES[-1], 1.0)
    # The largest scale comes first: of equally likely curves, that without an influence of the length counts.
    coarse = _best(bins, reversed(_SCALES), _POWERS)
    scales = (coarse.scale * _FINE**step for step in reversed(_FINE_STEPS))
    return _best(bins, scales, [power for power in _POWERS if 0.5 <= power / coarse.power <= 2])


def _best(bins: Sequence[_Bin], scales: Iterable[float], powers: Sequence[float]) -> Curve:
    """Return the most likely of the curves with these scales and powers."""
    best, highest = Curve(0.0, 1.0, 1.0), -math.inf
    for scale in scales:
        for power in powers:
            fading = [_fading(one.length, scale, power) for one in bins]
            base = _best_base(bins, fading)
            likelihood = _likelihood(bins, fading, base)
            if likelihood > highest + _EQUALLY:
                best, highest = Curve(base, scale, power), likelihood
    return best


def _fading(length: float, scale: float, power: float) -> float:
    return math.exp(-((length / scale) ** power))


def _binned(observations: Iterable[Observation]) -> list[_Bin]:
    counts: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for length, is_found in observations:
        count = counts[round(math.log(max(length, 1), _BIN))]
        count[0] += length
        count[1 if is_found else 2] += 1
    return [_Bin(total / (yes + no), yes, no) for _, (total, yes, no) in sorted(counts.items())]


def _best_base(bins: Sequence[_Bin], fading: Sequence[float]) -> float:
    """Return the most likely base for a given decline; the likelihood has one maximum."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        slope = sum(
            one.found / max(middle, _MIN_SHARE) - one.overlooked * share / max(1 - middle * share, _MIN_SHARE)
            for one, share in zip(bins, fading, strict=True)
        )
        low, high = (middle, high) if slope > 0 else (low, middle)
    return (low + high) / 2


def _likelihood(bins: Sequence[_Bin], fading: Sequence[float], base: float) -> float:
    return sum(
        one.found * math.log(max(base * share, _MIN_SHARE))
        + one.overlooked * math.log(max(1 - base * share, _MIN_SHARE))
        for one, share in zip(bins, fading, strict=True)
    )


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


class Plan(NamedTuple):
    """Estimated costs of a calibration that measures all sizes. *most_tokens* are never exceeded."""

    sizes: tuple[int, ...]
    questions: int
    tokens: int
    cost_nanos: int
    most_tokens: int


class Measured(NamedTuple):
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

    measured: tuple[Measured, ...]
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


def plan(documents: Sequence[GoldDocument], agent: AgentConfig, settings: Settings, price: Price) -> Plan:
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
    return Plan(tuple(sizes), questions, tokens, price.of(prompt_tokens, answer_tokens), most)


async def calibrate(
    documents: Sequence[GoldDocument],
    agent: AgentConfig,
    means: Means,
    planned: Plan,
    *,
    on_measured: Callable[[Measured], None],
) -> Calibration:
    """Measure the sizes of a plan with the only model of the settings, and choose one.

    Raises:
        CannotCalibrate: nothing was found, or the budget is too small for two sizes.
        ModelError: as ``evaluate``.
    """
    options = extraction_config_of(agent)
    cases = _cases(documents, options)
    observations: list[Observation] = []
    measured: list[Measured] = []
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
        one = _measured(size, cases, evaluated, observations)
        measured.append(one)
        on_measured(one)
        answer_tokens = max(answer_tokens, evaluated.evaluation.cut_off_tokens)
        if len(measured) == 1 and one.found:
            spent = evaluated.evaluation.spent
            record_tokens = max(1.0, (spent.completion_tokens - _ANSWER_TOKENS * spent.requests) / one.found)
        is_overlooking = one.recall < (1 - _CLEARLY) * max(other.recall for other in measured)
        if not one.found or is_overlooking or one.cut_off > _MOSTLY * one.requests:
            break
    if is_cut_short and len(measured) < 2:
        raise CannotCalibrate(
            "the budget is too small for a second size: raise [budget] run_usd or run_tokens"
        )
    if not any(one.found for one in measured):
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


def _with(settings: Settings, size: int, planned: Plan, measured: Iterable[Measured]) -> Settings | None:
    """Return the settings for one size with the rest of the budget, or None if nothing is left."""
    spent_tokens, spent_nanos = 0, 0
    for one in measured:
        spent_tokens, spent_nanos = spent_tokens + one.tokens, spent_nanos + one.cost_nanos
    left: dict[str, float] = {"run_tokens": planned.most_tokens - spent_tokens}
    if settings.budget.run_cost_nanos is not None:
        left["run_usd"] = (settings.budget.run_cost_nanos - spent_nanos) / NANOS
    if min(left.values()) <= 0:
        return None
    model = model_to_calibrate(settings).model_copy(update={"chunk_tokens": size})
    return settings.model_copy(update={"model": model, "budget": settings.budget.model_copy(update=left)})


def _measured(
    size: int, cases: Sequence[_Case], evaluated: Evaluated, observations: list[Observation]
) -> Measured:
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
    return Measured(
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


Drawn = TypeVar("Drawn")

DOCUMENTS: Final = 4
_FACTS: Final = 120  # in a document of about 12,000 tokens
_EVENT_EVERY: Final = 6  # of so many facts one is an event

_WHO: Final = (
    "Anna",
    "Boris",
    "Carla",
    "Dmitri",
    "Elena",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Mei",
    "Otto",
)
_DEEDS: Final = (
    "send the offer to {}", "order spare parts for {}", "review the contract with {}", "book a room at {}",
    "pay the invoice of {}", "translate the brochure for {}", "call the architect about {}",
    "collect the keys from {}", "draft the minutes for {}", "check the insurance of {}",
    "repair the heating at {}", "cancel the delivery to {}", "prepare the budget for {}",
    "renew the licence of {}", "count the chairs at {}", "photograph the damage at {}",
    "invite the neighbours of {}", "update the price list for {}", "archive the letters of {}",
    "measure the windows at {}",
)  # fmt: skip
_PLACES: Final = (
    "the town hall", "the old mill", "the harbour office", "the north depot", "the music school",
    "the bakery", "the river hotel", "the garden centre", "the print shop", "the boat club",
    "the city library", "the south gate", "the film studio", "the tram museum", "the glass works",
    "the youth hostel",
    "the fire station", "the corn exchange", "the tennis hall", "the west clinic", "the water tower",
    "the art gallery", "the post room", "the wine cellar",
)  # fmt: skip
_MONTHS: Final = ("January", "March", "May", "June", "September", "October")
_TASKS: Final = (
    "{who} has to {deed} by {day}.", "{who} will {deed} before {day}.", "Could {who} please {deed} by {day}?",
    "It was agreed that {who} should {deed} no later than {day}.", "We still need {who} to {deed} by {day}.",
    "{who} must {deed} before {day}.",
)  # fmt: skip
_EVENTS: Final = (
    "The open day at {place} is on {day}.", "On {day} the market at {place} begins.",
    "The auction at {place} takes place on {day}.",
)  # fmt: skip
_SUBJECTS: Final = (
    "The river", "Our town", "The quiet street behind the station", "This year's harvest", "The weather",
    "The old chronicle", "A long row of poplars", "The first edition of the map", "The colour of the walls",
    "The smell of fresh bread", "The road across the hills", "A painting of the bay",
    "The choir of the village", "The light in the afternoon", "The story of the bridge",
    "The crowd at the fair",
)  # fmt: skip
_PREDICATES: Final = (
    "was calm", "had changed little", "gave pleasure to many", "lay in the sun", "was described with care",
    "reminded everybody of earlier years", "seemed larger than before", "was known far beyond the valley",
    "had a charm of its own", "was never quite the same", "pleased young and old", "was praised by visitors",
    "went on as ever", "looked much as it does in the photographs",
)  # fmt: skip
_ENDS: Final = (
    "for a long time", "as people remember", "in spite of the wind", "until the evening came",
    "although few had expected it", "which surprised nobody", "as it had been the year before",
    "and nobody minded", "while the bells rang", "when the guests arrived", "as the letters tell",
    "in those quiet weeks",
)  # fmt: skip


def planted_documents(count: int = DOCUMENTS, facts: int = _FACTS) -> list[GoldDocument]:
    """Return *count* documents with so many *facts* each; about 100 tokens for each fact."""
    return [_document(number, facts) for number in range(count)]


class Lots:
    """Draws from a seed, the same on every machine."""

    def __init__(self, seed: object) -> None:
        self._seed = seed
        self._drawn = 0

    def below(self, limit: int) -> int:
        """Return a whole number from 0 to *limit* - 1."""
        self._drawn += 1
        digest = hashlib.sha256(f"{self._seed}:{self._drawn}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % limit

    def one(self, among: Sequence[Drawn]) -> Drawn:
        """Return one of *among*."""
        return among[self.below(len(among))]


def _document(number: int, facts: int) -> GoldDocument:
    lots = Lots(f"planted {number}")
    labels: list[Label] = []
    text = f"# Notes {number + 1}\n\n"
    for fact in range(facts):
        sentences = [
            f"{lots.one(_SUBJECTS)} {lots.one(_PREDICATES)} {lots.one(_ENDS)}."
            for _ in range(3 + lots.below(3))
        ]
        quote, table, data = _fact(number * facts + fact, lots)
        at = lots.below(len(sentences) + 1)
        text += " ".join([*sentences[:at], ""])
        labels.append(Label(table=table, data=data, places=((len(text), len(text) + len(quote)),)))
        text += " ".join([quote, *sentences[at:]])
        text += "\n\n" if lots.below(3) else " "
    return GoldDocument(
        id=f"planted-{number + 1}",
        text=text,
        labels=tuple(labels),
        date=None,
        name=f"planted-{number + 1}.txt",
        words={},
    )


def _fact(number: int, lots: Lots) -> tuple[str, TableName, dict[str, LabelValue]]:
    """Return a sentence with its table and fields. Each deed at a place comes once."""
    day = f"{1 + lots.below(28)} {lots.one(_MONTHS)} 2027"
    if number % _EVENT_EVERY == 0:
        quote = lots.one(_EVENTS).format(place=lots.one(_PLACES), day=day)
        return quote, TableName.TIMELINES, {"title": quote.partition(" on ")[0]}
    who, deed = (
        lots.one(_WHO),
        _DEEDS[number % len(_DEEDS)].format(_PLACES[number // len(_DEEDS) % len(_PLACES)]),
    )
    return lots.one(_TASKS).format(who=who, deed=deed, day=day), TableName.TASKS, {"title": deed}
