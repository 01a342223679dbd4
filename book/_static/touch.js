// live models to touch: a kernel to edit, a loss surface to walk down, a neuron to turn. Each takes the place of the
// filmstrip inside its box; nothing is sent, and a page opened as a file works, too. The zoo's models have a script of
// their own, zoo.js, which is loaded where a page has one
(() => {
  const home = document.currentScript?.src || location.href;
  const make = (tag, given = {}, ...inside) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (name in node && name !== "list") node[name] = value; else node.setAttribute(name, value);
    }
    node.append(...inside);
    return node;
  };
  const labelled = (text, control) => make("label", { className: "touch-label" }, make("span", {}, text), control);
  const choice = (names, label, act) => {
    const box = make("select", {}, ...names.map((name) => make("option", { value: name }, name)));
    box.addEventListener("change", () => act(box.value));
    return [box, labelled(label, box)];
  };
  const said = (value) => (Math.abs(value) < 5e-4 ? "0" : String(+value.toPrecision(4))).replace("-", "−");
  // a canvas that is touched, clicked, dragged, and walked over by arrow keys
  const walked = (canvas, { columns, rows, at, move }) => {
    const go = (event) => {
      const box = canvas.getBoundingClientRect();
      move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    };
    canvas.tabIndex = 0;
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); go(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) go(event); });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const [x, y] = at(), far = event.shiftKey ? 8 : 1;
      move(x + (step[0] * far) / columns(), y + (step[1] * far) / rows());
    });
  };
  const within = (value, low, high) => Math.min(high, Math.max(low, value));

  function kernel(box, data) {
    const pictures = Object.fromEntries(Object.entries(data.pictures).map(([name, { w, h, grey }]) => {
      const bytes = atob(grey);
      return [name, { w, h, grey: Float32Array.from(bytes, (c) => c.charCodeAt(0)) }];
    }));
    const presets = data.presets;
    let picture = Object.values(pictures)[0], weights = Object.values(presets)[0].map((row) => [...row]);
    let spot = { x: picture.w >> 1, y: picture.h >> 1 }, out = null;
    const sides = [make("canvas", { role: "application" }), make("canvas", { role: "application" })];
    sides[0].setAttribute("aria-label", "The picture. Arrow keys move the window, with Shift eight pixels at a time.");
    sides[1].setAttribute("aria-label", "What the kernel makes of it. Arrow keys move the window.");
    const cells = make("div", { className: "touch-cells", role: "group", "aria-label": "The numbers of the kernel" });
    const sum = make("p", { className: "touch-sum", role: "status" });
    const limits = make("p", { className: "touch-note" });
    const files = make("input", { type: "file", accept: "image/*" });
    const drop = make("option", { value: "" }, "your own picture");
    const [photo, photoLabel] = choice(Object.keys(pictures), "Picture", (name) => {
      if (name) { picture = pictures[name]; place(spot.x, spot.y); } else { files.click(); }
    });
    photo.append(drop);
    const [preset, presetLabel] = choice([...Object.keys(presets), "your own"], "Kernel", (name) => {
      if (presets[name]) { weights = presets[name].map((row) => [...row]); grid(); draw(); }
    });
    const [size, sizeLabel] = choice(["3 x 3", "5 x 5"], "Size", (name) => {
      const k = +name[0], off = (k - weights.length) / 2;
      weights = Array.from({ length: k }, (_, i) => Array.from({ length: k }, (_, j) => weights[i - off]?.[j - off] ?? 0));
      preset.value = "your own"; grid(); draw();
    });
    files.className = "touch-file";
    files.setAttribute("aria-label", "A picture from this device; it stays on this device");
    files.addEventListener("change", async () => {
      if (!files.files[0]) return;
      const bitmap = await createImageBitmap(files.files[0]);
      const scale = 128 / Math.max(bitmap.width, bitmap.height), w = Math.round(bitmap.width * scale), h = Math.round(bitmap.height * scale);
      const sheet = make("canvas", { width: w, height: h }), pen = sheet.getContext("2d");
      pen.drawImage(bitmap, 0, 0, w, h);
      const colours = pen.getImageData(0, 0, w, h).data;
      const grey = Float32Array.from({ length: w * h }, (_, i) => 0.299 * colours[4 * i] + 0.587 * colours[4 * i + 1] + 0.114 * colours[4 * i + 2]);
      pictures["your own picture"] = picture = { w, h, grey };
      drop.value = "your own picture"; photo.value = "your own picture";
      place(w >> 1, h >> 1);
    });

    // as one would type it: a ninth is 1/9, and fits its cell
    const typed = (value) => {
      const n = [3, 6, 7, 9, 16, 25].find((each) => String(value).length > 4 && Math.abs(value * each - Math.round(value * each)) < 1e-3);
      return n && Math.round(value * n) ? `${Math.round(value * n)}/${n}` : String(value);
    };
    const grid = () => {
      const k = weights.length;
      size.value = `${k} x ${k}`;
      cells.style.setProperty("--k", k);
      cells.replaceChildren(...weights.flatMap((row, i) => row.map((value, j) => {
        const cell = make("input", { type: "text", value: typed(value), inputMode: "text", autocomplete: "off" });
        cell.setAttribute("aria-label", `row ${i + 1}, column ${j + 1}`);
        cell.addEventListener("focus", () => cell.select());
        cell.addEventListener("input", () => {
          const text = cell.value.replace("−", "-").replace(",", ".").trim(), parts = text.split("/");
          const number = parts.length === 2 ? parts[0] / parts[1] : +text;
          cell.setAttribute("aria-invalid", String(!Number.isFinite(number) || text === ""));
          if (!Number.isFinite(number)) return;
          weights[i][j] = number; preset.value = "your own"; draw();
        });
        cell.addEventListener("keydown", (event) => {
          const way = { ArrowUp: -k, ArrowDown: k, Enter: k }[event.key];
          const other = way && cells.children[i * k + j + way];
          if (other) { event.preventDefault(); other.focus(); }
        });
        return cell;
      })));
    };
    const convolve = () => {
      const k = weights.length, { w, h, grey } = picture, W = w - k + 1, H = h - k + 1, made = new Float32Array(W * H);
      for (let u = 0; u < k; u++) for (let v = 0; v < k; v++) {
        const weight = weights[u][v];
        if (weight) for (let i = 0; i < H; i++) for (let j = 0, at = (i + u) * w + v, to = i * W; j < W; j++) made[to + j] += weight * grey[at + j];
      }
      return { w: W, h: H, values: made };
    };
    const paint = (canvas, w, h, level) => {
      canvas.width = w; canvas.height = h;
      const pen = canvas.getContext("2d"), sheet = pen.createImageData(w, h);
      for (let i = 0; i < w * h; i++) { const value = level(i); sheet.data.set([value, value, value, 255], 4 * i); }
      pen.putImageData(sheet, 0, 0);
      return pen;
    };
    const place = (x, y) => {
      const k = weights.length, half = k >> 1;
      spot = { x: within(Math.round(x), half, picture.w - 1 - half), y: within(Math.round(y), half, picture.h - 1 - half) };
      draw();
    };
    const draw = () => {
      const k = weights.length, half = k >> 1;
      spot = { x: within(spot.x, half, picture.w - 1 - half), y: within(spot.y, half, picture.h - 1 - half) };
      out = convolve();
      let low = Infinity, high = -Infinity;
      for (const value of out.values) { if (value < low) low = value; if (value > high) high = value; }
      const reach = Math.max(-low, high, 1), signed = low < -1;
      const first = paint(sides[0], picture.w, picture.h, (i) => picture.grey[i]);
      const second = paint(sides[1], out.w, out.h, (i) => (signed ? 127.5 + (127.5 * out.values[i]) / reach : out.values[i]));
      first.strokeStyle = "#ff6a00"; first.strokeRect(spot.x - half - 0.5, spot.y - half - 0.5, k + 1, k + 1);
      second.strokeStyle = "#ff6a00"; second.strokeRect(spot.x - half - 1.5, spot.y - half - 1.5, 3, 3);
      const terms = [];
      for (let u = 0; u < k; u++) for (let v = 0; v < k; v++) {
        if (weights[u][v]) terms.push(`${said(weights[u][v])}·${said(Math.round(picture.grey[(spot.y - half + u) * picture.w + spot.x - half + v]))}`);
      }
      const total = out.values[(spot.y - half) * out.w + spot.x - half];
      const shown = terms.length > 9 ? [...terms.slice(0, 8), "…"] : terms.length ? terms : ["0"];
      sum.replaceChildren(make("span", { className: "touch-place" }, `Row ${spot.y}, column ${spot.x}: `), shown.join(" + "), " = ", make("b", {}, said(Math.round(total * 10) / 10)));
      limits.textContent = signed ? `Right: mid-grey is 0, black −${said(Math.round(reach))}, white ${said(Math.round(reach))}.` : "Right: black is 0, white 255 and more.";
    };
    const shape = () => [picture.w, picture.h];
    walked(sides[0], { columns: () => picture.w, rows: () => picture.h, at: () => [(spot.x + 0.5) / shape()[0], (spot.y + 0.5) / shape()[1]],
      move: (x, y) => place(x * picture.w - 0.5, y * picture.h - 0.5) });
    walked(sides[1], { columns: () => out.w, rows: () => out.h, at: () => [(spot.x - (weights.length >> 1) + 0.5) / out.w, (spot.y - (weights.length >> 1) + 0.5) / out.h],
      move: (x, y) => place(x * out.w - 0.5 + (weights.length >> 1), y * out.h - 0.5 + (weights.length >> 1)) });
    box.append(
      make("div", { className: "touch-row" }, photoLabel, presetLabel, sizeLabel, files),
      make("div", { className: "touch-stage" }, cells, make("div", { className: "touch-pictures" }, ...sides)),
      sum, limits);
    grid(); draw();
  }

  function surface(box, data) {
    const { z, names } = data, rows = z.length, columns = z[0].length, [x0, x1] = data.x, [y0, y1] = data.y;
    const width = 420, height = Math.round((width * rows) / columns);
    const canvas = make("canvas", { width, height, role: "application" });
    canvas.setAttribute("aria-label", "The loss from above. Click, or use the arrow keys, to choose where to begin.");
    const heights = z.flat(), low = Math.min(...heights), high = Math.max(...heights);
    const at = (x, y) => { // bilinear, and its slope
      const fx = within(((x - x0) / (x1 - x0)) * (columns - 1), 0, columns - 1.001), fy = within(((y - y0) / (y1 - y0)) * (rows - 1), 0, rows - 1.001);
      const j = Math.floor(fx), i = Math.floor(fy), u = fx - j, v = fy - i, [a, b, c, d] = [z[i][j], z[i][j + 1], z[i + 1][j], z[i + 1][j + 1]];
      return { z: (a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v,
        dx: (((b - a) * (1 - v) + (d - c) * v) * (columns - 1)) / (x1 - x0), dy: (((c - a) * (1 - u) + (d - b) * u) * (rows - 1)) / (y1 - y0) };
    };
    let start = [...data.start];
    const rate = make("input", { type: "range", min: 0, max: 100, value: 50, step: 1 });
    const steps = make("input", { type: "range", min: 1, max: 60, value: 20, step: 1 });
    const rateOf = () => data.rates[0] * (data.rates[1] / data.rates[0]) ** (rate.value / 100);
    const told = make("p", { className: "touch-sum", role: "status" });
    const ground = document.createElement("canvas");
    ground.width = width; ground.height = height;
    const soil = ground.getContext("2d"), sheet = soil.createImageData(width, height);
    for (let p = 0; p < width * height; p++) {
      const value = at(x0 + ((p % width) / width) * (x1 - x0), y1 - (Math.floor(p / width) / height) * (y1 - y0)).z;
      const level = Math.sqrt(within((value - low) / (high - low || 1), 0, 1)), ring = Math.floor(level * 14) % 2 ? 0 : 10;
      sheet.data.set([250 - 190 * (1 - level) - ring, 250 - 150 * (1 - level) - ring, 255 - 60 * (1 - level) - ring, 255], 4 * p);
    }
    soil.putImageData(sheet, 0, 0);
    const toPage = ([x, y]) => [((x - x0) / (x1 - x0)) * width, ((y1 - y) / (y1 - y0)) * height];
    const draw = () => {
      const pen = canvas.getContext("2d"), path = [[...start]];
      let [x, y] = start, gone = false;
      for (let k = 0; k < +steps.value && !gone; k++) {
        const { dx, dy } = at(x, y);
        x -= rateOf() * dx; y -= rateOf() * dy;
        path.push([x, y]);
        gone = x < x0 || x > x1 || y < y0 || y > y1;
      }
      pen.drawImage(ground, 0, 0);
      pen.strokeStyle = "#b20300"; pen.lineWidth = 2; pen.beginPath();
      path.forEach((place, k) => pen[k ? "lineTo" : "moveTo"](...toPage(place)));
      pen.stroke();
      path.forEach((place, k) => { pen.fillStyle = k ? "#b20300" : "#fff"; pen.beginPath(); pen.arc(...toPage(place), k ? 3 : 6, 0, 7); pen.fill(); if (!k) pen.stroke(); });
      const [ex, ey] = path.at(-1);
      told.textContent = `Rate ${said(rateOf())}, ${path.length - 1} steps from ${names[0]} = ${said(start[0])}, ${names[1]} = ${said(start[1])}: `
        + (gone ? "the path leaves the picture, the steps are too large." : `loss ${said(at(...start).z)} → ${said(at(ex, ey).z)} at ${names[0]} = ${said(ex)}, ${names[1]} = ${said(ey)}.`);
      rate.setAttribute("aria-valuetext", said(rateOf()));
    };
    walked(canvas, { columns: () => columns, rows: () => rows, at: () => [(start[0] - x0) / (x1 - x0), (y1 - start[1]) / (y1 - y0)],
      move: (u, v) => { start = [x0 + within(u, 0, 1) * (x1 - x0), y1 - within(v, 0, 1) * (y1 - y0)]; draw(); } });
    [rate, steps].forEach((slider) => slider.addEventListener("input", draw));
    box.append(make("div", { className: "touch-row" }, labelled("Learning rate", rate), labelled("Steps", steps)), canvas, told);
    draw();
  }

  function neuron(box, data) {
    const size = 380, reach = 1.15 * Math.max(...data.points.flat().map(Math.abs), 1);
    const canvas = make("canvas", { width: size, height: size, role: "img" });
    const far = Math.ceil(3 * reach); // whole, so that 0 is one of the slider's steps
    const [w1, w2, b] = data.weights.map((value, k) => make("input", { type: "range", min: k < 2 ? -3 : -far, max: k < 2 ? 3 : far, step: 0.05, value }));
    const told = make("p", { className: "touch-sum", role: "status" });
    const page = (x, y) => [((x + reach) / (2 * reach)) * size, ((reach - y) / (2 * reach)) * size];
    const draw = () => {
      const [u, v, c] = [w1, w2, b].map((slider) => +slider.value), pen = canvas.getContext("2d"), sheet = pen.createImageData(size, size);
      for (let p = 0; p < size * size; p++) {
        const x = (((p % size) + 0.5) / size) * 2 * reach - reach, y = reach - ((Math.floor(p / size) + 0.5) / size) * 2 * reach;
        const s = 1 / (1 + Math.exp(-(u * x + v * y + c)));
        sheet.data.set([255 - 85 * s, 240 - 40 * s - 25 * (1 - s), 225 + 30 * s, 255], 4 * p);
      }
      pen.putImageData(sheet, 0, 0);
      let right = 0;
      data.points.forEach(([x, y], n) => {
        const yes = u * x + v * y + c > 0, one = data.labels[n] === 1, [px, py] = page(x, y);
        right += yes === one;
        pen.fillStyle = one ? "#15378e" : "#bf4a00"; pen.beginPath();
        if (one) pen.arc(px, py, 5, 0, 7); else pen.rect(px - 4.5, py - 4.5, 9, 9);
        pen.fill();
        if (yes !== one) { pen.strokeStyle = "#000"; pen.lineWidth = 2; pen.stroke(); }
      });
      const length = Math.hypot(u, v);
      if (length > 1e-6) { // the line where it is undecided, and the weight vector on it
        const foot = [(-c * u) / length ** 2, (-c * v) / length ** 2], far = 4 * reach;
        pen.strokeStyle = "#1f2328"; pen.lineWidth = 2; pen.beginPath();
        pen.moveTo(...page(foot[0] - (far * v) / length, foot[1] + (far * u) / length)); pen.lineTo(...page(foot[0] + (far * v) / length, foot[1] - (far * u) / length)); pen.stroke();
        pen.strokeStyle = "#00785a"; pen.lineWidth = 3; pen.beginPath(); pen.moveTo(...page(...foot)); pen.lineTo(...page(foot[0] + (u * reach) / 4, foot[1] + (v * reach) / 4)); pen.stroke();
      }
      told.textContent = `w = (${said(u)}, ${said(v)}), b = ${said(c)}: ${right} of ${data.points.length} points are on their side.`;
      canvas.setAttribute("aria-label", told.textContent);
      [w1, w2, b].forEach((slider) => slider.setAttribute("aria-valuetext", said(+slider.value)));
    };
    [w1, w2, b].forEach((slider) => slider.addEventListener("input", draw));
    box.append(make("div", { className: "touch-row" }, labelled("w₁", w1), labelled("w₂", w2), labelled("b", b)), canvas, told);
    draw();
  }

  const names = { kernel: "A kernel to edit", surface: "A loss surface to walk down", neuron: "A neuron to turn",
    paint: "A model that paints what you type", rank: "Pictures ranked by a query" };
  const begun = (place, begin) => {
    const told = place.querySelector(".dlcv-touch-data");
    if (!told) return;
    const strip = place.querySelector(".dlcv-filmstrip, .touch-fallback"), box = document.createElement("div");
    box.className = `touch-box touch-${place.dataset.kind}`;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", names[place.dataset.kind]);
    begin(box, JSON.parse(told.textContent));
    place.append(box);
    if (strip) strip.hidden = true;
  };
  const add = (kinds) => document.querySelectorAll(".dlcv-touch").forEach((place) => {
    if (kinds[place.dataset.kind]) begun(place, kinds[place.dataset.kind]);
  });
  add({ kernel, surface, neuron });
  if (document.querySelector('.dlcv-touch:is([data-kind="paint"], [data-kind="rank"])')) {
    window.dlcvTouch = { make, labelled, choice, said, home, add };
    document.head.append(make("script", { src: new URL("zoo.js", home).href }));
  }
})();
