"""A real PgBouncer before the PostgreSQL server of the tests, in transaction mode."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.support.postgres import USER, Postgres, account
from tests.support.programs import end_of, free_port

_SETTINGS: Final = """\
[databases]
* = host=127.0.0.1 port={server} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
server_reset_query =
ignore_startup_parameters = {ignored}
"""
_DEBIAN: Final = "/usr/sbin/pgbouncer"


def why_no_pgbouncer() -> str | None:
    """Return why no PgBouncer can be started here; None where one can."""
    return None if _binary() else "no PgBouncer on this machine: apt-get install pgbouncer"


@contextmanager
def running_pgbouncer(server: Postgres, *, connections: int = 2, ignored: str = "") -> Iterator[str]:
    """Run PgBouncer with *connections* to each database of *server*. Yield the start of its addresses.

    Args:
        ignored: startup parameters that it ignores, rather than refuse the connection.
    """
    binary = _binary()
    assert binary is not None, why_no_pgbouncer()
    with TemporaryDirectory(prefix="hub-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "pgbouncer.ini"
        port = free_port()
        settings = {
            "server": server.port,
            "user": USER,
            "port": port,
            "connections": connections,
            "ignored": ignored,
        }
        file.write_text(_SETTINGS.format(**settings))
        command = ["setpriv", "--pdeathsig", "KILL", binary, str(file)]
        ids: dict[str, Any] = {}
        if (who := account()) is not None:
            ids = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **ids)
        try:
            address = f"postgresql://{USER}@127.0.0.1:{port}"
            is_up = server.portal.call(server.answers, process, f"{address}/postgres")
            assert is_up, f"PgBouncer ended with {process.returncode}: {end_of(folder / 'log')}"
            yield address
        finally:
            process.terminate()
            process.wait()


def _binary() -> str | None:
    return shutil.which("pgbouncer") or (_DEBIAN if os.access(_DEBIAN, os.X_OK) else None)
