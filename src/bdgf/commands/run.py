"""``bdgf run`` and its stages one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bdgf import config, presets, processes
from bdgf.commands.options import (
    Command,
    Parser,
    add_settings,
    as_settings,
    make_parser,
    parse,
    say,
)
from bdgf.console import ConsoleProgress
from bdgf.errors import RunFolderError, SettingsError
from bdgf.files import JSON_ERRORS
from bdgf.runfolder import RunFolder, is_run_folder
from bdgf.stages import NEUTRAL
from bdgf.validation import validate

SUMMARY = "From a scene file, or the files of a benchmark, to map, accuracy and report"

STAGE_SUMMARIES = {
    "pretrain": "Pre-train the diffusion model on all pixels, without labels",
    "features": "Compute the diffusion features of the whole scene",
    "train": "Train the guided branches on the labelled pixels",
    "map": "Write the map and the confidence of every tile",
    "evaluate": "Measure OA, AA and kappa on the test pixels, beside simple methods",
    "report": "Write report.html of the run",
}

ON_CLUSTER = {
    "features": "compute the features, which this command writes",
    "map": "make the map",
}
"""What the workers of a cluster do in the stages that take ``--scheduler``."""


def command(words: list[str], console: Console) -> None:
    """Run all stages."""
    parser = make_parser(
        "run", SUMMARY,
        "SCENE --out RUN [--preset quick|standard|full] [--SETTING VALUE ...], or NAME --root"
        " FOLDER --out RUN",
        "bdgf run scene.yaml --out runs/first --preset quick --seed 1",
    )  # fmt: skip
    parser.add_argument("scene", help="Scene file, or the name of a benchmark such as augsburg")
    parser.add_argument("--out", required=True, help="Run folder")
    parser.add_argument("--root", default=None, help="Folder that holds a benchmark's files")
    add_settings(parser)
    values = parse(parser, words, {})
    settings, out = as_settings(values), Path(values.out)
    scene = Path(values.scene)
    if values.root is not None:
        scene = _benchmark(values.scene, Path(values.root), out, settings, console)
    elif not scene.exists():
        _suggest_root(values.scene)
    execute(scene, out, settings, None, console)


def _benchmark(
    name: str, root: Path, out: Path, settings: config.Settings, console: Console
) -> Path:
    """Check a benchmark's files and write their scene file into the run folder."""
    from bdgf.compute import join_processes
    from bdgf.files import atomic_write_text
    from bdgf.scene.benchmarks.catalogue import find
    from bdgf.scene.benchmarks.checking import check_counts, check_files
    from bdgf.scene.benchmarks.locating import locate
    from bdgf.scene.benchmarks.writing import scene_file
    from bdgf.scene.scene import Scene

    validate(settings)
    join_processes(settings)
    with processes.together():
        found = check_files(locate(find(name), root))
    with processes.in_turn():  # the others open what the first one writes
        target = RunFolder(out).path / "scene.yaml"
        text = scene_file(found, target)
        if target.is_file() and target.read_text(encoding="utf-8") != text:
            raise RunFolderError(
                f"{target} describes other files than those of {name} in {root}; nothing was"
                " overwritten: give another folder with --out."
            )
        atomic_write_text(target, text)
    for note in found.notes:
        say(console, f"{found.benchmark.title}: {note}")
    check_counts(found, Scene.open(target))
    return target


def _suggest_root(name: str) -> None:
    """Say how a benchmark is run, where a file that is not there has the name of one."""
    from bdgf.errors import SceneError
    from bdgf.scene.benchmarks.catalogue import find

    try:
        benchmark = find(name)
    except SceneError:
        return
    raise SettingsError(
        f"{benchmark.name} is a benchmark, and its files are needed: name their folder with"
        f" --root FOLDER, or get them with 'bdgf fetch {benchmark.name}'."
    )


def stage(name: str) -> Command:
    """Return the command of one stage."""
    return lambda words, console: _stage(name, words, console)


def _stage(name: str, words: list[str], console: Console) -> None:
    cluster = " [--scheduler ADDRESS]" if name in ON_CLUSTER else ""
    another = " | RUN --scene OTHER --to FOLDER" if name == "map" else ""
    parser = make_parser(
        name,
        STAGE_SUMMARIES[name],
        f"RUN [--scene SCENE] [--SETTING VALUE ...]{cluster}{another}",
        f"bdgf {name} runs/first",
    )
    parser.add_argument("run", help="Run folder; its settings are kept where no other is given")
    parser.add_argument("--scene", default=None, help="Scene file; that of the run by default")
    if name == "map":
        parser.add_argument(
            "--to",
            default=None,
            help="Map another scene of the same sensors, named with --scene, into this folder;"
            " the run stays as it is",
        )
    if name in ON_CLUSTER:
        parser.add_argument(
            "--scheduler",
            default=None,
            help="Address of a dask scheduler, such as tcp://host:8786, whose workers"
            f" {ON_CLUSTER[name]}; they must see the scene's files under the same names",
        )
    add_settings(parser)
    # once with the defaults, to learn which folder; then with what that folder's run has
    given = parse(parser, words, {})
    if name == "map" and given.to is not None:
        _map_other(parser, words, given, console)
        return
    scene, settings = stored(Path(given.run))
    values = parse(parser, words, settings)
    path = values.scene or scene
    if path is None:
        raise RunFolderError(
            f"{values.run} holds no run yet; name the scene file with --scene, or start with"
            " 'bdgf run SCENE --out RUN'."
        )
    if name != "pretrain" and not is_run_folder(Path(values.run)):
        raise RunFolderError(
            f"{values.run} holds no run yet, and 'bdgf {name}' needs the stages before it: start"
            " with 'bdgf run SCENE --out RUN', or 'bdgf pretrain RUN --scene SCENE'."
        )
    scheduler = values.scheduler if name in ON_CLUSTER else None
    wanted = as_settings(values)
    if name == "report":  # it only reads
        wanted = presets.replace(wanted, {"compute.accelerator": "cpu"})
    execute(Path(path), Path(values.run), wanted, name, console, scheduler)


