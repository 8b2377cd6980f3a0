"""Whose words a line of a mail is: its author's, or those of the mail that it answers."""

from hypothesis import given
from hypothesis import strategies as st

from hub.text.letter_text import above_quotations, found_above, mark
from tests.support.families import each


@each(
    "above",
    [
        "On Mon, 5 May 2025 at 10:00, Bob <bob@example.org> wrote:",
        "On Mon, 5 May 2025 at 10:00, Bob\n<bob@example.org> wrote:",
        "Am 05.05.2025 um 10:00 schrieb Bob:",
        "Le lun. 5 mai 2025 à 10:00, Bob <bob@example.org> a écrit :",
        "Le lun. 5 mai 2025 à 10:00, Bob <bob@example.org> a écrit\u00a0:",
        "Le lun. 5 mai 2025 à 10:00, Bob <bob@example.org> a écrit\u202f:",
        "El lun, 5 may 2025 a las 10:00, Bob (<bob@example.org>) escribió:",
        "5 мая 2025 г., 10:00, Боб <bob@example.org> пишет:",  # noqa: RUF001
        "2025年5月5日 10:00，鲍勃 <bob@example.org> 写道：",  # noqa: RUF001
        "-----Original Message-----",
        "---------- Forwarded message ---------",
        "-----Ursprüngliche Nachricht-----",
        "-------- Пересылаемое сообщение --------",
        "From: Bob <bob@example.org>\nSent: Monday, 5 May 2025 10:00\nTo: Ana\nSubject: Rent",
        "От: Боб\nКому: Анна\nТема: Аренда",  # noqa: RUF001
    ],
)
def test_text_below_the_head_of_another_mail_is_marked_as_quoted(above: str) -> None:
    marked = mark(f"I will pay.\n\n{above}\n\nplease pay\nthe rent")

    first, _, quoted = marked.partition("\n\n")
    assert first == "I will pay."
    assert all(line.startswith(">") for line in quoted.split("\n"))
    assert quoted.endswith("> please pay\n> the rent")


@each(
    ("text", "marked"),
    [
        (text := "On Mon, 5 May 2025, Bob wrote:\n> please pay\n> the rent\n\nI will pay.", f"> {text}"),
        (text := "> Can you pay?\nYes, on Friday.\n> And call?\nNo.", text),
        *(
            (text, text)
            for text in ("From: the desk of Ana", "On Monday we wrote:\nnothing", "Dear Bob,\n\nbye")
        ),
    ],
)
def test_an_answer_below_or_between_quoted_lines_and_ordinary_words_are_not_marked(
    text: str, marked: str
) -> None:
    assert mark(text) == marked


@given(st.text(alphabet="ab>: \nOnwrote-From", max_size=300))
def test_no_line_is_lost_moved_or_changed_but_for_its_mark(text: str) -> None:
    def bare(line: str) -> str:
        return line.lstrip("> ").rstrip()

    assert [bare(line) for line in mark(text).split("\n")] == [bare(line) for line in text.split("\n")]


@each("line", ["On " + "x " * 99, "> " * 100, "2025 " * 40, "On " + "x" * 32_000, "From: " + "* " * 9_000])
def test_lines_built_to_make_a_pattern_search_for_ever_do_not(line: str) -> None:
    text = "\n".join([line] * max(1, 32_000 // len(line)))

    assert len(mark(text)) >= len(text) - text.count(" \n") - 1


PARTS = [
    *("On Mon, 3 Mar 2025 at 10:00, Ana <a@b.example>", "wrote:", "On", "On On Mon wrote:", "", "", "12"),
    *("Am 3.3.2025 um 10:00 schrieb Ana:", "Il giorno", "ha scritto:", "Op ma 3 mrt schreef Jan:"),
    *("jan skrev Ana:", "Den 3 mar skrev Ana:", "Dnia 3.3 Jan napisał(a):", "El lun, Ana escribió:"),
    *("2025年3月3日 Ana 写道：", "3 марта 2025 г. в 10:00, Ana <a@b>:", "Ana пишет 2025:"),  # noqa: RUF001
    *(
        "From: Ana",
        "Sent: Monday",
        "To: Ben",
        "* Subject: x",
        "Von: A",
        "Gesendet: b",
        "De : x",
        "Envoyé : y",
    ),
    *("Od: Jan", "Fra: x", "Sendt: y", "От: x", "Кому: y", "-----Original Message-----", "--", "---- x"),
    *("-----Oprindelig meddelelse-----", "x -----Oprindelig meddelelse-----", "Begin forwarded message:"),
    *("hello there: yes", "we say so", "the following:", "a" * 200),
]
LINES = st.tuples(st.sampled_from(["", "", "> ", ">> "]), st.sampled_from(PARTS)).map("".join)


def assert_found_everywhere(lines: list[str]) -> list[tuple[int, int]]:
    everywhere = [match.span() for match in above_quotations().finditer("\n".join(lines))]
    assert [match.span() for match in found_above(lines)] == everywhere
    return everywhere


@given(st.lists(LINES, max_size=12))
def test_search_at_beginnings_of_rules_finds_all_heads_of_quotations(lines: list[str]) -> None:
    assert_found_everywhere([line.strip() for line in lines])


@each("said", ["Oprindelig meddelelse", "Opr\u0131ndelig meddelelse", "oprindelig meddelel\u017fe"])
def test_a_head_that_begins_within_a_line_is_found_however_its_letters_are_written(said: str) -> None:
    lines = ["hello", f"so: -----{said}-----", "Fra: Ana", "Sendt: mandag"]
    assert assert_found_everywhere(lines)[0][0] == len("hello\nso: ")


def test_the_parts_above_are_found_by_rules_of_many_kinds() -> None:
    assert len(list(found_above("\n\n".join(PARTS).split("\n")))) >= 9
