"""The steps that shut a forked job in, in order: namespaces, mounts, limits, capabilities, system calls."""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Any

from . import syscalls

_NEWNS, _NEWIPC, _NEWPID, _NEWNET = 0x00020000, 0x08000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _RDONLY, _REC, _PRIVATE = 2, 4, 1, 0x4000, 0x40000
_BIND = 0x1000
_LAST_CAPABILITY = 63


def libc() -> ctypes.CDLL:
    """Return the C library with errno kept."""
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def fork_as_first() -> int:
    """Fork a child that is process 1 of a namespace of its own, and stay in ours; needs CAP_SYS_ADMIN here."""
    c = libc()
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    _checked(c.unshare(_NEWPID), "unshare(processes)")
    child = os.fork()
    if child:
        _checked(c.setns(own, _NEWPID), "setns(processes)")
    os.close(own)
    return child


def private_namespaces(scratch_mib: int) -> None:
    """Leave the shared network, System V objects and mounts; mount an empty /tmp and hide /proc."""
    c = libc()
    _checked(c.unshare(_NEWNS | _NEWNET | _NEWIPC), "unshare")
    _checked(c.mount(b"none", b"/", None, _REC | _PRIVATE, None), "mount private")
    options = f"size={scratch_mib}m,nr_inodes=4096,mode=1777".encode()
    _checked(c.mount(b"tmpfs", b"/tmp", b"tmpfs", _NOSUID | _NODEV, options), "mount /tmp")
    _checked(c.mount(b"tmpfs", b"/proc", b"tmpfs", _NOSUID | _NODEV | _RDONLY, b"size=4k,mode=555"), "hide /proc")


def open_closed(closed: dict[str, list[str]]) -> None:
    """Leave the shared mounts; let each closed folder hold nothing but the folders that jobs need, at their paths."""
    c = libc()
    _checked(c.unshare(_NEWNS), "unshare(mounts)")
    _checked(c.mount(b"none", b"/", None, _REC | _PRIVATE, None), "mount private")
    for top, needed in closed.items():
        held = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in needed}
        _checked(c.mount(b"tmpfs", top.encode(), b"tmpfs", _NOSUID | _NODEV, b"size=64k,mode=755"), f"cover {top}")
        for path, folder in held.items():
            os.makedirs(path, exist_ok=True)
            _checked(c.mount(f"/proc/self/fd/{folder}".encode(), path.encode(), None, _BIND, None), f"show {path}")
            os.close(folder)


def limit(limits: dict[str, Any], data_now: int, device: str = "cpu") -> None:
    """Set the resource limits of this process; its descendants inherit them.

    RLIMIT_AS cannot be used with torch (it maps far more than it touches); RLIMIT_DATA counts private writable
    memory, the watchdog outside counts what the whole tree really holds. CUDA maps more than the machine has, opens
    many files and starts threads of its own: on a GPU the watchdog alone counts memory.
    """
    cpu = max(1, int(limits["cpu_seconds"] + 0.999))
    data = data_now + limits["memory_mib"] * 2**20
    file_size = limits["scratch_mib"] * 2**20
    gpu = device == "cuda"
    if gpu:
        data = resource.RLIM_INFINITY
    for what, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_DATA, data, data),
        (resource.RLIMIT_FSIZE, file_size, file_size),
        (resource.RLIMIT_NOFILE, 1024 if gpu else 64, 1024 if gpu else 64),
        (resource.RLIMIT_NPROC, limits["processes"] + 8, limits["processes"] + 8),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_STACK, 8 * 2**20, 64 * 2**20),
        (resource.RLIMIT_MEMLOCK, 0, 0),
    ):
        old = resource.getrlimit(what)[1]
        if old != resource.RLIM_INFINITY:
            soft, hard = min(soft, old), min(hard, old)
        resource.setrlimit(what, (soft, hard))


def become(uid: int) -> None:
    """Turn root into the unprivileged `uid`, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def hide_memory(hidden: bool) -> None:
    """Keep other processes of the same user out of this one's memory and descriptors in /proc, or let them in."""
    _checked(libc().prctl(4, 0 if hidden else 1, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def threads_of(pid: int) -> tuple[int, ...]:
    """Return the numbers under which a process can be signalled."""
    try:
        return (pid, *(int(name) for name in os.listdir(f"/proc/{pid}/task") if int(name) != pid))
    except OSError:
        return (pid,)


def drop_privileges(protect: tuple[int, ...] = ()) -> None:
    """Give up every capability and the way back, then filter system calls; `protect` are processes out of reach."""
    c = libc()
    for capability in range(_LAST_CAPABILITY + 1):
        if c.prctl(24, capability, 0, 0, 0) != 0:  # PR_CAPBSET_DROP: EINVAL past the last, EPERM without CAP_SETPCAP
            break
    c.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT, CLEAR_ALL
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _checked(c.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())), "capset")
    _checked(c.prctl(38, 1, 0, 0, 0), "no_new_privs")
    if syscalls.supported():
        syscalls.install(c, protect)


def only_descriptors(keep: tuple[int, ...]) -> None:
    """Close every descriptor but 0, 1, 2 (set to /dev/null) and `keep`."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    wanted = sorted({0, 1, 2, *keep})
    for low, high in zip(wanted, [*wanted[1:], 65536]):
        os.closerange(low + 1, high)
