"""Unpacking an archive that may be damaged or hostile: whole or not at all, inside one folder."""

from __future__ import annotations

import bz2
import contextlib
import filecmp
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, cast

import pooch

from bdgf.errors import SceneError

LARGEST_RATIO = 200.0
"""An archive may unpack to this many times its own size."""

SMALL = 16 * 2**20
"""Bytes that any archive may unpack to: a tiny file of constant labels shrinks a thousandfold."""

DEEPEST = 32
"""Most folders inside each other."""

_CHUNK = 16 * 2**10  # tarfile reads whole headers; one that is longer than a chunk is refused
_HEADER = 8 * 2**10  # bytes of a tar archive beside its files, for each of them
_DRIVE = re.compile(r"[A-Za-z]:")
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    ValueError,
    RecursionError,  # tarfile goes one call deeper for every header that describes the next one
    NotImplementedError,
)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    fault: str | None  # why it is refused whatever its name
    folder: bool
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path,
    folder: Path,
    largest_total: int,
    largest_file: int,
    most_files: int,
    *,
    largest_ratio: float = LARGEST_RATIO,
    expected: Mapping[str, str | None] | None = None,
) -> list[Path]:
    """Unpack a zip or tar archive (tar alone, or with gzip, bzip2 or xz) into a folder.

    Every member is checked before it is written, and everything is written beside the final place
    and moved there at the end. Files that are there already with the same content stay as they
    are. Only plain files are written, without their rights and times; empty folders are left out.
    Two processes must not unpack one archive into one folder at the same time.

    Args:
        archive: The archive; what it is, is told by its content.
        folder: Folder to unpack into; made when it is missing.
        largest_total: Most bytes of all members together.
        largest_file: Most bytes of one member.
        most_files: Most members, folders counted.
        largest_ratio: Most bytes unpacked per byte of the archive, above 16 MiB.
        expected: Files that must be in it, with their SHA-256 where that is known.

    Returns:
        The files of the archive, in its order.

    Raises:
        SceneError: The archive is damaged, encrypted, of another kind or over a limit; a member
            is a link or a device or would leave the folder; a different file has a member's name;
            the folder cannot be written. Nothing of the archive is in the folder then.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with archive.open("rb") as file:
            budget = _Budget(
                archive, folder, largest_total, largest_file, most_files,
                max(largest_ratio * archive.stat().st_size, SMALL),
            )  # fmt: skip
            return _unpack(file, budget, expected or {})
    except _DAMAGE as error:
        raise _damaged(archive, str(error)) from error
    except OSError as error:
        if error.errno is None:  # how gzip and bz2 tell of damage
            raise _damaged(archive, str(error)) from error
        raise SceneError(
            f"{archive} could not be unpacked into {folder} ({error.strerror}); the folder must"
            " accept new files: choose another folder, or free its space and rights."
        ) from error


def sized(count: float) -> str:
    """Write a number of bytes as people read it, such as ``1.5 GB``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


