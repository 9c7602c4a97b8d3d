"""The legend of a map in the forms that geographic information systems read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from bdgf.scene.description import LARGEST_CODE

NODATA = 0
"""Code of pixels without a class; scene files keep it free."""

# Columns of GDAL's raster attribute table: name, type (0 integer, 2 text), and usage, by which
# viewers find the value (5), the class name (2), and red, green, blue, opacity (6 to 9).
_COLUMNS = (
    ("Value", 0, 5),
    ("Class", 2, 2),
    ("Red", 0, 6),
    ("Green", 0, 7),
    ("Blue", 0, 8),
    ("Alpha", 0, 9),
)

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Legend:
    """Codes, names and colours of the classes of a map.

    Args:
        codes: (K,) code of every class in the file, 1 to 65535.
        names: (K,) name of every class.
        colors: (K,) colour of every class, ``#rrggbb``.

    Raises:
        ValueError: A code that a map cannot hold, or lists that differ in length.
    """

    codes: tuple[int, ...]
    names: tuple[str, ...]
    colors: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.codes) == len(self.names) == len(self.colors) > 0:
            raise ValueError(
                f"{len(self.codes)} codes, {len(self.names)} names and {len(self.colors)}"
                " colours were given; every class needs one of each."
            )
        if min(self.codes) <= NODATA or max(self.codes) > LARGEST_CODE:
            raise ValueError(
                f"class codes go from {min(self.codes)} to {max(self.codes)}; a map holds 1 to"
                f" {LARGEST_CODE}, and {NODATA} means no data."
            )

    @classmethod
    def of(cls, codes: Sequence[int], names: Sequence[str], colors: Sequence[str]) -> Legend:
        """Return the legend of a scene's classes."""
        return cls(tuple(int(code) for code in codes), tuple(names), tuple(colors))

    @property
    def dtype(self) -> str:
        """Type of a map's codes: uint8, or uint16 where a code exceeds 255."""
        return "uint16" if max(self.codes) > 255 else "uint8"

    @property
    def rgb(self) -> tuple[tuple[int, int, int], ...]:
        """Red, green and blue of every class, 0 to 255."""
        parts = (bytes.fromhex(color.lstrip("#")) for color in self.colors)
        return tuple((part[0], part[1], part[2]) for part in parts)

    @property
    def palette(self) -> dict[int, tuple[int, int, int, int]]:
        """Red, green, blue and opacity by code, no data transparent; only for uint8."""
        colors = {code: (*rgb, 255) for code, rgb in zip(self.codes, self.rgb, strict=True)}
        return {NODATA: (0, 0, 0, 0)} | colors

    def attribute_table(self, system: str | None = None) -> bytes:
        """Return the XML (``MAP.aux.xml``) in which GDAL keeps what a TIFF has no place for.

        Args:
            system: Coordinate reference system (WKT) where the TIFF has no place for that either.
        """
        root = _sidecar(system)
        band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
        rows = list(zip(self.codes, self.names, self.rgb, strict=True))
        if self.dtype == "uint8":
            # A plain list by code; with codes in the thousands the table below does better.
            categories = ElementTree.SubElement(band, "CategoryNames")
            names = dict(zip(self.codes, self.names, strict=True))
            for code in range(max(self.codes) + 1):
                ElementTree.SubElement(categories, "Category").text = _text(names.get(code, ""))
        table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
        for index, (name, kind, usage) in enumerate(_COLUMNS):
            column = ElementTree.SubElement(table, "FieldDefn", index=str(index))
            for tag, text in (("Name", name), ("Type", str(kind)), ("Usage", str(usage))):
                ElementTree.SubElement(column, tag).text = text
        for index, (code, name, rgb) in enumerate(rows):
            row = ElementTree.SubElement(table, "Row", index=str(index))
            for value in (code, name, *rgb, 255):
                ElementTree.SubElement(row, "F").text = _text(str(value))
        # GDAL passes over a sidecar that starts with an XML declaration.
        return _xml(root)

    def qgis_style(self) -> bytes:
        """Return the style (``MAP.qml``) that QGIS takes from beside a raster when it is added."""
        root = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology")
        pipe = ElementTree.SubElement(root, "pipe")
        renderer = ElementTree.SubElement(
            pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
        )
        entries = ElementTree.SubElement(renderer, "colorPalette")
        for code, name, color in zip(self.codes, self.names, self.colors, strict=True):
            ElementTree.SubElement(
                entries,
                "paletteEntry",
                value=str(code),
                color=f"#{color.lstrip('#').lower()}",
                alpha="255",
                label=_text(name),
            )
        ElementTree.SubElement(pipe, "rasterresampler", zoomedOutResampler="nearest")
        ElementTree.SubElement(root, "blendMode").text = "0"
        kind = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        return kind + _xml(root)

    def stac_classes(self) -> list[dict[str, Any]]:
        """Return the classes as the classification extension of STAC has them, no data first."""
        found: list[dict[str, Any]] = [
            {"value": NODATA, "name": "no_data", "title": "no data", "nodata": True}
        ]
        taken = {"no_data"}
        for code, name, color in zip(self.codes, self.names, self.colors, strict=True):
            # machine-readable names have letters, digits, - and _ only; the title is what it is
            short = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_").lower() or f"class_{code}"
            short = f"{short}_{code}" if short in taken else short
            taken.add(short)
            hint = color.lstrip("#").upper()
            found.append({"value": code, "name": short, "title": name, "color_hint": hint})
        return found


def _text(text: str) -> str:
    """Return a text without the characters that no XML can hold, escaped or not."""
    return _CONTROL.sub("", text)


def system_sidecar(system: str) -> bytes:
    """Return the XML (``RASTER.aux.xml``) in which GDAL keeps a coordinate reference system."""
    return _xml(_sidecar(system))


def _sidecar(system: str | None) -> ElementTree.Element:
    root = ElementTree.Element("PAMDataset")
    if system is not None:
        ElementTree.SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = system
    return root


def _xml(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=False)
    return found
