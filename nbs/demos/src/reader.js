// The reader of digits that the course judges with (chapter 10a), made of the convolutions and batch norms of chapter 04a.

class DigitReader {
  constructor(weights) {
    this.body = [[0, 5, 2], [1, 3, 1], [3, 3, 1], [4, 3, 1]].map(([k, kernel, stride]) => {
      const layer = fold(weights, `body.${k}.0`, `body.${k}.1`), places = kernel ** 2;
      return { layer: { ...layer, weight: byPlace(layer.weight, layer.weight.length / layer.bias.length / places, places) }, kernel, stride, pool: k === 1 };
    });
    this.head = { weight: weights["head.weight"], bias: weights["head.bias"] };
  }

  // 28 × 28 pixels in [-1, 1] to ten logits
  read(pixels) {
    let maps = { x: pixels, channels: 1, height: 28, width: 28 };
    for (const { layer, kernel, stride, pool } of this.body) {
      maps = convolve(maps, layer, kernel, stride);
      relu(maps.x);
      if (pool) maps = this.halve(maps);
    }
    const { x, channels, height, width } = maps, mean = new Float32Array(channels);
    for (let k = 0; k < x.length; k++) mean[k % channels] += x[k] / (height * width);
    return linear(mean, 1, this.head.weight, this.head.bias);
  }

  // The largest of each two by two
  halve({ x, channels, height, width }) {
    const half = { x: new Float32Array(x.length / 4), channels, height: height / 2, width: width / 2 };
    for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) for (let c = 0; c < channels; c++) {
      const to = ((i >> 1) * half.width + (j >> 1)) * channels + c;
      half.x[to] = Math.max(half.x[to], x[(i * width + j) * channels + c]);       // never below 0, after a ReLU
    }
    return half;
  }
}

// How sure: the logarithm of the odds of each class against all others together
function logOdds(logits) {
  return logits.map((logit, c) => {
    let most = -Infinity, sum = 0;
    logits.forEach((other, k) => { if (k !== c) most = Math.max(most, other); });
    logits.forEach((other, k) => { if (k !== c) sum += Math.exp(other - most); });
    return logit - most - Math.log(sum);
  });
}

// A digit as a hand might draw it: strokes of points (x, y), each from 0 to 9
const STROKES = ["51 31 13 16 28 49 68 76 73 61 41", "33 52 51 55 59", "23 31 51 63 54 36 18 38 78", "21 51 63 44 34 44 65 67 49 28", "42 34 25 75 85/63 66 69", "71 31 24 44 65 67 49 28",
                 "61 43 25 27 49 68 66 45 27", "21 51 71 63 46 39", "62 41 23 44 65 67 48 27 25 44 62", "72 51 32 34 45 64 72 75 69"];