@dataclass
class _Budget:
    """What an archive may still use of the limits, and the names that it has taken."""

    archive: Path
    folder: Path
    largest_total: int
    largest_file: int
    most_files: int
    by_ratio: float
    members: int = 0
    total: int = 0
    files: dict[str, Path] = field(default_factory=dict)  # folded name: path inside the folder
    folders: set[str] = field(default_factory=set)

    @property
    def staging(self) -> Path:
        """Folder that the members are written to first, on the same disk as the final one."""
        return self.folder / f".{self.archive.name}.unpacking"

    def admit(self, member: _Member) -> Path | None:
        """Return where a member goes inside the folder; None for a folder.

        Raises:
            SceneError: The member is refused, or would exceed a limit.
        """
        self.members += 1
        if self.members > self.most_files:
            raise self.over("holds more members", f"{self.most_files} members")
        parts = self._parts(member.name)
        if member.fault is not None:
            raise self.refused(member.name, member.fault)
        if member.size < 0:
            raise self.refused(member.name, f"declares a size of {member.size} bytes")
        self._take(member, parts)
        if member.folder:
            return None
        self._measure(member)
        path = Path(*parts)
        self.files[_folded(parts)] = path
        return path

    def refused(self, name: str, reason: str) -> SceneError:
        """Return the error of a member that is not unpacked."""
        return SceneError(
            f"{self.archive} was not unpacked: its member {name[:200]!r} {reason}, and only plain"
            " files are written, inside the folder: get the publisher's file, or unpack it by hand."
        )

    def over(self, what: str, limit: str) -> SceneError:
        """Return the error of an archive over a limit."""
        return SceneError(
            f"{self.archive} was not unpacked: it {what}, and the limit is {limit}: check that this"
            " is the publisher's file, or unpack it by hand."
        )

    def _parts(self, name: str) -> tuple[str, ...]:
        if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
            raise self.refused(name, "has a name that is no readable text")
        if "\\" in name:
            raise self.refused(name, "has a backslash in its name")
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        # Windows drops dots and spaces at the end of a name: '.. ' is '..' there.
        if name.startswith("/") or any(
            _DRIVE.match(part) or not part.strip(". ") or part == self.staging.name
            for part in parts
        ):
            raise self.refused(name, "would be written outside the folder")
        if len(parts) > DEEPEST:
            raise self.refused(name, f"lies more than {DEEPEST} folders deep")
        return parts

    def _take(self, member: _Member, parts: tuple[str, ...]) -> None:
        above = {_folded(parts[:end]) for end in range(1, len(parts) + member.folder)}
        mine = _folded(parts)
        if any(name in self.files for name in above) or (
            not member.folder and (not parts or mine in self.files or mine in self.folders)
        ):
            raise self.refused(
                member.name, "has the place of another one, upper and lower case being the same"
            )
        self.folders |= above

    def _measure(self, member: _Member) -> None:
        self.total += member.size
        if member.size > self.largest_file:
            what = f"holds {member.name[:200]!r} of {sized(member.size)}"
            raise self.over(what, sized(self.largest_file))
        most = min(self.largest_total, self.by_ratio)
        if self.total > most:
            packed = sized(self.archive.stat().st_size)
            raise self.over(f"unpacks from {packed} to {sized(self.total)} or more", sized(most))
        free = shutil.disk_usage(self.folder).free
        if member.size > free:
            raise SceneError(
                f"{self.archive} was not unpacked: a file takes {sized(member.size)}, and the disk"
                f" of {self.folder} has {sized(free)} left: free some, or choose another folder."
            )


def _unpack(file: IO[bytes], budget: _Budget, expected: Mapping[str, str | None]) -> list[Path]:
    members = _members(file, budget)
    budget.folder.mkdir(parents=True, exist_ok=True)
    staging = budget.staging
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir()
    try:
        for member in members:
            path = budget.admit(member)
            if path is not None:
                (staging / path).parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source:
                    _copy(source, staging / path, member, budget)
        if not budget.files:
            raise _damaged(budget.archive, "it holds no file")
        for name, sha256 in expected.items():
            path = staging / name
            if not path.is_file():
                raise _damaged(budget.archive, f"{name!r} is not in it")
            if sha256 is not None and pooch.file_hash(str(path)) != sha256.lower():
                raise _damaged(budget.archive, f"{name!r} does not have the SHA-256 {sha256}")
        return _move(budget)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copy(source: IO[bytes], path: Path, member: _Member, budget: _Budget) -> None:
    written = 0
    with path.open("xb") as target:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > member.size:
                raise budget.refused(member.name, "holds more bytes than it declares")
            target.write(chunk)
    if written != member.size:
        raise _damaged(budget.archive, f"{member.name[:200]!r} ends too early")


