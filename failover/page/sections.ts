/** The parts of the page that only show something. Rows stay the same elements, so that focus and selection survive. */
import type { ClusterStatus, Failover, LogEvent, NodeStatus, Sample } from '../contract/api';
import { colourOf, draw, keyEntry } from './charts';
import { byId, make, setText } from './dom';
import { ago, bytes, clock, milliseconds } from './format';

const EVENTS_SHOWN = 300;
const FAILOVERS_SHOWN = 50;

/** Colour and word for the first question of every reader. */
function verdictOf({ serving, leader, ifLeaderDied }: ClusterStatus): ['good' | 'warn' | 'bad', string] {
  if (!serving) return ['bad', leader === null ? 'No leader' : 'Writes wait'];
  const isSafe = ifLeaderDied.takesOver !== null && ifLeaderDied.loss === 'none';
  return isSafe ? ['good', 'Safe'] : ['warn', 'Attention'];
}

function showVerdict(tone: string, word: string, title: string): void {
  byId('answer').className = `panel ${tone}`;
  setText(byId('verdict'), `${word}.`);
  document.title = `${title} – PostgreSQL failover`;
}

export function showAnswer(c: ClusterStatus): void {
  const [tone, word] = verdictOf(c);
  showVerdict(tone, word, `${word}. ${c.stack}`);
  setText(byId('stack'), `${c.stack} · term ${c.term} · ${c.version}`);
  setText(byId('if-died'), c.ifLeaderDied.sentence);
  setText(byId('sentence'), c.sentence);
  setText(byId('code'), c.code);
  setText(byId('route'), routeOf(c));
}

/** While the monitor is away the present state is not known: what was safe then may not be safe now. */
export function showUnknown(): void {
  showVerdict('bad', 'Not known', 'Not known');
}

function routeOf({ haproxy, sync }: ClusterStatus): string {
  if (!haproxy.reachable) return 'HAProxy does not answer the monitor.';
  const write = haproxy.write ?? 'no node (new connections are held)';
  const read = haproxy.read.length === 0 ? 'no node' : haproxy.read.join(', ');
  const waits =
    sync.waitsFor === 0
      ? 'a write waits for no other node'
      : `a write waits for ${sync.waitsFor} of ${sync.members.join(', ')}`;
  return `HAProxy sends writes to ${write}, reads to ${read}; ${waits}.`;
}

/** A pause, or that failovers are only observed, is shown until it ends. */
export function showHeld(c: ClusterStatus, nowMs: number): void {
  const sentences: string[] = [];
  if (c.failoverMode === 'observe')
    sentences.push('failoverMode is observe: everything is decided and logged, nothing is done.');
  if (c.pause !== null) {
    const end = c.pause.until === null ? 'until a person resumes' : `until ${clock(c.pause.until)}`;
    const since = `since ${clock(c.pause.since)} (${ago(c.pause.since, nowMs)}), ${end}`;
    sentences.push(`Automatic failover is paused ${since}: ${c.pause.reason}`);
  }
  const banner = byId('held');
  banner.hidden = sentences.length === 0;
  setText(banner, sentences.join(' '));
}

/** A column of the table of nodes. */
interface Column {
  /** Stands before the value on a narrow screen. */
  label: string;
  /** The first text is the value; those that follow stand small below it; null: nothing. */
  texts: (node: NodeStatus, c: ClusterStatus, nowMs: number) => (string | null)[];
  /** Class of the value. */
  className?: (node: NodeStatus) => string;
}

const COLUMNS: readonly Column[] = [
  { label: 'Role', texts: ({ role }) => [role], className: ({ role }) => `chip ${role}` },
  { label: 'PostgreSQL', texts: (node) => [node.state, ...problemsOf(node)] },
  { label: 'Timeline', texts: ({ timeline, lsn }) => [String(timeline ?? '–'), lsn] },
  { label: 'Lag', texts: lagOf },
  { label: 'Acknowledges', texts: (node, c) => [syncOf(c, node)] },
  { label: 'Since', texts: ({ since }, _, nowMs) => [ago(since, nowMs)] },
];

interface Row {
  row: HTMLTableRowElement;
  cells: readonly { column: Column; cell: HTMLElement }[];
  rebuild: HTMLButtonElement;
}

const rows = new Map<string, Row>();

export function showNodes(c: ClusterStatus, nowMs: number, onRebuild: (node: string) => void): void {
  const wanted = c.nodes.map((node) => {
    const { row, cells, rebuild } = rowOf(node, onRebuild);
    for (const { column, cell } of cells) fill(cell, column.texts(node, c, nowMs), column.className?.(node));
    // Only the leader has none: where a rebuild is not possible now, the answer to the command says why.
    rebuild.hidden = node.role === 'leader';
    return row;
  });
  const body = byId('nodes');
  if (wanted.length !== body.children.length || wanted.some((row, i) => row !== body.children[i])) {
    body.replaceChildren(...wanted);
  }
  for (const name of rows.keys()) if (!c.nodes.some((n) => n.name === name)) rows.delete(name);
}

