"""A small seccomp filter: system calls that no exercise needs are answered with "not permitted".

Defence in depth behind the namespaces: it closes memory that no limit counts (memfd, System V), new namespaces,
tracing, the key ring and the large young corners of the kernel. Written as classic BPF by hand, so that nothing has
to be installed.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_AF_UNIX = 1
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}

# the same number on both architectures
_SHARED = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "mount_setattr": 442,
    "memfd_secret": 447,
}  # fmt: skip
_DENIED = {
    "x86_64": {
        "shmget": 29, "semget": 64, "msgget": 68, "ptrace": 101, "syslog": 103, "personality": 135, "pivot_root": 155,
        "chroot": 161, "acct": 163, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
        "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179, "mq_open": 240,
        "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "vmsplice": 278,
        "perf_event_open": 298, "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308,
        "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "memfd_create": 319,
        "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
    },
    "aarch64": {
        "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "quotactl": 60, "vmsplice": 75, "acct": 89,
        "personality": 92, "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106, "syslog": 116,
        "ptrace": 117, "reboot": 142, "mq_open": 180, "msgget": 186, "semget": 190, "shmget": 194, "add_key": 217,
        "request_key": 218, "keyctl": 219, "swapon": 224, "swapoff": 225, "perf_event_open": 241,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "memfd_create": 279, "bpf": 280,
        "userfaultfd": 282, "kexec_file_load": 294,
    },
}  # fmt: skip
_ARCHITECTURES = {  # audit number, socket, clone, clone3
    "x86_64": (0xC000003E, 41, 56, 435),
    "aarch64": (0xC00000B7, 198, 220, 435),
}
# the ways to end another process of the same user: calls that name it first, calls refused altogether (tkill,
# pidfd_send_signal), kill, fcntl and ioctl
_REACHING = {
    "x86_64": ((129, 234, 297, 302), (200, 424), 62, 72, 16),
    "aarch64": ((138, 131, 240, 261), (130, 424), 129, 25, 29),
}
_OWNERS = {"fcntl": (8, 15), "ioctl": (0x8901, 0x8902)}  # F_SETOWN, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP


def supported() -> bool:
    """Say whether a filter is known for this processor."""
    return platform.machine() in _ARCHITECTURES


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _refuse_where(number: int, argument: int, values: tuple[int, ...]) -> list[bytes]:
    """Refuse a call whose argument with this number is one of `values`."""
    steps = [_step(_LOAD, 16 + 8 * argument)]
    for value in values:
        steps += [_step(_EQUAL, value, 0, 1), _refuse(errno.EPERM)]
    return [_step(_EQUAL, number, 0, len(steps) + 1), *steps, _step(_LOAD, 0)]


def _guard(machine: str, pids: tuple[int, ...]) -> list[bytes]:
    """Refuse every way to end the processes `pids`, for a job that shares a user and a namespace with them."""
    by_first, altogether, kill, fcntl, ioctl = _REACHING[machine]
    steps = [part for number in by_first for part in _refuse_where(number, 0, pids)]
    for number in altogether:
        steps += [_step(_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    listed = _refuse_where(kill, 0, pids)[1:-1]
    groups = [_step(_AT_LEAST, 0x80000000, 0, 1), _refuse(errno.EPERM)]  # kill(-1), kill(-group)
    steps += [_step(_EQUAL, kill, 0, len(listed) + 3), *listed, *groups, _step(_LOAD, 0)]
    return [*steps, *_refuse_where(fcntl, 1, _OWNERS["fcntl"]), *_refuse_where(ioctl, 1, _OWNERS["ioctl"])]


def program(machine: str, protect: tuple[int, ...] = ()) -> bytes:
    """Return the filter for `machine` as packed `struct sock_filter` entries; `protect` are processes out of reach."""
    audit, socket_, clone, clone3 = _ARCHITECTURES[machine]
    steps = [_step(_LOAD, 4), _step(_EQUAL, audit, 1, 0), _step(_RETURN, _KILL), _step(_LOAD, 0)]
    if machine == "x86_64":  # the x32 calling convention would go round the numbers
        steps += [_step(_AT_LEAST, 0x40000000, 0, 1), _refuse(errno.EPERM)]
    for number in [*_DENIED[machine].values(), *_SHARED.values()]:
        steps += [_step(_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    steps += _guard(machine, protect) if protect else []
    # glibc falls back from clone3 to clone, whose flags can be looked at
    steps += [_step(_EQUAL, clone3, 0, 1), _refuse(errno.ENOSYS)]
    steps += [_step(_EQUAL, clone, 0, 3), _step(_LOAD, 16), _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1),
              _refuse(errno.EPERM), _step(_LOAD, 0)]  # fmt: skip
    steps += [_step(_EQUAL, socket_, 0, 3), _step(_LOAD, 16), _step(_EQUAL, _AF_UNIX, 1, 0), _refuse(errno.EPERM)]
    steps += [_step(_RETURN, _ALLOW)]
    return b"".join(steps)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(libc: ctypes.CDLL, protect: tuple[int, ...] = ()) -> None:
    """Load the filter for this process and all its descendants; `no_new_privs` must be set already."""
    raw = program(platform.machine(), protect)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    filter_ = _Program(len(raw) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if libc.prctl(22, 2, ctypes.byref(filter_), 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
