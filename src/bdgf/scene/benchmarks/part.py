"""A file that is being downloaded: its bytes so far, and what the server said about them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import pooch
import requests

from bdgf.errors import SceneError
from bdgf.progress import Progress
from bdgf.scene.benchmarks.archive import sized

_SPAN = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)")
_LATER = (408, 425, 429)  # answers below 500 that may be another one in a while


class TryAgain(Exception):  # noqa: N818 - these three steer, they do not fail
    """A fault that may be gone at the next try.

    Args:
        reason: What was wrong.
        afresh: The bytes that are there are of no use.
        wait: Seconds that the server asks to wait.
    """

    def __init__(self, reason: str, *, afresh: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.afresh = afresh
        self.wait = wait


class Moved(Exception):  # noqa: N818
    """The file is at another address, which is the text of this."""


class Complete(Exception):  # noqa: N818
    """The bytes that are there are the whole file."""


class Part:
    """``FILE.part``, with ``FILE.part.json`` beside it: both outlive the process.

    A downloader writes into it as into an open file and shows it every answer before the body.
    It is kept to one process.

    Args:
        target: The final name.
        url: Address of the file.
        largest: Most bytes that are taken.
        progress: Told the bytes that are there and those of the whole file.
        hosts: Hosts that may send the file; None: any.

    Attributes:
        size: Bytes that are there.
        pieced: Whether these come from more than one answer.
        answered: Whether the server has answered at all.

    Raises:
        SceneError: Another process downloads the same file.
        OSError: The file cannot be opened.
    """

    def __init__(
        self,
        target: Path,
        url: str,
        largest: int,
        progress: Progress,
        hosts: Collection[str] | None = None,
    ) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.url = url
        self.hosts = hosts
        self.progress = progress
        self.answered = False
        self._notes = target.with_name(f"{target.name}.part.json")
        self._largest = largest
        self._response: requests.Response | None = None
        self._asked_from = 0
        self._file: IO[bytes] = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            only_one(self._file, self.path)
        except SceneError:
            self._file.close()
            raise
        self.size = self._file.seek(0, os.SEEK_END)
        self.pieced = self.size > 0
        self._validator, self._length = self._read_notes()

    def __enter__(self) -> Part:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; one without a byte is removed."""
        self.hang_up()
        if not self._file.closed and self.size == 0:
            # Windows does not remove an open file; an empty one does no harm.
            with contextlib.suppress(OSError):
                self._notes.unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)
        self._file.close()

    @property
    def whole(self) -> bool:
        """Whether as many bytes are there as the server announced."""
        return self.size > 0 and self.size == self._length

    def missing(self, checked: bool) -> dict[str, str]:
        """Return the headers that ask for the bytes that are not there.

        Args:
            checked: The SHA-256 of the file is known, so that pieces of different files are found
                out even where the server has no name for the file's state.
        """
        if self._validator is None and not checked and not self.whole:
            self.restart()
        if self._length is not None and self.size > self._length:
            self.restart()
        self._asked_from = self.size
        if self.size == 0:
            return {}
        unless = {} if self._validator is None else {"If-Range": self._validator}
        return {"Range": f"bytes={self.size}-", **unless}

    def look(self, response: requests.Response, *_: object, **__: object) -> None:
        """Look at the head of an answer: make room for its body, or refuse it.

        Raises:
            Moved: It is a redirect.
            Complete: Nothing is missing.
            TryAgain: It cannot be used, another one may.
            SceneError: The file cannot be had there, or is too large.
        """
        self.hang_up()
        self._response = response
        self.answered = True
        status, headers = response.status_code, response.headers
        # A packed file is often announced as a packed transfer; its bytes are the file's own.
        response.raw.headers.pop("content-encoding", None)
        if not headers.get("content-length", "").isdecimal():
            headers.pop("content-length", None)
        if response.is_redirect:
            place = headers["location"].encode("latin-1", "replace").decode("utf-8", "replace")
            try:
                address = urljoin(response.url, place)
            except ValueError as error:
                raise SceneError(
                    f"{response.url} leads to {place!r}, which is no address ({error}): get the"
                    " file by hand."
                ) from error
            raise Moved(address)
        if status == 416:
            raise self._nothing_left(headers.get("content-range", ""))
        if status in _LATER or status >= 500:
            wait = headers.get("retry-after", "")
            raise TryAgain(
                f"the server answered {status} {response.reason}",
                wait=float(wait) if wait.isdecimal() else 0.0,
            )
        if status not in (200, 206):
            raise SceneError(
                f"{response.url} cannot be fetched: the server answered {status}"
                f" {response.reason}; get the file by hand."
            )
        if status == 206:
            self._go_on(response)
        else:
            self._begin(response)
        self._check_room()

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            SceneError: The file becomes larger than it may.
            OSError: The disk does not take them.
        """
        if self.size + len(data) > self._largest:
            raise self._too_large(self.size + len(data))
        self._file.write(data)
        self.size += len(data)
        self.progress.track(
            self.target.name,
            self.size,
            self._length or max(self._largest, self.size + 1),
            f"{sized(self.size)} of {sized(self._length) if self._length else 'unknown size'}",
        )

    def flush(self) -> None:
        """Hand the bytes to the system, where they outlive this process."""
        self._file.flush()

    def check_whole(self) -> None:
        """Check, after the last byte of an answer, that it was the file's last.

        Raises:
            TryAgain: Bytes are missing, or there are too many.
        """
        if self._length is not None and self.size != self._length:
            raise TryAgain(
                f"{sized(self.size)} of {sized(self._length)} came",
                afresh=self.size > self._length,
            )
        if self._length is None:
            self.progress.track(self.target.name, self.size, self.size, sized(self.size))

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes that are there."""
        self._file.flush()
        return str(pooch.file_hash(str(self.path), alg="sha256"))

    def restart(self) -> None:
        """Forget all bytes."""
        self._file.seek(0)
        self._file.truncate()
        self._notes.unlink(missing_ok=True)
        self.size, self.pieced = 0, False
        self._validator, self._length = None, None

    def finish(self) -> None:
        """Give the file its final name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.path, self.target)
        self._notes.unlink(missing_ok=True)

    def hang_up(self) -> None:
        """Close the connection of the last answer."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _begin(self, response: requests.Response) -> None:
        if "text/html" in response.headers.get("content-type", "").lower():
            raise SceneError(
                f"{response.url} sends a web page and not the file, perhaps to log in or agree"
                " first: open it in a browser and get the file by hand."
            )
        self.restart()
        length = response.headers.get("content-length")
        if length is not None and "transfer-encoding" not in response.headers:
            self._length = int(length)
        self._validator = _validator(response)
        self._notes.write_text(
            json.dumps({"url": self.url, "validator": self._validator, "length": self._length}),
            encoding="utf-8",
        )

    def _go_on(self, response: requests.Response) -> None:
        span = _SPAN.fullmatch(response.headers.get("content-range", ""))
        if span is None or span[1] is None or int(span[1]) != self._asked_from or self.size == 0:
            raise TryAgain("the server sent another piece than the one asked for", afresh=True)
        total = None if span[2] == "*" else int(span[2])
        same = self._validator in (None, _validator(response))
        if not same or (None not in (total, self._length) and total != self._length):
            raise TryAgain("the file on the server has changed", afresh=True)
        self._length = self._length or total
        self.pieced = True

    def _nothing_left(self, answer: str) -> Exception:
        span = _SPAN.fullmatch(answer)
        if span is not None and span[2] == str(self.size) and self.size > 0:
            return Complete()
        return TryAgain("the server has no more bytes than are there", afresh=True)

    def _check_room(self) -> None:
        if self._length is None:
            return
        if self._length > self._largest:
            raise self._too_large(self._length)
        free = shutil.disk_usage(self.path.parent).free
        if self._length - self.size > free:
            raise SceneError(
                f"{self.target} needs {sized(self._length - self.size)} more and its disk has"
                f" {sized(free)} left: free some space, or choose another folder."
            )

    def _too_large(self, size: int) -> SceneError:
        self.restart()
        return SceneError(
            f"{self.url} sends {sized(size)} or more, and this file has at most"
            f" {sized(self._largest)}; nothing of it was kept: get the file by hand."
        )

    def _read_notes(self) -> tuple[str | None, int | None]:
        try:
            notes: Any = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            notes = None
        if isinstance(notes, dict) and notes.get("url") == self.url:
            validator, length = notes.get("validator"), notes.get("length")
            if isinstance(validator, str | None) and isinstance(length, int | None):
                return validator, length
        self._file.seek(0)
        self._file.truncate()
        self.size, self.pieced = 0, False
        return None, None


