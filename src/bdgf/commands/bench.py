"""``bdgf bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace
from rich.console import Console

from bdgf.commands.options import Parser, add_settings, as_settings, make_parser, parse, say
from bdgf.console import ConsoleProgress
from bdgf.errors import RunFolderError, SettingsError

if TYPE_CHECKING:
    from bdgf.bench.runner import Plan

SUMMARY = "Compare methods on the same pixels over seeds and numbers of labels"

TABLES = {
    "table.md": "markdown",
    "classes.md": "per_class",
    "table.csv": "to_csv",
    "table.tex": "latex",
}


def command(words: list[str], console: Console) -> None:
    """Run what is not finished of a comparison, and print its table."""
    values = parse(_parser(), words, {})
    from bdgf import presets
    from bdgf.bench import tables
    from bdgf.bench.figures import write_figures
    from bdgf.bench.published import published_for
    from bdgf.bench.rows import blocks
    from bdgf.bench.runner import Bench
    from bdgf.bench.tsne import draw_embeddings
    from bdgf.files import atomic_write_text

    plan, out = _plan(values), Path(values.out)
    _check_folder(out)
    with ConsoleProgress(console) as progress:
        bench = Bench(plan, out, progress)
        results = bench.run()
    found = blocks(results, list(bench.scenes.values()), published_for)
    for name, function in TABLES.items():
        atomic_write_text(out / name, getattr(tables, function)(found))
    say(console, tables.markdown(found))
    say(console, f"tables: {', '.join(str(out / name) for name in TABLES)}")
    figures = write_figures(found, out / "figures", lambda text: say(console, text))
    if values.tsne:
        settings = presets.replace(plan.settings, {"seed": plan.seeds[0]})
        figures += draw_embeddings(
            list(bench.scenes.values()), out, settings, lambda text: say(console, text)
        )
    say(console, f"figures: {', '.join(map(str, figures))}")


def _parser() -> Parser:
    """Return the parser, settings included."""
    parser = make_parser(
        "bench", SUMMARY,
        "SCENE... [--out FOLDER] [--seeds N] [--methods NAME,...] [--labels N,...] [--jobs N]"
        " [--tsne] [--preset ...] [--SETTING VALUE ...]",
        "bdgf bench a/scene.yaml b/scene.yaml --seeds 5 --methods core --out bench",
    )  # fmt: skip
    parser.add_argument("scenes", nargs="+", help="Scene files or their folders")
    parser.add_argument("--out", default="bench", help="Folder for results, what is there is kept")
    parser.add_argument("--seeds", type=int, default=3, help="How many seeds, from --seed on")
    parser.add_argument(
        "--methods",
        default="core",
        help="Names or groups with commas between: core, simple, controls, ablations, cross, RF"
        " raw, ..., or module:function of your own",
    )
    parser.add_argument(
        "--denoisers",
        default="",
        help="NAME=PATH with commas between: other scenes, or runs ({seed} becomes the seed), whose"
        " denoisers the methods 'denoiser of NAME' start from",
    )
    parser.add_argument(
        "--embeddings",
        default="",
        help="NAME=PATH with commas between: arrays or rasters of other models for the methods"
        " 'features of NAME', as features.source takes them",
    )
    parser.add_argument(
        "--labels",
        default="all",
        help="Training pixels per class with commas between, such as 5,10,20,40,all",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        help="Cells at a time; 0: one for every core and 4 GiB of memory, one alone on a GPU",
    )
    parser.add_argument(
        "--tsne",
        action="store_true",
        help="Draw t-SNE of raw bands and of the features of seed 0 that are there: untrained,"
        " without and with masking",
    )
    add_settings(parser)
    return parser


def _plan(values: Namespace) -> Plan:
    """Return what is to be compared.

    Raises:
        SettingsError: A value that cannot work.
    """
    from bdgf.bench.cross_model.sources import Elsewhere, named_paths
    from bdgf.bench.methods import expand
    from bdgf.bench.runner import Plan, jobs_for
    from bdgf.compute import device_of

    if values.seeds < 1 or values.jobs < 0:
        raise SettingsError(
            f"--seeds is {values.seeds} and --jobs {values.jobs}: seeds are a whole number from 1"
            " on, jobs from 0 on."
        )
    denoisers = named_paths(values.denoisers, "--denoisers")
    elsewhere = Elsewhere(
        {name: str(Path(path).resolve()) for name, path in denoisers.items()},
        named_paths(values.embeddings, "--embeddings"),
    )
    names = [name.strip() for name in values.methods.split(",") if name.strip()]
    settings = as_settings(values)
    on_cuda = device_of(settings.compute).type == "cuda"
    return Plan(
        scenes=tuple(_scene_file(Path(scene)) for scene in values.scenes),
        methods=expand(names, elsewhere),
        seeds=tuple(range(settings.seed, settings.seed + values.seeds)),
        budgets=tuple(_budget(text.strip()) for text in values.labels.split(",")),
        settings=settings,
        jobs=values.jobs or jobs_for(len(values.scenes) * values.seeds, on_cuda),
        elsewhere=elsewhere,
    )


def _check_folder(out: Path) -> None:
    """Refuse a folder with tables that no comparison has written."""
    foreign = [name for name in TABLES if (out / name).exists()]
    if foreign and not (out / "cells").is_dir():
        raise RunFolderError(
            f"{out} holds {', '.join(foreign)} of no comparison, which would be replaced; give a"
            " new folder with --out."
        )


def _scene_file(path: Path) -> Path:
    return path / "scene.yaml" if path.is_dir() else path


def _budget(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(
            f"--labels has {text!r}; it lists numbers of training pixels per class, or all, such"
            " as 5,10,all."
        )
    return int(text)
