"""Texts with keys and passwords are recognized, and ordinary ones are not."""

import base64
import string
import textwrap
from collections.abc import Callable

import pytest

from hub.device.secret_scan import Secret, find_secrets
from tests.support.clock import SeededChance
from tests.support.families import each

UPPER, LOWER, DIGITS = string.ascii_uppercase, string.ascii_lowercase, string.digits
ALL = UPPER + LOWER + DIGITS
WORDS = "anchor basin copper dragon ember fossil garden hollow island jungle kettle ladder"


class Maker:
    """Random secrets: a real one in the repository would be reported by others' scanners.

    Attributes:
        made: all of them.
    """

    def __init__(self, seed: int) -> None:
        self._chance = SeededChance(seed)
        self.made: list[str] = []

    def __call__(self, length: int, letters: str = ALL) -> str:
        made = "".join(letters[byte % len(letters)] for byte in self._chance.token_bytes(length))
        self.made.append(made)
        return made

    def coded(self, length: int) -> str:
        self.made.append(base64.b64encode(self._chance.token_bytes(length)).decode())
        return self.made[-1]


PLANTED: dict[str, Callable[[Maker], str]] = {
    "aws": lambda make: f"aws_access_key_id = AKIA{make(16, UPPER + '234567')}",
    "aws secret": lambda make: f'"aws_secret_access_key": "{make(40)}",',
    "github": lambda make: f"git clone https://ghp_{make(36)}@github.com/anna/notes",
    "gitlab": lambda make: f"the token for the runner is glpat-{make(20)}",
    "slack": lambda make: f"SLACK=xoxb-{make(12, DIGITS)}-{make(12, DIGITS)}-{make(24)}",
    "stripe": lambda make: f"stripe: sk_live_{make(24)}",
    "google": lambda make: f"key for the map AIza{make(35)}",
    "npm": lambda make: f"//registry.example.org/:_authToken=npm_{make(36, LOWER + DIGITS)}",
    "openai": lambda make: f"OPENAI_API_KEY=sk-{make(20)}T3BlbkFJ{make(20)}",
    "private key": lambda make: (
        f"-----BEGIN RSA PRIVATE KEY-----\n{make.coded(48)}\n{make.coded(48)}\n-----END RSA PRIVATE KEY-----"
    ),
    "jwt": lambda make: f"eyJhbGciOiJIUzI1NiJ9.eyJ{make(30)}.{make(43)}",
    "telegram": lambda make: f"telegram token: {make(9, '123456789')}:A{make(34)}",
    "generic": lambda make: f'api_key = "{make(32)}"',
    "header": lambda make: f"curl -H 'Authorization: Bearer {make(40)}' https://example.org",
    "basic": lambda make: f"Authorization: Basic {make.coded(18)}",
    "address": lambda make: f"DATABASE_URL=postgres://anna:{make(12)}@db.example.org/shop",
    "netrc": lambda make: f"machine ftp.example.org\n  login anna\n  password {make(10)}",
    "en": lambda make: f"Wifi password: {make(5)}7{make(5)}",
    "en is": lambda make: f"the admin password is {make(6)}9!",
    "de": lambda make: f"- Passwort: {make(4)}_{make(3)}4",
    "fr": lambda make: f"Mot de passe : {make(8)}#1",
    "es": lambda make: f"Contraseña: {make(9)}3",
    "ru": lambda make: f"Пароль: {make(8)}5",
    "zh": lambda make: f"密码:{make(8)}6",
    "pin": lambda make: f"PIN: {make(4, DIGITS)}",
    "recovery": lambda make: f"Recovery code: {make(5)}-{make(5)}-{make(5)}-{make(5)}",
    "seed": lambda make: f"seed phrase: {make(1, LOWER)}{WORDS}",
    "cell": lambda make: f"| Password | {make(7)}4x |",
    "next line": lambda make: f"password: >\n  {make(7)}4x",
    "for whom": lambda make: f"Password for anna: {make(7)}4x",
    "of what": lambda make: f"Passwort (WLAN): {make(7)}4x",
    "key": lambda make: f"WLAN-Schlüssel: {make(7)}4x",
    "pw": lambda make: f"PW: {make(7)}4x",
    "dash": lambda make: f"Password - {make(7)}4x",
    "pt": lambda make: f"Senha: {make(7)}4x",
    "nl": lambda make: f"Wachtwoord: {make(7)}4x",
    "letters": lambda make: f"Password: aQ{make(8, LOWER)}QQ",
    "escaped": lambda make: f"the key ghp\\_{make(36)}",
    "soft hyphen": lambda make: f"the key ghp_{make(10)}\u00ad{make(26)}",
    "near allow": lambda make: f"ghp_{make(36)} xgitleaks:allowx",
    "table": lambda make: f"| shop | anna | password: {make(7)}8 |",
    "of a portal": lambda make: f"Passwort für das Förderportal: {make(7)}!4x",
    "of a site": lambda make: f"Mot de passe du portail de l'école : {make(7)}!4x",
    "of whom": lambda make: f"Passwort von Jonas' Tablet (neu): {make(7)}!4x",
    "compound": lambda make: f"Das Startpasswort lautet {make(7)}!4x, bitte ändern.",
    "verb": lambda make: f"La contraseña para la cita médica es {make(7)}.4x",
    "in quotation marks": lambda make: f"Le mot de passe de la tablette est « {make(8, LOWER)} »",
    "arrow": lambda make: f"- PW Moodle → {make(7)}!4x",
    "without a sign": lambda make: f"| Moodle | anna | Passwort {make(7)}!4x |",
    "in brackets": lambda make: f"wachtwoord voor de wifi ({make(7)}#4x)",
    "behind a user": lambda make: f"Zugangsdaten Moodle: ksommer / {make(7)}!4x",
    "credentials": lambda make: f"Usuario y contraseña del aula: mgarcia / {make(7)}_4x",
    "pin of what": lambda make: f"PIN vom Kopierer: {make(4, DIGITS)}",
    "password generic": lambda make: f"db_password={make(15)}7",
    "anthropic": lambda make: f"sk-ant-api03-{make(93, ALL + '-_')}AA",
}


