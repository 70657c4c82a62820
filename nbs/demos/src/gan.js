// The conditional GAN of chapter 09a: its generator, from 32 random numbers and a class to a picture of 28 by 28 pixels.

class ConvGenerator {
  constructor(weights, settings) {
    const { latent_dim, size, width } = settings;
    Object.assign(this, { latent_dim, size, labels: weights["label.weight"], last: { weight: byPlace(weights["layers.9.weight"], width, 9), bias: weights["layers.9.bias"] } });
    this.side = size / 4;
    this.channels = 4 * width;
    this.stem = fold(weights, "stem", "layers.1", this.side ** 2);
    this.doubling = [["layers.3", "layers.4"], ["layers.6", "layers.7"]].map(([layer, norm]) => this.phases(fold(weights, layer, norm), weights[layer + ".weight"].length / 9 / weights[norm + ".weight"].length));
  }

  // To repeat each pixel and then convolve with 3 × 3 weights is four convolutions with 2 × 2, one for each quarter of the new pixels
  phases({ weight, bias }, channels) {
    const all = [];
    for (let a = 0; a < 2; a++) for (let b = 0; b < 2; b++) {
      const small = new Float32Array(weight.length / 9 * 4);
      for (let pair = 0; pair < weight.length / 9; pair++) for (let k = 0; k < 3; k++) for (let l = 0; l < 3; l++)
        small[pair * 4 + (k + 1 - a >> 1) * 2 + (l + 1 - b >> 1)] += weight[pair * 9 + k * 3 + l];
      all.push({ a, b, weight: byPlace(small, channels, 4), bias });
    }
    return all;
  }

  double(maps, phases) {
    const { height, width } = maps, channels = phases[0].bias.length, x = new Float32Array(4 * height * width * channels);
    for (const { a, b, weight, bias } of phases) {
      const part = linear(windows(maps, 2, 1, 1 - a, 1 - b, height, width), height * width, weight, bias);
      for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) {
        const to = ((2 * i + a) * 2 * width + 2 * j + b) * channels, from = (i * width + j) * channels;
        for (let c = 0; c < channels; c++) x[to + c] = part[from + c];
      }
    }
    return { x: relu(x), channels, height: 2 * height, width: 2 * width };
  }

  // What the network is asked for: noise and the vector of a class, one after the other
  code(noise, label) {
    const code = new Float32Array(2 * this.latent_dim);
    code.set(noise);
    code.set(this.labels.subarray(label * this.latent_dim, (label + 1) * this.latent_dim), this.latent_dim);
    return code;
  }

  // Pixels in [-1, 1], row by row
  draw(code) {
    const { side, channels } = this, flat = relu(linear(code, 1, this.stem.weight, this.stem.bias)), x = new Float32Array(flat.length);
    for (let c = 0; c < channels; c++) for (let p = 0; p < side * side; p++) x[p * channels + c] = flat[c * side * side + p];
    let maps = { x, channels, height: side, width: side };
    for (const phases of this.doubling) maps = this.double(maps, phases);
    return convolve(maps, this.last, 3).x.map(Math.tanh);
  }
}

