"""A system-call filter: a deny list in classic BPF, loaded by bubblewrap right before the guest's first instruction.

Namespaces hide what a guest must not see; this closes doors of the kernel that no training needs and that have been
the way out of containers before: tracing, mounting, keyrings, BPF, io_uring, new user namespaces, odd socket families.
Denied calls fail with EPERM; `clone3` and io_uring fail with ENOSYS so that the C library falls back to older calls.
"""

import errno
import platform
import struct
from dataclasses import dataclass

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
#: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: no namespaces from within.
_NEW_NAMESPACES = 0x80 | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
#: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: the families that libraries need. AF_VSOCK, AF_ALG ... know no namespaces.
_SOCKET_FAMILIES = (1, 2, 10, 16)
#: Numbers that are the same on all architectures (calls added since Linux 5.1).
_NEW_CALLS = {
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_getfd": 438, "mount_setattr": 442, "quotactl_fd": 443, "statmount": 457, "listmount": 458,
    "lsm_set_self_attr": 460, "open_tree_attr": 467,
}  # fmt: skip
_NOT_THERE = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "clone3": 435}


@dataclass(frozen=True, slots=True)
class _Architecture:
    audit: int
    socket: int
    clone: int
    denied: dict[str, int]


_ARCHITECTURES = {
    "x86_64": _Architecture(0xC000003E, 41, 56, {
        "ptrace": 101, "syslog": 103, "uselib": 134, "vhangup": 153, "modify_ldt": 154, "pivot_root": 155,
        "_sysctl": 156, "adjtimex": 159, "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165,
        "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171,
        "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179, "nfsservctl": 180,
        "lookup_dcookie": 212, "clock_settime": 227, "kexec_load": 246, "add_key": 248, "request_key": 249,
        "keyctl": 250, "unshare": 272, "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303,
        "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "kexec_file_load": 320, "bpf": 321,
        "userfaultfd": 323,
    }),
    "aarch64": _Architecture(0xC00000B7, 198, 220, {
        "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42, "chroot": 51,
        "vhangup": 58, "quotactl": 60, "acct": 89, "unshare": 97, "kexec_load": 104, "init_module": 105,
        "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142,
        "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "adjtimex": 171, "add_key": 217,
        "request_key": 218, "keyctl": 219, "swapon": 224, "swapoff": 225, "perf_event_open": 241,
        "fanotify_init": 262, "name_to_handle_at": 264, "open_by_handle_at": 265, "clock_adjtime": 266,
        "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "finit_module": 273,
        "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294,
    }),
}  # fmt: skip


def filter_program(machine: str | None = None) -> bytes | None:
    """The filter's bytes for this machine's architecture; None where its call numbers are not known here."""
    architecture = _ARCHITECTURES.get(machine or platform.machine())
    if architecture is None:
        return None
    code = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, architecture.audit, yes=1), _refuse(errno.ENOSYS)]
    code += [_step(_LOAD, _NUMBER)]
    if architecture.audit == _ARCHITECTURES["x86_64"].audit:
        # The x32 numbers are a second way to the same calls.
        code += [_step(_AT_LEAST, 0x40000000, no=1), _refuse(errno.ENOSYS)]
    for number in _NOT_THERE.values():
        code += [_step(_EQUAL, number, no=1), _refuse(errno.ENOSYS)]
    for number in (*architecture.denied.values(), *_NEW_CALLS.values()):
        code += [_step(_EQUAL, number, no=1), _refuse(errno.EPERM)]
    code += _socket_families(architecture.socket) + _clone_flags(architecture.clone)
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def _socket_families(number: int) -> list[bytes]:
    families = [_step(_EQUAL, family, yes=len(_SOCKET_FAMILIES) - at) for at, family in enumerate(_SOCKET_FAMILIES)]
    body = [_step(_LOAD, _FIRST_ARGUMENT), *families, _refuse(errno.EAFNOSUPPORT), _step(_RETURN, _ALLOW)]
    return [_step(_EQUAL, number, no=len(body)), *body]


def _clone_flags(number: int) -> list[bytes]:
    body = [_step(_LOAD, _FIRST_ARGUMENT), _step(_ANY_BIT, _NEW_NAMESPACES, no=1), _refuse(errno.EPERM)]
    return [_step(_EQUAL, number, no=len(body)), *body]


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
