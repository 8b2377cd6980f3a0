"""``python -m tests.evaluation.training``: learn the weights of ``hub.extraction.injection_warnings``.

The same sources give the same weights. With ``--apart`` no file is written: each source of orders and each
gold set in turn is kept out of training, and measured.

Orders: those of ``tests.evaluation.orders`` and ``opened_orders``, of the hostile documents, and expanded
``wordings``. Honest texts: the two tuned gold sets, ordinary letters, ``wordings/honest_*``, the messages of
Django and JupyterLab (BSD-3) in five languages, the talks of chatterbot-corpus (BSD-3) in six, and what
Django and langchain-core (MIT) say about their code, in English. Their wheels are downloaded and read.
"""

import ast
import gettext
import hashlib
import io
import json
import math
import re
import sys
import tomllib
import zipfile
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import cycle, pairwise
from pathlib import Path
from typing import Final, NamedTuple
from unittest.mock import patch

from hub.extraction import injection_warnings
from hub.extraction import injection_warnings as model
from hub.extraction import prompt_injection as extraction_orders
from hub.lab.gold import GoldDocument, read_gold
from hub.lab.planted import Lots
from tests.evaluation.opened_orders import opened_orders
from tests.evaluation.orders import DEMANDS, downloaded, orders

_TESTS: Final = Path(__file__).parents[1]
_WORDINGS: Final = Path(__file__).with_name("wordings")
_HOSTILE: Final = _TESTS / "hub" / "extraction" / "hostile"
_FOLDERS: Final = "gold", "gold/second"
_LANGUAGES: Final = "en", "de", "fr", "es", "ru", "zh"
_CATALOGUES: Final = {"de": "de-de", "fr": "fr-fr", "es": "es-es", "ru": "ru-ru", "zh": "zh-cn"}
_PACKAGES: Final = (
    "django==5.2.19",
    "chatterbot-corpus==1.3.3",
    "langchain-core==1.8.4",
    *(f"jupyterlab-language-pack-{code}==4.5.post3" for code in _CATALOGUES.values()),
)
_DOCUMENTED: Final = "django", "langchain-core"
_TALKS: Final = "english", "german", "french", "spanish", "russian", "chinese", "traditionalchinese"
_TALK: Final = re.compile(r"\s*-? ?-\s+[\"']?(.{8,}?)[\"']?\s*")
_CHOICE: Final = re.compile(r"\(([^()]*\|[^()]*)\)")
_VARIANTS: Final = 12  # of a wording
_MAX_CHARS: Final = 300  # of an example
_MIN_BYTES: Final = 45  # of a sentence of an order
_COUNT: Final = 1 << 22
_ROUNDS: Final = 3
_RATE, _DECAY, _BIAS_RATE, _FIRST_BIAS = 0.15, 1e-3, 0.02, -2.0
_LEAST: Final = -0.125  # of a weight: honest words around an order hide it little
_MIN_STEPS: Final = 2  # of a weight that is kept: smaller ones say nothing
_SHIFT: Final = 1.25  # of the bias; under one in a hundred honest documents kept apart has an order then
_OWN_HONEST: Final = 72.0  # importance of texts like those that a hub reads


class Example(NamedTuple):
    """Text of an order, or an honest one."""

    text: str
    is_order: bool
    importance: float


def main() -> int:
    """Write the weights, or print how well they are learned."""
    if "--apart" in sys.argv[1:]:
        _measure_apart()
        return 0
    wanted = [text for texts in _orders().values() for text in texts]
    honest = [*_honest(), *(one for folder in _FOLDERS for one in _of_documents(folder))]
    weights = _learned([*_of_orders(wanted), *_expanded(), *honest])
    packed = zlib.compress(weights.tobytes(), level=9)
    Path(model.__file__).with_name("orders.weights").write_bytes(packed)
    counts = f"{len(wanted)} orders, {len(honest)} honest texts; {sum(map(bool, weights))} weights"
    print(f"{counts} in {len(packed)} bytes")
    return 0


