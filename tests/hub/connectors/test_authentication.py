"""A mail's sender counts as verified only by the topmost result of the mailbox's own server."""

from hub.connectors.mime import MICROSOFT, is_verified, read_head
from tests.support.families import each

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
def test_no_other_result_verifies_a_sender(results: str) -> None:
    assert not is_verified(f"{OWN}; {results}", OWN, ANNA)


@each("forged", ["mx.other.example", f"{OWN}.evil.example", "", "dkim=pass"])
def test_results_of_another_server_count_nothing(forged: str) -> None:
    assert not is_verified(f"{forged}; dmarc=pass header.from=example.org", OWN, ANNA)
    assert not is_verified("mx.evil.example; dmarc=pass header.from=example.org", MICROSOFT, ANNA)


def test_without_the_name_of_the_own_server_nobody_is_verified() -> None:
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
def test_of_a_mail_only_the_topmost_header_counts(mail: str, expected: bool) -> None:
    head = "Authentication-Results: {};\r\n\tdmarc={} header.from=example.org\r\n"
    own, other, failed = head.format(OWN, "pass"), head.format("mx.evil", "pass"), head.format(OWN, "fail")
    assert read_head(mail.format(own=own, other=other, failed=failed).encode()).is_verified(OWN) is expected
