"""Settings as options of the command line."""

from __future__ import annotations

from pathlib import Path

from bdgf.commands.options import add_settings, as_settings, make_parser, parse


def test_a_group_of_settings_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    path.write_text("steps: 7\nnoise: 0.25\n")
    parser = make_parser("run", "a", "b", "c")
    add_settings(parser)
    settings = as_settings(parse(parser, ["--training", str(path), "--training.batch", "9"], {}))
    assert (settings.training.steps, settings.training.noise) == (7, 0.25)
    assert settings.training.batch == 9
