"""The page of a run: one self-contained HTML file that opens from disk."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import jinja2

from bdgf.errors import RunFolderError
from bdgf.files import atomic_write_text
from bdgf.mapping.reading import read_confidence, read_map
from bdgf.report.figures import TileMap, map_figure, mosaic_figure
from bdgf.runfolder import RunFolder
from bdgf.scene.scene import Scene

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ metrics.scene }} · bdgf</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color: #1b1b1b; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #ccc; padding: .25rem .75rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
pre { background: #f5f5f5; padding: 1rem; overflow-x: auto; }
</style></head><body>
<h1>{{ metrics.scene }}</h1>
<p>{{ metrics.train_pixels }} training and {{ metrics.test_pixels }} test pixels, seed
{{ metrics.seed }}. This is a transductive result: {{ metrics.transductive }}.</p>
{% if metrics.notes %}<ul>{% for note in metrics.notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}<h2>Map</h2>
<p><img src="data:image/png;base64,{{ picture }}"
alt="False colours, class map, confidence and errors on the test pixels"></p>
{% if metrics.methods %}
<h2>Accuracy</h2>
<div class="scroll"><table>
<tr><th>Method</th><th>OA</th><th>AA</th><th>kappa</th><th>OA far</th><th>AA far</th>
<th>kappa far</th></tr>
{% for name, found in metrics.methods.items() %}
<tr><td>{{ name }}</td>{% for part in ("all", "far") %}{% for key in ("oa", "aa", "kappa") %}
<td>{{ number(found[part][key]) }}</td>{% endfor %}{% endfor %}</tr>
{% endfor %}</table></div>
<p>“far”: only test pixels farther than a patch from every training pixel.
{{ number(100 * metrics.leak.inside) }} % of the test pixels have a training pixel inside their own
{{ metrics.leak.window }}×{{ metrics.leak.window }} patch.</p>
{% if metrics.missing %}
<h2>Accuracy where a modality is missing</h2>
<div class="scroll"><table>
<tr><th>Missing from the whole scene</th><th>OA</th><th>AA</th><th>kappa</th><th>OA far</th>
<th>AA far</th><th>kappa far</th></tr>
{% for name, found in metrics.missing.items() %}
<tr><td>{{ name }}</td>{% for part in ("all", "far") %}{% for key in ("oa", "aa", "kappa") %}
<td>{{ number(found[part][key]) }}</td>{% endfor %}{% endfor %}</tr>
{% endfor %}</table></div>
<p>The same network on the same test pixels; its input and the features that guide it are made
without the modality.</p>
{% for name, found in metrics.missing.items() %}{% if found.note %}
<p>Without {{ name }}: {{ found.note }}.</p>
{% endif %}{% endfor %}
{% endif %}
<h2>Recall per class</h2>
<div class="scroll"><table><tr><th>Class</th>
{% for name in metrics.methods %}<th>{{ name }}</th>{% endfor %}</tr>
{% for class_name in metrics.classes.values() %}{% set row = loop.index0 %}
<tr><td>{{ class_name }}</td>{% for found in metrics.methods.values() %}
<td>{{ number(found["all"]["per_class"][row]) }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endif %}
<h2>Branches</h2>
<div class="scroll"><table><tr><th>Head</th><th>Fusion weight</th></tr>
{% for head in metrics.heads %}<tr><td>{{ head }}</td>
<td>{{ number(metrics.fusion_weights[loop.index0]) }}</td></tr>{% endfor %}</table></div>
{% if metrics.balance %}
<h2>Reliance of the diffusion features on each modality</h2>
<div class="scroll"><table><tr><th>Modality</th><th>Reliance</th><th>Linear R²</th></tr>
{% for name, value in metrics.balance.reliance.items() %}<tr><td>{{ name }}</td>
<td>{{ number(value) }}</td><td>{{ number(metrics.balance.explained_r2[name]) }}</td></tr>
{% endfor %}</table></div>
{% endif %}
<h2>Settings</h2>
<pre>{{ settings }}</pre>
<h2>Environment</h2>
<pre>{{ environment }}</pre>
</body></html>
"""


def write_report(scene: Scene, folder: RunFolder) -> None:
    """Write ``report.html`` from a run folder whose other stages are finished.

    Raises:
        RunFolderError: A file of an earlier stage is missing or damaged.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.globals["number"] = _number
    page = environment.from_string(_TEMPLATE).render(
        metrics={"balance": None, "missing": None, **_metrics(folder)},
        picture=base64.b64encode(_picture(scene, folder)).decode("ascii"),
        settings=(folder.path / "config.yaml").read_text(encoding="utf-8"),
        environment=(folder.path / "environment.json").read_text(encoding="utf-8"),
    )
    atomic_write_text(folder.path / "report.html", page)


def _metrics(folder: RunFolder) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(folder.metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{folder.metrics} cannot be read ({error}); run 'bdgf evaluate' again."
        ) from None
    return found


def _picture(scene: Scene, folder: RunFolder) -> bytes:
    maps = []
    single = len(scene.tiles) == 1
    for index, tile in enumerate(scene.tiles):
        map_path, confidence_path = folder.map_paths(tile.name, single)
        classes = read_map(map_path, scene.class_codes)
        maps.append(TileMap(index, classes, read_confidence(confidence_path)))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "map.png"
        if single:
            map_figure(scene, maps[0], path)
        else:
            mosaic_figure(scene, maps, path)
        return path.read_bytes()


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
