"""The warm parent's large pages: only its own plain memory, and never longer than nobody asks for anything."""

import socket

from autograder.sandbox.inside import large_pages

MAPS = """\
00400000-00800000 r-xp 00000000 fe:00 12 /usr/bin/python3
00a00000-01100000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f0000500000 rw-p 00000000 00:00 0
7f0000600000-7f0000a00000 rw-p 00000000 fe:00 13 /usr/lib/libtorch.so
7f0000c00000-7f0001000000 rw-s 00000000 00:01 0
7ffd00000000-7ffd00400000 rw-p 00000000 00:00 0 [stack]
"""


def test_only_whole_pages_of_plain_memory_are_named():
    assert list(large_pages.places(MAPS)) == [0xA00000, 0xC00000, 0xE00000, 0x7F0000200000]


def test_a_request_ends_it():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        waiting = iter([0])
        ours.send(b"job")
        large_pages.enlarge_while_idle(waiting, theirs)
        assert list(waiting) == [0]


def test_a_refusal_changes_nothing():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        waiting = iter([0])  # nothing is mapped there
        large_pages.enlarge_while_idle(waiting, theirs)
        assert list(waiting) == []
