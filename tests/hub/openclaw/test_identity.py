"""Who the hub is at a gateway, and that nobody else learns of it."""

import json
import stat
from pathlib import Path

import pytest

from hub.openclaw import GatewayConfig
from hub.openclaw.frames import GatewayChallenge
from hub.openclaw.identity import GatewayCredentials, identity_file
from protocol.errors import CodedError, ErrorCode
from tests.support.clock import SeededChance
from tests.support.coded import coded
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.gateway.visit import Visit, failed, visiting
from tests.support.log import opened_log
from tests.support.wire import until

CHALLENGE = GatewayChallenge("nonce-1", 1_795_149_178_664)
READ = ["operator.read"]


def identity(folder: Path, url: str = "wss://gw.example", token: str | None = "shared") -> GatewayCredentials:
    file = identity_file(folder, "west")
    return GatewayCredentials(file, url=url, token=token, has_device=True, chance=SeededChance())


async def test_identity_key_is_stored_readable_only_by_the_owner(tmp_path: Path) -> None:
    mine = identity(tmp_path)
    await mine.open()
    file = identity_file(tmp_path, "west")
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    again = identity(tmp_path)
    await again.open()
    assert again.id == mine.id


async def test_identity_key_differs_per_gateway(tmp_path: Path) -> None:
    chance = SeededChance()
    ids = set()
    for name in ("west", "east"):
        one = GatewayCredentials(
            identity_file(tmp_path, name), url="wss://x", token=None, has_device=True, chance=chance
        )
        await one.open()
        ids.add(one.id)
    assert len(ids) == 2


async def test_identity_file_of_an_odd_gateway_name_is_inside_the_gateways_folder(tmp_path: Path) -> None:
    assert identity_file(tmp_path, "../../etc/x").parent == tmp_path / "gateways"


async def test_issued_device_token_is_stored_and_used_before_the_shared_token(tmp_path: Path) -> None:
    mine = identity(tmp_path)
    await mine.open()
    await mine.welcomed("from-the-gateway")
    again = identity(tmp_path)
    await again.open()
    first, second = (again.show(turn, CHALLENGE, READ).auth for turn in (0, 1))
    assert first is not None and (first.device_token, first.token) == ("from-the-gateway", None)
    assert second is not None and (second.device_token, second.token) == (None, "shared")
    assert stat.S_IMODE(identity_file(tmp_path, "west").stat().st_mode) == 0o600


async def test_gateway_token_is_not_sent_to_another_gateway_address(tmp_path: Path) -> None:
    mine = identity(tmp_path)
    await mine.open()
    await mine.welcomed("from-the-gateway")
    moved = identity(tmp_path, url="wss://elsewhere.example", token=None)
    await moved.open()
    assert (moved.id, moved.show(0, CHALLENGE, READ).auth) == (mine.id, None)


@pytest.mark.parametrize("content", ["", "[]", '{"private_key":"short"}', '{"private_key":"***"}', "\x00"])
async def test_a_file_without_a_key_is_reported_and_not_changed(tmp_path: Path, content: str) -> None:
    file = identity_file(tmp_path, "west")
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(CodedError, check=coded(ErrorCode.FORBIDDEN), match=r"west\.json"):
        await identity(tmp_path).open()
    assert file.read_text() == content


async def test_gateway_client_without_a_storable_key_does_not_connect(tmp_path: Path) -> None:
    (tmp_path / "gateways").write_text("a file where the folder belongs")
    async with (
        fake_gateway() as gateway,
        visiting(gateway, tmp_path, is_ready=False, has_device=True) as visit,
    ):
        await visit.is_in("refused")
        assert gateway.connects == []
        problem = visit.client.health().problem
        assert problem is not None and "cannot" in problem.message


async def test_gateway_accepts_the_device_signature(tmp_path: Path) -> None:
    async with fake_gateway() as gateway, visiting(gateway, tmp_path, has_device=True):
        device = gateway.connects[0]["device"]
        assert (len(device["id"]), device["signedAt"]) == (64, 1_795_149_178_664)


async def test_local_gateway_connection_sends_no_device_identity_by_default(
    tmp_path: Path, gateway: FakeGateway, visit: Visit
) -> None:
    assert "device" not in gateway.connects[0]
    assert gateway.connects[0]["auth"] == {"token": gateway.token}
    assert not (tmp_path / "gateways").exists()


