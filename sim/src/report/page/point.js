// What a pointer is on, and where everything stands at a moment.
const WORDS = ['is down', 'log not open', 'follows', 'leads'];

const kilo = (list) => list.length ? list.join(', ') : 'nobody';

function touched(deed) {
  return deed[6].map(([key, first, last, count]) => {
    const part = run.partitions[run.keys[key]];
    const name = part ? part.name : 'key ' + key;
    const at = first < 0 ? '' : first === last ? ' at ' + first : ' ' + first + '…' + last;
    return name + at + (count > 1 ? ' (' + count + ')' : '');
  }).join(', ');
}

function wordsOfDeed(deed) {
  const end = deed[3] < 0 ? 'never ended' : deed[5] + ' after ' + ((deed[3] - deed[2]) / 1e6).toFixed(3) + ' ms';
  return deed[4] + ' of process ' + deed[1] + ', begun at ' + seconds(deed[2], true) + ', ' + end + '\n' + [touched(deed), deed[7]].filter(Boolean).join('\n');
}

const nameOfEnd = (end) => end < 0 ? 'client ' + -end : 'node ' + end;

function wordsOfMessage(message) {
  const parts = message[6].map(([number, text]) => run.partitions[number].name + ': ' + text);
  const came = message[1] < 0 ? 'lost' : 'taken in after ' + ((message[1] - message[0]) / 1e6).toFixed(3) + ' ms';
  return [run.apis[message[4]] + (message[5] ? ' answer' : '') + ', ' + nameOfEnd(message[2]) + ' → ' + nameOfEnd(message[3]),
    'sent at ' + seconds(message[0], true) + ', ' + came, message[7], ...parts].filter(Boolean).join('\n');
}

function wordsOfReplica(node, point) {
  const [, part, epoch, leader, start, end, durable, high] = point;
  if (part < 2) return 'node ' + node + ' ' + WORDS[part];
  const role = part === 3 ? 'leads' : leader < 0 ? 'follows nobody' : 'follows ' + leader;
  return 'node ' + node + ' ' + role + ' in epoch ' + epoch + ': log ' + start + '…' + end + ', durable ' + durable + ', high watermark ' + high;
}

// The nearest of the deeds of a lane, within some pixels.
function deedAt(lane, at, room) {
  let best = null;
  for (const deed of byLane[lane]) {
    if (deed[2] > at + room) break;
    const until = deed[3] < 0 ? END : deed[3];
    const far = at < deed[2] ? deed[2] - at : at > until ? at - until : 0;
    if (far <= room && (!best || far < best.far || (far === best.far && touches(deed)))) best = { deed, far };
  }
  return best && best.deed;
}

function messageAt(px, py) {
  let best = null;
  for (const { message, from, to } of lines) {
    const [left, right] = [x(message[0]), message[1] < 0 ? x(message[0]) + 14 : x(message[1])];
    const part = Math.min(Math.max(((px - left) * (right - left) + (py - from) * (to - from)) / ((right - left) ** 2 + (to - from) ** 2 || 1), 0), 1);
    const far = Math.hypot(px - left - part * (right - left), py - from - part * (to - from));
    if (far < 6 && (!best || far < best.far)) best = { message, far };
  }
  return best && best.message;
}

const near = (list, node, at, room, time) => list.filter((entry) => entry.node === node && time(entry) && at >= entry.from - room && at <= entry.until + room);

function wordsAt(px, py) {
  const at = timeAt(px), room = 5 / (width - LEFT) * (view.until - view.from);
  const row = rows.find((row) => py >= row.top && py < row.top + row.size);
  if (!row || px < LEFT) return null;
  if (view.messages && ['node', 'outside'].includes(row.kind)) {
    const message = messageAt(px, py);
    if (message) return wordsOfMessage(message);
  }
  const words = [seconds(at, true)];
  if (row.kind === 'node') {
    const life = lives[row.node][lastAt(lives[row.node], at + room, (life) => life.from)];
    if (life) words.push('node ' + row.node + ' ' + life.state + ' since ' + seconds(life.from, true) + ': ' + life.why);
    for (const band of near(run.bands, row.node, at, room, (band) => band.other === null)) words.push(band.name + ': ' + band.text);
    const notes = run.notes.filter(([when, node]) => node === row.node && Math.abs(when - at) < room);
    for (const note of notes.slice(0, 6)) words.push('· ' + note[3]);
  } else if (row.kind === 'pair') {
    const bands = run.bands.filter((band) => band.other !== null && pairOf(band) === row.pair && at >= band.from - room && at <= band.until + room);
    for (const band of bands) words.push(band.name + ' ' + band.node + ' – ' + band.other + ' for ' + ((band.until - band.from) / S).toFixed(3) + ' s: ' + band.text);
  } else if (row.partition) {
    words.push(...replicasAt(row.partition, at));
  } else if (row.kind === 'clients') {
    const deed = deedAt(row.lane, at, room);
    if (!deed) return null;
    return wordsOfDeed(deed);
  }
  return words.length > 1 ? words.join('\n') : null;
}

function replicasAt(partition, at) {
  const words = [];
  const decided = partition.decided[lastAt(partition.decided, at)];
  if (decided) {
    const [, leader, epoch, isr, elr] = decided;
    words.push('decided: ' + (leader < 0 ? 'nobody' : leader) + ' leads in epoch ' + epoch + ', ISR ' + kilo(isr) + (elr.length ? ', ELR ' + kilo(elr) : ''));
  }
  for (const [node, points] of Object.entries(partition.replicas)) {
    const point = points[lastAt(points, at)];
    if (point) words.push(wordsOfReplica(node, point));
  }
  return words;
}
