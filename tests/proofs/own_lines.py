"""Lines of an owner beside mails of strangers: ``python -m tests.proofs.own_lines --seed 7``.

200 drawn pairs are played by fifties and all in one folder, on both databases, with saved mails and with a
mailbox. No line is hidden, dated or marked by a stranger, and doubles of the owner are one item.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from tests.hub.runs.test_authorship import Play
from tests.support.authorship import Pair, drawn_pairs
from tests.support.postgres import running_postgres


def main() -> int:
    """Play the pairs, and print what is wrong about them."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.own_lines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=200)
    asked = parser.parse_args()
    pairs = drawn_pairs(asked.pairs, asked.seed)
    far = 0
    with TemporaryDirectory() as folder, running_postgres() as server:

        def wrong(engine: str, some: Sequence[Pair], *, has_mailbox: bool) -> list[str]:
            with server.database() as fresh, TemporaryDirectory(dir=folder) as own:
                url = fresh if engine == "PostgreSQL" else f"sqlite:///{Path(own) / 'hub.db'}"
                return anyio.run(Play(some, has_mailbox=has_mailbox).wrong, url)

        for engine in ("SQLite", "PostgreSQL"):
            for has_mailbox in (False, True):
                for parts in ([pairs[nth::4] for nth in range(4)], [pairs]):
                    found = [what for some in parts for what in wrong(engine, some, has_mailbox=has_mailbox)]
                    mails = "a mailbox" if has_mailbox else "saved mails"
                    print(
                        f"{engine}, {mails}, {len(parts)} x {len(parts[0])}: {len(found)} wrong", *found[:5]
                    )
                    far += len(found)
    print(f"{len(pairs)} pairs of seed {asked.seed}: {far} wrong lines")
    return int(far > 0)


if __name__ == "__main__":
    sys.exit(main())
