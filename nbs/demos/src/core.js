// What all live models share: reading weights, a little linear algebra, and a page that everybody can use.
"use strict";

const $ = id => document.getElementById(id);

// ---- Weights: a safetensors file, base64, in <script id="weights">. Half precision becomes 32 bits.

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function crc32(bytes) {
  const table = new Int32Array(256);
  for (let i = 0; i < 256; i++) {
    let c = i;
    for (let k = 0; k < 8; k++) c = c & 1 ? c >>> 1 ^ 0xedb88320 : c >>> 1;
    table[i] = c;
  }
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]) & 255] ^ crc >>> 8;
  return ~crc >>> 0;
}

function floatsOfHalves(halves) {
  const bits = new Uint32Array(halves.length), floats = new Float32Array(bits.buffer);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i], sign = (half & 0x8000) << 16, exponent = half >> 10 & 31, rest = half & 1023;
    if (exponent) bits[i] = sign | (exponent === 31 ? 0xff : exponent + 112) << 23 | rest << 13;
    else floats[i] = (sign ? -1 : 1) * rest * 2 ** -24;      // too small for an exponent
  }
  return floats;
}

// {name: Float32Array}, and what the file says about itself
function readWeights(bytes) {
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const about = JSON.parse(header.__metadata__.about), weights = {};
  if (crc32(bytes.subarray(8 + length)) !== about.crc32) throw new Error("wrong checksum");
  delete header.__metadata__;
  for (const [name, { dtype, data_offsets: [from, to] }] of Object.entries(header)) {
    const part = bytes.slice(8 + length + from, 8 + length + to).buffer;
    weights[name] = dtype === "F16" ? floatsOfHalves(new Uint16Array(part)) : dtype === "U8" ? new Uint8Array(part) : new Float32Array(part);
  }
  return { weights, about };
}

// ---- Mathematics: rows of numbers, one after the other, in Float32Arrays

// y = x Wᵀ + b; x has `rows` rows, W a row for each output, as in PyTorch. Four outputs at once read x only once.
function linear(x, rows, weight, bias) {
  const inputs = x.length / rows, outputs = weight.length / inputs, y = new Float32Array(rows * outputs);
  for (let r = 0; r < rows; r++) {
    const from = r * inputs, to = r * outputs;
    let o = 0;
    for (; o + 3 < outputs; o += 4) {
      let a = 0, b = 0, c = 0, d = 0, w = o * inputs;
      for (let i = from; i < from + inputs; i++, w++) {
        const value = x[i];
        a += value * weight[w];
        b += value * weight[w + inputs];
        c += value * weight[w + 2 * inputs];
        d += value * weight[w + 3 * inputs];
      }
      y[to + o] = a;
      y[to + o + 1] = b;
      y[to + o + 2] = c;
      y[to + o + 3] = d;
    }
    for (; o < outputs; o++) for (let i = 0; i < inputs; i++) y[to + o] += x[from + i] * weight[o * inputs + i];
  }
  if (bias) for (let k = 0; k < y.length; k++) y[k] += bias[k % outputs];
  return y;
}

// x += y
function add(x, y) {
  for (let k = 0; k < x.length; k++) x[k] += y[k];
}

function layerNorm(x, rows, weight, bias) {
  const width = weight.length, y = new Float32Array(x.length);
  for (let r = 0; r < rows; r++) {
    const row = x.subarray(r * width, (r + 1) * width);
    let mean = 0, variance = 0;
    for (let i = 0; i < width; i++) mean += row[i] / width;
    for (let i = 0; i < width; i++) variance += (row[i] - mean) * (row[i] - mean) / width;
    const scale = 1 / Math.sqrt(variance + 1e-5);
    for (let i = 0; i < width; i++) y[r * width + i] = (row[i] - mean) * scale * weight[i] + bias[i];
  }
  return y;
}

function relu(x) {
  for (let k = 0; k < x.length; k++) if (x[k] < 0) x[k] = 0;
  return x;
}

function softmax(scores) {
  let most = -Infinity, sum = 0;
  for (let i = 0; i < scores.length; i++) if (scores[i] > most) most = scores[i];
  for (let i = 0; i < scores.length; i++) sum += scores[i] = Math.exp(scores[i] - most);
  for (let i = 0; i < scores.length; i++) scores[i] /= sum;
  return scores;
}

