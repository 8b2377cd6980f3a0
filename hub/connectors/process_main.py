"""Jail of a process connector: gives up all that a connector does not need, then becomes its program.

Started by ``process`` with an order in JSON. Standard input and output are the lines between hub and
connector. If the jail cannot be closed, one line with the reason replaces the program.
"""

import json
import os
import sys
from pathlib import Path

# The flag -I removes this project from the path. Behind the three places of the standard library, and before
# installed packages, so that the parent's code runs here, too.
sys.path.insert(3, str(Path(__file__).parents[2]))

from hub.text import confinement


def main() -> None:
    """Close the jail and run the program of the order; see ``process.Order``."""
    order = json.loads(sys.argv[1])
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
        os.execve(order["command"][0], order["command"], {})
    except confinement.Unconfined as error:
        _answer(str(error))
    except OSError as error:
        _answer(f"{order['command'][0]} cannot be started in its jail: {error.strerror}")


def _answer(reason: str) -> None:
    sys.stdout.write(json.dumps({"jail": reason}) + "\n")


if __name__ == "__main__":
    main()
