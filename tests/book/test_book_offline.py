"""The built book works in a network that has nothing but this machine: every page, and one test of each active part.

The other browser tests assert that no page asks for anything outside; here nothing outside could answer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.browser]

HERE = Path(__file__).parent
BROWSER_TESTS = ("test_book_browser.py", "test_active_pages.py")
CHOSEN = "quiet or map_narrows or search_finds or filmstrip_moves or answered_by_key"

# brings up the loopback device of the new network, proves that nothing else is there, and becomes pytest
INSIDE = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
    SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
    fcntl.ioctl(door, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", IFF_UP, b""))
    try:
        door.connect(("192.0.2.1", 9))
    except OSError:
        os.execv(sys.executable, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *sys.argv[1:]])
sys.exit("the network is still there")
"""


def test_the_book_needs_no_network(built_book: Path):
    unshare = shutil.which("unshare")
    assert unshare, "unshare comes with util-linux"
    alone = [unshare, "--net"] if os.geteuid() == 0 else [unshare, "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let us make a network of our own")
    done = subprocess.run(
        [*alone, sys.executable, "-c", INSIDE, *(str(HERE / name) for name in BROWSER_TESTS), "-k", CHOSEN],
        cwd=HERE.parent.parent, env=os.environ | {"DLCV_TEST_BOOK": str(built_book)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "5 passed" in done.stdout, done.stdout[-2000:]