function ganPage(weights, about) {
  const model = new ConvGenerator(weights, about.settings), random = randomNumbers(Date.now()), side = model.size;
  const canvas = $("stage"), context = canvas.getContext("2d"), count = 40, moments = 25;
  const page = { model, tiles: [], from: null, to: null, share: 0, frames: [], wanted: 0, playing: false, mode: "" };

  // ---- The wall

  for (let digit = 0; digit < 10; digit++) $("kind").append(new Option(`only ${digit}s`, digit));
  for (let k = 0; k < count; k++) {
    const button = document.createElement("button"), picture = document.createElement("canvas");
    button.type = "button";
    button.append(picture);
    $("wall").append(button);
    page.tiles.push({ button, picture });
    button.addEventListener("click", () => choose(page.tiles[k]));
  }

  function renew(same) {
    page.tiles.forEach((tile, k) => {
      tile.label = $("kind").value === "" ? k % 10 : Number($("kind").value);
      if (!same || !tile.z) tile.z = random.normals(model.latent_dim);
      const noise = Number($("noise").value);
      tile.code = model.code(tile.z.map(value => noise * value), tile.label);
      tile.button.setAttribute("aria-label", `${article(tile.label)}, drawing ${k + 1}`);
      tile.drawn = false;
    });
    mark();
    wake();
  }

  function mark() { for (const tile of page.tiles) tile.button.setAttribute("aria-pressed", tile === page.from || tile === page.to); }

  // ---- The walk: a straight line from one code to the other, 25 moments of it drawn beforehand

  function lead(from, to, start) {
    Object.assign(page, { from, to, line: [start || from.code, to.code], frames: [], share: 0 });
    mark();
  }

  function choose(tile) {
    if (tile === page.to) return;
    lead(page.to, tile, page.share < 1 ? at(page.share) : page.to.code);
    page.mode = "once";
    $("play").setAttribute("aria-pressed", page.playing = false);
    say(`From ${article(page.from.label)} to ${article(tile.label)}.`);
    if (calm()) page.share = 1;
    wake();
  }

  const article = digit => (digit === 8 ? "an " : "a ") + digit;
  const at = share => page.line[0].map((value, k) => value + share * (page.line[1][k] - value));

  function frame(k) { return page.frames[k] ||= pictureOf(model.draw(at(k / (moments - 1))), side); }

  function fit() {
    const width = canvas.parentElement.clientWidth, strip = Math.min(width / 9, 80), big = Math.min(width * 0.6, 260);
    page.ratio = sharpen(canvas, width, big + strip + 20);
    Object.assign(page, { strip: strip * page.ratio, big: big * page.ratio });
    draw();
  }

  function draw() {
    if (!page.line) return;
    const { big, strip } = page, wide = canvas.width, place = page.share * (moments - 1), k = Math.min(Math.floor(place), moments - 2), left = (wide - 9 * strip) / 2;
    context.clearRect(0, 0, wide, canvas.height);
    context.globalAlpha = 1;
    context.drawImage(frame(k), (wide - big) / 2, 0, big, big);
    context.globalAlpha = place - k;
    if (place > k) context.drawImage(frame(k + 1), (wide - big) / 2, 0, big, big);
    for (let s = 0; s < 9; s++) {
      const near = Math.max(0, 1 - Math.abs(page.share * 8 - s)), picture = page.frames[3 * s];
      context.globalAlpha = 0.4 + 0.6 * near;
      if (picture) context.drawImage(picture, left + s * strip, big + 10 * page.ratio, strip, strip);
    }
    context.globalAlpha = 1;
    $("walk").value = page.share;
    $("walk-is").textContent = `${Math.round(100 * page.share)} %`;
  }

  let phase = 0;
  const wake = animation(seconds => {
    const until = performance.now() + 7;       // draw what is still missing, but leave the browser its time
    let missing = true;
    while (missing && performance.now() < until) {
      const k = [...Array(moments).keys()].find(k => page.line && !page.frames[k]), tile = page.tiles.find(tile => !tile.drawn);
      if (k !== undefined && (k % 3 === 0 || !tile)) frame(k);
      else if (tile) { pictureOf(model.draw(tile.code), side, tile.picture); tile.drawn = true; }
      else if (k !== undefined) frame(k);
      else missing = false;
    }
    if (page.playing) {
      phase += seconds * 1.3;
      page.share = (1 - Math.cos(phase)) / 2;
    } else if (page.mode === "once") {
      page.share = Math.min(1, page.share + seconds / 1.5);
      if (page.share === 1) page.mode = "";
    }
    draw();
    return missing || page.playing || page.mode === "once";
  });

  // ---- Controls

  function toAndFro(on) {
    $("play").setAttribute("aria-pressed", page.playing = on);
    phase = Math.acos(1 - 2 * page.share);
    page.mode = "";
    wake();
  }
  $("play").addEventListener("click", () => toAndFro(!page.playing));
  $("walk").addEventListener("input", () => { const share = Number($("walk").value); toAndFro(false); page.share = share; draw(); });
  $("kind").addEventListener("change", () => { renew(false); say(`New drawings${$("kind").value ? ", all of them asked for as " + $("kind").value : ""}.`); });
  $("noise").addEventListener("input", () => { $("noise-is").textContent = Number($("noise").value).toFixed(2); renew(true); });
  $("new").addEventListener("click", () => { renew(false); say("New drawings. Tap one."); });
  let hand = null;
  canvas.addEventListener("pointerdown", event => { hand = event.clientX; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", event => {
    if (hand === null) return;
    const share = Math.max(0, Math.min(1, page.share + (event.clientX - hand) / canvas.clientWidth * 1.5));
    hand = event.clientX;
    toAndFro(false);
    page.share = share;
    draw();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { hand = null; });

  renew(false);
  lead(page.tiles[3], page.tiles[8]);
  new ResizeObserver(fit).observe(canvas.parentElement);
  say("From a 3 to an 8, and back. Tap another digit.");
  fit();
  if (!calm()) toAndFro(true);
  return Object.assign(page, { ready: () => page.tiles.every(tile => tile.drawn) && page.frames.filter(Boolean).length === moments });
}

live(ganPage);
