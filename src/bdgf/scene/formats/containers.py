"""Which raster of a file is meant, and how GDAL is to open it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from affine import Affine
from rasterio.io import DatasetReader

from bdgf.errors import SceneError
from bdgf.scene.formats.gdal import gdal_name, opened
from bdgf.scene.formats.location import Location, named
from bdgf.scene.formats.netcdf import gdal_axes, is_counted, read_dimensions

_IN_FILE_ORDER = {"GDAL_NETCDF_BOTTOMUP": "NO"}
_BY_ANY_NAME = {"IGNORE_XY_AXIS_NAME_CHECKS": "YES"}
_PAGE = "GTIFF_DIR:"


@dataclass(frozen=True)
class Target:
    """A raster as GDAL opens it.

    Args:
        name: GDAL's name of it.
        key: Its name inside the file, None where the file is one raster.
        config: GDAL's configuration to open it with.
        options: Options of the driver to open it with.
        axes: What the axes of GDAL's raster are: C bands, H rows, W columns.
        placed: Whether its transform means places.
        transform: From (column, row) to coordinates, where GDAL cannot tell it.
        flipped: Whether its rows are to be read from the last to the first.
        wavelengths: Centre wavelength of every band (nm), empty where the file's form has none.
        notes: What was put right, in words for the user.
    """

    name: str
    key: str | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    axes: str = "CHW"
    placed: bool = True
    transform: Affine | None = None
    flipped: bool = False
    wavelengths: tuple[float | None, ...] = ()
    notes: tuple[str, ...] = ()

    def is_whole(self, path: Location) -> bool:
        """Whether it is the file itself, opened without any setting."""
        return self.name == gdal_name(path) and not self.config and not self.options


def target_of(dataset: DatasetReader, path: Location, key: str | None) -> Target:
    """Return the raster of an open file that a key means.

    Args:
        dataset: The file, opened as a whole.
        path: The file.
        key: Name of the raster inside the file; None takes the only one.

    Raises:
        SceneError: There is no such raster, or several and no key.
    """
    inside = rasters_in(dataset, path)
    if dataset.driver == "netCDF":
        return _netcdf(dataset, path, key, inside)
    if key is not None:
        if not inside:
            raise SceneError(
                f"{named(path)} is one raster, without arrays that have keys: remove 'key: {key}'."
            )
        return Target(inside[_known(path, key, inside)], key)
    if dataset.count:
        notes: tuple[str, ...] = ()
        pages = [name for name in inside.values() if name.startswith(_PAGE)]
        if len(pages) > 1:
            notes = (f"holds {len(pages)} pages, and the first is read; 'key: 2' reads the second",)
        return Target(gdal_name(path), notes=notes)
    only = _only(path, inside)
    return Target(inside[only], only)


def rasters_in(dataset: DatasetReader, path: Location) -> dict[str, str]:
    """Return GDAL's names of the rasters inside an open file by their keys, empty where none."""
    listed = dataset.tags(ns="SUBDATASETS")
    names = [
        listed[f"SUBDATASET_{number}_NAME"]
        for number in range(1, len(listed) + 1)
        if f"SUBDATASET_{number}_NAME" in listed
    ]
    if not names and dataset.driver == "netCDF" and dataset.count:
        return {dataset.tags(1).get("NETCDF_VARNAME", "1"): gdal_name(path)}
    return {_key(name, gdal_name(path)): name for name in names}


def _key(name: str, path: str) -> str:
    if name.startswith(_PAGE):
        return name.split(":")[1]
    return name.partition(path)[2].strip('":/') or name


def _known(path: Location, key: str, inside: Mapping[str, str]) -> str:
    wanted = key.strip("/")
    if wanted in inside:
        return wanted
    raise SceneError(f"{named(path)} has no raster {key!r}. {_listing(inside)}")


def _only(path: Location, inside: Mapping[str, str]) -> str:
    if len(inside) == 1:
        return next(iter(inside))
    if not inside:
        raise SceneError(
            f"{named(path)} holds no raster; name a file with a numeric array of rows and columns."
        )
    raise SceneError(
        f"{named(path)} holds {len(inside)} rasters, and no key says which. {_listing(inside)}"
    )


def _listing(inside: Mapping[str, str]) -> str:
    return f"Set key to one of: {', '.join(inside)}."


def _netcdf(
    dataset: DatasetReader, path: Location, key: str | None, inside: Mapping[str, str]
) -> Target:
    if key is not None:
        key = _known(path, key, inside)
    elif dataset.count:
        # GDAL has left out the variables that are another's coordinates or bounds.
        chosen = dataset.tags(1).get("NETCDF_VARNAME", "")
        key = next((k for k in inside if k.rpartition("/")[2] == chosen), None)
    if key is None:
        key = _only(path, inside)
    name = inside[key]
    dimensions = read_dimensions(path, key) if isinstance(path, Path) else None
    options = _BY_ANY_NAME if dimensions is not None and dimensions.has_places else {}
    with opened(path, name, options=options) as variable:
        extra = variable.tags().get("NETCDF_DIM_EXTRA", "").strip("{}").split(",")
        extra = [dimension for dimension in extra if dimension]
        sizes = (variable.count, variable.height, variable.width)
        has_crs, own = variable.crs is not None, variable.transform
    axes = gdal_axes(dimensions, extra) if dimensions is not None else None
    if dimensions is None or axes is None or axes.endswith("HW"):
        counted = not has_crs and is_counted(own, sizes[1])
        placed = not own.is_identity and not counted
        # Without coordinates GDAL takes the last row for the northern one, which is a guess.
        config = {} if placed else _IN_FILE_ORDER
        found = dimensions.wavelengths(sizes[0]) if dimensions is not None else ()
        return Target(name, key, config, options, placed=placed, wavelengths=found)
    if len(axes) > 3:
        raise SceneError(
            f"{key} of {named(path)} has the dimensions {', '.join(dimensions.names)}; a raster is"
            " (bands, rows, columns): save it in this order."
        )
    axes = axes.rjust(3, "C")
    size = dict(zip(axes, sizes, strict=True))
    order = dimensions.axes or axes
    transform = dimensions.transform(order)
    if transform is not None and not has_crs and is_counted(transform, size["H"]):
        transform = None
    flipped = transform is not None and transform.e > 0
    if transform is not None and flipped:
        transform = Affine(
            *(transform.a, 0.0, transform.c),
            *(0.0, -transform.e, transform.f + transform.e * size["H"]),
        )
    return Target(
        name,
        key,
        _IN_FILE_ORDER,
        axes=axes,
        placed=transform is not None,
        transform=transform,
        flipped=flipped,
        wavelengths=dimensions.wavelengths(size["C"]),
        notes=(f"axes in the order {', '.join(dimensions.names)} put right",),
    )
