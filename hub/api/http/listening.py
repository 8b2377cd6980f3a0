"""Listening sockets of the operators' interface: the Unix socket with its rights, and TCP ports."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hub.base.listen_errors import AnotherHub, CannotListen
from hub.base.toml.values import HostPort

_MAX_PATH_BYTES = 107  # sun_path of Linux, less its closing zero
_BACKLOG = 128


def check_path(path: Path) -> None:
    """Refuse a path that is too long for a Unix socket. Raises CannotListen."""
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise CannotListen(f"{path} is too long for a socket; choose a shorter folder with --state")


@contextmanager
def listen_on_unix(path: Path) -> Iterator[socket.socket]:
    """Listen at *path* with mode 0600 from the first moment; a dead hub's socket is replaced.

    Raises:
        AnotherHub: another process answers at the path.
        CannotListen: the path cannot be used.
    """
    check_path(path)
    _remove_dead(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)  # set before bind: a chmod after it would leave a gap
    try:
        listening.bind(os.fspath(path))
    except OSError as error:
        listening.close()
        raise CannotListen(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(umask)
    ours = path.lstat().st_ino
    try:
        with listening:
            listening.listen(_BACKLOG)
            listening.setblocking(False)
            yield listening
    finally:
        with suppress(FileNotFoundError):
            if path.lstat().st_ino == ours:  # another process may have replaced the socket
                path.unlink()


@contextmanager
def listen_on_tcp(address: HostPort, of: str = "devices") -> Iterator[socket.socket]:
    """Listen at *address*, which is a setting *of* a listener; port 0 takes a free one.

    Raises:
        CannotListen: the address is taken, or is not this machine's.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _not_at(address, of, error) from error
    with listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(_BACKLOG)
        except OSError as error:
            raise _not_at(address, of, error) from error
        listening.setblocking(False)
        yield listening


def _not_at(address: HostPort, of: str, error: OSError) -> CannotListen:
    where = f"{address}" if address.port else address.host
    refused = CannotListen(f"cannot listen on {where}: {error.strerror}")
    taken = "end the program that listens there, or " if error.errno == errno.EADDRINUSE else ""
    refused.hint = f"{taken}change address in [listen.{of}] of the settings"
    return refused


def _remove_dead(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            refused = CannotListen(f"{path} exists, and is not a socket")
            refused.hint = "move it away, or name another folder: --state DIR"
            raise refused
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise CannotListen(f"cannot use {path}: {error.strerror}") from error
        else:
            raise AnotherHub(path.parent)
