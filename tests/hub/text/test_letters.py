# ruff: noqa: RUF001 - letters of other alphabets
"""A mail of a mailbox becomes what its author wrote now, and what is needed to understand it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.text import letter_text
from hub.text.convert import read_letter
from hub.text.files import Converted, NotConvertible
from hub.text.letter_text import (
    Enclosure,
    Letter,
    LetterBody,
    LetterOptions,
    letter_of_mail,
    mark,
)
from hub.text.mime import undone
from hub.text.quotations import above_quotations, found_above
from tests.support.families import each

MAILS = Path(__file__).with_name("mails")
EN = "I have read the plan and will pay the rent on Friday, as agreed."
DE = "Ich habe den Plan gelesen und überweise die Miete am Freitag."
RU = "Я прочитала план и переведу оплату в пятницу, как договорились."

ANSWERS = {
    "gmail-top-en": (EN, "> Please pay the rent."),
    "gmail-top-de": (DE, "> Bitte die Miete zahlen."),
    "gmail-top-ru": (RU, "> Пожалуйста, оплатите аренду."),
    "outlook-top-en": (EN, "> Please pay the rent."),
    "outlook-top-de": (DE, "> Bitte die Miete zahlen."),
    "outlook-top-ru": (RU, "> Пожалуйста, оплатите аренду."),
    "mailru-top-ru": (RU, ">Пожалуйста, оплатите аренду."),
    "gmail-html-answer": (EN, "> Please pay the rent."),
    "outlook-html-answer": (EN, "> Please pay the rent."),
    "signature-outlook-en": (EN, "> Please pay the rent."),
}
INLINE = {
    "thunderbird-inline-en": (
        "Yes, I will pay it on Friday morning.\n\nNo, that is for you to do this time.",
        "> Can you pay the rent?\n\nYes, I will",
    ),
    "thunderbird-inline-de": (
        "Ja, ich überweise sie am Freitagmorgen.\n\nNein, das machst diesmal bitte du.",
        "> Kannst du die Miete zahlen?\n\nJa, ich",
    ),
    "thunderbird-inline-ru": (
        "Да, переведу в пятницу утром, не беспокойся.\n\nНет, на этот раз позвони ты.",
        "> Ты оплатишь аренду?\n\nДа, переведу",
    ),
}
FORWARDS = {
    "gmail-forward-en": (
        "For your files; nothing to do before the end of the month, I think.",
        "> Please pay the rent.",
    ),
    "outlook-forward-de": (
        "Zur Kenntnis und für deine Unterlagen, bis Ende des Monats ist nichts zu tun.",
        "> Bitte die Miete zahlen.",
    ),
    "apple-forward-en": ("", "> Please pay the rent."),
    "apple-forward-de": ("", "> Bitte die Miete zahlen."),
    "thunderbird-forward-ru": (
        "Пересылаю, чтобы было у тебя под рукой до конца месяца.",
        "> Пожалуйста, оплатите аренду.",
    ),
}
SIGNED = {
    "signature-en": (EN, "Harbour Road"),
    "signature-mobile-de": (DE, "iPhone"),
    "signature-mobile-ru": (RU, "iPhone"),
    "signature-mobile-fr": ("J'ai lu le plan et je paierai le loyer vendredi, comme convenu.", "iPhone"),
    "signature-mobile-es": ("He leído el plan y pagaré el alquiler el viernes, como acordamos.", "iPhone"),
    "signature-outlook-en": (EN, "Get Outlook"),
    "list-footer": (EN, "mailing list"),
}


def read(name: str, **options: Any) -> Converted:
    chosen = LetterOptions(**options)
    return read_letter(letter_of_mail((MAILS / f"{name}.eml").read_bytes(), chosen), chosen)


def letter(body: str, **options: Any) -> Converted:
    return read_letter(
        Letter(headers={"Subject": "Rent"}, bodies=(LetterBody(data=body),)), LetterOptions(**options)
    )


@each(("name", "new", "quoted"), [(name, *told) for name, told in ANSWERS.items()])
def test_new_text_of_an_answer_is_separated_from_quotes(name: str, new: str, quoted: str) -> None:
    found = read(name)

    assert read(name, quoted="drop").text.endswith(f"\n\n{new}\n")
    head, _, quote = found.text.partition(letter_text.CONTEXT)
    assert head.endswith(f"\n\n{new}\n\n")
    assert quoted in quote


@each(("name", "new", "shown"), [(name, *told) for name, told in INLINE.items()])
def test_inline_replies_remain_after_the_quoted_lines(name: str, new: str, shown: str) -> None:
    assert read(name, quoted="drop").text.endswith(f"\n\n{new}\n")
    assert shown in read(name).text


@each(("name", "new", "quoted"), [(name, *told) for name, told in FORWARDS.items()])
def test_forwarded_mail_is_complete_in_every_quote_mode(name: str, new: str, quoted: str) -> None:
    assert f"\n\n{new}\n\n{letter_text.FORWARDED}".replace("\n\n\n\n", "\n\n") in read(name).text
    for way in ("context", "drop", "keep"):
        assert quoted in read(name, quoted=way).text


@each(("name", "new", "signature"), [(name, *told) for name, told in SIGNED.items()])
def test_signatures_are_left_out(name: str, new: str, signature: str) -> None:
    assert read(name, quoted="drop").text.endswith(f"\n\n{new}\n")
    assert signature not in read(name).text
    assert signature in read(name, quoted="whole").text


def test_mail_with_only_a_signature_yields_the_signature() -> None:
    assert "House of Boats" in read("signature-only").text


def test_mail_text_resembling_a_signature_is_not_removed() -> None:
    body = f"Sent from my desk: the signed contract.\n{'Please read it. ' * 5}\n--\n" + "a long annex\n" * 40

    assert body.strip() in letter(body).text
    annexed = f"{EN}\n-- \n" + "\n".join(["Annex:" + " a long clause of the contract" * 10] * 8)
    assert annexed in letter(annexed).text


@each("way", ["context", "drop"])
def test_short_reply_includes_the_quoted_mail(way: str) -> None:
    found = read("short-answer", quoted=way)

    assert "\n\nOk, do it.\n\n" in found.text and "> Shall I pay the rent on Friday?" in found.text
    assert letter_text.ANSWERED in found.text


def test_long_quote_of_a_mail_is_shortened_to_the_beginning() -> None:
    quoted = "\n".join(f"> line {number} of the old mail" for number in range(500))
    text = f"{EN}\n\nOn Mon, 5 May 2025, Bob wrote:\n{quoted}"
    found = letter(text)

    context = found.text.partition(letter_text.CONTEXT)[2]
    assert ("> line 0 of" in context, "line 499" in context, context.rstrip()[-5:]) == (True, False, "> […]")
    assert 1_800 < len(context) < 2_100
    assert "line 499" in letter(text, quoted="keep", max_chars=50_000).text


def test_long_quote_before_an_inline_reply_is_shortened_to_the_end() -> None:
    old = "\n".join(f"> filler {number} of the old mail" for number in range(200))
    yes = f"{old}\n> Shall I pay?\nYes, please pay it as soon as you can."
    found = letter(f"{yes}\n{old}\n> And call?\nNo, not before Monday.")

    assert "> Shall I pay?\n\nYes" in found.text and "> And call?\n\nNo" in found.text
    assert len(found.text) < 2_300


def test_long_mail_is_cut_at_a_paragraph_with_a_note() -> None:
    body = "\n\n".join(f"Paragraph {number}. " + "word " * 60 for number in range(200))
    found = letter(body, max_chars=5_000)

    words, _, rest = found.text.partition("\n\n[cut here: ")
    assert words.endswith("word")
    assert rest.endswith(" more characters were left out]\n")
    assert len(words) < 5_100


@each("name", ["latin1-said-utf8", "unknown-charset"])
def test_mail_with_a_wrong_declared_charset_is_decoded(name: str) -> None:
    assert "Subject: Frühstück\n" in read(name).text
    assert read(name).text.endswith("\n\nFrühstück für fünf Gäste am Freitag, bitte bestellen.\n")


def test_body_normalized_to_utf_8_is_decoded_despite_another_declared_charset() -> None:
    data = (MAILS / "utf8-said-latin1.eml").read_bytes().partition(b"\n\n")[2]
    body = LetterBody(data=data, charset="ISO-8859-1", is_normalised=True)
    text = read_letter(Letter(bodies=(body,))).text
    assert text == "Frühstück für fünf Gäste am Freitag, bitte bestellen.\n"


@each(
    ("data", "charset", "text"),
    [
        ("Встреча".encode("koi8-r"), "koi8-r", "Встреча"),
        ("会議".encode("iso-2022-jp"), "iso-2022-jp", "会議"),
        ("Tee um fünf".encode("utf-16"), "utf-16", "Tee um fünf"),
        ("\ufeffTee um fünf".encode(), None, "Tee um fünf"),
        (b"\x81\xfd!", "klingon", "\ufffd\ufffd!"),
    ],
)
def test_body_is_decoded_by_byte_order_mark_charset_or_replacement_characters(
    data: bytes, charset: str | None, text: str
) -> None:
    body = LetterBody(data=data, charset=charset, is_normalised=True)

    assert read_letter(Letter(bodies=(body,))).text == f"{text}\n"


def test_transfer_encoding_of_body_parts_is_decoded() -> None:
    bodies = (
        LetterBody(data=b"RnLDvGhzdMO8Y2s", transfer_encoding="BASE64", charset="utf-8"),
        LetterBody(
            data=b"f=FCr f=FCnf=\r\n G=E4ste", transfer_encoding="quoted-printable", charset="latin-1"
        ),
    )
    assert read_letter(Letter(bodies=bodies)).text == "Frühstück\n\nfür fünf Gäste\n"


@given(st.binary(max_size=200), st.sampled_from(["base64", "quoted-printable", "7bit", "x-none", ""]))
def test_invalid_transfer_encoding_is_decoded_without_an_error(data: bytes, encoding: str) -> None:
    assert isinstance(undone(data, encoding), bytes)


def test_mail_given_in_parts_reads_like_the_raw_mail() -> None:
    head, _, body = (MAILS / "gmail-top-de.eml").read_bytes().partition(b"\n\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\n"))
    given_in_parts = Letter(headers=headers, bodies=(LetterBody(data=body, charset="utf-8"),))

    assert read_letter(given_in_parts) == read("gmail-top-de")


def test_html_body_is_read_if_the_plain_body_only_refers_to_the_html() -> None:
    page = LetterBody(data="<p>The rent is due on Friday.</p>", media_type="text/html")
    stub = LetterBody(data="To view this mail, use a program that shows HTML.")

    assert read_letter(Letter(bodies=(stub, page))).text == "The rent is due on Friday.\n"
    assert read_letter(Letter(bodies=(LetterBody(data="Pay."), page))).text == "Pay.\n"
    assert "The plan is attached. Call Ana on Friday." in read("nested-names").text


def test_attachments_are_named_with_kind_and_size_and_nameless_pictures_are_not() -> None:
    assert read("nested-names").text.endswith(
        "[attachment: Plan für Mai.csv, text/csv, 22 bytes]\n\n"
        "[attachment: Übersicht.md, text/markdown, 6 bytes]\n"
    )
    named = Letter(
        headers={"Subject": "x"},
        enclosures=(
            Enclosure(name="plan.pdf", media_type="application/pdf", size_bytes=3 << 20),
            Enclosure(name="=?utf-8?Q?Pl=C3=A4ne?=]\u202e.zip", media_type="application/zip"),
            Enclosure(media_type="image/gif", is_inline=True, size_bytes=43),
        ),
    )
    assert read_letter(named).text == (
        "Subject: x\n\n[attachment: plan.pdf, application/pdf, 3 MB]\n\n"
        "[attachment: Pläne).zip, application/zip]\n"
    )


def test_attachments_are_read_only_when_requested() -> None:
    read_all = read("nested-names", fetch=True).text
    assert "22 bytes]\ntitle,due\nrent,Friday\n" in read_all and "6 bytes]\n# Milk\n" in read_all
    assert "Milk" not in read("nested-names", fetch=True, types=("text/csv",)).text
    small = read("nested-names", fetch=True, max_attachment_bytes=10).text
    assert "rent,Friday" not in small and "22 bytes, not read: larger than 10 bytes]" in small


def test_attachments_are_selected_by_type_and_size_before_fetching() -> None:
    options = LetterOptions(fetch=True, types=("application/pdf", "image/*"), max_attachment_bytes=1_000)

    selected = (
        options.selects("application/pdf", 1_000),
        options.selects("application/octet-stream", 10, name="plan.pdf"),
        options.selects("IMAGE/PNG; name=x"),
    )
    left_out = (
        options.selects("application/pdf", 1_001),
        options.selects("text/plain", 10),
        replace(options, fetch=False).selects("application/pdf", 10),
    )
    assert (selected, left_out) == ((True,) * 3, (False,) * 3)


def test_unavailable_attachment_is_listed_with_the_reason() -> None:
    enclosure = Enclosure(name="plan.pdf", media_type="application/pdf", why_not="the provider refused it")

    assert read_letter(Letter(enclosures=(enclosure,))).text == (
        "[attachment: plan.pdf, application/pdf, not read: the provider refused it]\n"
    )


def test_attachments_are_not_read_beyond_the_text_limit_of_the_mail() -> None:
    enclosures = tuple(
        Enclosure(name=f"{name}.txt", media_type="text/plain", content=b"word " * 1_000) for name in "abc"
    )
    found = read_letter(
        Letter(bodies=(LetterBody(data=EN),), enclosures=enclosures),
        LetterOptions(fetch=True, max_chars=6_000),
    )
    assert len(found.text) < 6_500
    assert "[attachment: c.txt, text/plain, not read: the mail is long enough without it]" in found.text


def test_mail_without_headers_and_text_is_refused() -> None:
    with pytest.raises(NotConvertible, match="no headers and no text"):
        read_letter(Letter())


@given(
    st.lists(
        st.sampled_from([">", "> old", "new words", "", "-- ", "Sent from my iPhone", "_" * 12]), max_size=12
    )
)
def test_separation_of_quotes_never_drops_a_whole_mail(lines: list[str]) -> None:
    text = "\n".join(lines)
    for way in ("context", "drop", "keep"):
        found = letter_text.separate(mark(text), subject="", quoted=way)
        assert bool(found.strip()) == bool(text.strip())


def test_partly_encoded_subject_is_decoded_completely() -> None:
    letter = Letter(headers={"Subject": "=?utf-8?B?0JDRgNC10L3QtNCw?= за май"})
    assert read_letter(letter).text == "Subject: Аренда за май\n"


def test_mail_parameter_given_whole_and_in_parts_is_ignored_or_damages_a_boundary() -> None:
    parts = (
        "Content-Type: text/plain; charset*=utf-8; charset*0=utf-8\n\nPay it.",
        "Content-Type: text/csv; name*=a; name*0=b.csv\n\na,b",
    )
    content = "".join(f"--x\n{part}\n" for part in parts)
    mail = f"From: a@example.org\nContent-Type: multipart/mixed; boundary=x\n\n{content}--x--\n"
    letter = letter_of_mail(mail.encode(), LetterOptions())
    assert [body.data for body in letter.bodies] == ["Pay it."]
    assert [enclosure.name for enclosure in letter.enclosures] == [""]
    with pytest.raises(NotConvertible, match="damaged"):
        letter_of_mail(mail.replace("boundary=x", "boundary*=x; boundary*0=x").encode(), LetterOptions())


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
        "5 мая 2025 г., 10:00, Боб <bob@example.org> пишет:",
        "2025年5月5日 10:00，鲍勃 <bob@example.org> 写道：",
        "-----Original Message-----",
        "---------- Forwarded message ---------",
        "-----Ursprüngliche Nachricht-----",
        "-------- Пересылаемое сообщение --------",
        "From: Bob <bob@example.org>\nSent: Monday, 5 May 2025 10:00\nTo: Ana\nSubject: Rent",
        "От: Боб\nКому: Анна\nТема: Аренда",
        "Kimden: Bob <bob@example.org>\nGönderilme: 5 Mayıs 2025 Pazartesi 10:00\nKime: Ana\nKonu: Kira",
        "Feladó: Bob <bob@example.org>\nElküldve: 2025. május 5., hétfő 10:00\nCímzett: Ana\nTárgy: Bérlet",
        "Lähettäjä: Bob <bob@example.org>\nLähetetty: ma 5. toukokuuta 2025 10.00\nKenelle: Ana\nAihe: Vene",
        "من: Bob <bob@example.org>\nتم الإرسال: 05/مايو/2025 10:00\nإلى: Ana\nالموضوع: الإيجار",
        "----- Forwarded by Bob/Boats on 05/05/2025 10:00 AM -----",
        "----- Begin forwarded message -----",
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
        (
            "Fine.\n\nFrom: Bob\nSent: 5 May 2025 10:00\nTo: Ana\nSubject: Rent\n\n> All?\nPay",
            "Fine.\n\n> From: Bob\n> Sent: 5 May 2025 10:00\n> To: Ana\n> Subject: Rent\n>\n> All?\n> Pay",
        ),
        (text := "> Can you pay?\nYes, on Friday.\n> And call?\nNo.", text),
        *(
            (text, text)
            for text in (
                *("From: the desk of Ana", "On Monday we wrote:\nnothing", "Dear Bob,\n\nbye"),
                "Ana Boats\nE-Mail: Ana <ana@example.org>\nPhone: 030 2025\nHours: 10:00\nPlace: Rome",
            )
        ),
    ],
)
def test_quotation_ends_below_signs_and_ordinary_words_are_not_marked(text: str, marked: str) -> None:
    assert mark(text) == marked


@given(st.text(alphabet="ab>: \nOnwrote-From", max_size=300))
def test_marking_quotes_changes_no_line_except_the_mark(text: str) -> None:
    def bare(line: str) -> str:
        return line.lstrip("> ").rstrip()

    assert [bare(line) for line in mark(text).split("\n")] == [bare(line) for line in text.split("\n")]


@each("line", ["On " + "x " * 99, "> " * 100, "2025 " * 40, "On " + "x" * 32_000, "From: " + "* " * 9_000])
def test_quote_marking_of_hostile_lines_ends_in_bounded_time(line: str) -> None:
    text = "\n".join([line] * max(1, 32_000 // len(line)))

    assert len(mark(text)) >= len(text) - text.count(" \n") - 1


PARTS = [
    *("On Mon, 3 Mar 2025 at 10:00, Ana <a@b.example>", "wrote:", "On", "On On Mon wrote:", "", "", "12"),
    *("Am 3.3.2025 um 10:00 schrieb Ana:", "Il giorno", "ha scritto:", "Op ma 3 mrt schreef Jan:"),
    *("jan skrev Ana:", "Den 3 mar skrev Ana:", "Dnia 3.3 Jan napisał(a):", "El lun, Ana escribió:"),
    *("2025年3月3日 Ana 写道：", "3 марта 2025 г. в 10:00, Ana <a@b>:", "Ana пишет 2025:"),
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
def test_quotation_head_search_by_prefixes_equals_the_full_search(lines: list[str]) -> None:
    assert_found_everywhere([line.strip() for line in lines])


@each("said", ["Oprindelig meddelelse", "Opr\u0131ndelig meddelelse", "oprindelig meddelel\u017fe"])
def test_forwarding_head_within_a_line_is_found_in_any_spelling(said: str) -> None:
    lines = ["hello", f"so: -----{said}-----", "Fra: Ana", "Sendt: mandag"]
    assert assert_found_everywhere(lines)[0][0] == len("hello\nso: ")


def test_quotation_heads_are_found_by_at_least_nine_rules() -> None:
    assert len(list(found_above("\n\n".join(PARTS).split("\n")))) >= 9
