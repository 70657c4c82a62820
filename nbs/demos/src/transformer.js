// The language model of chapter 06a: a Transformer over characters, which reads one and remembers keys and values.

function erf(x) {        // Abramowitz and Stegun 7.1.26, to 1.5e-7
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  return Math.sign(x) * (1 - ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-x * x));
}
const gelu = x => x.map(value => value * (1 + erf(value / Math.SQRT2)) / 2);

class Transformer {
  constructor(weights, settings) {
    Object.assign(this, { heads: 4, weights }, settings);
    this.kernel = weights["causal_conv.weight"].length / this.width;
    this.start();
  }

  start() {
    this.read = 0;
    this.past = [];                                                       // embeddings of the last few characters
    this.caches = Array.from({ length: this.layers }, () => []);         // a key and a value for each character still in sight
  }

  // A query or a key at its position: pair (i, i + D/2) of each head is turned
  rotate(x) {
    const size = this.width / this.heads, half = size / 2;
    for (let h = 0; h < this.width; h += size) for (let i = 0; i < half; i++) {
      const angle = this.read * 10000 ** (-i / half), cos = Math.cos(angle), sin = Math.sin(angle), a = x[h + i], b = x[h + i + half];
      x[h + i] = a * cos - b * sin;
      x[h + i + half] = a * sin + b * cos;
    }
    return x;
  }

  // One more character: logits of the next, and where each head of each layer looked (the oldest position first)
  step(id) {
    const { width, heads, weights, context } = this, size = width / heads, looks = [];
    const embedding = weights["embedding.weight"].slice(id * width, (id + 1) * width), x = embedding.slice();
    for (let ago = 1; ago <= Math.min(this.kernel, this.past.length); ago++) {
      const before = this.past[this.past.length - ago];
      for (let i = 0; i < width; i++) x[i] += weights["causal_conv.weight"][(ago - 1) * width + i] * before[i];
    }
    this.past = [...this.past.slice(-this.kernel + 1), embedding];
    this.caches.forEach((cache, layer) => {
      const part = name => weights[`blocks.${layer}.${name}.weight`], norm = name => layerNorm(x, 1, part(name), weights[`blocks.${layer}.${name}.bias`]);
      const qkv = linear(norm("norm1"), 1, part("attention.qkv")), query = this.rotate(qkv.slice(0, width)), found = new Float32Array(width);
      cache.push({ key: this.rotate(qkv.slice(width, 2 * width)), value: qkv.slice(2 * width) });
      if (cache.length > context) cache.shift();
      for (let h = 0; h < width; h += size) {
        const shares = softmax(Float32Array.from(cache, ({ key }) => {
          let sum = 0;
          for (let i = h; i < h + size; i++) sum += query[i] * key[i];
          return sum / Math.sqrt(size);
        }));
        cache.forEach(({ value }, k) => { for (let i = h; i < h + size; i++) found[i] += shares[k] * value[i]; });
        looks.push(shares);
      }
      add(x, linear(found, 1, part("attention.out")));
      add(x, linear(gelu(linear(norm("norm2"), 1, part("network.0"))), 1, part("network.2")));
    });
    this.read++;
    return { logits: linear(layerNorm(x, 1, weights["norm.weight"], weights["norm.bias"]), 1, weights["head.weight"]), looks };
  }
}

// What the next character is drawn from: temperature first, then the fewest that together reach top-p
function chances(logits, temperature, top) {
  const most = Math.max(...logits), all = softmax(logits.map(logit => (logit - most) / temperature));
  if (top >= 1) return all;
  let before = 0;
  for (const k of [...all.keys()].sort((a, b) => all[b] - all[a])) {
    const own = all[k];
    if (before >= top) all[k] = 0;
    before += own;
  }
  const kept = all.reduce((sum, value) => sum + value, 0);
  return all.map(value => value / kept);
}

