from __future__ import annotations

from pathlib import Path

from bdgf.scene.benchmarks.catalogue import BENCHMARKS
from bdgf.scene.benchmarks.markdown import markdown

PAGE = Path(__file__).resolve().parents[3] / "docs" / "benchmarks.md"


def test_the_page_agrees_with_the_declarations():
    assert markdown() in PAGE.read_text(encoding="utf-8"), (
        "docs/benchmarks.md is out of date: replace everything from '## Berlin' on with what"
        " bdgf.scene.benchmarks.markdown.markdown() returns"
    )


def test_every_file_key_and_doubt_is_on_the_page():
    text = markdown()
    for benchmark in BENCHMARKS.values():
        section = text[text.index(f"## {benchmark.title}\n") :].split("\n## ")[0]
        for container in benchmark.containers:
            for stored in container.used().values():
                assert f"`{stored.file}`" in section
                assert stored.key is None or f"`{stored.key}`" in section
        unverified = sum(not container.verified for container in benchmark.containers)
        assert section.count("**Unverified:") == unverified
        for download in benchmark.downloads:
            assert download.sha256 in section
