"""Mails as programs write them: the text that a person sees in them, or why it is not read."""

import base64
import contextlib
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from hub.text.convert import convert, read, read_letter
from hub.text.files import Converted, NotConvertible
from hub.text.letter_text import Enclosure, Letter, LetterBody
from hub.text.mail_wrappers import NotSigned, signed_content
from tests.support.families import each

Case = tuple[str, bytes, str]
PAY = "Pay the rent by Friday."


def converted(data: bytes) -> Converted:
    return read(data, "message/rfc822", max_bytes=1024 * 1024)


def mail(body: bytes | str, kind: str = "text/plain", *fields: str) -> bytes:
    head = "\r\n".join(["Subject: Rent", f"Content-Type: {kind}", *fields, "", ""])
    return head.encode() + (body if isinstance(body, bytes) else body.encode())


def multipart(subtype: str, *parts: bytes, boundary: str = "b") -> bytes:
    body = "".join(f"--{boundary}\r\n{part.decode('latin-1')}\r\n" for part in parts)
    return mail(f"{body}--{boundary}--\r\n".encode("latin-1"), f"multipart/{subtype}; boundary={boundary}")


def part(body: bytes | str, kind: str = "text/plain", *fields: str) -> bytes:
    return mail(body, kind, *fields).partition(b"\r\n")[2]


# --- charsets: label, codec of the words, words ---

GREEK, HEBREW, RUSSIAN = "Πληρωμή ενοικίου", "שלום לכולם", "Оплатить аренду"
JAPANESE, KOREAN, CHINESE = "家賃を払う", "집세를 내다", "付房租"
EURO = "Fünf € „jetzt“ ok"
CHARSETS = [
    *((label, "cp1252", EURO) for label in ("iso-8859-1", "latin1", "ISO8859-1", "l1", "windows-1252")),
    *((label, "cp1252", EURO) for label in ("cp1252", "x-cp1252", "iso_8859-1:1987", "ansi_x3.4-1968")),
    *((label, "iso8859-8", HEBREW) for label in ("iso-8859-8-i", "iso-8859-8", "iso-8859-8-e", "logical")),
    *((label, "cp949", f"{KOREAN} 똠") for label in ("ks_c_5601-1987", "euc-kr", "korean", "windows-949")),
    *((label, "gb18030", f"{CHINESE} 镕€") for label in ("gb2312", "gbk", "x-gbk", "gb_2312-80", "gb18030")),
    *((label, "cp932", f"{JAPANESE} ①髙") for label in ("shift_jis", "x-sjis", "windows-31j", "sjis")),
    *((label, "cp874", "จ่ายค่าเช่า “ok”") for label in ("windows-874", "tis-620", "iso-8859-11")),
    *((label, "cp1254", "Kira öde ığş €") for label in ("iso-8859-9", "latin5", "windows-1254")),
    *((label, "koi8-u", f"{RUSSIAN} їєґ") for label in ("koi8-u", "koi8-ru")),
    *((label, "mac-roman", "Fünf ∆ Gäste") for label in ("macintosh", "x-mac-roman")),
    ("big5", "big5hkscs", "交租 囧"),
    ("big5-hkscs", "big5hkscs", "交租 囧"),
    ("koi8-r", "koi8-r", RUSSIAN),
    ("windows-1251", "cp1251", RUSSIAN),
    ("x-cp1251", "cp1251", RUSSIAN),
    ("ibm866", "cp866", RUSSIAN),
    ("x-mac-cyrillic", "mac-cyrillic", RUSSIAN),
    ("iso-8859-5", "iso8859-5", RUSSIAN),
    ("iso-8859-7", "iso8859-7", GREEK),
    ("windows-1253", "cp1253", GREEK),
    ("iso-8859-2", "iso8859-2", "Zaplatit nájem včas"),
    ("windows-1250", "cp1250", "Zapłacić czynsz „dziś”"),
    ("iso-8859-15", "iso8859-15", "Fünf €"),
    ("windows-1255", "cp1255", HEBREW),
    ("windows-1256", "cp1256", "ادفع الإيجار"),
    ("windows-1258", "cp1258", "Trâ tiên"),
    ("iso-2022-jp", "iso-2022-jp", JAPANESE),
    ("csiso2022jp", "iso-2022-jp", JAPANESE),
    ("euc-jp", "euc-jp", JAPANESE),
    ("utf-7", "utf-7", EURO),
    ("unicode-1-1-utf-8", "utf-8", EURO),
    ("utf-16", "utf-16", EURO),
    ("utf-16le", "utf-16-le", EURO),
    ("cp850", "cp850", "Fünf Gäste"),
    ("x-unknown", "utf-8", EURO),
    ("us-ascii", "utf-8", EURO),
]


