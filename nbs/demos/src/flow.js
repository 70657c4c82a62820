// The flow of chapter 11b: a U-Net that is told time and class, Euler's method from noise to a digit, and RePaint's repair of a hole (chapter 16a).
"use strict";

const silu = x => {
  for (let k = 0; k < x.length; k++) x[k] /= 1 + Math.exp(-x[k]);
  return x;
};

// Each group of maps of one picture to mean 0 and variance 1
function groupNorm({ x, channels, height, width }, groups = 8) {
  const y = new Floats(x.length), size = channels / groups, count = height * width * size;
  for (let g = 0; g < groups; g++) {
    let sum = 0, squares = 0;
    for (let p = g * size; p < x.length; p += channels) for (let c = p; c < p + size; c++) sum += x[c];
    const mean = sum / count;
    for (let p = g * size; p < x.length; p += channels) for (let c = p; c < p + size; c++) squares += (x[c] - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / count + 1e-5);
    for (let p = g * size; p < x.length; p += channels) for (let c = p; c < p + size; c++) y[c] = (x[c] - mean) * scale;
  }
  return { x: y, channels, height, width };
}

function halve({ x, channels, height, width }) {
  const y = new Floats(x.length / 4);
  for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) for (let c = 0; c < channels; c++)
    y[((i >> 1) * (width >> 1) + (j >> 1)) * channels + c] += x[(i * width + j) * channels + c] / 4;
  return { x: y, channels, height: height >> 1, width: width >> 1 };
}

function double({ x, channels, height, width }) {
  const y = new Floats(4 * x.length), wide = 2 * width;
  for (let i = 0; i < 2 * height; i++) for (let j = 0; j < wide; j++) {
    const from = ((i >> 1) * width + (j >> 1)) * channels;
    y.set(x.subarray(from, from + channels), (i * wide + j) * channels);
  }
  return { x: y, channels, height: 2 * height, width: wide };
}

class UNet {
  constructor(weights, settings) {
    Object.assign(this, settings);
    this.weights = weights;
    this.layers = {};
    for (const name in weights) if (name.endsWith(".bias")) {
      const layer = name.slice(0, -5), bias = weights[name], weight = weights[layer + ".weight"];
      const places = /stem|first|second|head\.2/.test(layer) ? 9 : 1;
      this.layers[layer] = { weight: byPlace(weight, weight.length / bias.length / places, places), bias };
    }
    this.levels = Object.keys(weights).filter(name => /^down\.\d+\.first\.bias/.test(name)).length;
  }

  layer(name, maps, kernel = 1) { return convolve(maps, this.layers[name], kernel); }
  dense(name, x) { return linear(x, 1, this.weights[name + ".weight"], this.weights[name + ".bias"]); }

  // Time and class in one vector; label 10 is any digit
  tell(t, label) {
    const waves = new Floats(16), width = this.weights["label.weight"].length / (this.classes + 1);
    for (let k = 0; k < 8; k++) { waves[k] = Math.sin(t * Math.PI / 2 * 2 ** k); waves[k + 8] = Math.cos(t * Math.PI / 2 * 2 ** k); }
    const told = this.dense("time.layers.2", silu(this.dense("time.layers.0", waves)));
    add(told, this.weights["label.weight"].subarray(label * width, (label + 1) * width));
    return silu(told);
  }

  *block(name, maps, told) {
    const shift = this.dense(name + ".told", told), h = groupNorm(this.layer(name + ".first", maps, 3)), channels = h.channels;
    yield;
    for (let k = 0; k < h.x.length; k++) { const c = k % channels; h.x[k] = h.x[k] * (1 + shift[c]) + shift[c + channels]; }
    silu(h.x);
    const y = this.layer(name + ".second", h, 3);
    yield;
    add(y.x, maps.x);
    return y;
  }

  // The velocity of a picture; a generator, so that others can draw between the layers
  *velocity(x, t, label) {
    const told = this.tell(t, label), last = this.levels - 1;
    let maps = this.layer("stem", { x, channels: 1, height: this.size, width: this.size }, 3);
    const kept = [maps = yield* this.block("down.0", maps, told)];
    for (let k = 1; k <= last; k++) kept.push(maps = yield* this.block(`down.${k}`, this.layer(`shrink.${k - 1}`, halve(maps)), told));
    maps = yield* this.block("middle", kept.pop(), told);
    for (let k = last - 1; k >= 0; k--) {
      maps = double(this.layer(`grow.${k}`, maps));
      add(maps.x, kept.pop().x);
      maps = yield* this.block(`up.${k}`, maps, told);
    }
    maps = groupNorm(maps);
    const { weight, bias } = { weight: this.weights["head.0.weight"], bias: this.weights["head.0.bias"] };
    for (let k = 0; k < maps.x.length; k++) { const c = k % weight.length; maps.x[k] = maps.x[k] * weight[c] + bias[c]; }
    silu(maps.x);
    return this.layer("head.2", maps, 3).x;
  }

  *guided(x, t, label, scale) {
    const asked = yield* this.velocity(x, t, label);
    if (scale === 1) return asked;
    const any = yield* this.velocity(x, t, this.classes);
    return any.map((value, k) => value + scale * (asked[k] - value));
  }
}

