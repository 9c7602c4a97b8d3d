// Tiles, choice of pictures, legend and read-out; then the first tile is opened.

const byId = (id) => document.getElementById(id);
const THUMB_CELLS = 400000;
let layers = [];
let opening = 0;

function make(name, text) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  return element;
}

function nameOf(stored) {
  return stored ? DATA.classes[stored - 1].name : "none";
}

function readOut(cell, spoken) {
  const box = byId("readout"), tile = view.tile;
  box.setAttribute("aria-live", spoken ? "polite" : "off");
  const [swatch, title] = byId("read-class").children;
  const heads = box.querySelectorAll("[data-head]");
  if (!cell) {
    title.textContent = "Point at a pixel";
    swatch.removeAttribute("style");
    for (const field of box.querySelectorAll("dd")) field.textContent = "–";
    return;
  }
  const at = cell.row * tile.cols + cell.col, cells = tile.cells;
  const found = cells.classes[at];
  title.textContent = found ? nameOf(found) : "no data";
  if (found) swatch.style.background = colorOf(found - 1);
  else swatch.removeAttribute("style");
  const sure = cells.confidence[at];
  const percent = (sure - 1) / 2.54;
  byId("read-confidence").textContent = !sure ? "–" : percent >= 99.5 ? "> 99 %" : `${percent.toFixed(0)} %`;
  heads.forEach((field, head) => {
    const vote = cells.votes[head * tile.rows * tile.cols + at];
    field.textContent = nameOf(vote);
    field.style.fontWeight = vote && vote !== found ? "700" : "400";
  });
  byId("read-label").textContent = labelAt(cells, at);
  const middle = (place, size) => Math.min(place * tile.step + Math.floor(tile.step / 2), size - 1);
  const row = middle(cell.row, tile.height), col = middle(cell.col, tile.width);
  byId("read-place").textContent = `${row}, ${col}`;
  if (tile.place) {
    const [a, b, c, d, e, f] = tile.place;
    const digits = Math.abs(a) < 0.1 ? 5 : 1;
    const x = a * (col + 0.5) + b * (row + 0.5) + c, y = d * (col + 0.5) + e * (row + 0.5) + f;
    byId("read-ground").textContent = `${x.toFixed(digits)}, ${y.toFixed(digits)}`;
  }
}

function labelAt(cells, at) {
  const verdict = [" ", ", right", ", wrong"][cells.verdict[at]];
  if (cells.test[at]) return `${nameOf(cells.test[at])} (test${verdict})`;
  return cells.train[at] ? `${nameOf(cells.train[at])} (training)` : "none";
}

async function setSide(side, at) {
  byId(side).value = String(at);
  const turn = opening, picture = await layers[at].picture();
  // Another choice may have been made while the picture was being made, or another tile opened.
  if (turn !== opening || byId(side).value !== String(at)) return;
  view[side] = picture;
  byId(`${side}-name`).textContent = layers[at].name;
  requestDraw();
}

function prepare(tile) {
  layers = layersOf(tile);
  for (const layer of layers) {
    let made = null;
    layer.picture = () => (made ??= Promise.resolve(layer.paint()));
    layer.renew = () => { made = null; };
  }
}

async function openTile(number) {
  const tile = DATA.tiles[number], turn = (opening += 1);
  await unpackTile(tile);
  if (turn !== opening) return;
  const chosen = ["left", "right"].map((side) => Number(byId(side).value));
  prepare(tile);
  Object.assign(view, { tile, left: null, right: null, mark: null });
  byId("tile").value = String(number);
  byId("tile-errors").textContent = tile.tested ? layers[DATA.modalities.length + 2].words : "no test pixels";
  byId("read-crs").textContent = tile.crs;
  byId("read-crs").hidden = byId("read-ground").hidden = !tile.place;
  for (const thumb of byId("sheet").children) {
    thumb.setAttribute("aria-current", String(thumb.dataset.tile === String(number)));
  }
  readOut(null, false);
  await Promise.all(["left", "right"].map((side, at) => setSide(side, chosen[at])));
  if (turn !== opening) return;
  showAll();
  await fillGallery();
}

async function fillGallery() {
  const figures = [...byId("gallery").children], turn = opening;
  for (const [at, layer] of layers.entries()) {
    if (layer.vote) continue;
    const picture = await layer.picture();
    if (turn !== opening) return;
    const small = figures[at].querySelector("canvas");
    const { rows, cols, tall: shape } = view.tile, longest = Math.max(rows * shape, cols);
    const size = longest > 240 ? Math.min(1, 480 / longest) : Math.floor(240 / longest) || 1;
    small.width = Math.max(1, Math.round(cols * size));
    small.height = Math.max(1, Math.round(rows * shape * size));
    const context = small.getContext("2d");
    context.imageSmoothingEnabled = small.width < picture.width;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, small.width, small.height);
    figures[at].querySelector("span").textContent = `: ${layer.words}`;
  }
}

