"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path

from bdgf import processes
from bdgf.errors import RunFolderError
from bdgf.lock import LOCK

_FOLDER_FAULTS = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EFBIG,
    errno.EDQUOT,
    errno.EIO,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


NPY_ERRORS = (OSError, ValueError, SyntaxError, EOFError, tokenize.TokenError)
"""What NumPy raises on a damaged ``.npy`` file, whose header it reads as a Python literal."""

JSON_ERRORS = (OSError, ValueError, OverflowError, RecursionError)
"""What reading a damaged JSON file raises: RecursionError where it is nested too deeply,
OverflowError where a number of it is too large."""

_LONGEST = 100
"""Bytes of a name; of longer ones the beginning is kept."""

_TEMPORARY = re.compile(r"\..*\.bdgf-[0-9a-f]{8}(\..*)?")
"""Names that ``atomic_path`` gives to files that are being written."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its name once the block has succeeded.

    The folder is made when it is missing. The temporary file keeps the suffix, which raster
    drivers go by, and is removed with its sidecar when the block fails, so that no half file is
    ever found under the final name.

    Of several processes of one job only the first writes: what the others do goes nowhere.

    Args:
        path: The final name; a file that stands there is replaced at the end, in one step.

    Yields:
        The name to write to.

    Raises:
        RunFolderError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    if processes.rank() > 0:
        with tempfile.TemporaryDirectory() as nowhere:
            yield Path(nowhere) / path.name
        return
    temporary = _temporary_name(path)
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A folder that refuses files is found here, before hours of work are put into it.
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
        except OSError as error:
            if error.errno in _FOLDER_FAULTS or _of_gdal(error):
                raise _unwritable(path, error) from error
            raise
        except Exception as error:
            if _of_gdal(error):
                raise _unwritable(path, error) from error
            raise
    finally:
        for leftover in (temporary, temporary.with_name(f"{temporary.name}.aux.xml")):
            # The folder may have become unreadable; the error on its way out says more than this.
            with contextlib.suppress(OSError):
                leftover.unlink()


@contextlib.contextmanager
def scratch_path(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` for a file that is needed inside of the block alone.

    Where the process is killed it is taken for a leftover, as those of ``atomic_path`` are.
    """
    temporary = _temporary_name(path)
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn failures of a folder or disk while a file is written into an error of ours.

    Args:
        path: The file.

    Raises:
        RunFolderError: The folder cannot be written, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FOLDER_FAULTS or error.errno == errno.ENOENT:
            raise _unwritable(path, error) from error
        raise


def file_name(name: str) -> str:
    """Return a name as a file or folder can have it; letters of all scripts stay.

    Of a long one the beginning is kept, and a digest tells it from others.
    """
    found = re.sub(r"[^\w.-]+", "_", name)
    if len(found.encode()) > _LONGEST:
        found = f"{found[: _LONGEST // 8]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return found if found.strip(".") else f"_{found}"


def absolute(path: Path) -> Path:
    """Return the absolute path of a file as it is named.

    Links of folders are followed, but not one in the place of the file: what is relative to a file
    is relative to the folder in which it is named.
    """
    return path.parent.resolve() / path.name


def remove(path: Path) -> None:
    """Remove a file, where it is there; of several processes of one job only the first does."""
    if processes.rank() == 0:
        path.unlink(missing_ok=True)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        RunFolderError: The folder cannot be written, or the disk is full.
    """
    if processes.rank() > 0:
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, data: str) -> None:
    """Write a UTF-8 text file whole or not at all, with the line ends that it has.

    Raises:
        RunFolderError: The folder cannot be written, or the disk is full.
    """
    atomic_write_bytes(path, data.encode("utf-8"))


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.stem}.bdgf-{secrets.token_hex(4)}{path.suffix}")


def is_temporary(path: Path) -> bool:
    """Tell whether a name is that of a file that was being written when its writer was killed."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder and the folders inside of it.

    Call it only where no other process writes. A folder inside with a lock of its own is left to
    who works there. Of several processes of one job only the first does it.
    """
    if processes.rank() > 0:
        return
    inside = [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()]
    for place in (folder, *(p for p in inside if not (p / LOCK).exists())):
        for path in place.iterdir():
            if is_temporary(path) and path.is_file():
                with contextlib.suppress(OSError):
                    path.unlink()


def reserve(path: Path) -> None:
    """Take the disk space that a sparse file has promised itself.

    Writing through a memory map to a disk that has become full ends the process with a signal; here
    it is an error like any other.

    Raises:
        OSError: The disk is full.
    """
    size = path.stat().st_size
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        held = file.read(4096)  # the header is there already
        file.seek(0)
        file.write(held)
        for _ in range(len(held), size, 1 << 20):
            file.write(bytes(min(1 << 20, size - file.tell())))


def _sync(path: Path) -> None:
    # Windows cannot open a folder; there the rename alone has to do.
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _of_gdal(error: Exception) -> bool:
    """Tell whether GDAL failed: on a full disk its errors have no number of the system's.

    What fails while a source is read is an error of ours by then, so here it has failed to write.
    """
    return type(error).__module__.partition(".")[0] in ("rasterio", "pyogrio")


def _unwritable(path: Path, error: Exception) -> RunFolderError:
    reason = getattr(error, "strerror", None) or error
    return RunFolderError(
        f"{path} cannot be written ({reason}); its folder must accept new files:"
        " choose another output folder, or free its space and rights."
    )


def code_digest(*packages: Path) -> str:
    """Return a short digest of all modules of packages, as they lie on the disk.

    Args:
        packages: Folders of the packages.
    """
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            digest.update(f"{path.relative_to(package.parent).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
