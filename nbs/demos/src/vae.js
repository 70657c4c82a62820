// The plane of chapter 07a: the decoder of a VAE whose codes are two numbers, and that of a plain autoencoder.

class Decoder {
  constructor(weights, name) {
    this.layers = [0, 2, 4].map(k => ({ weight: weights[`${name}.decoder.${k}.weight`], bias: weights[`${name}.decoder.${k}.bias`] }));
    this.side = Math.sqrt(this.layers[2].bias.length);
  }

  // Codes [B, 2], one after the other, to pixels [B, side²] in [-1, 1]
  draw(codes) {
    const count = codes.length / 2;
    let x = codes;
    this.layers.forEach(({ weight, bias }, k) => { x = linear(x, count, weight, bias); if (k < 2) relu(x); });
    return x.map(logit => 2 / (1 + Math.exp(-logit)) - 1);
  }
}

const COLOURS = ["#9aa5b1", "#ff8a5c", "#ffd166", "#7bd88f", "#56b4e9", "#c792ea", "#f78fb3", "#4fd1c5", "#e0b089", "#b8e986"];

// One map: its window on the plane, everything drawn in it, and what stands at the point
class PlaneMap {
  constructor(name, decoder, codes, labels, random) {
    Object.assign(this, { name, decoder, codes, labels, canvas: $(name), shows: $(name + "-shows"), drawn: [], tiles: 19, row: 0 });
    const reach = axis => { const sorted = codes.map(code => code[axis]).sort((a, b) => a - b); return [sorted[0], sorted[sorted.length - 1]]; };
    const [x, y] = [reach(0), reach(1)];
    this.middle = name === "vae" ? [0, 0] : [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2];
    this.half = name === "vae" ? 3 : Math.max(x[1] - x[0], y[1] - y[0]) / 2 * 1.05;
    this.carpet = document.createElement("canvas");
    this.carpet.width = this.carpet.height = this.tiles * decoder.side;
    this.medians = [...Array(10).keys()].map(digit => {
      const own = codes.filter((_, k) => labels[k] === digit), median = axis => own.map(code => code[axis]).sort((a, b) => a - b)[own.length >> 1];
      return own.length ? [median(0), median(1)] : null;
    });
  }

  // (u, v) in [-1, 1]², v upwards, to a code
  code(u, v) { return [this.middle[0] + u * this.half, this.middle[1] + v * this.half]; }

  // One more row of the pictures that lie everywhere
  weave() {
    if (this.row >= this.tiles) return false;
    const codes = new Float32Array(2 * this.tiles), side = this.decoder.side, place = k => (k + 0.5) / this.tiles * 2 - 1;
    for (let k = 0; k < this.tiles; k++) codes.set(this.code(place(k), -place(this.row)), 2 * k);
    const pixels = this.decoder.draw(codes), context = this.carpet.getContext("2d");
    for (let k = 0; k < this.tiles; k++) context.drawImage(pictureOf(pixels.subarray(k * side * side, (k + 1) * side * side), side), k * side, this.row * side);
    this.row++;
    return true;
  }

  at([x, y], size) { return [((x - this.middle[0]) / this.half + 1) / 2 * size, (1 - (y - this.middle[1]) / this.half) / 2 * size]; }

