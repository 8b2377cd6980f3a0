"""View of a text for the rules of prose: its blanks, the lines it joins, and numbers that are no days."""

import pytest

from hub.extraction.prose_view import view_of_prose
from hub.extraction.when.numbers import without_other_numbers

# Text, and what the rules read of it.
NO_PROSE = [
    ("See [the plan](https://a.example/x?by=2027-01-04 'until Friday').", "See [the plan] ."),
    ('Fine.\n[plan]: ../plan.md "valid until 4 May"\n', "Fine."),
    ("Run `git push origin` now, not `make`.", "Run now, not `make`."),
    ("2027-01-04 07:12:01,113 WARN pump 2 dry, please call Ann", ""),
    ("[2027-01-04T07:12:01Z] ERROR: restart before Friday", ""),
    ('10.0.0.7 - bob [04/Jan/2027:07:12:01 +0100] "GET /todo HTTP/1.1" 200 3', ""),
    ("Jan  4 07:12:01 host7 sshd[99]: must finish tomorrow", ""),
    ("Traceback (most recent call last):\n  File \"a.py\", line 1\n    call()\nKeyError: 'due'", ""),
    ("java.lang.IllegalStateException: call me\n\tat a.b.C.run(C.java:7)", ""),
    ("$ make release by=friday", ""),
    ("QmFzZTY0IG9mIGEgZmlsZSB0aGF0IG5vYm9keSByZWFkcyBhbnkgbW9yZQ==", ""),
    ("See you.\n-- \nIda Holm\nCall me on 5512 | Visit us on 4 May\n", "See you."),
    ('He shouted "Please send the money by Friday!" and left.', "He shouted and left."),
    ("« Il faut vendre la maison avant Noël, » dit-elle.", "dit-elle."),
    (
        "Möbel Ott\nHafen 3\n\nUlm, den 4. Mai\n\nLiebe Ida,\n\nkomm bald.\n\nHerzliche Grüße\nJan",
        "Liebe Ida, komm bald.",
    ),
    ("Nota\n\nEstimada Ana:\n\nVenga.\n\nAtentamente,\nJon Vila\nTel. 5512", "Estimada Ana: Venga."),
    (
        "I wrote to him.\nHi Tom,\nyes.\nBest wishes\nP.S. Please bring the key.",
        "I wrote to him. Hi Tom, yes. P.S. Please bring the key.",
    ),
    ('Rewrite the "About us" page.', 'Rewrite the "About us" page.'),
]


@pytest.mark.parametrize(("text", "expected"), NO_PROSE)
def test_view_of_prose_has_blanks_for_what_is_no_sentence(text: str, expected: str) -> None:
    view = view_of_prose(text)
    assert " ".join(view.split()) == expected
    assert len(view) == len(text)


JOINED = [
    "We meet at the station on\n4 May, and Zoe brings the\ntickets.",
    "Der Vertrag gilt bis zum\n  3. Juni. Danach zahlt sie\nüber Frau Ott.",
    "- look for the key in\n  the blue drawer",
    "> The order is late, so\n> the shop closes.",
    "Соня принесёт список до\n30 мая.",
]
APART = [
    "buy a lamp\nring the vet\ntake the car to the garage.",
    "Ann: yes\nBen: on\n07:45 Cara: no",
    "Packing:\nsocks\nshirts",
    "# Plan\nwe start early.",
    "1. call Ann\n2. call Ben",
]


@pytest.mark.parametrize("text", JOINED)
def test_view_of_prose_joins_the_lines_of_a_sentence(text: str) -> None:
    assert "\n" not in view_of_prose(text)


@pytest.mark.parametrize("text", APART)
def test_view_of_prose_keeps_the_lines_of_a_list_apart(text: str) -> None:
    assert view_of_prose(text) == text


@pytest.mark.parametrize(
    "stamp",
    [
        *("Rosa Lind  9:05 AM", "rosa.lind [9:05]", "Rosa:sun_with_face: 9:05 PM", "Rosa Lind\t9:05"),
        *("Rosa Lind  Yesterday at 9:05 PM", "Rosa  May 2nd at 9:05 AM", "Rosa  2. Mai um 9:05 Uhr"),
        *("Rosa  Hier à 9:05", "Rosa  Ayer a las 9:05", "Рита  Вчера в 9:05"),
    ],
)
def test_view_of_prose_has_no_stamps_of_copied_messages(stamp: str) -> None:
    view = view_of_prose(f"Pump\n\n{stamp}\nIt is loud.\n{stamp}\nTwo of them.\n")
    assert [line.strip() for line in view.split("\n")] == [
        "Pump",
        "",
        "",
        "It is loud.",
        "",
        "Two of them.",
        "",
    ]
    times = "Breakfast  9:05\nDeparture  9:45\n"
    assert view_of_prose(times) == times


def test_view_of_prose_joins_a_long_line_to_a_name_below_it() -> None:
    text = "Nothing more was said about the roof, the gutters and the old\nWindows of the barn."
    assert "\n" not in view_of_prose(text)


@pytest.mark.parametrize(
    "text",
    (
        "version 3.1.19",
        "§ 4.2.7",
        "10.11.12.13",
        "BX-2027-01-04",
        "2027/118-C",
        "ISBN 978-3-12-201126-4",
        "Nr. 11.12.2027-07",
        "04.12.20-77",
        "0171 301 12 26",
        "+49 30 901820-26",
        "20270104-1112",
        "30.11.26,4",
        "1.204,26 EUR",
        "12.11 kg",
        "£120",
        "http://a.example/2027-01-04",
    ),
)
def test_number_that_counts_something_is_no_day(text: str) -> None:
    shown = without_other_numbers(f"Paid: {text}, until May")
    assert not any(map(str.isdigit, shown.replace("\u00a7 ", "")))
    assert len(shown) == len(f"Paid: {text}, until May")


@pytest.mark.parametrize(
    "text",
    [
        *("2027-01-04", "2027-01-04T10:00:00+01:00", "12.11.2027", "bis 3.12. um 9:30", "3.-5.5.2027"),
        *("12/11/2027", "3 May 2027 at 10", "2027年1月4日14:00", "14:00-15:30", "3-5 May", "30.11."),
        *("release 12.12.2027", "am 12.3. 18 Uhr"),
    ],
)
def test_number_of_a_date_or_a_time_remains(text: str) -> None:
    assert without_other_numbers(text) == text
