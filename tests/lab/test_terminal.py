"""Progress bars in a terminal, which is a pseudo terminal in tests."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

import pytest

ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(columns, *words):
    """What a command writes to a terminal with so many columns, including escape sequences."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [str(word) for word in words],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=os.environ | {"TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(follower)
    written = b""
    try:
        while chunk := os.read(leader, 65536):
            written += chunk
    except OSError:
        # How Linux says that the other side is closed.
        pass
    os.close(leader)
    assert process.wait(timeout=60) == 0, written.decode()
    return written


@pytest.mark.parametrize("columns", [80, 40])
def test_a_bar_stays_on_its_line_and_is_cleared(columns, command):
    written = in_terminal(columns, command, *"-p llama -t 4M model --device cpu test --steps 12 --sequence-length 256".split())
    lines = [line.decode() for line in re.split(rb"[\r\n]", ESCAPES.sub(b"\r", written))]
    bars = [line.rstrip() for line in lines if line.startswith("testing")]
    assert len(set(bars)) >= 3, written
    assert all(len(bar) <= columns for bar in bars), bars
    assert all(re.match(r"testing [█░]{16} \d+ %", bar) for bar in bars), bars
    # What was drawn last is cleared before the report, and the cursor is seen again.
    after = written[written.rindex("testing ".encode()) :]
    assert b"\x1b[2K" in after or b"\x1b[J" in after, after[:500]
    assert written.count(b"\x1b[?25l") <= written.count(b"\x1b[?25h")