def check_address(url: str, before: str, hosts: Collection[str] | None) -> None:
    """Check that a file may be fetched from an address.

    Args:
        url: The address.
        before: The address that led to it.
        hosts: Hosts that are allowed; None: all.

    Raises:
        SceneError: It is no ``http`` or ``https`` address, leaves ``https``, or has another host.
    """
    try:
        new, old = urlsplit(url), urlsplit(before)
        host = new.hostname
    except ValueError as error:
        raise SceneError(f"{url!r} is no address ({error}): correct it.") from error
    if new.scheme not in ("http", "https") or not host:
        raise SceneError(
            f"{before} leads to {url!r}, and files are only fetched over http and https: get the"
            " file by hand."
        )
    if old.scheme == "https" and new.scheme != "https":
        raise SceneError(
            f"{before} leads to {url!r}, from a safe connection to an open one, which is not"
            " followed: get the file by hand."
        )
    if hosts is not None and host not in hosts:
        raise SceneError(
            f"{before} leads to the host {host}, and this file may only come from"
            f" {', '.join(sorted(hosts))}: get the file by hand."
        )


def only_one(file: IO[bytes], path: Path) -> None:
    """Keep an open file to this process until it is closed, also by the end of the process.

    Args:
        file: The open file.
        path: Its path, for the message.

    Raises:
        SceneError: Another process holds it.
    """
    if sys.platform == "win32":
        return  # an open file cannot be replaced or removed there anyway
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SceneError(
            f"another process works on {path}, and only one may: wait until it has finished, or"
            " end it."
        ) from error
    except OSError:
        return  # a file system without locks


def _validator(response: requests.Response) -> str | None:
    """Return what names the file's state exactly, as ``If-Range`` takes it."""
    tag: str = response.headers.get("etag", "")
    if tag.startswith('"'):
        return tag
    modified: str | None = response.headers.get("last-modified")
    return modified
