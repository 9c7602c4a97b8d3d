"""Opening rasters with GDAL: its options for remote files, and its errors in words."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.env import getenv, hasenv
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from bdgf.errors import SceneError
from bdgf.scene.formats.location import Location, RemotePath, named, without_secrets

CACHE_BYTES = 128 << 20
"""Of GDAL's blocks; a twentieth of the machine's memory otherwise, which no window needs."""

# A local file, such as a VRT of others, must not make GDAL ask the network: addresses are read
# where a user names them. No address has this name.
_ALWAYS: dict[str, Any] = {"GDAL_VRT_ENABLE_PYTHON": "NO", "GDAL_CACHEMAX": CACHE_BYTES}
_CURL = "CPL_VSIL_CURL_ALLOWED_FILENAME"
_LOCAL = _ALWAYS | {_CURL: "/vsicurl/none"}
_REMOTE = {
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "120",
    # A server that answers and then falls silent is given up long before the timeout of a window.
    "GDAL_HTTP_LOW_SPEED_TIME": "10",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}
_LOGGERS = ("rasterio._base", "rasterio._env", "rasterio._err", "rasterio._io", "rasterio.env")
_ONE_FILE = (".tif", ".tiff", ".jp2", ".vrt", ".png", ".jpg", ".nc", ".h5")
# rasterio lets some of GDAL's own errors (CPLE) through as they are.
_ERRORS = (RasterioError, CRSError, CPLE_BaseError, UnicodeError)


def gdal_name(path: Location) -> str:
    """Name by which GDAL opens a file."""
    return path.gdal if isinstance(path, RemotePath) else str(path)


@contextmanager
def opened(
    path: Location,
    name: str | None = None,
    config: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> Iterator[Any]:
    """Open a dataset for the time of a ``with`` block.

    GDAL's options that the environment or an outer ``rasterio.Env`` sets are left as they are.

    Args:
        path: The file, for messages.
        name: Name by which GDAL opens it; None takes the file's own.
        config: GDAL's configuration for the time of the block.
        options: Options of the driver.

    Yields:
        The open dataset, of rasterio.

    Raises:
        SceneError: The file cannot be opened, or cannot be read inside the block.
    """
    check_offline(path)
    settings = {k: v for k, v in _defaults(path).items() if not _is_set(k)} | dict(config or {})
    with _safe_logs(path), rasterio.Env(**settings):
        try:
            with warnings.catch_warnings():
                # Rasters without coordinates are ordinary input here.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = rasterio.open(name or gdal_name(path), **(options or {}))
        except _ERRORS as error:
            raise SceneError(_unopened(path, error)) from _safe_cause(path, error)
        with dataset:
            _check_own_values(path, dataset)
            try:
                yield dataset
            except _ERRORS as error:
                way_out = (
                    "check the connection and try again, or download the file"
                    if isinstance(path, RemotePath)
                    else "the file is damaged or cut short, get it again"
                )
                raise SceneError(
                    f"{named(path)} cannot be read ({_reason(path, error)}): {way_out}."
                ) from _safe_cause(path, error)


def _defaults(path: Location) -> dict[str, Any]:
    if not isinstance(path, RemotePath):
        return _LOCAL
    # Without a listing of the folder, which many servers answer with a long page or not at all.
    # Formats of several files still ask for each of them by name.
    listing = "EMPTY_DIR" if path.suffix.lower() in _ONE_FILE else "TRUE"
    return _ALWAYS | _REMOTE | {"GDAL_DISABLE_READDIR_ON_OPEN": listing}


CONFINED = "BDGF_SCENE_FOLDERS"
"""Environment variable: where it is set, rasters are read that hold their own values, no others."""

_OWN_VALUES = (
    "AAIGrid", "BMP", "EHdr", "ENVI", "GIF", "GPKG", "GS7BG", "GSAG", "GSBG", "GTiff", "HDF5",
    "HDF5Image", "JP2OpenJPEG", "JPEG", "netCDF", "PNG", "PNM", "SAGA", "WEBP",
)  # fmt: skip
"""GDAL's formats whose files name no other files to take values from."""


