"""Attack class 2, archives as code: each is refused in a guest, with a reason, and leaves nothing behind."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest

from modelyard.sandbox import Sandbox
from modelyard.sandbox.host import own_interpreter
from modelyard.sandbox.limits import Limits
from modelyard.settings import Settings

Archive = Callable[[], bytes]


def _zip(*members: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _typed(kind: int, name: str = "x.py") -> bytes:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o644) << 16
    return _zip((info, b"/etc/passwd"))


def _renamed(name: bytes) -> bytes:
    """A zip whose one member has exactly these bytes for a name, in both places where it stands."""
    return _zip(("N" * len(name), b"1")).replace(b"N" * len(name), name)


def _tar(kind: bytes) -> bytes:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("x.py")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    return buffer.getvalue()


def _many(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.py", b"")
    return buffer.getvalue()


def _million() -> bytes:
    """A directory of 10^6 entries: one entry's record over and over, and an end that counts them in its 64-bit form."""
    small = _zip(("a.py", b""))
    at = small.index(b"PK\1\2")
    entry, begun = small[at : small.index(b"PK\5\6")], at
    directory = entry * 1_000_000
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 10**6, 10**6, len(directory), begun)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, begun + len(directory), 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return small[:at] + directory + end64 + locator + end


def _lying() -> bytes:
    """A zip that says it holds one file and holds sixty."""
    content = bytearray(_many(60))
    at = content.rindex(b"PK\5\6")
    struct.pack_into("<HH", content, at + 8, 1, 1)
    return bytes(content)


def _zeros() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros.bin", "w") as member:
        block = bytes(1024**2)
        for _ in range(64):
            member.write(block)
    return buffer.getvalue()


def _ten_gigabytes() -> bytes:
    """A zip of 10 MB that unpacks to 10 GiB of zeros: one piece of its stream, over and over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(16 * 1024**2)) + packer.flush(zlib.Z_FULL_FLUSH)
    content, size, name = piece * 640 + b"\x03\x00", 640 * 16 * 1024**2, b"zeros.bin"
    extra = struct.pack("<HHQ", 1, 8, size)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0, 8, 0, 33, 0, len(content), 0xFFFFFFFF, len(name), 0) + name
    sizes = (len(content), 0xFFFFFFFF, len(name), len(extra))
    entry = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 45, 45, 0, 8, 0, 33, 0, *sizes, 0, 0, 0, 0, 0)
    directory, at = entry + name + extra, len(local) + len(content)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(directory), at, 0)
    return local + content + directory + end


HOSTILE: list[tuple[str, Archive, str]] = [
    ("zip", lambda: _typed(stat.S_IFLNK), "link or a device"),
    ("zip", lambda: _typed(stat.S_IFCHR), "link or a device"),
    ("zip", lambda: _typed(stat.S_IFIFO), "link or a device"),
    ("zip", lambda: _typed(stat.S_IFSOCK), "link or a device"),
    ("tar", lambda: _tar(b"1"), "link or a device"),
    ("tar", lambda: _tar(b"2"), "link or a device"),
    ("tar", lambda: _tar(b"3"), "link or a device"),
    ("tar", lambda: _tar(b"6"), "link or a device"),
    ("zip", lambda: _zip(("../up.py", b"")), "leads out"),
    ("zip", lambda: _zip(("a/../../up.py", b"")), "leads out"),
    ("zip", lambda: _zip(("./a.py", b"")), "leads out"),
    ("zip", lambda: _zip(("a//b.py", b"")), "leads out"),
    ("zip", lambda: _renamed(b"/etc/passwd"), "leads out"),
    ("zip", lambda: _renamed(b"a\\..\\b.py"), "backslash"),
    ("zip", lambda: _renamed(b"c:/b.py"), "drive"),
    ("zip", lambda: _renamed(b"a.py\x00.txt"), "control character"),
    ("zip", lambda: _renamed(b"a\n.py"), "control character"),
    ("zip", lambda: _zip((".modelyard/code/x.py", b"")), "platform's own"),
    ("zip", lambda: _zip(("x" * 300 + ".py", b"")), "too long"),
    ("zip", lambda: _zip(("a/" * 60 + "x.py", b"")), "too long"),
    ("zip", lambda: _zip(("A.py", b"1"), ("a.py", b"2")), "beside each other"),
    ("zip", lambda: _zip(("a/x.py", b"1"), ("A/y.py", b"2")), "beside each other"),
    ("zip", lambda: _zip(("a", b"1"), ("a/x.py", b"2")), "beside each other"),
    ("zip", lambda: _many(60), "more than 50 files"),
    ("zip", _lying, "more than 50 files"),
    ("zip", _million, "entries or more"),
    ("zip", _zeros, "more than 1,048,576 bytes"),
    ("zip", _ten_gigabytes, "more than 1,048,576 bytes"),
    ("zip", lambda: b"no zip at all", "no zip file"),
    ("zip", lambda: _zip(("a.py", b"1"))[:-30], "no zip file"),
]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox(Settings.load({}, home=tmp_path_factory.mktemp("home"), warm_guests=0))


def _refusal(sandbox: Sandbox, kind: str, content: bytes, size_limit: int = 1024**2) -> tuple[str, list[str]]:
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        limits = Limits(cores=1, memory_gib=0.5, timeout_s=60, scratch_gib=0.1)
        message = {"kind": kind, "files_limit": 50, "size_limit": size_limit}
        guest = sandbox.start(own_interpreter(), limits, preload=())
        try:
            reply = guest.call("unpack_code", message, [file.fileno()])
            guest.stop()
            return (reply.error.value if reply.error else ""), [each.name for each in guest.files()]
        finally:
            guest.kill()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("kind", "archive", "said"), HOSTILE)
def test_a_hostile_archive_is_refused(sandbox: Sandbox, kind: str, archive: Archive, said: str) -> None:
    refusal, _ = _refusal(sandbox, kind, archive())
    assert said in refusal, refusal
    assert refusal.startswith("The archive can't be used as code: ")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(sandbox: Sandbox) -> None:
    assert "twice" in _refusal(sandbox, "zip", _zip(("a.py", b"1"), ("a.py", b"2")))[0]


def test_what_archivers_leave_behind_is_left_out(sandbox: Sandbox) -> None:
    members = [(name, b"") for name in ("a.py", "__MACOSX/._a.py", ".DS_Store", "p/__pycache__/a.pyc", ".git/config")]
    assert _refusal(sandbox, "zip", _zip(*members)) == ("", ["a.py"])
