// The genesis particle of chapter 15: random clouds, one learned law of motion, a brush.

class GenesisParticle {
  constructor(weights, settings) {
    Object.assign(this, { latent_dim: 32, classes: 10, steps: 4, width: 40, heads: 2, noise_dim: 8, octaves: 3, dt: 0.5, damping: 0.7, sigma: 0.09 }, settings);
    this.weights = weights;
  }

  layer(name, x, rows) { return linear(x, rows, this.weights[name + ".weight"], this.weights[name + ".bias"]); }

  // A sunflower, turned and shaken at random
  cloud(count, random, jitter = 0.05) {
    const position = new Float32Array(2 * count), turn = 2 * Math.PI * random.uniform(), golden = Math.PI * (3 - Math.sqrt(5));
    for (let i = 0; i < count; i++) {
      const angle = golden * (i + 0.5) + turn, radius = Math.sqrt((i + 0.5) / count);
      position[2 * i] = radius * Math.cos(angle) + jitter * random.normal();
      position[2 * i + 1] = radius * Math.sin(angle) + jitter * random.normal();
    }
    return { position, noise: random.normals(count * this.noise_dim) };
  }

  // Every particle attends to all: softmax(Q Kᵀ/√d) V, head by head
  interaction(hidden, count) {
    const { width, heads } = this, size = width / heads, all = new Float32Array(count * width);
    const qkv = this.layer("dynamics.attention.qkv", hidden, count), q = new Float32Array(count * size), k = q.slice(), v = q.slice();
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < count; i++) for (let d = 0; d < size; d++) {
        const at = i * 3 * width + h * size + d;
        q[i * size + d] = qkv[at] / Math.sqrt(size);
        k[i * size + d] = qkv[at + width];
        v[d * count + i] = qkv[at + 2 * width];
      }
      const weights = linear(q, count, k);
      for (let i = 0; i < count; i++) softmax(weights.subarray(i * count, (i + 1) * count));
      const found = linear(weights, count, v);
      for (let i = 0; i < count; i++) for (let d = 0; d < size; d++) all[i * width + h * size + d] = found[i * size + d];
    }
    return this.layer("dynamics.attention.out", all, count);
  }

  // Positions after each step, and the brush of each particle: [σx, σy, density], from a cloud and a condition
  move(start, noise, condition) {
    const { width, steps, octaves, noise_dim, dt, damping, weights } = this, count = start.length / 2;
    const film = this.layer("dynamics.film.2", relu(this.layer("dynamics.film.0", condition, 1)), 1);
    const inputs = 4 + 4 * octaves + noise_dim, seen = new Float32Array(count * inputs);
    let position = start;
    const hidden = new Float32Array(count * width), velocity = new Float32Array(2 * count), path = [start];
    const norm = name => layerNorm(hidden, count, weights[name + ".weight"], weights[name + ".bias"]);
    for (let step = 0; step < steps; step++) {
      for (let i = 0; i < count; i++) {
        const row = i * inputs, waves = 2 * octaves;
        for (let axis = 0; axis < 2; axis++) {
          const x = position[2 * i + axis];
          seen[row + axis] = x;
          seen[row + 2 + axis] = velocity[2 * i + axis];
          for (let k = 0; k < octaves; k++) {
            const phase = x * Math.PI / 2 * 2 ** k;
            seen[row + 4 + axis * octaves + k] = Math.sin(phase);
            seen[row + 4 + waves + axis * octaves + k] = Math.cos(phase);
          }
        }
        for (let k = 0; k < noise_dim; k++) seen[row + inputs - noise_dim + k] = noise[i * noise_dim + k];
      }
      add(hidden, this.layer("dynamics.embed", seen, count));
      for (let i = 0; i < count; i++) for (let k = 0; k < width; k++) hidden[i * width + k] += film[k] + weights["dynamics.step_embedding"][step * width + k];
      add(hidden, this.interaction(norm("dynamics.norm1"), count));
      const scaled = norm("dynamics.norm2");
      for (let i = 0; i < count; i++) for (let k = 0; k < width; k++) scaled[i * width + k] *= 1 + film[width + k];
      add(hidden, this.layer("dynamics.mlp.2", relu(this.layer("dynamics.mlp.0", scaled, count)), count));
      const force = this.layer("dynamics.force", hidden, count);
      for (let k = 0; k < velocity.length; k++) velocity[k] = damping * velocity[k] + dt * force[k];
      position = position.map((value, k) => value + dt * velocity[k]);
      path.push(position);
    }
    const brush = this.layer("splat_head", hidden, count).map((value, k) => Math.exp(1.5 * Math.tanh(value)) * (k % 3 < 2 ? this.sigma : 1));
    return { path, brush };
  }
}

