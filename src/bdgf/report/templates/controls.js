// Pointer, touch and keyboard. What is under the pointer goes to readOut(cell, spoken).

const fingers = new Map();
let pressed = null;

function placeOf(event) {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left - stage.clientLeft, event.clientY - box.top - stage.clientTop];
}

function gap() {
  const [[ax, ay], [bx, by]] = [...fingers.values()];
  return { distance: Math.hypot(ax - bx, ay - by), x: (ax + bx) / 2, y: (ay + by) / 2 };
}

canvas.addEventListener("pointerdown", (event) => {
  stage.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  const at = placeOf(event);
  fingers.set(event.pointerId, at);
  pressed = { at, moved: fingers.size > 1 };
});

canvas.addEventListener("pointermove", (event) => {
  const at = placeOf(event);
  const before = fingers.get(event.pointerId);
  if (!before) {
    if (event.pointerType === "mouse") readOut(cellAt(...at), false);
    return;
  }
  if (fingers.size === 2) {
    const old = gap();
    fingers.set(event.pointerId, at);
    const now = gap();
    view.x -= (now.x - old.x) / wide();
    view.y -= (now.y - old.y) / tall();
    zoomAt(now.distance / Math.max(1, old.distance), now.x, now.y);
    return;
  }
  fingers.set(event.pointerId, at);
  if (Math.hypot(at[0] - pressed.at[0], at[1] - pressed.at[1]) > 4) pressed.moved = true;
  if (!pressed.moved) return;
  view.x -= (at[0] - before[0]) / wide();
  view.y -= (at[1] - before[1]) / tall();
  settle();
});

function lift(event) {
  const at = fingers.get(event.pointerId);
  fingers.delete(event.pointerId);
  if (event.type !== "pointerup" || !at || !pressed || pressed.moved) return;
  const cell = cellAt(...at);
  if (cell) mark(cell, false);
}
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", lift);
canvas.addEventListener("pointerleave", () => readOut(view.mark, false));
canvas.addEventListener("dblclick", (event) => zoomAt(2, ...placeOf(event)));

stage.addEventListener("wheel", (event) => {
  // Without a click into the picture the wheel scrolls the page.
  if (!event.ctrlKey && !event.metaKey && document.activeElement !== stage) return;
  event.preventDefault();
  const steps = event.deltaMode === 1 ? event.deltaY / 3 : event.deltaY / 100;
  zoomAt(1.25 ** -Math.min(Math.max(steps, -4), 4), ...placeOf(event));
}, { passive: false });

function mark(cell, spoken) {
  view.mark = cell;
  const half = { x: stage.clientWidth / 2 / wide(), y: stage.clientHeight / 2 / tall() };
  // The marked pixel stays in sight.
  view.x = Math.min(Math.max(view.x, cell.col + 2 - half.x), cell.col - 1 + half.x);
  view.y = Math.min(Math.max(view.y, cell.row + 2 - half.y), cell.row - 1 + half.y);
  settle();
  readOut(cell, spoken);
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

stage.addEventListener("keydown", (event) => {
  if (event.target !== stage || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = STEPS[event.key];
  if (step) {
    const from = view.mark || { row: Math.floor(view.y), col: Math.floor(view.x) };
    const far = view.mark ? (event.shiftKey ? 10 : 1) : 0;
    mark({
      row: Math.min(Math.max(from.row + far * step[0], 0), view.tile.rows - 1),
      col: Math.min(Math.max(from.col + far * step[1], 0), view.tile.cols - 1),
    }, true);
  } else if (event.key === "+" || event.key === "=") zoom(1.5);
  else if (event.key === "-" || event.key === "_") zoom(1 / 1.5);
  else if (event.key === "0" || event.key === "Home") showAll();
  else if (event.key === "[") moveBorder(view.split - 0.05);
  else if (event.key === "]") moveBorder(view.split + 0.05);
  else return;
  event.preventDefault();
});

border.addEventListener("pointerdown", (event) => {
  border.setPointerCapture(event.pointerId);
  border.focus({ preventScroll: true });
  event.preventDefault();
});
border.addEventListener("pointermove", (event) => {
  if (border.hasPointerCapture(event.pointerId)) moveBorder(placeOf(event)[0] / stage.clientWidth);
});
border.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: -0.05, ArrowDown: -0.05, ArrowRight: 0.05, ArrowUp: 0.05 };
  if (event.key in moves) moveBorder(view.split + moves[event.key]);
  else if (event.key === "Home" || event.key === "End") moveBorder(event.key === "End" ? 1 : 0);
  else return;
  event.preventDefault();
  event.stopPropagation();
});

document.getElementById("zoom-in").addEventListener("click", () => zoom(1.5));
document.getElementById("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
document.getElementById("zoom-all").addEventListener("click", showAll);