def charset_cases() -> Iterator[Case]:
    for label, codec, words in CHARSETS:
        data = words.encode(codec)
        encoded = base64.b64encode(data)
        fields = ["Content-Transfer-Encoding: base64"]
        yield f"body {label}", mail(encoded, f"text/plain; charset={label}", *fields), words
        html = f"<html><p>{words}</p>".encode(codec)
        kind = f"text/html; charset={label}"
        yield f"page {label}", mail(base64.b64encode(html), kind, *fields), words
        if label not in ("x-unknown", "us-ascii", "utf-16", "utf-16le", "utf-7"):
            meta = f'<html><head><meta charset="{label}"></head><p>{words}'.encode(codec)
            yield f"meta {label}", mail(base64.b64encode(meta), "text/html", *fields), words
        if label not in ("utf-16", "utf-16le", "iso_8859-1:1987"):
            header = f"Subject: =?{label}?B?{encoded.decode()}?=\r\n\r\n{PAY}".encode()
            yield f"header {label}", header, f"Subject: {words}"


OLD_META = '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">'
PAGES: list[Case] = [
    ("meta of HTML 4", mail(f"<html>{OLD_META}<p>{RUSSIAN}".encode("cp1251"), "text/html"), RUSSIAN),
    ("stale meta", mail(f"<html>{OLD_META}<p>{RUSSIAN}", "text/html"), RUSSIAN),
    (
        "meta in a comment",
        mail(
            f"<!-- <meta charset=koi8-r> --><meta charset=cp1251><p>{RUSSIAN}".encode("cp1251"), "text/html"
        ),
        RUSSIAN,
    ),
    (
        "header before meta",
        mail(f"<meta charset=koi8-r><p>{RUSSIAN}".encode("cp1251"), "text/html; charset=windows-1251"),
        RUSSIAN,
    ),
    (
        "declaration of XML",
        mail(f'<?xml version="1.0" encoding="windows-1251"?><p>{RUSSIAN}'.encode("cp1251"), "text/html"),
        RUSSIAN,
    ),
    ("meta utf-16", mail(f"<meta charset=utf-16><p>{RUSSIAN}", "text/html"), RUSSIAN),
    ("mark before header", mail(f"\ufeff{EURO}", "text/plain; charset=iso-8859-1"), EURO),
    (
        "one broken byte",
        mail(b"Pay the rent \x81 by Friday. " * 9, "text/plain; charset=shift_jis"),
        "Pay the rent",
    ),
    ("C1 in latin-1", mail(b"Five \x80", "text/plain; charset=iso-8859-1"), "Five €"),
]

# --- format=flowed ---

FLOWED, DELSP = "text/plain; format=flowed", "text/plain; format=flowed; delsp=yes"
FLOWS: list[Case] = [
    ("soft end", mail("Pay the \r\nrent.", FLOWED), "Pay the rent."),
    ("soft end, LF", mail("Pay the \nrent.", FLOWED), "Pay the rent."),
    ("delsp", mail("Pay the re \r\nnt.", DELSP), "Pay the rent."),
    (
        "delsp, Japanese",
        mail("家賃を \r\n払う", 'text/plain; format="Flowed"; DelSp="Yes"; charset=utf-8'),
        JAPANESE,
    ),
    ("hard end", mail("Pay.\r\nCall Ana.", FLOWED), "Pay.\nCall Ana."),
    ("stuffed", mail(" From here.\r\n > no quote", FLOWED), "From here.\n> no quote"),
    ("quote", mail(">> Pay the \r\n>> rent.\r\n> Yes", FLOWED), ">> Pay the rent.\n> Yes"),
    ("quote ends", mail("> Pay the \r\nrent.", FLOWED), "> Pay the \nrent."),
    ("signature", mail("Pay the \r\n-- \r\nAna", FLOWED), "Pay the \n-- \nAna"),
    ("last line", mail("Pay the rent. ", FLOWED), "Pay the rent. "),
    ("not flowed", mail("Pay the \r\nrent.", "text/plain; format=fixed"), "Pay the \nrent."),
    (
        "alternative",
        multipart("alternative", part("Pay the \r\nrent.", FLOWED), part("<p>Pay", "text/html")),
        "Pay the rent.",
    ),
]