@pytest.mark.parametrize("kind", PLANTED)
def test_secret_in_a_text_is_found_with_the_line_number(kind: str) -> None:
    for seed in range(20):
        text = PLANTED[kind](Maker(seed))
        note = f"# Notes\n\n{text}\n\nCall Ana by Friday.\n"
        lines = {found.line for found in find_secrets(note)}
        assert lines, text
        assert lines <= set(range(3, 4 + text.count("\n"))), text


ORDINARY = """\
Reset the password: ask Irma, she has the key to the office.
Password: required
password: string  # of the account, at least eight characters
The password is the same as before.
Passwort: siehe Tresor
Mot de passe : à demander
PIN: see the letter from the bank
Token: the hub checks it
export API_KEY=$API_KEY
password = os.environ["DB_PASSWORD"]
postgres://user:password@localhost/shop
postgres://${USER}:${PASSWORD}@localhost/shop
Authorization: Bearer <token>
SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDTSBwlG0XQ3Yp7oHk anna@desk (ED25519)
MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48 fingerprint
sha512-L0Uo3yLPzkVyZp5X0pW0XcGyF8O1lKZ7tCBpQHkVd2XqKQh1n9YcXy1l4rRA0Yd0bYw2vR3m5S6Q==
commit 0f3a9c1e5b7d2468ace013579bdf02468ace1357
Passport: C01X00T47
pass: 2026-12-01
monkey = "abcdefghijklmnopqrstuvwx"
The keyboard of the lift has a code: ring twice.
Pins: 4, nails: 12
https://example.org/reset?next=/home
"NextToken": "3/PblzkiGhzjER3KHuQt2fmbPLF7cDYafjFMEoGn44ON"
order 4711-0815, invoice 2026-00231, IBAN DE02120300000000202051
password: ********
mdp: xxxxxxxx
Passwort für Moodle: bei Frau Weber holen
Passwort für das Förderportal: bis 3.12. erneuern, Raum B2.14
Kennwort für das Portal: mindestens 8 Zeichen, 1 Ziffer
Passwort vom Portal: 8-stellig, Vorlage liegt in Zettel2.pdf
Das Passwort ist seit 30.11.2026 abgelaufen!
Zugangsdaten Moodle: Frau Weber / Herr Klein fragen
Login Elternabend: 19:30 / Raum 2.14
PIN vom Kopierer: bei Sabine holen
Password for the bank: call 0800-555-123 before 5pm, or write to max1@example.org
The password of a user is `required`, as "none" is.
Le mot de passe du portail est périmé depuis le 28/11/2026
La clave de la reunión del 3/12 es el presupuesto 2027
La password di default è vuota
def connect(user, password=None, passfile=None, level=2): ...
"""