// Maps are {x, channels, height, width}, with the channels of a pixel side by side.
// Their windows, a row each: [high·wide, kernel·kernel·channels]
function windows(maps, kernel, stride, top, left, high, wide) {
  const { x, channels, height, width } = maps, size = channels * kernel * kernel, rows = new Float32Array(high * wide * size);
  let to = 0;
  for (let i = 0; i < high; i++) for (let j = 0; j < wide; j++) for (let k = 0; k < kernel; k++) for (let l = 0; l < kernel; l++, to += channels) {
    const y = i * stride - top + k, z = j * stride - left + l;
    if (y < 0 || z < 0 || y >= height || z >= width) continue;
    for (let c = 0, from = (y * width + z) * channels; c < channels; c++) rows[to + c] = x[from + c];
  }
  return rows;
}

// Weights of a convolution, [outputs, channels, kernel·kernel] in PyTorch, in the order of these windows
function byPlace(weight, channels, places) {
  const y = new Float32Array(weight.length);
  let to = 0;
  for (let from = 0; from < weight.length; from += channels * places) for (let p = 0; p < places; p++) for (let c = 0; c < channels; c++) y[to++] = weight[from + c * places + p];
  return y;
}

function convolve(maps, layer, kernel, stride = 1, padding = kernel >> 1) {
  const [height, width] = [maps.height, maps.width].map(side => Math.floor((side + 2 * padding - kernel) / stride) + 1);
  const x = linear(windows(maps, kernel, stride, padding, padding, height, width), height * width, layer.weight, layer.bias);
  return { x, channels: layer.bias.length, height, width };
}

// A layer and the batch norm after it, which in evaluation only stretches and moves its outputs, as one layer
function fold(weights, layer, norm, share = 1) {
  const of = name => weights[`${norm}.${name}`], old = weights[layer + ".bias"], channels = of("weight").length, outputs = channels * share;
  const weight = weights[layer + ".weight"].slice(), inputs = weight.length / outputs, bias = new Float32Array(outputs);
  for (let o = 0; o < outputs; o++) {
    const c = Math.floor(o / share), scale = of("weight")[c] / Math.sqrt(of("running_var")[c] + 1e-5);
    for (let i = 0; i < inputs; i++) weight[o * inputs + i] *= scale;
    bias[o] = of("bias")[c] + ((old ? old[o] : 0) - of("running_mean")[c]) * scale;
  }
  return { weight, bias };
}

// Random numbers that a seed repeats (mulberry32), and normal ones of them (Box and Muller)
function randomNumbers(seed) {
  const uniform = () => {
    seed = seed + 0x6d2b79f5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal, normals: count => Float32Array.from({ length: count }, normal) };
}

// ---- The page

// One sentence for everybody: shown, and read out by a screen reader
function say(sentence, wrong = false) {
  if ($("status").textContent !== sentence) $("status").textContent = sentence;
  $("status").classList.toggle("wrong", wrong);
  return !wrong;
}