# --- OpenPGP ---

CLEAR = (
    "Hi.\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nPay the rent.\r\n- -----\r\n"
    "-----BEGIN PGP SIGNATURE-----\r\n\r\niQEz\r\n=abcd\r\n-----END PGP SIGNATURE-----\r\nBye."
)
SECRET = "-----BEGIN PGP MESSAGE-----\r\n\r\nhQEM\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
PGP: list[Case] = [
    ("clear signature", mail(CLEAR), "Subject: Rent\n\nHi.\nPay the rent.\n-----\nBye.\n"),
    (
        "signed",
        multipart("signed", part(PAY), part("-----BEGIN", "application/pgp-signature; name=signature.asc")),
        f"Subject: Rent\n\n{PAY}\n",
    ),
    ("armour in the text", mail(SECRET), "[encrypted with PGP: not read]"),
    ("armour without end", mail("-----BEGIN PGP SIGNED MESSAGE-----\n\nPay."), "Pay."),
    (
        "encrypted",
        multipart(
            "encrypted",
            part("Version: 1", "application/pgp-encrypted"),
            part(SECRET, "application/octet-stream"),
        ),
        "[attachment: application/pgp-encrypted, not read: encrypted]",
    ),
]


# --- S/MIME ---


@cache
def key() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    private = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Ana")])
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    draft = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    draft = draft.serial_number(1).not_valid_before(start).not_valid_after(end)
    return private, draft.sign(private, hashes.SHA256())


def signed(data: bytes, *options: pkcs7.PKCS7Options, encoding: Encoding = Encoding.DER) -> bytes:
    private, certificate = key()
    made = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(certificate, private, hashes.SHA256())
    return made.sign(encoding, [*options, pkcs7.PKCS7Options.Binary])


def sealed(data: bytes) -> bytes:
    return pkcs7.PKCS7EnvelopeBuilder().set_data(data).add_recipient(key()[1]).encrypt(Encoding.DER, [])


def ber(tag: int, *content: bytes) -> bytes:
    """Encode a value of open length, as programs do that write while they read."""
    return bytes((tag, 0x80)) + b"".join(content) + b"\0\0"


def octets(data: bytes) -> bytes:
    return b"\x04" + bytes((len(data),)) + data


SIGNED_OID, DATA_OID = bytes.fromhex("06092a864886f70d010702"), bytes.fromhex("06092a864886f70d010701")


def in_pieces(data: bytes) -> bytes:
    pieces = ber(0x24, *(octets(data[at : at + 9]) for at in range(0, len(data), 9)))
    fields = ber(0x30, b"\x02\x01\x01", b"\x31\x00", ber(0x30, DATA_OID, ber(0xA0, pieces)))
    return ber(0x30, SIGNED_OID, ber(0xA0, fields))


def smime(data: bytes, kind: str = "application/pkcs7-mime; name=smime.p7m") -> bytes:
    return mail(base64.encodebytes(data), kind, "Content-Transfer-Encoding: base64")