def _measure_apart() -> None:
    sources = _orders()
    fixed = [*_expanded(), *_honest()]
    documents = {folder: list(_of_documents(folder)) for folder in _FOLDERS}
    honest = [one for some in documents.values() for one in some]
    found = count = 0
    for left_out, texts in sources.items():
        rest = [one for name, some in sources.items() if name != left_out for one in _of_orders(some)]
        hits = sum(map(bool, _found(texts, _learned([*rest, *fixed, *honest]))))
        found, count = found + hits, count + len(texts)
        print(f"{left_out}: {hits} of {len(texts)} orders are found", flush=True)
    print(f"all: {found / count:.3f} of {count}")
    fixed += [one for some in sources.values() for one in _of_orders(some)]
    for left_out in _FOLDERS:
        rest = [one for folder, some in documents.items() if folder != left_out for one in some]
        texts = [one.text for one in _documents(left_out)]
        falsely = [places for places in _found(texts, _learned([*rest, *fixed])) if places]
        print(f"{left_out}: {len(falsely)} of {len(texts)} honest documents have one: {falsely}", flush=True)


def _found(texts: Iterable[str], weights: "array[int]") -> list[list[str]]:
    """Return the places of each text that a model with *weights* takes for orders."""
    extraction_orders.weight.cache_clear()
    with patch.object(model, "_weights", lambda: weights):
        plain = [injection_warnings._plain(text)[0] for text in texts]
        return [[text[start:end] for start, end, _ in extraction_orders.find_orders(text)] for text in plain]


def _learned(examples: Sequence[Example]) -> "array[int]":
    """Return the weights of a logistic regression with adaptive steps, rounded."""
    rows = [(one.text, _features(one.text), one.is_order, one.importance) for one in examples]
    values, squares, bias = [0.0] * _COUNT, [1e-2] * _COUNT, _FIRST_BIAS
    for nth in range(_ROUNDS):
        rows.sort(key=lambda row: hashlib.sha256(f"{nth} {row[0]}".encode()).digest())
        for _, places, is_order, importance in rows:
            score = max(-30.0, min(30.0, bias + sum(values[place] for place in places)))
            error = (1 / (1 + math.exp(-score)) - is_order) * importance
            if abs(error) < 1e-4:
                continue
            for place in places:
                step = error + _DECAY * values[place]
                squares[place] += step * step
                values[place] = max(_LEAST, values[place] - _RATE * step / math.sqrt(squares[place]))
            bias -= _BIAS_RATE * error
    steps = (max(-127, min(127, round(value * extraction_orders.SCALE))) for value in values)
    weights = array("b", (step if abs(step) >= _MIN_STEPS else 0 for step in steps))
    (place,) = extraction_orders.features(extraction_orders.BIAS, _COUNT)
    weights[place] = max(-127, round((bias + _SHIFT) * extraction_orders.SCALE))
    return weights


@cache
def _features(text: str) -> list[int]:
    units = {
        unit
        for one in extraction_orders.sentences_of(injection_warnings._plain(text[:_MAX_CHARS])[0])
        for unit in one.units
    }
    (bias,) = extraction_orders.features(extraction_orders.BIAS, _COUNT)
    places = [place for unit in sorted(units) for place in extraction_orders.features(unit, _COUNT)]
    return [place for place in places if place != bias]


def _windows(text: str) -> list[str]:
    """Return the sentences of *text*, and each with the next."""
    pieces = [(one.start, one.end) for one in extraction_orders.sentences_of(text)]
    pairs = [(first[0], second[1]) for first, second in pairwise(pieces)]
    return [text[start:end] for start, end in (*pieces, *pairs)]


def _orders() -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    demands = cycle(_demands("en"))  # what is demanded is no sign of an order
    for prefix, some in (("", orders(is_whole=True)), ("opened ", opened_orders())):
        for order in some:
            title = re.compile(rf"{re.escape(order.title)}(?![^\W\u2e80-\u9fff])")
            text = order.text if order.title == order.text else title.sub(next(demands), order.text)
            sources.setdefault(f"{prefix}{order.source}", []).append(text)
    wordings = tomllib.loads((_HOSTILE / "wordings.toml").read_text("utf-8"))
    sources["wordings.toml"] = [text for texts in wordings.values() for text in texts]
    planted = tomllib.loads((_HOSTILE / "orders.toml").read_text("utf-8"))["order"]
    sources["orders.toml"] = [order["text"] for order in planted]
    return sources


