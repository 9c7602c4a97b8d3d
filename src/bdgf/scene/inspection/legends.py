"""Names and colours of classes that raster and vector files carry."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from bdgf.scene.description import LARGEST_CODE
from bdgf.scene.formats.location import Location
from bdgf.scene.labels.roi import written_code
from bdgf.scene.labels.vector_files import ColumnInfo, LayerInfo, load_layer

_LARGEST_SIDECAR = 5_000_000
_MOST_CLASSES = 200
_SURE = r"class|klass|label|categor|species|taxon|crop|habitat|land.?(use|cover)|lulc"
_CLASS = re.compile(
    rf"{_SURE}|cover|(?<![a-z])(lc|type|code|gridcode|value|dn|name)(?![a-z])", re.IGNORECASE
)
_NO_CLASS = re.compile(
    rf"^(?!.*({_SURE})).*(?<![a-z])(fid|id|oid|objectid|gid|area|perimeter|shape_\w+|date|time"
    r"|plot\w*|x|y|lat|lon|length|height|width|confidence|split)(?![a-z])",
    re.IGNORECASE,
)
_MANY_FEATURES = 20

Legend = tuple[dict[int, str], dict[int, str]]
"""Names and colours (#rrggbb) of classes by their codes."""


def raster_legend(path: Location, codes: Collection[int]) -> Legend:
    """Return names and colours of classes that a raster has in a colour table or beside it.

    Names are read from GDAL's ``.aux.xml`` (category names, attribute table), from the header of
    an ENVI classification, and nowhere else; colours from the colour table.

    Args:
        path: A raster that GDAL reads; of any other file nothing is returned.
        codes: Codes of the classes.
    """
    if not isinstance(path, Path):
        return {}, {}
    names: dict[int, str] = {}
    colors: dict[int, str] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                listed = dataset.tags(ns="ENVI").get("class_names", "")
                try:
                    table = dataset.colormap(1)
                except (ValueError, IndexError):  # there is none, or a file of several rasters
                    table = {}
    except RasterioError:
        return {}, {}
    for code, name in enumerate(listed.strip("{} ").split(",")):
        if name.strip():
            names[code] = name.strip()
    names |= _sidecar_names(path.with_name(f"{path.name}.aux.xml"))
    found = {code: tuple(table[code][:3]) for code in codes if code in table}
    if len(set(found.values())) == len(found) == len(codes) > 1:
        colors = {code: "#{:02x}{:02x}{:02x}".format(*color) for code, color in found.items()}
    return {code: name for code, name in names.items() if code in codes}, colors


def _sidecar_names(path: Path) -> dict[int, str]:
    """Category names, or the names of an attribute table, of GDAL's side file."""
    try:
        if path.stat().st_size > _LARGEST_SIDECAR:
            return {}
        root = ElementTree.fromstring(path.read_bytes())
    except (OSError, ElementTree.ParseError):
        return {}
    categories = root.find("PAMRasterBand/CategoryNames")
    if categories is not None:
        texts = [(entry.text or "").strip() for entry in categories.findall("Category")]
        return {code: text for code, text in enumerate(texts) if text}
    table = root.find("PAMRasterBand/GDALRasterAttributeTable")
    if table is None:
        return {}
    titles = [(column.findtext("Name") or "").lower() for column in table.findall("FieldDefn")]
    usages = [column.findtext("Usage") for column in table.findall("FieldDefn")]
    value = usages.index("5") if "5" in usages else _index(titles, ("value", "code", "class"))
    name = usages.index("2") if "2" in usages else _index(titles, ("name", "class_name", "label"))
    if value is None or name is None:
        return {}
    names = {}
    for row in table.findall("Row"):
        fields = [(field.text or "").strip() for field in row.findall("F")]
        if len(fields) > max(value, name) and re.fullmatch(r"\d{1,9}(\.0*)?", fields[value]):
            names[int(float(fields[value]))] = fields[name]
    return {code: text for code, text in names.items() if text}


def _index(titles: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((titles.index(title) for title in wanted if title in titles), None)


def class_columns(layer: LayerInfo) -> list[str]:
    """Guess which columns of a layer hold the classes: by their names, codes before names.

    Returns:
        Their names, the likeliest first.
    """
    able = [column for column in layer.columns if _possible(column, layer.features)]
    able.sort(key=lambda column: (not _CLASS.search(column.name), column.kind == "text"))
    return [column.name for column in able]


def _possible(column: ColumnInfo, features: int) -> bool:
    known = column.kind in ("integer", "text") or (
        # codes that a program without whole numbers has written
        column.kind == "real"
        and _CLASS.search(column.name) is not None
        and all(float(value).is_integer() for value, _ in column.values)
    )
    # A number of its own for every feature is no class.
    numbered = column.distinct == features > _MANY_FEATURES
    several = 1 <= column.distinct <= _MOST_CLASSES
    return known and several and not numbered and not _NO_CLASS.search(column.name)


@dataclass(frozen=True)
class VectorClasses:
    """The classes of a layer.

    Args:
        counts: Features by code, but 0; negative codes and the like are among them.
        names: Names by code, where the file has them.
        by_name: Whether they are texts that are numbered from 1 on, in alphabetical order.
    """

    counts: dict[int, int]
    names: dict[int, str]
    by_name: bool = False


def vector_classes(path: Path, layer: LayerInfo, column: str) -> VectorClasses:
    """Count the features of every class of a layer, and find the names of the classes.

    Texts that are all whole numbers are codes: numbered by the alphabet, 10 would become 2.

    Args:
        path: The vector file.
        layer: The layer.
        column: Its column of codes or names.

    Returns:
        The classes; none where a code is larger than a map can hold.

    Raises:
        SceneError: The file cannot be read.
    """
    fields = load_layer(path, layer.name, None).fields
    values = fields[column].tolist()
    if next(c.kind for c in layer.columns if c.name == column) == "text":
        texts = [str(value).strip() if value is not None else "" for value in values]
        written = codes_of_names(texts)
        if written is None:
            counted = Counter(text for text in texts if text)
            numbered = dict(enumerate(sorted(counted), 1))
            return VectorClasses({c: counted[t] for c, t in numbered.items()}, numbered, True)
        codes = written
    else:
        codes = [0 if v is None or v != v else int(v) for v in values]
    counts = dict(sorted(Counter(code for code in codes if code).items()))
    if counts and max(counts) > LARGEST_CODE:
        return VectorClasses({}, {})
    beside = [c for c in layer.columns if c.kind == "text" and c.name != column]
    names = _names_beside(codes, fields, beside)
    return VectorClasses(counts, {code: name for code, name in names.items() if code in counts})


def codes_of_names(texts: Sequence[str]) -> list[int] | None:
    """Return the codes that texts write in digits, 0 of empty ones; None where one is a name."""
    codes = [written_code(text) if text else 0 for text in texts]
    known = [code for code in codes if code is not None]
    return known if len(known) == len(codes) and any(known) else None


def _names_beside(
    codes: Sequence[int], fields: dict[str, NDArray[np.object_]], columns: list[ColumnInfo]
) -> dict[int, str]:
    """Names from a column of texts in which every code has one text and every text one code."""
    for column in sorted(columns, key=lambda column: not _CLASS.search(column.name)):
        names: dict[int, set[str]] = {}
        for code, text in zip(codes, fields[column.name].tolist(), strict=True):
            names.setdefault(code, set()).add(str(text).strip() if text is not None else "")
        texts = [next(iter(text)) for text in names.values()]
        single = all(len(text) == 1 for text in names.values())
        if single and len(set(texts)) == len(texts) and all(texts):
            return {code: next(iter(text)) for code, text in names.items()}
    return {}
