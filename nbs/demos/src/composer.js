// The composer of chapter 19: a Transformer with relative positions goes on with four notes; a string lets one hear them, a roll shows them.

const BARS = { "4/4": 8, "3/4": 6 }, LOW = 57, HIGH = 81, EIGHTH = 1 / 6, RATE = 32000, LETTERS = "asdfghjkl";
const nameOf = pitch => "C.D.EF.G.A.B"[pitch % 12] + (Math.floor(pitch / 12) - 1);

// ---- The network

function erf(x) {        // Abramowitz and Stegun 7.1.26, to 1.5e-7
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  return Math.sign(x) * (1 - ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-x * x));
}

class RelativeLM {
  constructor(weights, heads = 4) {
    const layers = Object.keys(weights).filter(name => name.endsWith("distance")).length;
    Object.assign(this, { weights, heads, layers, width: weights["norm.weight"].length });
    this.start();
  }

  start() { this.caches = Array.from({ length: this.layers }, () => []); }

  // One more token: logits of the next. Keys and values of all tokens before are remembered
  step(id) {
    const { weights, heads, width } = this, size = width / heads, x = weights["embedding.weight"].slice(id * width, (id + 1) * width);
    this.caches.forEach((cache, layer) => {
      const of = name => weights[`layers.${layer}.${name}`], norm = k => layerNorm(x, 1, of(`norms.${k}.weight`), of(`norms.${k}.bias`));
      const y = norm(0), query = linear(y, 1, of("self_attention.query.weight")), both = linear(y, 1, of("self_attention.keys_values.weight"));
      const distance = of("self_attention.distance"), longest = distance.length / width, found = new Floats(width);
      cache.push({ key: both.slice(0, width), value: both.slice(width) });
      for (let h = 0; h < heads; h++) {
        const shares = softmax(Floats.from(cache, ({ key }, j) => {
          const far = (h * longest + longest - cache.length + j) * size;      // the vector of this head for "so many tokens ago"
          let sum = 0;
          for (let i = 0; i < size; i++) sum += query[h * size + i] * (key[h * size + i] + distance[far + i]);
          return sum / Math.sqrt(size);
        }));
        cache.forEach(({ value }, j) => { for (let i = h * size; i < (h + 1) * size; i++) found[i] += shares[j] * value[i]; });
      }
      add(x, linear(found, 1, of("self_attention.out.weight")));
      const wide = linear(norm(1), 1, of("network.0.weight"), of("network.0.bias")).map(value => value * (1 + erf(value / Math.SQRT2)) / 2);
      add(x, linear(wide, 1, of("network.2.weight"), of("network.2.bias")));
    });
    return linear(layerNorm(x, 1, weights["norm.weight"], weights["norm.bias"]), 1, weights["head.weight"]);
  }
}

// ---- Tunes: a word for each eighth, a note that begins or "-" for what goes on

// May this word stand at this eighth? No note crosses a bar line, and the end comes after eight bars
function isAllowed(word, time, metre) {
  if (time >= 8 * BARS[metre]) return word === "]";
  return word === "-" ? time % BARS[metre] > 0 : word === "z" || Number(word) > 0;
}

function notesOf(words) {
  const notes = [];
  words.forEach((word, at) => {
    if (word !== "-") notes.push({ pitch: word === "z" ? null : Number(word), at, length: 1 });
    else if (notes.length) notes[notes.length - 1].length++;
  });
  return notes;
}

function abcOf(words, metre) {
  const bar = BARS[metre], spell = ({ pitch, length }) => {
    const letter = pitch === null ? "z" : nameOf(pitch)[0];
    return (pitch >= 72 ? letter.toLowerCase() : letter + (pitch !== null && pitch < 60 ? "," : "")) + (length > 1 ? length : "");
  };
  const bars = Array.from({ length: Math.ceil(words.length / bar) }, (_, k) => notesOf(words.slice(k * bar, (k + 1) * bar)).map(spell).join(" "));
  return `X:1\nT:Four notes and what came of them\nM:${metre}\nL:1/8\nK:C\n${bars.slice(0, 4).join(" | ")} |\n${bars.slice(4).join(" | ")} |]`;
}

// A plucked string (Karplus and Strong 1983): noise goes round, and each turn is the mean of itself and its neighbour.
// A turn takes whole samples, so it is played at the speed that gives the right pitch
function pluck(pitch, seconds = 1.6) {
  const hertz = 440 * 2 ** ((pitch - 69) / 12), turn = Math.round(RATE / hertz), { uniform } = randomNumbers(pitch), sound = new Floats(Math.round(seconds * RATE));
  for (let k = 0; k < turn; k++) sound[k] = uniform() - 0.5;
  const mean = sound.reduce((sum, value) => sum + value) / turn;            // a mean would never be heard, and never die away
  for (let k = 0; k < turn; k++) sound[k] -= mean;
  for (let k = turn; k < sound.length; k++) sound[k] = 0.499 * (sound[k - turn] + (k > turn ? sound[k - turn - 1] : 0));
  return { sound, speed: hertz * (turn + 0.5) / RATE };
}

