"""``[[gateways]]`` and ``[coordination]``: what they may say, and how what is wrong is told."""

from pathlib import Path

import pytest

from hub.app.coordination import GatewaySettingsInUse, config_of
from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.base.toml.values import SecretRef
from hub.openclaw import Fleet, GatewayAddress
from hub.settings.declared import declared_gateways
from hub.settings.edits import BeyondSettings, check_guarded
from hub.settings.gateway_settings import MOST, CoordinationSettings, GatewaySettings
from hub.settings.reload import Unfit
from storage.coordination.gateways import DeclaredGateway
from tests.support.clock import FakeClock, SeededChance
from tests.support.families import each
from tests.support.served_settings import load_settings
from tests.support.settings import Check

ROOT = Path(__file__).parents[3]
OFFICE = '[[gateways]]\nname = "office"\nurl = "ws://127.0.0.1:18789"\n'


def read(folder: Path, text: str) -> tuple[GatewaySettings, ...]:
    file = folder / "hub.toml"
    file.write_text(text)
    return load_settings(file, environ={}).gateways


@each("url", ["ws://127.0.0.1:18789", "ws://localhost:1", "ws://[::1]:9", "wss://gw.example/x"])
def test_gateway_address_is_accepted_with_tls_or_on_the_own_machine(tmp_path: Path, url: str) -> None:
    (one,) = read(tmp_path, f'[[gateways]]\nname = "office"\nurl = "{url}"\n')
    assert one.url == url
    assert GatewayAddress.parse(one.url).is_here or GatewayAddress.parse(one.url).is_secure
    assert (one.user, one.token, one.main_agent, one.device_identity) == ("owner", None, None, None)


@each(
    ("line", "problem"),
    [
        ('url = "ws://gw.example"', "url: token and messages would cross the network unencrypted - use wss"),
        ('url = "https://gw.example"', 'url: not the address of a gateway - as in "wss://gateway.example"'),
        ('url = "wss://"', "url: not the address of a gateway"),
        ('url = "wss://gw.example:70000"', "url: not the address of a gateway"),
        (
            'url = "wss://gw.example/?token=x"',
            "url: an address has no query or fragment in it - write the token",
        ),
        ('url = "wss://me:pw@gw.example"', "a secret must not be written in this file"),
        ('token = "5f2c"', "token: a secret must not be written in this file - name where it is"),
        ('token = { env = "NO_SUCH_TOKEN" }', "token: the environment variable NO_SUCH_TOKEN is not set"),
        (
            'main_agent = "Main Agent"',
            "main_agent: not the id of an agent at a gateway - small letters, digits",
        ),
        ('device_identity = "yes"', "device_identity: true or false is expected - without quotes"),
        ('name = "my office"', "name of the first [[gateways]]: not a valid name"),
        ('url = "wss://10.0.0.7"', "warning: gateways.office.url: 10.0.0.7 is not called"),
        ('nmae = "x"', "4:1: error: gateways.office.nmae: unknown key - 'name' is set already"),
    ],
)
def test_a_mistake_in_a_gateway_is_reported(check: Check, line: str, problem: str) -> None:
    key = line.split(" = ")[0]
    rest = "\n".join(other for other in OFFICE.splitlines() if not other.startswith(f"{key} ="))
    assert any(problem in told for told in check(f"{rest}\n{line}\n")), check(f"{rest}\n{line}\n")


def test_two_gateways_of_the_same_name_are_reported_with_the_line_of_the_other(check: Check) -> None:
    (told,) = check(OFFICE + OFFICE.replace("18789", "18790"))
    assert told == (
        "5:8: error: gateways.office.name: another gateway has this name - the other one is in line 2"
    )


def test_gateway_in_single_brackets_is_reported_with_the_correction(check: Check) -> None:
    (told,) = check(OFFICE.replace("[[gateways]]", "[gateways]"))
    assert told.endswith("- write [[gateways]]")


def test_too_many_gateways_are_reported(check: Check) -> None:
    (told,) = check("".join(OFFICE.replace("office", f"office-{n}") for n in range(MOST + 1)))
    assert told.startswith(f"1:1: error: gateways: more than {MOST} are given")


@each(
    ("url", "problem"),
    [
        ("http://hub.example", "agents' tokens would cross the network unencrypted - use https"),
        ("hub.example", 'not the address of this hub - as in "https://hub.example"'),
        ("https://hub.example/?a=b", "an address has no query or fragment in it - agents show a token"),
    ],
)
def test_reply_url_exposing_tokens_is_refused(check: Check, url: str, problem: str) -> None:
    (told,) = check(f'[coordination]\nreply_url = "{url}"\n')
    assert f"2:13: error: coordination.reply_url: {problem}" in told


def test_coordination_defaults_to_no_reply_url() -> None:
    settings = CoordinationSettings()
    assert (settings.reply_url, settings.message_expires_s) == (None, 86_400)
    assert CoordinationSettings(reply_url="http://127.0.0.1:8771/").reply_url == "http://127.0.0.1:8771"


def test_gateway_settings_of_the_sample_file_are_valid(check: Check) -> None:
    text = (ROOT / "hub.toml").read_text()
    shown = text[text.index("# [[gateways]]") : text.index("# [budget]")]
    lines = [line.removeprefix("# ") for line in shown.splitlines()]
    assert check("\n".join(line for line in lines if not line.startswith("token"))) == []


def test_declared_gateway_row_contains_neither_address_nor_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("5f2c")
    file = tmp_path / "hub.toml"
    file.write_text(OFFICE + 'token = { file = "token" }\nmain_agent = "main"\nuser = "anna"\n')
    settings = load_settings(file, environ={})
    assert declared_gateways(settings) == [
        DeclaredGateway(name="office", user_name="anna", main_agent="main")
    ]


def test_gateway_address_and_reply_url_are_guarded_settings() -> None:
    check_guarded(OFFICE, OFFICE + '[hub]\nname = "x"\n')
    for changed in (
        OFFICE.replace("18789", "1"),
        OFFICE + '[coordination]\nreply_url = "https://evil.example"\n',
    ):
        with pytest.raises(BeyondSettings):
            check_guarded(OFFICE, changed)


def test_reload_applies_a_changed_gateway_token_and_reports_the_renewal(tmp_path: Path) -> None:
    token, file = tmp_path / "token", tmp_path / "hub.toml"
    token.write_text("first")
    file.write_text(OFFICE + 'token = { file = "token" }\n')
    settings = load_settings(file, environ={})
    fleet = Fleet(
        folder=tmp_path,
        rules=OutboundRules,
        clock=FakeClock(),
        chance=SeededChance(),
        metrics=Metrics(),
        version="0",
    )
    applied: list[str] = []
    in_use = GatewaySettingsInUse(fleet, lambda: applied.append("applied"))
    in_use.prepare(settings)()
    assert (fleet.get("office").name, in_use.renewed(settings)) == ("office", [])
    token.write_text("second")
    assert in_use.renewed(settings) == ["gateways"]
    in_use.prepare(settings)()
    assert (in_use.renewed(settings), config_of(settings.gateways[0]).token) == ([], "second")
    token.unlink()
    with pytest.raises(Unfit) as refused:
        in_use.prepare(settings)
    assert (refused.value.path, applied) == (("gateways", 0, "token"), ["applied", "applied"])
    assert settings.gateways[0].token == SecretRef(file=token)
