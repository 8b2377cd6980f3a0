"""The embedded model on the English part of the gold set: three draws of documents, and how F1 spreads.

Each document is read once, whichever draws it is in: with temperature 0 it is answered
the same again. The seed's way is shown the same documents and asked for the same tables; as
it has no quotes, the place of what it finds is not asked for.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from statistics import mean
from typing import Final

import anyio
import openai

from hub.app.calibration import Lots
from hub.app.evaluation import CountedModel, Evaluation
from hub.clock import SystemChance, SystemClock
from hub.extraction.embedded import CHUNK_TOKENS, MODEL_NAME, EmbeddedModel
from hub.extraction.endpoint import Endpoint
from hub.extraction.extractor import Extractor
from hub.extraction.gold import GoldDocument, Tally, added, in_all, read_gold, score
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.model import Models
from hub.settings.limit_settings import BudgetSettings
from protocol.frame import Record
from protocol.tables import TABLES, TableName
from tests.evaluation.figures import Figure, Told, at_least, exactly, only

GOLD: Final = Path(__file__).parents[1] / "gold" / "en.jsonl"
ASKED: Final = "Find what there is to do, what happens when, and what is worth remembering."
WANTED: Final = ExtractionOptions(data_types=tuple(TABLES), prompt=ASKED)

_SEEDS: Final = (71_001, 71_002, 71_003)
_DRAWN: Final = 10  # documents, of each seed
_MAX_TOKENS: Final = 512  # of an answer to the seed's way; a longer one has run away

# The way this program began: the first characters, free words, `json.loads`, and no quotes.
_SYSTEM: Final = """\
You are a data extraction assistant for a freelance project management tool. Given a document, \
extract structured records matching the user's instructions. Output a JSON array (no markdown \
fences, no explanation) of objects shaped: [{"table": "", "data": {...fields}}, ...] Allowed table \
names and their fields: %s Rules: \
- Only extract tables listed in the "data_types" instructions. - Use camelCase field names exactly \
as shown above. - Omit optional fields you cannot determine; do not invent data. - Never include id, \
createdAt, updatedAt, isAiSuggested, or isApproved. - If nothing relevant is found, return an empty \
JSON array: [] - Return ONLY the JSON array."""
_FIELDS: Final = {
    "tasks": (
        "title (str, required), description (str), status (todo|in_progress|done, default todo), "
        "priority (high|medium|low, default medium), assignee (JSON array string), "
        "dueDate (ms timestamp int), projectId (str)"
    ),
    "notes": "title (str, required), content (str, markdown), projectId (str)",
    "timelines": "title (str, required), projectId (str, required), date (ms timestamp int)",
    "projects": "name (str, required), clientId (str)",
    "taskComments": "taskId (str, required), author (str), content (str, required)",
}
_READ_CHARS: Final = 8_000

Tallies = Mapping[str, Tally]


async def measure(told: Told) -> list[Figure]:
    """F1 of ours and of the seed's way, over three draws."""
    documents = read_gold(GOLD.read_text(encoding="utf-8"))
    draws = {seed: drawn(documents, seed) for seed in _SEEDS}
    chosen = [one for one in documents if any(one in draw for draw in draws.values())]
    told(f"{len(chosen)} of {len(documents)} documents, {MODEL_NAME}, all five tables")
    embedded = EmbeddedModel(clock=SystemClock(), chance=SystemChance())
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(embedded.serve)
        await embedded.ready()
        ours, model = await _ours(base_url, chosen, told)
        theirs, unparsable = await _theirs(base_url, chosen)
        tasks.cancel_scope.cancel()
    scores, seeds = [], []
    for seed, draw in draws.items():
        one, other = _sum(ours, draw), _sum(theirs, draw)
        scores.append(in_all(one).f1 or 0.0)
        seeds.append(in_all(other).f1 or 0.0)
        told(f"seed {seed}: {_line('ours', one)}")
        told(f"seed {seed}: {_line('seed', other)}")
    whole = _sum(ours, chosen)
    return [
        only("F1, mean and spread", f"{mean(scores):.2f} +- {(max(scores) - min(scores)) / 2:.2f}"),
        *(only(f"F1 of {table}", tally.f1 or 0.0, ".2f") for table, tally in whole.items()),
        exactly("unparsable answers", model.unparsable),
        only("requests, tokens", f"{model.spent.requests:,}, {_tokens(model):,}"),
        at_least("F1, more than that of the seed's way by", min(scores) - max(seeds), 0.01, ".2f"),
        only("seed's way: F1, mean", mean(seeds), ".2f"),
        only("seed's way: unparsable answers", f"{unparsable} of {len(chosen)}"),
    ]