function composerPage(weights, about) {
  const model = new RelativeLM(weights), { vocabulary } = about, numbers = new Map(vocabulary.map((word, id) => [word, id])), random = randomNumbers(Date.now());
  const page = { model, pluck, metre: "4/4", given: [60, 64, 67, 72].map(pitch => ({ pitch, length: 2 })), words: [], left: 0, playing: null, sounds: true, audio: null };
  const canvas = $("stage"), context = canvas.getContext("2d"), strings = new Map(), total = () => 8 * BARS[page.metre];
  let then = false;      // whether it plays what it is writing

  // ---- Sound: nothing here is needed to see the tune

  function audio() {
    try {
      if (!page.audio) page.audio = new AudioContext();
      page.audio.resume();
    } catch { page.audio = null; }
    return page.audio;
  }

  function sound(pitch, wait, seconds) {
    const { audio } = page, begin = audio.currentTime + wait + 0.03, source = audio.createBufferSource(), gain = audio.createGain();
    if (!strings.has(pitch)) {
      const { sound, speed } = pluck(pitch), buffer = audio.createBuffer(1, sound.length, RATE);
      buffer.copyToChannel(sound, 0);
      strings.set(pitch, { buffer, speed });
    }
    source.buffer = strings.get(pitch).buffer;
    source.playbackRate.value = strings.get(pitch).speed;
    gain.gain.setValueAtTime(0.5, begin);
    gain.gain.setValueAtTime(0.5, begin + seconds);
    gain.gain.linearRampToValueAtTime(0, begin + seconds + 0.15);
    source.connect(gain).connect(audio.destination);
    source.start(begin);
    source.stop(begin + seconds + 0.2);
    return source;
  }

  function play(from) {
    stop();
    const heard = page.sounds && audio(), notes = notesOf(page.words).filter(({ pitch, at }) => pitch !== null && at >= from);
    page.playing = { from, started: now(), sources: heard ? notes.map(({ pitch, at, length }) => sound(pitch, (at - from) * EIGHTH, length * EIGHTH)) : [] };
    $("play").textContent = "Stop";
    if (page.sounds && !heard) say("This browser has no sound for this page. The roll shows what would be heard.");
    wake();
  }

  function stop() {
    if (page.playing) for (const source of page.playing.sources) source.stop();
    page.playing = null;
    $("play").textContent = "Play";
    draw();
  }

  const place = () => page.playing ? page.playing.from + (now() - page.playing.started) / 1000 / EIGHTH : -1;

  // ---- Writing

  function wordsGiven() {
    const words = [];
    for (const { pitch, length } of page.given) {
      const room = BARS[page.metre] - words.length % BARS[page.metre];        // a note ends at the bar line
      words.push(String(pitch), ...Array(Math.min(length, room) - 1).fill("-"));
    }
    return words;
  }

  function compose(aloud = true) {
    stop();
    then = aloud;
    model.start();
    page.words = wordsGiven();
    page.own = page.words.length;
    page.logits = [page.metre, ...page.words].map(word => model.step(numbers.get(word))).pop();
    page.left = total() - page.own;
    say("It goes on.");
    wake();
  }

  function write() {
    const temperature = Number($("temperature").value), chances = softmax(page.logits.map((logit, id) => isAllowed(vocabulary[id], page.words.length, page.metre) ? logit / temperature : -Infinity));
    let id = chances.length - 1, ball = random.uniform();
    for (let k = 0; k < chances.length; k++) if (chances[k] > 0) { id = k; if ((ball -= chances[k]) < 0) break; }
    page.words.push(vocabulary[id]);
    page.left--;
    if (page.left) page.logits = model.step(id); else finish();
  }

  function finish() {
    const bar = BARS[page.metre], part = k => page.words.slice(k * bar, (k + 2) * bar).join(), own = notesOf(page.words).filter(({ at, pitch }) => at >= page.own && pitch !== null).length;
    $("text").textContent = abcOf(page.words, page.metre);
    say(`Four notes are yours, ${own} are its own. Bars 5 and 6 ${part(4) === part(0) ? "are" : "differ from"} bars 1 and 2.`);
    if (then) play(page.own);
  }

  function give(pitch) {
    stop();
    if (page.given.length > 3) page.given = [];
    page.given.push({ pitch, length: Number($("length").value) });
    if (page.sounds && audio()) sound(pitch, 0, Number($("length").value) * EIGHTH);
    if (page.given.length > 3) return compose();
    Object.assign(page, { words: wordsGiven(), left: 0 });
    page.own = page.words.length;
    $("text").textContent = "";
    say(`${nameOf(pitch)}, and ${4 - page.given.length} more.`);
    draw();
  }

  // A frame: a little more of the tune is written; and the end, when the last note has rung
  const wake = animation(() => {
    for (let k = 0; k < (calm() ? page.left : 2) && page.left; k++) write();
    if (page.playing && place() > total() + 1) {
      stop();
      say("That was the tune. Another goes on differently from the same four notes.");
    }
    draw();
    return page.left > 0 || Boolean(page.playing);
  });

  // ---- The roll: time to the right, pitch upwards

  function draw() {
    const wide = canvas.width / total(), high = canvas.height / (HIGH - LOW + 2), at = calm() ? -1 : place();
    context.clearRect(0, 0, canvas.width, canvas.height);
    const box = (x, y, w, h, colour) => { context.fillStyle = colour; context.fillRect(x * wide, (HIGH + 0.5 - y) * high, w * wide, h * high); };
    for (let x = 0; x < total(); x += 2 * BARS[page.metre]) box(x, HIGH + 0.5, BARS[page.metre], HIGH - LOW + 2, "#141b23");
    for (let y = 60; y < HIGH; y += 12) box(0, y - 0.42, total(), 0.08, "#3a424b");
    for (const { pitch, at: begin, length } of notesOf(page.words)) if (pitch !== null) {
      const sounds = at >= begin && at < begin + length;
      box(begin + 0.06, pitch + 0.42, length - 0.16, 0.9, sounds ? "#ffffff" : begin < page.own ? "#8f99a3" : "#f0b45a");
    }
    if (at >= 0 && at <= total()) box(at, HIGH + 0.5, 0.12, HIGH - LOW + 2, "#7cc4ee");
  }

  function fit() {
    const width = canvas.parentElement.clientWidth;
    sharpen(canvas, width, width < 560 ? 200 : 260);
    draw();
  }

  // ---- Keys, buttons, fingers

  const white = Array.from({ length: HIGH - LOW + 1 }, (_, k) => LOW + k).filter(pitch => numbers.has(String(pitch))), lettered = white.filter(pitch => pitch >= 60);
  for (const pitch of white) {
    const key = document.createElement("button"), letter = LETTERS[lettered.indexOf(pitch)];
    key.type = "button";
    key.textContent = nameOf(pitch);
    if (letter) key.append(Object.assign(document.createElement("small"), { textContent: letter.toUpperCase() }));
    hear(key, "click", () => give(pitch));
    $("keys").append(key);
  }
  for (const where of [canvas, $("keys")]) hear(where, "keydown", event => {
    const pitch = lettered[LETTERS.indexOf(event.key.toLowerCase())];
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (pitch && event.key.length === 1) give(pitch);
    else if (where === canvas && (event.key === " " || event.key === "Enter")) { event.preventDefault(); $("play").click(); }
  });
  hear(canvas, "pointerdown", () => canvas.focus({ preventScroll: true }));
  hear($("play"), "click", () => {
    if (page.playing) { stop(); return say("Stopped."); }
    if (page.given.length < 4) return say(`It needs four notes. ${4 - page.given.length} more.`, true);
    if (!page.left) play(0);
  });
  hear($("another"), "click", () => page.given.length < 4 ? say(`It needs four notes. ${4 - page.given.length} more.`, true) : compose());
  hear($("metre"), "change", () => {
    page.metre = $("metre").value;
    if (page.given.length > 3) compose(false); else { page.words = wordsGiven(); page.own = page.words.length; draw(); }
  });
  hear($("temperature"), "input", () => { $("temperature-is").textContent = Number($("temperature").value).toFixed(2); });
  hear($("temperature"), "change", () => { if (page.given.length > 3) compose(false); });
  hear($("sound"), "click", () => {
    $("sound").setAttribute("aria-pressed", page.sounds = !page.sounds);
    const from = page.playing ? place() : -1;
    if (from >= 0) { stop(); play(Math.ceil(from)); }
    say(page.sounds ? "With sound." : "Without sound. The roll shows what would be heard.");
  });

  new ResizeObserver(fit).observe(canvas.parentElement);
  fit();
  compose(false);
  return Object.assign(page, { compose, give, play, stop, place, abcOf, notesOf, isAllowed, vocabulary, ready: () => !page.left && !page.playing });
}

live(composerPage);