  draw({ u, v, dots }) {
    const width = this.canvas.parentElement.clientWidth, ratio = sharpen(this.canvas, width, width), size = width * ratio, context = this.canvas.getContext("2d");
    context.clearRect(0, 0, size, size);
    context.globalAlpha = dots ? 0.25 : 0.85;
    context.drawImage(this.carpet, 0, 0, size, size);
    context.globalAlpha = 1;
    if (this.name === "vae") {
      context.strokeStyle = "#ffffff88";
      context.lineWidth = ratio;
      context.beginPath();
      context.arc(...this.at([0, 0], size), 2.45 / this.half * size / 2, 0, 7);
      context.stroke();
    }
    if (dots) {
      this.codes.forEach((code, k) => {
        context.fillStyle = COLOURS[this.labels[k]];
        context.beginPath();
        context.arc(...this.at(code, size), (width < 300 ? 1.6 : 2.6) * ratio, 0, 7);
        context.fill();
      });
      context.font = `bold ${(width < 300 ? 13 : 18) * ratio}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.lineWidth = 4 * ratio;
      context.strokeStyle = "#0b0f14";
      context.fillStyle = "#ffffff";
      this.medians.forEach((median, digit) => { if (median) for (const way of ["strokeText", "fillText"]) context[way](digit, ...this.at(median, size)); });
    }
    context.strokeStyle = "#ffb86b";
    context.lineWidth = 2 * ratio;
    for (const code of this.drawn) {
      const [x, y] = this.at(code, size), r = 4 * ratio;
      context.beginPath();
      context.moveTo(x - r, y - r); context.lineTo(x + r, y + r);
      context.moveTo(x + r, y - r); context.lineTo(x - r, y + r);
      context.stroke();
    }
    const [x, y] = this.at(this.code(u, v), size), r = 13 * ratio;
    context.lineWidth = 5 * ratio;
    for (const colour of ["#0b0f14", "#ffffff"]) {
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(x, y, r, 0, 7);
      context.stroke();
      context.lineWidth = 2.5 * ratio;
    }
    this.picture = this.decoder.draw(Float32Array.from(this.code(u, v)));
    this.show(width);
  }

  // The picture at the point, and those of the random codes
  show(width) {
    const ratio = sharpen(this.shows, width, width / 2), context = this.shows.getContext("2d"), high = width / 2 * ratio, side = this.decoder.side, small = high / 4.2;
    context.clearRect(0, 0, 2 * high, high);
    context.drawImage(pictureOf(this.picture, side), 0, 0, high, high);
    this.drawn.forEach((code, k) => {
      this.pictures[k] ||= pictureOf(this.decoder.draw(Float32Array.from(code)), side);
      context.drawImage(this.pictures[k], high * 1.02 + k % 4 * small, Math.floor(k / 4) * small * 1.3 + small * 0.25, small, small);
    });
  }
}

function vaePage(weights, about) {
  const random = randomNumbers(Date.now()), decoders = { vae: new Decoder(weights, "vae"), plain: new Decoder(weights, "plain") };
  const maps = ["vae", "plain"].map(name => new PlaneMap(name, decoders[name], about.codes[name], about.labels)), page = { decoders, maps, u: 0.15, v: 0.1, dots: false, touring: false, time: 0 };
  const draw = () => maps.forEach(map => map.draw(page));

  const wake = animation(seconds => {
    const until = performance.now() + 6;
    let weaving = true;
    while (weaving && performance.now() < until) weaving = maps.map(map => map.weave()).some(Boolean);
    if (page.touring) {
      page.time += seconds;
      page.u = 0.45 * Math.sin(0.43 * page.time + 0.24);
      page.v = 0.45 * Math.sin(0.31 * page.time + 0.16);
    }
    draw();
    return weaving || page.touring;
  });

  function tour(on) {
    $("tour").setAttribute("aria-pressed", page.touring = on);
    wake();
  }

  function move(u, v) {
    page.u = Math.max(-1, Math.min(1, u));
    page.v = Math.max(-1, Math.min(1, v));
    if (page.touring) tour(false);
    wake();
  }

  const numbers = map => map.code(page.u, page.v).map(number => number.toFixed(1).replace("-", "−")).join(", ");
  const tell = () => say(`The VAE draws the code (${numbers(maps[0])}), the plain autoencoder (${numbers(maps[1])}).`);

  for (const map of maps) {
    let held = false;
    const to = event => { const box = map.canvas.getBoundingClientRect(); move((event.clientX - box.left) / box.width * 2 - 1, 1 - (event.clientY - box.top) / box.height * 2); };
    map.canvas.addEventListener("pointerdown", event => { held = true; map.canvas.setPointerCapture(event.pointerId); to(event); });
    map.canvas.addEventListener("pointermove", event => { if (held) to(event); });
    for (const name of ["pointerup", "pointercancel"]) map.canvas.addEventListener(name, () => { if (held) tell(); held = false; });
    map.canvas.addEventListener("keydown", event => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key], step = event.shiftKey ? 0.1 : 0.03;
      if (!way) return;
      event.preventDefault();
      move(page.u + step * way[0], page.v + step * way[1]);
      tell();
    });
  }

  function invent() {
    const codes = Array.from({ length: 12 }, () => [random.normal(), random.normal()]);
    for (const map of maps) Object.assign(map, { drawn: codes, pictures: [] });
    wake();
  }
  $("random").addEventListener("click", () => { invent(); say("Twelve new codes drawn from the normal distribution: the crosses, the same on both maps. Below each map: what they become."); });
  $("tour").addEventListener("click", () => { tour(!page.touring); if (page.touring) say("The point goes round by itself. Drag it to stop."); else tell(); });
  $("dots").addEventListener("click", () => {
    $("dots").setAttribute("aria-pressed", page.dots = !page.dots);
    say(page.dots ? "Each dot is a test digit, at the place where the encoder put it." : "What the networks draw, everywhere.");
    wake();
  });
  new ResizeObserver(draw).observe(document.body);
  for (const map of maps) $(`of-${map.name}-is`).textContent = `${Math.round(100 * about.commonest_digit[map.name])} %`;
  invent();
  tell();
  if (!calm()) tour(true);
  return Object.assign(page, { ready: () => maps.every(map => map.row === map.tiles && map.picture) });
}

live(vaePage);
