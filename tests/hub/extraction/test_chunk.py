"""Prose into pieces, cut where a reader would pause."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.extraction import chunk
from hub.extraction.chunk import Chunk, Headings, Passage, Strength, bordered, tables
from hub.extraction.outline import Outline
from tests.support.families import each

SCRIPTS = [
    "The first sentence. The second one? Yes! And Dr. Smith met e.g. Mr. A. Jones at 3 p.m. today.",
    "第一句话。第二句话。「第三句。」最后一句没有句号",
    "يذهب إلى السوق. هل تعرف؟ نعم。",
    "पहला वाक्य। दूसरा वाक्य॥",
    "Family 👨\u200d👩\u200d👧\u200d👦 and flags 🇩🇪🇫🇷. Cafe\u0301 noir.\r\nNext line\r\n\r\nNext paragraph.",
]


def chunks(text: str, chunk_tokens: int) -> list[Chunk]:
    return chunk.split(text, [Passage(0, len(text))], chunk_tokens)


def sentences_of(text: str) -> list[str]:
    return [text[start:end] for start, end in chunk.sentences(text, 0, len(text))]


SENTENCES = {
    "abbreviations": (
        SCRIPTS[0],
        [
            "The first sentence.",
            "The second one?",
            "Yes!",
            "And Dr. Smith met e.g. Mr. A. Jones at 3 p.m. today.",
        ],
    ),
    "Chinese": (SCRIPTS[1], ["第一句话。", "第二句话。", "「第三句。」", "最后一句没有句号"]),
    "ordinal": (text := "Wir treffen uns am 3. Mai im Rathaus.", [text]),
    "margin": (
        "This line is long enough that only a margin can have\nbroken it. Short line\nanother short line",
        [
            "This line is long enough that only a margin can have\nbroken it.",
            "Short line",
            "another short line",
        ],
    ),
    "day at the start of a wrapped line": (
        "> We talked about the weather for a long while. Ich werde bis\n> 19. Juni den Vertrag prüfen.",
        ["> We talked about the weather for a long while.", "Ich werde bis\n> 19. Juni den Vertrag prüfen."],
    ),
    "rows of days": (
        "The topics of the next two meetings, in the order of their days.\n1. Mai: budget\n2. Juni: roof",
        [
            "The topics of the next two meetings, in the order of their days.",
            "1. Mai: budget",
            "2. Juni: roof",
        ],
    ),
    "list": (
        "We need the following things, and we need them all at once\n- paper\n- ink\n2) pens",
        ["We need the following things, and we need them all at once", "- paper", "- ink", "2) pens"],
    ),
    # Rows of marks that end no sentence, read in time.
    "full stops": (text := "." * 50_000 + "a", [text]),
    "initials": (text := "A. " * 17_000 + "b", [text]),
    "quotation marks": (text := '."' * 25_000 + "a", [text]),
}


@pytest.mark.parametrize(("text", "expected"), SENTENCES.values(), ids=SENTENCES)
def test_a_text_is_cut_into_sentences(text: str, expected: list[str]) -> None:
    assert sentences_of(text) == expected


def test_sentences_are_packed_until_the_size_is_reached() -> None:
    text = "One two three four. " * 20
    pieces = chunks(text, 20)
    assert len(pieces) > 1
    assert all(chunk.estimated_tokens(text[piece.start : piece.end]) <= 30 for piece in pieces)
    assert all(text[piece.start : piece.end].endswith(".") for piece in pieces)


def test_split_by_sentence_makes_a_chunk_per_sentence() -> None:
    text = "One. Two. Three."
    pieces = chunk.split(text, [Passage(0, len(text))], 100, by_sentence=True)
    assert [text[piece.start : piece.end] for piece in pieces] == ["One.", "Two.", "Three."]


def test_chunk_does_not_span_passages_of_different_headings() -> None:
    text = "first\nsecond\n"
    pieces = chunk.split(text, [Passage(0, 6, ("A",)), Passage(6, 13, ("A", "B"))], 100)
    assert [piece.headings for piece in pieces] == [("A",), ("A", "B")]


def test_text_without_letters_has_no_chunk() -> None:
    assert chunks("---\n\n***\n ... \n", 10) == []


@each("text", SCRIPTS)
@each("size", [1, 3, 10, 1000])
def test_chunks_lose_nothing_but_blanks(text: str, size: int) -> None:
    assert_whole(text, chunks(text, size))


@given(st.text(alphabet="ab .。\n\r\u0301\u200d👩🇩🇪é-", max_size=200), st.integers(1, 20))
def test_chunks_of_any_text_lose_nothing_but_blanks(text: str, size: int) -> None:
    assert_whole(text, chunks(text, size))


def test_a_long_word_is_not_cut_inside_a_character() -> None:
    text = "e\u0301👨\u200d👩\u200d👧🇩🇪" * 50
    for piece in chunks(text, 4):
        assert text[piece.start] in "e👨🇩"


def test_chunk_of_two_sentences_is_halved_between_the_sentences() -> None:
    text = "One sentence stands here, rather long. Another one stands there, as long as the first."
    halves = chunk.halve(text, Chunk(0, len(text)))
    assert [text[half.start : half.end] for half in halves] == text.replace(". ", ".|").split("|")


def test_text_without_a_sentence_start_is_halved_between_two_lines() -> None:
    lines = [f"We must paint the green door {door} of notes/3.txt edition four" for door in range(3)]
    text = "\n".join(lines)
    halves = chunk.halve(text, Chunk(0, len(text)))
    assert [text[half.start + half.shared : half.end] for half in halves] == [lines[0], "\n".join(lines[1:])]
    assert text[halves[1].start :].startswith("0 of notes/3.txt edition four\n")


@pytest.mark.parametrize("text", ["Too short.", "a" + "\u0301" * 200])
def test_short_or_indivisible_chunk_is_not_halved(text: str) -> None:
    assert chunk.halve(text, Chunk(0, len(text))) == []


def test_repeated_halving_ends_at_the_least_chunk_size() -> None:
    text = "word" * 500
    pieces = [Chunk(0, len(text))]
    for _ in range(12):
        pieces = [half for piece in pieces for half in (chunk.halve(text, piece) or [piece])]
    assert all(piece.end - piece.start <= chunk.MIN_CHARS for piece in pieces)


def test_endless_sentence_is_split_without_loss() -> None:
    text = "é" * 300_000
    assert_whole(text, chunks(text, 20))


def assert_whole(text: str, pieces: list[Chunk]) -> None:
    """In order, no overlap but of shared words, and only what nobody reads is left out."""
    at = 0
    for piece in pieces:
        assert at <= piece.start + piece.shared < piece.end <= len(text)
        assert not chunk.is_readable(text[at : piece.start])
        assert text[piece.start : piece.end].strip() == text[piece.start : piece.end]
        at = piece.end
    assert not chunk.is_readable(text[at:])


def test_chunks_of_a_long_text_are_nearly_full() -> None:
    text = " ".join(
        f"Sentence {n * 7919 % 1009} says {'word ' * (3 + n * 13 % 17)}and ends." for n in range(400)
    )
    sizes = [chunk.estimated_tokens(text[one.start : one.end]) for one in chunks(text, 500)]
    assert min(sizes) >= 500 * 3 // 2 // 4
    assert sum(sizes) / len(sizes) > 400


MAIL = (
    "Subject: The roof\nFrom: Eve <eve@example.org>\n\nAnna will mend it. She begins on Monday.\n\n"
    "> Who mends the roof?\n> It drips.\n\nBye, Eve"
)


def strengths(text: str) -> list[tuple[str, Strength]]:
    return [(text[start:end], strength) for start, end, strength in bordered(text, 0, len(text))]


def test_chunk_border_strength_follows_the_kind_of_separated_parts() -> None:
    assert strengths(MAIL)[2:] == [
        ("Anna will mend it.", Strength.PARAGRAPH),
        ("She begins on Monday.", Strength.SENTENCE),
        ("> Who mends the roof?", Strength.PART),
        ("> It drips.", Strength.LINE),
        ("Bye, Eve", Strength.PART),
    ]


def test_two_sentences_of_a_quoted_line_belong_to_a_single_part() -> None:
    assert [strength for _, strength in strengths("> One. Two.\n> Three.")[1:]] == [
        Strength.SENTENCE,
        Strength.LINE,
    ]


@pytest.mark.parametrize("mark", ["-- ", "----- Original Message -----", "________________"])
def test_text_below_a_separator_mark_is_another_part(mark: str) -> None:
    assert strengths(f"Bye.\n{mark}\nEve")[1][1] is Strength.PART


def test_chunks_of_a_mail_have_the_subject_and_sender_as_headings() -> None:
    first, *rest = chunks(MAIL, 12)
    assert first.headings == ()
    assert {piece.headings for piece in rest} == {("The roof", "From: Eve <eve@example.org>")}


@each(
    ("text", "place", "enclosing"),
    [
        ("- Anna\n  - Pump\n    - order it\n- Ben\n  - call Eve", "order", ["Anna", "Pump"]),
        ("- Anna\n  - Pump\n    - order it\n- Ben\n  - call Eve", "call", ["Ben"]),
        ("1. Anna\n\n   in Rome\n\n   2) pay\n   3) go", "go", ["Anna"]),
        ("* [ ] Anna\n\t* pay\n\t  it all\n\t* go", "it all", ["Anna", "pay"]),
        ("- Anna\nand so on\n  - pay", "pay", []),
        ("- Anna\n# Ben\n  - pay", "pay", []),
        ("Anna:\n- pay\n- go", "go", ["Anna:"]),
        ("**Anna:**\n\n- pay\n\nThen we left.", "Then", []),
        ("Yes.\n\nOn 3 May Eve wrote:\n> Good.\n>\n> I pay.", "I pay", ["On 3 May Eve wrote:"]),
        ("A wrote:\n> Yes.\n> B wrote:\n> > No.\n> > Why?", "Why", ["B wrote:"]),
        ("A wrote:\n> Yes.\n> B wrote:\n> > No.\n> Why?", "Why", ["A wrote:"]),
        ("[2025-01-06 14:22] Anna: Rain. I pay.", "I pay", ["[2025-01-06 14:22] Anna:"]),
        ("06.01.25, 14:22 - Anna Lee: Rain.\nI pay.", "I pay", ["06.01.25, 14:22 - Anna Lee:"]),
        ("Anna: Rain.\n\nI pay.", "I pay", []),
        ("Anna: Rain.\nBob: I pay.", "Bob", []),
    ],
)
def test_outline_above_a_place_lists_parent_items_introduction_and_speaker(
    text: str, place: str, enclosing: list[str]
) -> None:
    for newline in ("\n", "\r\n"):
        spelled = text.replace("\n", newline)
        found = Outline(spelled).above(spelled.index(place))
        assert [spelled[start:end] for start, end in found] == enclosing


def test_half_of_a_chunk_is_enclosed_by_the_list_items_above_the_half() -> None:
    rows = [f"  - pay the invoice number {nth} of the carpenter" for nth in range(8)]
    text = "\n".join(["- Anna", *rows[:4], "- Ben", *rows[4:]])
    piece = next(one for one in chunks(text, 60) if "number 2" in text[one.start : one.end])
    assert [text[start:end] for start, end in piece.above] in ([], ["Anna"])
    todo, parts = [Chunk(0, len(text))], []
    while todo:
        halves = chunk.halve(text, one := todo.pop())
        todo += halves
        parts += [] if halves else [one]
    for part in parts:
        owner = "Anna" if part.start < text.index("Ben") else "Ben"
        above = [text[start:end] for start, end in part.above]
        assert above == ([owner] if text[part.start : part.end].startswith("- pay") else [])
    assert len(parts) > 5


def test_lines_of_a_wrapped_quotation_are_a_single_sentence() -> None:
    sentence = "Anna must send the offer about the pump to the town\n> > hall by Friday."
    text = f"> > {sentence}\n> And then I answered her at once, as everybody does.\n"
    assert [text[start:end] for start, end in chunk.sentences(text, 0, len(text))] == [
        f"> > {sentence}",
        "> And then I answered her at once, as everybody does.",
    ]


def test_only_chunks_cut_inside_a_sentence_overlap() -> None:
    words = " ".join(f"word{nth}" for nth in range(600))
    first, *rest = chunks(words, 100)
    assert (first.shared, len(rest) > 5) == (0, True)
    for before, piece in pairwise([first, *rest]):
        assert piece.shared > 80
        assert before.end - piece.shared - 1 <= piece.start < before.end
        assert words[piece.start - 1] == " "
    assert {piece.shared for piece in chunks("The boat came home. " * 200, 100)} == {0}


@pytest.mark.parametrize("heading", ["## The roof ##", "The roof\n========", "THE ROOF\n"])
def test_plain_text_heading_is_recognized_by_typography(heading: str) -> None:
    text = f"Once upon a time.\n\n{heading}\nIt drips in the attic. Anna will mend it on Monday."
    piece = chunks(text, 8)[-1]
    assert [said.lower() for said in piece.headings] == ["the roof"]


def test_upper_case_line_inside_a_paragraph_is_no_heading() -> None:
    assert Headings("We said\nNO NO NO\nto them.").above(20, since=0) == ()


def test_chunk_includes_the_preceding_sentence_only_of_the_same_part() -> None:
    before = {MAIL[piece.start : piece.end]: MAIL[slice(*piece.before)] for piece in chunks(MAIL, 5)}
    assert before["She begins on Monday."] == "Anna will mend it."
    assert before["> Who mends the roof?"] == ""


def test_chunks_of_table_rows_refer_to_the_table_header() -> None:
    text = (
        "Open:\n\nWho;What;When\n" + "".join(f"Anna;do work {n};on day {n}\n" for n in range(30)) + "\nDone."
    )
    pieces = chunks(text, 60)
    assert len(pieces) > 3
    for piece in pieces[1:-1]:
        assert text[slice(*piece.columns)] == "Who;What;When"
    assert text[pieces[-1].start : pieces[-1].end].endswith("Done.")


def test_two_prose_lines_with_semicolons_are_no_table() -> None:
    assert tables("one; two\nthree; four\nand more", 0, 29) == []


def test_short_sections_are_packed_into_a_single_chunk() -> None:
    text = "# A\nOne sentence.\n\n# B\nAnother one.\n\n# C\nThe last one."
    places = [(4, 17), (23, 35), (41, len(text))]
    passages = [Passage(start, end, (name,)) for (start, end), name in zip(places, "ABC", strict=True)]
    (piece,) = chunk.split(text, passages, 100)
    assert (piece.start, piece.end, piece.headings) == (4, len(text), ("A",))


def test_text_between_passages_read_by_a_rule_is_in_no_chunk() -> None:
    text = "Before.\n- [ ] Call Bob\nAfter."
    pieces = chunk.split(text, [Passage(0, 8), Passage(23, len(text))], 100)
    assert [text[piece.start : piece.end] for piece in pieces] == ["Before.", "After."]


def paragraph(seed: int) -> str:
    """Three to six sentences that no other seed gives."""
    return " ".join(
        f"On day {n} the crew of boat {seed * 7919 % 1009} {'sailed far out and ' * (seed * n % 5)}came home."
        for n in range(3 + seed % 4)
    )


def questions(paragraphs: list[str]) -> set[tuple[str, str]]:
    """Return the questions about *paragraphs*: each chunk with the sentence before it."""
    text = "\n\n".join(paragraphs)
    return {(text[one.start : one.end], text[slice(*one.before)]) for one in chunks(text, 270)}


@pytest.mark.parametrize("change", ["said more", "said otherwise", "added", "taken out"])
def test_changed_paragraph_usually_changes_at_most_two_questions(change: str) -> None:
    paragraphs = [paragraph(seed) for seed in range(60)]
    before = questions(paragraphs)
    assert len(before) > 12
    changed: list[int] = []
    for at in range(0, 60, 3):
        after = list(paragraphs)
        match change:
            case "said more":
                after[at] += " It was a good year."
            case "said otherwise":
                after[at] = paragraph(at + 1_000)
            case "added":
                after.insert(at, paragraph(at + 1_000))
            case _:
                del after[at]
        changed.append(len(questions(after) - before))
    assert sum(changed) / len(changed) <= 2
    assert sum(count > 2 for count in changed) <= 0.15 * len(changed)
    assert max(changed) <= 4


def test_a_list_of_the_same_lines_falls_into_equal_parts() -> None:
    text = "- call Bob about the boat\n" * 400
    assert len(chunks(text, 200)) <= 2.2 * chunk.estimated_tokens(text) / 200


@given(
    st.lists(
        st.sampled_from(
            ["One. Two!", "- row", "a|b|c", "> q. r.", "", "# H", "中文。句子。", "e\u0301👨\u200d👩", "LOUD"]
        )
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(2, 30),
)
def test_chunks_of_any_text_cover_the_text_within_the_token_limit(
    lines: list[str], newline: str, chunk_tokens: int
) -> None:
    text = newline.join(lines)
    pieces = chunks(text, chunk_tokens)
    assert_whole(text, pieces)
    for piece in pieces:
        assert chunk.estimated_tokens(text[piece.start : piece.end]) <= chunk.most_tokens(chunk_tokens)
        assert max(piece.before[1], piece.columns[1]) <= piece.start
