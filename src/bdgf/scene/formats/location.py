"""Where a file is: on this machine, or at an address that GDAL reads by windows."""

from __future__ import annotations

import base64
import http.client
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from bdgf.errors import SceneError

_SCHEMES = {"http": "/vsicurl/", "https": "/vsicurl/", "s3": "/vsis3/"}
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_URL_MARKS = ":/?#[]@!$&'()*+,;=%~"
_HEAD_SECONDS = 10.0
_GONE = (404, 410)


@dataclass(frozen=True, repr=False)
class RemotePath:
    """A file behind an ``https://``, ``http://`` or ``s3://`` address; it is read by windows.

    Its text, `shown`, has neither a password nor a query, which may hold a signature; only
    `address` and `gdal` do, and they are for opening.

    Args:
        address: The address as the user wrote it.
    """

    address: str

    @property
    def name(self) -> str:
        """Last part of the address, without a query."""
        parts = _split(self.address)
        return PurePosixPath(parts.path).name or _host(parts) or "address"

    @property
    def stem(self) -> str:
        """Name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Ending of the name with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def shown(self) -> str:
        """The address for messages and logs, without user, password and query."""
        return _safe(self.address)

    @property
    def gdal(self) -> str:
        """Name by which GDAL opens it; it holds the whole address, so it is not for messages."""
        scheme, _, rest = self.address.partition("://")
        prefix = _SCHEMES[scheme.lower()]
        # GDAL knows an address by its lower-case scheme.
        return prefix + (rest if scheme.lower() == "s3" else f"{scheme.lower()}://{rest}")

    def hide(self, text: str) -> str:
        """Return a text, such as another library's error, with this address's secrets taken out."""
        parts = _split(self.address)
        found = [without_secrets(text)]
        for secret in (parts.query, parts.netloc.rpartition("@")[0], parts.password):
            if secret:
                found.append(found[-1].replace(secret, "…"))
        return found[-1]

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"RemotePath({self.shown!r})"


Location: TypeAlias = Path | RemotePath
"""A file on this machine, or a remote one."""


def is_remote(text: str) -> bool:
    """Whether a text is a remote address that can be read."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.lower() in _SCHEMES


def locate(text: str | Path, folder: Path | None = None) -> Location:
    """Return the place that a text names.

    Args:
        text: A path or an address.
        folder: Folder that a relative path starts from.
    """
    if isinstance(text, str) and is_remote(text):
        return RemotePath(text)
    return Path(text) if folder is None else folder / text


def named(path: Location) -> str:
    """Name of a file for messages: its own name, or the address without secrets."""
    return path.shown if isinstance(path, RemotePath) else path.name


def without_secrets(text: str) -> str:
    """Return a text with user, password and query taken out of every address in it."""
    return _URL.sub(lambda found: _safe(found.group()), text)


def fingerprint(location: Location) -> str:
    """Return a text that changes when the file does, without reading it.

    Of a local file these are its size and time of change; of an ``http(s)`` address what the server
    says of its version (an empty text where it says nothing); of an ``s3`` address, which only GDAL
    can reach, the address alone.

    Raises:
        SceneError: The file is gone, or the server cannot be reached.
    """
    if isinstance(location, RemotePath):
        if location.address.lower().startswith("s3://"):
            return location.shown
        return _remote_version(location)
    try:
        status = location.stat()
    except OSError as error:
        raise SceneError(
            f"{location} is gone since it was opened ({error.strerror}): put it back, or correct"
            " the path."
        ) from error
    return f"{status.st_size} {status.st_mtime_ns}"


def _remote_version(location: RemotePath) -> str:
    try:
        with urlopen(_head(location.address), timeout=_HEAD_SECONDS) as reply:
            said = [
                reply.headers.get(field, "")
                for field in ("ETag", "Last-Modified", "Content-Length")
            ]
    except HTTPError as error:
        error.close()
        if error.code in _GONE:
            raise SceneError(
                f"{location.shown} is not there (HTTP {error.code}): correct the address, or use a"
                " file on this machine."
            ) from None
        # A server may refuse HEAD, as signed addresses do, and still give the file.
        return ""
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        # Only the system's own words: other texts repeat the address with its query.
        cause = error.reason if isinstance(error, URLError) else error
        why = cause.strerror if isinstance(cause, OSError) else None
        raise SceneError(
            f"{location.shown} cannot be reached ({why or type(cause).__name__}): check the address"
            " and the connection, or use a file on this machine."
        ) from None
    return " ".join(filter(None, said))


def _head(address: str) -> Request:
    parts = urlsplit(address)
    bare = urlunsplit(parts._replace(netloc=_host(parts), fragment=""))
    request = Request(quote(bare, safe=_URL_MARKS), method="HEAD")
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        # Unredirected: another host that this one points to must not learn the password.
        request.add_unredirected_header(
            "Authorization", f"Basic {base64.b64encode(login).decode('ascii')}"
        )
    return request


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # such as an unclosed bracket in the host
        return SplitResult("", "", "", "", "")


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _safe(address: str) -> str:
    parts = _split(address)
    if not parts.scheme:
        return f"{address.partition('://')[0]}://…"
    query = "?…" if parts.query else ""
    return f"{parts.scheme}://{_host(parts)}{parts.path}{query}"
