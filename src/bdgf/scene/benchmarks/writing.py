"""The scene file of a benchmark that was found."""

from __future__ import annotations

from os.path import relpath
from pathlib import Path
from typing import Any

from bdgf.files import absolute
from bdgf.scene.benchmarks.declaration import Container, Found, Modality, Stored
from bdgf.scene.fields import flow

_NEAR = 2
"""Folders up that a relative path may go; farther away the path is written in full."""

_WIDTH = 96


def scene_file(found: Found, target: Path) -> str:
    """Return the text of a scene file for the files of a benchmark.

    Args:
        found: The files, checked.
        target: Where the text will be saved; paths are relative to its folder.
    """
    benchmark, container = found.benchmark, found.container
    folder = target.resolve().parent
    made = "the publisher's" if container.official else "not official"
    lines = [
        *_comment(f"{benchmark.title}, files as handed out by {container.origin}."),
        *_comment(f"From {benchmark.page}"),
        *_comment(f"Licence: {benchmark.licence}"),
        *_comment(f"Cite: {benchmark.citation}"),
        *_comment(f"Split: {made}."),
    ]
    for note in (*benchmark.notes, *container.notes, *found.notes):
        lines += _comment(note)
    if not container.verified:
        lines += _comment(f"Not confirmed in two places: {', '.join(container.doubts)}.")
    lines.append(f"name: {benchmark.name}")
    if container.align is not None:
        lines.append(f"align: {container.align}")
    lines.append("modalities:")
    for modality in container.modalities:
        lines.append(f"  {modality.name}: {flow(_modality(found, modality, folder))}")
    lines.append("labels:")
    for name, fields in _labels(found, container, folder).items():
        lines.append(f"  {name}: {flow(fields)}")
    lines.append("  classes:")
    names = {code: name for code, (name, _) in benchmark.classes.items()} | dict(found.names)
    lines += [f"    {code}: {flow(name)}" for code, name in names.items()]
    colors = {code: color for code, (_, color) in benchmark.classes.items()}
    lines.append("  colors:")
    lines += [f"    {code}: {flow(color)}" for code, color in colors.items()]
    lines.append(f"split: {flow(container.split)}")
    return "\n".join(lines) + "\n"


def _modality(found: Found, modality: Modality, folder: Path) -> dict[str, Any]:
    fields = _place(found, modality.stored, folder)
    # The role stands beside the path, as in every other scene file.
    fields = {"path": fields.pop("path"), **fields, "role": modality.role}
    if modality.bands is not None:
        first, last = modality.bands
        fields["bands"] = list(range(first, last + 1))
    return fields


def _labels(found: Found, container: Container, folder: Path) -> dict[str, Any]:
    parts = {"train": container.train, "test": container.test, "all": container.all}
    fields: dict[str, Any] = {}
    for name, stored in parts.items():
        if stored is not None:
            fields[name] = _place(found, stored, folder)
            if stored.form == "pixels":
                fields[name]["index_base"] = 0
    if container.codes is not None:
        fields["map"] = _place(found, container.codes, folder)
    if container.ignore:
        fields["ignore"] = list(container.ignore)
    return fields


def _place(found: Found, stored: Stored, folder: Path) -> dict[str, Any]:
    opened = found.opened(stored)
    fields: dict[str, Any] = {"path": _relative(found.files[stored.file], folder)}
    if opened.key is not None:
        fields["key"] = opened.key
    if opened.axes is not None:
        fields["axes"] = opened.axes
    return fields


def _relative(path: Path, folder: Path) -> str:
    path = absolute(path)
    common = len([a for a, b in zip(path.parts, folder.parts, strict=False) if a == b])
    if len(folder.parts) - common <= _NEAR:
        return Path(relpath(path, folder)).as_posix()
    return path.as_posix()


def _comment(text: str) -> list[str]:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH and line != "#":
            lines.append(line)
            line = "#  "
        line += f" {word}"
    return [*lines, line]