def drawn(documents: Sequence[GoldDocument], seed: int) -> list[GoldDocument]:
    """As many as a draw has, none twice."""
    lots, left = Lots(f"gold {seed}"), list(documents)
    return [left.pop(lots.below(len(left))) for _ in range(_DRAWN)]


async def _ours(
    base_url: str, documents: Sequence[GoldDocument], told: Told
) -> tuple[dict[str, Tallies], CountedModel]:
    """Our whole way from document to items."""
    endpoint = Endpoint(
        base_url,
        MODEL_NAME,
        None,
        clock=SystemClock(),
        chance=SystemChance(),
        chunk_tokens=CHUNK_TOKENS,
        in_flight=1,
        is_literal=True,
    )
    scored: dict[str, Tallies] = {}
    async with aclosing(endpoint):
        model = CountedModel(endpoint, BudgetSettings(run_usd=0.0))
        extractor = Extractor(Models(model, model), secret=bytes(32))
        for number, gold in enumerate(documents, start=1):
            evaluation = Evaluation()
            document = gold.document(WANTED.timezone)
            evaluation.count(gold, await extractor.extract(document, WANTED), WANTED)
            scored[gold.id] = evaluation.tallies
            told(f"{number} of {len(documents)}: {gold.id}, {model.spent.requests} requests so far")
    return scored, model


async def _theirs(base_url: str, documents: Sequence[GoldDocument]) -> tuple[dict[str, Tallies], int]:
    """The way this program began; and how many of its answers could not be read."""
    client, unparsable = openai.AsyncOpenAI(base_url=base_url, api_key="none"), 0
    fields = " ".join(f"{table}: {_FIELDS[table]}" for table in TABLES)
    asked = f"User instructions: {ASKED}\n\nExtract these record types: {', '.join(TABLES)}\n\n"
    scored: dict[str, Tallies] = {}
    for gold in documents:
        try:
            answer = await client.chat.completions.create(
                model=MODEL_NAME,
                messages=[
                    {"role": "system", "content": _SYSTEM % fields},
                    {"role": "user", "content": f"{asked}Document:\n{gold.text[:_READ_CHARS]}"},
                ],
                temperature=0,
                max_tokens=_MAX_TOKENS,
            )
            records = json.loads((answer.choices[0].message.content or "").strip())
        except json.JSONDecodeError:
            unparsable, records = unparsable + 1, []
        except openai.OpenAIError:
            records = []
        found = [
            _anywhere(gold, TableName(one["table"]), one["data"])
            for one in (records if isinstance(records, list) else [])
            if isinstance(one, dict)
            and isinstance(one.get("data"), dict)
            and one.get("table") in list(TABLES)
        ]
        scored[gold.id] = score(gold.labels, found, timezone=WANTED.timezone)
    return scored, unparsable


def _anywhere(gold: GoldDocument, table: TableName, data: Mapping[str, object]) -> Item:
    """What the seed's way found, as if it had quoted the whole document."""
    texts: Record = {name: value for name, value in data.items() if isinstance(value, str)}
    return Item(table=table, data=texts, quote=gold.text, start=0, end=len(gold.text), origin="model")


def _sum(scored: Mapping[str, Tallies], documents: Sequence[GoldDocument]) -> Tallies:
    total: Tallies = {}
    for gold in documents:
        total = added(total, scored[gold.id])
    return total


def _line(name: str, tallies: Tallies) -> str:
    tally = in_all(tallies)
    return (
        f"{name:5} P {tally.precision or 0.0:.2f}  R {tally.recall or 0.0:.2f}  F1 {tally.f1 or 0.0:.2f}  "
        f"labels {tally.labelled}  found {tally.found}  right {tally.right}"
    )


def _tokens(model: CountedModel) -> int:
    return model.spent.prompt_tokens + model.spent.completion_tokens
