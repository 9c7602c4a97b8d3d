"""``bdgf inspect``."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from bdgf.commands.options import make_parser, say
from bdgf.errors import SettingsError

SUMMARY = "What is in rasters, arrays, vectors and scene files; writes a ready scene file"


def command(words: list[str], console: Console) -> None:
    """Describe files, and write a scene file and quick-looks where asked to."""
    parser = make_parser(
        "inspect", SUMMARY, "PATH... [--write FILE] [--quicklook FOLDER]",
        "bdgf inspect data/ --write scene.yaml --quicklook looks",
    )  # fmt: skip
    parser.add_argument(
        "paths", nargs="+", help="Rasters, arrays, vectors, scene files, folders or addresses"
    )
    parser.add_argument("--write", default=None, help="Write a scene file that fits these files")
    parser.add_argument(
        "--quicklook", default=None, help="Folder for a PNG per modality with the labels over it"
    )
    values = parser.parse_args(words)
    from bdgf.files import atomic_write_text
    from bdgf.scene.inspection.describe import describe
    from bdgf.scene.inspection.gather import gather

    target = None if values.write is None else Path(values.write)
    if target is not None and target.exists():
        raise SettingsError(f"{target} exists and is not overwritten; give another --write.")
    found = gather(values.paths)
    say(console, describe(found))
    if values.quicklook is not None:
        from bdgf.scene.inspection.quicklook import quicklooks

        for path in quicklooks(found, Path(values.quicklook), lambda text: say(console, text)):
            say(console, f"wrote {path}")
    if target is not None:
        from bdgf.scene.inspection.suggest import suggest_scene_file

        # Folders with a scene file are described by it; a new one is made from the other files.
        files = gather(values.paths, scenes=False) if found.scenes else found
        text = suggest_scene_file(files, target)
        atomic_write_text(target, text)
        say(console, f"wrote {target}")
        if "\nlabels:" in text:
            say(
                console,
                f"next: look at what has a remark in {target}, the names of the classes above all,"
                f" then run it: bdgf run {shlex.quote(str(target))} --out runs/first",
            )
