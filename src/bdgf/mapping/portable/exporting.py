"""From a trained run to `torch.export` and ONNX programs that are checked against its own map."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bdgf.errors import RunFolderError, SettingsError
from bdgf.files import atomic_path, is_temporary
from bdgf.mapping.portable.comparison import Agreement, Carry, Comparison
from bdgf.mapping.portable.description import describe
from bdgf.mapping.portable.graph import ExportedMapper, build_mapper
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.progress import Progress
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window, windows_of

_CHECKED = 128  # side of the piece that is compared, a multiple of the stride
_WHOLE = 256  # side of the pieces where the whole map is
_FILES = ("mapper.onnx", "mapper.pt2", "mapper.json", "map_tile.py")


def export_run(
    run: PretrainedMapper, scene: Scene, folder: Path, progress: Progress, whole: bool = False
) -> list[str]:
    """Write the trained mapper as ``mapper.onnx`` and ``mapper.pt2``, with what belongs to them.

    Args:
        run: What the run has learned, with ``compute.accelerator`` cpu.
        scene: Its scene, on a piece of which the programs are checked.
        folder: Where ``mapper.onnx``, ``mapper.pt2``, ``mapper.json`` and ``map_tile.py`` go.
        progress: Receives lines.
        whole: Check the programs on the whole scene instead of a piece.

    Returns:
        The names of the files.

    Raises:
        SettingsError: The run's settings cannot be exported, or onnx is not installed.
        RunFolderError: The folder holds other files, or a program does not agree with the map.
    """
    _check_settings(run)
    check_folder(folder)
    onnxruntime = _onnxruntime()
    mapper = build_mapper(
        run.preparation,
        run.denoiser,
        run.reduction,
        run.settings.features.timesteps,
        run.network,
        run.weights,
    )
    prepared, _ = run.on(scene)
    pieces = [_piece(prepared, mapper.smallest)]
    if whole:
        pieces = all_pieces(prepared, mapper.smallest)
    # 1. torch.export
    progress.say("export: recording the computation, this can take some minutes")
    program = record(mapper, sum(one.bands for one in run.preparation.fitted))
    stored = io.BytesIO()
    torch.export.save(program, stored)
    # 2. ONNX
    model = to_onnx(program)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    # 3. what they say against what the run says
    programs: dict[str, Carry] = {
        "mapper.pt2": program.module(),
        "mapper.onnx": lambda values: _run_onnx(session, values),
    }
    compared = dict.fromkeys(programs, Agreement(0, 0.0))
    for tile, piece in pieces:
        compare_with = Comparison(run, scene, tile, piece, mapper.halo)
        for name, carry in programs.items():
            compared[name] += compare_with(carry)
    for name, found in compared.items():
        found.check(name)
        progress.say(f"{name}: {found.describe(scene.name)}")
    # 4. all or none, the programs last
    features = run.reduction.channels if run.reduction is not None else 0
    about = describe(run.preparation, scene, run.classes, mapper.halo, mapper.smallest, features)
    described = json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False)
    contents = (model, stored.getvalue(), described.encode(), _script().encode())
    write_files(folder, dict(zip(_FILES, contents, strict=True)))
    return list(_FILES)


def record(mapper: ExportedMapper, bands: int) -> torch.export.ExportedProgram:
    """Return the program of a mapper for tiles of any size from ``mapper.smallest`` on.

    Args:
        mapper: The mapper.
        bands: Bands of all modalities.
    """
    # sides that differ, as equal ones would be taken for one number
    rows, columns = mapper.smallest + 42, mapper.smallest + 35
    values = torch.zeros(bands, rows, columns)
    free = {1: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO}
    with _quiet():
        return torch.export.export(mapper, (values,), dynamic_shapes=(free,))


def to_onnx(program: torch.export.ExportedProgram) -> bytes:
    """Return a recorded program as an ONNX file with its weights inside."""
    with _quiet():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=["values"],
            output_names=["log_probabilities", "features"][: _outputs(program)],
        )
    if converted is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return bytes(converted.model_proto.SerializeToString())


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write all files or none; they take their names at the end, the last of them first.

    Raises:
        RunFolderError: The folder cannot be written, or the disk is full.
    """
    with contextlib.ExitStack() as names:
        for name, content in contents.items():
            names.enter_context(atomic_path(folder / name)).write_bytes(content)


def all_pieces(
    prepared: PreparedScene, smallest: int, side: int = _WHOLE
) -> list[tuple[int, Window]]:
    """Return tiles and windows that make up the scene, tiles too small for a program excepted.

    Args:
        prepared: The scene.
        smallest: Smallest side of a tile that a program can map.
        side: Of the windows, a multiple of the stride.
    """
    return [
        (tile, window)
        for tile in range(prepared.tiles)
        if min(prepared.shape(tile)) >= smallest
        for window in windows_of(*prepared.shape(tile), side)
    ]


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the converters tell of their passes: it is of no use to whoever exports."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch's own parts use what torch gives up
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)


def _outputs(program: torch.export.ExportedProgram) -> int:
    return len(program.graph_signature.user_outputs)


def _check_settings(run: PretrainedMapper) -> None:
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


def check_folder(folder: Path) -> None:
    """Refuse a folder of other files; an export, or what a killed one left, is written anew.

    Raises:
        RunFolderError: The folder holds other files.
    """
    if not folder.is_dir() or (folder / "mapper.json").is_file():
        return
    # a first export that was killed left some of its files
    if any(path.name not in _FILES and not is_temporary(path) for path in folder.iterdir()):
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
            " pip install '.[export]' in the checkout of bdgf."
        ) from None
    return onnxruntime


def _run_onnx(session: Any, values: Tensor) -> list[Tensor]:  # noqa: ANN401
    found = session.run(None, {"values": values.numpy()})
    return [torch.from_numpy(output) for output in found]


def _script() -> str:
    return resources.files(__package__).joinpath("map_tile.py").read_text(encoding="utf-8")
