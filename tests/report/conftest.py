"""A finished run with names that must stay text, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bdgf import config
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.report.results import Results
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

HOSTILE = "<script>document.title='run'</script>"
"""A class name that would do harm where it is not treated as text."""

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, tiny_settings: config.Settings) -> Results:
    """A finished run of one tile with test pixels, nodata and a hostile class name."""
    folder = tmp_path_factory.mktemp("report")
    spec = SyntheticSpec(
        height=40, width=52, bands=6, classes=3, train_per_class=10, nodata_share=0.1, seed=3
    )
    path = make_scene(folder / "scene", spec)
    values = yaml.safe_load(path.read_text())
    values["labels"]["classes"][1] = HOSTILE
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    everything = {"evaluation.baselines": True, "evaluation.missing_modalities": True}
    settings = config.replace(tiny_settings, everything)
    pipeline = Pipeline(path, folder / "run", settings, Silent())
    pipeline.run()
    return Results(pipeline.scene, pipeline.folder, settings)


@pytest.fixture(scope="session")
def tiles_results(
    tmp_path_factory: pytest.TempPathFactory, tiles_scene: Path, tiny_settings: config.Settings
) -> Results:
    """A finished run of many small tiles."""
    out = tmp_path_factory.mktemp("report_tiles") / "run"
    pipeline = Pipeline(tiles_scene, out, tiny_settings, Silent())
    pipeline.run()
    return Results(pipeline.scene, pipeline.folder, tiny_settings)


@pytest.fixture(scope="session")
def single_results(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: config.Settings
) -> Results:
    """A finished run of one modality without coordinates, test labels and guidance."""
    folder = tmp_path_factory.mktemp("report_single")
    spec = SyntheticSpec(height=20, width=31, bands=5, classes=2, sar=False, dsm=False)
    path = make_scene(folder / "scene", spec)
    path.write_text(path.read_text().replace("  test: test.tif\n", ""))
    settings = config.replace(tiny_settings, {"features.source": "none"})
    pipeline = Pipeline(path, folder / "run", settings, Silent())
    pipeline.run()
    return Results(pipeline.scene, pipeline.folder, settings)


@pytest.fixture(scope="session")
def browser_paths() -> tuple[str, str]:
    """Paths of Chromium and of its driver; tests that need them are skipped where they are not."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium and chromedriver are not installed, the page cannot be opened")
    return chromium, driver


@pytest.fixture(scope="module")
def browser(
    browser_paths: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[object]:
    """A headless Chromium with its own profile, which keeps what the console says."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser_paths[0]
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*_FLAGS, f"--user-data-dir={profile}", "--window-size=1200,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(browser_paths[1]))
    yield driver
    driver.quit()
