"""A real IMAP server for tests: dovecot in a temporary folder, unprivileged, gone with this process.

``running_dovecot`` starts one on loopback. Everybody may log in with the password ``secret``; a mailbox
comes to be with its first login or delivery. Mails are laid into the Maildir, thousands in a second.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from imaplib import IMAP4
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from hub.base.clock import SystemClock
from tests.support.certificates import Files, write_certificate
from tests.support.programs import free_port

PASSWORD = "an-open-SESAME/for+all"
INBOX = "INBOX"
START_S = 30.0  # a busy machine
POLL_S = 0.01


def why_no_dovecot() -> str | None:
    """Why no server can be started here, or ``None`` where one can."""
    if _binary() is None:
        return "no dovecot on this machine: apt-get install dovecot-imapd"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "a server that should not run as root needs setpriv: apt-get install util-linux"
    return None


@contextmanager
def running_dovecot(*, introspection_url: str | None = None) -> Iterator["Dovecot"]:
    """A server on free ports of this machine.

    Args:
        introspection_url: who is asked about tokens (RFC 7662); with it, XOAUTH2 and OAUTHBEARER are offered.
    """
    with TemporaryDirectory(prefix="hub-dovecot-") as name:
        server = Dovecot(Path(name), introspection_url)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Dovecot:
    """One server.

    Attributes:
        port: without TLS, and with STARTTLS; *tls_port*: with TLS from the first byte.
        certificate: of both, for ``localhost`` and ``127.0.0.1``.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, introspection_url: str | None = None) -> None:
        assert why_no_dovecot() is None
        self.port, self.tls_port = free_port(), free_port()
        self._folder = folder
        import pwd

        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._clock = SystemClock()
        self._names = count()
        for part in ("run", "mail", "etc"):
            (folder / part).mkdir()
        files: Files = write_certificate(folder / "etc")
        self.certificate = files.certificate
        self._write_settings(files, introspection_url)
        self._own(folder)

    # --- the server ---

    def start(self) -> None:
        """Start it, again if need be, and wait until it greets."""
        binary = _binary()
        assert binary is not None
        command = [str(binary), "-F", "-c", str(self._folder / "etc" / "dovecot.conf")]
        if self._account is not None:
            who = ["--reuid=nobody", f"--regid={self._account.pw_gid}", "--clear-groups"]
            command = ["setpriv", *who, "--pdeathsig", "KILL", *command]
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        ends = self._clock.monotonic() + START_S
        while True:
            with suppress(OSError, IMAP4.error):
                self._client().logout()
                return
            if self._process.poll() is not None or self._clock.monotonic() > ends:
                raise AssertionError(f"dovecot did not start: {self.log}")
            Event().wait(POLL_S)

    def stop(self) -> None:
        """In good order; every connection ends."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()

    def kill(self) -> None:
        """SIGKILL, with every process of it: connections end in the middle of a word."""
        children = _descendants(self._process.pid)
        self._process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait()
        (self._folder / "run" / "master.pid").unlink(missing_ok=True)

    @property
    def log(self) -> str:
        """What it has told so far."""
        files = (self._folder / "dovecot.log", self._folder / "out")
        return "".join(file.read_text("utf-8", "replace") for file in files if file.exists())

    # --- mailboxes ---

    def fresh_user(self) -> str:
        """A name that nobody had before."""
        return f"user{next(self._names)}"

    def deliver(
        self,
        user: str,
        mails: Iterable[bytes],
        *,
        folder: str = INBOX,
        received: Sequence[float] = (),
        flags: str = "",
    ) -> int:
        """Lay mails into a folder, which is made where it is missing; returns how many.

        Args:
            received: when each came (epoch seconds): its INTERNALDATE; by default now, one after the other.
            flags: Maildir's letters, as in ``S`` for seen.
        """
        place = self._place(user, folder)
        made = 0
        for made, mail in enumerate(mails, 1):
            number = next(self._names)
            at = received[made - 1] if received else self._clock.now().timestamp()
            name = f"{int(at)}.M{number:09d}P{os.getpid()}.test,S={len(mail)}"
            temporary = place / "tmp" / name
            temporary.write_bytes(mail)
            os.utime(temporary, (at, at))
            self._own(temporary)
            temporary.rename(place / ("cur" if flags else "new") / (f"{name}:2,{flags}" if flags else name))
        return made

    def client(self, user: str) -> IMAP4:
        """A logged-in client of the standard library, to look and to change things from outside."""
        client = self._client()
        client.login(user, PASSWORD)
        return client

    def recreate(self, user: str, folder: str) -> None:
        """Delete a folder and make it again: it has another UIDVALIDITY."""
        client = self.client(user)
        client.delete(folder)
        client.create(folder)
        client.logout()

    def count(self, user: str, what: str, folder: str = INBOX) -> int:
        """How many mails: MESSAGES or UNSEEN."""
        client = self.client(user)
        _, told = client.status(f'"{folder}"', f"({what})")
        client.logout()
        return int(bytes(told[0]).rstrip(b")").rsplit(b" ", 1)[1])

    def hide(self, user: str, numbers: Iterable[int]) -> None:
        """Make the files of messages of INBOX unreadable for the server, which hangs up where it needs them.

        *numbers*: in the order of delivery, from 1.
        """
        files = sorted(
            (file for part in ("new", "cur") for file in (self._place(user, INBOX) / part).iterdir()),
            key=lambda file: [int(number) for number in re.findall(r"\d+", file.name)],
        )
        for number in numbers:
            files[number - 1].chmod(0)

    def _place(self, user: str, folder: str) -> Path:
        place = self._folder / "mail" / user
        if folder != INBOX:
            place /= "." + folder.replace("/", ".")
        if not (place / "cur").exists():
            for part in ("tmp", "new", "cur"):
                (place / part).mkdir(parents=True, exist_ok=True)
            if folder != INBOX:
                (place / "maildirfolder").touch()
            self._own(self._folder / "mail" / user)
        return place

    def _client(self) -> IMAP4:
        return IMAP4(self.host, self.port, timeout=START_S)

    def _own(self, path: Path) -> None:
        """Give *path* and all below it to the server's account."""
        if self._account is None:
            return
        for one in [path, *(path.rglob("*") if path.is_dir() else ())]:
            os.chown(one, self._account.pw_uid, self._account.pw_gid)

    def _write_settings(self, files: Files, introspection_url: str | None) -> None:
        etc = self._folder / "etc"
        import grp
        import pwd

        uid, gid = os.getuid(), os.getgid()
        if self._account is not None:
            uid, gid = self._account.pw_uid, self._account.pw_gid
        user = pwd.getpwuid(uid).pw_name
        group = grp.getgrgid(gid).gr_name
        mechanisms, passdb = "", ""
        if introspection_url is not None:
            mechanisms = "xoauth2 oauthbearer"
            (etc / "oauth2").write_text(
                f"introspection_mode = post\nintrospection_url = {introspection_url}\n"
                "username_attribute = sub\nactive_attribute = active\nactive_value = true\n"
            )
            passdb = f"passdb {{\n driver = oauth2\n mechanisms = {mechanisms}\n args = {etc / 'oauth2'}\n}}"
        (etc / "dovecot.conf").write_text(
            _SETTINGS.format(
                folder=self._folder,
                port=self.port,
                tls_port=self.tls_port,
                certificate=files.certificate,
                key=files.key,
                user=user,
                group=group,
                uid=uid,
                gid=gid,
                mechanisms=mechanisms,
                passdb=passdb,
                password=PASSWORD,
            )
        )


_SETTINGS = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols = imap
listen = 127.0.0.1
disable_plaintext_auth = no
auth_mechanisms = plain login {mechanisms}
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
mail_location = maildir:{folder}/mail/%u
mail_fsync = never
auth_failure_delay = 0 secs
{passdb}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Archive {{
    auto = create
    special_use = \\Archive
  }}
  mailbox Junk {{
    auto = create
    special_use = \\Junk
  }}
}}
protocol imap {{
  mail_max_userip_connections = 50
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""


def _binary() -> Path | None:
    found = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin")
    return None if found is None else Path(found)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [*_descendants(int(child)), int(child)]
    return found