function readerPage(weights) {
  const model = new DigitReader(weights), random = randomNumbers(Date.now()), paper = $("paper"), seen = $("seen");
  const page = { model, strokes: [], pen: null, asked: null, pixels: null, spots: [], script: [], lit: [] }, buttons = [];

  for (let digit = 0; digit < 10; digit++) {
    const button = document.createElement("button");
    button.type = "button";
    button.innerHTML = `<i></i><span>${digit}</span><span class="sure">–</span>`;
    button.addEventListener("click", () => { page.asked = digit; mark(); show(); if (page.logits) say(digit === page.answer ? `What speaks for a ${digit}: the blue ink.` : `Why not a ${digit}? The orange ink speaks against it.`); });
    $("classes").append(button);
    buttons.push(button);
  }
  const mark = () => buttons.forEach((button, digit) => button.setAttribute("aria-pressed", digit === page.asked));

  // ---- Reading, and then covering one spot after the other

  function read() {
    page.pixels = pixelsOf(page.strokes).pixels;
    page.logits = model.read(page.pixels);
    page.sure = softmax(page.logits.slice());
    page.answer = page.sure.indexOf(Math.max(...page.sure));
    page.odds = logOdds(page.logits);
    page.asked = page.answer;
    page.spots = [];
    for (let i = 1; i < 28; i += 2) for (let j = 1; j < 28; j += 2) if (around(i, j).some(k => page.pixels[k] > -0.9)) page.spots.push({ i, j });
    buttons.forEach((button, digit) => {
      const share = page.sure[digit];
      button.children[0].style.height = `${100 * share}%`;
      button.children[2].textContent = share < 0.005 ? "–" : share > 0.995 ? "> 99 %" : `${Math.round(100 * share)} %`;
      button.setAttribute("aria-label", `${digit}: ${Math.round(100 * share)} percent`);
    });
    mark();
  }

  function around(i, j, reach = 2) {
    const places = [];
    for (let y = Math.max(0, i - reach); y <= Math.min(27, i + reach); y++) for (let x = Math.max(0, j - reach); x <= Math.min(27, j + reach); x++) places.push(y * 28 + x);
    return places;
  }

  // What the log-odds lose, class by class, when a spot is covered
  function cover(spot) {
    const covered = page.pixels.slice();
    for (const k of around(spot.i, spot.j)) covered[k] = -1;
    const odds = logOdds(model.read(covered));
    spot.loss = page.odds.map((value, c) => value - odds[c]);
  }

  function announce() {
    const order = [...page.sure.keys()].sort((a, b) => page.sure[b] - page.sure[a]), percent = c => page.sure[c] > 0.995 ? "over 99 %" : `${Math.round(100 * page.sure[c])} %`;
    const [first, second] = order, article = c => (c === 8 ? "an " : "a ") + c;
    say(page.sure[first] > 0.8 ? `It reads ${article(first)}, ${percent(first)} sure.` : `It is not sure: ${article(first)} (${percent(first)}), or ${article(second)} (${percent(second)})?`);
  }

  // ---- Pictures

  function show() {
    const width = Math.min(seen.parentElement.clientWidth / 2 - 7, 420), ratio = sharpen(seen, width, width), context = seen.getContext("2d"), size = width * ratio, step = size / 28;
    context.clearRect(0, 0, size, size);
    if (page.pixels) {
      const heat = new Float32Array(784), count = new Float32Array(784);
      for (const spot of page.spots) if (spot.loss) for (const k of around(spot.i, spot.j)) { heat[k] += spot.loss[page.asked]; count[k]++; }
      const most = Math.max(1e-6, ...heat.map((sum, k) => Math.abs(sum) / Math.max(count[k], 1)));
      page.heat = heat.map((sum, k) => sum / Math.max(count[k], 1) / most);
      page.pixels.forEach((value, k) => {
        const ink = (value + 1) / 2, warmth = Math.min(1, Math.abs(page.heat[k]) * 1.2), hue = page.heat[k] > 0 ? [64, 160, 255] : [255, 130, 50];
        if (ink < 0.02) return;
        context.fillStyle = `rgba(${hue.map(c => Math.round(255 + warmth * (c - 255)))}, ${ink})`;
        context.fillRect(k % 28 * step, (k / 28 | 0) * step, step + 0.5, step + 0.5);
      });
    }
    const high = Math.min(paper.parentElement.clientWidth / 2 - 7, 420), fine = sharpen(paper, high, high), drawing = paper.getContext("2d");
    drawing.clearRect(0, 0, paper.width, paper.height);
    drawing.shadowColor = "#7cc4ee";
    drawing.shadowBlur = 10 * fine;
    drawing.strokeStyle = "#ffffff";
    trace(drawing, page.strokes, 0.07 * paper.width, paper.width);
    drawing.shadowBlur = 0;
    if (keys.at) {
      drawing.strokeStyle = keys.down ? "#ffb86b" : "#9aa5b1";
      drawing.lineWidth = 2 * fine;
      drawing.beginPath();
      drawing.arc(keys.at[0] * paper.width, keys.at[1] * paper.width, 9 * fine, 0, 7);
      drawing.stroke();
    }
  }

  const wake = animation(() => {
    if (page.script.length) {                     // a digit that draws itself
      for (let k = 0; k < (calm() ? 1e6 : 2) && page.script.length; k++) {
        const next = page.script.shift();
        if (next === null) page.strokes.push([]); else page.strokes[page.strokes.length - 1].push(next);
      }
      if (page.strokes[page.strokes.length - 1].length > 1) read();
      if (!page.script.length) announce();
      show();
      return true;
    }
    const began = performance.now();
    if (page.pen && page.fresh && began > (page.rest || 0)) {       // on a slow machine the pen comes first
      page.fresh = false;
      read();
      page.rest = performance.now() + 2 * (performance.now() - began);
    }
    const until = began + 7;
    let open = page.pen ? null : page.spots.find(spot => !spot.loss);
    for (; open && performance.now() < until; open = page.spots.find(spot => !spot.loss)) cover(open);
    show();
    return Boolean(open) && !page.pen;
  });

  // ---- The pen

  const keys = pen(paper, {
    begin(at) {
      if (page.finished) Object.assign(page, { strokes: [], finished: false });
      page.script = [];
      page.pen = [at, [at[0] + 0.002, at[1]]];
      page.strokes.push(page.pen);
      show();
    },
    more(at) {
      page.pen.push(at);
      page.fresh = true;                          // it is read once a frame, however many points came
      wake();
    },
    end() {
      page.pen = null;
      read();
      announce();
      wake();
    },
  });

  function clear() {
    Object.assign(page, { strokes: [], pen: null, pixels: null, logits: null, asked: null, spots: [], script: [], finished: false });
    buttons.forEach((button, digit) => { button.children[0].style.height = 0; button.children[2].textContent = "–"; button.setAttribute("aria-label", `${digit}`); });
    mark();
    show();
  }

  function example(digit = Math.floor(10 * random.uniform())) {
    clear();
    const lean = 0.3 * (random.uniform() - 0.6), wide = 0.9 + 0.3 * random.uniform();
    const points = STROKES[digit].split("/").map(stroke => stroke.split(" ").map(pair => {
      const x = (Number(pair[0]) / 10 - 0.45) * wide + 0.02 * random.normal(), y = Number(pair[1]) / 10 - 0.5 + 0.015 * random.normal();
      return [0.5 + 0.85 * (x - lean * y), 0.5 + 0.85 * y];
    }));
    // in small steps along the same curve as `trace`
    for (const stroke of points) {
      page.script.push(null);
      const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], last = stroke.length - 1;
      let from = stroke[0];
      for (let k = 1; k <= last; k++) {
        const to = k < last - 1 ? middle(stroke[k], stroke[k + 1]) : stroke[Math.min(k + 1, last)], by = stroke[k];
        for (let s = 1; s <= 8; s++) { const t = s / 8; page.script.push([0, 1].map(a => (1 - t) ** 2 * from[a] + 2 * t * (1 - t) * by[a] + t * t * to[a])); }
        from = to;
        if (k >= last - 1) break;
      }
    }
    page.finished = true;
    wake();
  }

  $("clear").addEventListener("click", () => { clear(); say("A clean sheet: draw a digit."); });
  $("example").addEventListener("click", () => example());
  new ResizeObserver(show).observe(paper.parentElement);
  say("A digit draws itself. Then it is your turn: draw over it.");
  example(Math.floor(2 + 8 * random.uniform()));
  return Object.assign(page, { example, ready: () => !page.script.length && page.logits && page.spots.every(spot => spot.loss) });
}

live(readerPage);
