"""The commands that need no running hub, and the units that are shipped."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from hub.app.systemd import is_out_of_reach, unit_files
from hub.base.certificates import Certificates
from hub.cli.app import hub as command
from hub.cli.daemon import make_folder
from hub.cli.zones import machine_zone
from hub.settings.editor_schema import settings_schema
from hub.settings.reading import check_settings
from hub.settings.settings import LocalModelSettings
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import serving

ROOT = Path(__file__).parents[3]
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs the tools of systemd"
)
BROKEN = Path(__file__).parent / "broken.toml"


def test_check_of_five_mistakes_prints_five_lines_and_exits_with_78(hub: Hub) -> None:
    result = hub("check", str(BROKEN))
    assert result.exit_code == 78
    assert result.output.splitlines() == [
        f"{BROKEN}:2:1: error: hub.nmae: unknown key - did you mean 'name'?",
        f"{BROKEN}:5:11: error: listen.devices.address: other machines could reach this address without TLS"
        " - write tls = { certificate = PATH, key = PATH }, trusted_proxies, or insecure = true",
        f"{BROKEN}:15:24: error: the second of agents.notes.data_types: there is no table 'note'"
        " - did you mean 'notes'?",
        f"{BROKEN}:17:12: error: agents.notes.schedule: never fires within 8 years"
        " - choose a day that the month has; L is its last day",
        f"{BROKEN}:20:8: error: agents.notes.name: another agent has this name - the other one is in line 11",
    ]
    as_json = hub("check", str(BROKEN), "--json")
    told = json.loads(as_json.stdout)
    assert (as_json.exit_code, told["schema"], told["ok"]) == (78, "hub.check/1", False)
    places = [(one["line"], one["column"]) for one in told["problems"]]
    assert places == [(2, 1), (5, 11), (15, 24), (17, 12), (20, 8)]


def test_check_treats_a_warning_as_an_error_only_if_strict(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('[storage]\nurl = "sqlite://"\n')
    relaxed, strict = hub("check", str(file)), hub("check", str(file), "--strict")
    assert (relaxed.exit_code, strict.exit_code) == (0, 78)
    assert ":2:7: warning: storage.url:" in relaxed.stdout
    assert ":2:7: error: storage.url:" in strict.stdout


def test_check_of_a_missing_file_exits_with_78(hub: Hub, tmp_path: Path) -> None:
    ends(hub("check", str(tmp_path / "none.toml")), 78, stdout=("'hub init' writes one",))


def _sample() -> str:
    return (ROOT / "hub.toml").read_text().replace('timezone = "UTC"', f'timezone = "{machine_zone()[0]}"')


def test_init_writes_the_zone_of_tz_and_an_agent_reading_every_file(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    file = tmp_path / "hub.toml"
    assert (
        "its agent uses the time zone Pacific/Auckland (from TZ)" in hub("init", "--config", str(file)).stderr
    )
    (agent,) = check_settings(file, environ={}, serving=True).usable().agents
    assert (agent.timezone, agent.file_extensions) == ("Pacific/Auckland", ())


def test_machine_time_zone_is_read_from_the_first_valid_source(tmp_path: Path) -> None:
    zones = Path("/usr/share/zoneinfo")
    for tz, link, text, zone, said in (
        ("Asia/Tokyo", "Europe/Paris", "UTC", "Asia/Tokyo", "from TZ"),
        (":Asia/Tokyo", None, None, "Asia/Tokyo", "from TZ"),
        (str(zones / "Asia" / "Tokyo"), None, None, "Asia/Tokyo", "from TZ"),
        (None, "Europe/Paris", "Asia/Tokyo", "Europe/Paris", "from {}/localtime"),
        ("", "posix/Europe/Paris", None, "Europe/Paris", "from {}/localtime"),
        (None, None, "America/Caracas\n", "America/Caracas", "from {}/timezone"),
        ("CET-1CEST", "Europe/Paris", None, "Europe/Paris", "TZ has 'CET-1CEST', which is no name"),
        ("Mars/Olympus", None, None, "UTC", "TZ has 'Mars/Olympus', which is no name as in 'Europe/Berlin'"),
        (None, None, None, "UTC", "neither TZ nor {} names a time zone"),
        ("../../etc/passwd", None, "\0", "UTC", "TZ has '../../etc/passwd', which is no name"),
    ):
        etc = tmp_path / f"etc-{len(list(tmp_path.iterdir()))}"
        etc.mkdir()
        if link is not None:
            (etc / "localtime").symlink_to(Path("/nowhere/zoneinfo") / link)
        if text is not None:
            (etc / "timezone").write_text(text)
        found, reason = machine_zone({} if tz is None else {"TZ": tz}, etc)
        assert (found, said.format(etc) in reason) == (zone, True), (tz, link, text, reason)


def test_init_writes_the_sample_and_makes_a_private_folder(hub: Hub, state: Path, tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    ends(
        hub("init", "--config", str(file)),
        0,
        f"hub serve --config {file} --state {state}",
        "it has no model: rules alone read files and mail",
    )
    assert file.read_text() == _sample()
    named = file.read_text().splitlines()[0].removeprefix("#:schema ./")
    assert json.loads((tmp_path / named).read_text()) == settings_schema()
    assert state.stat().st_mode & 0o777 == 0o700
    assert check_settings(file, environ={}, serving=True).problems == []  # the hub starts with it as it is


@pytest.mark.soak  # the tests of a release look into their wheel
def test_installed_wheel_writes_the_commented_sample_settings(tmp_path: Path) -> None:
    built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(built, check=True, cwd=ROOT, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    subprocess.run(
        [sys.executable, "-P", "-m", "hub", "--state", "state", "init"],
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
    )
    assert (tmp_path / "hub.toml").read_text() == _sample()
    assert not (tmp_path / "installed" / "hub.toml").exists()  # so it was the packaged one


def test_a_wrong_value_is_reported_alike_by_init_check_and_serve(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("HUB__LIMITS__RUN_WALL_S", "1h")
    file = tmp_path / "hub.toml"
    told = (
        "HUB__LIMITS__RUN_WALL_S: error: limits.run_wall_s: a number is expected"
        " - write the number of seconds, as in 3600"
    )
    done = hub("init", "--config", str(file))
    assert (done.exit_code, done.stderr.splitlines()[0]) == (0, told)
    assert hub("check", str(file)).stdout.splitlines() == [told]
    assert hub("serve", "--config", str(file)).stderr.splitlines() == [told]


def test_init_with_local_chooses_the_local_model(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    told = hub("init", "--local", "--config", str(file)).stderr
    assert "has no model" not in told
    assert "its model reads no prose until reads_prose = true in [model]: hub help models" in told
    assert "\n# reads_prose = true " in file.read_text()
    read = check_settings(file, serving=True)
    assert read.problems == []
    assert isinstance(read.usable().model, LocalModelSettings)


def test_init_with_a_missing_local_model_names_the_install_command(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    told = hub("init", "--local", "--config", str(tmp_path / "hub.toml")).stderr
    assert "error: model.kind: needs the package xllamacpp, of the extra [local] - pip install " in told


def test_init_overwrites_neither_an_existing_file_nor_the_state_path(
    hub: Hub, state: Path, tmp_path: Path
) -> None:
    file = tmp_path / "hub.toml"
    state.write_text("a file where the folder belongs")
    assert hub("init", "--config", str(file)).exit_code == 73
    file.write_text("# mine")
    ends(hub("init", "--config", str(file)), 73)
    assert file.read_text() == "# mine"


def test_settings_file_is_taken_from_option_state_folder_or_working_directory(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, state = tmp_path / "here", tmp_path / "named"
    for folder, name in ((here, 1), (state, 2)):
        folder.mkdir(mode=0o700)
        (folder / "hub.toml").write_text(f"[hub]\nname = {name}\n")
    monkeypatch.chdir(here)
    for words, used in (
        ((), Path("hub.toml")),
        (("--state", str(tmp_path)), Path("hub.toml")),
        (("--state", str(state)), state / "hub.toml"),
        (("--state", str(state), "--config", "hub.toml"), Path("hub.toml")),
    ):
        result = hub("serve", "--strict-start", *words)
        assert (result.exit_code, result.stderr.split(":")[0]) == (78, str(used)), words


def test_settings_file_of_the_default_state_folder_is_used_as_fallback(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> str:
        return CliRunner().invoke(command, ["check"]).output

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    assert check().startswith("hub.toml:1:1: error: No such file")
    file = tmp_path / "state" / "hub" / "hub.toml"
    file.parent.mkdir(parents=True, mode=0o700)
    file.write_text("[hub]\nname = 1\n")
    assert check().startswith(f"{file}:2:8: error: hub.name")
    assert hub("check").output.startswith("hub.toml:1:1: error: No such file"), "of a folder that was named"


def test_serve_with_broken_settings_exits_with_78_and_ignores_reload_signals(hub: Hub, state: Path) -> None:
    signals = (signal.SIGHUP, signal.SIGUSR1)
    before = [signal.getsignal(one) for one in signals]
    try:
        refused = hub("serve", "--config", str(BROKEN))
        assert (refused.exit_code, len(refused.stderr.splitlines()), state.exists()) == (78, 5, False)
        assert [signal.getsignal(one) for one in signals] == [signal.SIG_IGN, signal.SIG_IGN]
    finally:
        for one, handler in zip(signals, before, strict=True):
            signal.signal(one, handler)


def test_user_without_a_home_folder_must_name_the_state_folder(tmp_path: Path) -> None:
    state = tmp_path / "state"
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_STATE_HOME")
    }
    unknown = "import pwd, sys; pwd.getpwuid = {}.__getitem__; from hub.__main__ import main; main()"
    for words, code, said in (
        (["init", "--state", str(state)], 0, "wrote hub.toml"),
        (["status", "--state", str(state)], 3, "no hub is running"),
        (["status"], 2, "has no home folder, so the state folder is not known\n  name it: --state DIR"),
    ):
        command = [sys.executable, "-c", unknown, *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr


@pytest.fixture
def without_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample settings with a model, on a machine that lacks its key."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    file = tmp_path / "hub.toml"
    model = """
    [model]
    kind = "openai"
    base_url = "http://127.0.0.1:8080/v1"
    name = "m"
    api_key = { env = "OPENAI_API_KEY" }
    """
    file.write_text((ROOT / "hub.toml").read_text() + model)
    return file


def test_check_and_serve_report_a_missing_secret_alike(hub: Hub, without_key: Path) -> None:
    served = hub("serve", "--config", str(without_key))
    (line,) = served.stderr.splitlines()
    assert (served.exit_code, ": error: model.api_key: " in line) == (78, True)
    checked = hub("check", str(without_key))
    assert (checked.exit_code, checked.stdout.splitlines()) == (78, [line])
    assert "hub serve would not start here" in checked.stderr
    assert json.loads(hub("check", str(without_key), "--json").stdout)["ok"] is False


# What only the machine shows: lines of the settings, another name of the state folder, and what is refused.
UNFIT_HERE: dict[str, tuple[str, str, str]] = {
    "no folder": ('[storage]\nurl = "sqlite:////nowhere/hub.db"', "", "there is no folder /nowhere"),
    "no database": (f'[storage]\nurl = "sqlite:///{Path(__file__)}"', "", "not a database"),
    "no server": ('[storage]\nurl = "postgresql://127.0.0.1:9/hub"', "", "cannot be reached"),
    "a file": ('[storage]\nurl = "sqlite:////dev/null"', "", "this is no file"),
    "a name of the hub": ('[storage]\nurl = "sqlite:///hub_id"', "", "replace another file"),
    "an address": (
        '[listen.devices]\naddress = "192.0.2.7:8770"\ninsecure = true',
        "",
        "cannot listen on 192.0.2.7",
    ),
    "a template": (
        '[[agents]]\nname = "a"\ndevice = "d"\npaths = ["n"]\ndata_types = ["tasks"]\ntemplate = "none"',
        "",
        "no template 'none'",
    ),
    "a long path": ("", "x" * 100, "too long for a socket"),
}


@pytest.mark.parametrize("command", ["check", pytest.param("serve", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", UNFIT_HERE)
def test_check_and_serve_refuse_settings_unfit_for_the_machine(
    hub: Hub, tmp_path: Path, case: str, command: str
) -> None:
    lines, folder, problem = UNFIT_HERE[case]
    file, state = tmp_path / "hub.toml", str(tmp_path / "state" / folder)
    ports = "".join(
        f'[listen.{name}]\naddress = "127.0.0.1:0"\n' for name in ("operator", "devices") if name not in lines
    )
    file.write_text(f"{ports}{lines}")
    if command == "serve":
        serve = [sys.executable, "-m", "hub", "--state", state, "serve", "--config", str(file)]
        assert subprocess.run(serve, timeout=30, stderr=subprocess.DEVNULL).returncode != 0
        return
    checked = hub("--state", state, "check", str(file))
    assert (checked.exit_code, problem in checked.stdout) == (78, True), checked.output
    assert hub("--state", state, "check", str(file), "--elsewhere").exit_code == 0


def test_check_elsewhere_reports_a_missing_secret_only_as_a_warning(hub: Hub, without_key: Path) -> None:
    checked = hub("check", str(without_key), "--elsewhere")
    assert (checked.exit_code, ": warning: model.api_key: " in checked.stdout) == (0, True)
    assert checked.stderr == ""
    broken = hub("check", str(BROKEN), "--elsewhere")
    assert (broken.exit_code, len(broken.stdout.splitlines())) == (78, 5)
    assert hub("check", str(BROKEN)).stderr == ""  # it is as wrong on every machine


async def test_tls_init_creates_and_renews_a_certificate_of_the_local_authority(
    hub: Hub, tmp_path: Path
) -> None:
    file = tmp_path / "hub.toml"
    words = ("tls", "init", "--config", str(file), "--name", "hub.home.arpa", "--json")
    assert json.loads(hub(*words).stdout)["names"] == ["localhost", "127.0.0.1", "::1", "hub.home.arpa"]
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("hub.key", "hub-ca.key")} == {0o600}
    authority = (tmp_path / "hub-ca.crt").read_bytes()
    serials: list[bytes] = []
    for _ in range(2):
        pair = Certificates(tmp_path / "hub.crt", tmp_path / "hub.key")
        trusting = ssl.create_default_context(cafile=str(tmp_path / "hub-ca.crt"))
        (state := tmp_path / f"state-{len(serials)}").mkdir()
        async with serving(state, tls=pair.context) as served:
            base = f"https://localhost:{served.listening.tcp.port}"
            async with httpx2.AsyncClient(verify=trusting, trust_env=False) as client:
                assert (await client.get(f"{base}/healthz")).status_code == 200
        serials.append(pair.pair.digest)
        hub(*words)
    assert len(set(serials)) == 2, "the certificate was not renewed"
    assert (tmp_path / "hub-ca.crt").read_bytes() == authority
    ends(
        hub(*words, "--name", "another.home.arpa"),
        1,
        output=(
            "is not for another.home.arpa",
            "to renew: hub tls init --name hub.home.arpa; for more names",
        ),
    )


@pytest.mark.parametrize("linked", ["hub.crt", "hub.key"])
def test_tls_init_leaves_a_pair_with_a_linked_file_unchanged(hub: Hub, tmp_path: Path, linked: str) -> None:
    words = ("tls", "init", "--config", str(tmp_path / "hub.toml"), "--name", "hub.home.arpa")
    ends(hub(*words), 0)
    (tmp_path / linked).rename(tmp_path / "real")
    (tmp_path / linked).symlink_to("real")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    ends(hub(*words), 73, f"cannot write {tmp_path / linked}: it is a link", f"beside {tmp_path / 'real'}")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("folder", ["hub", "hub/up"])
def test_created_state_folder_and_parents_are_private(tmp_path: Path, folder: str) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path / "state" / folder)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*")} == {"0o700"}
    assert tmp_path.stat().st_mode & 0o777 == 0o755


PREFIX, PYTHON = Path("/opt/hub"), Path("/usr/bin/python3.11")
EXPOSURE = 15  # tenths; the bar is 1.5 of 10


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with programs that are there, so that systemd's own checks can look at them."""
    for place, text in unit_files(PREFIX, PYTHON).items():
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    program = tmp_path / "opt/hub/bin/hub"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


