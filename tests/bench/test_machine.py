"""Tests of what a process and all below it use."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.machine import rss_bytes, tree_cpu_s, tree_rss_bytes

_BURN = "x = 0\nwhile __import__('time').process_time() < 0.2: x += 1\n"
_SAY = "print(flush=True); input()"
_GRANDCHILD = f"""
import subprocess, sys
words = [sys.executable, "-c", {_BURN + _SAY!r}]
with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    {_SAY}
    child.communicate(b"\\n")
{_SAY}
"""


@contextmanager
def program(text: str) -> Iterator["subprocess.Popen[bytes]"]:
    words = [sys.executable, "-c", text]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        next_step(process)
        try:
            yield process
        finally:
            process.kill()


def next_step(process: "subprocess.Popen[bytes]", *, after: bytes = b"") -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(after)
    process.stdin.flush()
    assert process.stdout.readline() == b"\n"


def test_cpu_of_a_tree_includes_running_and_ended_grandchildren() -> None:
    with program(_GRANDCHILD) as child:
        assert tree_cpu_s(child.pid) >= 0.2  # seconds that the grandchild burnt
        next_step(child, after=b"\n")
        assert tree_cpu_s(child.pid) >= 0.15  # the time of ended children is rounded down


def test_memory_of_a_tree_is_the_sum_over_the_processes() -> None:
    with program(_GRANDCHILD) as child:
        assert tree_rss_bytes(child.pid) > rss_bytes(child.pid) + 2**20
