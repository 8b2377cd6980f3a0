"""Captions: sentences that go on from cue to cue are read as such, and stand at their places in the file."""

import pytest

from hub.extraction.endpoint import Endpoint
from tests.hub.extraction.conftest import model_at
from tests.hub.extraction.test_extractor import extract, long_text, note
from tests.support.oracle import Oracle, plant

PLANTED = [
    plant(("Anna", "Bob", "Eve")[n % 3], f"send report {n}", "2026-12-01", f"K-{n:04}") for n in range(20)
]
_WORDS = 5  # of a cue: every planted sentence is in three of them


def captions(kind: str, text: str) -> str:
    words = text.split()
    cues = [" ".join(words[at : at + _WORDS]) for at in range(0, len(words), _WORDS)]
    point = "," if kind == "srt" else "."
    end = "\r\n" if kind == "srt" else "\n"
    lines = ["WEBVTT - Standup", "", "NOTE", "Made by a machine.", ""] if kind == "vtt" else []
    for nth, cue in enumerate(cues):
        begins, ends = (f"00:{at // 60 % 60:02}:{at % 60:02}{point}000" for at in (nth * 2, nth * 2 + 2))
        lines += [str(nth + 1)] if kind == "srt" or nth % 2 else []
        said = f"<v Host>{cue}</v>" if kind == "vtt" and nth % 3 == 0 else cue
        lines += [f"{begins} --> {ends}", said, ""]
    return end.join(lines)


@pytest.mark.parametrize("kind", ["vtt", "srt"])
async def test_every_sentence_of_captions_is_found_at_its_place(oracle: Oracle, kind: str) -> None:
    text = captions(kind, long_text(PLANTED, filling=4))
    async with model_at(oracle.base_url, chunk_tokens=300).opened() as model:
        extraction = await extract(model, note(text, f"talk.{kind}"))
    assert [item.data["title"] for item in extraction.items] == [f"send report {n}" for n in range(20)]
    for number, item in enumerate(extraction.items):
        assert item.quote.startswith(PLANTED[number].split()[0])
        assert item.quote.endswith(f"K-{number:04}).")
    assert {item.warnings for item in extraction.items} == {()}


async def test_a_model_is_shown_who_speaks_and_no_cue(oracle: Oracle, model: Endpoint) -> None:
    text = (
        "WEBVTT\n\n1\n00:01.000 --> 00:02.000\n<v Anna>Bob must send\n\n2\n00:02.000 --> 00:03.000\n"
        "<v Anna>the report by 2026-12-01 (ref K-0001).\n\n00:03.000 --> 00:04.000\n<v Bob>Yes.\n"
    )
    extraction = await extract(model, note(text, "talk.vtt"))
    shown = oracle.requests[0]["messages"][-1]["content"]
    assert "Anna: Bob must send the report by 2026-12-01 (ref K-0001).\nBob: Yes." in shown
    (item,) = extraction.items
    assert item.quote == text[text.index("Bob must") : text.index("\n\n00:03")]
    assert item.data["title"] == "send the report"


async def test_a_file_of_that_name_without_a_cue_is_prose(model: Endpoint) -> None:
    extraction = await extract(model, note(PLANTED[0], "talk.srt"))
    assert [item.quote for item in extraction.items] == PLANTED[:1]
