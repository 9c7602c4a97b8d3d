"""The page in a headless Chromium: what a reader does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from bdgf.mapping.reading import read_confidence, read_map
from bdgf.report.figures.pixels import OTHER_COLOR, RIGHT_COLOR, WRONG_COLOR, rgb
from bdgf.report.overview import tile_overview
from bdgf.report.page import render
from bdgf.report.pictures import packed
from bdgf.report.results import Results

HOSTILE = "<script>document.title='run'</script>"

pytestmark = pytest.mark.timeout(600)


class Page:
    """An opened report and what a reader sees of it."""

    def __init__(self, browser: Any, path: Path) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        self.browser = browser
        browser.get_log("browser")  # what an earlier page left
        browser.get(path.as_uri())
        self.wait = WebDriverWait(browser, 60)
        self.until("document.getElementById('viewer').dataset.ready === 'true'")
        # offsets of the pointer count from the middle of what is in sight of an element
        self.run("stage.scrollIntoView({block: 'center'})")

    def until(self, condition: str) -> None:
        self.wait.until(lambda browser: browser.execute_script(f"return {condition}"), condition)

    def run(self, script: str, *values: Any) -> Any:
        return self.browser.execute_script(script, *values)

    def find(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return str(self.find(selector).text)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def color(self, across: float, down: float) -> tuple[int, ...]:
        """Colour that is drawn at a place of the stage, in shares of its width and height."""
        self.run("draw()")
        found = self.run(
            "const c = document.getElementById('canvas');"
            "return [...c.getContext('2d').getImageData("
            "Math.floor(arguments[0] * c.width), Math.floor(arguments[1] * c.height), 1, 1).data]",
            across, down,
        )  # fmt: skip
        return tuple(found[:3])

    def place(self) -> dict[str, Any]:
        """Scale, middle and marked pixel of the view."""
        script = "return {scale: view.scale, x: view.x, y: view.y, mark: view.mark}"
        return dict(self.run(script))

    def keys(self, selector: str, *keys: str) -> None:
        self.find(selector).send_keys(*keys)

    def actions(self) -> Any:
        from selenium.webdriver.common.action_chains import ActionChains

        return ActionChains(self.browser, duration=20)


@pytest.fixture
def page(browser: Any, results: Results) -> Page:
    return Page(browser, results.folder.path / "report.html")


def offset_of(page: Page, row: int, col: int) -> tuple[int, int]:
    """Offset of a cell's middle from the middle of the stage, as the pointer is moved."""
    found = page.run(
        "const [x, y] = screenOf(arguments[1] + 0.5, arguments[0] + 0.5);"
        "return [x - stage.clientWidth / 2, y - stage.clientHeight / 2]",
        row, col,
    )  # fmt: skip
    return round(found[0]), round(found[1])


def some_pixel(results: Results, right: bool) -> tuple[int, int]:
    """A test pixel that the map has right or wrong, off the middle where the border lies."""
    tile = results.scene.tiles[0]
    classes = read_map(results.map_paths(0)[0], results.scene.class_codes)
    test = np.asarray(tile.test)
    there = (test >= 0) & ((classes == test) == right)
    there[:, tile.width // 2 - 4 : tile.width // 2 + 4] = False
    rows, cols = np.nonzero(there)
    return int(rows[0]), int(cols[0])


def test_it_opens_from_disk_without_a_complaint(page: Page) -> None:
    assert page.complaints() == []
    assert page.run("return document.getElementById('trouble').hidden")
    addresses = page.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in addresses if not name.startswith(("data:", "blob:"))] == []


def test_a_class_named_script_stays_text(page: Page, results: Results) -> None:
    assert page.browser.title.startswith(results.scene.name)
    assert page.run("return document.scripts.length") == 2, "the data and the page's own"
    assert HOSTILE in page.text("#legend")
    assert HOSTILE in page.text("#classes")
    page.find("#legend button").click()
    page.keys("#stage", *("\ue014",) * 2)
    assert page.browser.title.startswith(results.scene.name)


