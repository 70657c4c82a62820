// The game and the masked model of chapter 20: a network fills a level, a search proves that it can be finished, and a reader plays it.

const TILES = ".#=[]^o", ROWS = 10, COLUMNS = 32, MASK = TILES.length, JUMP = 4;
const MOVES = [[0, 0], [1, 0], [-1, 0], [0, 1], [1, 1], [-1, 1]];

// ---- The physics, in whole numbers: the same as `step` in Python

function isSolid(level, x, y) { return x < 0 || x >= level[0].length || y < 0 || y < level.length && "#=[]".includes(level[y][x]); }

function step(level, [x, y, rise], move, jump) {
  const standing = isSolid(level, x, y + 1);
  if (jump && standing) rise = JUMP;
  if (jump && rise && !isSolid(level, x, y - 1)) { y--; rise--; }
  else if (standing) rise = 0;
  else { y++; rise = 0; }
  if (move && !isSolid(level, x + move, y)) x += move;
  return y >= level.length || level[y][x] === "^" ? null : [x, y, rise];
}

function placeOf(level, mark) {
  const y = level.findIndex(row => row.includes(mark));
  return [level[y].indexOf(mark), y];
}

// A* as in Python; states by price plus guess, the newest of a price first. Null where there is no way
function prove(level) {
  const [goalX, goalY] = placeOf(level, "G"), first = [...placeOf(level, "S"), 0], found = new Map([[String(first), { price: 0 }]]), queue = [[first]], done = new Set();
  let reached = 0;
  for (let f = 0; f < queue.length; f++) while (queue[f] && queue[f].length) {
    const state = queue[f].pop(), name = String(state), { price } = found.get(name);
    if (done.has(name)) continue;
    done.add(name);
    reached = Math.max(reached, state[0]);
    if (state[0] === goalX && state[1] === goalY) return wayTo(state, found);
    for (const [move, jump] of MOVES) {
      const after = step(level, state, move, jump), now = price + 2 + jump;
      if (!after || found.has(String(after)) && found.get(String(after)).price <= now) continue;
      found.set(String(after), { price: now, from: state, keys: [move, jump] });
      const at = now + 2 * Math.abs(goalX - after[0]);
      (queue[at] ||= []).push(after);
    }
  }
  return { keys: null, states: [], reached };
}

function wayTo(state, found) {
  const states = [state], keys = [];
  for (let before = found.get(String(state)); before.from; before = found.get(String(before.from))) {
    states.unshift(before.from);
    keys.unshift(before.keys);
  }
  return { keys, states };
}

// A start and a goal on the lowest tiles that one can stand on, as near the edges as possible
function withEnds(rows) {
  const level = rows.map(row => [...row]), last = COLUMNS - 1;
  for (const [mark, columns] of [["S", [0, 1, 2, 3]], ["G", [last, last - 1, last - 2, last - 3]]]) {
    let place = [columns[0], 0];
    search: for (const x of columns) for (let y = ROWS - 2; y >= 0; y--) if (".o".includes(level[y][x]) && "#=[]".includes(level[y + 1][x])) {
      place = [x, y];
      break search;
    }
    level[place[1]][place[0]] = mark;
  }
  return level.map(row => row.join(""));
}

// ---- The network: residual convolutions along the level

class MaskedModel {
  constructor(weights) {
    Object.assign(this, { weights, layers: Object.keys(weights).filter(name => /^layers\.\d+\.weight$/.test(name)).length, width: weights["first.bias"].length });
    this.kernel = weights["first.weight"].length / this.width / ((MASK + 1) * ROWS);
  }

  // x [columns, channels]; a window of columns for each, in PyTorch's order of weights
  convolve(x, name) {
    const weight = this.weights[name + ".weight"], bias = this.weights[name + ".bias"], channels = x.length / COLUMNS, size = weight.length / bias.length / channels, half = size >> 1;
    const rows = new Floats(COLUMNS * channels * size);
    for (let i = 0; i < COLUMNS; i++) for (let k = 0; k < size; k++) {
      const from = i + k - half;
      if (from >= 0 && from < COLUMNS) for (let c = 0; c < channels; c++) rows[(i * channels + c) * size + k] = x[from * channels + c];
    }
    return linear(rows, COLUMNS, weight, bias);
  }

