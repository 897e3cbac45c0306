// Draws what /dashboard/feed tells. Text of peers goes into text nodes only, so that nothing in it is markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);
const state = { now: 0, traffic: null, rates: {}, totals: [0, 0], sort: "score", down: false, peers: null };

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function draw(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const number = (value, digits = 0) => Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let n = 0;
  while (size >= 999.5 && n < units.length - 1) { size /= 1000; n += 1; }
  return `${number(size, n ? 1 : 0)} ${units[n]}`;
}

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(0, Math.round(seconds));
  const [d, h, m, s] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
  if (d > 999) return "more than 999 d";
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s} s` : `${s} s`;
}

const ago = (unix) => `${span(state.now - unix)} ago`;
const clock = (unix) => new Date(unix * 1000).toLocaleTimeString();
const short = (hash) => `${hash.slice(0, 4)}…${hash.slice(-12)}`;

// A cell is text, or {text, n, long, title, bar, level}. Rows that stay keep their nodes: selections and focus survive.
function rows(body, list) {
  body.parentElement.hidden = !list.length;
  let none = body.parentElement.nextElementSibling;
  if (!none) { none = make("p", { class: "dim" }, body.parentElement.dataset.none || "None yet."); body.parentElement.after(none); }
  none.hidden = list.length > 0;
  while (body.rows.length > list.length) body.deleteRow(-1);
  list.forEach((cells, i) => {
    const row = body.rows[i] || body.insertRow();
    cells.forEach((cell, k) => fill(row.cells[k] || row.insertCell(), cell));
  });
}

function fill(node, cell) {
  const one = typeof cell === "object" ? cell : { text: cell };
  const name = [one.n ? "n" : "", one.long ? "long" : "", one.level || ""].join(" ").trim();
  if (node.className !== name) node.className = name;
  if (one.title) node.title = one.title;
  if (one.bar === undefined) { put(node, String(one.text)); return; }
  let bar = node.querySelector("progress");
  if (!bar) {
    bar = make("progress", { max: 1, "aria-label": one.title || "share" });
    node.replaceChildren(bar, document.createTextNode(""));
  }
  bar.value = one.bar;
  bar.className = one.high ? "high" : "";
  if (node.lastChild.data !== ` ${one.text}`) node.lastChild.data = ` ${one.text}`;
}

function pairs(list, entries) {
  while (list.children.length > entries.length) list.lastChild.remove();
  entries.forEach(([name, text, level, share], i) => {
    let group = list.children[i];
    if (!group) { group = make("div", {}, make("dt"), make("dd")); list.append(group); }
    put(group.children[0], name);
    put(group.children[1], text);
    group.children[1].className = level || "";
    let bar = group.querySelector("progress");
    if (share === undefined) { if (bar) bar.remove(); return; }
    if (!bar) { bar = make("progress", { max: 1, "aria-label": name }); group.append(bar); }
    bar.value = share;
    bar.className = share > 0.9 ? "high" : "";
  });
}

const show = {
  starting(status) {
    put($("headline"), `The node is starting: ${status}`);
  },

  state(it) {
    state.now = it.now;
    document.title = `${it.in_sync ? "✓" : "…"} ${number(it.blocks)} btcnode ${it.network}`;
    put($("network"), it.network);
    const headline = $("headline");
    const alone = !(it.peers_in + it.peers_out);
    const old = it.state === "synced" && `The newest block that peers know is ${span(it.now - it.tip_time)} old`;
    put(headline, it.in_sync ? "In sync" : alone ? "No peer is connected" : old || `Not in sync: ${it.meaning}`);
    headline.className = it.in_sync ? "good" : alone || old || it.state === "stalled" ? "bad" : "busy";
    const warnings = $("warnings");
    if (warnings.dataset.told !== JSON.stringify(it.warnings)) {
      warnings.dataset.told = JSON.stringify(it.warnings);
      warnings.replaceChildren(...it.warnings.map((text) => make("p", {}, text)));
    }
    put($("height"), number(it.blocks));
    put($("headers"), `${number(it.headers)} headers`);
    $("progress").value = it.headers ? it.progress : 0;
    pairs($("chain-figures"), [
      ["Validated", `${(100 * it.progress).toFixed(it.progress < 0.9999 ? 2 : 0)} %`],
      ["Tip", `${short(it.tip)}, its time ${ago(it.tip_time)}`],
      ["Time left", it.blocks >= it.headers ? "none" : it.seconds_left === null ? "not known yet" : span(it.seconds_left)],
      ["Rate", `${number(it.blocks_per_second, 1)} blocks/s, ${number(it.transactions_per_second)} transactions/s`],
      ["Peers", `${it.peers_out} out, ${it.peers_in} in`],
    ]);
    put($("footer"), `btcnode ${it.version}, up ${span(it.uptime)}${it.pruned ? ", pruned" : ""}`);
  },

  answers(list) {
    pairs(document.querySelector("#answers dl"), list.map((one) => [one.question, one.answer, one.level]));
  },

  stages(it) {
    put($("bottleneck"), it.bottleneck ? `The others wait for: ${it.bottleneck}` : "No stage holds the others up.");
    rows($("stage-table").tBodies[0], it.stages.map((one) => [
      one.name,
      { bar: one.busy, text: `${Math.round(100 * one.busy)} %`, high: one.name === it.bottleneck, title: `${one.name} busy` },
      { text: number(one.queue), n: true },
      { text: number(one.workers), n: true },
    ]));
  },

  blocks(list) {
    const who = (peer) => (peer ? `${peer[1]} (${peer[0]})` : "–");
    const forms = { compact: "compact", xthin: "XTHIN", full: "full" };
    rows($("block-table").tBodies[0], list.map((one) => [
      { text: number(one.height), n: true },
      clock(one.time),
      { text: who(one.announcer), title: one.sender ? `sent by ${who(one.sender)}` : "" },
      forms[one.form] || "–",
      { text: one.form === "compact" || one.form === "xthin" ? number(one.asked) : "–", n: true },
      { text: one.arrived_ms === null ? "–" : `${number(one.arrived_ms)} ms`, n: true },
      { text: one.tip_ms === null ? "–" : `${number(one.tip_ms)} ms`, n: true },
      { text: number(one.txs), n: true },
      { text: bytes(one.size), n: true },
      { text: short(one.hash), title: one.hash },
    ]));
  },

  mempool(it) {
    pairs($("pool-figures"), [
      ["Transactions", number(it.txs)],
      ["Size", `${number(it.vsize / 1e6, 2)} MvB`],
      ["Memory", `${bytes(it.usage)} of ${bytes(it.limit)}`],
      ["Least fee rate", `${number(it.minimum, 2)} sat/vB`],
      ["Taken in", number(it.accepted)],
      ["Refused", number(it.rejected)],
      ["Evicted", number(it.evicted)],
    ]);
    feeHistory(it);
    feeNow(it);
    rows($("projected-table").tBodies[0], it.projected.map((one, n) => [
      n === 0 ? "next" : `in ${n + 1}`,
      { text: number(one.low, 2), n: true },
      { text: number(one.high, 2), n: true },
      { text: number(one.txs), n: true },
      { bar: Math.min(1, one.weight / 3992000), text: `${Math.round(one.weight / 39920)} %`, title: "full" },
      { text: number(one.fees / 1e8, 4), n: true },
    ]));
  },

  peers(it) {
    state.peers = it;
    const networks = Object.entries(it.networks).map(([name, count]) => `${count} ${networkName(name)}`).join(", ");
    const hidden = it.number > it.listed.length ? `, ${it.listed.length} with the lowest scores shown` : "";
    const kept = `${number(it.bans)} ranges banned, ${number(it.discouraged)} addresses kept away for misbehaviour`;
    put($("peer-figures"), it.number ? `${it.number} connected${hidden}: ${networks}. ${kept}.` : `${kept}.`);
    peerRows();
    rows($("gone-table").tBodies[0], it.gone.map((one) => [
      ago(one.unix),
      `${one.address} (${one.peer_id})`,
      { text: one.reason, long: true, title: one.reason },
      { text: number(one.score), n: true, level: one.score < 40 ? "bad" : "" },
      { text: span(one.seconds), n: true },
      one.inbound ? "in" : "out",
      { text: one.user_agent, long: true, title: one.user_agent },
    ]));
    const faults = Object.entries(it.offences).sort((a, b) => b[1] - a[1]);
    pairs($("offences"), faults.length ? faults.map(([name, count]) => [name, number(count), "bad"]) : [["None", ""]]);
  },

  traffic(it) {
    const before = state.traffic;
    const at = performance.now() / 1000;
    if (before && at > before.at) {
      const rate = (now, then) => Math.max(0, now - then) / (at - before.at);
      state.rates = {};
      for (const [kind, [received, sent]] of Object.entries(it.types)) {
        const then = before.types[kind] || [0, 0];
        state.rates[kind] = [rate(received, then[0]), rate(sent, then[1])];
      }
      state.totals = [rate(it.received, before.received), rate(it.sent, before.sent)];
    }
    state.traffic = { ...it, at };
    const [received, sent] = state.totals;
    put($("traffic-figures"), `In ${bytes(received)}/s, out ${bytes(sent)}/s. Since the start: ${bytes(it.received)} in, ${bytes(it.sent)} out.`);
    const kinds = Object.entries(it.types).sort((a, b) => b[1][0] + b[1][1] - a[1][0] - a[1][1]);
    rows($("traffic-table").tBodies[0], kinds.map(([kind, [kindIn, kindOut]]) => {
      const [rateIn, rateOut] = state.rates[kind] || [0, 0];
      return [kind, ...[bytes(kindIn), `${bytes(rateIn)}/s`, bytes(kindOut), `${bytes(rateOut)}/s`].map((text) => ({ text, n: true }))];
    }));
  },

  resources(it) {
    const own = (it.memory.node || 0) + (it.memory.workers || 0);
    const hits = it.lookups ? `${(100 * (1 - it.misses / it.lookups)).toFixed(1)} % of ${number(it.lookups)} lookups in memory` : "no lookups yet";
    const entries = [
      ["Memory, node and workers", `${bytes(own)} of ${bytes(it.memory_limit)}`, "", own / it.memory_limit],
      ["Coin cache", `${bytes(it.cache.bytes)} of ${bytes(it.cache.budget)}, ${number(it.cache.coins)} coins; ${hits}`, "", it.cache.bytes / it.cache.budget],
      ["UTXO set on disk", bytes(it.disk.coins || 0)],
      ["Blocks on disk", bytes(it.disk.blocks || 0) + (it.disk.indexes ? `, indexes ${bytes(it.disk.indexes)}` : "")],
    ];
    if (it.free !== null) {
      const lasts = it.seconds_left === null ? "" : it.seconds_left ? `; lasts ${span(it.seconds_left)}` : "; not enough";
      const size = `${bytes(it.free)} of ${bytes(it.disk_size)} free${lasts}`;
      entries.push(["Disk", size, it.is_short ? "bad" : "", 1 - it.free / it.disk_size]);
    }
    pairs($("resource-figures"), entries);
  },

  branches(list) {
    $("branch-trees").replaceChildren(...(list.length ? list.map(tree) : ["None since the start."]));
  },
};

const networkName = (name) => (name === "not_publicly_routable" ? "private" : name);

// name, key, how it is shown; the key sorts
const COLUMNS = [
  ["Address", "address", (p) => ({ text: p.address, long: true, title: `peer ${p.id}, ${p.kind}` })],
  ["Score", "score", (p) => ({ text: number(p.score), n: true, level: p.score < 40 ? "bad" : "" })],
  ["State", "standing", (p) => (p.state === "active" ? p.standing : p.state)],
  ["Network", "network", (p) => networkName(p.network)],
  ["Direction", "inbound", (p) => (p.inbound ? "in" : "out")],
  ["Ping", "ping", (p) => ({ text: p.ping === null ? "–" : `${number(1000 * p.ping)} ms`, n: true })],
  ["In", "received", (p) => ({ text: bytes(p.received), n: true })],
  ["Out", "sent", (p) => ({ text: bytes(p.sent), n: true })],
  ["Faults", "faults", (p) => ({ text: number(p.faults, 1), n: true, level: p.faults >= 1 ? "bad" : "" })],
  ["Useless", "wasted", (p) => ({ text: number(p.wasted, 1), n: true })],
  ["Failed", "failed", (p) => ({ text: number(p.failed, 1), n: true })],
  ["Work", "work", (p) => ({ text: `${number(p.work, 2)} s`, n: true, level: p.work > 10 ? "bad" : "" })],
  ["Height", "height", (p) => ({ text: p.height < 0 ? "–" : number(p.height), n: true })],
  ["Since", "since", (p) => ({ text: span(state.now - p.since), n: true })],
  ["Transport", "transport", (p) => p.transport],
  ["User agent", "user_agent", (p) => ({ text: p.user_agent, long: true, title: p.user_agent })],
];

function peerHead() {
  const row = $("peer-table").tHead.rows[0];
  for (const [name, key, cell] of COLUMNS) {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      state.down = state.sort === key ? !state.down : false;
      state.sort = key;
      peerRows();
    });
    const sample = cell({ address: "", network: "", ping: 0, user_agent: "", transport: "", standing: "", state: "active" });
    row.append(make("th", { scope: "col", class: typeof sample === "object" && sample.n ? "n" : "", "data-key": key }, button));
  }
}

function peerRows() {
  for (const head of $("peer-table").tHead.rows[0].cells) {
    if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  if (!state.peers) return;
  const order = state.down ? -1 : 1;
  const list = [...state.peers.listed].sort((a, b) => {
    const [x, y] = [a[state.sort], b[state.sort]];
    if (x === y || (x === null && y === null)) return a.id - b.id;
    if (x === null || y === null) return x === null ? 1 : -1;
    return (x < y ? -1 : 1) * order;
  });
  rows($("peer-table").tBodies[0], list.map((peer) => COLUMNS.map(([, , cell]) => cell(peer))));
}

// from cheap (blue) to dear (red)
const shade = (n, of) => `hsl(${Math.round(220 - (220 * n) / of)} 65% 50%)`;
const range = (bounds, n) => (n === 0 ? `below ${bounds[0]}` : n === bounds.length ? `${bounds[n - 1]} and more` : `${bounds[n - 1]}–${bounds[n]}`);

// As many units as pixels, so that text has the size of text
const room = (place) => Math.max(240, Math.min(640, place.clientWidth));

function picture(width, height, label) {
  return draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
}

function feeHistory(it) {
  const looks = [...it.history, [state.now, it.now]];
  if (looks.every(([, sizes]) => sizes.every((size) => !size))) {
    $("fee-history").replaceChildren("There was nothing in it.");
    return;
  }
  const [width, height, edge] = [room($("fee-history")), 180, 34];
  const most = Math.max(1e6, ...looks.map(([, sizes]) => sizes.reduce((sum, size) => sum + size, 0)));
  const wide = Math.max(60, state.now - looks[0][0]);
  const x = (unix) => edge + (width - edge - 4) * (1 - (state.now - unix) / wide);
  const y = (size) => height - 18 - ((height - 26) * size) / most;
  const svg = picture(width, height, `Mempool by fee rate over ${span(wide)}, ${number(most / 1e6, 1)} MvB at most`);
  const below = looks.map(() => 0);
  for (let n = 0; n <= it.bounds.length; n += 1) {
    if (looks.every(([, sizes]) => !sizes[n])) continue;
    const lower = looks.map(([unix], i) => `${x(unix).toFixed(1)},${y(below[i]).toFixed(1)}`);
    looks.forEach(([, sizes], i) => { below[i] += sizes[n]; });
    const upper = looks.map(([unix], i) => `${x(unix).toFixed(1)},${y(below[i]).toFixed(1)}`);
    const area = draw("polygon", { points: [...upper, ...lower.reverse()].join(" "), fill: shade(n, it.bounds.length) });
    area.append(draw("title", {}, `${range(it.bounds, n)} sat/vB`));
    svg.append(area);
  }
  svg.append(draw("line", { x1: edge, x2: width - 4, y1: y(0), y2: y(0), class: "axis" }));
  svg.append(draw("text", { x: 0, y: y(most) + 9 }, number(most / 1e6, 1)), draw("text", { x: 0, y: y(0) }, "0"));
  svg.append(draw("text", { x: edge, y: height - 3 }, `${span(wide)} ago`), draw("text", { x: width - 4, y: height - 3, "text-anchor": "end" }, "now"));
  $("fee-history").replaceChildren(svg);
}

function feeNow(it) {
  const used = it.now.map((size, n) => [size, n]).filter(([size]) => size).reverse();
  if (!used.length) { $("fee-now").replaceChildren("The mempool is empty."); return; }
  const [width, line] = [room($("fee-now")), 18];
  const longest = width - 190;
  const most = Math.max(...used.map(([size]) => size));
  const svg = picture(width, used.length * line, `Mempool by fee rate now: ${used.map(([size, n]) => `${range(it.bounds, n)} sat/vB ${number(size / 1e6, 2)} MvB`).join(", ")}`);
  used.forEach(([size, n], i) => {
    const top = i * line;
    svg.append(draw("text", { x: 96, y: top + 13, "text-anchor": "end" }, range(it.bounds, n)));
    svg.append(draw("rect", { x: 104, y: top + 3, width: Math.max(1, (longest * size) / most), height: line - 6, fill: shade(n, it.bounds.length) }));
    svg.append(draw("text", { x: 110 + (longest * size) / most, y: top + 13 }, `${number(size / 1e6, 2)} MvB`));
  });
  $("fee-now").replaceChildren(svg);
}

function tree(one) {
  const step = 92;
  const wide = 60 + step * (1 + Math.max(one.left.length, one.joined.length));
  const label = `${clock(one.time)}: ${one.depth} ${one.depth === 1 ? "block" : "blocks"} left, ${one.joined.length} came in their place`;
  const svg = picture(wide, 96, label);
  const branch = (list, y, name) => {
    let [before, level] = [[30, 48], 48];
    list.forEach((block, n) => {
      const at = [30 + step * (n + 1), y];
      svg.append(draw("line", { x1: before[0], y1: before[1], x2: at[0], y2: at[1], class: name }));
      [before, level] = [at, y];
    });
    list.forEach((block, n) => {
      const dot = draw("circle", { cx: 30 + step * (n + 1), cy: y, r: 6, class: name });
      dot.append(draw("title", {}, block.hash));
      svg.append(dot, draw("text", { x: 30 + step * (n + 1), y: y < 48 ? y - 10 : y + 19, "text-anchor": "middle" }, `${number(block.height)} …${block.hash.slice(-4)}`));
    });
  };
  branch(one.left, 74, "left");
  branch(one.joined, 22, "main");
  svg.append(draw("circle", { cx: 30, cy: 48, r: 6, class: "main" }));
  if (one.fork) svg.append(draw("text", { x: 30, y: 70, "text-anchor": "middle" }, number(one.fork.height)));
  return make("figure", {}, make("figcaption", {}, label), svg);
}

function listen() {
  const feed = new EventSource("/dashboard/feed");
  let last = Date.now();
  for (const [name, draws] of Object.entries(show)) {
    feed.addEventListener(name, (event) => {
      last = Date.now();
      put($("link"), "");
      draws(JSON.parse(event.data));
    });
  }
  feed.addEventListener("error", () => {
    put($("link"), "No connection to the node; what is shown is old.");
    if (feed.readyState === EventSource.CLOSED) refused();
  });
  const watch = setInterval(() => {
    if (feed.readyState === EventSource.CLOSED) clearInterval(watch);
    else if (Date.now() - last > 10000) put($("link"), "Nothing has come from the node for 10 s; what is shown is old.");
  }, 5000);
}

async function refused() {
  const told = { 401: "The node does not take this password any more: that of the cookie is new at each start. Load the page anew.",
    403: "The node does not show itself to this user any more.",
    503: "As many look at the node as may, or it stops. The next try is in 5 s." };
  let status = 0;
  try { status = (await fetch("/dashboard/feed", { method: "HEAD" })).status; } catch { /* nobody answers */ }
  put($("link"), told[status] || "No connection to the node; what is shown is old. The next try is in 5 s.");
  if (status !== 401 && status !== 403) setTimeout(listen, 5000);
}

peerHead();
listen();
