"""Getting the files of a public benchmark: broken downloads go on, and every file is checked."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

import pooch
import requests

from bdgf import __version__
from bdgf.errors import SceneError
from bdgf.files import atomic_write_text
from bdgf.progress import Progress
from bdgf.scene.benchmarks.archive import sized, unpack
from bdgf.scene.benchmarks.declaration import Benchmark, Container, Download
from bdgf.scene.benchmarks.locating import DEEPEST, is_there
from bdgf.scene.benchmarks.part import (
    Complete,
    Moved,
    Part,
    TryAgain,
    check_address,
    only_one,
)

TRIES = 5
"""Times that one file is asked for."""

TIMEOUT = (20.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes of an answer."""

LONGEST_WAIT = 60.0
"""Most seconds between two tries, also where the server asks for more."""

LARGEST_DOWNLOAD = 32 * 10**9
"""Most bytes of one file of a benchmark."""

LARGEST_UNPACKED = 64 * 10**9
"""Most bytes of all files of an archive."""

MOST_MEMBERS = 20_000
"""Most files and folders of an archive."""

_HOPS = 8
_CHUNK = 64 * 2**10  # what a broken connection costs at most


def fetch_file(
    url: str,
    folder: Path,
    file_name: str,
    sha256: str | None,
    largest: int,
    progress: Progress,
    allowed_hosts: Collection[str] | None = None,
    *,
    timeout: tuple[float, float] = TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Get one file over HTTP, whole and checked or not at all.

    The bytes go to ``FILE.part``, with what the server said about them in ``FILE.part.json``. A
    download that broke off goes on from there, in this call or in a later one, where the server
    can send the rest and says that the file is still the same.

    Args:
        url: Address of the file, ``http://`` or ``https://``.
        folder: Folder of the file; made when it is missing.
        file_name: Name of the file in the folder.
        sha256: Its SHA-256 in hexadecimal digits. None: that of the first download is written to
            ``FILE.sha256`` and holds from then on.
        largest: Most bytes that are taken.
        progress: Told the bytes that are there and those of the whole file.
        allowed_hosts: Hosts that may send the file, those of redirects included; None: any.
        timeout: Seconds to wait for a connection, and for the next bytes.
        sleep: Waits between two tries.

    Returns:
        The path of the file; one that is there already and has the SHA-256 is kept.

    Raises:
        SceneError: The file cannot be had, is too large, has another SHA-256, cannot be written,
            or a different file has its name already. Nothing new has the file's name then.
    """
    if Path(file_name).name != file_name or re.fullmatch(r"\.{0,2}|.*[\\:].*", file_name):
        raise SceneError(f"{file_name!r} is no file name: give one without its folder.")
    target = Path(folder) / file_name
    check_address(url, url, allowed_hosts)
    try:
        expected = sha256.lower() if sha256 is not None else _recorded(target)
        if os.path.lexists(target):
            return _keep(target, expected, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Part(target, url, largest, progress, allowed_hosts) as part:
            found = _download(part, expected, timeout, sleep)
            if os.path.lexists(target):
                raise SceneError(
                    f"{target} was written by another program meanwhile: remove the one that you"
                    f" do not want of this and {part.path.name}, then run the same command again."
                )
            part.finish()
        if expected is None:
            _record(target, found, progress)
        else:
            progress.say(f"{target}: fetched, and its SHA-256 is the expected one.")
    except OSError as error:
        raise SceneError(
            f"{target} could not be written ({error.strerror or error}); its folder must accept"
            " new files: choose another folder, or free its space and rights."
        ) from error
    return target


def fetch(
    benchmark: Benchmark,
    folder: Path,
    progress: Progress,
    *,
    container: str | None = None,
    opener: Callable[..., Path] = fetch_file,
) -> Path:
    """Get the files of a benchmark, as far as its terms let a program do so.

    Files that are in the folder already are not fetched again, and archives are unpacked.

    Args:
        benchmark: What is declared of it.
        folder: Folder for the files; made when it is missing.
        progress: Told what is going on.
        container: Name of the container to get; None takes the first that can be fetched whole.
        opener: Gets one file; takes the arguments of :func:`fetch_file`.

    Returns:
        The folder, where all files of the container are now.

    Raises:
        SceneError: A person has to get some files first, and nothing was fetched; or a file could
            not be fetched, checked or unpacked.
    """
    folder = Path(folder)
    chosen = _choose(benchmark, folder, container)
    missing = _missing(chosen, folder)
    ready = _offered(benchmark, chosen)
    by_hand = missing - {name for each in ready for name in _brought(each, chosen)}
    if by_hand:
        raise _by_hand(benchmark, chosen, sorted(by_hand), folder)
    for each in ready:
        if each.archive and _unpacked(each, folder):
            progress.say(f"{each.file}: kept, its files are in {folder} already.")
        elif each.archive and missing & _brought(each, chosen):
            path = _get(each, folder, progress, opener)
            progress.say(f"{path}: unpacking.")
            with path.open("rb") as file:
                only_one(file, path)
                most = LARGEST_UNPACKED
                unpack(path, folder, most, most, MOST_MEMBERS, expected=each.unpacked)
        elif not each.archive and (
            # A file that a person has put there under one of its other names is as good.
            missing & _brought(each, chosen)
            or not _brought(each, chosen)
            or os.path.lexists(folder / each.file)
        ):
            _get(each, folder, progress, opener)
    missing = _missing(chosen, folder)
    if missing:
        raise SceneError(
            f"{', '.join(sorted(missing))} of {benchmark.title} did not come with the download:"
            f" get it from {benchmark.page} and put it into {folder}."
        )
    return folder


def _get(download: Download, folder: Path, progress: Progress, opener: Callable[..., Path]) -> Path:
    hosts = download.hosts or None
    name, most = download.file, LARGEST_DOWNLOAD
    return opener(download.url, folder, name, download.sha256, most, progress, hosts)


def _choose(benchmark: Benchmark, folder: Path, name: str | None) -> Container:
    """Return the container of a name, else one that is there, can be fetched, or lacks least."""
    containers = benchmark.containers
    if name is not None:
        found = [each for each in containers if each.name == name]
        if not found:
            raise SceneError(
                f"{benchmark.title} has no container {name!r}: choose one of"
                f" {', '.join(each.name for each in containers)}."
            )
        return found[0]
    named = [container for container in containers if not _missing(container, folder)]
    for container in named:
        if is_there(benchmark, container, folder):
            return container
    for container in containers:
        ready = _offered(benchmark, container)
        if {name for each in ready for name in _brought(each, container)} >= set(container.files()):
            return container
    if named:  # files of these names, which locating them says more of
        return named[0]
    return min(containers, key=lambda each: len(_missing(each, folder)) / len(each.files()))


def _missing(container: Container, folder: Path) -> set[str]:
    """Return the files of a container that are nowhere in a folder under any of their names.

    It looks where locating the files of a benchmark does: in folders that are not hidden, and at
    names without regard to case.
    """
    there: set[str] = set()
    for place, folders, names in os.walk(folder):
        deep = len(Path(place).relative_to(folder).parts) >= DEEPEST
        folders[:] = [] if deep else [each for each in folders if not each.startswith(".")]
        there.update(names)
    return set(container.files()) - _held(container, there)


def _offered(benchmark: Benchmark, container: Container) -> list[Download]:
    return [
        each
        for each in benchmark.downloads
        if each.container == container.name and each.allowed and each.url
    ]


def _brought(download: Download, container: Container) -> set[str]:
    """Return the files of a container that a download brings; an archive not listed brings all."""
    if download.archive and not download.unpacked:
        return set(container.files())
    names = {PurePosixPath(path).name for path in download.unpacked or (download.file,)}
    return _held(container, names)


def _held(container: Container, names: set[str]) -> set[str]:
    """Return the files of a container that some names stand for, without regard to case."""
    lower = {name.lower() for name in names}
    return {
        name
        for name, others in container.files().items()
        if not lower.isdisjoint(each.lower() for each in (name, *others))
    }


def _unpacked(download: Download, folder: Path) -> bool:
    """Whether every file of an archive is in its place, and as declared."""
    whole = bool(download.unpacked)
    for name, sha256 in download.unpacked.items():
        path = folder / name
        if not path.is_file():
            whole = False
        elif sha256 is not None:
            found = str(pooch.file_hash(str(path), alg="sha256"))
            if found != sha256.lower():
                raise _differs(path, found, sha256)
    return whole


def _by_hand(
    benchmark: Benchmark, container: Container, files: list[str], folder: Path
) -> SceneError:
    downloads = [each for each in benchmark.downloads if each.container == container.name]
    refused = [each for each in downloads if not each.allowed]
    pages = dict.fromkeys(each.page for each in refused) or [benchmark.page]
    why = (
        "its publisher asks for a message or an account first"
        if refused
        else "no address is known that sends them to a program"
    )
    return SceneError(
        f"{benchmark.title} cannot be downloaded by bdgf, as {why} (terms of use:"
        f" {benchmark.licence.rstrip('.')}): get it from {' and '.join(pages)}, put"
        f" {', '.join(files)} into {folder}, then run 'bdgf run {benchmark.name} --root {folder}'."
    )


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _recorded(target: Path) -> str | None:
    """Return the SHA-256 written down when the file was first fetched, None if there is none."""
    if not _beside(target).exists():
        return None
    text = _beside(target).read_bytes()[:64].decode("ascii", "replace").lower()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise SceneError(
            f"{_beside(target)} does not begin with 64 hexadecimal digits, as a SHA-256 does:"
            " remove it."
        )
    return text


def _record(target: Path, found: str, progress: Progress) -> None:
    atomic_write_text(_beside(target), f"{found}  {target.name}\n")
    progress.say(
        f"{target}: no SHA-256 is known for it, so it could not be checked; the one found, {found},"
        f" was written to {_beside(target).name}."
    )


def _keep(target: Path, expected: str | None, progress: Progress) -> Path:
    if not target.is_file():
        raise SceneError(f"{target} is there already and is no file: rename or remove it.")
    found = str(pooch.file_hash(str(target), alg="sha256"))
    if expected is None:
        _record(target, found, progress)
    elif found != expected:
        raise _differs(target, found, expected)
    progress.say(f"{target}: kept, it was there already.")
    return target


def _differs(path: Path, found: str, expected: str) -> SceneError:
    return SceneError(
        f"{path} is there already and its SHA-256 is {found}, not {expected}; files are never"
        " overwritten: rename or remove it, then run the same command again."
    )


def _download(
    part: Part,
    expected: str | None,
    timeout: tuple[float, float],
    sleep: Callable[[float], None],
) -> str:
    """Fill the part file in several tries, and return its SHA-256."""
    reason = ""
    for attempt in range(TRIES):
        try:
            _ask(part, expected is not None, timeout)
            found = part.sha256()
            if expected in (None, found):
                return found
            if part.pieced:
                raise TryAgain("the pieces of several tries do not fit together", afresh=True)
            part.restart()
            raise SceneError(
                f"{part.url} sends a file with the SHA-256 {found}, not {expected}, and it was not"
                " kept: the publisher has changed it, or it was changed on its way; get it by hand"
                f" (or remove {_beside(part.target).name}, where an earlier download wrote that,"
                " to accept the new file)."
            )
        except TryAgain as error:
            reason = str(error)
            if error.afresh:
                part.restart()
            if attempt < TRIES - 1:
                wait = min(max(error.wait, 2.0**attempt), LONGEST_WAIT)
                part.progress.say(f"{part.target.name}: {reason}; next try in {wait:.0f} s.")
                sleep(wait)
    kept = f"; {sized(part.size)} are kept in {part.path}" if part.size else ""
    raise SceneError(
        f"{part.url} could not be fetched in {TRIES} tries ({reason}){kept}: run the same command"
        " again to go on, or get the file by hand."
    )


def _ask(part: Part, checked: bool, timeout: tuple[float, float]) -> None:
    """Ask once for what is missing, following redirects."""
    address = part.url
    headers = {"User-Agent": f"bdgf/{__version__}", "Accept-Encoding": "identity"}
    headers |= part.missing(checked)
    if part.whole:
        return
    for _ in range(_HOPS):
        download = pooch.HTTPDownloader(
            chunk_size=_CHUNK,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,  # requests would read the body of a redirect without a limit
            hooks={"response": part.look},
        )
        try:
            download(address, part, None)
            return part.check_whole()
        except Complete:
            return None
        except Moved as moved:
            check_address(str(moved), address, part.hosts)
            address = str(moved)
        except requests.exceptions.Timeout as error:
            raise TryAgain("the server did not answer in time") from error
        except (
            requests.exceptions.ConnectionError,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise TryAgain(
                "the connection broke" if part.answered else "no connection could be made"
            ) from error
        except requests.exceptions.RequestException as error:
            raise SceneError(
                f"{address} cannot be asked for ({error}): correct it, or get the file by hand."
            ) from error
        finally:
            part.hang_up()
    raise SceneError(f"{part.url} was redirected {_HOPS} times: get the file by hand.")