  // Group norm with one group, and a ReLU
  norm(x, k) {
    const weight = this.weights[`norms.${k}.weight`], bias = this.weights[`norms.${k}.bias`], width = weight.length;
    let mean = 0, variance = 0;
    for (const value of x) mean += value / x.length;
    for (const value of x) variance += (value - mean) ** 2 / x.length;
    return relu(x.map((value, i) => (value - mean) / Math.sqrt(variance + 1e-5) * weight[i % width] + bias[i % width]));
  }

  // Tiles, row by row, with MASK where one is unknown → logits [columns, kinds · rows]
  logits(tiles) {
    const x = new Floats(COLUMNS * (MASK + 1) * ROWS);
    for (let y = 0; y < ROWS; y++) for (let c = 0; c < COLUMNS; c++) x[c * (MASK + 1) * ROWS + tiles[y * COLUMNS + c] * ROWS + y] = 1;
    let h = this.convolve(x, "first");
    for (let k = 0; k < this.layers; k++) add(h, this.convolve(this.norm(h, k), "layers." + k));
    return this.convolve(this.norm(h, this.layers), "last");
  }
}

// Places where half a pillar stands, or something in the air; with their neighbours
function brokenPlaces(tiles) {
  const at = (x, y) => x < 0 || x >= COLUMNS ? 0 : y >= ROWS ? 1 : tiles[y * COLUMNS + x], hole = new Set();
  for (let y = 0; y < ROWS; y++) for (let x = 0; x < COLUMNS; x++) {
    const tile = at(x, y), below = at(x, y + 1), heavy = tile === 1 || tile >= 3 && tile <= 5;
    if (tile === 3 && at(x + 1, y) !== 4 || tile === 4 && at(x - 1, y) !== 3 || heavy && (below < 1 || below > 4)) {
      for (let j = Math.max(0, y - 1); j <= Math.min(ROWS - 1, y + 1); j++) for (let i = Math.max(0, x - 1); i <= Math.min(COLUMNS - 1, x + 1); i++) hole.add(j * COLUMNS + i);
    }
  }
  return hole;
}

