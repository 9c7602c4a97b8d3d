from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bdgf import config
from bdgf.errors import RunFolderError
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.report.page import write_report
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene


def test_the_page_is_self_contained_and_names_stay_text(
    tmp_path: Path, tiny_settings: config.Settings
) -> None:
    spec = SyntheticSpec(height=24, width=24, bands=4, classes=2, train_per_class=6)
    path = make_scene(tmp_path / "scene", spec)
    values = yaml.safe_load(path.read_text())
    values["labels"]["classes"][1] = "<script>alert(1)</script>"
    path.write_text(yaml.safe_dump(values))
    settings = config.replace(tiny_settings, {"evaluation.baselines": False})
    pipeline = Pipeline(path, tmp_path / "run", settings, Silent())
    pipeline.run()
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r"""(src|href)=["']?(http|//)""", page)
    assert "data:image/png;base64," in page
    assert "transductive" in page
    (tmp_path / "run" / "map.tif").unlink()
    with pytest.raises(RunFolderError, match="run 'bdgf map' again"):
        write_report(pipeline.scene, pipeline.folder)