def _move(budget: _Budget) -> list[Path]:
    folder, base = budget.folder, budget.folder.resolve()
    fresh = []
    for path in budget.files.values():
        target = folder / path
        if not target.parent.resolve().is_relative_to(base):
            raise budget.refused(str(path), f"would follow a link of {folder} to another place")
        if not os.path.lexists(target):
            fresh.append(path)
        elif not target.is_file() or not filecmp.cmp(budget.staging / path, target, shallow=False):
            raise SceneError(
                f"{target} is there already and differs from that of {budget.archive.name}; files"
                " are never overwritten: rename or remove it, then run the same command again."
            )
    with contextlib.ExitStack() as undo:
        for path in fresh:
            for parent in reversed((folder / path).parents):
                if parent != folder and parent.is_relative_to(folder) and not parent.exists():
                    parent.mkdir()
                    undo.callback(parent.rmdir)
            os.rename(budget.staging / path, folder / path)
            undo.callback((folder / path).unlink)
        undo.pop_all()
    return [folder / path for path in budget.files.values()]


def _members(file: IO[bytes], budget: _Budget) -> Iterator[_Member]:
    start = file.read(8)
    file.seek(0)
    if start.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")):
        raise SceneError(
            f"{budget.archive} is a 7z or rar archive, and only zip and tar archives are unpacked"
            f" here: unpack it by hand into {budget.folder}."
        )
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_members(file)
    if start.startswith(b"\x1f\x8b"):
        return _tar_members(cast(IO[bytes], gzip.GzipFile(fileobj=file)), budget)
    if start.startswith(b"BZh"):
        return _tar_members(cast(IO[bytes], bz2.BZ2File(file)), budget)
    if start.startswith(b"\xfd7zXZ\x00"):
        return _tar_members(cast(IO[bytes], lzma.LZMAFile(file)), budget)
    return _tar_members(file, budget)


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            fault = None
            if info.flag_bits & 0x41:
                fault = "is encrypted"
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                fault = "is a link or a device"
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile unpacks bzip2 and LZMA without a bound on memory.
                fault = f"is compressed by method {info.compress_type}, which is not read here"
            name = info.orig_filename  # filename is cut at a zero byte
            open_it = partial(opened.open, info)
            yield _Member(name, info.file_size, fault, name.endswith("/"), open_it)


def _tar_members(file: IO[bytes], budget: _Budget) -> Iterator[_Member]:
    most = min(budget.largest_total, int(budget.by_ratio)) + _HEADER * (budget.most_files + 128)
    stream = _Bounded(file, most, budget)
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as opened:
        for member in opened:
            plain = member.isreg() or member.isdir()
            fault = None if plain else "is a link or a device"
            open_it = cast(Callable[[], IO[bytes]], partial(opened.extractfile, member))
            yield _Member(member.name, member.size, fault, member.isdir(), open_it)
    # tarfile takes anything that is no header for the end; the end is a block of zeros.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise _damaged(budget.archive, "it ends too early")
    while stream.read(_CHUNK):
        pass  # up to the checksum at the end of a compressed file


class _Bounded(io.RawIOBase):
    """A stream that tells a tar archive apart from a bomb.

    Args:
        file: The unpacked stream.
        most: Most bytes that are read or passed over.
        budget: The archive's limits, for the message.
    """

    def __init__(self, file: IO[bytes], most: int, budget: _Budget) -> None:
        super().__init__()
        self._file = file
        self._most = most
        self._budget = budget
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes, of which there may be no more than a chunk."""
        if not 0 <= size <= _CHUNK:
            raise self._budget.over(f"has a header of {sized(size)}", sized(_CHUNK))
        self._check(self._file.tell() + size)
        self.last = self._file.read(size)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the start."""
        self._check(offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def _check(self, place: int) -> None:
        if place > self._most + _CHUNK:
            raise self._budget.over(f"unpacks to {sized(place)} or more", sized(self._most))


def _folded(parts: tuple[str, ...]) -> str:
    return unicodedata.normalize("NFC", "/".join(parts)).casefold()


def _damaged(archive: Path, reason: str) -> SceneError:
    return SceneError(
        f"{archive} is damaged, or no zip or tar archive ({reason}); nothing of it was unpacked:"
        " remove it and get it again."
    )
