/** The parts of the page that only show something. Rows stay the same elements, so that focus and selection survive. */
import type { ClusterStatus, Failover, LogEvent, NodeStatus, Sample } from '../contract/api';
import { colourOf, draw } from './charts';
import { byId, make, setText } from './dom';
import { ago, bytes, clock, milliseconds } from './format';

const EVENTS_SHOWN = 300;
const FAILOVERS_SHOWN = 50;

/** Colour and word for what everybody wants to know first. */
function verdictOf(c: ClusterStatus): { tone: 'good' | 'warn' | 'bad'; word: string } {
  if (!c.serving) return { tone: 'bad', word: c.leader === null ? 'No leader.' : 'Writes wait.' };
  if (c.ifLeaderDied.takesOver === null) return { tone: 'warn', word: 'Attention.' };
  return c.ifLeaderDied.loss === 'none' ? { tone: 'good', word: 'Safe.' } : { tone: 'warn', word: 'Attention.' };
}

export function showAnswer(c: ClusterStatus): void {
  const { tone, word } = verdictOf(c);
  setText(byId('stack'), `${c.stack} · term ${c.term} · ${c.version}`);
  byId('answer').className = `answer ${tone}`;
  setText(byId('verdict'), word);
  setText(byId('if-died'), c.ifLeaderDied.sentence);
  setText(byId('sentence'), c.sentence);
  setText(byId('code'), c.code);
  setText(byId('route'), routeOf(c));
  document.title = `${word} ${c.stack} – PostgreSQL failover`;
}

/** While the monitor is away nobody knows: what was safe then is no promise now. */
export function showUnknown(): void {
  byId('answer').className = 'answer bad';
  setText(byId('verdict'), 'Not known.');
  document.title = 'Not known – PostgreSQL failover';
}

function routeOf({ haproxy, sync }: ClusterStatus): string {
  if (!haproxy.reachable) return 'HAProxy does not answer the monitor.';
  const write = haproxy.write ?? 'nobody (new connections are held)';
  const read = haproxy.read.length === 0 ? 'nobody' : haproxy.read.join(', ');
  const waits =
    sync.waitsFor === 0
      ? 'a write waits for no other node'
      : `a write waits for ${sync.waitsFor} of ${sync.members.join(', ')}`;
  return `HAProxy sends writes to ${write}, reads to ${read}; ${waits}.`;
}

/** A pause, or that failovers are only observed, is told until it ends. */
export function showHeld(c: ClusterStatus, nowMs: number): void {
  const words: string[] = [];
  if (c.failoverMode === 'observe')
    words.push('failoverMode is observe: everything is decided and logged, nothing is done.');
  if (c.pause !== null) {
    const end = c.pause.until === null ? 'until somebody resumes' : `until ${clock(c.pause.until)}`;
    const since = `since ${clock(c.pause.since)} (${ago(c.pause.since, nowMs)}), ${end}`;
    words.push(`Automatic failover is paused ${since}: ${c.pause.reason}`);
  }
  const banner = byId('held');
  banner.hidden = words.length === 0;
  setText(banner, words.join(' '));
}

interface Row {
  row: HTMLTableRowElement;
  cells: Record<'role' | 'postgres' | 'timeline' | 'lag' | 'sync' | 'since', HTMLElement>;
  rebuild: HTMLButtonElement;
}

const rows = new Map<string, Row>();

export function showNodes(c: ClusterStatus, nowMs: number, onRebuild: (node: string) => void): void {
  for (const node of c.nodes) fillRow(rowOf(node, onRebuild), c, node, nowMs);
  const wanted = c.nodes.flatMap((n) => rows.get(n.name)?.row ?? []);
  const body = byId('nodes');
  if (wanted.length !== body.children.length || wanted.some((row, i) => row !== body.children[i])) {
    body.replaceChildren(...wanted);
  }
  for (const name of rows.keys()) if (!c.nodes.some((n) => n.name === name)) rows.delete(name);
}

function rowOf({ name }: NodeStatus, onRebuild: (node: string) => void): Row {
  const known = rows.get(name);
  if (known !== undefined) return known;
  const cell = (label: string) => make('div', { attributes: { 'data-label': label } });
  const cells = {
    role: cell('Role'),
    postgres: cell('PostgreSQL'),
    timeline: cell('Timeline'),
    lag: cell('Lag'),
    sync: cell('Acknowledges'),
    since: cell('Since'),
  };
  const rebuild = make('button', {
    text: 'Rebuild …',
    attributes: { type: 'button', 'aria-label': `Rebuild ${name}` },
  });
  rebuild.addEventListener('click', () => onRebuild(name));
  const tds = Object.values(cells).map((div) => {
    return make('td', { attributes: { 'data-label': div.dataset.label ?? '' }, children: [div] });
  });
  const row = make('tr', {
    children: [
      make('th', { text: name, attributes: { scope: 'row' } }),
      ...tds,
      make('td', { attributes: { 'data-label': '' }, children: [rebuild] }),
    ],
  });
  const made = { row, cells, rebuild };
  rows.set(name, made);
  return made;
}

