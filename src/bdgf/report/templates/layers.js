"use strict";
// Data of the page, and the pictures that can be laid into the viewer.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RIGHT = [0xb4, 0xbe, 0xc5], WRONG = [0x00, 0x00, 0x00], UNTESTED = [0xf3, 0xf4, 0xf5];
const WHITE = [255, 255, 255];
const look = { own: false, chosen: null };

function rgb(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}

function colorOf(index) {
  const found = DATA.classes[index];
  return look.own ? found.own : found.safe;
}

async function unpack(text, wide) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  return wide ? new Uint16Array(buffer) : new Uint8Array(buffer);
}

// Arrays of a tile, unpacked when it is first looked at.
async function unpackTile(tile) {
  if (!tile.cells) {
    const names = Object.keys(tile.data);
    const arrays = await Promise.all(
      names.map((name) => unpack(tile.data[name], DATA.wide && !["confidence", "verdict"].includes(name))),
    );
    tile.cells = Object.fromEntries(names.map((name, at) => [name, arrays[at]]));
  }
  return tile.cells;
}

// A canvas with one pixel per cell: the colour that the table has for the cell's value.
function painted(tile, values, table, offset = 0) {
  const canvas = document.createElement("canvas");
  canvas.width = tile.cols;
  canvas.height = tile.rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(tile.cols, tile.rows);
  const flat = Uint8Array.from(table.flatMap((color) => [...color, 255]));
  const words = new Uint32Array(flat.buffer), pixels = new Uint32Array(image.data.buffer);
  for (let cell = 0; cell < pixels.length; cell += 1) pixels[cell] = words[values[offset + cell]];
  context.putImageData(image, 0, 0);
  return canvas;
}

function classTable() {
  const pale = (color) => color.map((part) => Math.round(235 + 0.08 * (part - 235)));
  const colors = DATA.classes.map((_, index) => {
    const color = rgb(colorOf(index));
    return look.chosen === null || look.chosen === index ? color : pale(color);
  });
  return [WHITE, ...colors];
}

function paintClasses(tile) {
  return painted(tile, tile.cells.classes, classTable());
}

function paintConfidence(tile) {
  const heat = Array.from({ length: 255 }, (_, at) => DATA.heat.slice(3 * at + 3, 3 * at + 6));
  return painted(tile, tile.cells.confidence, [WHITE, ...heat]);
}

function paintErrors(tile) {
  return painted(tile, tile.cells.verdict, [UNTESTED, RIGHT, WRONG]);
}

function paintVotes(tile, head) {
  return painted(tile, tile.cells.votes, classTable(), head * tile.rows * tile.cols);
}

async function load(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

// Everything that can be shown of a tile: name, words about it, whether its colours are classes.
function layersOf(tile) {
  const errors = tile.tested
    ? `${tile.wrong.toLocaleString("en")} of ${tile.tested.toLocaleString("en")} test pixels are wrong`
    : "no test pixels here";
  return [
    ...tile.pictures.map((picture, at) => ({
      name: DATA.modalities[at], words: picture.words, paint: () => load(picture.url),
    })),
    { name: "Map", words: "class of every pixel", classes: true, paint: () => paintClasses(tile) },
    { name: "Confidence", words: "probability of the class, dark is low", paint: () => paintConfidence(tile) },
    { name: "Errors on test pixels", words: errors, paint: () => paintErrors(tile) },
    ...DATA.heads.map((head, at) => ({
      name: `Vote of ${head}`, words: `what the head ${head} says by itself`, classes: true, vote: true,
      paint: () => paintVotes(tile, at),
    })),
  ];
}