@needs_systemd
def test_systemd_unit_stays_below_the_exposure_threshold(installed: Path) -> None:
    unit = installed / "etc/systemd/system/hub.service"
    words = ["security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", str(unit)]
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


@needs_systemd
def test_systemd_verify_accepts_the_units(installed: Path) -> None:
    units = sorted((installed / "etc/systemd/system").iterdir())
    assert [unit.name for unit in units] == ["hub-admin.socket", "hub.service", "hub.socket"]
    words = ["verify", "--man=no", "--recursive-errors=no", f"--root={installed}"]
    done = subprocess.run(
        ["systemd-analyze", *words, *(f"/{unit.relative_to(installed)}" for unit in units)],
        capture_output=True,
        text=True,
    )
    assert "hub" not in done.stderr, done.stderr


def test_socket_units_have_the_descriptor_names_of_the_hub() -> None:
    from hub.app.listeners import ADMIN, DEVICES

    told = {place.name: text for place, text in unit_files(PREFIX, PYTHON).items()}
    assert f"FileDescriptorName={DEVICES}\n" in told["hub.socket"]
    assert f"FileDescriptorName={ADMIN}\n" in told["hub-admin.socket"]


def test_systemd_unit_may_execute_only_the_installed_program() -> None:
    (service,) = (
        text for place, text in unit_files(Path("/srv/hub"), PYTHON).items() if place.suffix == ".service"
    )
    assert "ExecStart=/srv/hub/bin/hub serve" in service and "ExecReload=/srv/hub/bin/hub reload" in service
    assert "\nExecPaths=/usr /srv/hub\n" in service
    assert "/opt/hub" not in service
    files = unit_files(PREFIX, Path("/opt/python/bin/python3"))  # an interpreter of its own
    assert any("\nExecPaths=/usr /opt/hub /opt/python\n" in text for text in files.values())