// A drawing, 28 × 28 pixels, to what the law is to be asked for: a code, and a class
class DigitEncoder {
  constructor(weights) {
    const part = (layer, channels, places) => ({ weight: byPlace(weights[`encoder.layers.${layer}.weight`], channels, places), bias: weights[`encoder.layers.${layer}.bias`] });
    this.layers = [part(0, 1, 16), part(2, weights["encoder.layers.0.bias"].length, 16)];
    this.head = part(5, weights["encoder.layers.2.bias"].length, 49);
  }

  read(pixels, codes) {
    let maps = { x: pixels, channels: 1, height: 28, width: 28 };
    for (const layer of this.layers) {
      maps = convolve(maps, layer, 4, 2, 1);
      maps.x = maps.x.map(value => value > 0 ? value : 0.2 * value);
    }
    const out = linear(maps.x, 1, this.head.weight, this.head.bias), logits = out.slice(codes);
    return { z: out.slice(0, codes), logits, label: logits.indexOf(Math.max(...logits)) };
  }
}

const ease = share => share < 1 ? share * share * (3 - 2 * share) : 1;
const squash = x => x / Math.sqrt(1 + x * x);
const mix = (a, b, share) => a.map((value, k) => value + share * (b[k] - value));

// The brush of chapter 14 on a canvas: painting 1 - exp(-density) over and over adds up densities.
// A dab is an image, made once for each of 48 densities and 8 colours, and stretched to its σx and σy.
class Brush {
  constructor() { this.dabs = new Map(); }

  dab(density, speed) {
    const level = Math.round(47 * Math.min(Math.max(Math.log(density) / 3 + 0.5, 0), 1)), tint = Math.round(7 * Math.min(speed, 1)), key = 8 * level + tint;
    if (this.dabs.has(key)) return this.dabs.get(key);
    const side = 64, canvas = document.createElement("canvas"), image = new ImageData(side, side), most = Math.exp(3 * (level / 47 - 0.5));
    const warm = tint / 7, colour = [255, 255 - 150 * warm ** 1.3, 255 - 215 * Math.sqrt(warm) * (1 - warm / 3)];
    canvas.width = canvas.height = side;
    for (let i = 0; i < side * side; i++) {
      const x = (i % side + 0.5) / side * 7 - 3.5, y = (Math.floor(i / side) + 0.5) / side * 7 - 3.5;
      image.data.set([...colour, 255 * (1 - Math.exp(-most * Math.exp(-(x * x + y * y) / 2)))], 4 * i);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    this.dabs.set(key, canvas);
    return canvas;
  }

  // position: [2N] before it is squashed; brush: [3N]; a square of the canvas at (left, top)
  paint(context, position, brush, speed, left, top, side) {
    for (let i = 0; i < position.length / 2; i++) {
      const half = side / 2, w = 7 * brush[3 * i] * half, h = 7 * brush[3 * i + 1] * half;
      const x = left + (squash(position[2 * i]) + 1) * half, y = top + (squash(position[2 * i + 1]) + 1) * half;
      context.drawImage(this.dab(brush[3 * i + 2], speed ? speed[i] : 0), x - w / 2, y - h / 2, w, h);
    }
  }
}

// Where one digit of the page is in its life. A flow leads from where its particles are, over stops, to the last of the law.
class Digit {
  constructor(model, random) { Object.assign(this, { model, random }); }

  renew(count) {
    this.cloud = this.model.cloud(count, this.random);
    if (!this.own) this.z = this.random.normals(this.model.latent_dim);
    this.position = this.cloud.position;
    this.velocity = new Float32Array(2 * count);
    this.speed = new Float32Array(count);
    this.brush = null;
  }

