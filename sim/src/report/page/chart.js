// Draws the timeline: rows from top to bottom, all over the same stretch of time. What is drawn is kept, so that a pointer can ask what it is on.
const LEFT = 118;
const RIGHT = 12;
const LINES_MAX = 4000;

const canvas = element('canvas');
const pen = canvas.getContext('2d');
let width = 0, height = 0, rows = [], drawn = { marks: 0, messages: 0, meant: 0 };

const x = (at) => LEFT + (at - view.from) / (view.until - view.from) * (width - LEFT - RIGHT);
const timeAt = (px) => view.from + (px - LEFT) / (width - LEFT - RIGHT) * (view.until - view.from);
const inView = (from, until) => until >= view.from && from <= view.until;

const pairs = [...new Set(run.bands.filter((band) => band.other !== null).map(pairOf))].sort();
function pairOf(band) {
  return Math.min(band.node, band.other) + ' – ' + Math.max(band.node, band.other);
}

// The states of each node, as stretches.
const lives = Object.fromEntries(run.nodes.map((node) => {
  const turns = run.turns.filter((turn) => turn[1] === node);
  return [node, turns.map(([at, , state, why], i) => ({ from: at, until: turns[i + 1] ? turns[i + 1][0] : END, state, why }))];
}));

// Who led when: as the controllers decided, and where they say nothing (the metadata log) as the replicas show it.
function leaderships(partition) {
  const list = [];
  const push = (at, leader, epoch) => {
    const last = list.at(-1);
    if (last && last.leader === leader && last.epoch === epoch) return;
    if (last) last.until = Math.min(last.until, at);
    list.push({ from: at, until: END, leader, epoch });
  };
  if (partition.decided.length) {
    for (const [at, leader, epoch] of partition.decided) push(at, leader, epoch);
    return list;
  }
  const turns = [];
  for (const [node, points] of Object.entries(partition.replicas)) {
    points.forEach((point, i) => {
      const led = i > 0 && points[i - 1][1] === 3;
      if (point[1] === 3 && (!led || points[i - 1][2] !== point[2])) turns.push([point[0], Number(node), point[2]]);
      else if (point[1] !== 3 && led) turns.push([point[0], -1, points[i - 1][2], Number(node)]);
    });
  }
  turns.sort((a, b) => a[0] - b[0]);
  for (const [at, leader, epoch, was] of turns) {
    if (leader >= 0 || (list.at(-1) && list.at(-1).leader === was)) push(at, leader, epoch);
  }
  return list;
}

function layout() {
  rows = [];
  let top = 0;
  const row = (kind, size, more = {}) => { rows.push({ kind, top, size, ...more }); top += size; };
  row('axis', 22);
  const lane = view.messages ? Math.max(34, 190 / run.nodes.length) : 24;
  for (const node of run.nodes) row('node', lane, { node, label: 'node ' + node });
  if (view.messages) row('outside', 20, { label: 'clients' });
  for (const pair of pairs) row('pair', 13, { pair, label: 'network ' + pair });
  const partition = run.partitions[view.partition];
  if (partition) {
    row('gap', 8);
    row('leaders', 20, { partition, label: 'leader, epoch' });
    if (partition.decided.length) {
      for (const node of Object.keys(partition.replicas).map(Number)) row('isr', 11, { partition, node, label: 'in sync: ' + node });
    }
    row('gap', 6);
    row('curves', 210, { partition, label: partition.name });
  }
  if (view.clients) {
    row('gap', 8);
    run.lanes.forEach((label, lane) => row('clients', 11, { lane, label }));
  }
  row('gap', 4);
  height = top;
}

function draw() {
  layout();
  const ratio = window.devicePixelRatio || 1;
  width = canvas.parentElement.clientWidth;
  canvas.style.height = height + 'px';
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = colors.paper;
  pen.fillRect(0, 0, width, height);
  drawn = { marks: 0, messages: 0, meant: 0 };
  words = [];
  grid();
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, width - LEFT - RIGHT, height);
  pen.clip();
  const draws = { node: drawNode, pair: drawPair, leaders: drawLeaders, isr: drawInSync, curves: drawCurves, clients: drawDeeds };
  for (const row of rows) if (draws[row.kind]) draws[row.kind](row);
  if (view.messages) drawMessages();
  drawCursors();
  pen.restore();
  labels();
}