@pytest.mark.parametrize("right", [True, False])
def test_the_pixel_under_the_pointer_is_read_out(page: Page, results: Results, right: bool) -> None:
    import rasterio

    row, col = some_pixel(results, right)
    map_path, confidence_path = results.map_paths(0)
    names = results.scene.class_names
    found = names[read_map(map_path, results.scene.class_codes)[row, col]]
    page.actions().move_to_element_with_offset(
        page.find("#stage"), *offset_of(page, row, col)
    ).perform()
    assert page.text("#read-class b") == found
    assert page.text("#read-place") == f"{row}, {col}"
    sure = 100 * float(read_confidence(confidence_path)[row, col])
    assert float(page.text("#read-confidence").strip("> %")) == pytest.approx(sure, abs=0.8)
    label = names[results.scene.tiles[0].test[row, col]]
    assert page.text("#read-label") == f"{label} (test, {'right' if right else 'wrong'})"
    with rasterio.open(results.votes_path(0)) as votes:
        for band, head in enumerate(votes.descriptions, 1):
            code = int(votes.read(band)[row, col])
            said = names[results.scene.class_codes.index(code)]
            assert page.text(f"[data-head='{band - 1}']") == said, head
        x, y = votes.xy(row, col)
    shown = [float(part) for part in page.text("#read-ground").split(",")]
    assert shown == pytest.approx([x, y], abs=0.06)


def test_the_border_is_dragged_and_moved_by_keys(page: Page) -> None:
    page.run("return Promise.all([setSide('left', 0), setSide('right', DATA.modalities.length)])")
    before = page.color(0.4, 0.5)
    stage = page.find("#stage")
    width = stage.size["width"]
    page.actions().drag_and_drop_by_offset(page.find("#border"), -int(0.3 * width), 0).perform()
    moved = int(page.find("#border").get_attribute("aria-valuenow"))
    assert moved == pytest.approx(20, abs=3)
    assert page.color(0.4, 0.5) != before, "the map is there now"
    classes = page.run("return DATA.classes.map((one) => rgb(one.safe))")
    assert list(page.color(0.4, 0.5)) in [*classes, [255, 255, 255]]
    page.keys("#border", "\ue014", "\ue014")
    assert int(page.find("#border").get_attribute("aria-valuenow")) == moved + 10
    page.keys("#stage", "[")
    assert int(page.find("#border").get_attribute("aria-valuenow")) == moved + 5
    page.keys("#border", "\ue010")
    assert page.color(0.4, 0.5) == before


def test_zoom_and_pan_by_wheel_buttons_pointer_and_keys(page: Page) -> None:
    start = page.place()
    stage = page.find("#stage")
    page.find("#zoom-in").click()
    nearer = page.run("return view.scale")
    assert nearer == pytest.approx(1.5 * start["scale"])
    page.run("stage.focus()")
    page.run(
        "stage.dispatchEvent(new WheelEvent('wheel', {deltaY: -100, cancelable: true,"
        " clientX: stage.getBoundingClientRect().left + 300,"
        " clientY: stage.getBoundingClientRect().top + 200}))"
    )
    assert page.run("return view.scale") == pytest.approx(1.25 * nearer)
    page.actions().move_to_element_with_offset(stage, 100, 60).click_and_hold().move_by_offset(
        40, 20
    ).release().perform()
    moved = page.place()
    page.keys("#stage", "+")
    assert page.run("return view.scale") > moved["scale"]
    page.keys("#stage", "0")
    whole = page.place()
    assert whole["scale"] == pytest.approx(start["scale"])
    assert (whole["x"], whole["y"]) == pytest.approx((start["x"], start["y"]))
    page.keys("#stage", "-")
    assert page.run("return view.scale") == pytest.approx(start["scale"]), "not beyond the tile"


def test_dragging_moves_the_picture_with_the_pointer(page: Page) -> None:
    stage = page.find("#stage")
    for _ in range(4):
        page.find("#zoom-in").click()
    before = page.place()
    page.actions().move_to_element_with_offset(stage, 150, 60).click_and_hold().move_by_offset(
        60, 30
    ).release().perform()
    after = page.place()
    assert (before["x"] - after["x"]) * before["scale"] == pytest.approx(60, abs=2)
    assert (before["y"] - after["y"]) * before["scale"] == pytest.approx(30, abs=2)
    assert after["mark"] is None, "a drag marks no pixel"


def test_the_keyboard_reads_pixels_out(page: Page) -> None:
    right, down = "\ue014", "\ue015"
    page.keys("#stage", right)
    row, col = (int(part) for part in page.text("#read-place").split(","))
    page.keys("#stage", right, right, down)
    assert page.text("#read-place") == f"{row + 1}, {col + 2}"
    assert page.find("#readout").get_attribute("aria-live") == "polite"
    order = page.run(
        "return [...document.querySelectorAll('select, button, [tabindex]')]"
        ".filter((one) => one.offsetParent && one.tabIndex < 0).length"
    )
    assert order == 0, "everything that can be used is reached by the tabulator key"