def _map_other(parser: Parser, words: list[str], given: Namespace, console: Console) -> None:
    """Map another scene with a trained run.

    Where no setting is given it is that of the training, or of the run folder for those that change
    nothing of what was learned.
    """
    from bdgf.compute import set_threads
    from bdgf.mapping.other_scene import map_other
    from bdgf.mapping.pretrained import PretrainedMapper
    from bdgf.scene.scene import Scene
    from bdgf.stages import plain

    if processes.rank() > 0:  # the first one's alone
        return
    if given.scene is None:
        raise SettingsError("--to needs the other scene's file: name it with --scene.")
    out, to, scheduler = Path(given.run), Path(given.to), given.scheduler
    free = ("mapping.", "compute.", "evaluation.", "report.", "logger", *NEUTRAL)
    mapper = PretrainedMapper.from_run(out)
    learned = presets.flat(plain(mapper.settings))
    newer = {name: value for name, value in stored(out)[1].items() if name.startswith(free)}
    newer.pop("mapping.acquired", None)  # it is of the training scene
    settings = as_settings(parse(parser, words, {**learned, **newer}))
    validate(settings)
    wanted = presets.flat(plain(settings))
    changes = {name: value for name, value in wanted.items() if name.startswith(free)}
    mapper = mapper.changed(changes)
    if mapper.settings != settings:
        raise SettingsError(
            f"another scene is mapped with what {out} has learned, so only settings of mapping and"
            " compute can be given with --to; leave the others out."
        )
    set_threads(settings.compute)
    with ConsoleProgress(console) as progress:
        found = map_other(mapper, out, Scene.open(Path(given.scene)), to, progress, scheduler)
    if not found:
        say(console, "no band of this scene is far from those of the training scene")
    say(console, f"map: {to / ('map.tif' if (to / 'map.tif').is_file() else 'maps')}")


def stored(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """Return scene and settings of the run in a folder, None and nothing where there is none.

    Raises:
        RunFolderError: The settings are damaged.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        return None, {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        scene = str(values.pop("scene"))
    except (*JSON_ERRORS, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} cannot be read as a run's settings ({' '.join(str(error).split())}); start"
            " again with 'bdgf run SCENE --out RUN' on another folder."
        ) from None
    try:
        validate(presets.from_values(values))
    except SettingsError as error:
        raise RunFolderError(
            f"{path}: {error} Put it right there, or start again with 'bdgf run SCENE --out RUN' on"
            " another folder."
        ) from None
    return scene, presets.flat(values)


def execute(
    scene: Path,
    out: Path,
    settings: config.Settings,
    stage: str | None,
    console: Console,
    scheduler: str | None = None,
) -> None:
    """Run one stage, or all, and print what came out.

    Args:
        scene: Scene file.
        out: Run folder.
        settings: All settings.
        stage: The stage, None for all.
        console: Where it is printed.
        scheduler: Address of a dask scheduler whose workers do the stage, None for none.
    """
    from bdgf.pipeline import Pipeline
    from bdgf.stages import STAGES

    with ConsoleProgress(console) as progress:
        pipeline = Pipeline(scene, out, settings, progress, scheduler)
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
    path = out / "metrics.json"
    try:
        _print_table(json.loads(path.read_text(encoding="utf-8")), out, console)
    except (*JSON_ERRORS, LookupError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{path} cannot be read ({' '.join(str(error).split())}); delete it and run 'bdgf"
            f" evaluate {out}' again."
        ) from None


def _print_table(metrics: dict[str, Any], out: Path, console: Console) -> None:
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
    without = {f"BDGF without {name}": found for name, found in metrics["missing"].items()}
    for group in (metrics["methods"], without):
        for name, found in group.items():
            cells = [found[part][key] for part in ("all", "far") for key in ("oa", "aa", "kappa")]
            table.add_row(escape(name), *("–" if c is None else f"{c:.2f}" for c in cells))
        table.add_section()
    console.print(table)
    for name, found in without.items():
        if found["note"]:
            console.print(f"{name}: {found['note']}", highlight=False, markup=False, soft_wrap=True)
    seconds = sum(metrics["seconds"].values())
    console.print(
        f"{seconds:.0f} s, {metrics['peak_memory_mb']} MB at most; details in"
        f" {out / 'metrics.json'}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