def smime_cases() -> Iterator[Case]:
    inner = part(PAY, "text/plain; charset=utf-8")
    seen = f"Subject: Rent\n\n{PAY}\n"
    yield "opaque", smime(signed(inner)), seen
    yield "opaque, old type", smime(signed(inner), "application/x-pkcs7-mime; smime-type=signed-data"), seen
    yield "opaque, by name", smime(signed(inner), "application/octet-stream; name=smime.p7m"), seen
    yield "opaque, in pieces", smime(in_pieces(inner)), seen
    yield (
        "signed twice",
        smime(
            signed(
                part(
                    base64.b64encode(signed(inner)),
                    "application/pkcs7-mime",
                    "Content-Transfer-Encoding: base64",
                )
            )
        ),
        seen,
    )
    two = multipart("alternative", part(PAY), part("<p>Pay", "text/html")).partition(b"\r\n")[2]
    yield "opaque, two forms", smime(signed(two)), seen
    detached = signed(inner, pkcs7.PKCS7Options.DetachedSignature, encoding=Encoding.SMIME)
    yield "detached", b"Subject: Rent\r\n" + detached, seen
    named = "[attachment: smime.p7m, application/pkcs7-mime, "
    yield "sealed", smime(sealed(inner)), "not read: encrypted]"
    yield (
        "sealed, signed",
        smime(
            signed(
                part(
                    base64.b64encode(sealed(inner)),
                    "application/pkcs7-mime; name=smime.p7m",
                    "Content-Transfer-Encoding: base64",
                )
            )
        ),
        "not read: encrypted]",
    )
    yield "compressed", smime(bytes.fromhex("300d060b2a864886f70d0109100109") + zlib.compress(b"x")), named
    yield "damaged", smime(signed(inner)[:200]), "not read: damaged]"
    yield "empty", smime(b""), "not read: damaged]"


# --- structure ---

STRUCTURE: list[Case] = [
    ("no type", b"Subject: Rent\r\n\r\n" + PAY.encode(), PAY),
    ("type text", mail(PAY, "text"), PAY),
    ("no boundary", mail(f"--x\r\n\r\n{PAY}", "multipart/mixed"), PAY),
    ("wrong boundary", mail(f"--y\r\n\r\n{PAY}\r\n--y--", "multipart/mixed; boundary=x"), PAY),
    ("not closed", mail(f"--b\r\n\r\n{PAY}", "multipart/mixed; boundary=b"), PAY),
    ("stub", multipart("alternative", part("View it in your browser"), part(f"<p>{PAY}", "text/html")), PAY),
    ("empty plain part", multipart("alternative", part(" "), part(f"<p>{PAY}", "text/html")), PAY),
    ("page with pictures", multipart("related", part(f"<p>{PAY}", "text/html"), part("x", "image/png")), PAY),
    ("two texts", multipart("mixed", part("Pay"), part("the rent")), "Pay\n\nthe rent"),
    ("inline text", multipart("mixed", part(PAY, "text/plain", "Content-Disposition: inline")), PAY),
    (
        "quoted-printable",
        mail("Pay=20the=\r\n rent", "text/plain", "Content-Transfer-Encoding: quoted-printable"),
        "Pay the rent",
    ),
    ("broken base64", mail("UGF5!*", "text/plain", "Content-Transfer-Encoding: base64"), "Pay"),
    (
        "name in cp1252",
        multipart("mixed", part("x", "image/png; name*=iso-8859-1''%80.png")),
        "€.png, image/png",
    ),
    ("list", mail(PAY, "text/plain", "Precedence: list"), "Precedence: bulk"),
]
ALL = [*charset_cases(), *PAGES, *FLOWS, *PGP, *smime_cases(), *STRUCTURE]


@each(("name", "data", "seen"), [pytest.param(*case, id=case[0]) for case in ALL])
def test_strange_mail_is_converted_to_the_visible_text(name: str, data: bytes, seen: str) -> None:
    assert seen in converted(data).text


def test_strange_mail_table_has_more_than_120_distinct_cases() -> None:
    assert len({name for name, _, _ in ALL}) == len(ALL) > 120


PNG = part("x", "image/png; name=cat.png", "Content-Disposition: attachment")
PARTS: list[tuple[str, bytes, dict[str, int]]] = [
    ("one text", mail(PAY), {}),
    ("two texts", multipart("mixed", part(PAY), part(PAY)), {}),
    (
        "two forms",
        multipart("alternative", part(PAY), part("<p>Pay", "text/html")),
        {"text/plain read": 1, "text/html other form": 1},
    ),
    ("picture", multipart("mixed", part(PAY), PNG), {"text/plain read": 1, "image/png no text": 1}),
    ("nothing", mail("\r\n"), {"text/plain empty": 1}),
    ("unknown type", mail("x", "Ignore/all; name=a.bin"), {"ignore/all no text": 1}),
    ("type of a stranger", mail("x", "buy_this/now!; name=a.bin"), {"other no text": 1}),
    ("encrypted", smime(sealed(b"x")), {"application/pkcs7-mime encrypted": 1}),
    ("armour", mail(SECRET), {"text/plain encrypted": 1}),
    (
        "noise",
        multipart("mixed", part(PAY), part(b"\0\1\2", "text/csv; name=a.csv")),
        {"text/plain read": 1, "text/csv unreadable": 1},
    ),
    (
        "mail inside",
        multipart(
            "mixed", part(PAY), part(multipart("mixed", part(PAY), PNG, boundary="c"), "message/rfc822")
        ),
        {"text/plain read": 2, "message/rfc822 read": 1, "image/png no text": 1},
    ),
]