async def test_no_token_is_in_an_address_a_header_a_log_line_or_a_repr(tmp_path: Path) -> None:
    with opened_log("debug") as log:
        async with fake_gateway() as gateway:
            gateway.is_remote = gateway.auto_approve = True
            async with visiting(gateway, tmp_path, has_device=True) as visit:
                kept = json.loads(identity_file(tmp_path, "fake").read_text())
                secrets = [gateway.token, kept["device_token"], kept["private_key"]]
                echo = {"code": "INVALID_REQUEST", "message": f"what is {' and '.join(secrets[:2])}?"}
                gateway.fault("health", "refused", echo)
                error = await failed(visit.client.call("health"))
                gateway.refuses = (echo | {"details": {"code": "AUTH_TOKEN_MISMATCH"}}, 1008)
                gateway.cut()
                await visit.is_in("waiting")
                await visit.time_goes_by(3)
                await visit.is_in("refused")
                told = [
                    str(error),
                    repr(error),
                    repr(visit.client.health()),
                    repr(visit.client.config),
                    repr(visit.client._identity),
                    repr(gateway.knocks),
                    repr(GatewayConfig(name="x", url=gateway.url, token=gateway.token)),
                    *log.lines(),
                ]
        assert len([line for line in told if "gateway." in line]) > 3
        for secret in secrets:
            assert not [line for line in told if secret in line]


async def test_gateway_handshake_has_no_origin_or_identifying_headers(
    gateway: FakeGateway, visit: Visit
) -> None:
    path, headers = gateway.knocks[0]
    assert path == "/"
    names = {name.lower() for name in headers}
    assert not names & {"origin", "authorization", "cookie", "sec-websocket-extensions", "user-agent"}


async def test_rejected_device_token_is_replaced_by_the_token_of_hub_toml(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    gateway.is_remote = gateway.auto_approve = True
    async with visiting(gateway, tmp_path, has_device=True) as visit:
        await until(lambda: "devtok" in identity_file(tmp_path, "fake").read_text())
        gateway.cut()
        await visit.is_in("waiting")
        await visit.back_within(1)
        assert "deviceToken" in gateway.connects[-1]["auth"]
        await gateway.rotate()
        await visit.is_in("waiting")
        assert visit.problem == "device_removed"
        await visit.back_within(3)
        assert gateway.connects[-1]["auth"] == {"token": gateway.token}
        new = next(iter(gateway.office.devices.values())).token
        await until(lambda: new in identity_file(tmp_path, "fake").read_text())


async def test_removed_device_without_another_token_waits_for_an_operator(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    gateway.is_remote = gateway.auto_approve = True
    async with visiting(gateway, tmp_path, has_device=True) as visit:
        await until(lambda: "devtok" in identity_file(tmp_path, "fake").read_text())
    async with visiting(gateway, tmp_path, has_device=True, token=None) as visit:
        assert "deviceToken" in gateway.connects[-1]["auth"]
        gateway.auto_approve = False
        await gateway.rotate(removed=True)
        await visit.is_in("refused")
        problem = visit.client.health().problem
        assert problem is not None and problem.code == "device_removed"
        assert "approve it again" in problem.hint
        assert "devtok" not in identity_file(tmp_path, "fake").read_text()
        await visit.time_goes_by(290, step_s=10)
        assert len(gateway.connects) == 2
        await visit.time_goes_by(80, step_s=10)
        assert visit.problem == "AUTH_TOKEN_MISSING"


async def test_forgetting_an_old_device_token_preserves_a_newer_token(tmp_path: Path) -> None:
    mine = identity(tmp_path)
    await mine.open()
    await mine.welcomed("old")
    await mine.welcomed("new")
    await mine.forget("old")
    assert mine.device_token == "new"
    await mine.forget("new")
    again = identity(tmp_path)
    await again.open()
    assert again.device_token is None and again.id == mine.id


@pytest.mark.parametrize(
    ("token", "code"), [("wrong", "AUTH_TOKEN_MISMATCH"), (None, "DEVICE_IDENTITY_REQUIRED")]
)
async def test_a_wrong_or_missing_token_is_reported_and_retried_slowly(
    tmp_path: Path, token: str | None, code: str
) -> None:
    async with fake_gateway() as gateway, visiting(gateway, tmp_path, is_ready=False, token=token) as visit:
        await visit.is_in("refused")
        problem = visit.client.health().problem
        assert problem is not None and problem.code == code
        assert "hub.toml" in problem.hint
        await visit.time_goes_by(290, step_s=10)
        assert len(gateway.connects) == 1
