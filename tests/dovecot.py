"""A real IMAP server for tests: Dovecot as a child process, in a folder of its own, on a port of loopback."""

import grp
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PASSWORD = "imap-password-of-the-shop"
HOW_TO_GET_IT = "no Dovecot here: apt-get install dovecot-imapd (DOVECOT_REQUIRED=1 makes this a failure)"


def missing() -> str:
    """Why there is none, empty where there is one."""
    return "" if _binary() else HOW_TO_GET_IT


def _binary() -> str | None:
    return shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin")


class Dovecot:
    """One server. Everybody may log in with the one password; each has a Maildir, made at the first log-in."""

    def __init__(self, folder: Path, password: str = PASSWORD) -> None:
        self.folder = folder
        self._password = password
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # Mails of root are not served; nobody else can become another user.
        self._user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        (folder / "home").mkdir()
        os.chown(folder / "home", self._user.pw_uid, self._user.pw_gid)

    def start(self) -> None:
        config = self.folder / "dovecot.conf"
        config.write_text(self._config())
        binary = _binary()
        assert binary is not None
        self._process = subprocess.Popen([binary, "-F", "-c", str(config)], start_new_session=True)
        until = time.monotonic() + 20
        while not _listens(self.port):
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.02)

    def kill(self) -> None:
        """As by a power cut of its processes."""
        if self._process is None:
            return
        whole = psutil.Process(self._process.pid)
        processes = [whole, *whole.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(processes, timeout=10)
        self._process = None
        (self.folder / "run" / "master.pid").unlink(missing_ok=True)

    def log(self) -> str:
        file = self.folder / "log"
        return file.read_text() if file.exists() else ""

    def deliver(self, user: str, *mails: bytes, folder: str = "") -> None:
        """Puts mails into a Maildir, as its documents say: under a new name, in one step."""
        box = self._maildir(user, folder)
        for n, raw in enumerate(mails):
            name = f"{time.time_ns()}.{n}.test"
            (box / "tmp" / name).write_bytes(raw)
            os.chown(box / "tmp" / name, self._user.pw_uid, self._user.pw_gid)
            (box / "tmp" / name).rename(box / "new" / name)

    def renumber(self, user: str) -> None:
        """Another UIDVALIDITY and numbers from one on, as after a restored backup."""
        self.kill()
        box = self._maildir(user)
        for file in box.glob("dovecot*"):
            if file.is_file():
                file.unlink()
        uidlist = box / "dovecot-uidlist"
        uidlist.write_text(f"3 V{int(time.time()) + 1000} N1 G{os.urandom(16).hex()}\n")
        os.chown(uidlist, self._user.pw_uid, self._user.pw_gid)
        self.start()

    def _maildir(self, user: str, folder: str = "") -> Path:
        box = self.folder / "home" / user / "Maildir"
        box = box / f".{folder}" if folder else box
        for name in ("cur", "new", "tmp"):
            (box / name).mkdir(parents=True, exist_ok=True)
        for path in (box.parent.parent, box.parent, box, *(box / n for n in ("cur", "new", "tmp"))):
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        return box

    def _config(self) -> str:
        me, group = self._user.pw_name, grp.getgrgid(self._user.pw_gid).gr_name
        return f"""
base_dir = {self.folder}/run
state_dir = {self.folder}/run
log_path = {self.folder}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = {me}
default_login_user = {me}
default_internal_group = {group}
mail_location = maildir:~/Maildir
maildir_stat_dirs = yes
mail_fsync = never
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
passdb {{
  driver = static
  args = password={self._password}
}}
userdb {{
  driver = static
  args = uid={self._user.pw_uid} gid={self._user.pw_gid} home={self.folder}/home/%u
}}
"""


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def dovecot(folder: Path, password: str = PASSWORD) -> Iterator[Dovecot]:
    """Running in that folder until left; its path must be one that every user may enter."""
    server = Dovecot(folder, password)
    server.start()
    try:
        yield server
    finally:
        server.kill()
