// The page around the timeline, and what a person does with it.
const make = (tag, text, kind) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};

function head() {
  const bad = run.violations.length > 0;
  element('title').append('seed ' + run.seed + ', ' + run.nodes.length + (run.nodes.length === 1 ? ' node' : ' nodes') + ' on the ' + run.tier + ' tier',
    make('span', bad ? 'violation' : 'clean', bad ? 'verdict bad' : 'verdict'));
  element('facts').textContent = seconds(END, true) + ' of virtual time, ' + run.events + ' events, trace ' + run.trace;
  element('replay').textContent = run.replay;
  element('commit').textContent = 'at commit ' + run.commit;
  element('copy').onclick = () => navigator.clipboard.writeText(run.replay).then(() => { element('copy').textContent = 'copied'; });
}

function why() {
  const found = element('found');
  if (!run.found) {
    found.className = 'clean';
    found.textContent = 'Nothing was found: this run is clean.';
    element('go').disabled = true;
    element('story').parentElement.querySelectorAll('h2, .hint').forEach((part) => part.remove());
    return;
  }
  const name = run.found.partition === null ? '' : ', of ' + run.partitions[run.found.partition].name;
  found.append(make('b', 'First violation, at ' + seconds(run.found.at, true) + name), run.found.what);
  run.story.forEach(([at, node, kind, text], number) => {
    const line = make('li', undefined, kind);
    line.tabIndex = 0;
    line.append(make('time', seconds(at, true)), make('span', node < 0 ? '' : 'node ' + node), make('span', kind === 'found' ? 'here it is found' : text));
    if (node > 0) line.children[1].style.color = 'var(--n' + ((node - 1) % 9 + 1) + ')';
    line.onclick = () => stepTo(number);
    line.onkeydown = (event) => { if (event.key === 'Enter') stepTo(number); };
    element('story').append(line);
  });
  element('story').scrollTop = element('story').scrollHeight;
}

function stepTo(number) {
  if (!run.story.length) return;
  view.line = Math.min(Math.max(number, 0), run.story.length - 1);
  goTo(run.story[view.line][0], Math.min(view.until - view.from, 2 * S));
  element('story').children[view.line].scrollIntoView({ block: 'nearest' });
}

function more() {
  const fold = (title, inside) => {
    const details = make('details');
    details.append(make('summary', title), inside);
    element('more').append(details);
  };
  if (run.violations.length > 1) {
    const list = make('ul');
    run.violations.forEach((violation) => list.append(make('li', violation)));
    fold('All ' + run.violations.length + ' violations', list);
  }
  const faults = Object.entries(run.faults);
  if (faults.length) {
    const list = make('ul');
    faults.forEach(([name, [planned, bit]]) => list.append(make('li', name + ': planned ' + planned + ', bit ' + bit)));
    fold('Faults', list);
  }
  fold('The plan', make('pre', run.plan));
  if (run.left_out.length) {
    const list = make('ul');
    run.left_out.forEach((what) => list.append(make('li', what)));
    fold('What this page leaves out', list);
  }
}

function legend() {
  const add = (text, color, line) => {
    const entry = make('span');
    const sign = make('i', undefined, line);
    if (line === undefined) sign.style.background = 'var(--' + color + ')';
    entry.append(sign, text);
    element('legend').append(entry);
  };
  for (const [text, color] of [['up', 'up'], ['recovering', 'recovering'], ['closing', 'closing'], ['down', 'down'], ['paused', 'paused'], ['fault', 'fault']]) add(text, color);
  add('log end (thick: leads)', '', 'line');
  add('high watermark', '', 'line dashed');
  for (const [text, color] of [['operation ok', 'ok'], ['failed', 'fail'], ['unknown', 'info'], ['never ended', 'open']]) add(text, color);
  add('pale: of another partition; thin in the rows “in sync”: a replica that is not; pale there: in the ELR', 'line');
}

function choosePartition() {
  const order = run.partitions.map((_, number) => number).sort((a, b) => run.partitions[a].name.localeCompare(run.partitions[b].name, 'en', { numeric: true }));
  for (const number of order) {
    const option = make('option', run.partitions[number].name);
    option.value = number;
    element('partition').append(option);
  }
  return order;
}

function tellMoment() {
  const at = view.cursor === null ? Math.min(view.until, END) : view.cursor;
  const partition = run.partitions[view.partition];
  element('at-title').textContent = 'At ' + seconds(at, true) + (partition ? ', ' + partition.name : '');
  const body = element('at');
  body.textContent = '';
  if (!partition) return;
  const decided = partition.decided[lastAt(partition.decided, at)];
  if (decided) body.append(make('p', replicasAt({ decided: [decided], replicas: {} }, at)[0]));
  const table = make('table');
  const line = (cells, tag) => { const made = make('tr'); cells.forEach((cell) => made.append(make(tag, cell))); table.append(made); return made; };
  line(['', 'role', 'epoch', 'log start', 'log end', 'durable', 'high watermark'], 'th');
  for (const [node, points] of Object.entries(partition.replicas)) {
    const point = points[lastAt(points, at)];
    if (!point) continue;
    const [, part, epoch, leader, start, end, durable, high] = point;
    const role = part === 2 ? 'follows ' + (leader < 0 ? 'nobody' : leader) : WORDS[part];
    const made = line(['node ' + node, role, ...(part < 2 ? [] : [epoch, start, end, durable, high])], 'td');
    made.children[0].style.color = 'var(--n' + ((node - 1) % 9 + 1) + ')';
  }
  body.append(table);
}

