"""The files of ``.container`` agree with the settings, with each other and with a real hub.

``python -m tests.release.container`` builds the image and runs it.
"""

import configparser
import json
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from anyio.abc import SocketStream

from hub import docs
from hub.base.toml.limits import Limits
from hub.base.toml.listeners import Listen
from hub.cli.hub_client import SOCKET
from hub.settings.reading import check_text
from hub.settings.settings import Settings
from tests.release.container import CONTAINERFILE, FOLDER, HARDENED, UID, compose
from tests.support.handbook import blocks
from tests.support.processes import HubProcess, closing
from tests.support.source import ROOT

PAGE = docs.FOLDER / "container.md"
UNIT = FOLDER / "device-hub.container"
STOP_S = 15  # what goodbyes and the database may take after the drain
UNREADY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 7\r\nconnection: close\r\n\r\nno disk"


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Containerfile with their arguments."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.split("\n") if line)
    ]


CONTAINER = instructions(CONTAINERFILE.read_text("utf-8"))


def all_of(name: str) -> list[str]:
    return [rest for instruction, rest in CONTAINER if instruction == name]


def one(name: str) -> str:
    (rest,) = all_of(name)
    return rest


def image_environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in one("ENV").split())


def unit() -> Any:
    class Parser(configparser.RawConfigParser):
        def optionxform(self, optionstr: str) -> str:
            return optionstr

    # A key may be there several times, and its last value counts for what is asked here.
    parser = Parser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.read(UNIT, "utf-8")
    return parser


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)s?", text)
    assert found, text
    return float(found[1])


def usable(environ: dict[str, str]) -> Settings:
    """Check the environment as the whole settings of a hub that is about to serve."""
    reading = check_text("# none\n", Path("/etc/hub/hub.toml"), environ=environ, serving=True)
    assert [str(problem) for problem in reading.problems if problem.severity == "error"] == []
    return reading.usable()


