// The particles of chapter 15b: a flow from noise to a code, an even cloud, one learned law that is told something else in each step, a brush.

const silu = x => x.map(value => value / (1 + Math.exp(-value)));

class Creation {
  constructor(weights, settings) {
    Object.assign(this, { latent_dim: 32, classes: 10, particles: 40, steps: 4, width: 40, keys: 16, octaves: 3, dt: 0.5, damping: 0.7, sigma: 0.09, calls: 10 }, settings);
    this.weights = weights;
    this.usual = Math.min(1, 1.5 / this.bundle);            // density of a dab whose number is 0
  }

  layer(name, x, rows) { return linear(x, rows, this.weights[name + ".weight"], this.weights[name + ".bias"]); }

  // Velocity of the flow, or of the weak one, at x; wish: the share of each class, all 0 for any
  velocity(x, t, wish, which = "flow") {
    const { width, blocks } = this[which], net = (name, y) => this.layer((which === "weak" ? "prior.weak.net." : "prior.net.") + name, y, 1), told = new Floats(8 + this.classes), ones = new Floats(width).fill(1), zeros = new Floats(width);
    for (let k = 0; k < 4; k++) { told[k] = Math.sin(t * Math.PI / 2 * 2 ** k); told[k + 4] = Math.cos(t * Math.PI / 2 * 2 ** k); }
    told.set(wish, 8);
    const said = net("tell", told), hidden = net("enter", x);
    for (let b = 0; b < blocks; b++) {
      const units = net("inner." + b, layerNorm(hidden, 1, ones, zeros)), at = 2 * b * width;
      add(hidden, net("outer." + b, silu(units.map((value, k) => (1 + said[at + width + k]) * value + said[at + k]))));
    }
    return net("leave", hidden);
  }

  // From noise to a code: Heun's method, guided, and led away from the weak flow
  code(noise, wish) {
    const { calls, weights, classes } = this, { guidance, lead } = this.flow;
    const slope = (x, t) => {
      const asked = this.velocity(x, t, wish), weak = this.velocity(x, t, wish, "weak"), any = guidance === 1 ? asked : this.velocity(x, t, new Floats(classes));
      return asked.map((value, k) => any[k] + guidance * (value - any[k]) + (lead - 1) * (value - weak[k]));
    };
    let x = noise;
    for (let n = 0; n < calls; n++) {
      const first = slope(x, n / calls), ahead = x.map((value, k) => value + first[k] / calls), second = n + 1 < calls ? slope(ahead, (n + 1) / calls) : first;
      x = x.map((value, k) => value + (first[k] + second[k]) / 2 / calls);
    }
    return x.map((value, k) => weights["prior.centre"][k] + weights["prior.scale"][k] * value);
  }

  // A sunflower, shaken at random
  cloud(count, random, jitter = 0.05) {
    const golden = Math.PI * (3 - Math.sqrt(5)), place = (i, wave) => Math.sqrt((i + 0.5) / count) * wave(golden * (i + 0.5)) + jitter * random.normal();
    return Floats.from({ length: 2 * count }, (_, k) => place(k >> 1, k % 2 ? Math.sin : Math.cos));
  }

  // Every particle looks at all: softmax(Q Kᵀ/√d) V
  glance(hidden, count) {
    const { width, keys } = this, qkv = linear(hidden, count, this.weights["decoder.dynamics.glance.qkv.weight"]), size = 2 * keys + width;
    const q = new Floats(count * keys), k = q.slice(), v = new Floats(count * width);
    for (let i = 0; i < count; i++) {
      for (let d = 0; d < keys; d++) { q[i * keys + d] = qkv[i * size + d] / Math.sqrt(keys); k[i * keys + d] = qkv[i * size + keys + d]; }
      for (let d = 0; d < width; d++) v[d * count + i] = qkv[i * size + 2 * keys + d];
    }
    const weights = linear(q, count, k);
    for (let i = 0; i < count; i++) softmax(weights.subarray(i * count, (i + 1) * count));
    return linear(weights, count, v);
  }