def test_a_pressed_class_stands_out_and_colours_can_be_the_scenes(page: Page) -> None:
    def map_colors() -> set[tuple[int, ...]]:
        page.until("!drawing")
        found = page.run(
            "const c = paintClasses(view.tile);"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return [...new Set(Array.from({length: d.length / 4},"
            " (_, i) => d.slice(4 * i, 4 * i + 3).join()))]"
        )
        return {tuple(int(part) for part in text.split(",")) for text in found}

    safe = {tuple(one) for one in page.run("return DATA.classes.map((one) => rgb(one.safe))")}
    own = {tuple(one) for one in page.run("return DATA.classes.map((one) => rgb(one.own))")}
    assert map_colors() == safe | {(255, 255, 255)}
    button = page.find("#legend button")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert len(map_colors() & safe) == 1
    button.click()
    page.find("#own-colors").click()
    assert map_colors() == own | {(255, 255, 255)}


def test_every_picture_has_the_colours_of_its_values(page: Page, results: Results) -> None:
    def colors(paint: str) -> np.ndarray:
        found = page.run(
            f"const c = {paint};"
            "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        )
        return np.array(found).reshape(40, 52, 4)

    overview = tile_overview(results, 0)
    table = np.array([[255, 255, 255], *page.run("return DATA.classes.map((o) => rgb(o.safe))")])
    np.testing.assert_array_equal(
        colors("paintClasses(view.tile)")[..., :3], table[overview.classes + 1]
    )
    for head, votes in enumerate(overview.votes):
        shown = colors(f"paintVotes(view.tile, {head})")
        np.testing.assert_array_equal(shown[..., :3], table[votes + 1])
        assert (shown[..., 3] == 255).all()
    heat = (matplotlib.colormaps["cividis"](np.arange(256))[:, :3] * 255).astype(int)
    sure = np.rint(254 * np.nan_to_num(overview.confidence)).astype(int) + 1
    expected = np.where(overview.classes[..., None] >= 0, heat[sure], 255)
    assert np.abs(colors("paintConfidence(view.tile)")[..., :3] - expected).max() <= 1
    errors = np.array([rgb(color) for color in (OTHER_COLOR, RIGHT_COLOR, WRONG_COLOR)])
    np.testing.assert_array_equal(
        colors("paintErrors(view.tile)")[..., :3], errors[overview.verdict]
    )


def test_codes_beyond_a_byte_arrive(page: Page) -> None:
    values = np.array([0, 1, 300, 65_535], dtype=np.uint16)
    script = "return unpack(arguments[0], true).then((found) => [...found])"
    assert page.run(script, packed(values)) == values.tolist()


def test_many_tiles_are_gone_through(browser: Any, tiles_results: Results) -> None:
    page = Page(browser, tiles_results.folder.path / "report.html")
    assert page.complaints() == []
    tiles = tiles_results.scene.tiles
    assert page.run("return DATA.tiles.length") == len(tiles)
    assert page.run("return document.querySelectorAll('#sheet button').length") == len(tiles)
    first = page.run("return view.tile.name")
    page.find("#tile-after").click()
    page.until(f"view.tile.name !== {first!r} && view.left !== null")
    page.run("document.querySelector('#sheet button').click()")
    page.until(f"view.tile.name === {tiles[0].name!r} && view.left !== null")
    height, width = page.run("return [view.tile.rows, view.tile.cols]")
    assert (height, width) == (tiles[0].height, tiles[0].width)
    assert page.complaints() == []


def test_a_tile_that_is_slow_to_draw_leaves_the_next_one_alone(
    browser: Any, tiles_results: Results
) -> None:
    page = Page(browser, tiles_results.folder.path / "report.html")
    page.until("view.left !== null")
    page.run(
        """
        const own = layersOf, slow = DATA.tiles[0].name;
        window.layersOf = (tile) => {
          const made = own(tile);
          for (const layer of made) {
            const paint = layer.paint.bind(layer);
            layer.paint = async () => {
              await new Promise((go) => setTimeout(go, tile.name === slow ? 400 : 5));
              return paint();
            };
          }
          return made;
        };
        window.settled = false;
        openTile(0);
        setTimeout(() => openTile(1), 150);  // while the pictures of the first are being made
        setTimeout(() => settled = true, 900);
        """
    )
    page.until("settled")
    assert page.run("return view.tile.name") == tiles_results.scene.tiles[1].name
    for side in ("left", "right"):
        same = f"layers[Number(byId('{side}').value)].picture().then((p) => p === view.{side})"
        assert page.run(f"return {same}")
    assert page.complaints() == []


def test_a_run_without_test_labels_guidance_and_other_sensors(
    browser: Any, single_results: Results
) -> None:
    page = Page(browser, single_results.folder.path / "report.html")
    assert page.complaints() == []
    page.keys("#stage", "\ue014")
    assert page.text("#read-class b") in single_results.scene.class_names
    assert not browser.find_elements("css selector", "#accuracy")


def test_an_overview_reads_out_the_pixel_in_the_middle_of_a_cell(
    browser: Any, results: Results, tmp_path: Path
) -> None:
    overview = tile_overview(results, 0, 15)
    path = tmp_path / "report.html"
    path.write_text(render(results, [overview], {0}), encoding="utf-8")
    page = Page(browser, path)
    assert page.complaints() == []
    assert f"up to {overview.step} × {overview.step} pixels per cell" in page.text("#map")
    row, col = 2, 3
    page.actions().move_to_element_with_offset(
        page.find("#stage"), *offset_of(page, row, col)
    ).perform()
    pixel = [place * overview.step + overview.step // 2 for place in (row, col)]
    assert page.text("#read-place") == f"{pixel[0]}, {pixel[1]}"
    classes = read_map(results.map_paths(0)[0], results.scene.class_codes)
    assert page.text("#read-class b") == results.scene.class_names[classes[pixel[0], pixel[1]]]


def test_pixels_that_are_not_square_are_drawn_and_read_so(page: Page, results: Results) -> None:
    square = page.run("return tall() / wide()")
    assert square == 1
    page.run("view.tile.tall = 0.5; showAll()")
    assert page.run("return tall() / wide()") == 0.5
    row, col = some_pixel(results, True)
    stage = page.find("#stage")
    page.actions().move_to_element_with_offset(stage, *offset_of(page, row, col)).perform()
    assert page.text("#read-place") == f"{row}, {col}"
    page.find("#zoom-in").click()
    page.find("#zoom-in").click()
    page.run("mark({row: 20, col: 20}, false)")
    page.actions().move_to_element_with_offset(stage, *offset_of(page, 20, 20)).perform()
    assert page.text("#read-place") == "20, 20"


def test_two_fingers_zoom_and_a_tap_reads_out(page: Page) -> None:
    def touch(kind: str, *points: tuple[float, float]) -> None:
        box = page.run("const b = stage.getBoundingClientRect(); return [b.left, b.top]")
        places = [
            {"x": box[0] + x, "y": box[1] + y, "id": number} for number, (x, y) in enumerate(points)
        ]
        page.browser.execute_cdp_cmd(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": places}
        )

    before = page.place()
    width, height = page.run("return [stage.clientWidth, stage.clientHeight]")
    x, y = width * 0.3, height / 2
    touch("touchStart", (x, y))
    touch("touchStart", (x, y), (x + 60, y))
    touch("touchMove", (x - 20, y), (x + 70, y))
    touch("touchMove", (x - 30, y), (x + 90, y))
    touch("touchEnd")
    page.until(f"view.scale > {1.5 * before['scale']}")
    after = page.place()
    assert after["scale"] == pytest.approx(2 * before["scale"], rel=0.05)
    assert after["mark"] is None, "a pinch marks no pixel"
    touch("touchStart", (x, y))
    touch("touchEnd")
    page.until("view.mark !== null")
    expected = page.run("return cellAt(arguments[0], arguments[1])", x, y)
    assert page.place()["mark"] == expected


@pytest.mark.parametrize("width", [360, 768])
def test_it_fits_a_narrow_screen(page: Page, width: int) -> None:
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        page.until(f"innerWidth === {width}")
        assert page.run("return document.documentElement.scrollWidth") <= width
        assert page.run("return stage.clientWidth") <= width
        small = page.run(
            "return [...document.querySelectorAll('#viewer button, #viewer select')]"
            ".filter((one) => one.offsetParent && one.offsetHeight < 28).length"
        )
        assert small == 0, "what is pressed by a finger is not tiny"
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
