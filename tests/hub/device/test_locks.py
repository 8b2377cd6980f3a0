"""Locks of a device's file: which process holds one, and that it ends with the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.device.inserts import LOCK, RUN_LOCK, DeviceFileError, held, is_in_use
from protocol.errors import ErrorCode
from tests.support.programs import ending, read_until

HOLD = """
import sys
from pathlib import Path
from hub.device.inserts import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_of_another_process_names_it_and_ends_when_it_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "desk.db"
    words = [sys.executable, "-c", HOLD, str(file)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as holder, ending(holder):
        assert holder.stdout is not None
        read_until(holder.stdout, "held\n")
        assert is_in_use(file) and not is_in_use(file, RUN_LOCK)
        with (
            pytest.raises(DeviceFileError, match=f"another device, process {holder.pid}, uses") as refused,
            held(file),
        ):
            pass
        assert refused.value.code is ErrorCode.DATABASE_BUSY
    assert not is_in_use(file)
    with held(file):
        assert is_in_use(file, LOCK)


def test_lock_stays_held_when_its_own_process_looks_at_it(tmp_path: Path) -> None:
    file = tmp_path / "desk.db"
    with held(file):
        assert is_in_use(file)
        with pytest.raises(DeviceFileError), held(file):
            pass
        words = [sys.executable, "-c", HOLD, str(file)]
        other = subprocess.run(words, input="", capture_output=True, text=True, check=False)
    assert (other.returncode, f"another device, process {os.getpid()}, uses" in other.stderr) == (1, True)


def test_lock_that_cannot_be_taken_is_named(tmp_path: Path) -> None:
    file = tmp_path / "desk.db"
    (tmp_path / "desk.db.lock-sqlite").write_text("not a database, but longer than its header" * 20)
    with pytest.raises(DeviceFileError, match=r"desk.db.lock-sqlite: file is not a database"), held(file):
        pass
