"""The hub as a program whose event loop hangs for good once it gets SIGUSR2.

``python -m tests.support.hung_hub`` takes the words of ``hub``.
"""

import signal

from hub.cli.app import main


def _hang(*_: object) -> None:
    while True:
        signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, _hang)
    main()
