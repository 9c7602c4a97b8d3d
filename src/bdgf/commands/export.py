"""``bdgf export``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bdgf.commands.options import make_parser, say
from bdgf.console import ConsoleProgress
from bdgf.errors import RunFolderError

SUMMARY = "The trained mapper as ONNX and torch.export programs, checked against the run's own map"


def command(words: list[str], console: Console) -> None:
    """Export the mapper of a run."""
    parser = make_parser(
        "export", SUMMARY, "RUN [--to FOLDER] [--whole]", "bdgf export runs/first --to exported"
    )
    parser.add_argument("run", help="Folder of a trained run")
    parser.add_argument(
        "--to", default=None, help="Folder to write to, empty or new; RUN/exported by default"
    )
    parser.add_argument(
        "--whole", action="store_true", help="Check the programs on every pixel of the scene"
    )
    values = parser.parse_args(words)
    from bdgf.mapping.portable.exporting import export_run
    from bdgf.mapping.pretrained import PretrainedMapper
    from bdgf.runfolder import RunFolder
    from bdgf.scene.scene import Scene

    run = Path(values.run)
    folder = run / "exported" if values.to is None else Path(values.to)
    # programs are recorded and checked on the CPU, whatever the run was trained on
    mapper = PretrainedMapper.from_run(run, {"compute.accelerator": "cpu"})
    path = RunFolder(run, read=True).scene()
    if path is None:
        raise RunFolderError(
            f"{values.run} does not say what scene it was trained on, and the export is checked on"
            " it; finish the run with 'bdgf run SCENE --out RUN'."
        )
    with ConsoleProgress(console) as progress:
        names = export_run(mapper, Scene.open(path), folder, progress, values.whole)
    for name in names:
        say(console, f"wrote {folder / name}")
