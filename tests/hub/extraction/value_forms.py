"""Values as people and programs type them, and honest numbers, for the tests of redaction.

``generated`` makes forms of kinds, typographies and contexts; FORMS and HONEST were written by hand, before
the patterns.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final

E, P, B, C, A = "email", "phone", "iban", "card", "ip"
ARABIC_FIVES: Final = 4 * "\u0665"
ARABIC_FOURS: Final = 4 * "\u0664"
# Values by kind: four of their letters and digits in a row may not be read.
VALUES: Final = {
    E: ("anna.beck@example.org", "j_doe+x@mail.example.co.uk"),
    P: ("+49 170 1234567", "+33 6 12 34 56 78", "+44 20 7946 0018", "0171 1234567"),
    B: (
        "DE89 3704 0044 0532 0130 00",
        "FR14 2004 1010 0505 0001 3M02 606",
        "GB82 WEST 1234 5698 7654 32",
        "NO93 8601 1117 947",
    ),
    C: ("4111 1111 1111 1111", "3782 822463 10005", "6011 0009 9013 9424", "2223 0031 2200 3222"),
    A: ("192.168.17.203", "85.214.132.117", "2001:db8::8a2e:370:7334"),
}
BLANKS: Final = ("\u00a0", "\u202f", "\u2009", "\t", "\u2007", "  ", "\u3000")
DASHES: Final = ("-", "\u2010", "\u2011", "\u2013", "\u2014", "\u2212")
JOINERS: Final = ("\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200c")
LINES: Final = ("\n", "\r\n", "\n> ", " \n")
CONTEXTS: Final = (
    "Please note {}, thanks.",
    "({})",
    "x={};y",
    "contact: {}",
    "- {}\n- next",
    "| a | {} | b |",
    "Zahlung an {} bis Freitag",
    "\u8bf7\u8054\u7cfb {} \u3002",
)


_turns = count()


def _pick(options: Sequence[str]) -> str:
    """The next of the options: each in its turn."""
    return options[next(_turns) % len(options)]


def wide(text: str) -> str:
    """The text in full width, as in Chinese and Japanese typography."""
    return "".join(chr(ord(char) + 0xFEE0) if char > " " else "\u3000" for char in text)


def generated() -> Iterator[tuple[str, str, str]]:
    """Kind, value and a text with one of its forms: seven of each value and typography."""
    for kind, values in VALUES.items():
        for value in values:
            for nth in range(42):
                form = tuple(_typed(kind, value))[nth % 6]
                yield kind, value, _pick(CONTEXTS).format(form)


def _typed(kind: str, value: str) -> Iterator[str]:
    """The value in six typographies: blanks, signs, full width, emphasis, joiners, lines and spellings."""
    emphasized = (f"**{value}**", f"`{value}`", f"<b>{value}</b>")
    if kind == E:
        user, _, host = value.partition("@")
        yield _pick((f"{user}\u00a0@\u00a0{host}", f"{user} @ {host}"))
        yield _pick((f"{user} (at) {host}", f"{user}[at]{host}", f"{user}(at){host.replace('.', '[dot]')}"))
        yield wide(value)
        yield _pick((f"**{user}**@{host}", *emphasized))
        yield _pick((f"{user}{_pick(JOINERS)}@{host}", value.replace(".", f".{_pick(JOINERS)}")))
        yield f"{user}{_pick(('%40', '&#64;', *('@' + line for line in LINES)))}{host}"
    elif kind == A:
        sign = ":" if ":" in value else "."
        yield f"[{value}]:443" if sign == ":" else f"{value}:8080"
        yield _pick((f"{value}/24", f"{value}-x"))
        yield wide(value)
        yield _pick(emphasized)
        yield value.replace(sign, sign + _pick(JOINERS))
        yield value.replace(".", _pick(("[.]", "\\.", "\u2024", "\u00b7")))
    else:
        parts = value.split(" ")
        cut = 2 if kind == P else len(parts) - 1
        is_wrapped = len(parts) > 2
        yield _pick(BLANKS).join(parts)
        yield _pick((*DASHES, ".", "/")).join(parts)
        yield wide(value)
        yield _pick(
            (f"**{parts[0]}** {' '.join(parts[1:])}", " ".join(f"*{one}*" for one in parts), *emphasized)
        )
        yield _pick(JOINERS).join(parts)
        yield (
            _pick(LINES).join((" ".join(parts[:cut]), " ".join(parts[cut:]))) if is_wrapped else f"{value}-x"
        )


# The values of FORMS, without blanks and signs.
WRITTEN: Final = {
    E: ("petralang", "p\u0435tralang", "firmanord"),
    P: (
        "491719876543",
        "01719876543",
        "442079460958",
        "14155550132",
        "33612345678",
        "0612345678",
        "34612345678",
        "74951234567",
        "13812345678",
    ),
    B: (
        "de02120300000000202051",
        "fr7630006000011234567890189",
        "nl91abna0417164300",
        "gb29nwbk60161331926819",
    ),
    C: ("5555555555554444", "378282246310005"),
    A: ("10203041", "20010db885a308a2e3707334", "8a2e3707334", "1ff:fe234567890a"),
}
FORMS: Final = (
    # mail
    (E, "Reach me: petra.lang@firma-nord.de"),
    (E, "Reach me: petra.lang\u200b@firma-nord.de, thanks"),
    (E, "mail petra.lang@\u2060firma-nord.de"),
    (E, "mail petra\u00ad.lang@firma-\u00adnord.de now"),
    (E, "mail petra.lang @ firma-nord.de (work)"),
    (E, "mail petra.lang\u00a0@\u00a0firma-nord.de (work)"),
    (E, "petra.lang (at) firma-nord.de"),
    (E, "petra.lang(at)firma-nord.de"),
    (E, "petra.lang [at] firma-nord.de"),
    (E, "petra.lang [at] firma-nord [dot] de"),
    (E, "petra.lang (at) firma-nord (dot) de"),
    (E, "petra.lang {at} firma-nord.de"),
    (E, "petra.lang <at> firma-nord.de"),
    (E, "petra.lang AT firma-nord DOT de"),
    (E, "petra.lang(ät)firma-nord.de"),
    (E, "petra.lang (a) firma-nord.de"),
    (E, "https://x.example/u?mail=petra.lang%40firma-nord.de&x=1"),
    (E, "petra.lang&#64;firma-nord.de"),
    (E, "petra.lang&commat;firma-nord.de"),
    (E, "petra.lang\uff20firma-nord.de"),
    (E, "petra.lang\ufe6bfirma-nord.de"),
    (E, "petra\uff0elang@firma-nord\uff0ede"),
    (E, "**petra.lang**@firma-nord.de"),
    (E, "_petra.lang@firma-nord.de_"),
    (E, "`petra.lang@firma-nord.de`"),
    (E, "[petra.lang@firma-nord.de](mailto:petra.lang@firma-nord.de)"),
    (E, "<petra.lang@firma-nord.de>"),
    (E, "mailto:petra.lang@firma-nord.de?subject=x"),
    (E, "petra.lang@firma-\nnord.de"),
    (E, "the address is petra.lang@\nfirma-nord.de, as always"),
    (E, "> the address is petra.lang@\n> firma-nord.de, as always"),
    (E, "PETRA.LANG@FIRMA-NORD.DE"),
    (E, "petra.lang+rechnung@firma-nord.de;"),
    (E, "petra\\.lang@firma\\-nord\\.de"),
    (E, "petra.lang\u3000@firma-nord.de"),
    (E, "petra.lang@firma\u2011nord.de"),
    (E, "*petra.lang@firma-nord.de*,"),
    (E, '"Office" <petra.lang@firma-nord.de>, Bob'),
    (E, "petra.lang@firma\u2010nord.de!"),
    (E, "p\u0435tra.lang@firma-nord.de"),
    # phone
    (P, "ring +49 171 9876543 please"),
    (P, "ring +49\u00a0171\u00a09876543 please"),
    (P, "ring +49\u202f171\u202f98\u202f76\u202f543 please"),
    (P, "ring +49\u2009171\u20099876543 please"),
    (P, "ring +49\t171\t9876543 please"),
    (P, "ring +49 (171) 98 76 543 please"),
    (P, "ring +49\u2013171\u20139876543 please"),
    (P, "ring +49\u2011171\u20119876543 please"),
    (P, "ring +49.171.9876543 please"),
    (P, "ring +49/171/9876543 please"),
    (P, "ring \uff0b\uff14\uff19 \uff11\uff17\uff11 \uff19\uff18\uff17\uff16\uff15\uff14\uff13"),
    (P, "ring **+49 171** 9876543"),
    (P, "ring **+49 171 9876543**"),
    (P, "tel:+491719876543"),
    (P, "tel:+49-171-9876543;ext=3"),
    (P, "ring +49 171 987\n6543 please"),
    (P, "> ring +49 171\n> 9876543 please"),
    (P, "ring 0171\u00a09876543 please"),
    (P, "ring 0171\u20139876543 please"),
    (P, "ring 0171.9876543 please"),
    (P, "ring 0171 / 98 76 54 3 please"),
    (P, "ring 0171\u200b9876543 please"),
    (P, "ring (0171) 9876543."),
    (P, "ring 0049 171 9876543."),
    (P, "ring +44 20 7946 0958"),
    (P, "ring +44\u00a020\u00a07946\u00a00958"),
    (P, "ring +1 (415) 555\u20110132"),
    (P, "ring (415)\u00a0555-0132"),
    (P, "ring 415\u2013555\u20130132"),
    (P, "ring +33 6.12.34.56.78"),
    (P, "ring 06\u00a012\u00a034\u00a056\u00a078"),
    (P, "ring 06.12.34.56.78 please"),
    (P, "ring 06-12-34-56-78 please"),
    (P, "ring +34\u202f612\u202f345\u202f678"),
    (P, "ring +7\u00a0(495)\u00a0123\u201145\u201167"),
    (P, "ring 138\u00a01234\u00a05678"),
    (P, "ring +49\u00ad171\u00ad9876543"),
    (P, "ring +49 171 9876543-12"),
    (P, "ring \u202a+49 171 9876543\u202c"),
    (P, "ring +49\u00a0(0)\u00a0171\u00a0/\u00a09876543"),
    # iban
    (B, "to DE02 1203 0000 0000 2020 51, ref 7"),
    (B, "to DE02120300000000202051"),
    (B, "to DE02\u00a01203\u00a00000\u00a00000\u00a02020\u00a051, ref 7"),
    (B, "to DE02\u202f1203\u202f0000\u202f0000\u202f2020\u202f51, ref 7"),
    (B, "to DE02\u20091203\u20090000\u20090000\u20092020\u200951, ref 7"),
    (B, "to DE02\t1203\t0000\t0000\t2020\t51, ref 7"),
    (B, "to DE02  1203  0000  0000  2020  51, ref 7"),
    (B, "to DE02-1203-0000-0000-2020-51, ref 7"),
    (B, "to DE02.1203.0000.0000.2020.51, ref 7"),
    (B, "to DE02/1203/0000/0000/2020/51, ref 7"),
    (B, "to DE02_1203_0000_0000_2020_51, ref 7"),
    (B, "to DE02\u20131203\u20130000\u20130000\u20132020\u201351, ref 7"),
    (B, "to DE02\u20111203\u20110000\u20110000\u20112020\u201151, ref 7"),
    (
        B,
        f"to {wide('DE02')} {wide('1203')} {wide('0000')} {wide('0000')} {wide('2020')} {wide('51')}",
    ),
    (B, "to **DE02** 1203 0000 0000 2020 51"),
    (B, "to **DE02 1203 0000 0000 2020 51**"),
    (B, "to `DE02 1203 0000 0000 2020 51`"),
    (B, "to DE02\u200b1203\u200b0000\u200b0000\u200b2020\u200b51"),
    (B, "to DE02 1203 0000\n0000 2020 51 by Friday"),
    (B, "> to DE02 1203 0000\n> 0000 2020 51 by Friday"),
    (B, "to DE02 1203 0000\u00a0\n0000 2020 51 by Friday"),
    (B, "IBAN:DE02120300000000202051;BIC:BYLADEM1001"),
    (B, "IBAN=DE02120300000000202051"),
    (B, "IBANDE02120300000000202051"),
    (B, "to DE 02 1203 0000 0000 2020 51"),
    (B, "to DE02 120 300 000 000 202 051"),
    (B, "to DE02 12030000 0000202051"),
    (B, "to D E 0 2 1 2 0 3 0 0 0 0 0 0 0 0 2 0 2 0 5 1"),
    (B, "to de02\u00a01203\u00a00000\u00a00000\u00a02020\u00a051"),
    (B, "to DE02\u00ad1203\u00ad0000\u00ad0000\u00ad2020\u00ad51"),
    (B, "to FR76 3000 6000 0112 3456 7890 189 today"),
    (B, "to FR76\u00a03000\u00a06000\u00a00112\u00a03456\u00a07890\u00a0189 today"),
    (B, "to NL91\u2009ABNA\u20090417\u20091643\u200900"),
    (B, "to GB29\u00a0NWBK\u00a06016\u00a01331\u00a09268\u00a019"),
    (B, "to DE02 1203 0000 0000 2020 51-x"),
    (B, "to DE02120300000000202051_old"),
    (B, "to (DE02\u00a012030000 0000 2020 51)"),
    (B, "to DE02\u22121203\u22120000\u22120000\u22122020\u221251"),
    (B, "to DE02\u00b71203\u00b70000\u00b70000\u00b72020\u00b751"),
    (B, "| DE02 | 1203 0000 0000 2020 51 |"),
    # card
    (C, "with 5555 5555 5555 4444 please"),
    (C, "with 5555555555554444 please"),
    (C, "with 5555\u00a05555\u00a05555\u00a04444 please"),
    (C, "with 5555\u202f5555\u202f5555\u202f4444 please"),
    (C, "with 5555\u20095555\u20095555\u20094444 please"),
    (C, "with 5555\t5555\t5555\t4444 please"),
    (C, "with 5555  5555  5555  4444 please"),
    (C, "with 5555.5555.5555.4444 please"),
    (C, "with 5555/5555/5555/4444 please"),
    (C, "with 5555-5555-5555-4444 please"),
    (C, "with 5555\u20135555\u20135555\u20134444 please"),
    (C, "with 5555\u20145555\u20145555\u20144444 please"),
    (C, "with 5555\u20115555\u20115555\u20114444 please"),
    (C, "with 5555\u22125555\u22125555\u22124444 please"),
    (C, "with 5555 - 5555 - 5555 - 4444 please"),
    (C, "with 5555_5555_5555_4444 please"),
    (
        C,
        f"with {wide('5555 5555 5555 4444')}",
    ),
    (C, "with **5555** 5555 5555 4444"),
    (C, "with 5555 5555 5555 **4444**"),
    (C, "with **5555 5555 5555 4444**"),
    (C, "with *5555* *5555* *5555* *4444*"),
    (C, "with `5555 5555 5555 4444`"),
    (C, "with 5555\u200b5555\u200b5555\u200b4444"),
    (C, "with 5555\u200d5555\u200d5555\u200d4444"),
    (C, "with 5555\ufeff5555\ufeff5555\ufeff4444"),
    (C, "with 5555 5555\n5555 4444 please"),
    (C, "> with 5555 5555\n> 5555 4444 please"),
    (C, "with 5555 5555 5555 4444-x"),
    (C, "with 5555-5555-5555-4444-x"),
    (C, "with 5555555555554444x"),
    (C, "card:5555555555554444;cvv:123"),
    (C, "card=5555555555554444"),
    (C, "with 3782 822463 10005"),
    (C, "with 3782\u00a0822463\u00a010005"),
    (C, "with 3782\u2013822463\u201310005"),
    (C, "with 5 5 5 5 5 5 5 5 5 5 5 5 4 4 4 4"),
    (C, "with 5555\u20605555\u20605555\u20604444"),
    (C, "with (5555 5555 5555 4444), valid 12/27"),
    (
        C,
        f"with {' '.join((ARABIC_FIVES, ARABIC_FIVES, ARABIC_FIVES, ARABIC_FOURS))}",
    ),
    (C, "with ~~5555 5555 5555 4444~~"),
    # ip
    (A, "host 10.20.30.41 is up"),
    (A, "host 10.20.30.41:8443 is up"),
    (A, "host 10.20.30.41/24 is up"),
    (A, "http://10.20.30.41:8080/x"),
    (A, "http://10.20.30.41/x"),
    (A, "host 10\uff0e20\uff0e30\uff0e41 is up"),
    (A, "host \uff11\uff10.\uff12\uff10.\uff13\uff10.\uff14\uff11 is up"),
    (A, "host 10.20.30.\u200b41 is up"),
    (A, "host 10\u200b.20\u200b.30\u200b.41 is up"),
    (A, "host **10.20.30.41** is up"),
    (A, "host `10.20.30.41`"),
    (A, "host 10.20.30.41."),
    (A, "host 10[.]20[.]30[.]41 is up"),
    (A, "host 10.20.30[.]41 is up"),
    (A, "host 10(.)20(.)30(.)41 is up"),
    (A, "host 10\\.20\\.30\\.41 is up"),
    (A, "host 10.20.30.41, and"),
    (A, "(10.20.30.41)"),
    (A, "ip=10.20.30.41;"),
    (A, "user@10.20.30.41"),
    (A, "host 10.20.30.41-x"),
    (A, "host 10\u00b720\u00b730\u00b741"),
    (A, "host 10\u202420\u202430\u202441"),
    (A, "host 10 . 20 . 30 . 41"),
    (A, "host 10.20.\n30.41 is up"),
    (A, "host 2001:db8:85a3::8a2e:370:7334 is up"),
    (A, "host [2001:db8:85a3::8a2e:370:7334]:443 is up"),
    (A, "http://[2001:db8:85a3::8a2e:370:7334]:443/x"),
    (A, "host 2001:db8:85a3::8a2e:370:7334/64"),
    (A, "host fe80::1ff:fe23:4567:890a%eth0"),
    (A, "host 2001:\u200bdb8:85a3::8a2e:370:7334"),
    (A, "host **2001:db8:85a3::8a2e:370:7334**"),
    (A, "host ::ffff:10.20.30.41 is up"),
    (A, "host 2001\uff1adb8\uff1a85a3\uff1a\uff1a8a2e\uff1a370\uff1a7334"),
    (A, "host 2001:DB8:85A3:0:0:8A2E:370:7334"),
    (A, "from=10.20.30.41->10.20.30.42"),
    (A, "10.20.30.41\u201310.20.30.99"),
    (A, "10.20.30.41-10.20.30.99"),
    (A, "host ~10.20.30.41~"),
    (A, "host\u00a010.20.30.41\u00a0is"),
)
HONEST: Final = (
    "invoice 2025-000417",
    "invoice RE-2025/11/0042",
    "invoice no. 4711\u00a00815",
    "invoice INV-20251103-77",
    "invoice 100045 and 100046",
    "Rechnung 2025.11.0815",
    "invoice 90\u00a0210\u00a0345 of May",
    "version 3.12.4",
    "version 10.0.19045.3570",
    "version 2.31.0-rc.1",
    "v1.22.333",
    "Python 3.11\u20133.14",
    "build 20251103.4",
    "release 24.04.1 LTS",
    "kernel 6.8.0-45-generic",
    "order 302-7745123-9981234",
    "order #1000458",
    "order 4500\u00a0123\u00a0456",
    "order AB-99812-C",
    "order no. 7781-2211",
    "order 8810 2211 3345",
    "PO 4500017731",
    "2025-11-25",
    "25.11.2025",
    "11/25/2025",
    "25.\u00a011.\u00a02025",
    "25.11.2025\u201302.12.2025",
    "2025\u201311\u201325",
    "from 2025-11-25 10:30 to 2025-11-26 18:00",
    "1.1.2025 - 31.12.2025",
    "2025-11-25T10:30:00Z",
    "Mon 03/11/25 09:15",
    "20251125 103000",
    "10:30:45",
    "12:30 \u2013 14:45",
    "1,234,567.89 EUR",
    "1.234.567,89 \u20ac",
    "1\u202f234\u202f567 EUR",
    "12\u00a0500\u00a0000 people",
    "CHF 12'345.00",
    "3 x 250 g",
    "12 500 pieces",
    "1 000 000 units",
    "0.125 kg",
    "37 / 40 / 42",
    "100\u2013200 items",
    "5 000 \u2013 10 000 km",
    "tracking 1Z999AA10123456784",
    "tracking 00340434161094042557",
    "tracking JJD000390007882",
    "tracking 9400 1000 0000 0000 0000 00",
    "ISBN 978-3-16-148410-0",
    "ISBN 3-16-148410-X",
    "EAN 4006381333931",
    "ticket 88412",
    "room 4.12.3",
    "section 2.3.4.5.6",
    "seats 12-14, rows 20-22",
    "lat 52.5200, lon 13.4050",
    "score 3:2, 4:1, 2:2",
)