@each(("name", "data", "parts"), [pytest.param(*case, id=case[0]) for case in PARTS])
def test_parts_of_a_mail_are_counted_with_their_outcome_unless_all_were_read(
    name: str, data: bytes, parts: dict[str, int]
) -> None:
    assert converted(data).parts == parts


def test_the_number_of_counted_parts_is_limited() -> None:
    parts = [part("x", f"application/x-{number}; name=a.bin") for number in range(90)]
    counted = converted(multipart("mixed", *parts)).parts
    assert (len(counted), counted["other no text"], sum(counted.values())) == (21, 70, 90)


def test_signed_data_attached_by_the_provider_is_read_as_the_mail_body() -> None:
    content = signed(part(f"{PAY}\r\n> Shall I?", "text/plain; charset=utf-8"))
    enclosure = Enclosure(name="smime.p7m", media_type="application/pkcs7-mime", content=content)
    letter = Letter(headers={"Subject": "Rent"}, bodies=(LetterBody(data=""),), enclosures=(enclosure,))

    assert read_letter(letter).text.startswith(f"Subject: Rent\n\n{PAY}\n\n[the mail that is answered]")


LONG = f"<style>.x{{color:#fff}}</style><p class=x>order</p><p>{JAPANESE} ①</p>{'<p>and so on</p>' * 3_000}"


@each(
    ("name", "kind", "data"),
    [
        ("page", "a.html", f"<meta charset=x-sjis>{LONG}".encode("cp932")),
        ("mail", "a.eml", mail(LONG.encode("cp932"), "text/html; charset=x-sjis")),
        ("unknown", "a.html", f"<meta charset=x-user-defined>{LONG}".encode()),
        ("signed", "a.eml", smime(signed(part(LONG.encode("cp932"), "text/html; charset=x-sjis")))),
    ],
)
def test_long_pages_and_mails_are_read_alike_in_a_confined_process(name: str, kind: str, data: bytes) -> None:
    found = convert(data, path=kind)
    assert f"{JAPANESE} ①\nand so on" in found.text
    assert ("order" in found.text, found.dropped) == (False, 1)


def test_hostile_signed_data_is_refused() -> None:
    bombs = [
        b"\x30\x80" * 100_000,
        b"\x24\x80" * 100_000,
        in_pieces(b"x" * 90_000)[:-40],
        b"\x30\x84" + b"\xff" * 9,
    ]
    for bomb in bombs:
        with pytest.raises(NotSigned):
            signed_content(bomb)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_damaged_signed_data_raises_a_single_kind_of_error(noise: bytes, at: int) -> None:
    whole = in_pieces(PAY.encode())
    for data in (noise, whole[:at] + noise + whole[at:]):
        with contextlib.suppress(NotSigned):
            signed_content(data)


def test_mails_of_the_standard_library_tests_yield_the_same_text() -> None:
    tests = pytest.importorskip("test.test_email", reason="this Python has no tests")
    unread, missing = [], []
    for path in sorted((Path(tests.__file__).parent / "data").glob("msg_*.txt")):
        data = path.read_bytes()
        try:
            text = " ".join(converted(data).text.split())
        except NotConvertible:
            unread.append(path.name)
            continue
        body = message_from_bytes(data, policy=policy.default).get_body(("plain",))
        with contextlib.suppress(LookupError):  # an unknown charset
            words = [] if body is None else body.get_content().split()[:8]
            missing += [path.name] * (" ".join(words) not in text)
    assert (unread, missing) == (["msg_18.txt"], [])  # it has nothing but unknown headers
