// The right side: draws what GET /v1/cache says.

const SVG = "http://www.w3.org/2000/svg";
const number = new Intl.NumberFormat("en");

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; n >= 1024 && unit < units.length - 1; ++unit) n /= 1024;
  return `${n < 10 && unit > 0 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

function element(name, attributes, text) {
  const out = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) out.setAttribute(key, value);
  if (text !== undefined) out.textContent = text;
  return out;
}

function rect(x, y, width, height, kind) {
  return element("rect", {x, y, width: Math.max(width, 0), height, class: kind});
}

// An SVG whose units are pixels.
function canvas(id, height) {
  const svg = document.getElementById(id);
  const width = svg.clientWidth || 400;
  svg.setAttribute("height", height);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  return [svg, width];
}

function title(node, text) {
  node.append(element("title", {}, text));
  return node;
}

function drawPrompt(run) {
  const [svg, width] = canvas("prompt-bar", 14);
  svg.append(rect(0, 0, width, 14, "back"));
  if (!run) return;
  const inMemory = run.cached_tokens - run.stored_tokens;
  const read = Math.max(0, Math.min(run.tokens, run.prompt_tokens) - run.cached_tokens);
  const said = Math.max(0, run.tokens - run.prompt_tokens);
  const all = Math.max(run.prompt_tokens, run.tokens, 1);
  let x = 0;
  for (const [n, kind] of [[inMemory, "ram"], [run.stored_tokens, "disk"], [read, "read"], [said, "said"]]) {
    svg.append(rect(x, 0, n * width / all, 14, kind));
    x += n * width / all;
  }
  const share = run.prompt_tokens ? 100 * run.cached_tokens / run.prompt_tokens : 0;
  document.getElementById("prompt-line").textContent =
    `${number.format(run.prompt_tokens)} tokens, ${number.format(run.cached_tokens)} of them known ` +
    `(${share.toFixed(1)} %), ${number.format(said)} answered; ${run.state}`;
}

function layerName(layer, index) {
  const ratio = layer.ratio > 1 ? ` ${layer.ratio}:1` : "";
  return `${index} ${layer.kind}${ratio}`;
}

// Runs of neighbours become one line: hundreds of picks of each layer are to be drawn often.
function picksPath(picks, ratio, scale, left, y) {
  const sorted = [...picks].sort((a, b) => a - b);
  let path = "";
  for (let i = 0; i < sorted.length;) {
    let last = i;
    while (last + 1 < sorted.length && sorted[last + 1] === sorted[last] + 1) ++last;
    const from = left + sorted[i] * ratio * scale;
    const to = left + (sorted[last] + 1) * ratio * scale;
    path += `M${from.toFixed(1)} ${y}H${Math.max(to, from + 0.7).toFixed(1)}`;
    i = last + 1;
  }
  return path;
}

function drawLayer(svg, layer, index, tokens, scale, left, y, height) {
  const width = tokens * scale;
  svg.append(element("text", {x: 0, y: y + height / 2 + 4, class: "name"}, layerName(layer, index)));
  svg.append(rect(left, y, width, height, "back"));
  const picks = layer.kind === "CSA" || layer.kind === "DSA";
  const step = Math.max(layer.ratio, 1);
  const entries = rect(left, y, layer.entries * step * scale, height, picks ? "entries" : "dense");
  svg.append(title(entries, `${number.format(layer.entries)} entries`));
  if (layer.picks.length > 0) {
    const path = element("path", {
      d: picksPath(layer.picks, step, scale, left, y + height / 2), class: "picked", "stroke-width": height,
    });
    svg.append(title(path, `${number.format(layer.picks.length)} of ${number.format(layer.entries)} picked`));
  }
  // Window rows are beside the entries, not behind them.
  const window = rect(left + (tokens - layer.window_rows) * scale, y + height * 0.6,
                      layer.window_rows * scale, height * 0.4, "window");
  svg.append(title(window, `${number.format(layer.window_rows)} tokens whole`));
}

function drawLayers(view) {
  const run = view.runs[0];
  const height = view.layers.length > 40 ? 8 : view.layers.length > 12 ? 11 : 16;
  const gap = height + 3, top = 14, left = 78;
  const [svg, width] = canvas("layers", top + gap * Math.max(view.layers.length, 1) + 14);
  if (!run || view.layers.length === 0) return;
  const tokens = Math.max(run.tokens, 1);
  const scale = (width - left) / tokens;
  svg.append(element("text", {x: left, y: 10}, "token 0"));
  svg.append(element("text", {x: width, y: 10, class: "end"}, number.format(run.tokens)));
  view.layers.forEach((layer, i) => drawLayer(svg, layer, i, tokens, scale, left, top + gap * i, height));
  const bottom = top + gap * view.layers.length;
  const points = run.resume_points.map((at) => `M${(left + at * scale).toFixed(1)} ${top}V${bottom}`).join("");
  if (points) svg.append(element("path", {d: points, class: "point", "stroke-width": 1}));
  svg.append(element("text", {x: left, y: bottom + 11},
    `resume points: ${run.resume_points.map((at) => number.format(at)).join(", ") || "none"}`));
  const picked = view.layers.reduce((sum, layer) => sum + layer.picks.length, 0);
  document.getElementById("layers-line").textContent =
    `${number.format(run.tokens)} tokens, ${number.format(picked)} entries picked for the last one`;
}

function drawPools(view) {
  const row = 18, left = 78, right = 150;
  const [svg, width] = canvas("pools", row * view.pools.length);
  const most = Math.max(...view.pools.map((pool) => pool.planned_bytes), 1);
  view.pools.forEach((pool, i) => {
    const y = i * row + 3, full = Math.max(width - left - right, 10);
    svg.append(element("text", {x: 0, y: y + 10, class: "name"}, pool.name));
    svg.append(rect(left, y, full * pool.planned_bytes / most, 11, "back"));
    svg.append(rect(left, y, full * pool.filled_bytes / most, 11, "ram"));
    svg.append(element("text", {x: width, y: y + 10, class: "end"},
      `${bytes(pool.filled_bytes)} of ${bytes(pool.planned_bytes)} ${pool.format}`));
  });
  document.getElementById("memory-line").textContent =
    `cache ${bytes(view.bytes.cache)}, weights ${bytes(view.bytes.weights)}; blocks of ` +
    `${view.block_tokens} tokens: ${number.format(view.blocks.filled)} of ` +
    `${number.format(view.blocks.planned)}, known ${number.format(view.blocks.known)}; ` +
    `known resume points ${number.format(view.details.known_points)}`;
}

function eventText(event) {
  if (event.kind === "resume_point") return ["resume point", ` at ${number.format(event.tokens)}`];
  if (event.kind === "over") return ["over", ` at ${number.format(event.tokens)} tokens`];
  const read = event.tokens - event.cached_tokens;
  const disk = event.stored_tokens ? `, ${number.format(event.stored_tokens)} of them from the store` : "";
  return [event.cached_tokens > 0 ? "hit" : "miss",
    ` ${number.format(event.cached_tokens)} of ${number.format(event.tokens)} tokens known${disk}; ` +
    `${number.format(read)} to read`];
}

function drawEvents(view) {
  const list = document.getElementById("events");
  const newest = view.events.at(-1)?.number ?? 0;
  if (Number(list.dataset.newest ?? -1) === newest) return;
  list.dataset.newest = newest;
  list.replaceChildren(...[...view.events].reverse().map((event) => {
    const item = document.createElement("li");
    const [kind, text] = eventText(event);
    const strong = document.createElement("b");
    strong.textContent = kind;
    item.dataset.kind = event.kind;
    item.append(`#${event.run} `, strong, text);
    return item;
  }));
}

export function draw(view) {
  drawPrompt(view.runs[0]);
  drawLayers(view);
  drawPools(view);
  drawEvents(view);
}