@each("line", ORDINARY.splitlines())
def test_ordinary_line_about_passwords_has_no_secret(line: str) -> None:
    assert list(find_secrets(f"# Notes\n\n{line}\n")) == []


def test_text_beyond_the_memory_of_a_pattern_is_searched_without_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    key = PLANTED["aws"](Maker(1))
    text = "Пароль wort: passмдж ключ é\n" * 30
    assert [found.line for found in find_secrets(f"{text}{key}\n")] == [31]
    assert capfd.readouterr() == ("", "")


def test_allow_comment_exempts_only_the_own_line_from_the_secret_scan() -> None:
    key = PLANTED["aws"](Maker(1))
    assert list(find_secrets(f"{key}  # gitleaks:allow\n")) == []
    assert {found.line for found in find_secrets(f"{key}  # gitleaks:allow\n{key}\n")} == {2}


def test_secret_rule_of_a_file_format_applies_to_no_other_format() -> None:
    manifest = f"kind: Secret\ndata:\n  password: {Maker(3).coded(12)}\n"
    assert Secret("kubernetes-secret-yaml", 3) in find_secrets(manifest, "deploy/shop.yaml")
    assert "kubernetes-secret-yaml" not in {found.rule for found in find_secrets(manifest, "notes.md")}


@pytest.mark.parametrize("name", ["a.svg", "a.doc", "a.bin", "package-lock.json", "gitleaks.toml", "a.gem"])
def test_secret_is_found_under_any_file_name(name: str) -> None:
    assert list(find_secrets(PLANTED["github"](Maker(5)), name))


HIDDEN: dict[str, Callable[[Maker], str]] = {
    "base64": lambda make: coded(f"export TOKEN=ghp_{make(36)}\n"),
    "base64 in base64": lambda make: f"value: {coded(coded(f'the key ghp_{make(36)}'))}",
    "base64 for addresses": lambda make: f"https://example.org/{coded(f'??>>ghp_{make(36)}', '-_')}",
    "wrapped base64": lambda make: "\n".join(textwrap.wrap(coded(f"{WORDS}\npassword: {make(8)}4x"), 44)),
    "base64 of PowerShell": lambda make: coded(f"$k = 'ghp_{make(36)}'", encoding="utf-16-le"),
    "hex": lambda make: f"key: {f'ghp_{make(36)}'.encode().hex()}",
    "csv": lambda make: f'site,user,password\nshop,"Doe, Anna",{make(7)}4x',
    "csv with another column": lambda make: f"Login Passwort;Site\n{make(7)}4x;shop",
    "table": lambda make: f"| site | Password (new) |\n|------|-----|\n| shop | {make(7)}4x |",
    "tsv": lambda make: f"user\tdb_password\tsite\nanna\t{make(7)}4x\tshop",
    "table of what": lambda make: f"| Ort | Passwort fürs Portal |\n|---|---|\n| Moodle | {make(7)}!4x |",
    "list": lambda make: f"passwords:\n  - {make(7)}4x",
    "nested list": lambda make: f"login:\n  - passwords:\n    - wifi: {make(7)}4x",
    "list in brackets": lambda make: f"passwords: [{make(7)}4x, {make(7)}4x]",
    "list of JSON": lambda make: f'{{\n  "passwords": [\n    "{make(7)}4x"\n  ]\n}}',
}


def coded(text: str, marks: str = "+/", *, encoding: str = "utf-8") -> str:
    return base64.b64encode(text.encode(encoding), marks.encode()).decode().rstrip("=")


@each("kind", HIDDEN)
def test_encoded_secret_or_secret_below_a_label_is_found_with_the_line(kind: str) -> None:
    for seed in range(20):
        text = HIDDEN[kind](Maker(seed))
        note = f"# Notes\n\n{text}\n\nCall Ana by Friday.\n"
        lines = {found.line for found in find_secrets(note)}
        assert lines, text
        assert lines <= set(range(3, 4 + text.count("\n"))), text
        allowed = "\n".join(f"{line} gitleaks:allow" for line in note.split("\n"))
        assert list(find_secrets(allowed)) == [], allowed
