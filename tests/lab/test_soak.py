"""A short soak; `tests/bench/soak.py` by itself is the long one."""

import sys

from workbench import REPOSITORY

sys.path.append(str(REPOSITORY / "tests" / "bench"))

from soak import Soak  # noqa: E402


def test_cells_and_restarts_at_random_lose_no_reply_and_leave_nothing(kernel):
    soak = Soak(seed=20, kernel=kernel)
    try:
        soak.run(cells=60, restarts=6)
        soak.steady(20)
        soak.finish()
    finally:
        soak.close()
    assert soak.number == 80 and soak.counts["restart"] == 6