function grid() {
  const span = view.until - view.from;
  const rough = span / Math.max(2, (width - LEFT) / 110);
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough);
  pen.font = '11px system-ui, sans-serif';
  pen.textAlign = 'center';
  for (let at = Math.ceil(Math.max(view.from, 0) / step) * step; at <= view.until; at += step) {
    pen.fillStyle = colors.line;
    pen.fillRect(x(at), 18, 1, height);
    pen.fillStyle = colors.faint;
    const meets = run.found && Math.abs(x(at) - x(run.found.at)) < 90 && x(run.found.at) <= width;
    if (x(at) > LEFT + 14 && !meets) pen.fillText(seconds(at), Math.min(x(at), width - 30), 13);
  }
}

function labels() {
  pen.textAlign = 'right';
  for (const row of rows.filter((row) => row.label)) {
    const small = row.size < 14;
    pen.font = (small ? '10px' : '12px') + ' system-ui, sans-serif';
    pen.fillStyle = row.node ? nodeColor(row.node) : colors.faint;
    const at = row.kind === 'curves' ? row.top + 14 : row.top + row.size / 2 + (small ? 3.5 : 4);
    if (row.kind === 'curves') pen.font = 'bold 12px system-ui, sans-serif';
    pen.fillText(row.label.length > 20 ? row.label.slice(0, 19) + '…' : row.label, LEFT - 8, at, LEFT - 12);
  }
}

// A stretch of a row; at least as wide as can be seen.
function stretch(from, until, top, size, color, least = 1) {
  const left = Math.max(x(from), LEFT - 2), right = Math.min(x(until), width);
  pen.fillStyle = color;
  pen.fillRect(left, top, Math.max(right - left, least), size);
  drawn.marks++;
}

// Words on a stretch, where there is room for them; with a rim, whatever the stretch looks like.
function within(text, from, until, top, color, rim) {
  const left = Math.max(x(from), LEFT), room = Math.min(x(until), width - RIGHT) - left - 6;
  if (room < 12) return;
  pen.font = '11px system-ui, sans-serif';
  pen.textAlign = 'left';
  const size = pen.measureText(text).width;
  if (size > room || !isFree(left + 4, top, size)) return;
  write(text, left + 4, top, color, rim);
}

function write(text, left, top, color, rim) {
  if (rim) {
    pen.strokeStyle = rim;
    pen.lineWidth = 3;
    pen.lineJoin = 'round';
    pen.strokeText(text, left, top);
  }
  pen.fillStyle = color;
  pen.fillText(text, left, top);
}

// Whether no words are there yet; then they are taken to be.
let words = [];
function isFree(left, top, size) {
  if (words.some((other) => Math.abs(other.top - top) < 10 && left < other.right + 4 && other.left < left + size + 4)) return false;
  words.push({ left, top, right: left + size });
  return true;
}

// The bar of a node within its lane.
const bar = (row) => ({ top: row.top + (row.size - 18) / 2, size: 18 });

function drawNode(row) {
  const { top, size } = bar(row);
  for (const life of lives[row.node]) {
    if (inView(life.from, life.until)) stretch(life.from, life.until, top, size, colors[life.state]);
  }
  for (const band of run.bands) {
    if (band.node !== row.node || band.other !== null || !inView(band.from, band.until)) continue;
    const isPause = band.name === 'paused';
    if (isPause) stretch(band.from, band.until, top + 3, size - 3, colors.paused, 2);
    else stretch(band.from, band.until, top, band.until > band.from ? 4 : 0, colors.fault, 2);
    if (isPause) within('paused', band.from, band.until, top + 14, colors.ink);
    else {
      mark(x(band.from), top - 1, colors.fault);
      within(band.name, band.from, Math.max(band.until, band.from + 90 / (width - LEFT) * (view.until - view.from)), top + 14, colors.ink, colors.paper);
    }
  }
  for (const life of lives[row.node]) {
    if (life.state === 'down' && inView(life.from, life.from)) cross(x(life.from), top + size / 2);
    if (life.state !== 'up' && inView(life.from, life.until)) within(life.state, life.from, life.until, top + 14, life.state === 'down' ? '#fff' : colors.ink);
  }
}

function mark(at, top, color) {
  pen.fillStyle = color;
  pen.beginPath();
  pen.moveTo(at - 4, top - 2);
  pen.lineTo(at + 4, top - 2);
  pen.lineTo(at, top + 5);
  pen.fill();
  drawn.marks++;
}

function cross(at, middle) {
  pen.strokeStyle = colors.bad;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(at - 4, middle - 5);
  pen.lineTo(at + 4, middle + 5);
  pen.moveTo(at + 4, middle - 5);
  pen.lineTo(at - 4, middle + 5);
  pen.stroke();
}

