'use strict';
// What is looked at: the data of the run, the stretch of time, the partition, and what is shown. The address keeps it, so that a view can be handed on.
const run = JSON.parse(document.getElementById('data').textContent);
const S = 1e9;
const END = Math.max(run.virtual_ns, 1);
const element = (id) => document.getElementById(id);
const colors = {};

const view = { from: 0, until: END, partition: 0, messages: false, narrow: true, clients: true, cursor: null, line: -1 };

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['paper', 'panel', 'ink', 'faint', 'line', 'up', 'recovering', 'closing', 'down', 'paused', 'fault', 'bad', 'ok', 'fail', 'info', 'open']) {
    colors[name] = style.getPropertyValue('--' + name).trim();
  }
  for (let n = 1; n <= 9; n++) colors['n' + n] = style.getPropertyValue('--n' + n).trim();
}

const nodeColor = (node) => colors['n' + ((node - 1) % 9 + 1)];

// Seconds, as exactly as the stretch in view wants them.
function seconds(at, exact) {
  const span = exact ? 0 : (view.until - view.from) / S;
  const digits = exact ? 6 : span > 20 ? 0 : span > 2 ? 1 : span > 0.2 ? 2 : span > 0.02 ? 3 : span > 0.002 ? 4 : 6;
  return (at / S).toFixed(digits) + ' s';
}

// The place of the last of `list` that is at `at` or before; −1 if there is none.
function lastAt(list, at, time = (entry) => entry[0]) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (time(list[middle]) <= at) low = middle + 1; else high = middle;
  }
  return low - 1;
}

// No less than a microsecond, and within the run with a little room.
function look(from, until) {
  const span = Math.min(Math.max(until - from, 1000), END * 1.04);
  const middle = (from + until) / 2;
  const first = Math.min(Math.max(middle - span / 2, -0.02 * END), END * 1.02 - span);
  view.from = first;
  view.until = first + span;
  changed();
}

// Around the moment that was chosen, if it is in view.
const middle = () => view.cursor >= view.from && view.cursor <= view.until && view.cursor !== null ? view.cursor : (view.from + view.until) / 2;
const zoom = (by, at = middle()) => look(at - (at - view.from) * by, at + (view.until - at) * by);
const move = (part) => look(view.from + (view.until - view.from) * part, view.until + (view.until - view.from) * part);

// Shows a moment with what leads to it.
function goTo(at, span) {
  view.cursor = at;
  look(at - span * 0.75, at + span * 0.25);
}

function goToFound() {
  if (!run.found) return;
  if (run.found.partition !== null) view.partition = run.found.partition;
  view.line = run.story.length - 1;
  goTo(run.found.at, spanOfStory());
}

// As far back as the last few lines of the story, and as where a log last lost something, if that is among the last ones.
function spanOfStory() {
  const lines = run.story.filter(([at, , kind]) => kind !== 'stands' && at < run.found.at);
  const lost = lines.filter(([, , kind]) => kind === 'loss' || kind === 'client').slice(-5);
  const first = [...lines.slice(-8), ...lost].map(([at]) => at);
  return Math.max((first.length ? run.found.at - Math.min(...first) : 2 * S) * 1.5, 0.02 * S);
}

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const named = run.partitions.findIndex((partition) => partition.name === asked.get('p'));
  if (named >= 0) view.partition = named;
  if (asked.has('m')) view.messages = asked.get('m') === '1';
  if (asked.has('at')) view.cursor = Number(asked.get('at')) * S;
  const [from, until] = (asked.get('t') || '').split('-').map(Number);
  if (until > from) look(from * S, until * S);
  return asked;
}

let writing = 0;
function writeAddress() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const seen = new URLSearchParams();
    if (run.partitions[view.partition]) seen.set('p', run.partitions[view.partition].name);
    seen.set('t', (Math.max(view.from, 0) / S).toFixed(6) + '-' + (view.until / S).toFixed(6));
    if (view.messages) seen.set('m', '1');
    if (view.cursor !== null) seen.set('at', (view.cursor / S).toFixed(6));
    history.replaceState(null, '', '#' + seen);
  }, 200);
}
