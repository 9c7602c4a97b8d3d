"""Figures show the numbers and pixels that they were given."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from bdgf.bench import figures
from bdgf.bench.figures import (
    Canvas,
    labels_figure,
    main_methods,
    maps_figure,
    recall_figure,
    write_figures,
)
from bdgf.bench.rows import blocks
from bdgf.bench.variants import OURS, variant
from bdgf.report.figures.pixels import RIGHT_COLOR, WRONG_COLOR
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

WRONG = {
    OURS: 0.1,
    "RF raw": 0.3,
    "SVM raw": 0.2,
    variant("untrained denoiser"): 0.15,
    variant("no noise"): 0.05,
}


def pixels(path):
    return np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(np.uint8)


def share(image, color):
    rgb = tuple(bytes.fromhex(color[1:]))
    return float((image == rgb).all(axis=2).mean())


@pytest.fixture(scope="module")
def found(scene, made_up):
    """Blocks of two seeds and three numbers of labels."""
    results = [
        made_up(scene, method, seed, wrong * factor, budget=budget)
        for budget, factor in ((None, 1.0), (20, 1.5), (5, 3.0))
        for seed in (1, 0)
        for method, wrong in WRONG.items()
    ]
    return blocks(results, [scene], lambda _: ())


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, so that what they hold can be read."""
    kept = []
    save = figures.save

    def keep(figure, path):
        kept.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "save", keep)
    return kept


def test_ours_and_its_controls_come_first_and_other_variants_last(found):
    names = [OURS, variant("untrained denoiser"), "SVM raw", "RF raw", variant("no noise")]
    assert main_methods(found, 9) == names
    assert main_methods(found, 2) == names[:2]


def test_lines_go_through_the_means_of_every_number_of_labels(found, drawn, tmp_path, scene):
    labels_figure(found, tmp_path / "labels.png")
    (figure,) = drawn
    by_labels = {block.labels: block for block in found}
    for axes, measure in zip(figure.axes, ("oa", "aa"), strict=True):
        ticks = [text.get_text() for text in axes.get_xticklabels()]
        assert ticks == ["5", "20", "all"]
        lines = {c.get_label(): c for c in axes.containers}
        assert set(lines) == set(WRONG)
        for method, line in lines.items():
            data, caps, _ = line.lines
            for place, labels in enumerate(("5 per class", "20 per class", "all")):
                (row,) = [r for r in by_labels[labels].rows if r.method == method]
                values = row.values("all", measure)
                assert data.get_ydata()[place] == pytest.approx(np.mean(values))
                height = caps[1].get_ydata()[place] - caps[0].get_ydata()[place]
                assert height == pytest.approx(2 * np.std(values, ddof=1))


def test_many_methods_are_drawn_and_eight_stand_out(scene, made_up, drawn, tmp_path):
    names = [OURS, *(f"method {k}" for k in range(12))]
    results = [
        made_up(scene, name, 0, 0.05 * k + 0.05, budget=budget)
        for budget in (5, None)
        for k, name in enumerate(names)
    ]
    labels_figure(blocks(results, [scene], lambda _: ()), tmp_path / "labels.png")
    for axes in drawn[0].axes:
        assert len(axes.containers) == 13
    _, names = drawn[0].axes[0].get_legend_handles_labels()
    assert len(names) == 9
    assert "5 other methods" in names


def test_bars_are_as_high_as_the_recall(found, drawn, tmp_path, scene):
    block = next(b for b in found if b.labels == "all")
    recall_figure(block, tmp_path / "recall.png")
    (axes,) = drawn[0].axes
    bars = {c.get_label(): c for c in axes.containers if hasattr(c, "patches")}
    assert set(bars) == set(WRONG)
    for method, container in bars.items():
        (row,) = [r for r in block.rows if r.method == method]
        recalls = np.array([r.accuracy["all"]["per_class"] for r in row.results], dtype=float)
        heights = [bar.get_height() for bar in container.patches]
        assert heights == pytest.approx(recalls.mean(0))
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    counts = np.bincount(scene.labels_at("test"))
    expected = [f"{n}\n{c:,}" for n, c in zip(scene.class_names, counts, strict=True)]
    assert ticks == expected