const NOTES_MAX = 200;
function tellNotes() {
  const list = element('notes');
  list.textContent = '';
  const seen = run.notes.filter(([at]) => at >= view.from && at <= view.until);
  element('notes-count').textContent = seen.length > NOTES_MAX ? 'the last ' + NOTES_MAX + ' of ' + seen.length : seen.length;
  for (const [at, node, level, text] of seen.slice(-NOTES_MAX)) {
    const line = make('li', undefined, level);
    line.append(make('time', seconds(at, true)), make('span', 'node ' + node), make('span', text));
    line.onclick = () => { view.cursor = at; changed(); };
    list.append(line);
  }
}

// Draws at most once for each frame of the screen; the lists follow when the view rests.
let isDue = false, resting = 0;
function changed() {
  writeAddress();
  clearTimeout(resting);
  resting = setTimeout(() => { tellMoment(); tellNotes(); }, 60);
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; show(); });
}

function show() {
  draw();
  element('partition').value = view.partition;
  for (const name of ['messages', 'narrow', 'clients']) element(name).checked = view[name];
  const shown = view.messages ? ', ' + drawn.messages + (drawn.meant > drawn.messages ? ' of ' + drawn.meant + ' messages: zoom in for all' : ' messages') : '';
  element('range').textContent = seconds(Math.max(view.from, 0), true) + ' to ' + seconds(Math.min(view.until, END), true) + shown;
  [...element('story').children].forEach((line, number) => line.classList.toggle('here', number === view.line));
  // For whoever looks at the page by a program.
  Object.assign(document.body.dataset, { from: Math.round(view.from), until: Math.round(view.until), marks: drawn.marks, lines: drawn.messages, partition: view.partition });
}

function listen(order) {
  const act = (id, event, what) => element(id).addEventListener(event, what);
  act('in', 'click', () => zoom(0.5));
  act('out', 'click', () => zoom(2));
  act('all', 'click', () => look(-0.01 * END, 1.01 * END));
  act('go', 'click', goToFound);
  act('partition', 'change', () => { view.partition = Number(element('partition').value); changed(); });
  for (const name of ['messages', 'narrow', 'clients']) act(name, 'change', () => { view[name] = element(name).checked; changed(); });
  const turn = (by) => { view.partition = order[(order.indexOf(view.partition) + by + order.length) % order.length]; changed(); };
  const keys = {
    ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2), '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1.6), 0: () => look(-0.01 * END, 1.01 * END),
    v: goToFound, m: () => { view.messages = !view.messages; changed(); }, p: () => turn(1), P: () => turn(-1), j: () => stepTo(view.line + 1), k: () => stepTo(view.line - 1),
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === 'SELECT') return;
    if (keys[event.key]) { keys[event.key](); event.preventDefault(); }
  });
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) move((event.deltaX || event.deltaY) / 1500);
    else zoom(Math.exp(event.deltaY / 400), timeAt(event.offsetX));
  }, { passive: false });
  canvas.addEventListener('dblclick', (event) => zoom(0.25, timeAt(event.offsetX)));
  point();
  new ResizeObserver(changed).observe(element('frame'));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { readColors(); changed(); });
}

// Drag, hover and click.
function point() {
  let grabbed = null;
  canvas.addEventListener('pointerdown', (event) => { grabbed = { px: event.offsetX, from: view.from, until: view.until, moved: false }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener('pointerup', (event) => {
    if (grabbed && !grabbed.moved && event.offsetX > LEFT) { view.cursor = timeAt(event.offsetX); changed(); }
    grabbed = null;
  });
  canvas.addEventListener('pointermove', (event) => {
    if (grabbed) {
      const by = (grabbed.px - event.offsetX) / (width - LEFT - RIGHT) * (grabbed.until - grabbed.from);
      grabbed.moved ||= Math.abs(grabbed.px - event.offsetX) > 3;
      if (grabbed.moved) look(grabbed.from + by, grabbed.until + by);
    }
    hover(grabbed && grabbed.moved ? null : wordsAt(event.offsetX, event.offsetY), event);
  });
  canvas.addEventListener('pointerleave', () => hover(null));
}

function hover(words, event) {
  const tip = element('tip');
  tip.hidden = !words;
  if (!words) return;
  tip.textContent = words;
  const { width: w, height: h } = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, event.clientX + 14 + w > innerWidth ? event.clientX - w - 14 : event.clientX + 14) + 'px';
  tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - h - 8)) + 'px';
}

readColors();
head();
why();
more();
legend();
listen(choosePartition());
const asked = readAddress();
if (!run.found && !asked.has('p')) view.partition = Math.max(run.partitions.findIndex((partition) => !partition.name.startsWith('__')), 0);
if (!asked.has('t')) {
  if (run.found) goToFound(); else look(-0.01 * END, 1.01 * END);
}
tellMoment();
tellNotes();
show();
document.body.dataset.ready = '1';