  // Positions after each step, and the dabs of each particle: [σx, σy, density, dx, dy] each, from a cloud and a condition
  move(start, condition) {
    const { width, steps, octaves, dt, damping, weights } = this, count = start.length / 2, inputs = 4 + 4 * octaves, seen = new Floats(count * inputs);
    const said = this.layer("decoder.dynamics.tell.2", silu(this.layer("decoder.dynamics.tell.0", condition, 1)), 1), law = (name, x) => this.layer("decoder.dynamics." + name, x, count);
    const hidden = new Floats(count * width), velocity = new Floats(2 * count), path = [start];
    const norm = name => layerNorm(hidden, count, weights[`decoder.dynamics.${name}.weight`], weights[`decoder.dynamics.${name}.bias`]);
    let position = start;
    for (let step = 0; step < steps; step++) {
      const told = said.subarray(3 * step * width, 3 * (step + 1) * width);
      for (let i = 0; i < count; i++) for (let axis = 0; axis < 2; axis++) {
        const row = i * inputs + axis, x = position[2 * i + axis], waves = i * inputs + 4 + axis * octaves;
        seen[row] = x;
        seen[row + 2] = velocity[2 * i + axis];
        for (let k = 0; k < octaves; k++) {
          const phase = x * Math.PI / 2 * 2 ** k;
          seen[waves + k] = Math.sin(phase);
          seen[waves + 2 * octaves + k] = Math.cos(phase);
        }
      }
      add(hidden, law("embed", seen));
      for (let k = 0; k < hidden.length; k++) hidden[k] += told[k % width];
      add(hidden, this.glance(norm("norm1"), count));
      const inner = law("inner", norm("norm2"));
      add(hidden, law("outer", relu(inner.map((value, k) => (1 + told[width + k % (2 * width)]) * value))));
      const force = law("force", hidden);
      for (let k = 0; k < velocity.length; k++) velocity[k] = damping * velocity[k] + dt * force[k];
      position = position.map((value, k) => value + dt * velocity[k]);
      path.push(position);
    }
    const factor = [this.sigma, this.sigma, this.usual];
    const brush = this.layer("decoder.brush", hidden, count).map((value, k) => k % 5 < 3 ? factor[k % 5] * Math.exp(1.5 * Math.tanh(value)) : 0.15 * Math.tanh(value));
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

// The brush of chapter 14: densities add up, and a share 1 - exp(-density) of each pixel is covered. The faster a particle, the warmer its colour.
class Brush {
  constructor(bundle) { Object.assign(this, { bundle, sheet: sheet() }); }

  // position: [2N] before it is squashed; brush: [5·bundle·N]; a square of the canvas at (left, top)
  paint(context, position, brush, speed, left, top, side) {
    const moving = speed.some(value => value > 0.02), size = Math.min(Math.round(side), moving ? 112 : 224), half = size / 2, across = new Floats(size);
    const [density, green, blue] = [0, 0, 0].map(() => new Floats(size * size)), image = new ImageData(size, size), pixels = image.data;
    for (let d = 0; d < brush.length; d += 5) {
      const i = Math.floor(d / 5 / this.bundle), sx = brush[d] * half, sy = brush[d + 1] * half, warm = Math.min(speed[i], 1);
      const x = (squash(position[2 * i] + brush[d + 3]) + 1) * half - 0.5, y = (squash(position[2 * i + 1] + brush[d + 4]) + 1) * half - 0.5;
      const first = Math.max(0, Math.ceil(x - 3.3 * sx)), last = Math.min(size - 1, Math.floor(x + 3.3 * sx)), end = Math.min(size - 1, y + 3.3 * sy);
      const less = [150 * warm ** 1.3, 215 * Math.sqrt(warm) * (1 - warm / 3)];
      for (let c = first; c <= last; c++) across[c] = brush[d + 2] * Math.exp(-((c - x) ** 2) / (2 * sx * sx));
      for (let r = Math.max(0, Math.ceil(y - 3.3 * sy)); r <= end; r++) {
        const down = Math.exp(-((r - y) ** 2) / (2 * sy * sy)), row = r * size;
        for (let c = first; c <= last; c++) density[row + c] += down * across[c];
        if (moving) for (let c = first; c <= last; c++) { green[row + c] += less[0] * down * across[c]; blue[row + c] += less[1] * down * across[c]; }
      }
    }
    for (let k = 0; k < density.length; k++) if (density[k] > 0.002) {
      pixels[4 * k] = 255;
      pixels[4 * k + 1] = 255 - green[k] / density[k];
      pixels[4 * k + 2] = 255 - blue[k] / density[k];
      pixels[4 * k + 3] = 255 * (1 - Math.exp(-density[k]));
    }
    if (this.sheet.width !== size) this.sheet.width = this.sheet.height = size;
    this.sheet.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(this.sheet, left, top, side, side);
  }
}

// Where one digit of the page is in its life. Its way leads from where its particles are, over stops, to the last of the law.
class Digit {
  constructor(model, random) { Object.assign(this, { model, random }); }

  renew(count) {
    this.cloud = this.model.cloud(count, this.random);
    if (!this.own) this.z = this.random.normals(this.model.latent_dim);
    this.position = this.cloud;
    this.velocity = new Floats(2 * count);
    this.speed = new Floats(count);
    this.brush = null;
  }

  // What the law is told: the code, and the share of each class; a walk from one class to the other mixes them
  condition(noise, from, to, share) {
    const { latent_dim, classes } = this.model, wish = new Floats(classes), told = new Floats(latent_dim + classes);
    wish[from] += 1 - share;
    wish[to] += share;
    told.set(this.own ? this.z : this.model.code(this.z.map(value => noise * value), wish));
    told.set(wish, latent_dim);
    return told;
  }

  // Let the law act, from where the particles are or from a new cloud; ink first becomes the cloud
  flow(condition, onwards) {
    const { path, brush } = this.model.move(onwards && !this.inked ? this.position : this.cloud, condition);
    this.stops = onwards && this.inked ? [this.position, ...path] : path;
    this.inked = false;
    this.brushes = [this.brush || brush, brush];
    this.steps = path;
    this.moment = this.age = 0;
    this.velocity.fill(0);
  }

  // Particles laid along strokes (u, v) of the square [-1, 1]², as a pen would leave them
  ink(strokes) {
    const points = strokes.flat(), count = this.speed.length, raw = u => u / Math.sqrt(1.001 - Math.min(1, u * u));
    this.position = Floats.from({ length: 2 * count }, (_, k) => raw(points[Math.floor((k >> 1) / count * points.length)][k % 2]));
    this.brush = Floats.from({ length: 5 * count * this.model.bundle }, (_, k) => [0.07, 0.07, 1.5 * this.model.usual, 0, 0][k % 5]);
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
  const model = new Creation(weights, about.settings), encoder = new DigitEncoder(weights), brush = new Brush(model.bundle), random = randomNumbers(Date.now());
  const canvas = $("stage"), context = canvas.getContext("2d"), most = 8, words = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight"].map((word, k) => `${word} cloud${k === 1 ? "" : "s"}`);
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

  // Each digit's law is asked anew; onwards: the particles start from where they are
  function flow(onwards, which = page.digits) {
    const noise = Number($("noise").value), share = Number($("walk").value);
    page.cost = 0;
    for (const digit of which) {
      const place = page.digits.indexOf(digit), from = page.labels[place];
      const told = digit.condition(noise, from, goals.length ? goals[place % goals.length] : from, share), began = now();
      digit.flow(told, onwards && digit.brush);
      page.cost += (now() - began) / which.length / model.steps;
    }
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

  function run(onwards, which) {
    drawing(false);
    flow(onwards, which);
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
    const width = canvas.parentElement.clientWidth, count = Math.max(page.digits.length, 1);
    const columns = Math.min(count, Math.max(1, Math.floor(width / (width < 500 ? 85 : 100)))), rows = Math.ceil(count / columns);
    page.columns = Math.ceil(count / rows);
    const high = Math.min(width / page.columns, rows > 1 ? 200 : 300), ratio = sharpen(canvas, width, rows * high);
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
      say("Draw a digit into the frame, by finger, mouse, or arrow keys and space bar.");
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
    const { pixels, scale, left, top } = pixelsOf(page.strokes), { z, label } = encoder.read(pixels, model.latent_dim), count = particles() || 40;
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
  hear($("draw"), "click", () => { if (page.mode === "draw") renew(true); else drawing(true); });

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
  hear(canvas, "pointermove", event => {
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
  hear(canvas, "pointerleave pointerdown pointercancel pointerup", () => { hand = null; });

  const gust = (dx, dy) => push(() => page.digits.forEach(digit => digit.shove(0, 0, dx, dy, 0.8)));
  hear(canvas, "keydown", event => {
    const way = { ArrowLeft: [-0.25, 0], ArrowRight: [0.25, 0], ArrowUp: [0, -0.25], ArrowDown: [0, 0.25], " ": [0.2, -0.15] }[event.key];
    if (!way || page.mode === "draw") return;
    event.preventDefault();
    gust(...way);
  });
  hear($("push"), "click", () => { const angle = 2 * Math.PI * random.uniform(); gust(0.25 * Math.cos(angle), 0.25 * Math.sin(angle)); });

  // ---- Controls

  const handwriting = () => { const value = Number($("noise").value); $("noise-is").textContent = `${value < 0.4 ? "like print" : value < 1 ? "neat" : value < 1.3 ? "free" : "wild"}, × ${value.toFixed(2)}`; };
  hear($("digits"), "input", () => { $("walk").value = 0; $("walk-is").textContent = "0 %"; goals = []; renew(false); });
  hear($("particles"), "input", () => {
    const count = particles();
    if (!page.own || !count) return renew(true);
    page.digits[0].renew(count);
    run(false);
  });
  hear($("new"), "click", () => renew(true));
  hear($("stream"), "click", () => { if (typed("digits") && particles()) run(false); });
  hear($("noise"), "input", () => { handwriting(); if (typed("digits") && particles()) jump(); });
  hear($("moment"), "input", () => {
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
  hear($("walk"), "input", walk);
  hear($("goal"), "input", () => { if (typed("goal")) { if (Number($("walk").value)) walk(); else say("Now move the slider beside it."); } });

  new ResizeObserver(fit).observe(canvas.parentElement);
  handwriting();
  const asked = decodeURIComponent(location.hash.slice(1));
  if (asked) $("digits").value = asked;
  renew(true);
  if (!page.digits.length) { $("digits").value = "2026"; page.labels = []; const said = $("status").textContent; renew(true); say(said, true); }
  return Object.assign(page, { corner, ready: () => page.mode === "rest" && page.digits.every(digit => digit.brush) });
}

live(genesisPage);
