"""Jail of a process connector: gives up rights, memory and network before the program starts.

Started by ``process`` with an order in JSON. Standard input and output are the lines between hub and
connector. If the jail cannot be closed, one line with the reason replaces the program.

A *companion*, as a server of others, gets a jail of its own. Its standard input and output are pipes
to the first program, whose last two arguments are the descriptors to read and to write.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

# The flag -I removes this project from the path. Behind the three places of the standard library, and before
# installed packages, so that the parent's code runs here, too.
sys.path.insert(3, str(Path(__file__).parents[2]))

from hub.text import confinement


def main() -> None:
    """Close the jail and run the program of the order; see ``process.Order``."""
    confinement.close_descriptors()
    order = json.loads(sys.argv[1])
    if "companion" in order:
        order = _companion(order)
    try:
        confinement.die_with(order["parent"])
        confinement.leave_others()
        lacking = [] if confinement.leave_files(order["readable"]) else ["Landlock"]
        confinement.limit(memory_bytes=order["memory_bytes"], seconds=order["seconds"], output_bytes=0)
        lacking += [] if confinement.lock(confinement.FOR_PROGRAMS) else ["seccomp"]
        if lacking and not order["accepts_less"]:
            raise confinement.Unconfined(
                f"the connector's jail does not close: this machine has no {' and no '.join(lacking)} (Linux"
                " 5.13 on x86-64 or ARM64 has both); settings.accept_weaker_jail = true starts it anyway"
            )
        os.chdir(order["folder"])
        os.execve(order["command"][0], order["command"], {})
    except confinement.Unconfined as error:
        _answer(str(error))
    except OSError as error:
        _answer(f"{order['command'][0]} cannot be started in its jail: {error.strerror}")


def _companion(order: dict[str, Any]) -> dict[str, Any]:
    """Return the order of this process: in the child, that of the program beside the first one."""
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()
    first = os.getpid()
    if os.fork():
        os.close(to_read)
        os.close(from_write)
        os.set_inheritable(from_read, True)
        os.set_inheritable(to_write, True)
        return order | {"command": [*order["command"], str(from_read), str(to_write)]}
    os.dup2(to_read, 0)
    os.dup2(from_write, 1)
    for pipe in (to_read, to_write, from_read, from_write):
        os.close(pipe)
    return {**order["companion"], "parent": first}


def _answer(reason: str) -> None:
    sys.stdout.write(json.dumps({"jail": reason}) + "\n")


if __name__ == "__main__":
    main()
