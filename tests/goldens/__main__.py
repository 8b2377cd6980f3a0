"""Write the goldens anew: ``python -m tests.goldens [SET...]``."""

import sys

from tests.goldens import SETS, path_of, written

for name in sys.argv[1:] or SETS:
    path_of(name).write_text(written(name), encoding="utf-8")
