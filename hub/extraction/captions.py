"""Rules for captions (WebVTT, SubRip): spoken text without cue times. Pure functions.

A sentence may span several cues, so the model reads only the words. To preserve positions in the file, all
other text is replaced by the same number of invisible characters.
"""

import re
from typing import Final

from hub.document import Document
from hub.extraction.chunk import Passage
from hub.extraction.folding import CUE, asides
from hub.extraction.forms import Form
from hub.extraction.items import Wanted

_COVER: Final = "\u2060"  # "word joiner": invisible, and not a blank
_BLOCK: Final = re.compile(
    r"(?:\A\ufeff?WEBVTT|(?<=\n)(?:NOTE|STYLE|REGION)(?=[ \t\r\n]))(?:[^\n]*\S[^\n]*\n?)*"
)
_VOICE: Final = re.compile(r"<v(?:\.[^ >]*)?[ \t]+(?P<who>[^<>\r\n]{1,60})>")


def read(document: Document, wanted: Wanted) -> Form | None:
    """Return the text of captions as prose; ``None`` if the text has no cue."""
    text = document.text
    if CUE.search(text) is None:
        return None
    places = [match.span() for match in _BLOCK.finditer(text)]
    places += [place for place in asides(text) if text[place[0]] not in "*_~`=>"]
    places += [match.span() for match in re.finditer(r"[\r\n][\s]*", text)]
    view: list[str] = []
    at, speaker = 0, ""
    for start, end in _merged(places):
        voices = [voice["who"].strip() for voice in _VOICE.finditer(text, start, end)]
        name = f"{voices[-1]}: " if voices and voices[-1] != speaker else ""
        speaker = voices[-1] if voices else speaker
        view += (text[at:start], _covered(f"\n{name}" if name else " ", end - start))
        at = end
    return Form(prose=[Passage(0, len(text))], date=document.modified_at, view="".join([*view, text[at:]]))


def _covered(said: str, length: int) -> str:
    """Pad *said* with invisible characters, or cut it, to *length*."""
    return said[:length] + _COVER * (length - len(said))


def _merged(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort places and merge those that touch."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif start < end:
            merged.append((start, end))
    return merged