  // What is asked for: noise, and classes; a walk from one class to the other mixes them
  condition(noise, from, to, share) {
    const asked = new Float32Array(this.model.latent_dim + this.model.classes);
    asked.set(this.z.map(value => (this.own ? 1 : noise) * value));
    asked[this.model.latent_dim + from] += 1 - share;
    asked[this.model.latent_dim + to] += share;
    return asked;
  }

  // Let the law act on a start, and remember the way from here; eased: first 70 % of the way back to the first cloud, or all of it
  flow(condition, eased) {
    const start = eased ? mix(this.position, this.cloud.position, this.inked ? 1 : 0.7) : this.cloud.position;
    this.inked = false;
    const { path, brush } = this.model.move(start, this.cloud.noise, condition);
    this.stops = eased ? [this.position, ...path] : path;
    this.brushes = [this.brush || brush, brush];
    this.steps = path;
    this.moment = this.age = 0;
    this.velocity.fill(0);
  }

  // Particles laid along strokes (u, v) of the square [-1, 1]², as a pen would leave them
  ink(strokes) {
    const points = strokes.flat(), count = this.speed.length, raw = u => u / Math.sqrt(1.001 - Math.min(1, u * u));
    this.position = Float32Array.from({ length: 2 * count }, (_, k) => raw(points[Math.floor((k >> 1) / count * points.length)][k % 2]));
    this.brush = Float32Array.from({ length: 3 * count }, (_, k) => k % 3 < 2 ? 0.07 : 1.5);
    this.inked = this.own = true;
  }

  // Where the flow is at a moment from 0 to the number of its stops less one
  at(moment, stops = this.stops) {
    const step = Math.min(Math.floor(moment), stops.length - 2);
    return mix(stops[step], stops[step + 1], moment - step);
  }

  put(position, seconds) {
    for (let i = 0; i < this.speed.length; i++) {
      const fast = seconds ? Math.hypot(position[2 * i] - this.position[2 * i], position[2 * i + 1] - this.position[2 * i + 1]) / seconds / 2 : 0;
      this.speed[i] += (fast - this.speed[i]) * (seconds ? 0.35 : 1);
    }
    this.position = position;
  }

  // A hand at (x, y) of the square [-1, 1]², moving by (dx, dy)
  shove(x, y, dx, dy, reach = 0.3) {
    for (let i = 0; i < this.speed.length; i++) {
      const far = (squash(this.position[2 * i]) - x) ** 2 + (squash(this.position[2 * i + 1]) - y) ** 2, share = 14 * Math.exp(-far / (2 * reach * reach));
      this.velocity[2 * i] += share * dx;
      this.velocity[2 * i + 1] += share * dy;
    }
  }