def test_every_method_has_its_map_and_its_errors(found, drawn, tmp_path, scene):
    block = next(b for b in found if b.labels == "all")
    maps_figure(block, tmp_path / "maps.png")
    images = [axes.images[0].get_array() for axes in drawn[0].axes]
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles[:2] == ["False colours", "Test pixels"]
    assert titles[2::2] == main_methods([block], 9)
    assert "seed 0" in drawn[0]._suptitle.get_text()
    rows, cols = scene.positions("test")[:, 1:].T
    colors = np.array([tuple(bytes.fromhex(c[1:])) for c in scene.class_colors])
    np.testing.assert_array_equal(images[1][rows, cols], colors[scene.labels_at("test")])
    for place, method in enumerate(titles[2::2]):
        (row,) = [r for r in block.rows if r.method == method]
        result = row.results[0]
        assert result.cell.seed == 0
        np.testing.assert_array_equal(images[2 + 2 * place][rows, cols], colors[result.predicted])
        errors = images[3 + 2 * place]
        right = share(errors, RIGHT_COLOR) / (
            share(errors, RIGHT_COLOR) + share(errors, WRONG_COLOR)
        )
        assert 100 * right == pytest.approx(result.accuracy["all"]["oa"])


@pytest.mark.parametrize(("tiles", "height", "width"), [(40, 9, 14), (5, 14, 9), (1, 30, 700)])
def test_canvas_of_any_scene(tmp_path, monkeypatch, tiles, height, width):
    spec = SyntheticSpec(height, width, bands=3, classes=3, tiles=tiles, sar=False)
    scene = Scene.open(make_scene(tmp_path, spec))
    canvas = Canvas(scene)
    positions, reference = scene.positions("test"), scene.labels_at("test")
    tested = len(np.unique(positions[:, 0]))
    assert len(canvas.tiles) == min(tested, 36)
    assert canvas.left_out == tested - len(canvas.tiles)
    assert max(canvas.shape) <= 480 + 7 * 7
    painted = canvas.paint(reference)
    shown = np.isin(positions[:, 0], canvas.tiles)
    assert canvas.picture().shape == (*canvas.shape, 3)
    if canvas.step == 1:
        counts = np.bincount(painted[painted >= 0], minlength=3)
        assert counts.tolist() == np.bincount(reference[shown], minlength=3).tolist()
    else:
        assert canvas.step == 2
        for (row, col), value in np.ndenumerate(painted):
            inside = (positions[:, 1] // 2 == row) & (positions[:, 2] // 2 == col)
            assert value == (reference[inside][-1] if inside.any() else -1)


def test_names_are_no_mathematics(made_up, tmp_path, tiny_scene):
    text = tiny_scene.read_text()
    name = Scene.open(tiny_scene).class_names[0]
    path = tiny_scene.with_name("dollars.yaml")
    path.write_text(text.replace(f" {name}", " 'B $a^$'", 1))
    try:
        scene = Scene.open(path)
        results = [made_up(scene, method, 0, 0.2) for method in ("RF raw", "SVM $x^$")]
        written = write_figures(blocks(results, [scene], lambda _: ()), tmp_path)
    finally:
        path.unlink()
    assert "B $a^$" in scene.class_names
    assert len(written) == 2
    assert all(one.is_file() for one in written)


def test_all_figures_of_a_comparison_are_written(found, tmp_path, scene):
    written = write_figures(found, tmp_path)
    ends = ["labels", *(f"{n}.{kind}" for n in ("all", "20", "5") for kind in ("recall", "maps"))]
    assert sorted(p.name for p in written) == sorted(f"{scene.name}.{end}.png" for end in ends)
    assert all(path.is_file() for path in written)
    again = tmp_path / "again"
    for path in write_figures(found, again):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    assert len(write_figures(found[:1], tmp_path / "one")) == 2, "one number of labels is no line"
