// The stage: two pictures of one place with a border between them, moved and scaled together.

const stage = document.getElementById("stage");
const canvas = document.getElementById("canvas");
const border = document.getElementById("border");
const view = { tile: null, left: null, right: null, split: 0.5, scale: 1, x: 0, y: 0, mark: null };

// Width of a cell on the screen; its height follows, as pixels need not be square on the ground.
const wide = () => view.scale;
const tall = () => view.scale * view.tile.tall;

function fitScale() {
  const { cols, rows, tall: shape } = view.tile;
  return Math.min(stage.clientWidth / cols, stage.clientHeight / rows / shape);
}

function showAll() {
  view.scale = fitScale();
  view.x = view.tile.cols / 2;
  view.y = view.tile.rows / 2;
  settle();
}

// Keeps scale and place within bounds, then draws.
function settle() {
  const fit = fitScale();
  view.scale = Math.min(Math.max(view.scale, fit), Math.max(48, 4 * fit));
  for (const [axis, cells, pixels, size] of [
    ["x", view.tile.cols, stage.clientWidth, wide()], ["y", view.tile.rows, stage.clientHeight, tall()],
  ]) {
    const half = pixels / 2 / size;
    view[axis] = cells <= 2 * half ? cells / 2 : Math.min(Math.max(view[axis], half), cells - half);
  }
  stage.classList.toggle("moved", view.scale > fit * 1.001);
  requestDraw();
}

let drawing = false;
function requestDraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; draw(); });
}

function screenOf(col, row) {
  return [
    stage.clientWidth / 2 + (col - view.x) * wide(),
    stage.clientHeight / 2 + (row - view.y) * tall(),
  ];
}

function cellAt(x, y) {
  const col = Math.floor(view.x + (x - stage.clientWidth / 2) / wide());
  const row = Math.floor(view.y + (y - stage.clientHeight / 2) / tall());
  const inside = row >= 0 && col >= 0 && row < view.tile.rows && col < view.tile.cols;
  return inside ? { row, col } : null;
}

function zoomAt(factor, x, y) {
  const [dx, dy] = [x - stage.clientWidth / 2, y - stage.clientHeight / 2];
  const [col, row] = [view.x + dx / wide(), view.y + dy / tall()];
  const most = Math.max(48, 4 * fitScale());
  view.scale = Math.min(Math.max(view.scale * factor, fitScale()), most);
  view.x = col - dx / wide();
  view.y = row - dy / tall();
  settle();
}

function zoom(factor) {
  zoomAt(factor, stage.clientWidth / 2, stage.clientHeight / 2);
}

function moveBorder(share) {
  view.split = Math.min(Math.max(share, 0), 1);
  border.setAttribute("aria-valuenow", Math.round(100 * view.split));
  requestDraw();
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  if (!view.tile || !width) return;
  const size = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const at = Math.round(view.split * width);
  drawSide(context, view.left, 0, at, height);
  drawSide(context, view.right, at, width - at, height);
  if (view.mark) drawMark(context);
  border.style.left = `${at}px`;
  document.getElementById("left-name").hidden = at < 60;
  document.getElementById("right-name").hidden = width - at < 60;
  drawScale();
}

function drawSide(context, picture, from, width, height) {
  if (!picture || width <= 0) return;
  context.save();
  context.beginPath();
  context.rect(from, 0, width, height);
  context.clip();
  const [x, y] = screenOf(0, 0);
  const [across, down] = [view.tile.cols * wide(), view.tile.rows * tall()];
  // Single pixels are to be seen as such; shrunk pictures are averaged.
  context.imageSmoothingEnabled = across < picture.width * (window.devicePixelRatio || 1);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, x, y, across, down);
  context.restore();
}

function drawMark(context) {
  const [x, y] = screenOf(view.mark.col, view.mark.row);
  const [across, down] = [Math.max(wide(), 7), Math.max(tall(), 7)];
  const [left, top] = [x - (across - wide()) / 2, y - (down - tall()) / 2];
  for (const [color, width] of [["#fff", 4], ["#000", 2]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.strokeRect(left, top, across, down);
  }
}

function drawScale() {
  const scale = document.getElementById("scale");
  scale.hidden = !view.tile.metres;
  if (scale.hidden) return;
  const perPixel = (view.tile.metres * view.tile.step) / wide();
  const longest = perPixel * Math.min(140, stage.clientWidth / 3);
  const power = 10 ** Math.floor(Math.log10(longest));
  const length = power * [5, 2, 1].find((factor) => factor * power <= longest);
  scale.querySelector("i").style.width = `${length / perPixel}px`;
  scale.querySelector("b").textContent = length >= 1000 ? `${length / 1000} km` : `${length} m`;
}