  // Nothing but inertia and friction, as long as somebody pushes
  glide(seconds) {
    const friction = Math.exp(-4 * seconds);
    for (let k = 0; k < this.velocity.length; k++) this.velocity[k] = Math.max(-9, Math.min(9, this.velocity[k] * friction));
    this.put(this.position.map((value, k) => Math.max(-1.8, Math.min(1.8, value + seconds * this.velocity[k]))), seconds);
  }
}

function genesisPage(weights, about) {
  const model = new GenesisParticle(weights, about.settings), encoder = new DigitEncoder(weights), brush = new Brush(), random = randomNumbers(Date.now());
  const canvas = $("stage"), context = canvas.getContext("2d"), most = 8, words = ["none", "One cloud", "Two clouds", "Three clouds", "Four clouds", "Five clouds", "Six clouds", "Seven clouds", "Eight clouds"];
  const page = { model, encoder, context, strokes: [], brush, digits: [], labels: [], mode: "rest", side: 0, columns: 1, idle: 0, cost: 0 };
  let goals = [];

  // What is typed, as digits; a sentence and null where it is something else
  function typed(field) {
    const text = $(field).value.trim(), strange = text.match(/[^0-9]/u);
    if (!text) return say("There is nothing to draw: type one digit or more, such as 2026.", true), null;
    if (strange) return say(`The particles draw the digits 0 to 9, and “${strange[0]}” is none of them. Type for instance 2026.`, true), null;
    if (text.length > most) return say(`At most ${most} digits have room here; this is ${text.length} of them.`, true), null;
    return [...text].map(Number);
  }

  function particles() {
    const field = $("particles"), count = Number(field.value);
    if (field.value !== "" && Number.isInteger(count) && count >= 10 && count <= 400) return count;
    return say(`A cloud may have 10 to 400 particles, a whole number${field.value ? `; ${field.value} is none` : ""}. 40 is what it learned with.`, true), null;
  }

  // Each digit's law is asked anew; eased: the particles start from where they are
  function flow(eased, which = page.digits) {
    const noise = Number($("noise").value), share = Number($("walk").value), began = performance.now();
    for (const digit of which) {
      const place = page.digits.indexOf(digit), from = page.labels[place];
      digit.flow(digit.condition(noise, from, goals.length ? goals[place % goals.length] : from, share), eased && digit.brush);
    }
    page.cost = (performance.now() - began) / which.length / model.steps;
  }

  function finish() {
    for (const digit of page.digits) { digit.moment = digit.stops.length - 1; digit.put(digit.stops[digit.moment], 0); digit.brush = digit.brushes[1]; }
    page.mode = "rest";
    $("moment").value = model.steps;
    $("moment-is").textContent = model.steps;
    if (page.own) say(`The encoder takes this for ${page.labels[0] === 8 ? "an" : "a"} ${page.labels[0]}, and the cloud draws it again in your handwriting. Blue is what you drew.`);
    else if (goals.length && Number($("walk").value)) sayWalk();
    else say(`${words[page.digits.length]} of ${page.digits[0].speed.length} particles: ${page.labels.join(" ")}. A step of the law takes ${page.cost.toFixed(1)} ms here.`);
    draw();
  }

  function run(eased, which) {
    drawing(false);
    flow(eased, which);
    if (calm()) return finish();
    page.mode = "flow";
    say(`${words[page.digits.length]} of ${page.digits[0].speed.length} particles, on their way.`);
    wake();
  }

  // Labels, clouds and sizes as the controls say
  function renew(all) {
    const labels = typed("digits"), count = particles();
    if (!labels || !count) return;
    page.own = null;
    const before = page.digits, kept = !all && before.length && before[0].speed.length === count && !before[0].own;
    page.digits = labels.map((_, k) => kept && before[k] || new Digit(model, random));
    for (const digit of page.digits) if (!kept || !before.includes(digit)) digit.renew(count);
    const changed = page.digits.filter((digit, k) => !digit.brush || labels[k] !== page.labels[k]);
    page.labels = labels;
    fit();
    run(true, changed.length ? changed : page.digits);
  }

  function fit() {
    const width = canvas.parentElement.clientWidth, count = Math.max(page.digits.length, 1), dots = page.digits.reduce((sum, digit) => sum + digit.speed.length, 0);
    const columns = Math.min(count, Math.max(1, Math.floor(width / (width < 500 ? 85 : 100)))), rows = Math.ceil(count / columns);
    page.columns = Math.ceil(count / rows);
    const high = Math.min(width / page.columns, rows > 1 ? 200 : 300), ratio = sharpen(canvas, width, rows * high, dots > 1000 ? 1 : 2);
    Object.assign(page, { side: high * ratio, ratio, left: (canvas.width - page.columns * high * ratio) / 2 });
    draw();
  }

  const corner = k => [page.left + k % page.columns * page.side, Math.floor(k / page.columns) * page.side];

  function draw() {
    // what moves leaves a trail: the last frame fades instead of being wiped away
    context.globalCompositeOperation = "destination-out";
    context.globalAlpha = page.mode === "flow" || page.mode === "push" ? 0.4 : 1;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "source-over";
    context.globalAlpha = 1;
    if (page.mode === "draw") return sketch();
    if (page.own) {
      const { strokes, scale, left, top } = page.own, pixel = page.side / 28, [x, y] = corner(0);
      context.strokeStyle = "#1d4a73";
      trace(context, strokes, 2.5 * pixel, scale * pixel, left * pixel + x, top * pixel + y);
    }
    page.digits.forEach((digit, k) => {
      if (!digit.brushes) return;
      const share = digit.stops.length > 1 ? Math.min(digit.moment / (digit.stops.length - 1), 1) : 1;
      brush.paint(context, digit.position, share < 1 && page.mode === "flow" ? mix(digit.brushes[0], digit.brushes[1], share) : digit.brush || digit.brushes[1], digit.speed, ...corner(k), page.side);
    });
  }

  const wake = animation(seconds => {
    let busy = false;
    if (page.mode === "flow") {
      for (const digit of page.digits) {
        const last = digit.stops.length - 1;
        if (digit.moment >= last) { digit.put(digit.position, seconds); continue; }
        digit.age += seconds / (1.4 + 0.2 * last);
        digit.moment = last * ease(digit.age);
        digit.put(digit.at(digit.moment), seconds);
        busy = true;
      }
      const shown = Math.max(0, Math.min(...page.digits.map(digit => digit.moment - (digit.stops.length - 1))) + model.steps);
      $("moment").value = shown;
      $("moment-is").textContent = shown.toFixed(1);
      if (!busy) return finish(), false;
    } else if (page.mode === "push") {
      for (const digit of page.digits) digit.glide(seconds);
      page.idle += seconds;
      if (page.idle > 0.7) run(true);
      busy = true;
    }
    draw();
    return busy;
  });

  // ---- A digit of one's own: the strokes become an encoder's picture, and the ink becomes the cloud that redraws it

  function drawing(on) {
    clearTimeout(page.pause);
    if (on) {
      page.own = null;
      page.digits = page.digits.slice(0, 1);
      Object.assign(page, { mode: "draw", strokes: [] });
      say("Draw a digit into the frame, with a finger, a mouse, or arrow keys and the space bar.");
    }
    canvas.classList.toggle("paper", on);
    $("draw").setAttribute("aria-pressed", on);
    if (on) { fit(); canvas.focus({ preventScroll: true }); }
  }

  function sketch() {
    const { width, height } = canvas, left = (width - height) / 2;
    context.strokeStyle = "#3a4653";
    context.lineWidth = 2;
    context.setLineDash([8, 8]);
    context.strokeRect(left + 3, 3, height - 6, height - 6);
    context.setLineDash([]);
    context.strokeStyle = "#ffc46b";
    trace(context, page.strokes, 0.075 * height, height, left);
    if (!keys.at) return;
    context.fillStyle = keys.down ? "#ffc46b" : "#9aa5b1";
    context.beginPath();
    context.arc(keys.at[0] * width, keys.at[1] * height, 0.04 * height, 0, 7);
    context.fill();
  }

  function redraw() {
    const { pixels, scale, left, top } = pixelsOf(page.strokes), { z, label } = encoder.read(pixels, model.latent_dim), count = particles() || 60;
    const digit = new Digit(model, random), strokes = page.strokes, place = (value, first) => (value * scale + first) / 14 - 1;
    digit.renew(count);
    digit.ink(strokes.map(stroke => stroke.map(([x, y]) => [place(x, left), place(y, top)])));
    digit.z = z;
    Object.assign(page, { own: { strokes, scale, left, top, pixels }, digits: [digit], labels: [label] });
    goals = [];
    $("digits").value = label;
    $("walk").value = 0;
    $("walk-is").textContent = "0 %";
    fit();
    run(true);
  }

  const keys = pen(canvas, {
    on: () => page.mode === "draw",
    begin(at) { clearTimeout(page.pause); page.strokes.push([inFrame(at), inFrame([at[0] + 0.001, at[1]])]); draw(); },
    more(at) { if (page.mode === "draw") { page.strokes[page.strokes.length - 1].push(inFrame(at)); draw(); } },
    end() { if (page.mode === "draw") page.pause = setTimeout(redraw, calm() ? 0 : 900); },
  });
  const inFrame = ([x, y]) => [Math.max(0, Math.min(1, (x - 0.5) * canvas.width / canvas.height + 0.5)), y];
  $("draw").addEventListener("click", () => { if (page.mode === "draw") renew(true); else drawing(true); });

  // ---- Hands: a mouse that passes, a finger that wipes sideways, arrow keys, a button

  function push(where) {
    if (!page.digits.length || !page.digits[0].brushes || page.mode === "draw") return;
    for (const digit of page.digits) digit.brush = digit.brushes[1];
    where();
    page.idle = 0;
    if (calm()) {
      for (let k = 0; k < 20; k++) page.digits.forEach(digit => digit.glide(0.03));
      return run(true);
    }
    page.mode = "push";
    wake();
  }

  let hand = null;
  canvas.addEventListener("pointermove", event => {
    const before = hand, box = canvas.getBoundingClientRect();
    hand = { x: (event.clientX - box.left) * page.ratio, y: (event.clientY - box.top) * page.ratio };
    if (!before || calm()) return;
    const dx = (hand.x - before.x) * 2 / page.side, dy = (hand.y - before.y) * 2 / page.side;
    if (Math.hypot(dx, dy) < 0.004) return;
    push(() => page.digits.forEach((digit, k) => {
      const [left, top] = corner(k);
      digit.shove((hand.x - left) * 2 / page.side - 1, (hand.y - top) * 2 / page.side - 1, dx, dy);
    }));
  });
  for (const name of ["pointerleave", "pointerdown", "pointercancel", "pointerup"]) canvas.addEventListener(name, () => { hand = null; });

  const gust = (dx, dy) => push(() => page.digits.forEach(digit => digit.shove(0, 0, dx, dy, 0.8)));
  canvas.addEventListener("keydown", event => {
    const way = { ArrowLeft: [-0.25, 0], ArrowRight: [0.25, 0], ArrowUp: [0, -0.25], ArrowDown: [0, 0.25], " ": [0.2, -0.15] }[event.key];
    if (!way || page.mode === "draw") return;
    event.preventDefault();
    gust(...way);
  });
  $("push").addEventListener("click", () => { const angle = 2 * Math.PI * random.uniform(); gust(0.25 * Math.cos(angle), 0.25 * Math.sin(angle)); });

  // ---- Controls

  const handwriting = () => { const value = Number($("noise").value); $("noise-is").textContent = `${value < 0.4 ? "like print" : value < 1 ? "neat" : value < 1.3 ? "free" : "wild"}, × ${value.toFixed(2)}`; };
  $("digits").addEventListener("input", () => { $("walk").value = 0; $("walk-is").textContent = "0 %"; goals = []; renew(false); });
  $("particles").addEventListener("input", () => {
    const count = particles();
    if (!page.own || !count) return renew(true);
    page.digits[0].renew(count);
    run(false);
  });
  $("new").addEventListener("click", () => renew(true));
  $("stream").addEventListener("click", () => { if (typed("digits") && particles()) run(false); });
  $("noise").addEventListener("input", () => { handwriting(); if (typed("digits") && particles()) jump(); });
  $("moment").addEventListener("input", () => {
    const moment = Number($("moment").value);
    drawing(false);
    page.mode = "rest";
    for (const digit of page.digits) { digit.brush = digit.brushes[1]; digit.put(digit.at(moment, digit.steps), 0); }
    $("moment-is").textContent = moment.toFixed(1);
    draw();
  });

  // Controls that are dragged show the end of the law at once
  function jump() {
    drawing(false);
    flow(false);
    finish();
  }
  function walk() {
    if (!page.digits.length) return;
    const share = Number($("walk").value);
    if (!(goals = typed("goal") || [])) return;
    $("walk-is").textContent = `${Math.round(100 * share)} %`;
    if (goals.length) jump();
  }
  function sayWalk() { say(`${Math.round(100 * Number($("walk").value))} % of the way from ${page.labels.join(" ")} to ${page.labels.map((_, k) => goals[k % goals.length]).join(" ")}: each cloud is asked for both at once.`); }
  $("walk").addEventListener("input", walk);
  $("goal").addEventListener("input", () => { if (typed("goal")) { if (Number($("walk").value)) walk(); else say("Now move the slider beside it."); } });

  new ResizeObserver(fit).observe(canvas.parentElement);
  handwriting();
  const asked = decodeURIComponent(location.hash.slice(1));
  if (asked) $("digits").value = asked;
  renew(true);
  if (!page.digits.length) { $("digits").value = "2026"; page.labels = []; const said = $("status").textContent; renew(true); say(said, true); }
  return Object.assign(page, { corner, ready: () => page.mode === "rest" && page.digits.every(digit => digit.brush) });
}

live(genesisPage);