function makeGallery() {
  for (const [at, layer] of layers.entries()) {
    if (layer.vote) continue;
    const figure = make("figure"), caption = make("figcaption"), button = make("button", "Show on the left");
    const small = make("canvas");
    small.setAttribute("role", "img");
    small.setAttribute("aria-label", layer.name);
    button.type = "button";
    button.setAttribute("aria-label", `Show ${layer.name} on the left`);
    button.addEventListener("click", () => {
      setSide("left", at);
      stage.scrollIntoView({ block: "center" });
    });
    caption.append(make("b", layer.name), make("span"), make("br"), button);
    figure.append(small, caption);
    byId("gallery").append(figure);
  }
}

function makeChoices() {
  for (const side of ["left", "right"]) {
    for (const [at, layer] of layers.entries()) {
      const option = make("option", layer.name);
      option.value = String(at);
      byId(side).append(option);
    }
    byId(side).addEventListener("change", (event) => setSide(side, Number(event.target.value)));
  }
  byId("left").value = "0";
  byId("right").value = String(DATA.modalities.length);
}

function makeTiles() {
  if (DATA.tiles.length < 2) return;
  byId("tiles-bar").hidden = false;
  for (const [number, tile] of DATA.tiles.entries()) {
    const option = make("option", tile.name);
    option.value = String(number);
    byId("tile").append(option);
  }
  byId("tile").addEventListener("change", (event) => openTile(Number(event.target.value)));
  const beside = (step) => openTile((Number(byId("tile").value) + step + DATA.tiles.length) % DATA.tiles.length);
  byId("tile-before").addEventListener("click", () => beside(-1));
  byId("tile-after").addEventListener("click", () => beside(1));
}

// A small map of every tile, where they are few or small enough.
async function makeSheet() {
  const cells = DATA.tiles.reduce((sum, tile) => sum + tile.rows * tile.cols, 0);
  if (DATA.tiles.length < 2 || cells > THUMB_CELLS) return;
  byId("sheet").hidden = false;
  const first = byId("tile").value;
  for (const [number, tile] of DATA.tiles.entries()) {
    const button = make("button");
    button.type = "button";
    button.dataset.tile = String(number);
    button.setAttribute("aria-current", String(String(number) === first));
    button.addEventListener("click", () => openTile(number));
    button.append(make("canvas"), make("span", tile.name));
    byId("sheet").append(button);
  }
  for (const tile of DATA.tiles) await unpackTile(tile);
  paintSheet();
}

function paintSheet() {
  for (const button of byId("sheet").children) {
    const tile = DATA.tiles[Number(button.dataset.tile)], small = button.firstChild;
    [small.width, small.height] = [tile.cols, tile.rows];
    small.getContext("2d").drawImage(paintClasses(tile), 0, 0);
  }
}

async function recolor() {
  DATA.classes.forEach((_, index) => {
    document.documentElement.style.setProperty(`--k${index}`, colorOf(index));
  });
  for (const layer of layers) if (layer.classes) layer.renew();
  await Promise.all(["left", "right"].map((side) => setSide(side, Number(byId(side).value))));
  readOut(view.mark, false);
  paintSheet();
  await fillGallery();
}

function makeLegend() {
  byId("palette-line").hidden = DATA.classes.every((one) => one.own.toLowerCase() === one.safe.toLowerCase());
  byId("own-colors").addEventListener("change", (event) => {
    look.own = event.target.checked;
    recolor();
  });
  const buttons = byId("legend").querySelectorAll("button");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const index = Number(button.dataset.class);
      look.chosen = look.chosen === index ? null : index;
      for (const other of buttons) {
        other.setAttribute("aria-pressed", String(Number(other.dataset.class) === look.chosen));
      }
      recolor();
    });
  }
  const ramp = byId("ramp").getContext("2d");
  for (let value = 0; value < 256; value += 1) {
    ramp.fillStyle = `rgb(${DATA.heat.slice(3 * value, 3 * value + 3).join(",")})`;
    ramp.fillRect(value, 0, 1, 1);
  }
}

async function start() {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser is too old for them");
  }
  const first = Math.max(0, DATA.tiles.findIndex((tile) => tile.tested));
  prepare(DATA.tiles[first]);
  makeTiles();
  makeChoices();
  makeGallery();
  makeLegend();
  await openTile(first);
  await makeSheet();
  new ResizeObserver(() => { if (view.tile) settle(); }).observe(stage);
  byId("viewer").dataset.ready = "true";
}

start().catch((error) => {
  byId("trouble").hidden = false;
  byId("trouble").textContent = `The pictures cannot be shown: ${error.message}.`;
  console.error(error);
});