// A fault: the sentence stands where the picture would have been
function fail(sentence) {
  document.body.classList.add("failed");
  say(sentence, true);
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Dark or light as the site, JupyterLab or Colab around this page is, or else as the system is
function followTheme() {
  let host = null;
  try { if (parent !== window) host = parent.document; } catch { /* another origin */ }
  const system = matchMedia("(prefers-color-scheme: dark)");
  const look = () => {
    const body = host && host.body, says = host && host.documentElement.getAttribute("theme");
    const dark = body && body.classList.contains("quarto-dark") || body && body.dataset.jpThemeLight === "false" || says === "dark";
    const light = body && body.classList.contains("quarto-light") || body && body.dataset.jpThemeLight === "true" || says === "light";
    document.documentElement.dataset.theme = dark || !light && system.matches ? "dark" : "light";
  };
  system.addEventListener("change", look);
  if (host && host.body) for (const place of [host.body, host.documentElement]) new MutationObserver(look).observe(place, { attributes: true });
  look();
  // inside a page of ours, the frame is as high as what is in it
  let frame = null;
  try { frame = window.frameElement; } catch { /* another origin */ }
  if (!frame) return;
  document.documentElement.classList.add("framed");
  new ResizeObserver(() => { frame.style.height = Math.ceil(document.body.getBoundingClientRect().height) + "px"; }).observe(document.body);
}

// A canvas as sharp as the screen: gives the number of its pixels to one of the page
function sharpen(canvas, width, height, most = 2) {
  const ratio = Math.min(devicePixelRatio || 1, most), w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  canvas.style.height = height + "px";
  return ratio;
}

// Calls frame(seconds since the last one) while it answers true; wake it with the function that this gives back
function animation(frame) {
  let running = false, last = 0;
  const step = now => {
    const seconds = Math.min((now - last) / 1000, 0.05);
    last = now;
    running = frame(seconds);
    if (running) requestAnimationFrame(step);
  };
  return () => {
    if (running) return;
    running = true;
    requestAnimationFrame(now => { last = now - 16; step(now); });
  };
}

// Pixels [-1, 1] of a picture, white ink on a ground that stays clear, as a small canvas that can be drawn at any size
function pictureOf(pixels, side, canvas = document.createElement("canvas")) {
  canvas.width = canvas.height = side;
  const image = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) image.data.set([255, 255, 255, (pixels[i] + 1) * 127.5], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// ---- Drawing with a pen: strokes are lists of points [x, y], from 0 to 1

function trace(context, strokes, width, scale = 1, left = 0, top = 0) {
  Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    const at = k => [stroke[k][0] * scale + left, stroke[k][1] * scale + top];
    context.beginPath();
    context.moveTo(...at(0));
    for (let k = 1; k < stroke.length - 1; k++) context.quadraticCurveTo(...at(k), (at(k)[0] + at(k + 1)[0]) / 2, (at(k)[1] + at(k + 1)[1]) / 2);
    context.lineTo(...at(stroke.length - 1));
    context.stroke();
  }
}

// Strokes as 28 × 28 pixels in [-1, 1], as MNIST was made: 20 pixels high or wide, the centre of mass in the middle
function pixelsOf(strokes) {
  const xs = strokes.flat().map(point => point[0]), ys = strokes.flat().map(point => point[1]), fine = 4, side = 28 * fine, canvas = document.createElement("canvas");
  const scale = 17.5 / Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys), 0.12), context = canvas.getContext("2d", { willReadFrequently: true });
  let left = 14 - scale * (Math.max(...xs) + Math.min(...xs)) / 2, top = 14 - scale * (Math.max(...ys) + Math.min(...ys)) / 2;
  canvas.width = canvas.height = side;
  for (let turn = 0; ; turn++) {
    context.clearRect(0, 0, side, side);
    trace(context, strokes, 2.5 * fine, scale * fine, left * fine, top * fine);
    const data = context.getImageData(0, 0, side, side).data, pixels = new Float32Array(784).fill(-1);
    for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) pixels[(i / fine | 0) * 28 + (j / fine | 0)] += 2 * data[4 * (i * side + j) + 3] / 255 / fine ** 2;
    if (turn) return { pixels, scale, left, top };
    let mass = 0, x = 0, y = 0;
    pixels.forEach((value, k) => { mass += value + 1; x += (value + 1) * (k % 28 + 0.5); y += (value + 1) * ((k / 28 | 0) + 0.5); });
    left += 14 - x / mass;
    top += 14 - y / mass;
  }
}

// Calls begin, more and end for what a finger, a mouse, or arrow keys and the space bar draw on a canvas while on() is true;
// gives back {at, down}, where the pen of the keys stands
function pen(canvas, { begin, more, end, on = () => true }) {
  const keys = { at: null, down: false }, near = value => Math.max(0.02, Math.min(0.98, value));
  let held = false;
  const point = event => { const box = canvas.getBoundingClientRect(); return [near((event.clientX - box.left) / box.width), near((event.clientY - box.top) / box.height)]; };
  canvas.addEventListener("pointerdown", event => {
    if (!on()) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    held = true;
    begin(point(event));
  });
  canvas.addEventListener("pointermove", event => { if (held) for (const each of event.getCoalescedEvents ? event.getCoalescedEvents() : [event]) more(point(each)); });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { if (held) { held = false; end(); } });
  canvas.addEventListener("keydown", event => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!on() || !way && event.key !== " ") return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect(), step = 0.05 * Math.min(box.width, box.height);
    keys.at ||= [0.5, 0.2];
    if (way) {
      keys.at = [near(keys.at[0] + step / box.width * way[0]), near(keys.at[1] + step / box.height * way[1])];
      if (keys.down) more(keys.at); else say("The pen moves. The space bar puts it down.");
    } else if (keys.down = !keys.down) {
      begin(keys.at);
      say("The pen is down.");
    } else end();
  });
  canvas.addEventListener("blur", () => { if (keys.down) end(); Object.assign(keys, { at: null, down: false }); });
  return keys;
}

// Reads the weights, then runs the page; whatever goes wrong becomes a sentence
function live(page) {
  addEventListener("error", event => /^ResizeObserver/.test(event.message) || fail("Something went wrong on this page. Loading it again may help; if not, please report it."));
  try {
    const context = document.createElement("canvas").getContext("2d");
    if (!context || !window.ResizeObserver || !window.TextDecoder) throw 0;
    followTheme();
  } catch { return fail("This browser lacks a function that the page needs. A newer one will show it."); }
  let read;
  try { read = readWeights(bytesOf($("weights").textContent)); }
  catch { return fail("The weights of this model are missing or damaged. Loading the page again may help."); }
  window.page = page(read.weights, read.about);
}
