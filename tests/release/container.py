"""The image is built as ``.container/Containerfile`` says, and runs alone and as ``compose.yaml`` says.

``python -m tests.release.container`` prints what it measured, and exits with 1 if something is wrong. It
needs root, Podman, Buildah, crun, unshare and ip. No registry is asked: the base is made by mmdebstrap from
packages of Debian, once. PostgreSQL, NATS and the model of ``compose.yaml`` are those of the tests, at the
addresses that its names have in the network of the containers.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import anyio
import httpx2
import yaml
from anyio.abc import SocketStream

from tests.scenarios.scene import check_boxes
from tests.support.nats import running_nats, why_no_nats
from tests.support.odd_files import pdf
from tests.support.oracle import MODEL_NAME, plant
from tests.support.oracle.process import oracle_process
from tests.support.postgres import running_postgres, why_no_postgres
from tests.support.processes import POLL_S, ROOT, DeviceProcess, HubProcess
from tests.support.programs import cache_folder

FOLDER: Final = ROOT / ".container"
COMPOSE: Final = FOLDER / "compose.yaml"
CONTAINERFILE: Final = FOLDER / "Containerfile"
IMAGE: Final = "localhost/device-hub:check"
INSIDE: Final = "--inside"
UID: Final = 10001
PROGRAMS: Final = ("podman", "buildah", "crun", "mmdebstrap", "unshare", "ip")
SUITE: Final = "trixie"  # as the base of the image
BASE: Final = ("base", "python3,python3-venv,python3-pip,ca-certificates")
QUADLET: Final = ("quadlet", "podman")  # a release that reads every key of the unit
READY_S: Final = 60.0
RUN_S: Final = 120.0
WRITABLE: Final = ["/dev/shm", "/data"]  # the first one is memory, which each container has
PLACES: Final = "/ /usr /opt/hub /etc /etc/hub /tmp /var/tmp /run /dev/shm /data"
OFFICE: Final = ROOT / "tests/gold/files/office/Minutes tenants 2026-11-19.docx"
FILES, BOXES = check_boxes(8, each=3)
OF_PDF: Final = "Call the plumber by 2026-12-01"
PLANTED: Final = plant("Anna", "send the quote", "2026-12-01", "K-0007")
HARDENED: Final = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all"),
    *("--security-opt=no-new-privileges", "--stop-timeout=70"),
)
AGENT: Final = (
    '[{ name = "notes", device = "desk", paths = ["notes"], data_types = ["tasks"], prompt = "Find." }]'
)


class Wrong(Exception):
    """Fault of the image or of its files; the message names it."""


def must(is_so: bool, otherwise: str) -> None:
    """Raise ``Wrong`` unless *is_so*."""
    if not is_so:
        raise Wrong(otherwise)


def told(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def why_not_here() -> str | None:
    """Return why no container can run here; None where one can."""
    if os.geteuid() != 0:
        return "a container without a registry and without systemd is run by root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"programs are missing: {', '.join(missing)}" if missing else why_no_postgres() or why_no_nats()


class Engine:
    """Podman and Buildah with images and containers of their own, in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._storage = ["--root", str(folder / "images"), "--runroot", str(folder / "run")]
        self._storage += ["--storage-driver", "overlay"]
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = folder / "containers.conf"
        # Limits as they are: raising one needs a capability that root of a sandbox may lack.
        limits = json.dumps([_limit("NOFILE"), _limit("NPROC")])
        engine = 'cgroup_manager = "cgroupfs"\nruntime = "crun"\nevents_logger = "none"'
        self._settings.write_text(f"[containers]\ndefault_ulimits = {limits}\n[engine]\n{engine}\n")

    def podman(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Podman. Raises Wrong: it failed."""
        return self._run("podman", words, check=check)

    def build(self, image: str, *options: str) -> None:
        """Build the image as the Containerfile says. Raises Wrong: a step failed."""
        trust = [place for place in ("/etc/ssl/certs", "/etc/pip.conf") if Path(place).exists()]
        mounts = [f"--volume={place}:{place}:ro" for place in trust]  # for the registry of packages
        words = ["bud", "--isolation", "chroot", "--format", "docker", "--pull-never", *mounts, *options]
        self._run("buildah", [*words, "--file", str(CONTAINERFILE), "--tag", image, str(ROOT)])

    def _run(
        self, program: str, words: Sequence[str], *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CONTAINERS_CONF": str(self._settings)}
        command = [program, *self._storage, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if check:
            must(done.returncode == 0, f"{program} {words[0]}: {(done.stdout + done.stderr)[-2000:]}")
        return done


def _limit(name: str) -> str:
    _, most = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
    few = min(most, 20_000) if most > 0 else 20_000
    return f"{name.lower()}={few}:{few}"


def debian_image(engine: Engine, name: str, packages: str) -> str:
    """Return the name of an image of Debian's packages, which is made once."""
    image = f"localhost/{name}:{SUITE}"
    if engine.podman("image", "exists", image, check=False).returncode:
        with tempfile.TemporaryDirectory() as folder:
            tar = f"{folder}/{name}.tar"
            words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", SUITE, tar]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            must(done.returncode == 0, f"mmdebstrap: {done.stderr[-2000:]}")
            engine.podman("import", tar, image)
    return image


class Container(HubProcess):
    """A hub in a container, whose ``/data`` is *folder*."""

    def __init__(self, engine: Engine, name: str, folder: Path, options: Sequence[str]) -> None:
        self._engine = engine
        self._name = name
        self._options = options
        self.folder = folder
        self._socket = folder / "hub.sock"
        folder.mkdir(mode=0o700)  # as in the image
        os.chown(folder, UID, UID)

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        mount = f"--volume={self.folder}:/data"
        words = ["run", "--detach", "--name", self._name, "--network=host", "--cgroups=disabled", mount]
        await anyio.to_thread.run_sync(lambda: self.podman(*words, *self._options, IMAGE))
        with anyio.move_on_after(READY_S):
            while not await self._is_ready():
                await anyio.sleep(POLL_S)
            return
        raise Wrong(f"the hub is not ready after {READY_S:.0f} s: {self.log()[-3000:]}")

    def podman(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Podman; see ``Engine.podman``."""
        return self._engine.podman(*words, check=check)

    def inside(self, *words: str) -> str:
        """Run a command in the container, as its user, and return its output."""
        return self.podman("exec", self._name, *words).stdout

    def inspected(self, what: str) -> Any:
        """Return a part of what Podman knows of the container."""
        return json.loads(self.podman("inspect", "--format", f"{{{{json {what}}}}}", self._name).stdout)

    def is_healthy(self) -> bool:
        """Run the image's HEALTHCHECK."""
        return self.podman("healthcheck", "run", self._name, check=False).returncode == 0

    @property
    def pid(self) -> int:
        return int(self.inspected(".State.Pid"))

    async def stop(self) -> int:
        """Stop it as an operator does, and return the exit code of the hub."""
        await anyio.to_thread.run_sync(lambda: self.podman("stop", self._name))
        return int(self.inspected(".State.ExitCode"))

    async def close(self) -> None:
        """Remove it, whatever it does."""
        self.podman("rm", "--force", "--time=0", self._name, check=False)

    def log(self) -> str:
        """Return what it wrote to its standard error and output."""
        done = self.podman("logs", self._name, check=False)
        return done.stdout + done.stderr

    async def _is_ready(self) -> bool:
        with suppress(httpx2.TransportError, OSError):
            return (await self.ask("GET", "/readyz")).status_code == 200
        must(self.inspected(".State.Running"), f"the hub ended: {self.log()[-3000:]}")
        return False


@asynccontextmanager
async def running(container: Container) -> AsyncIterator[float]:
    """Start a container; yield the seconds until it was ready; remove it."""
    try:
        started = perf_counter()
        await container.start()
        yield perf_counter() - started
    finally:
        await container.close()


async def items_of_a_run(hub: Container, folder: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Connect a device over ``folder/notes`` to the port for devices, run the agent, return run and items."""
    device = DeviceProcess(folder, "ws://127.0.0.1:8770", await hub.token())
    await device.start()
    try:
        with anyio.fail_after(READY_S):
            while not (await hub.get("/v1/status"))["devices_connected"]:
                await anyio.sleep(POLL_S)
        run = await hub.ended(await hub.start_run(), within_s=RUN_S)
        return run, device.items()
    finally:
        await device.close()


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> int:
    """Return the memory of all processes that the container of *pid* runs."""
    alike, kb = os.readlink(f"/proc/{pid}/ns/pid"), 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended since it was listed
            if os.readlink(process / "ns/pid") == alike:
                lines = (process / "smaps_rollup").read_text().splitlines()
                kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kb // 1024


async def under_systemd(engine: Engine, folder: Path) -> None:
    """Let Podman make a service of its unit, and compare the command with that of the handbook."""
    shutil.copy(FOLDER / "device-hub.container", folder)
    words = ["run", "--rm", "--network=host", "--cgroups=disabled", f"--volume={folder}:/units:ro"]
    image = debian_image(engine, *QUADLET)
    command = ["/usr/libexec/podman/quadlet", "-dryrun", "-user"]
    made = engine.podman(*words, "--env=QUADLET_UNIT_DIRS=/units", image, *command).stdout
    started = next(line for line in made.splitlines() if line.startswith("ExecStart=")).replace("=", " ")
    lacking = [option for option in HARDENED if option.replace("=", " ") not in started]
    must(not lacking, f"the unit lacks {lacking}: {started}")
    told("Podman makes a service of its unit")


async def alone(engine: Engine, folder: Path) -> None:
    """Run the image as the handbook says: hardened, with a database in a file."""
    refused = engine.podman("run", "--rm", "--network=host", "--cgroups=disabled", IMAGE, check=False)
    must(refused.returncode == 78, f"settings without TLS: exit code {refused.returncode} and not 78")
    must("HUB__LISTEN__DEVICES__ADDRESS" in refused.stderr, f"no variable is named: {refused.stderr}")
    notes = folder / "notes"
    notes.mkdir()
    for name, text in FILES.items():
        (notes / name).write_text(text)
    shutil.copy(OFFICE, notes)
    (notes / "letter.pdf").write_bytes(pdf(f"[ ] {OF_PDF}"))
    options = [*HARDENED, "--env=HUB__LISTEN__DEVICES__INSECURE=true", f"--env=HUB__AGENTS={AGENT}"]
    hub = Container(engine, "hub-check", folder / "data", options)
    async with running(hub) as seconds:
        told(f"from start to ready: {seconds:.1f} s, of them {cpu_s(hub.pid):.1f} s of CPU")
        told(f"memory when ready: {memory_mb(hub.pid)} MB")
        written = hub.inside("sh", "-c", f"for p in {PLACES}; do (: > $p/x) 2>&- && echo $p; done; true")
        must(written.split() == WRITABLE, f"its user can write in {written.split()}")
        ids = hub.inside("sh", "-c", "id -u; id -g; grep -E 'NoNewPrivs|CapEff' /proc/self/status").split()
        must(ids == [str(UID), str(UID), "CapEff:", "0" * 16, "NoNewPrivs:", "1"], f"its rights are {ids}")
        (hub.folder / "x").unlink()
        started = perf_counter()
        must(hub.is_healthy(), "HEALTHCHECK fails while the hub is ready")
        told(f"HEALTHCHECK with its process: {perf_counter() - started:.1f} s")
        run, items = await items_of_a_run(hub, folder)
        must(run["state"] == "COMPLETED" and run["units_failed"] == 0, f"the run ended with {run}")
        kinds = Counter(Path(path).suffix for path, _ in items)
        must(kinds[".md"] == len(BOXES), f"{items} are not the {len(BOXES)} check boxes")
        must(kinds[".docx"] > 0 and kinds[".pdf"] == 1, f"items of the other files: {kinds}")
        told(f"a run over {run['units_total']} files: {len(items)} items; memory {memory_mb(hub.pid)} MB")
        hub.inside("hub", "backup", "/data/now.backup")
        os.kill(hub.pid, signal.SIGSTOP)  # it hangs
        must(not hub.is_healthy(), "HEALTHCHECK succeeds while the hub hangs")
        os.kill(hub.pid, signal.SIGCONT)
        started = perf_counter()
        code = await hub.stop()
        must(
            code == 0 and "hub.stopped" in hub.log(),
            f"SIGTERM ended it with {code}: {hub.log()[-2000:]}",
        )
        told(f"stopped in good order after {perf_counter() - started:.1f} s")
    anew = Container(engine, "hub-check", folder / "restored", options)
    mounts = [f"--volume={anew.folder}:/data", f"--volume={hub.folder}/now.backup:/hub.backup:ro"]
    words = ["run", "--rm", "--network=host", "--cgroups=disabled", *options, *mounts, IMAGE]
    engine.podman(*words, "restore", "--yes", "/hub.backup")
    async with running(anew):
        kept = (await anew.get("/v1/summary"))["items"]["waiting"]
        must(kept == len(items), f"{kept} of {len(items)} items are there after a restore")
        told(f"restored into an empty folder: {kept} items")


def compose() -> dict[str, Any]:
    """Return the parsed compose file."""
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return parsed


def options_of(service: Mapping[str, Any], secrets: Path, settings: Path) -> Iterator[str]:
    """Yield the options of Podman for a service of the compose file."""
    known = {"image", "build", "depends_on", "ports", "networks", "restart", "mem_limit", "pids_limit"}
    known |= {"hostname", "stop_grace_period", "environment", "secrets", "volumes"}
    known |= {"read_only", "cap_drop", "security_opt"}
    must(not service.keys() - known, f"keys of the service that are not checked: {service.keys() - known}")
    yield from (f"--env={name}={value}" for name, value in service["environment"].items())
    yield from (f"--volume={secrets / name}:/run/secrets/{name}:ro" for name in service["secrets"])
    for volume in service["volumes"]:
        source, target, *mode = volume.split(":")
        if source.startswith("./"):
            must(source == "./settings", f"the folder {source} is not checked")
            yield f"--volume={settings}:{target}:{mode[0]}"
    if service["read_only"]:
        yield from ("--read-only", "--read-only-tmpfs=false")
    yield from (f"--cap-drop={name.lower()}" for name in service["cap_drop"])
    yield from (f"--security-opt={option.removesuffix(':true')}" for option in service["security_opt"])


@asynccontextmanager
async def at(address: str, port: int, target: int) -> AsyncIterator[None]:
    """Listen at an address of this network, and forward connections to a port of this machine."""

    async def pumped(source: SocketStream, sink: SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for data in source:
                await sink.send(data)
        with suppress(OSError, anyio.BrokenResourceError):
            await sink.send_eof()

    async def carried(client: SocketStream) -> None:
        server = await anyio.connect_tcp("127.0.0.1", target)
        async with client, server, anyio.create_task_group() as both:
            both.start_soon(pumped, client, server)
            both.start_soon(pumped, server, client)

    listener = await anyio.create_tcp_listener(local_host=address, local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, carried)
        yield
        tasks.cancel_scope.cancel()


async def composed(engine: Engine, folder: Path) -> None:
    """Run the hub of the compose file with the other services of it."""
    services = compose()["services"]
    names = {name: f"10.89.0.{number}" for number, name in enumerate(services, 2) if name != "hub"}
    for address in names.values():
        await anyio.run_process(["ip", "address", "add", f"{address}/32", "dev", "lo"])
    secrets, settings = folder / "secrets", folder / "settings"
    (folder / "notes").mkdir(parents=True)
    (folder / "notes/mail.txt").write_text(f"Dear all,\n\n{PLANTED}\n")
    for place in (secrets, settings):
        place.mkdir()
    user, database = (services["postgres"]["environment"][f"POSTGRES_{key}"] for key in ("USER", "DB"))
    (secrets / "database-url").write_text(f"postgresql://{user}:secret@postgres/{database}\n")
    (secrets / "model-key").write_text("key\n")
    (settings / "hub.toml").write_text(f"agents = {AGENT}\n")
    options = [*options_of(services["hub"], secrets, settings), f"--env=HUB__MODEL__NAME={MODEL_NAME}"]
    options += [f"--add-host={name}:{address}" for name, address in names.items()]
    async with AsyncExitStack() as others:
        server = others.enter_context(running_postgres())
        server.sql(f"CREATE DATABASE {database}")
        nats = others.enter_context(running_nats())
        oracle = await others.enter_async_context(oracle_process())
        model = int(oracle.base_url.removesuffix("/v1").rpartition(":")[2])
        for name, port, target in (
            ("postgres", 5432, server.port),
            ("nats", 4222, nats.port),
            ("model", 8080, model),
        ):
            await others.enter_async_context(at(names[name], port, target))
        hub = Container(engine, "hub-compose", folder / "data", options)
        async with running(hub) as seconds:
            told(f"as compose.yaml says, from start to ready: {seconds:.1f} s")
            run, items = await items_of_a_run(hub, folder)
            must(run["state"] == "COMPLETED", f"the run ended with {run}")
            must(len(items) == 1, f"items of the model: {items}")
            rows = server.sql("SELECT count(*) FROM items", url=server.url(database))
            must(rows[0][0] >= 1, "no item is in PostgreSQL")
            issues = {issue["id"] for issue in (await hub.get("/v1/issues"))["issues"]}
            must(issues <= {"listener.insecure"}, f"issues: {issues}")
            link = await anyio.to_thread.run_sync(hub.inside, "hub", "dashboard")
            must(link.startswith("http://127.0.0.1:8771/"), f"the link of the dashboard is {link}")
            code = await hub.stop()
            must(code == 0, f"SIGTERM ended it with {code}")
            told("an item of the model came through PostgreSQL and NATS")


def build(engine: Engine, base: str) -> None:
    """Build the image, on *base* or on one of Debian's packages."""
    started = perf_counter()
    base = base or debian_image(engine, *BASE)
    told(f"base {base}: {size_mb(engine, base)} MB, there after {perf_counter() - started:.0f} s")
    started = perf_counter()
    engine.build(IMAGE, f"--build-arg=BASE={base}")
    engine.podman("image", "prune", "--force")  # what earlier builds left
    told(f"image: {size_mb(engine, IMAGE)} MB, built in {perf_counter() - started:.0f} s")
    debian_image(engine, *QUADLET)


def run_in(engine: Engine) -> None:
    """Run the image in every way, in a network and a tree of mounts that are this process's own."""
    with tempfile.TemporaryDirectory() as name:
        for part in (under_systemd, alone, composed):
            place = Path(name, part.__name__)
            place.mkdir()
            anyio.run(part, engine, place)


def messages_of(error: BaseException) -> Iterator[str]:
    """Yield the messages of an error, or of all errors of a group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from messages_of(inner)
    else:
        yield str(error)


def main() -> int:
    """Build, then do the rest in a network of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", default="", help="image to build on, by default one of Debian's packages")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if (why := why_not_here()) is not None:
        told(f"no container can run here: {why}")
        return 69
    engine = Engine(cache_folder("containers"))
    is_wrong = False
    try:
        if chosen.inside:
            run_in(engine)
        else:
            build(engine, chosen.base)
    except* Wrong as group:
        is_wrong = True
        for message in messages_of(group):
            told(f"wrong: {message}")
    if is_wrong or chosen.inside:
        return int(is_wrong)
    # crun refuses a mixed tree of control groups, which is hidden from it here.
    hide = "mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; ip link set lo up"
    words = ["unshare", "--mount", "--net", "sh", "-c", f'{hide}; exec "$@"', "sh"]
    return subprocess.run([*words, sys.executable, "-m", __spec__.name, INSIDE], check=False).returncode


def size_mb(engine: Engine, image: str) -> int:
    return int(engine.podman("image", "inspect", "--format", "{{.Size}}", image).stdout) // 1_000_000


if __name__ == "__main__":
    sys.exit(main())