function flowPage(weights, about) {
  const model = new UNet(weights, about.settings), random = randomNumbers(Date.now()), side = model.size, pixels = side * side;
  const paper = $("paper"), stage = $("stage"), page = { model, noise: random.normals(pixels), x: null, step: 0, label: 3, calls: 0, work: null, touched: 0, truth: null, hole: null, open: false };
  const value = id => Number($(id).value);

  // ---- Digits to ask for

  const buttons = [];
  for (let digit = 0; digit < 10; digit++) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = digit;
    hear(button, "click", () => { page.label = digit; begin(); });
    $("digits").append(button);
    buttons.push(button);
  }

  // ---- The way from noise to data, in pieces

  function* way() {
    const steps = value("steps"), scale = value("scale"), label = page.label;
    for (page.step = 0; page.step < steps; ) {
      const v = yield* model.guided(page.x, page.step / steps, label, scale);
      page.x = page.x.map((number, k) => number + v[k] / steps);
      page.calls += scale === 1 ? 1 : 2;
      page.step++;
      yield true;
    }
  }

  // What is known follows the way from fresh noise to the picture; each step is gone three times, so that hole and rest agree
  function* heal() {
    const steps = value("steps"), scale = value("scale"), { label, truth, hole } = page;
    for (page.step = 0; page.step < steps; page.step++) {
      const t = page.step / steps, s = (page.step + 1) / steps;
      for (let again = 0; again < 3; again++) {
        page.x = page.x.map((number, k) => hole[k] ? number : t * truth[k] + (1 - t) * random.normal());
        const v = yield* model.guided(page.x, t, label, scale);
        page.x = page.x.map((number, k) => number + v[k] / steps);
        page.calls += scale === 1 ? 1 : 2;
        if (s === 1) break;
        if (again < 2) {
          const back = t / s, spread = Math.sqrt((1 - t) ** 2 - (back * (1 - s)) ** 2);
          page.x = page.x.map(number => back * number + spread * random.normal());
        }
      }
      yield true;
    }
    page.x = page.x.map((number, k) => hole[k] ? number : truth[k]);
  }

  function begin() {
    Object.assign(page, { x: page.hole ? random.normals(pixels) : page.noise.slice(), step: 0, calls: 0, open: false });
    page.work = page.hole ? heal() : way();
    buttons.forEach((button, digit) => button.setAttribute("aria-pressed", digit === page.label));
    wake();
  }

  const small = sheet(), grain = sheet();
  let last = null, pens = [{}, {}];
  function show() {
    const shown = page.open ? page.truth.map((number, k) => page.hole[k] ? 0 : number) : page.x;
    for (const [canvas, numbers, picture, keys] of [[paper, page.noise, grain, pens[0]], [stage, shown, small, pens[1]]]) {
      const width = Math.min(canvas.parentElement.clientWidth / 2 - 7, 420), ratio = sharpen(canvas, width, width), context = canvas.getContext("2d");
      pictureOf(numbers.map(number => Math.max(-1, Math.min(1, canvas === paper ? number / 2 : number))), side, picture);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingEnabled = canvas === stage;
      context.drawImage(picture, 0, 0, canvas.width, canvas.height);
      if (keys.at) {
        context.strokeStyle = keys.down ? "#ffb86b" : "#7cc4ee";
        context.lineWidth = 2 * ratio;
        context.beginPath();
        context.arc(keys.at[0] * canvas.width, keys.at[1] * canvas.width, 9 * ratio, 0, 7);
        context.stroke();
      }
    }
  }

  const wake = animation(() => {
    const until = now() + 6;
    while (page.work && now() < until) {
      const { value: stepped, done } = page.work.next();
      if (done) {
        page.work = null;
        const digit = `${page.label === 8 ? "an" : "a"} ${page.label}`, calls = `in ${page.calls} ${page.calls === 1 ? "call" : "calls"} of the network`;
        if (page.hole) say(`The hole of ${page.hole.reduce((sum, each) => sum + each)} pixels is filled as for ${digit}, ${calls}.`);
        else say(`${digit[0].toUpperCase()}${digit.slice(1)}, ${calls}${page.touched ? ", from noise that you painted" : ""}.`);
      } else if (stepped && !calm()) break;
    }
    show();
    return Boolean(page.work);
  });

  // ---- Noise under the finger

  function stroke([x, y], reach, mark) {
    const from = last || [x, y], far = Math.ceil(Math.hypot(x - from[0], y - from[1]) * side * 2) || 1;
    for (let s = 1; s <= far; s++) {
      const u = (from[0] + (x - from[0]) * s / far) * side, v = (from[1] + (y - from[1]) * s / far) * side;
      for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) if (Math.hypot(j + 0.5 - u, i + 0.5 - v) < reach) mark(i * side + j);
    }
    last = [x, y];
  }
  function touch(point) {
    const kind = $("pen").value;
    stroke(point, 1.6, k => { page.noise[k] = kind === "fresh" ? random.normal() : kind === "white" ? 2 : -2; });
    page.touched++;
    page.hole = null;
    begin();
  }

  // ---- A hole in the digit

  function tear(point) {
    if (!page.open) Object.assign(page, { truth: page.x, hole: new Floats(pixels), open: true, work: null });
    stroke(point, 2.6, k => { page.hole[k] = 1; });
    show();
  }
  const from = (canvas, more, end, on) => pen(canvas, { begin: point => { last = null; more(point); }, more, end: () => { last = null; end(); }, on });
  pens = [from(paper, touch, () => {}), from(stage, tear, begin, () => page.open || !page.work)];
  for (const canvas of [paper, stage]) hear(canvas, "keydown blur", () => show());

  // ---- Controls

  for (const id of ["steps", "scale"]) hear($(id), "input", () => { $(id + "-is").textContent = id === "scale" ? value(id).toFixed(2) : value(id); begin(); });
  hear($("new"), "click", () => { Object.assign(page, { noise: random.normals(pixels), touched: 0, hole: null }); begin(); });
  new ResizeObserver(show).observe(paper.parentElement);

  say("The network draws a 3. Choose another digit, paint on the noise, or tear a hole into the digit.");
  begin();
  return Object.assign(page, { ready: () => !page.work });
}

live(flowPage);
