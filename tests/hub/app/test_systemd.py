"""What is said to the service manager, over a socket of ours, and what it hands over, by its own tool."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.app.systemd import ServiceManager
from tests.support.families import each

SHOW = """
import os, sys
from hub.app.systemd import ServiceManager
manager = ServiceManager()
for name, sock in manager.sockets.items():
    print(name, sock.family.name, sock.getsockname(), sock.get_inheritable())
print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        yield heard, str(path)


def test_states_arrive_as_lines_of_one_datagram(listening: tuple[socket.socket, str]) -> None:
    heard, path = listening
    environ = {"NOTIFY_SOCKET": path}
    ServiceManager(environ).notify(READY=1, STATUS="3 devices connected")
    assert heard.recv(100) == b"READY=1\nSTATUS=3 devices connected"
    assert environ == {}, "a child of ours must not speak for us"


def test_an_address_that_begins_with_an_at_is_abstract() -> None:
    name = f"hub-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{name}")
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).notify(WATCHDOG=1)
        assert heard.recv(100) == b"WATCHDOG=1"


def test_a_reload_is_framed_whichever_way_it_ends(listening: tuple[socket.socket, str]) -> None:
    heard, path = listening
    manager = ServiceManager({"NOTIFY_SOCKET": path})
    with pytest.raises(ValueError), manager.reloading(12.5):
        raise ValueError
    assert (heard.recv(100), heard.recv(100)) == (b"RELOADING=1\nMONOTONIC_USEC=12500000", b"READY=1")


def test_without_a_service_manager_nothing_happens(tmp_path: Path) -> None:
    alone = ServiceManager({})
    alone.notify(READY=1)
    assert (alone.sockets, alone.watchdog_s) == ({}, None)
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify(READY=1)


def test_a_service_manager_that_does_not_listen_delays_no_service(
    listening: tuple[socket.socket, str],
) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listening[1]})
    for _ in range(5_000):
        manager.notify(STATUS="x" * 200)


@each(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({}, None),
    ],
)
def test_a_watchdog_of_another_process_is_not_ours(environ: dict[str, str], watchdog_s: float | None) -> None:
    assert (ServiceManager(environ).watchdog_s, environ) == (watchdog_s, {})


def test_sockets_for_another_process_are_not_taken() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "devices:admin"}
    assert (ServiceManager(environ).sockets, environ) == ({}, {})


def test_sockets_are_taken_by_their_names_and_no_child_inherits_them(tmp_path: Path) -> None:
    unix = tmp_path / "admin.sock"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = _activated(["--listen", f"127.0.0.1:{port}", "--listen", str(unix)], "devices:admin", unix)
    assert done == [
        f"devices AF_INET ('127.0.0.1', {port}) False",
        f"admin AF_UNIX {unix} False",
        "[]",
    ]


def _activated(listen: list[str], names: str, unix: Path) -> list[str]:
    """What SHOW prints under systemd's own tool, which starts it once somebody knocks."""
    command = ["systemd-socket-activate", *listen, f"--fdname={names}"]
    with (
        subprocess.Popen(
            [*command, f"--setenv=PYTHONPATH={Path(__file__).parents[3]}", sys.executable, "-c", SHOW],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as running,
        socket.socket(socket.AF_UNIX) as knocking,
    ):
        while not _knocked(knocking, unix):
            assert running.poll() is None
        output, _ = running.communicate(timeout=20)
    return output.splitlines()


def _knocked(knocking: socket.socket, unix: Path) -> bool:
    try:
        knocking.connect(str(unix))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True