function drawPair(row) {
  pen.fillStyle = colors.line;
  pen.fillRect(LEFT, row.top + 6, width, 1);
  for (const band of run.bands) {
    if (band.other === null || pairOf(band) !== row.pair || !inView(band.from, band.until)) continue;
    stretch(band.from, band.until, row.top + 2, 9, band.name === 'slow' ? colors.info : colors.fault, 2);
    const way = band.name === 'one-way' ? band.node + ' → ' + band.other + ' held' : band.name;
    within(way, band.from, band.until, row.top + 10.5, colors.paper);
  }
}

function drawLeaders(row) {
  for (const led of leaderships(row.partition)) {
    if (!inView(led.from, led.until)) continue;
    const color = led.leader < 0 ? colors.down : nodeColor(led.leader);
    stretch(led.from, led.until, row.top + 2, row.size - 4, color);
    stretch(led.from, led.from, row.top, row.size, colors.ink);
    within(led.leader < 0 ? 'nobody' : 'node ' + led.leader + ', epoch ' + led.epoch, led.from, led.until, row.top + 14, colors.paper);
  }
}

function drawInSync(row) {
  const decided = row.partition.decided;
  decided.forEach(([at, , , isr, elr, replicas], i) => {
    const until = decided[i + 1] ? decided[i + 1][0] : END;
    if (!inView(at, until)) return;
    if (isr.includes(row.node)) stretch(at, until, row.top + 2, 7, nodeColor(row.node));
    else if (elr.includes(row.node)) { pen.globalAlpha = 0.35; stretch(at, until, row.top + 2, 7, nodeColor(row.node)); pen.globalAlpha = 1; }
    else if (replicas.includes(row.node)) stretch(at, until, row.top + 5, 1, colors.faint);
  });
}

// What curves of a partition show in the stretch in view, with the point before it.
function visible(points) {
  const first = Math.max(lastAt(points, view.from), 0);
  return points.slice(first, lastAt(points, view.until) + 1);
}

function bounds(partition) {
  let low = Infinity, high = -Infinity;
  for (const points of Object.values(partition.replicas)) {
    for (const [, part, , , , end, , mark] of visible(points)) {
      if (part < 2) continue;
      low = Math.min(low, mark, end);
      high = Math.max(high, end, mark);
    }
  }
  if (low > high) return [0, 1];
  const room = Math.max((high - low) * 0.08, 1);
  return [low - room, high + room];
}

let scale = { low: 0, high: 1, top: 0, size: 1 };
const y = (offset) => scale.top + scale.size - (offset - scale.low) / (scale.high - scale.low) * scale.size;

function drawCurves(row) {
  const [low, high] = bounds(row.partition);
  scale = { low, high, top: row.top + 4, size: row.size - 8 };
  pen.fillStyle = colors.panel;
  pen.fillRect(LEFT, row.top, width - LEFT - RIGHT, row.size);
  pen.font = '10px system-ui, sans-serif';
  pen.textAlign = 'left';
  const unit = 10 ** Math.floor(Math.log10((high - low) / 2));
  const step = Math.max(1, [1, 2, 5, 10].map((n) => n * unit).find((n) => (high - low) / n <= 6) || unit * 10);
  for (let offset = Math.ceil(Math.max(low, 0) / step) * step; offset <= high; offset += step) {
    pen.fillStyle = colors.line;
    pen.fillRect(LEFT, y(offset), width, 1);
    pen.fillStyle = colors.faint;
    pen.fillText(offset, LEFT + 3, y(offset) - 2);
  }
  if (run.found && run.found.partition === view.partition) {
    for (const offset of run.found.offsets) {
      if (offset < low || offset > high) continue;
      pen.fillStyle = colors.bad;
      pen.fillRect(LEFT, y(offset), width, 1);
      pen.fillText('offset ' + offset, LEFT + 46, y(offset) - 2);
    }
  }
  for (const [node, points] of Object.entries(row.partition.replicas)) {
    const seen = visible(points);
    steps(seen, 7, nodeColor(node), [5, 3], () => 1.3);
    steps(seen, 5, nodeColor(node), [], (part) => part === 3 ? 2.8 : 1.4);
  }
}

// One curve, in steps: what held last holds on. Where a log is cut, a mark.
function steps(points, field, color, dash, weight) {
  points.forEach((point, i) => {
    if (point[1] < 2) return;
    const next = points[i + 1];
    const until = next ? next[0] : Math.min(view.until, END);
    pen.strokeStyle = color;
    pen.setLineDash(dash);
    pen.lineWidth = weight(point[1]);
    pen.beginPath();
    pen.moveTo(Math.max(x(point[0]), LEFT - 5), y(point[field]));
    pen.lineTo(Math.min(x(until), width), y(point[field]));
    if (next && next[1] >= 2) pen.lineTo(Math.min(x(until), width), y(next[field]));
    pen.stroke();
    drawn.marks++;
    if (field === 5 && next && next[1] >= 2 && next[5] < point[5]) {
      pen.setLineDash([]);
      pen.strokeStyle = colors.bad;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(x(next[0]), y(next[5]), 4, 0, 7);
      pen.stroke();
    }
  });
  pen.setLineDash([]);
}