def _check_own_values(path: Location, dataset: Any) -> None:  # noqa: ANN401
    """Refuse an open raster that takes values from other files, where scenes are confined.

    GDAL itself has found out what the file is, and nothing of its values was read.
    """
    if os.environ.get(CONFINED) is None:
        return
    if dataset.driver not in _OWN_VALUES or "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS"):
        raise SceneError(
            f"{named(path)} is a raster of GDAL's format {dataset.driver} that may take its values"
            f" from other files, and {CONFINED} is set: name the files with the values in the scene"
            " file, or save it as GeoTIFF."
        )


_START, _LARGEST = 4096, 16 << 20
_INDEXES = (".gti", ".gti.gpkg", ".gti.fgb", ".gti.parquet", ".gdalg.json")
_DESCRIPTIONS = re.compile(rb"<(?:VRTDataset|OGRVRT|GDALTileIndex|GDAL_WM|WCS_GDAL|WM[ST]_|WMT_)")
_SERVICES = re.compile(
    rb"<GDAL_WM|<WCS_GDAL|<WM[ST]_|<WMT_|<(?:ows:|wcs:)?Capabilities|(?:https?|ftp)://[^<\"]*</Source"
    rb"|relativeToVRT=[^>]*>\s*(?:https?|ftp|wms|wmts|wcs)\b|<SourceDataset[^>]*>\s*(?:https?|ftp|wm)"
    rb"|/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs|hdfs)",
    re.IGNORECASE,
)


def check_offline(path: Location) -> None:
    """Refuse a local file that is no raster but the description of one on the network.

    Raises:
        SceneError: It is.
    """
    if isinstance(path, RemotePath) or _is_set(_CURL):
        return
    if path.name.lower().endswith(_INDEXES):
        raise SceneError(
            f"{path.name} is an index of other rasters, which may lie on the network, and a file on"
            " this machine must not reach out by itself: make a VRT of them with gdalbuildvrt, or"
            f" allow addresses by GDAL's own option {_CURL}."
        )
    try:
        with path.open("rb") as file:
            head = file.read(_START)
            # GDAL finds a description that does not stand at the beginning, too
            told = head.lstrip()[:1] in (b"<", b"\xef") or _DESCRIPTIONS.search(head) is not None
            if told:
                head += file.read(_LARGEST)
    except OSError:
        return  # whoever opens it says why
    if told and _SERVICES.search(head):
        raise SceneError(
            f"{path.name} describes data on the network, and a file on this machine must not reach"
            " out by itself: name the address in the scene file, download the data, or allow"
            f" addresses by GDAL's own option {_CURL}."
        )


def _is_set(option: str) -> bool:
    return option in os.environ or (hasenv() and option in getenv())


def _unopened(path: Location, error: BaseException) -> str:
    if isinstance(path, RemotePath):
        return (
            f"{named(path)} cannot be opened as a raster ({_reason(path, error)}): check the"
            " address and the connection, or download the file."
        )
    suffix = path.suffix.lower()
    if suffix == ".nc":
        needs = (
            "it must be a netCDF file with a numeric variable of rows and columns; a damaged one is"
            " to be got again"
        )
    else:
        needs = "it must be a GeoTIFF or another GDAL raster, or a .mat file"
        header = [path.with_suffix(".hdr"), path.with_name(path.name + ".hdr")]
        if suffix not in (".tif", ".tiff", ".vrt", ".png") and not any(h.is_file() for h in header):
            needs += f", and an ENVI raster needs its header {header[0].name} beside it"
    return f"{path.name} cannot be opened as a raster ({_reason(path, error)}); {needs}."


def _reason(path: Location, error: BaseException) -> str:
    """First words of GDAL's own error: rasterio's often only points to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = path.hide(str(error)) if isinstance(path, RemotePath) else str(error)
    text = " ".join(without_secrets(text).split()).rstrip(".")
    return text[:200] or type(error).__name__


class _WithoutSecrets(logging.Filter):
    """Takes an address's secrets out of log records."""

    def __init__(self, path: RemotePath) -> None:
        super().__init__()
        self.path = path

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.path.hide(record.getMessage()), ()
        return True


@contextmanager
def _safe_logs(path: Location) -> Iterator[None]:
    """Keep passwords and signatures out of rasterio's log, which repeats whole addresses."""
    if not isinstance(path, RemotePath) or path.shown == path.address:
        yield
        return
    mask = _WithoutSecrets(path)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(mask)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(mask)


def _safe_cause(path: Location, error: BaseException) -> BaseException | None:
    """The error as cause of another, unless it could show a password or a signature."""
    return None if isinstance(path, RemotePath) else error