function fillRow({ row, cells, rebuild }: Row, c: ClusterStatus, node: NodeStatus, nowMs: number): void {
  row.className = node.role;
  fill(cells.role, [], make('span', { className: 'chip', text: node.role }));
  fill(cells.postgres, [node.state, ...troublesOf(node)]);
  fill(cells.timeline, [
    node.timeline === null ? '–' : String(node.timeline),
    ...(node.lsn === null ? [] : [node.lsn]),
  ]);
  fill(cells.lag, lagOf(node));
  fill(cells.sync, [syncOf(c, node)]);
  fill(cells.since, [ago(node.since, nowMs)]);
  // Still there for a keyboard, with the reason in the answer, when it cannot be done now.
  rebuild.hidden = node.role === 'leader';
}

/** The first text as it is, further ones small below it. */
function fill(cell: HTMLElement, texts: readonly string[], first?: HTMLElement): void {
  const [main, ...others] = texts;
  const key = JSON.stringify([first?.textContent, texts]);
  if (cell.dataset.key === key) return;
  cell.dataset.key = key;
  const smalls = others.map((text) => make('small', { text }));
  cell.replaceChildren(...(first === undefined ? [] : [first]), ...(main === undefined ? [] : [main]), ...smalls);
}

function troublesOf({ failure, settings, order, done, slots }: NodeStatus): string[] {
  const lost = slots.filter((s) => s.walStatus === 'lost').map((s) => s.name);
  return [
    ...(done ? [] : [`told to ${order}`]),
    ...(failure === null ? [] : [failure]),
    ...(settings?.refused == null ? [] : [`does not start with ${settings.refused}`]),
    ...(settings === null || settings.pending.length === 0 ? [] : [`restart for ${settings.pending.join(', ')}`]),
    ...(lost.length === 0 ? [] : [`slot lost: ${lost.join(', ')}`]),
  ];
}

function lagOf({ lagBytes, lagSeconds, role }: NodeStatus): string[] {
  if (role === 'leader' || lagBytes === null) return ['–'];
  return [bytes(lagBytes), ...(lagSeconds === null ? [] : [`${lagSeconds.toFixed(lagSeconds < 10 ? 1 : 0)} s`])];
}

function syncOf(c: ClusterStatus, { sync, role }: NodeStatus): string {
  if (role === 'leader') return 'itself';
  if (sync === 'joining') return 'being added';
  if (sync === 'counted') return c.syncMode === 'synchronous' ? 'yes' : 'asynchronous';
  return 'no';
}

/** The newest first. */
export function showFailovers(failovers: readonly Failover[]): void {
  byId('no-failovers').hidden = failovers.length > 0;
  byId('failovers').replaceChildren(...failovers.slice(-FAILOVERS_SHOWN).reverse().map(failoverItem));
}

function failoverItem({ at, from, node, term, cause, steps }: Failover): HTMLElement {
  // What comes after the opening (rejoining) is told, but it is no part of the time in which writes waited.
  const opened = steps.findIndex((s) => s.name === 'opened');
  const waited = steps.slice(0, opened === -1 ? steps.length : opened + 1);
  const total = waited.at(-1)?.ms ?? 0;
  const parts = waited.map(({ name, ms }, i) => ({ name, ms: ms - (waited[i - 1]?.ms ?? 0), colour: colourOf(i) }));
  const bar = make('div', { className: 'bar', attributes: { 'aria-hidden': 'true' } });
  for (const { ms, colour } of parts) {
    const part = make('span', { className: `part-${colour}` });
    part.style.flexGrow = String(Math.max(ms, 0));
    bar.append(part);
  }
  const list = parts.map(({ name, ms, colour }) => {
    const dot = make('i', { className: `part-${colour}`, attributes: { 'aria-hidden': 'true' } });
    return make('span', { children: [dot, document.createTextNode(`${name} +${milliseconds(ms)}`)] });
  });
  const later = steps
    .slice(waited.length)
    .map(({ name, ms }) => make('span', { text: `${name} after ${milliseconds(ms)}` }));
  const head = make('p', {
    children: [
      make('time', { text: clock(at), attributes: { datetime: at } }),
      document.createTextNode(` ${from ?? 'nobody'} → ${node} in ${milliseconds(total)} (term ${term}) `),
      make('code', { text: cause }),
    ],
  });
  return make('li', { children: [head, bar, make('p', { className: 'steps', children: [...list, ...later] })] });
}

/** Adds to the list, the newest on top; what is there already is left out. */
export function addEvents(events: readonly LogEvent[]): void {
  const list = byId('events');
  for (const event of events) {
    list.prepend(eventItem(event));
    if (list.children.length > EVENTS_SHOWN) list.lastElementChild?.remove();
  }
}

function eventItem({ at, level, subject, code, message }: LogEvent): HTMLElement {
  return make('li', {
    className: level,
    children: [
      make('time', { text: clock(at), attributes: { datetime: at } }),
      make('code', { text: code }),
      make('p', {
        children: [make('span', { className: 'subject', text: `${subject} ` }), document.createTextNode(message)],
      }),
    ],
  });
}

export function showCharts(samples: readonly Sample[]): void {
  const nodes = [...new Set(samples.flatMap((s) => Object.keys(s.lagBytes)))].sort();
  const lag = nodes.map((name) => ({ name, values: samples.map((s) => s.lagBytes[name] ?? null) }));
  draw(byId('lag'), samples, lag, (value) => bytes(Math.round(value)));
  draw(byId('write'), samples, [{ name: 'commit', values: samples.map((s) => s.writeMs) }], milliseconds);
}