const touches = (deed) => deed[6].some(([key]) => run.keys[key] === view.partition);
const byLane = run.lanes.map((_, lane) => run.deeds.filter((deed) => deed[0] === lane));

function drawDeeds(row) {
  pen.fillStyle = colors.line;
  pen.fillRect(LEFT, row.top + 5, width, 1);
  // Long stretches of equal ones run into one another: each pixel once.
  let last = '', reached = -1;
  for (const deed of byLane[row.lane]) {
    const until = deed[3] < 0 ? END : deed[3];
    if (!inView(deed[2], until)) continue;
    const meant = touches(deed);
    const look = deed[5] + meant;
    if (look === last && x(until) < reached) continue;
    [last, reached] = [look, Math.max(x(until), x(deed[2]) + 1)];
    pen.globalAlpha = meant ? 1 : 0.25;
    stretch(deed[2], until, row.top + (meant ? 1 : 3), meant ? 9 : 5, colors[deed[5]], 1.5);
  }
  pen.globalAlpha = 1;
}

const middleOf = (end) => {
  const row = end < 0 ? rows.find((row) => row.kind === 'outside') : rows.find((row) => row.node === end && row.kind === 'node');
  return row ? row.top + row.size / 2 : null;
};

let lines = [];
function drawMessages() {
  lines = [];
  for (const message of run.messages) {
    if (message[0] > view.until) break;
    if (!inView(message[0], message[1] < 0 ? message[0] : message[1])) continue;
    if (view.narrow && !message[6].some(([number]) => number === view.partition)) continue;
    const [from, to] = [middleOf(message[2]), middleOf(message[3])];
    if (from === null || to === null) continue;
    drawn.meant++;
    if (lines.length < LINES_MAX) lines.push({ message, from, to });
  }
  for (const { message, from, to } of lines) {
    const lost = message[1] < 0;
    const color = message[2] < 0 ? colors.faint : nodeColor(message[2]);
    const [left, right] = [x(message[0]), lost ? x(message[0]) + 14 : x(message[1])];
    const bottom = lost ? from + (to - from) * 0.4 : to;
    pen.strokeStyle = lost ? colors.bad : color;
    pen.globalAlpha = lines.length > 400 ? 0.45 : 0.9;
    pen.lineWidth = 1.1;
    pen.setLineDash(message[5] ? [3, 2] : []);
    pen.beginPath();
    pen.moveTo(left, from);
    pen.lineTo(right, bottom);
    pen.stroke();
    pen.setLineDash([]);
    if (lost) cross(right, bottom); else if (lines.length < 600) tip(left, from, right, bottom, color);
    if (lines.length < 40) {
      pen.font = '10px system-ui, sans-serif';
      pen.textAlign = 'center';
      const text = run.apis[message[4]] + (message[5] ? ' ↩' : ''), half = pen.measureText(text).width / 2;
      const [middle, top] = [(left + right) / 2, (from + bottom) / 2 - 2];
      if (isFree(middle - half, top, 2 * half)) write(text, middle, top, colors.ink, colors.paper);
    }
  }
  pen.globalAlpha = 1;
  drawn.messages = lines.length;
}

function tip(left, top, right, bottom, color) {
  const angle = Math.atan2(bottom - top, right - left);
  pen.fillStyle = color;
  pen.beginPath();
  pen.moveTo(right, bottom);
  pen.lineTo(right - 6 * Math.cos(angle - 0.4), bottom - 6 * Math.sin(angle - 0.4));
  pen.lineTo(right - 6 * Math.cos(angle + 0.4), bottom - 6 * Math.sin(angle + 0.4));
  pen.fill();
}

function drawCursors() {
  if (view.cursor !== null) {
    pen.fillStyle = colors.ink;
    pen.fillRect(x(view.cursor), 18, 1, height);
  }
  if (!run.found) return;
  pen.fillStyle = colors.bad;
  pen.fillRect(x(run.found.at) - 1, 0, 2, height);
  pen.font = 'bold 11px system-ui, sans-serif';
  const right = x(run.found.at) > (width + LEFT) / 2;
  pen.textAlign = right ? 'right' : 'left';
  pen.fillText('violation', x(run.found.at) + (right ? -5 : 5), 13);
}
