"""A short soak; `tests/bench/soak.py` by itself is the long one."""

from soak import Soak


def test_random_cells_and_restarts_lose_no_reply_and_leave_nothing(kernel):
    soak = Soak(seed=20, kernel=kernel)
    try:
        soak.run(cells=60, restarts=6)
        soak.steady(20)
        soak.finish()
    finally:
        soak.close()
    assert soak.number == 80 and soak.counts["restart"] == 6
