"""From a trained run to `torch.export` and ONNX programs that are checked against its own map."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf.errors import RunFolderError, SettingsError
from bdgf.files import atomic_write_bytes, atomic_write_text
from bdgf.mapping.portable.description import describe
from bdgf.mapping.portable.graph import Mapper, build_mapper
from bdgf.mapping.trained import TrainedRun
from bdgf.progress import Progress
from bdgf.scene.layout import Window, windows_of
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene

TOLERANCE = 1e-4
"""Largest difference of a log-probability from that of the run's own map."""

_CHECKED = 128  # side of the piece that is compared, a multiple of the stride
_FILES = ("mapper.onnx", "mapper.pt2", "mapper.json", "map_tile.py")

Carry = Callable[[Tensor, Tensor], Tensor]
"""A program: values (bands, H, W) and valid (M, H, W) to log-probabilities (K, H, W)."""


@dataclass(frozen=True)
class Agreement:
    """How an exported program compares with the run's own map.

    Args:
        pixels: Number of pixels compared.
        largest: Largest difference of a log-probability.
        differing: Pixels of another class, where the two best are not exactly alike.
    """

    pixels: int
    largest: float
    differing: int

    def check(self, name: str) -> None:
        """Refuse a program that does not agree.

        Raises:
            RunFolderError: A log-probability differs by more than ``TOLERANCE``.
        """
        if not self.largest <= TOLERANCE:
            raise RunFolderError(
                f"{name} differs from the run's own map by {self.largest:.1e} in a log-probability,"
                f" more than {TOLERANCE:.0e}; nothing was written: report it with the versions of"
                " torch, onnx and onnxruntime."
            )


def export_run(run: TrainedRun, scene: Scene, folder: Path, progress: Progress) -> list[str]:
    """Write the trained mapper as ``mapper.onnx`` and ``mapper.pt2``, with what belongs to them.

    Args:
        run: The trained run.
        scene: Its scene, on a piece of which the programs are checked.
        folder: Where ``mapper.onnx``, ``mapper.pt2``, ``mapper.json`` and ``map_tile.py`` go.
        progress: Receives lines.

    Returns:
        The names of the files.

    Raises:
        SettingsError: The run's settings cannot be exported, or onnx is not installed.
        RunFolderError: The folder holds other files, or a program does not agree with the map.
    """
    _check_settings(run)
    _check_folder(folder)
    onnxruntime = _onnxruntime()
    mapper = build_mapper(
        run.preparation, run.denoiser, run.reduction, run.settings.features.timesteps, run.members
    )
    prepared, _ = run.on(scene, run.settings)
    tile, piece = _piece(prepared, mapper.smallest)
    # 1. torch.export
    progress.say("export: recording the computation, this can take some minutes")
    program = record(mapper, sum(one.bands for one in run.preparation.fitted))
    stored = io.BytesIO()
    torch.export.save(program, stored)
    compare_with = Comparison(run, scene, tile, piece, mapper.halo)
    compared = {"mapper.pt2": compare_with(program.module())}
    # 2. ONNX
    model = to_onnx(program)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    compared["mapper.onnx"] = compare_with(lambda *inputs: _run_onnx(session, *inputs))
    for name, found in compared.items():
        found.check(name)
        progress.say(
            f"{name}: {found.pixels:,} pixels of {scene.name} agree with the run's own map, largest"
            f" difference of a log-probability {found.largest:.1e}, {found.differing} pixels of"
            " another class"
        )
    # 3. all or none, the programs last
    about = describe(run.preparation, scene, run.legend, mapper.halo, mapper.smallest)
    atomic_write_text(folder / "map_tile.py", _script())
    atomic_write_text(
        folder / "mapper.json", json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False)
    )
    atomic_write_bytes(folder / "mapper.pt2", stored.getvalue())
    atomic_write_bytes(folder / "mapper.onnx", model)
    return list(_FILES)


def record(mapper: Mapper, bands: int) -> torch.export.ExportedProgram:
    """Return the program of a mapper for tiles of any size from ``mapper.smallest`` on.

    Args:
        mapper: The mapper.
        bands: Bands of all modalities.
    """
    # sides that differ, as equal ones would be taken for one number
    rows, columns = mapper.smallest + 42, mapper.smallest + 35
    values = torch.zeros(bands, rows, columns)
    valid = torch.ones(len(mapper.order), rows, columns, dtype=torch.bool)
    free = {1: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO}
    return torch.export.export(mapper, (values, valid), dynamic_shapes=(free, free))


