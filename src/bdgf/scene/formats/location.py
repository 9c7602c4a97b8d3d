"""Where a file is: on this machine, or at an address that GDAL reads by windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import urlsplit

_SCHEMES = {"http": "/vsicurl/", "https": "/vsicurl/", "s3": "/vsis3/"}


@dataclass(frozen=True)
class RemotePath:
    """A file behind an ``https://``, ``http://`` or ``s3://`` address; it is read by windows.

    Args:
        address: The address as the user wrote it.
    """

    address: str

    @property
    def name(self) -> str:
        """Last part of the address, without a query."""
        return PurePosixPath(urlsplit(self.address).path).name or self.address

    @property
    def stem(self) -> str:
        """Name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Ending of the name with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def gdal(self) -> str:
        """Name by which GDAL opens it."""
        scheme, _, rest = self.address.partition("://")
        prefix = _SCHEMES[scheme.lower()]
        return prefix + (rest if scheme.lower() == "s3" else self.address)

    def __str__(self) -> str:
        return self.address


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