function transformerPage(weights, about) {
  const model = new Transformer(weights, about.settings), vocabulary = about.vocabulary, ids = new Map([...vocabulary].map((letter, id) => [letter, id])), random = randomNumbers(Date.now());
  const page = { model, vocabulary, letters: [], at: null, left: 0, follow: true }, box = $("text"), most = 3000;
  const shown = letter => letter === "\n" ? "↵" : letter === " " ? "␣" : letter;
  for (let k = 0; k < model.layers * model.heads; k++) $("head").append(new Option(`layer ${Math.floor(k / model.heads) + 1}, head ${k % model.heads + 1}`, k));
  $("head").value = 5;          // in the second layer the one that looks furthest back

  // A letter that stands there now; `from` is what the model said before it
  function put(letter, own) {
    const span = document.createElement("span"), before = page.letters[page.letters.length - 1];
    span.textContent = letter;
    if (own) span.className = "own";
    span.dataset.k = page.letters.length;
    box.append(span);
    page.letters.push({ letter, span, own, from: before && before.said, said: model.step(ids.get(letter)) });
  }

  const settings = () => [Number($("temperature").value), Number($("top").value)];

  function write() {
    const share = chances(page.letters[page.letters.length - 1].said.logits, ...settings());
    let rest = random.uniform(), id = share.length - 1;
    for (let k = 0; k < share.length; k++) if (share[k] > 0) { id = k; if ((rest -= share[k]) < 0) break; }
    put([...vocabulary][id], true);
  }

  // The prompt read anew; false, with a sentence, where that cannot be
  function begin() {
    const text = $("prompt").value, strange = [...text].find(letter => !ids.has(letter));
    if (!text.trim()) return say("Type how it should begin: a word is enough.", true);
    if (strange) return say(`“${strange}” is not among the ${vocabulary.length} characters that it has read. Python's reference is in English.`, true);
    model.start();
    Object.assign(page, { letters: [], at: null, follow: true });
    box.textContent = "";
    for (const letter of text) put(letter, false);
    return true;
  }

  function goOn(count) {
    if (page.letters.length + count > most) return say(`The sheet is full at ${most} letters. Write begins a new one.`, true);
    page.left = count;
    say("It writes.");
    wake();
  }

  const wake = animation(() => {
    for (let k = 0; k < (calm() ? page.left : 1) && page.left > 0; k++, page.left--) write();
    if (page.follow) box.scrollTop = box.scrollHeight;
    if (page.left) return true;
    choose(page.letters.length - 1, false);
    say(`${page.letters.filter(each => each.own).length} letters of its own. Tap one to see where the chosen head looked.`);
    return false;
  });

  // Where the head looked when the letter was written: at what stood before it
  function choose(k, aloud = true) {
    for (const each of page.lit || []) each.span.style.background = "";
    if (page.at !== null && page.letters[page.at]) page.letters[page.at].span.classList.remove("at");
    page.at = k;
    const letter = page.letters[k], { from } = letter;
    letter.span.classList.add("at");
    if (!from) { page.lit = []; $("chances").textContent = ""; if (aloud) say("Nothing stands before the first letter."); return; }
    const look = from.looks[Number($("head").value)], first = k - look.length;
    page.lit = page.letters.slice(first, k);
    look.forEach((share, j) => { page.letters[first + j].span.style.background = `rgba(86, 180, 233, ${Math.min(1, 0.03 + share ** 0.7)})`; });
    const share = chances(from.logits, ...settings()), names = [...vocabulary], order = [...share.keys()].sort((a, b) => share[b] - share[a]).slice(0, 6).filter(id => share[id] > 0.005);
    $("chances").replaceChildren(...order.map(id => {
      const item = document.createElement("li"), name = document.createElement("b");
      name.textContent = shown(names[id]);
      item.append(name, ` ${Math.round(100 * share[id])} %`);
      return item;
    }));
    if (!aloud) return;
    const best = look.indexOf(Math.max(...look));
    say(`For “${shown(letter.letter)}” this head looked most (${Math.round(100 * look[best])} %) at “${shown(page.letters[first + best].letter)}”, ${look.length - best === 1 ? "just before it" : `${look.length - best} letters back`}.`);
  }

  box.addEventListener("click", event => { if (event.target.dataset.k && !page.left) choose(Number(event.target.dataset.k)); });
  box.addEventListener("pointerover", event => { if (event.target.dataset.k && !page.left && event.pointerType === "mouse") choose(Number(event.target.dataset.k), false); });
  box.addEventListener("keydown", event => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || page.left || page.at === null) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(page.letters.length - 1, page.at + way)));
    page.letters[page.at].span.scrollIntoView({ block: "nearest" });
  });
  box.addEventListener("wheel", () => { page.follow = false; }, { passive: true });

  let pause = 0;
  $("prompt").addEventListener("input", () => {
    clearTimeout(pause);
    page.left = 0;
    pause = setTimeout(() => { if (begin()) goOn(400); }, 700);
  });
  $("prompt").addEventListener("keydown", event => { if (event.key === "Enter") $("again").click(); });
  $("again").addEventListener("click", () => { clearTimeout(pause); if (begin()) goOn(400); });
  $("more").addEventListener("click", () => { clearTimeout(pause); if (page.letters.length || begin()) goOn(400); });
  for (const [name, shows] of [["temperature", "temperature-is"], ["top", "top-is"]]) $(name).addEventListener("input", () => {
    $(shows).textContent = Number($(name).value).toFixed(2);
    if (page.at !== null) choose(page.at, false);
  });
  $("head").addEventListener("change", () => { if (page.at !== null) choose(page.at); });

  if (begin()) goOn(400);
  return Object.assign(page, { begin, chances, choose, ready: () => page.left === 0 && page.letters.length > 0 });
}

live(transformerPage);