def to_onnx(program: torch.export.ExportedProgram) -> bytes:
    """Return a recorded program as an ONNX file with its weights inside."""
    # what the converters tell of their passes is of no use to whoever exports
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        converted = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=["values", "valid"],
            output_names=["log_probabilities"],
        )
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
    if converted is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return bytes(converted.model_proto.SerializeToString())


def read_raw(prepared: PreparedScene, tile: int, window: Window) -> tuple[Tensor, Tensor]:
    """Read what an exported mapper takes of a window, cut at the edges of the tile.

    Returns:
        Raw values (bands, h, w) of all modalities, and valid (M, h, w).
    """
    scene, preparation = prepared.scene, prepared.preparation
    inside = window.inside(*prepared.shape(tile))
    read = [scene.tiles[tile].read(m, inside) for m in range(len(scene.modalities))]
    values = np.concatenate([found for found, _ in read])
    return torch.from_numpy(values), torch.from_numpy(_valid(preparation, [v for _, v in read]))


def _valid(preparation: Preparation, valid: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    pairs = zip(preparation.fitted, valid, strict=True)
    return np.stack([found[one.kept].all(axis=0) for one, found in pairs])


class Comparison:
    """Compares programs with the run's own map on a piece of a scene.

    Args:
        run: The trained run.
        scene: The scene.
        tile: Index of a tile.
        piece: The piece, which begins at multiples of the stride.
        halo: How much more is read around it.
    """

    def __init__(self, run: TrainedRun, scene: Scene, tile: int, piece: Window, halo: int) -> None:
        prepared, store = run.on(scene, run.settings)
        around = piece.grow(halo).inside(*prepared.shape(tile))
        self.inputs = read_raw(prepared, tile, around)
        top, left = piece.row - around.row, piece.col - around.col
        self.cut = (..., slice(top, top + piece.height), slice(left, left + piece.width))
        self.known = torch.from_numpy(prepared.valid_in(tile, piece))
        self.expected = run.log_probabilities(prepared, store, tile, piece)

    def __call__(self, program: Carry) -> Agreement:
        """Carry a program out and compare."""
        with torch.inference_mode():
            found = program(*self.inputs)[self.cut]
        if not torch.equal(torch.isfinite(found).all(0), self.known):
            return Agreement(0, float("inf"), 0)
        if not self.known.any():
            return Agreement(0, 0.0, 0)
        found, expected = found[:, self.known], self.expected[:, self.known]
        best = expected.topk(2, dim=0).values
        differ = (found.argmax(0) != expected.argmax(0)) & (best[0] != best[1])
        return Agreement(found.shape[1], float((found - expected).abs().max()), int(differ.sum()))


def _piece(prepared: PreparedScene, smallest: int) -> tuple[int, Window]:
    """Return the first tile and window that is at least half valid, or else the fullest.

    Tiles with a side below ``smallest`` cannot be mapped by a program.
    """
    best: tuple[float, int, Window] | None = None
    for tile in range(prepared.tiles):
        if min(prepared.shape(tile)) < smallest:
            continue
        for window in windows_of(*prepared.shape(tile), _CHECKED):
            share = float(prepared.valid_in(tile, window).mean())
            if best is None or share > best[0]:
                best = (share, tile, window)
            if share >= 0.5:
                return tile, window
    if best is None or not best[0]:
        raise RunFolderError(
            f"{prepared.scene.name} has no valid pixel in a tile of at least {smallest} ×"
            f" {smallest} pixels, so an export cannot be checked; export a run of a scene that has."
        )
    return best[1], best[2]


def _check_settings(run: TrainedRun) -> None:
    if run.settings.network.kind != "dense":
        raise SettingsError(
            "network.kind is patch, whose operators see one patch at a time, so no program can"
            " serve tiles of any size; train with --network.kind dense to export."
        )
    if run.settings.features.noised and run.denoiser is not None:
        raise SettingsError(
            "features.noised is true, and the noise is drawn by the place in the scene, which a"
            " program does not know; train with --features.noised false to export."
        )


def _check_folder(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "mapper.json").is_file():
        raise RunFolderError(
            f"{folder} holds files but no mapper.json, so it is not an export; nothing was written:"
            " name an empty or new folder with --to."
        )


def _onnxruntime() -> Any:  # noqa: ANN401
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"{error.name} is not installed, and an export needs onnx, onnxscript and onnxruntime:"
            " pip install 'bdgf[export]'."
        ) from None
    return onnxruntime


def _run_onnx(session: Any, values: Tensor, valid: Tensor) -> Tensor:  # noqa: ANN401
    inputs = {"values": values.numpy(), "valid": valid.numpy()}
    return torch.from_numpy(session.run(None, inputs)[0])


def _script() -> str:
    return resources.files(__package__).joinpath("map_tile.py").read_text(encoding="utf-8")