def test_installation_in_a_home_folder_is_out_of_reach_of_the_service() -> None:
    assert is_out_of_reach(Path("/home/anna/hub"), PYTHON)
    assert not is_out_of_reach(PREFIX, PYTHON)


def test_install_unit_prints_all_unit_files(hub: Hub) -> None:
    told = hub("install-unit", "--print").stdout
    for place in unit_files(PREFIX, PYTHON):
        assert f"# ===== /{place}\n" in told
    assert f"ExecStart={sys.prefix}/bin/hub serve" in told and "g hub-operators -\n" in told


def test_install_unit_replaces_edited_units_only_with_yes(hub: Hub, tmp_path: Path) -> None:
    ends(hub("install-unit", "--root", str(tmp_path)), 0, "systemctl enable --now hub.socket")
    unit = tmp_path / "etc/systemd/system/hub.service"
    assert unit.stat().st_mode & 0o777 == 0o644
    assert "is up to date" in hub("install-unit", "--root", str(tmp_path)).stderr

    unit.write_text("[Service]\nExecStart=/bin/true\n")
    ends(hub("install-unit", "--root", str(tmp_path)), 2, "--yes")
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert hub("install-unit", "--root", str(tmp_path), "--yes").exit_code == 0
    assert "NoNewPrivileges=yes" in unit.read_text()