def _of_orders(texts: Iterable[str], importance: float = 3.0) -> Iterator[Example]:
    """Yield each text, and the sentences of a long one with less importance, but no demand alone."""
    for text in texts:
        yield Example(text, True, importance)
        windows = _windows(text)
        if len(windows) > 3:
            long = [window for window in windows[:6] if len(window.encode()) >= _MIN_BYTES]
            yield from (Example(window, True, importance / 3) for window in long)


def _expanded() -> Iterator[Example]:
    for language in _LANGUAGES:
        yield from _of_orders(_variants(language, language), 1.0)
        yield from (Example(text, False, 1.0) for text in _variants(f"honest_{language}", language))
        yield from (
            Example(f"{demand}{end}", False, 3.0) for demand in _demands(language) for end in ("", ".")
        )
    yield from (Example(demand, False, 3.0) for demand in DEMANDS)


def _demands(language: str) -> list[str]:
    return (_WORDINGS / f"demands_{language}.txt").read_text("utf-8").splitlines()


def _variants(name: str, language: str) -> Iterator[str]:
    """Yield texts of a file of wordings: of each group, a part chosen by chance, and demands for ``{}``."""
    demands = _demands(language)
    for line in (_WORDINGS / f"{name}.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            lots = Lots(line)
            yield from dict.fromkeys(_variant(line, demands, lots) for _ in range(_VARIANTS))


def _variant(line: str, demands: Sequence[str], lots: Lots) -> str:
    text = _CHOICE.sub(lambda match: lots.choose(match[1].split("|")), line)
    return re.sub(r"\{\}", lambda _: lots.choose(demands), text)


def _honest() -> Iterator[Example]:
    wheels = downloaded(_PACKAGES)
    catalogues = {language: f"jupyterlab-language-pack-{code}" for language, code in _CATALOGUES.items()}
    for language, package in catalogues.items():
        yield from (Example(text, False, 0.5) for text in _jupyterlab(wheels[package]))
        locale = "zh_Hans" if language == "zh" else language
        for original, text in _django(wheels["django"], locale):
            yield Example(text, False, 0.5)
            if language == "de":
                yield Example(original, False, 0.5)
    yield from (Example(text, False, 1.5) for text in _talks(wheels["chatterbot-corpus"]))
    for package in _DOCUMENTED:
        for text in _documentation(wheels[package]):
            yield from (Example(window, False, 0.07) for window in _windows(text))
    for letter in tomllib.loads((_HOSTILE / "letters.toml").read_text("utf-8"))["letter"]:
        yield from (Example(window, False, 1.0) for window in _windows(letter["text"]))


def _documents(folder: str) -> list[GoldDocument]:
    return [
        one
        for path in sorted((_TESTS / folder).glob("*.jsonl"))
        for one in read_gold(path.read_text("utf-8"))
    ]


def _of_documents(folder: str) -> Iterator[Example]:
    return (
        Example(window, False, _OWN_HONEST) for one in _documents(folder) for window in _windows(one.text)
    )


def _django(wheel: Path, locale: str) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(f"/locale/{locale}/LC_MESSAGES/django.mo"):
                catalogue = gettext.GNUTranslations(io.BytesIO(archive.read(name)))
                for key, text in catalogue._catalog.items():  # type: ignore[attr-defined]
                    original = key[0] if isinstance(key, tuple) else key
                    if original:
                        yield original.rpartition("\x04")[2], text


def _jupyterlab(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if "/LC_MESSAGES/" in name and name.endswith(".json"):
                for key, texts in json.loads(archive.read(name)).items():
                    if key:
                        yield from filter(None, texts)


def _talks(wheel: Path) -> Iterator[str]:
    """Yield the questions and answers of each language once."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in sorted(archive.namelist()) if name.split("/")[-2] in _TALKS]
        lines = [line for name in names for line in archive.read(name).decode().splitlines()]
    yield from dict.fromkeys(match[1] for match in map(_TALK.fullmatch, lines) if match)


def _documentation(wheel: Path) -> Iterator[str]:
    """Yield the paragraphs of the docstrings of a package."""
    with zipfile.ZipFile(wheel) as archive:
        sources = [archive.read(name) for name in sorted(archive.namelist()) if name.endswith(".py")]
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from re.split(r"\n\s*\n", ast.get_docstring(node) or "")


if __name__ == "__main__":
    sys.exit(main())