def test_variables_of_compose_file_are_settings_of_a_hub(tmp_path: Path) -> None:
    parsed = compose()
    hub = parsed["services"]["hub"]
    for name in hub["secrets"]:
        (tmp_path / name).write_text("postgresql://hub:secret@postgres/hub")
    settings = usable(image_environment() | hub["environment"] | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.model is not None and settings.model.is_local
    listening = [listener.address.port for _, listener in settings.listen.named()]
    assert [int(port.rpartition(":")[2]) for port in hub["ports"]] == listening
    assert {port.rpartition(":")[2] for port in hub["ports"]} == set(one("EXPOSE").split())
    named = {name for service in parsed["services"].values() for name in service.get("secrets", ())}
    assert named == parsed["secrets"].keys()


def test_variables_of_unit_are_settings_of_a_hub() -> None:
    container = unit()["Container"]
    settings = usable(image_environment() | dict([container["Environment"].split("=", 1)]))
    assert container["PublishPort"].endswith(f":{settings.listen.devices.address.port}")


def test_handbook_container_commands_match_the_tested_options() -> None:
    started = [call for call in calls_of_page() if call[:2] == ["podman", "run"]]
    assert len(started) == 2
    for call in started:
        environ = dict(after.split("=", 1) for before, after in pairwise(call) if before == "--env")
        usable(image_environment() | environ)
        assert {"--read-only", "--read-only-tmpfs=false"} <= set(call)
        mounts = [after for before, after in pairwise(call) if before == "--volume"]
        assert mounts[:2] == ["device-hub:/data", f"~/hub:{all_of('WORKDIR')[-1]}:ro"]
    assert set(HARDENED) <= set(started[0])


def calls_of_page() -> Iterator[list[str]]:
    for block in blocks(PAGE, "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            yield shlex.split(line)


def test_handbook_pod_has_valid_settings_ports_and_probes() -> None:
    (block,) = blocks(PAGE, "yaml")
    pod = yaml.safe_load(block.text)["spec"]["template"]["spec"]
    (hub,) = pod["containers"]
    environ = image_environment() | {entry["name"]: entry["value"] for entry in hub["env"]}
    settings = usable(environ)
    assert hub["ports"][0]["containerPort"] == settings.listen.devices.address.port
    assert [pod["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")] == [UID] * 3
    mounts = {mount["name"]: mount["mountPath"] for mount in hub["volumeMounts"]}
    assert environ["STATE_DIRECTORY"].startswith(f"{mounts['data']}/") and environ["TMPDIR"] == mounts["data"]
    assert (mounts["settings"], mounts["secrets"]) == (
        all_of("WORKDIR")[-1],
        environ["CREDENTIALS_DIRECTORY"],
    )
    probes = {name: hub[f"{name}Probe"]["exec"]["command"] for name in ("startup", "readiness", "liveness")}
    ready = json.loads(one("HEALTHCHECK").partition("CMD ")[2])
    assert probes == {"readiness": ready, "startup": [*ready, "/healthz"], "liveness": [*ready, "/healthz"]}
    assert pod["terminationGracePeriodSeconds"] >= Limits().drain_timeout_s + STOP_S


def test_exposed_image_ports_equal_the_default_listener_ports() -> None:
    defaults = [listener.address.port for _, listener in Listen().named()]
    assert [int(port) for port in one("EXPOSE").split()] == defaults


def test_image_writes_only_to_the_volume_as_an_unprivileged_user() -> None:
    environment, container = image_environment(), unit()["Container"]
    (data,) = json.loads(one("VOLUME"))
    assert [environment["STATE_DIRECTORY"], environment["TMPDIR"]] == [data, data]
    assert one("USER") == f"{UID}:{UID}" and container["UserNS"] == f"keep-id:uid={UID},gid={UID}"
    assert f"install -d -o {UID} -g {UID} -m 0700 {data}" in " ".join(all_of("RUN"))
    mounts = [mount.split(":")[1] for mount in compose()["services"]["hub"]["volumes"]]
    assert mounts == [data, all_of("WORKDIR")[-1]]
    assert f"Volume=device-hub:{data}\n" in UNIT.read_text("utf-8")


def test_container_stop_timeouts_exceed_the_drain_timeout() -> None:
    least = Limits().drain_timeout_s + STOP_S
    parsed = unit()
    assert seconds(compose()["services"]["hub"]["stop_grace_period"]) >= least
    assert seconds(parsed["Container"]["StopTimeout"]) >= least
    assert seconds(parsed["Service"]["TimeoutStopSec"]) > seconds(parsed["Container"]["StopTimeout"])
    assert one("STOPSIGNAL") == "SIGTERM"


def test_compose_hub_depends_on_every_other_service_having_a_health_check() -> None:
    services = compose()["services"]
    for name, condition in services["hub"]["depends_on"].items():
        assert services[name]["healthcheck"]["test"][0] == "CMD"
        assert condition["condition"] in ("service_healthy", "service_started")
    assert services.keys() - {"hub"} == services["hub"]["depends_on"].keys()


def test_docker_build_context_includes_only_copied_files() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = {name for rest in all_of("COPY") if "--from" not in rest for name in rest.split()[:-1]}
    assert ignored[1] == "*" and {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)
    kept_back = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert {f"/.container/{name}/" for name in ("models", "secrets", "settings")} <= set(kept_back)


def test_image_has_the_tested_versions() -> None:
    assert re.fullmatch(r"BASE=docker\.io/library/python:3\.\d+-slim-\w+", all_of("ARG")[0])
    tested = set(pins(ROOT / "requirements-dev.txt"))
    assert [pin for pin in pins(FOLDER / "requirements.txt") if pin not in tested] == []


def pins(lock: Path) -> Iterator[str]:
    for line in lock.read_text("utf-8").splitlines():
        if found := re.match(r"[\w.-]+==[^ ;]+", line):
            yield found[0]


async def health(state: Path, *words: str) -> tuple[int, str]:
    """Run the HEALTHCHECK of the image, with the files of this machine, for a hub with this state folder."""
    _, _, command = one("HEALTHCHECK").partition("CMD ")
    program, *options = json.loads(command)
    assert program == "python3"
    script = [str(FOLDER / "ready.py") if word == "/opt/hub/ready.py" else word for word in options]
    line = [sys.executable, *script, *words]
    with anyio.fail_after(30):
        done = await anyio.run_process(
            line, check=False, stderr=subprocess.PIPE, env={"STATE_DIRECTORY": str(state)}
        )
    return done.returncode, done.stderr.decode().strip()


@asynccontextmanager
async def unready(state: Path) -> AsyncIterator[None]:
    async def refuse(client: SocketStream) -> None:
        async with client:
            await client.receive()
            await client.send(UNREADY)

    async with (
        await anyio.create_unix_listener(state / SOCKET) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, refuse)
        yield
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_health_check_of_image_succeeds_while_the_hub_is_ready(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path)
    async with closing(hub):
        assert (await health(tmp_path))[0] == 1
        await hub.start()
        assert await health(tmp_path) == (0, "")
        assert await health(tmp_path, "/healthz") == (0, "")
        assert (await health(tmp_path, "/nowhere"))[0] == 1


async def test_health_check_of_image_prints_why_the_hub_is_not_ready(tmp_path: Path) -> None:
    async with unready(tmp_path):
        assert await health(tmp_path) == (1, "no disk")
