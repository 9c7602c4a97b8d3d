"""The command line: one sub-command per task, errors in one sentence with exit status 2."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from bdgf import __version__, config
from bdgf.console import ConsoleProgress
from bdgf.errors import BdgfError, RunFolderError, SettingsError
from bdgf.validation import validate

STAGE_HELP = {
    "pretrain": "Pre-train the diffusion model on all pixels, without labels",
    "features": "Compute the diffusion features of the whole scene",
    "train": "Train the guided branches on the labelled pixels",
    "map": "Write the map and the confidence of every tile",
    "evaluate": "Measure OA, AA and kappa on the test pixels, beside simple methods",
    "report": "Write report.html of the run",
}
COMMANDS = {
    "demo": "The whole job on a built-in synthetic scene",
    "inspect": "What is in rasters, .mat files and scene files; writes a ready scene file",
    "run": "From a scene file to map, accuracy and report",
    **STAGE_HELP,
    "table": "One Markdown table of several runs, mean and deviation over their seeds",
}


class _Parser(ArgumentParser):
    """Refuses with one sentence and exit status 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage."""
        text = " ".join(str(message).split())
        raise SettingsError(f"{text.rstrip('.')}; '{self.prog} --help' shows what it takes.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    console, errors = Console(), Console(stderr=True)
    if not words or words[0] in ("-h", "--help"):
        _print_help(console)
        return 0
    if words[0] == "--version":
        console.print(f"bdgf {__version__}", highlight=False)
        return 0
    handler = RichHandler(console=errors, show_time=False, show_path=False, markup=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("bdgf").setLevel(logging.INFO)
    try:
        if words[0] not in COMMANDS:
            raise SettingsError(
                f"{words[0]!r} is not a command; choose one of {', '.join(COMMANDS)}."
            )
        _command(words[0])(words[1:], console)
    except BdgfError as error:
        errors.print(f"bdgf: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return error.exit_status
    except KeyboardInterrupt:
        errors.print("bdgf: stopped; the same command goes on from the last checkpoint.")
        return 130
    return 0


def _command(name: str) -> Callable[[list[str], Console], None]:
    if name in STAGE_HELP:
        return lambda words, console: _stage(name, words, console)
    return {"demo": _demo, "inspect": _inspect, "run": _run, "table": _table}[name]


def _print_help(console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for name, text in COMMANDS.items():
        table.add_row(f"  {name}", text)
    console.print("usage: bdgf COMMAND ...\n", highlight=False)
    console.print("Land-cover maps from rasters of different sensors, by balanced")
    console.print("diffusion-guided fusion.\n")
    console.print(table)
    console.print(
        "\n'bdgf COMMAND --help' shows the options and an example of each.", highlight=False
    )


def _parser(name: str, usage: str, example: str) -> _Parser:
    return _Parser(
        prog=f"bdgf {name}",
        usage=f"bdgf {name} {usage}",
        description=f"{COMMANDS[name]}. Example: {example}",
        allow_abbrev=False,
    )


def _with_settings(parser: _Parser, preset: str = "standard") -> None:
    parser.add_argument(
        "--preset",
        choices=tuple(config.PRESETS),
        default=preset,
        help="Decides the number of steps; a setting that is given by itself outweighs it",
    )
    parser.add_class_arguments(config.Settings, nested_key=None)


def _settings(parser: _Parser, words: list[str], stored: dict[str, Any]) -> Namespace:
    """Parse with the defaults of the run that the folder holds, or else of the preset.

    A preset that is named goes before what is stored.
    """
    chosen = None if stored else parser.get_default("preset")
    for index, word in enumerate(words):
        if word == "--preset" and index + 1 < len(words):
            chosen = words[index + 1]
        elif word.startswith("--preset="):
            chosen = word.partition("=")[2]
    parser.set_defaults({**stored, **config.PRESETS.get(chosen or "", {})})
    return parser.parse_args(words)


def _as_settings(values: Namespace) -> config.Settings:
    names = config.Settings.__dataclass_fields__
    return config.from_values({k: v for k, v in values.as_dict().items() if k in names})


def _run(words: list[str], console: Console) -> None:
    parser = _parser(
        "run", "SCENE --out RUN [--preset quick|standard|full] [--SETTING VALUE ...]",
        "bdgf run scene.yaml --out runs/first --preset quick --seed 1",
    )  # fmt: skip
    parser.add_argument("scene", help="Scene file")
    parser.add_argument("--out", required=True, help="Run folder")
    _with_settings(parser)
    values = _settings(parser, words, {})
    _execute(Path(values.scene), Path(values.out), _as_settings(values), None, console)


def _stage(name: str, words: list[str], console: Console) -> None:
    parser = _parser(
        name, "RUN [--scene SCENE] [--SETTING VALUE ...]", f"bdgf {name} runs/first"
    )  # fmt: skip
    parser.add_argument("run", help="Run folder; its settings are kept where no other is given")
    parser.add_argument("--scene", default=None, help="Scene file; that of the run by default")
    _with_settings(parser)
    # once with the defaults, to learn which folder; then with what that folder's run has
    scene, stored = _stored(Path(_settings(parser, words, {}).run))
    values = _settings(parser, words, stored)
    path = values.scene or scene
    if path is None:
        raise RunFolderError(
            f"{values.run} holds no run yet; name the scene file with --scene, or start with"
            " 'bdgf run SCENE --out RUN'."
        )
    _execute(Path(path), Path(values.run), _as_settings(values), name, console)


def _stored(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """Return scene and settings of the run in a folder."""
    path = folder / "config.yaml"
    if not path.is_file():
        return None, {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        scene = str(values.pop("scene"))
    except (OSError, yaml.YAMLError, AttributeError, KeyError, UnicodeDecodeError) as error:
        raise RunFolderError(
            f"{path} cannot be read as a run's settings ({' '.join(str(error).split())}); start"
            " again with 'bdgf run SCENE --out RUN' on another folder."
        ) from None
    try:
        validate(config.from_values(values))
    except TypeError as error:
        raise RunFolderError(
            f"{path} holds a setting of the wrong type ({error}); put it right, or start again with"
            " 'bdgf run SCENE --out RUN' on another folder."
        ) from None
    return scene, config.flat(values)


def _execute(
    scene: Path, out: Path, settings: config.Settings, stage: str | None, console: Console
) -> None:
    from bdgf.pipeline import Pipeline
    from bdgf.stages import STAGES

    with ConsoleProgress(console) as progress:
        pipeline = Pipeline(scene, out, settings, progress)
        pipeline.run(STAGES if stage is None else (stage,))
    if stage in (None, "evaluate"):
        _print_metrics(out, console)
    if stage in (None, "map", "report"):
        single = len(pipeline.scene.tiles) == 1
        console.print(
            f"map: {out / ('map.tif' if single else 'maps')}", markup=False, soft_wrap=True
        )
    if stage in (None, "report"):
        console.print(f"report: {out / 'report.html'}", markup=False, soft_wrap=True)


def _print_metrics(out: Path, console: Console) -> None:
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    if not metrics["methods"]:
        return
    window = metrics["leak"]["window"]
    inside = 100 * metrics["leak"]["inside"]
    table = Table(
        title=f"{escape(metrics['scene'])}: {metrics['train_pixels']:,} training,"
        f" {metrics['test_pixels']:,} test pixels; {inside:.1f} % of the test pixels have a"
        f" training pixel inside their own {window}×{window} patch",
        caption="far: test pixels farther than a patch from every training pixel",
    )
    table.add_column("method")
    for name in ("OA", "AA", "kappa", "OA far", "AA far", "kappa far"):
        table.add_column(name, justify="right")
    for name, found in metrics["methods"].items():
        cells = [found[part][key] for part in ("all", "far") for key in ("oa", "aa", "kappa")]
        table.add_row(escape(name), *("–" if c is None else f"{c:.2f}" for c in cells))
    console.print(table)
    seconds = sum(metrics["seconds"].values())
    console.print(
        f"{seconds:.0f} s, {metrics['peak_memory_mb']} MB at most; details in"
        f" {out / 'metrics.json'}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _inspect(words: list[str], console: Console) -> None:
    parser = _parser("inspect", "PATH... [--write FILE]", "bdgf inspect hsi.tif sar.tif train.tif")
    parser.add_argument("paths", nargs="+", help="Rasters, .mat files, folders or scene files")
    parser.add_argument("--write", default=None, help="Write a scene file that fits these files")
    values = parser.parse_args(words)
    from bdgf.files import atomic_write_text
    from bdgf.scene.inspection.describe import inspect_paths, suggest_scene_file

    paths = [Path(path) for path in values.paths]
    console.print(inspect_paths(paths), highlight=False, markup=False, soft_wrap=True)
    if values.write is not None:
        target = Path(values.write)
        if target.exists():
            raise SettingsError(f"{target} exists and is not overwritten; give another --write.")
        atomic_write_text(target, suggest_scene_file(paths, target))
        console.print(f"wrote {target}", highlight=False, markup=False, soft_wrap=True)


def _table(words: list[str], console: Console) -> None:
    parser = _parser("table", "RUN...", "bdgf table runs/first-0 runs/first-1 runs/first-2")
    parser.add_argument("runs", nargs="+", help="Folders of finished runs")
    values = parser.parse_args(words)
    from bdgf.evaluation.table import markdown, read_run

    text = markdown([read_run(Path(run)) for run in values.runs])
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _demo(words: list[str], console: Console) -> None:
    parser = _parser("demo", "[--out FOLDER] [--size N] [--preset quick|standard]", "bdgf demo")
    parser.add_argument("--out", default="demo", help="Folder for the scene and the run")
    parser.add_argument("--size", type=int, default=160, help="Rows and columns of the scene")
    _with_settings(parser, preset="quick")
    values = _settings(parser, words, {})
    settings = _as_settings(values)
    from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

    out = Path(values.out)
    folder = out / f"scene_{values.size}_{settings.seed}"
    scene = folder / "scene.yaml"
    spec = SyntheticSpec(height=values.size, width=values.size, seed=settings.seed)
    if not scene.is_file():
        scene = make_scene(folder, spec)
        console.print(
            f"made a synthetic scene: {scene}", highlight=False, markup=False, soft_wrap=True
        )
    _execute(scene, out / "run", settings, None, console)
