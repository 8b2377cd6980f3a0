"""The address of a database on a server: who is let in, what is told to people, and what is not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.kernel.address import fault_of, has_password, shown
from storage.kernel.database import DatabaseUnavailable
from storage.store import open_store
from tests.support.certificates import write_certificate
from tests.support.families import each
from tests.support.postgres import GUARDED, PASSWORD, Postgres


@pytest.mark.parametrize(
    ("user", "password", "port", "told"),
    [
        (GUARDED, "wrong secret", None, r"lets this hub not in"),
        (GUARDED, PASSWORD, None, r"lets this hub not do that: permission denied"),
        (GUARDED, "secret", 1, "cannot be reached"),
        (GUARDED, "se@cret", 1, "cannot be reached|no address"),
        (GUARDED, "se@cret:secret", 1, "no address"),
    ],
)
async def test_no_error_contains_the_password(
    postgres: Postgres, url: str, user: str, password: str, port: int | None, told: str
) -> None:
    address = postgres.url(url.rpartition("/")[2], user=user, password=password)
    if port is not None:
        address = address.replace(f":{postgres.port}/", f":{port}/")
    with pytest.raises(DatabaseUnavailable, match=told) as refused:
        async with open_store(address):
            pass
    error: BaseException | None = refused.value
    while error is not None:
        assert "secret" not in str(error)
        assert PASSWORD not in str(error)
        error = error.__cause__
    assert f"postgresql://{user}:***@" in str(refused.value)


@each(
    ("url", "people_see"),
    [
        ("postgresql://hub@db/hub", "postgresql://hub@db/hub"),
        ("postgresql://hub:pw@db:5432/hub?sslmode=require", "postgresql://hub:***@db:5432/hub"),
        ("postgresql://hub:p@w?/@db/hub", "postgresql://hub:***@db/hub"),
        ("postgresql://db/hub?password=pw", "postgresql://db/hub"),
        ("sqlite:///hub.db", "sqlite:///hub.db"),
    ],
)
def test_database_address_is_shown_without_the_password(url: str, people_see: str) -> None:
    assert (shown(url), has_password(url)) == (people_see, "pw" in url or "p@w" in url)


async def test_a_missing_database_is_reported(postgres: Postgres) -> None:
    with pytest.raises(DatabaseUnavailable, match=r'database "nowhere" does not exist'):
        async with open_store(postgres.url("nowhere")):
            pass


@pytest.mark.parametrize("missing", ["asyncpg", "greenlet"])
def test_missing_database_driver_error_names_the_package_to_install(missing: str) -> None:
    opening = "anyio.run(open_store('postgresql://hub@db/hub').__aenter__)"
    program = (
        f"import anyio, sys; sys.modules[{missing!r}] = None; from storage.store import open_store; {opening}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert re.search(
        rf"DatabaseUnavailable: .*needs {missing}.*pip install 'device-hub\[cluster\]'", done.stderr
    )


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("sslmode=require", "speaks no TLS, which the sslmode of the address demands"),
        ("sslmode=always", "sslmode=always of the address is not known; known are disable,"),
        ("sslmode=verify-full&sslrootcert=/missing.crt", "'/missing.crt' of the option 'sslrootcert'"),
        ("connect_timeout=3", "the option 'connect_timeout' of the address is not known"),
        ("target_session_attrs=read-only", "None of the hosts match the target"),
    ],
)
async def test_unfulfillable_address_option_is_refused_by_name(url: str, options: str, fault: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot open the database") as refused:
        async with open_store(f"{url}?{options}"):
            pass
    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_tls_connection_to_a_server_requires_a_trusted_certificate(
    postgres: Postgres, url: str, tmp_path: Path
) -> None:
    stranger = write_certificate(tmp_path, "stranger").certificate
    with postgres.over_tls() as authority:
        async with open_store(f"{url}?sslmode=verify-full&sslrootcert={authority}") as store:
            assert await store.read(_is_over_tls)
        with pytest.raises(
            DatabaseUnavailable, match=r"certificate is not trusted .*; sslrootcert=FILE names"
        ):
            async with open_store(f"{url}?sslmode=verify-full&sslrootcert={stranger}"):
                pass


def _is_over_tls(c: sa.Connection) -> bool:
    return bool(c.execute(sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar_one())


@each(
    ("option", "known"),
    [
        ("sslmode=foo", "disable, allow, prefer, require, verify-ca, verify-full"),
        ("sslnegotiation=tls", "postgres, direct"),
        ("ssl_min_protocol_version=1.2", "TLSv1, TLSv1.1, TLSv1.2, TLSv1.3"),
        ("target_session_attrs=writable", "any, primary, standby, prefer-standby, read-write, read-only"),
        ("pgbouncer=yes", "true, false"),
    ],
)
def test_address_option_with_an_unknown_value_is_refused_with_the_known_values(
    option: str, known: str
) -> None:
    fault = fault_of(f"postgresql://hub@db/hub?{option}")
    assert fault == f"{option} of the address is not known; known are {known}"
    assert fault_of(f"postgresql://hub@db/hub?{option.partition('=')[0]}={known.partition(',')[0]}") is None
