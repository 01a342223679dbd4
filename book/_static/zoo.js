// the zoo in the page: `sd` paints, the world's reader looks, `clip` ranks. touch.js loads this file where a page has
// such a place; the models and their runtime come with the first click, as scripts, so that a page opened as a file
// works, too. Nothing is sent anywhere
(() => {
  const { make, labelled, choice, said, home, add } = window.dlcvTouch;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const given = {};
  window.dlcvZoo = { take(name, all) { given[name] = all; } };

  // --- what is loaded, once each
  const once = (get) => { const kept = {}; return (name) => (kept[name] ??= get(name).catch((error) => { delete kept[name]; throw error; })); };
  const script = once((place) => new Promise((done, failed) => {
    const node = make("script", { src: new URL(place, home).href });
    node.onload = done;
    node.onerror = () => { node.remove(); failed(Object.assign(new Error("The models do not lie beside this copy of the book: it was built without the libraries that export them."), { missing: true })); };
    document.head.append(node);
  }));
  const bytes = (text) => { const raw = atob(text), out = new Uint8Array(raw.length); for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i); return out; };
  const unpacked = async (text) => new Uint8Array(await new Response(new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
  const runtime = once(async () => {
    const vendor = "vendor/onnxruntime";
    await Promise.all([script(`${vendor}/ort.wasm.min.js`), script(`${vendor}/runtime.js`)]);
    const { wasm, mjs } = given.onnxruntime.parts, { env } = window.ort;
    env.wasm.numThreads = 1; // more want workers and headers that a file does not have
    env.wasm.wasmBinary = await unpacked(wasm);
    env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([await unpacked(mjs)], { type: "text/javascript" })) }; // is imported all the same
    return window.ort;
  });
  const model = once(async (name) => {
    const [ort] = await Promise.all([runtime("ort"), script(`zoo/${name}.js`)]);
    const { told, parts } = given[name], files = {}, sessions = {};
    for (const [key, text] of Object.entries(parts)) { files[key] = await unpacked(text); sessions[key] = await ort.InferenceSession.create(files[key]); }
    delete given[name];
    return { ort, told, files, sessions };
  });
  const joined = (parts) => { const all = new Float32Array(parts.length * parts[0].length); parts.forEach((part, i) => all.set(part, i * part.length)); return all; };
  const floats = (ort, values, ...shape) => new ort.Tensor("float32", values, shape);

  // --- words: lower case, every match a word; a word that the model never saw is an error, as it would guess
  const cut = (tokens, text) => text.toLowerCase().match(new RegExp(tokens.pieces, "g")) ?? [];
  const encode = (tokens, text) => {
    const known = (tokens.known ??= new Map(tokens.words.map((word, id) => [word, id]))), words = cut(tokens, text);
    const strange = words.filter((word) => !known.has(word) || word.startsWith("<"));
    if (strange.length) throw new Error(`This model has never seen ${strange.map((word) => `“${word}”`).join(", ")}.${nearest(tokens, strange[0])}`);
    if (words.length > tokens.length - 2) throw new Error(`At most ${tokens.length - 2} words; these are ${words.length}.`);
    const ids = [tokens.start, ...words.map((word) => known.get(word)), tokens.end];
    return BigInt64Array.from({ length: tokens.length }, (_, i) => BigInt(ids[i] ?? tokens.pad));
  };
  const distance = (a, b) => {
    let row = Array.from({ length: b.length + 1 }, (_, j) => j);
    for (let i = 1; i <= a.length; i++) row = row.reduce((next, _, j) => { next.push(j ? Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] !== b[j - 1])) : i); return next; }, []);
    return row.at(-1);
  };
  const nearest = (tokens, word) => {
    const close = tokens.words.filter((each) => /^[a-z]/.test(each) && distance(each, word) <= Math.max(1, word.length / 3)).sort((a, b) => distance(a, word) - distance(b, word));
    return close.length ? ` Did you mean “${close[0]}”?` : "";
  };

  // --- torch's own generator: the page paints what torch.Generator().manual_seed(seed) makes the pipeline paint
  function normal(seed, count) {
    const state = new Uint32Array(624), out = new Float32Array(count);
    state[0] = seed;
    for (let i = 1; i < 624; i++) { const last = state[i - 1] ^ (state[i - 1] >>> 30); state[i] = Math.imul(1812433253, last) + i; }
    let at = 624;
    const draw = () => { // a Mersenne twister
      if (at === 624) {
        for (let k = 0; k < 624; k++) {
          const y = (state[k] & 0x80000000) | (state[(k + 1) % 624] & 0x7fffffff);
          state[k] = state[(k + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
        }
        at = 0;
      }
      let y = state[at++];
      y ^= y >>> 11; y ^= (y << 7) & 0x9d2c5680; y ^= (y << 15) & 0xefc60000; y ^= y >>> 18;
      return (y & 0xffffff) / 2 ** 24;
    };
    const uniform = Float64Array.from({ length: count }, draw);
    for (let start = 0; start < count; start += 16) for (let j = start; j < start + 8; j++) { // Box and Muller, in sixteens
      const radius = Math.sqrt(-2 * Math.log(1 - uniform[j])), angle = 2 * Math.PI * uniform[j + 8];
      out[j] = radius * Math.cos(angle); out[j + 8] = radius * Math.sin(angle);
    }
    return out;
  }

  // --- DDIM without noise of its own (eta = 0), "leading" times, as the pipeline's scheduler has it
  const times = (schedule, steps) => Array.from({ length: steps }, (_, k) => (steps - 1 - k) * Math.floor(schedule.kept.length / steps) + schedule.offset);
  function denoised(schedule, steps, time, x, noise) {
    const before = time - Math.floor(schedule.kept.length / steps);
    const now = schedule.kept[time], next = before >= 0 ? schedule.kept[before] : schedule.last;
    return x.map((value, i) => Math.sqrt(next) * ((value - Math.sqrt(1 - now) * noise[i]) / Math.sqrt(now)) + Math.sqrt(1 - next) * noise[i]);
  }
  // one step of one U-Net; with guidance above 1 it is asked twice, without the prompt and with it
  async function predicted({ ort, told }, unet, x, time, states, guidance) {
    const twice = guidance > 1, [, words, width] = states.dims, [channels, height, across] = told.latents;
    const rows = twice ? 2 : 1, both = twice ? joined([x, x]) : x;
    const asked = twice ? states.data : states.data.slice(words * width);
    const { noise } = await unet.run({ latents: floats(ort, both, rows, channels, height, across), time: new ort.Tensor("int64", BigInt64Array.of(BigInt(time)), []), states: floats(ort, asked, rows, words, width) });
    return twice ? x.map((_, i) => noise.data[i] + guidance * (noise.data[x.length + i] - noise.data[i])) : noise.data;
  }

  // --- pictures [3, S, S] in [0, 1] and canvases
  const show = (canvas, picture) => {
    const { width, height } = canvas, pen = canvas.getContext("2d"), sheet = pen.createImageData(width, height), plane = width * height;
    for (let i = 0; i < plane; i++) { for (let c = 0; c < 3; c++) sheet.data[4 * i + c] = Math.round(255 * picture[c * plane + i]); sheet.data[4 * i + 3] = 255; }
    pen.putImageData(sheet, 0, 0);
  };
  const levels = (text) => Float32Array.from(bytes(text), (level) => level / 255);
  const canvas = (side) => make("canvas", { width: side, height: side, role: "img" });

  // --- what the world's reader sees: peaks of objectness, and at each the likeliest shape and colour, or "unsure"
  async function read(picture) {
    const { ort, told, sessions } = await model("reader"), side = Math.sqrt(picture.length / 3), n = told.grid, plane = n * n;
    const { grid } = await sessions.reader.run({ pictures: floats(ort, picture, 1, 3, side, side) }), g = grid.data, found = [];
    for (let i = 0; i < plane; i++) {
      const row = Math.floor(i / n), column = i % n, score = g[i];
      if (score <= 0) continue; // a sigmoid of one half
      let highest = true;
      for (let r = Math.max(0, row - 1); r <= Math.min(n - 1, row + 1); r++) for (let c = Math.max(0, column - 1); c <= Math.min(n - 1, column + 1); c++) if (g[r * n + c] > score) highest = false;
      if (highest) found.push({ i, score });
    }
    return found.sort((a, b) => b.score - a.score).slice(0, told.most).map(({ i }) => {
      const thing = {};
      let channel = 4;
      for (const [kind, names] of Object.entries(told.heads)) {
        const logits = names.map((_, k) => g[(channel + k) * plane + i] / told.temperature[kind]), high = Math.max(...logits);
        const shares = logits.map((value) => Math.exp(value - high)), total = shares.reduce((sum, value) => sum + value), best = shares.indexOf(1);
        thing[kind] = shares[best] / total >= told.sure ? names[best] : "unsure";
        channel += names.length;
      }
      return thing;
    });
  }
  const inWords = (things) => {
    if (!things.length) return "nothing";
    return things.map(({ shape, colour }) => {
      const phrase = `${colour === "unsure" ? "" : `${colour} `}${shape === "unsure" ? "thing" : shape}`;
      return `${/^[aeiou]/.test(phrase) ? "an" : "a"} ${phrase}`;
    }).join(" and ");
  };

  const slider = (label, given, act) => {
    const shown = make("b", {}), box = make("input", { type: "range", ...given }), name = make("span", {}, `${label} `, shown);
    const tell = () => { shown.textContent = said(+box.value); };
    box.addEventListener("input", tell);
    if (act) box.addEventListener("change", act);
    tell();
    return [box, make("label", { className: "touch-label" }, name, box), tell];
  };
  // where there are no models, the film that pages without scripts have comes back
  const film = (box, error) => { const strip = error.missing && box.parentElement.querySelector(".dlcv-filmstrip"); if (strip) strip.hidden = false; };
  const pause = (ms = 0) => new Promise((done) => setTimeout(done, ms));

  function paint(box, data) {
    const painters = [{ name: data.names[0] }, ...(data.edited ? [{ name: data.names[1], edited: data.edited }] : [])];
    const side = Math.sqrt(levels(data.poster[0]).length / 3);
    painters.forEach((each, k) => {
      each.canvas = canvas(side);
      each.words = make("span", { className: "touch-read" });
      each.figure = make("figure", {}, each.canvas, make("figcaption", {}, ...(painters.length > 1 ? [make("b", {}, each.name), make("br")] : []), each.words));
      show(each.canvas, levels(data.poster[k]));
      each.canvas.setAttribute("aria-label", `Painted ahead for “${data.prompts[0]}”${each.name ? ` by the ${each.name} model` : ""}`);
    });
    const prompt = make("input", { type: "text", value: data.prompts[0], autocomplete: "off", spellcheck: false, enterKeyHint: "go" });
    prompt.setAttribute("autocapitalize", "none");
    const [examples, examplesLabel] = choice([...data.prompts, "your own"], "Examples", (name) => { if (name !== "your own") { prompt.value = name; begin(); } });
    const [guidance, guidanceLabel] = slider("Guidance", { min: 1, max: 10, step: 0.5, value: data.guidance }, () => again());
    const [steps, stepsLabel] = slider("Steps", { min: 4, max: 50, step: 1, value: data.steps }, () => again());
    const seed = make("input", { type: "number", min: 0, max: 4294967295, step: 1, value: data.seed, inputMode: "numeric", className: "touch-seed" });
    const go = make("button", { type: "submit", className: "touch-go" }, "Paint"), other = make("button", { type: "button", className: "touch-button" }, "Next seed");
    const told = make("p", { className: "touch-sum", role: "status" }), strange = make("p", { className: "touch-wrong", role: "alert" });
    told.textContent = `This was painted ahead. Press “Paint”: the model comes into this page, about ${data.megabytes} MB, once; nothing is sent anywhere.`;
    const [reached, reachedLabel, tellReached] = slider("Film: after step", { min: 0, max: 0, step: 1, value: 0 });
    const play = make("button", { type: "button", className: "touch-button" }, "Play");
    const reel = make("div", { className: "touch-row touch-film", hidden: true }, play, reachedLabel);
    const words = make("details", { className: "touch-words", hidden: true }, make("summary", {}, "The words it knows"), make("p", {}));
    let ready = false, turn = 0, playing = null;

    const wrong = (error) => { film(box, error); strange.textContent = error.message; prompt.setAttribute("aria-invalid", "true"); };
    const look = (k) => { painters.forEach((each) => show(each.canvas, each.frames[k])); };
    const stop = () => { playing = null; play.textContent = "Play"; };
    play.addEventListener("click", async () => {
      if (playing) { stop(); return; }
      const mine = playing = {};
      play.textContent = "Pause";
      if (+reached.value === +reached.max) reached.value = 0;
      while (playing === mine) {
        tellReached(); look(+reached.value);
        if (+reached.value === +reached.max) { stop(); break; }
        await pause(90);
        if (playing === mine) reached.value = +reached.value + 1;
      }
    });
    reached.addEventListener("input", () => { stop(); look(+reached.value); });
    other.addEventListener("click", () => { seed.value = (+seed.value + 1) % 4294967296; begin(); });
    prompt.addEventListener("input", () => { examples.value = "your own"; });
    const again = () => { if (ready) begin(); }; // before the first click nothing is loaded
    seed.addEventListener("change", again);

    async function begin() {
      const mine = ++turn;
      stop();
      strange.textContent = ""; prompt.removeAttribute("aria-invalid");
      told.textContent = ready ? "Painting …" : `The model is coming: ${data.megabytes} MB …`;
      box.setAttribute("aria-busy", "true");
      await pause(); // let the page say so
      try { await painted(mine); } catch (error) { if (mine === turn) { told.textContent = ""; wrong(error); } }
      if (mine === turn) box.removeAttribute("aria-busy");
    }
    async function painted(mine) {
      const loading = performance.now(), sd = await model("sd"), { ort, told: constants, sessions } = sd, { tokens, schedule } = constants;
      if (!ready) {
        await model("reader");
        words.querySelector("p").textContent = tokens.words.filter((word) => /^[a-z]/.test(word)).sort().join(", ");
        words.hidden = false;
      }
      for (const each of painters) each.unet ??= each.edited ? await exchanged(sd, each.edited) : sessions.unet;
      const loaded = ready ? 0 : performance.now() - loading;
      ready = true;
      const asked = prompt.value, ids = BigInt64Array.of(...encode(tokens, ""), ...encode(tokens, asked));
      if (!/^\d+$/.test(seed.value) || +seed.value > 4294967295) throw new Error("A seed is a whole number from 0 to 4294967295.");
      const count = +steps.value, strength = +guidance.value, start = performance.now();
      const { states } = await sessions.text.run({ ids: new ort.Tensor("int64", ids, [2, tokens.length]) });
      const noise = normal(+seed.value, constants.latents.reduce((a, b) => a * b));
      const decode = async (x) => (await sessions.decoder.run({ latents: floats(ort, x, 1, ...constants.latents) })).pictures.data;
      for (const each of painters) { each.x = noise; each.made = [await decode(noise)]; }
      for (const [k, time] of times(schedule, count).entries()) {
        for (const each of painters) {
          each.x = denoised(schedule, count, time, each.x, await predicted(sd, each.unet, each.x, time, states, strength));
          each.made.push(await decode(each.x));
          if (mine !== turn) return; // something else was asked for
          if (!still.matches) show(each.canvas, each.made.at(-1));
        }
        told.textContent = `Step ${k + 1} of ${count} …`;
        await pause();
        if (mine !== turn) return;
      }
      const seconds = (performance.now() - start) / 1000;
      for (const each of painters) {
        each.frames = each.made;
        each.sees = inWords(await read(each.frames.at(-1)));
      }
      if (mine !== turn) return;
      reached.max = count; reached.value = count; tellReached(); look(count);
      reel.hidden = false;
      for (const each of painters) {
        each.words.textContent = `The reader sees ${each.sees}.`;
        each.canvas.setAttribute("aria-label", `“${asked}”, painted${each.name ? ` by the ${each.name} model` : ""}. The reader sees ${each.sees}.`);
      }
      told.textContent = `Painted in ${seconds.toFixed(2)} s: ${count} steps with guidance ${said(strength)}, seed ${seed.value}.${loaded ? ` Loading took ${(loaded / 1000).toFixed(1)} s.` : ""}`;
    }
    box.append(make("form", { className: "touch-row touch-ask", onsubmit: (event) => { event.preventDefault(); begin(); } }, labelled("Prompt", prompt), go),
      strange,
      make("div", { className: "touch-stage touch-painted" }, ...painters.map((each) => each.figure),
        make("div", { className: "touch-settings" }, examplesLabel, guidanceLabel, stepsLabel, make("div", { className: "touch-row" }, labelled("Seed", seed), other))),
      reel, told, words);
  }
  // the same U-Net with other weights at the places that model.json tells: half precision, row by row as in torch
  async function exchanged({ ort, told, files }, weights) {
    const file = files.unet.slice(), view = new Uint16Array(1);
    for (const [name, { rows, half }] of Object.entries(weights)) {
      const [start, length, turned] = told.places[name], mine = new Uint16Array(bytes(half).buffer), columns = mine.length / rows;
      if (mine.byteLength !== length) throw new Error(`${name} has another size than in this model.`);
      const laid = turned ? Uint16Array.from(mine, (_, i) => mine[(i % rows) * columns + Math.floor(i / rows)]) : mine;
      file.set(new Uint8Array(laid.buffer), start);
    }
    return ort.InferenceSession.create(file);
  }

  function rank(box, data) {
    const pictures = data.pictures.map(({ rgb, alt }) => {
      const values = levels(rgb), side = Math.sqrt(values.length / 3), sheet = canvas(side), score = make("span", { className: "touch-score" });
      sheet.setAttribute("aria-label", alt);
      show(sheet, values);
      return { values, side, score, alt, item: make("li", {}, sheet, score) };
    });
    const query = make("input", { type: "text", value: data.queries[0], autocomplete: "off", spellcheck: false, enterKeyHint: "search" });
    query.setAttribute("autocapitalize", "none");
    const [examples, examplesLabel] = choice([...data.queries, "your own"], "Examples", (name) => { if (name !== "your own") { query.value = name; begin(); } });
    const go = make("button", { type: "submit", className: "touch-go" }, "Rank");
    const told = make("p", { className: "touch-sum", role: "status" }), strange = make("p", { className: "touch-wrong", role: "alert" });
    told.textContent = `In no order yet. Press “Rank”: clip comes into this page, about ${data.megabytes} MB, once; nothing is sent anywhere.`;
    const strip = make("ol", { className: "touch-strip" }, ...pictures.map((each) => each.item));
    query.addEventListener("input", () => { examples.value = "your own"; });
    let turn = 0;
    async function begin() {
      const mine = ++turn;
      strange.textContent = ""; query.removeAttribute("aria-invalid");
      told.textContent = "Looking …";
      await pause();
      try {
        const { ort, told: constants, sessions } = await model("clip"), ids = encode(constants.tokens, query.value), start = performance.now();
        const asked = (await sessions.words.run({ ids: new ort.Tensor("int64", ids, [1, constants.tokens.length]) })).features.data;
        if (!pictures[0].features) {
          const { side } = pictures[0], all = joined(pictures.map((each) => each.values));
          const { data: features, dims } = (await sessions.pictures.run({ pictures: floats(ort, all, pictures.length, 3, side, side) })).features;
          pictures.forEach((each, i) => { each.features = features.slice(i * dims[1], (i + 1) * dims[1]); });
        }
        if (mine !== turn) return;
        pictures.forEach((each) => { each.likeness = each.features.reduce((sum, value, i) => sum + value * asked[i], 0); each.score.textContent = each.likeness.toFixed(3).replace("-", "−"); });
        const order = [...pictures].sort((a, b) => b.likeness - a.likeness);
        strip.replaceChildren(...order.map((each) => each.item));
        told.textContent = `Most like “${query.value}”: ${order[0].alt.replace(/\.$/, "")}. The numbers are cosines. ${((performance.now() - start) / 1000).toFixed(2)} s.`;
      } catch (error) {
        film(box, error);
        if (mine === turn) { told.textContent = ""; strange.textContent = error.message; query.setAttribute("aria-invalid", "true"); }
      }
    }
    box.append(make("form", { className: "touch-row touch-ask", onsubmit: (event) => { event.preventDefault(); begin(); } }, labelled("Query", query), go, examplesLabel), strange, strip, told);
  }

  add({ paint, rank });
})();
