from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser

import pytest

from bdgf.errors import RunFolderError
from bdgf.report.page import write_report
from bdgf.report.results import Results

HOSTILE = "<script>document.title='run'</script>"


def page_of(results: Results) -> str:
    return (results.folder.path / "report.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Elements without an end, and targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            assert found["id"] not in self.ids, "an id is given once"
            self.ids.add(str(found["id"]))
        if tag in ("a", "use") and str(found.get("href", "")).startswith("#"):
            self.links.append(str(found["href"])[1:])
        self.addresses += [str(found[key]) for key in ("src", "href") if found.get(key)]
        if tag not in ("meta", "br", "link", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", ["results", "tiles_results", "single_results"])
def test_the_page_is_well_formed_and_self_contained(
    name: str, request: pytest.FixtureRequest
) -> None:
    text = page_of(request.getfixturevalue(name))
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert set(outline.links) <= outline.ids
    assert [one for one in outline.addresses if not one.startswith("#")] == []
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert "This is a transductive result" in text


def test_names_stay_text(results: Results) -> None:
    text = page_of(results)
    assert "<script>document" not in text
    assert html.escape(HOSTILE, quote=False).replace("'", "&#39;") in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert data is not None
    assert "<" not in data.group(1)
    assert json.loads(data.group(1))["classes"][0]["name"] == HOSTILE


def test_the_policy_lets_only_the_pages_own_script_run(results: Results) -> None:
    import base64
    import hashlib

    text = page_of(results)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert not re.search(r"\son[a-z]+=", text.split("<script", 1)[0]), "no handlers in the markup"


def test_all_numbers_of_the_run_are_there(results: Results) -> None:
    text = page_of(results)
    methods = results.metrics["methods"]
    assert set(methods) > {"BDGF", "RF raw", "SVM 5x5"}
    for found in [*methods.values(), *results.metrics["missing"].values()]:
        for key in ("oa", "aa", "kappa"):
            assert f"{found['all'][key]:.2f}" in text
    for title in (
        "Accuracy against coverage", "Accuracy against confidence", "Confusion matrix",
        "Without each sensor",
        "Pre-training of the diffusion model", "Training of the branches", "Leak of the split",
        "t-SNE of the diffusion features at 40 labelled pixels", "All settings",
    ):  # fmt: skip
        assert title in text, title
    error = 100 * results.metrics["calibration"]["ece"]
    assert f"calibration error is {error:.1f} percentage points" in text
    assert f"torch {results.environment['packages']['torch']}" in text


def test_what_a_run_does_not_have_is_not_on_its_page(single_results: Results) -> None:
    text = page_of(single_results)
    for title in ("Confusion matrix", "Accuracy against coverage", "t-SNE of", "Pre-training of"):
        assert title not in text, title
    assert "no diffusion features" in text


def test_a_lost_map_is_named_and_the_page_stays(tiles_results: Results) -> None:
    before = page_of(tiles_results)
    path = tiles_results.map_paths(1)[0]
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(RunFolderError, match="run 'bdgf map' again"):
            write_report(tiles_results)
    finally:
        path.write_bytes(kept)
    assert page_of(tiles_results) == before


def test_warnings_stand_on_the_page_as_text(results: Results) -> None:
    page = results.folder.path / "report.html"
    before, kept = page.read_bytes(), results.folder.warnings.read_bytes()
    try:
        results.folder.warnings.write_text(json.dumps([f"bands 1 and 2 of {HOSTILE} are one"]))
        write_report(Results(results.scene, results.folder, results.settings))
        text = page_of(results)
        assert '<h2 id="warnings-title">Warnings</h2>' in text
        shown = html.escape(HOSTILE, quote=False).replace("'", "&#39;")
        assert f"<li>bands 1 and 2 of {shown} are one.</li>" in text
        results.folder.warnings.write_text("[")
        with pytest.raises(RunFolderError, match="run 'bdgf train' again"):
            write_report(Results(results.scene, results.folder, results.settings))
    finally:
        page.write_bytes(before)
        results.folder.warnings.write_bytes(kept)


def test_a_temperature_is_told_only_where_one_was_fitted(results: Results) -> None:
    page, path = (results.folder.path / name for name in ("report.html", "metrics.json"))
    before, kept = page.read_bytes(), path.read_text(encoding="utf-8")
    values = json.loads(kept)
    try:
        for temperature, told in ((2.5, "by the temperature 2.5"), (1.0, "without scaling")):
            values["calibration"]["temperature"] = temperature
            path.write_text(json.dumps(values), encoding="utf-8")
            write_report(Results(results.scene, results.folder, results.settings))
            assert told in page_of(results)
            fitted = "which was fitted on held-out training labels" in page_of(results)
            assert fitted == (temperature > 1.0)
    finally:
        path.write_text(kept, encoding="utf-8")
        page.write_bytes(before)
