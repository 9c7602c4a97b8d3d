"""Licences of all packages that an installation brings along, from what they say of themselves.

``python -m benchmarks.reliability licences --write docs/licences.md``
"""

from __future__ import annotations

import argparse
import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
NAME = "bdgf"

FREE = re.compile(
    r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC|HPND|MPL|Mozilla|Unlicense|zlib|0BSD"
    r"|Public Domain|CC0|CMU)\b",
    re.IGNORECASE,
)
"""What licences are called that ask no more than to be named, MPL for changes of its own files."""


def needed(root: str) -> dict[str, metadata.Distribution]:
    """Return the installed packages that a package needs, directly or not, without extras."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(root, frozenset[str]())]
    while waiting:
        name, extras = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found and not extras:
            continue
        try:
            found[key] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # needed on another system
        for text in found[key].requires or []:
            requirement = Requirement(text)
            marks = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            marker = requirement.marker
            if marker is None or any(marker.evaluate(mark) for mark in marks):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    found.pop(root, None)
    return dict(sorted(found.items()))


def licence(package: metadata.Distribution) -> str:
    """Return what a package calls its licence, in a few words."""
    about = package.metadata
    if "License-Expression" in about:
        return about["License-Expression"]
    listed = [
        line.rsplit("::", 1)[1].strip()
        for line in about.get_all("Classifier") or []
        if line.startswith("License ::") and line.count("::") > 1
    ]
    if listed:
        return ", ".join(listed)
    text = (about.get_all("License") or [""])[0].strip().splitlines()
    return text[0][:60] if text else "not said"


def page(packages: dict[str, metadata.Distribution]) -> str:
    """Return the page of the documentation."""
    lines = [
        "# Licences",
        "",
        "Packages that an installation of bdgf brings along, and what each says of its licence."
        " Written by",
        "",
        "```",
        "python -m benchmarks.reliability licences --write docs/licences.md",
        "```",
        "",
        "The wheels of rasterio, pyogrio and shapely carry GDAL (MIT), PROJ (MIT) and GEOS (LGPL,"
        " linked dynamically); that of h5py carries HDF5 (BSD).",
        "",
        "| package | version | licence |",
        "|---|---|---|",
    ]
    for name, package in packages.items():
        said = licence(package).replace("|", "/")
        lines.append(f"| {name} | {package.version} | {said} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Print the table or write the page; 1 where a licence is not a free one."""
    parser = argparse.ArgumentParser("python -m benchmarks.reliability licences")
    parser.add_argument("--write", default=None, help="File for the page")
    values = parser.parse_args(arguments)
    packages = needed(NAME)
    other = [name for name, package in packages.items() if not FREE.search(licence(package))]
    if values.write is None:
        for name, package in packages.items():
            print(f"{name:<28}{package.version:<16}{licence(package)}")
    else:
        Path(values.write).write_text(page(packages), encoding="utf-8")
    print(f"{len(packages)} packages, {len(other)} without a licence that is known to be free")
    for name in other:
        print(f"{name}: {licence(packages[name])}")
    return 1 if other else 0
