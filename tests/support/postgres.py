"""A real PostgreSQL server for tests: in a temporary folder, as an unprivileged user, gone with this process.

``running_postgres`` starts one; ``Postgres.database`` gives a test a database of its
own, with all tables and no rows, in about 20 ms. The server can be killed, stopped
and started again.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio
import asyncpg
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal, start_blocking_portal

from storage.kernel.migrate import upgrade_tables
from tests.support.blocking import blocking_engine
from tests.support.certificates import write_certificate
from tests.support.programs import free_port

if TYPE_CHECKING:
    import pwd  # imported where it is used: Windows has none

USER = "hub"  # may do everything, and is asked for no password
GUARDED, PASSWORD = "guarded", "correct horse"  # is asked for one
START_S = 60.0  # a busy machine
POLL_S = 0.01
STARTS, PAUSE_S = 20, 0.2  # of a server that was killed: its memory may be held for a moment
ROOM_BYTES = 2**30  # of which it takes a fifth
PATTERN = "pattern"  # the database that has the tables, and is copied

# A killed server loses nothing by this, only a power cut would.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "dynamic_shared_memory_type": "mmap",  # in its folder, so that a killed server leaves nothing elsewhere
}
_WHO_MAY = f"host all {USER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


def why_no_postgres() -> str | None:
    """Why no server can be started here, or ``None`` where one can."""
    if _binaries() is None:
        return "no PostgreSQL server on this machine: apt-get install postgresql"
    if shutil.which("setpriv") is None:
        return "a server that should end with the tests needs setpriv: apt-get install util-linux"
    if os.geteuid() == 0 and account() is None:
        return "PostgreSQL does not run as root, and there is no account 'postgres' or 'nobody'"
    return None


@contextmanager
def running_postgres(parent: Path | None = None, *, buffers: str = "16MB") -> Iterator["Postgres"]:
    """A server on a free port of this machine, with its files in *parent*, by default in memory.

    *buffers*: memory for pages of tables; what has more is read from files.
    """
    with (
        TemporaryDirectory(prefix="hub-postgres-", dir=parent or _memory()) as name,
        start_blocking_portal() as portal,
    ):
        folder = Path(name)
        folder.chmod(0o711)  # the account of the server must get through
        server = Postgres(folder, portal, buffers)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Postgres:
    """One server. *portal* is the thread in which all that talks to it from outside of a loop does so."""

    def __init__(self, folder: Path, portal: BlockingPortal, buffers: str) -> None:
        binaries = _binaries()
        assert binaries is not None, why_no_postgres()
        self.portal = portal
        self.port = free_port()
        self._folder = folder
        self._buffers = buffers
        self._binaries = binaries
        self._account = account()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"test_{number}" for number in count())
        self._idle: list[str] = []
        self._has_pattern = False
        self._make()

    def url(self, database: str, *, user: str = USER, password: str | None = None) -> str:
        """Where a database of this server is."""
        login = user if password is None else f"{user}:{password.replace(' ', '%20')}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The address of a database with all tables and no rows, for one test alone.

        Made once and emptied afterwards: a new one is 300 files.
        """
        name = self._idle.pop() if self._idle else self._copy_pattern()
        yield self.url(name)
        self.run(_RESET.format(name=name), url=self.url("postgres"))
        self.run(_EMPTY, url=self.url(name))
        self._idle.append(name)

    @contextmanager
    def bare_database(self, *, tables: bool = False) -> Iterator[str]:
        """Create a database, empty or with the *tables* of this release; drop it afterwards."""
        name = self._copy_pattern() if tables else self._create("template0")
        try:
            yield self.url(name)
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, script: str, *, url: str) -> None:
        """Several statements, said by somebody from outside."""
        self.portal.call(_execute, url, script)

    def sql(self, statement: str, *values: object, url: str | None = None) -> list[Any]:
        """Rows of a statement that somebody from outside says."""
        return self.portal.call(_fetch, url or self.url("postgres"), statement, values)

    def sessions(self, url: str) -> int:
        """How many connections the database at *url* has."""
        statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
        return int(self.sql(statement, url.rpartition("/")[2])[0][0])

    def start(self) -> None:
        """Start it, again if need be, and wait until it answers."""
        settings = _SETTINGS | {
            "port": str(self.port),
            "shared_buffers": self._buffers,
            "unix_socket_directories": str(self._data),
        }
        # Dies with this process. setpriv comes after the change of account, which would undo it.
        command = ["setpriv", "--pdeathsig", "KILL", str(self._binaries / "postgres"), "-D", str(self._data)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        for _ in range(STARTS):
            self._process = self._as_account(command)
            if self.portal.call(self.answers, self._process, self.url("postgres")):
                return
        raise AssertionError(self._log.read_text())

    def cpu_seconds(self) -> float:
        """CPU time of the server with all its sessions, so far."""
        assert self._process is not None
        pid = self._process.pid
        sessions = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ticks = sum(_times(str(pid)))
        for session in sessions:
            with suppress(FileNotFoundError):  # it ended since it was listed
                ticks += sum(_times(session)[:2])
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """SIGKILL, with every process of it: none answers another word."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._process.kill()
        for child in children:  # alone, they would go on until they notice
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """In good order, and at once: it ends every connection and says why."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes no new connection, and refuses none; those that there are go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def over_tls(self) -> Iterator[Path]:
        """Let it speak TLS to those who ask for it. Yield its certificate."""
        files = write_certificate(self._folder, "postgres")
        if self._account is not None:
            os.chown(files.key, self._account.pw_uid, self._account.pw_gid)
        for name, value in zip(("ssl_cert_file", "ssl_key_file"), files, strict=True):
            self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self._switch_tls("on")
        try:
            yield files.certificate
        finally:
            self._switch_tls("off")

    def _switch_tls(self, state: str) -> None:
        self.sql(f"ALTER SYSTEM SET ssl = {state}")
        self.sql("SELECT pg_reload_conf()")
        while self.sql("SHOW ssl")[0][0] != state:
            pass

    async def waits(self, url: str) -> None:
        """Until somebody in that database waits for a lock."""
        database = url.rpartition("/")[2]
        while not self.sql(_WAITING, database)[0][0]:
            await anyio.sleep(POLL_S)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _make(self) -> None:
        self._data.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(self._data, self._account.pw_uid, self._account.pw_gid)
        command = [str(self._binaries / "initdb"), "-D", str(self._data), "-U", USER, "-A", "trust"]
        command += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        assert self._as_account(command).wait() == 0, self._log.read_text()
        (self._data / "pg_hba.conf").write_text(_WHO_MAY)

    def _as_account(self, command: list[str]) -> subprocess.Popen[bytes]:
        who: dict[str, Any] = {}
        if self._account is not None:
            who = {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_ENVIRONMENT, **who
            )

    @staticmethod
    async def answers(process: subprocess.Popen[bytes], url: str) -> bool:
        """Wait until a database at *url* answers; False if the process ended instead."""
        with anyio.fail_after(START_S):
            while process.poll() is None:
                try:
                    await (await asyncpg.connect(url)).close()
                    return True
                except (OSError, asyncpg.CannotConnectNowError):
                    await anyio.sleep(POLL_S)
        await anyio.sleep(PAUSE_S)
        return False

    def _create(self, template: str) -> str:
        name = next(self._names)
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _copy_pattern(self) -> str:
        if not self._has_pattern:
            self.sql(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'")
            self.sql(f"CREATE DATABASE {PATTERN} TEMPLATE template0")
            engine = blocking_engine(self.url(PATTERN), self.portal, poolclass=sa.NullPool)
            with engine.begin() as connection:
                upgrade_tables(connection, where=PATTERN)
            self._has_pattern = True
        return self._create(PATTERN)


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"
_RESET = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';
ALTER DATABASE {name} RESET ALL
"""
# DELETE and not TRUNCATE, which makes new files; as a replica, which does not look at references.
# A table without a page never had a row.
_EMPTY = """
SET session_replication_role = replica;
DO $$ DECLARE filled regclass; BEGIN
  FOR filled IN SELECT oid FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
      AND relname <> 'alembic_version'
  LOOP EXECUTE format('DELETE FROM %s', filled); END LOOP;
END $$
"""
_ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


async def _execute(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def _fetch(url: str, statement: str, values: tuple[object, ...]) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


def _times(pid: str) -> list[int]:
    """User and system time of a process, and of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) for field in fields[11:15]]


def _memory() -> str | None:
    """A folder in memory, where there is room: a server is a thousand files, and disks may be slow."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return None
    return "/dev/shm" if free >= ROOM_BYTES and os.access("/dev/shm", os.W_OK) else None


def _binaries() -> Path | None:
    """The folder of the newest server there is."""
    in_path = shutil.which("initdb")
    if in_path is not None and shutil.which("postgres") is not None:
        return Path(in_path).parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[4]))
    return debian[-1].parent if debian else None


def account() -> "pwd.struct_passwd | None":
    """Whom the server runs as: root may not; anybody else runs it as himself."""
    import pwd

    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known.get("nobody")
