"""Usual spellings of a secret in an answer: each is noticed, and ordinary text is not taken for one."""

import gzip
import html
import json
import zlib
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from hub.connectors.secret_spellings import SecretSpellings
from tests.support.families import each

pytestmark = pytest.mark.anyio
SECRET = "tok/4711+secret?~=x"
IN_JSON = "".join(f"\\u{ord(sign):04x}" for sign in SECRET)
IN_PERCENT = "".join(f"%{ord(sign):02x}" for sign in SECRET)


def coded(encode: Callable[[bytes], bytes], before: str) -> bytes:
    return encode(f"{before}{SECRET}, and more of it".encode())


SPELLINGS: dict[str, bytes] = {
    "JSON escapes": IN_JSON.encode(),
    "JSON escapes in upper case": IN_JSON.replace("u00", "u00").upper().replace("U00", "u00").encode(),
    "one JSON escape": SECRET.replace("t", "\\u0074", 1).encode(),
    "a JSON escape of a slash": SECRET.replace("/", "\\/").encode(),
    "JSON in JSON": json.dumps(json.dumps(IN_JSON)).encode(),
    "hex escapes": "".join(f"\\x{ord(sign):02x}" for sign in SECRET).encode(),
    "braced escapes": "".join(f"\\u{{{ord(sign):x}}}" for sign in SECRET).encode(),
    "percent": IN_PERCENT.encode(),
    "percent in upper case": IN_PERCENT.upper().encode(),
    "percent of reserved signs": quote(SECRET, safe="").encode(),
    "percent of a form": quote_plus(SECRET).encode(),
    "percent twice": quote(IN_PERCENT).encode(),
    "one percent": SECRET.replace("o", "%6f", 1).encode(),
    "quoted-printable": "".join(f"={ord(sign):02X}" for sign in SECRET).encode(),
    "HTML by decimal numbers": "".join(f"&#{ord(sign)};" for sign in SECRET).encode(),
    "HTML by hexadecimal numbers": "".join(f"&#x{ord(sign):04X};" for sign in SECRET).encode(),
    "hex": SECRET.encode().hex().encode(),
    "hex in upper case": SECRET.encode().hex().upper().encode(),
    "hex with colons": SECRET.encode().hex(":").encode(),
    "hex with blanks": SECRET.encode().hex(" ").encode(),
    "UTF-16": SECRET.encode("utf-16"),
    "UTF-32": SECRET.encode("utf-32-be"),
    "gzip": gzip.compress(SECRET.encode()),
    "zlib": zlib.compress(SECRET.encode()),
    "base64 in JSON": json.dumps(b64encode(SECRET.encode()).decode()).replace("/", "\\/").encode(),
    "base64 in an address": quote(b64encode(SECRET.encode()), safe="").encode(),
    "quoted-printable in lines": f"{SECRET[:7]}=\r\n{SECRET[7:]}".encode(),
    "base64 in lines in JSON": json.dumps(
        {"raw": f"\r\n{b64encode(SECRET.encode()).decode()[:9]}\r\n{b64encode(SECRET.encode()).decode()[9:]}"}
    ).encode(),
    "base64 in lines": encodebytes(b"x" * 50 + SECRET.encode()),
} | {
    f"{name} behind {len(before)} characters": coded(encode, before)
    for name, encode in (("base64", b64encode), ("base64 of addresses", urlsafe_b64encode))
    for before in ("", "a", "ab", "user:")
}


@each("spelling", SPELLINGS)
@each("before", [0, 16_380, 70_000])
async def test_each_usual_spelling_of_a_secret_is_noticed_at_every_position(
    spelling: str, before: int
) -> None:
    spelled = SPELLINGS[spelling]
    data = spelled if spelling in ("gzip", "zlib") else b"," * before + spelled + b"," * 20_000
    spellings = SecretSpellings([f"Bearer {SECRET}", SECRET])
    assert await spellings.are_in(spellings.hide(data))


async def test_secret_in_upper_and_lower_case_is_hidden_and_the_surroundings_stay_readable() -> None:
    spellings = SecretSpellings([f"Bearer {SECRET}", SECRET])
    data = f"a {SECRET} b {SECRET.upper()} c".encode()
    assert spellings.hide(data) == b"a [secret] b [secret] c"
    many = f"{SECRET.upper()} ".encode() * 10_001
    assert await spellings.are_in(spellings.hide(many)), "not hidden at all places, so not shown at all"


async def test_ordinary_answers_are_not_taken_for_a_secret() -> None:
    spellings = SecretSpellings([f"Bearer {SECRET}", SECRET])
    texts = [
        html.escape("<p>a & b</p>"),
        json.dumps({"a": "\u00e9\n" * 100}),
        quote("über uns"),
        "x" * 200_000,
    ]
    for text in texts:
        assert not await spellings.are_in(text.encode())
