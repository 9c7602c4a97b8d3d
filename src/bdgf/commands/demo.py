"""``bdgf demo``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bdgf.commands.options import add_settings, as_settings, make_parser, parse, say
from bdgf.commands.run import execute

SUMMARY = "The whole job on a built-in synthetic scene"


def command(words: list[str], console: Console) -> None:
    """Make a synthetic scene and run all stages on it."""
    parser = make_parser(
        "demo", SUMMARY, "[--out FOLDER] [--size N] [--preset quick|standard|full]", "bdgf demo"
    )
    parser.add_argument("--out", default="demo", help="Folder for the scene and the run")
    parser.add_argument("--size", type=int, default=160, help="Rows and columns of the scene")
    add_settings(parser, preset="quick")
    values = parse(parser, words, {})
    settings = as_settings(values)
    from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

    out = Path(values.out)
    folder = out / f"scene_{values.size}_{settings.seed}"
    scene = folder / "scene.yaml"
    spec = SyntheticSpec(height=values.size, width=values.size, seed=settings.seed)
    if not scene.is_file():
        scene = make_scene(folder, spec)
        say(console, f"made a synthetic scene: {scene}")
    execute(scene, out / "run", settings, None, console)