function levelsPage(weights) {
  const model = new MaskedModel(weights), random = randomNumbers(Date.now()), canvas = $("stage"), context = canvas.getContext("2d");
  const page = { model, step, prove, withEnds, tiles: new Uint8Array(ROWS * COLUMNS).fill(MASK), level: null, proof: null, state: null, keys: [], shown: false, left: [], rounds: 0 };
  const held = { left: false, right: false, jump: false };
  let wait = 0, tick = 0, seen = null, replay = null;

  // ---- A level: every unknown tile is drawn, some in each frame; then what is wrong is drawn again

  function begin(hole, steps) {
    page.left = [...hole];
    for (const place of page.left) page.tiles[place] = MASK;
    for (let k = page.left.length - 1; k > 0; k--) {
      const other = Math.floor(random.uniform() * (k + 1));
      [page.left[k], page.left[other]] = [page.left[other], page.left[k]];
    }
    page.some = Math.ceil(page.left.length / steps);
    wake();
  }

  function fillSome() {
    const logits = model.logits(page.tiles);
    for (const place of page.left.splice(0, page.some)) {
      const x = place % COLUMNS, y = Math.floor(place / COLUMNS), shares = softmax(Floats.from({ length: MASK }, (_, k) => logits[x * MASK * ROWS + k * ROWS + y]));
      let k = 0, ball = random.uniform();
      while (k < MASK - 1 && (ball -= shares[k]) > 0) k++;
      page.tiles[place] = k;
    }
    if (!page.left.length) look();
  }

  function look() {
    const rows = Array.from({ length: ROWS }, (_, y) => Array.from(page.tiles.subarray(y * COLUMNS, (y + 1) * COLUMNS), tile => TILES[tile]).join(""));
    const level = withEnds(rows), proof = prove(level), hole = brokenPlaces(page.tiles), wide = page.rounds;
    if (!proof.keys) for (let x = Math.max(0, proof.reached - 2 - wide); x < Math.min(COLUMNS, proof.reached + 4 + wide); x++) for (let y = 0; y < ROWS; y++) hole.add(y * COLUMNS + x);
    if (hole.size && page.rounds < 8) {
      page.rounds++;
      say(`Repair ${page.rounds}: ${proof.keys ? "a tile stands where it cannot stand" : "nobody could finish this level"}.`);
      return begin(hole, 8);
    }
    Object.assign(page, { level, proof });
    $("proof").disabled = !proof.keys;
    $("text").textContent = level.join("\n");
    restart(proof.keys ? `A level, and a proof of ${proof.keys.length} ticks that it can be finished. Arrow keys or the buttons: run to the flag.` : "Nobody can finish this level. Ask for a new one.");
  }

  function anew() {
    Object.assign(page, { level: null, proof: null, state: null, rounds: 0 });
    replay = null;
    say("The network fills a level.");
    begin(page.tiles.keys(), 20);
  }

  // ---- The game

  function restart(sentence) {
    page.state = [...placeOf(page.level, "S"), 0];
    Object.assign(page, { keys: [], before: page.state });
    seen = new Set();
    say(sentence);
    draw();
  }

  // One tick with these keys
  page.press = (move, jump) => {
    if (!page.state || page.over) return;
    const after = step(page.level, page.state, move, jump);
    page.keys.push([move, jump]);
    page.before = page.state;
    if (!after) return end(`That was the end, after ${page.keys.length} ticks. Once more, from the start.`, false);
    page.state = after;
    if (page.level[after[1]][after[0]] === "o") seen.add(String(after.slice(0, 2)));
    if (page.level[after[1]][after[0]] === "G") end(`Finished in ${page.keys.length} ticks, with ${seen.size} coins. The proof takes ${page.proof.keys.length}.`, true);
  };

  function end(sentence, won) {
    replay = null;
    if (won) { page.over = page.won = true; say(sentence); } else restart(sentence);
  }

  function again() {
    if (!page.level) return;
    Object.assign(page, { over: false, won: false });
    replay = null;
    restart("At the start again.");
  }

  const moving = () => page.level && !page.over && (replay || held.left || held.right || held.jump || page.state && !isSolid(page.level, page.state[0], page.state[1] + 1));

  const wake = animation(seconds => {
    if (page.left.length) {
      fillSome();
      draw();
      return true;
    }
    wait -= seconds;
    tick = Math.min(1, tick + seconds / 0.11);
    if (wait <= 0 && moving()) {
      wait = 0.11;
      tick = 0;
      if (replay) page.press(...replay.shift()); else page.press(held.right - held.left, held.jump ? 1 : 0);
      if (replay && !replay.length) replay = null;
    }
    draw();
    return Boolean(moving()) || tick < 1;
  });

  // ---- The picture

  function fit() {
    const width = canvas.parentElement.clientWidth;
    page.across = width < 560 ? 20 : COLUMNS;      // on a telephone a part of the level, which follows the player
    sharpen(canvas, width, Math.round(width * ROWS / page.across));
    draw();
  }

  const colours = { "#": "#96704f", "=": "#cd9646", "[": "#788c96", "]": "#788c96", "^": "#d0464c", o: "#f0b414" };

  function tileAt(tile, x, y, s) {
    const box = (left, top, wide, high, colour) => { context.fillStyle = colour; const [a, b] = [x + left, y + top].map(value => Math.round(value * s)); context.fillRect(a, b, Math.round((x + left + wide) * s) - a, Math.round((y + top + high) * s) - b); };
    if (tile === "?") return box(0.1, 0.1, 0.8, 0.8, "#2b3947");
    if ("#=[]".includes(tile)) box(0, 0, 1, 1, colours[tile]);
    if (tile === "#" && (y === 0 || page.view(x, y - 1) !== "#")) box(0, 0, 1, 0.25, "#5c9646");
    if (tile === "=") box(0, 0.85, 1, 0.15, "#966428");
    if (tile === "[") box(0, 0, 0.15, 1, "#50626c");
    if (tile === "]") box(0.85, 0, 0.15, 1, "#50626c");
    context.beginPath();
    context.fillStyle = colours[tile] || "#e4e0d6";
    if (tile === "^") for (const left of [0, 0.5]) {
      context.moveTo((x + left) * s, (y + 1) * s);
      context.lineTo((x + left + 0.25) * s, (y + 0.1) * s);
      context.lineTo((x + left + 0.5) * s, (y + 1) * s);
    }
    if (tile === "o" && !(seen && seen.has(x + "," + y))) context.arc((x + 0.5) * s, (y + 0.5) * s, s * 0.28, 0, 7);
    if (tile === "G") {
      box(0.2, -0.4, 0.12, 1.4, "#e4e0d6");
      context.fillStyle = "#f0955a";
      context.moveTo((x + 0.3) * s, (y - 0.4) * s);
      context.lineTo((x + 1) * s, (y - 0.1) * s);
      context.lineTo((x + 0.3) * s, (y + 0.2) * s);
    }
    context.fill();
  }

  page.view = (x, y) => page.level ? page.level[y][x] : page.tiles[y * COLUMNS + x] === MASK ? "?" : TILES[page.tiles[y * COLUMNS + x]];

  function draw() {
    const s = canvas.width / page.across, share = calm() ? 1 : tick;
    const [px, py] = page.level ? [0, 1].map(k => page.before[k] + share * (page.state[k] - page.before[k])) : [0, 0];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.translate(-Math.round(Math.max(0, Math.min(COLUMNS - page.across, px - page.across / 3)) * s), 0);
    for (let y = 0; y < ROWS; y++) for (let x = 0; x < COLUMNS; x++) tileAt(page.view(x, y), x, y, s);
    if (!page.level) return;
    if (page.shown && page.proof.keys) {
      context.fillStyle = context.strokeStyle = "#7cc4ee";
      context.lineWidth = s * 0.12;
      context.beginPath();
      for (const [x, y] of page.proof.states) context.lineTo((x + 0.5) * s, (y + 0.5) * s);
      context.stroke();
    }
    context.fillStyle = "#56b4e9";
    context.strokeStyle = "#ffffff";
    context.lineWidth = s * 0.08;
    context.beginPath();
    context.arc((px + 0.5) * s, (py + 0.55) * s, s * 0.4, 0, 7);
    context.fill();
    context.stroke();
  }

  // ---- Keys, buttons, fingers

  const names = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "jump", " ": "jump" };
  const press = name => { replay = null; if (page.won) again(); held[name] = true; wake(); };
  hear(canvas, "keydown", event => { if (names[event.key]) { event.preventDefault(); press(names[event.key]); } });
  hear(canvas, "keyup", event => { if (names[event.key]) held[names[event.key]] = false; });
  hear(canvas, "blur", () => Object.assign(held, { left: false, right: false, jump: false }));
  hear(canvas, "pointerdown", () => canvas.focus({ preventScroll: true }));
  for (const name of ["left", "right", "jump"]) {
    hear($(name), "pointerdown", event => { event.preventDefault(); $(name).setPointerCapture(event.pointerId); press(name); });
    hear($(name), "pointerup pointercancel", () => { held[name] = false; });
    hear($(name), "keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); press(name); } });
    hear($(name), "keyup blur", () => { held[name] = false; });
  }
  hear($("new"), "click", anew);
  hear($("again"), "click", again);
  hear($("proof"), "click", () => {
    if (!page.proof || !page.proof.keys) return;
    $("proof").setAttribute("aria-pressed", page.shown = !page.shown);
    again();
    if (page.shown) say(`The proof: ${page.proof.keys.length} ticks, ${page.proof.keys.filter(keys => keys[1]).length} of them with the jump key.`);
    if (page.shown && !calm()) replay = page.proof.keys.slice();
    wake();
  });

  new ResizeObserver(fit).observe(canvas.parentElement);
  fit();
  anew();
  return Object.assign(page, { again, held, ready: () => Boolean(page.level) && !moving() });
}

live(levelsPage);
