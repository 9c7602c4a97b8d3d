"""What stands beside the code agrees with it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import bdgf
from bdgf import config, presets
from bdgf.bench.cross_model.sources import Elsewhere, named_paths
from bdgf.bench.methods import expand
from bdgf.bench.variants import ALL_ABLATIONS
from bdgf.cli import COMMANDS
from bdgf.commands.options import Parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_the_citation_is_of_this_version_and_names_the_paper():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert found["version"] == bdgf.__version__
    assert found["cff-version"] == "1.2.0"
    (paper,) = found["references"]
    assert paper["identifiers"] == [{"type": "other", "value": "arXiv:2509.23310"}]
    assert [author["family-names"] for author in paper["authors"]] == [
        *("Liu", "Zheng", "Kang", "Zhang", "Gong", "Bruzzone"),
    ]


def test_the_changes_have_a_heading_for_what_is_not_released():
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_settings_that_python_examples_name_exist():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    names = re.findall(r'"((?:\w+\.)+\w+)":\s', text)
    assert names
    presets.replace(config.Settings(), dict.fromkeys(names))


class Parsed(Exception):
    """Carries what a command understood, before it does anything."""


def commands_of(page):
    """Words of every `bdgf` command in a page's blocks, lines that go on joined."""
    for block in re.findall(r"```(?:bash)?\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"\s*(?:\$ )?(?:OMP_NUM_THREADS=1 )?bdgf (.*)", line):
                yield shlex.split(
                    re.sub(r"\$\w+", "0", found[1]), comments=True
                )  # variables of a loop


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_blocks_are_understood(page, monkeypatch):
    understood = Parser.parse_args

    def parse_args(parser, *words, **options):
        raise Parsed(understood(parser, *words, **options))

    monkeypatch.setattr(Parser, "parse_args", parse_args)
    for command, *words in commands_of(page):
        if command == "--help" or "--help" in words:
            continue
        with pytest.raises(Parsed) as found:
            COMMANDS[command][1](words, Console())
        if command == "bench":
            values = found.value.args[0]
            elsewhere = Elsewhere(
                named_paths(values.denoisers, "--denoisers"),
                named_paths(values.embeddings, "--embeddings"),
            )
            own = [name for name in values.methods.split(",") if ":" not in name]
            expand([name.strip() for name in own if name.strip()], elsewhere)


def test_every_ablation_is_explained():
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    short = {"middle features only", "fine features only"}  # `middle …`, `fine …`
    short |= {f"guided at the {level} level only" for level in ("middle", "fine")}
    assert [name for name in ALL_ABLATIONS if name not in short and f"`{name}`" not in page] == []


def test_accuracies_of_the_readme_are_those_of_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"\d+\.\d\d ± \d+\.\d\d", readme)
    assert told
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    results += (ROOT / "docs" / "earlier-results.md").read_text(encoding="utf-8")
    assert [one for one in told if one not in results] == []


def test_the_notebook_is_kept_without_outputs_and_its_settings_exist():
    notebook = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        source = "".join(cell["source"])
        compile(source, "tutorial.ipynb", "exec")
        for name in re.findall(r'"((?:\w+\.)+\w+)": [\w"]', source):
            presets.replace(config.Settings(), {name: None})


def test_public_names_are_documented():
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for name in bdgf.__all__:
        if name not in ("Settings", "__version__"):
            assert f".{name}\n" in reference
    assert "::: bdgf.config\n" in reference
