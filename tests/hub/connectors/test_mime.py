"""What the head of a mail says, however it is spelled."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from hub.connectors.connector import Address
from hub.connectors.mime import (
    MAX_KEY_CHARS,
    MICROSOFT,
    addresses,
    is_verified,
    message_key,
    mid_link,
    read_head,
)
from hub.text.mime import header_text
from tests.support.families import each

HEAD = (
    b"From: =?utf-8?b?0JrQu9C40LXQvdGC?= <C1@Example.org>\r\n"
    b'To: "Doe, Jane" <jane@example.org>,\r\n  b@c.d, undisclosed:;\r\n'
    b"Cc: e@f.g\r\n"
    b"Subject: plan\r\n of the week\r\n"
    b"Message-ID: <AbC@x>\r\nReferences: <root@x> <b@x>\r\n"
    b"Date: Tue, 3 Jun 2025 10:00:00 +0200\r\n\r\nSubject: of the body\r\n"
)


def test_a_head_has_sender_recipients_date_and_subject() -> None:
    fields = read_head(HEAD).fields()
    assert (fields["sender"], fields["recipients"]) == (
        Address("c1@example.org", "Клиент"),
        (
            Address("jane@example.org", "Doe, Jane"),
            Address("b@c.d"),
            Address("e@f.g"),
        ),
    )
    assert (fields["subject"], fields["sent_at"]) == (
        "plan of the week",
        datetime(2025, 6, 3, 8, 0, tzinfo=UTC),
    )
    assert not fields["is_bulk"]


def test_mail_head_parsed_from_bytes_equals_head_from_fields() -> None:
    pairs = [("From", "Ana <a@x.y>"), ("SUBJECT", "hi"), ("subject", "second"), ("Message-Id", " <1@x> ")]
    by_bytes = read_head("".join(f"{name}: {value}\r\n" for name, value in pairs).encode())
    assert (read_head(pairs), read_head(pairs).fields(), read_head(dict(pairs[:2])).text("subject")) == (
        read_head(iter(pairs)),
        by_bytes.fields(),
        "hi",
    )


@each(
    ("header", "is_bulk"),
    [
        ("List-Id: <l.x>", True),
        ("Auto-Submitted: auto-replied; x=1", True),
        ("Auto-Submitted: no", False),
        ("Precedence: Bulk", True),
        ("Precedence: first-class", False),
    ],
)
def test_automatic_mail_is_recognized(header: str, is_bulk: bool) -> None:
    assert read_head(f"{header}\r\n".encode()).fields()["is_bulk"] is is_bulk


def test_message_key_is_the_normalized_message_id() -> None:
    assert message_key("<A@b>", "imap:1") == message_key(" \r\n <A@b> (x)", "") == message_key("A@b", "")
    assert message_key("<A@b>", "imap:1") == "mid:A@b"
    for missing in (None, "", "<>", "  "):
        assert message_key(missing, "imap:1") == "imap:1"


def test_message_key_is_bounded_and_unique() -> None:
    one, other = (message_key(f"<{'a' * 3_000}{n}@x>", "f") for n in (1, 2))
    assert len(one) <= MAX_KEY_CHARS
    assert one != other


def test_message_id_link_is_a_valid_mid_url() -> None:
    assert mid_link("<a%b/c@x>") == "mid:a%25b%2Fc@x"
    assert mid_link(None) is None


def test_unencoded_non_ascii_subject_is_decoded() -> None:
    assert read_head("Subject: café".encode("latin-1")).text("subject") == "café"
    assert read_head("Subject: café".encode()).text("subject") == "café"
    assert read_head("Subject: café =?utf-8?q?b=C3=A9?=".encode("latin-1")).text("subject") == "café bé"


_PUMPS = [
    *'"(<>,;:@\\\v\xa0\u3000',
    *("\\(", '"\\', "a <", "a@b <", "a@b ", "x:", "g: a@b;", "<a@b>", "(\\", "\r\n ", "[(", "\ud800"),
    *("=?", "=?utf-8?q?a", "=?utf-8?b?", "=?x?q?=41?= ", "=?punycode?q?a9?=", "=?utf-8?q?", "?=", "é"),
]
_FIELDS = (
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "list-id",
    "authentication-results",
)


def test_hostile_headers_are_read_without_an_error() -> None:
    def read(text: str) -> None:
        head = read_head(dict.fromkeys(_FIELDS, text))
        head.fields(named=["from"])
        head.is_verified("mx")

    for pump in _PUMPS:
        for before, behind in (("", ""), ("a <", "b>"), ('"', ""), ("", "<a@b.c>")):
            read(f"{before}{pump * (32_000 // len(pump))}{behind}")


@each(
    ("raw", "expected"),
    [
        ("a@b.c (Ana (of X) B)", [("a@b.c", "Ana (of X) B")]),
        ('Team: a@b.c, "x \\" y" <c@d.e>; z@q.r', [("a@b.c", ""), ("c@d.e", 'x " y'), ("z@q.r", "")]),
        ("<@a,@b:c@d>", [("c@d", "")]),
        ("=?utf-8?q?Doe,_Jane?= <j@x.y>", [("j@x.y", "Doe, Jane")]),
        ("<boss@b.c> <a@evil.z>", [("boss@b.c", ""), ("a@evil.z", "")]),
        ("boss@b.c a@evil.z", [("boss@b.c", ""), ("a@evil.z", "")]),
        ("boss@b.c <a@evil.z>", [("a@evil.z", "boss@b.c")]),
        ("Ana <ana@x, Bob <bob@y.z>", [("ana@x", "Ana"), ("bob@y.z", "Bob")]),
        ('"ana b"@x.y', [('"ana b"@x.y', "")]),
        ("root", [("root", "")]),
        ("Ana Example", [("", "Ana Example")]),
        ("undisclosed recipients:;", []),
        ('"unfinished <a@b.c>', [("", "unfinished <a@b.c>")]),
    ],
)
def test_mail_addresses_of_every_form_are_parsed_with_names(
    raw: str, expected: list[tuple[str, str]]
) -> None:
    assert addresses(raw) == tuple(Address(email, name) for email, name in expected)


@given(st.binary(max_size=300))
def test_mail_head_of_any_bytes_is_parsed_without_an_error(data: bytes) -> None:
    read_head(b"From: " + data + b"\r\nDate: " + data + b"\r\nSubject: " + data).fields()


@given(st.text(max_size=100))
def test_mail_header_text_is_a_single_line_of_printable_characters(raw: str) -> None:
    assert header_text(raw).isprintable() or "\n" not in header_text(raw)
    assert all("\n" not in one.name + one.email for one in addresses(raw))


OWN = "mx.example.net"
ANNA = "anna@example.org"


@each(
    "results",
    [
        "dmarc=pass header.from=example.org",
        "DMARC=Pass (p=REJECT sp=REJECT dis=NONE) header.from=Example.org",
        "dkim=pass header.d=example.org; spf=fail smtp.mailfrom=lists.example.com",
        "dkim=pass header.i=@example.org header.s=s1",
        "spf=pass (domain of anna@example.org) smtp.mailfrom=anna@example.org",
        "dkim=fail header.d=other.example; dmarc=pass header.from=example.org",
        'dmarc=pass reason="all; is (well)" header.from=example.org',
    ],
)
def test_a_sender_whose_domain_the_own_server_verified_is_verified(results: str) -> None:
    assert is_verified(f"{OWN}; {results}", OWN, ANNA)
    assert is_verified(f"{OWN} 1; {results}", OWN.upper(), ANNA)
    assert is_verified(results, MICROSOFT, ANNA)


@each(
    "results",
    [
        "none",
        "dmarc=fail header.from=example.org; dkim=pass header.d=example.org",
        "dmarc=pass header.from=example.com",
        "dkim=pass header.d=example.com",
        "dkim=pass header.d=org",
        "dkim=pass header.d=mail.example.org",  # whoever has a domain below signs for it alone
        "dkim=neutral header.d=example.org",
        "spf=softfail smtp.mailfrom=anna@example.org",
        "spf=pass smtp.helo=example.org",
        "arc=pass header.from=example.org",
        "spf=fail (helo x; dmarc=pass header.from=example.org) smtp.mailfrom=example.com",
        "spf=fail (x \\) ; dmarc=pass header.from=example.org) smtp.mailfrom=example.com",
        'spf=fail (x "); dmarc=pass header.from=example.org (")',
        'dkim=pass header.d=example.org (x "); dmarc=fail header.from=example.org (")',  # a fault is hidden
        'spf=fail reason="; dmarc=pass header.from=example.org"',
        'spf=fail "; dmarc=pass header.from=example.org',
        "dmarc=pass header.from=example.com header.from=example.org",
        "(" * 50 + "dmarc=pass header.from=example.org",
        "dmarc=pass header.from=example.org; " + "x" * 10_000,
    ],
)
def test_sender_is_not_verified_by_other_authentication_results(results: str) -> None:
    assert not is_verified(f"{OWN}; {results}", OWN, ANNA)


@each("forged", ["mx.other.example", f"{OWN}.evil.example", "", "dkim=pass"])
def test_authentication_results_of_another_server_are_ignored(forged: str) -> None:
    assert not is_verified(f"{forged}; dmarc=pass header.from=example.org", OWN, ANNA)
    assert not is_verified("mx.evil.example; dmarc=pass header.from=example.org", MICROSOFT, ANNA)


def test_no_sender_is_verified_without_the_name_of_the_own_mail_server() -> None:
    assert not is_verified(f"{OWN}; dmarc=pass header.from=example.org", None, ANNA)


@each(
    ("mail", "expected"),
    [
        ("{own}From: Anna <anna@example.org>\r\n\r\nx", True),
        ("{other}{own}From: anna@example.org\r\n\r\nx", False),  # another server is the last that wrote
        ("{failed}{own}From: anna@example.org\r\n\r\nx", False),  # the mail brought the second one along
        ("{own}From: anna@example.org, boss@example.org\r\n\r\nx", False),
        ("{own}From: boss@example.com\r\nFrom: anna@example.org\r\n\r\nx", False),
        ("From: anna@example.org\r\n\r\n{own}", False),  # in the body
    ],
)
def test_only_the_topmost_authentication_results_header_counts(mail: str, expected: bool) -> None:
    head = "Authentication-Results: {};\r\n\tdmarc={} header.from=example.org\r\n"
    own, other, failed = head.format(OWN, "pass"), head.format("mx.evil", "pass"), head.format(OWN, "fail")
    assert read_head(mail.format(own=own, other=other, failed=failed).encode()).is_verified(OWN) is expected