function rowOf({ name }: NodeStatus, onRebuild: (node: string) => void): Row {
  const known = rows.get(name);
  if (known !== undefined) return known;
  const cells = COLUMNS.map((column) => ({
    column,
    cell: make('td', { attributes: { 'data-label': column.label } }),
  }));
  const attributes = { type: 'button', 'aria-label': `Rebuild ${name}` };
  const rebuild = make('button', { text: 'Rebuild …', attributes });
  rebuild.addEventListener('click', () => onRebuild(name));
  const row = make('tr', {
    children: [
      make('th', { text: name, attributes: { scope: 'row' } }),
      ...cells.map(({ cell }) => cell),
      make('td', { attributes: { 'data-label': '' }, children: [rebuild] }),
    ],
  });
  const made = { row, cells, rebuild };
  rows.set(name, made);
  return made;
}

/** Fills a cell where its texts differ, so that a selection stays. */
function fill(cell: HTMLElement, texts: readonly (string | null)[], className?: string): void {
  const key = JSON.stringify(texts);
  if (cell.dataset.key === key) return;
  cell.dataset.key = key;
  const [value, ...others] = texts.filter((text) => text !== null);
  cell.replaceChildren(make('span', { text: value, className }), ...others.map((text) => make('small', { text })));
}

function problemsOf({ failure, settings, order, done, slots }: NodeStatus): (string | null)[] {
  const refused = settings?.refused ?? null;
  const pending = settings?.pending ?? [];
  const lost = slots.filter((s) => s.walStatus === 'lost').map((s) => s.name);
  return [
    done ? null : `told to ${order}`,
    failure,
    refused === null ? null : `does not start with ${refused}`,
    pending.length === 0 ? null : `restart for ${pending.join(', ')}`,
    lost.length === 0 ? null : `slot lost: ${lost.join(', ')}`,
  ];
}

function lagOf({ lagBytes, lagSeconds, role }: NodeStatus): (string | null)[] {
  if (role === 'leader' || lagBytes === null) return ['–'];
  return [bytes(lagBytes), lagSeconds === null ? null : `${lagSeconds.toFixed(lagSeconds < 10 ? 1 : 0)} s`];
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
  // A step after the opening (rejoining) is shown, but it is no part of the time in which writes waited.
  const opened = steps.findIndex((s) => s.name === 'opened');
  const waited = steps.slice(0, opened === -1 ? steps.length : opened + 1);
  const parts = waited.map(({ name, ms }, i) => ({ name, ms: ms - (waited[i - 1]?.ms ?? 0) }));
  const later = steps.slice(waited.length);
  const total = milliseconds(waited.at(-1)?.ms ?? 0);
  const change = ` ${from ?? 'no leader'} → ${node} in ${total} (term ${term}) `;
  const bar = parts.map(({ ms }, i) => make('span', { style: { ...colourOf(i), 'flex-grow': Math.max(ms, 0) } }));
  const key = [
    ...parts.map(({ name, ms }, i) => keyEntry(i, `${name} +${milliseconds(ms)}`)),
    ...later.map(({ name, ms }) => make('span', { text: `${name} after ${milliseconds(ms)}` })),
  ];
  return make('li', {
    children: [
      make('p', { children: [timeOf(at), change, make('code', { text: cause })] }),
      make('div', { className: 'bar', attributes: { 'aria-hidden': 'true' }, children: bar }),
      make('p', { className: 'legend steps', children: key }),
    ],
  });
}

/** Adds to the list, the newest on top. */
export function addEvents(events: readonly LogEvent[]): void {
  const list = byId('events');
  for (const { at, level, subject, code, message } of events) {
    const text = make('p', { children: [make('span', { className: 'subject', text: `${subject} ` }), message] });
    list.prepend(make('li', { className: level, children: [timeOf(at), make('code', { text: code }), text] }));
    if (list.children.length > EVENTS_SHOWN) list.lastElementChild?.remove();
  }
}

function timeOf(at: string): HTMLElement {
  return make('time', { text: clock(at), attributes: { datetime: at } });
}

export function showCharts(samples: readonly Sample[]): void {
  const nodes = [...new Set(samples.flatMap((s) => Object.keys(s.lagBytes)))].sort();
  const lag = nodes.map((name) => ({ name, values: samples.map((s) => s.lagBytes[name] ?? null) }));
  draw(byId('lag'), samples, lag, (value) => bytes(Math.round(value)));
  draw(byId('write'), samples, [{ name: 'commit', values: samples.map((s) => s.writeMs) }], milliseconds);
}
