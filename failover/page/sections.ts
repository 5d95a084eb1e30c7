/** The parts of the page that show what the monitor tells. */
import { createElement as h, type JSXNode } from 'hono/jsx/dom';
import type { ClusterStatus, Failover, LogEvent, NodeStatus, PoolerStatus, Sample } from '../contract/api';
import { tlsWords } from '../contract/tls-words';
import { backupsOf } from './backups';
import { chart, colourOf, keyEntry } from './charts';
import { PAUSE, type Question, RESUME, rebuild, switchover } from './commands';
import { ago, bytes, clock, milliseconds, span } from './format';
import type { Seen } from './live';
import { part } from './part';
import { restoreLines } from './restore';
import { slotsOf } from './slots';

const FAILOVERS_SHOWN = 50;
/** A reader's transaction is shown when it is older than this, s. */
const LONG_READ_S = 60;

type Ask = (question: Question) => void;

/** The whole page but the dialog. */
export function pageOf(seen: Seen, ask: Ask): JSXNode[] {
  const { cluster, events, failovers, samples, awaySinceMs } = seen;
  const known = cluster === null ? '' : `${cluster.stack} · term ${cluster.term} · ${cluster.version}`;
  const [tone, live] = awaySinceMs === null ? ['good', 'live'] : ['bad', 'not connected'];
  const held = cluster === null ? [] : heldBy(cluster);
  const away = awaySinceMs === null ? null : awayWords(awaySinceMs, cluster);
  return [
    h('a', { class: 'skip', href: '#nodes-title' }, 'Skip to the nodes'),
    h(
      'header',
      null,
      h('h1', null, 'PostgreSQL failover'),
      h('p', null, known),
      h('p', { id: 'live', class: `chip ${tone}`, role: 'status' }, live),
    ),
    h(
      'main',
      null,
      h('p', { id: 'away', class: 'panel bad', role: 'alert', hidden: away === null }, away),
      h('p', { id: 'held', class: 'panel', role: 'status', hidden: held.length === 0 }, held.join(' ')),
      answer(seen, ask),
      section('nodes', 'Nodes', nodes(cluster, ask)),
      ...(cluster?.backup === undefined
        ? []
        : [section('backups', 'Backups', ...backupsOf(cluster.backup), ...restoreLines(cluster.restore))]),
      ...(cluster?.clientSlots === undefined ? [] : [section('slots', 'Replication slots', ...slotsOf(cluster))]),
      chartsOf(samples),
      failoversOf(failovers),
      eventsOf(events),
    ),
  ];
}

function section(id: string, title: string, ...children: JSXNode[]): JSXNode {
  const heading = h('h2', { id: `${id}-title`, tabindex: -1 }, title);
  return h('section', { 'aria-labelledby': `${id}-title` }, heading, ...children);
}

function awayWords(sinceMs: number, cluster: ClusterStatus | null): string {
  const words = `The monitor has not answered since ${sinceOf(new Date(sinceMs).toISOString())}.`;
  const known = 'What is shown is from then. The database goes on without the monitor, but nothing fails over.';
  return cluster === null ? words : `${words} ${known}`;
}

function sinceOf(iso: string): string {
  return `${clock(iso)} (${ago(iso)})`;
}

/** A pause, or that failovers are only observed, is shown until it ends. */
function heldBy({ failoverMode, pause }: ClusterStatus): string[] {
  const sentences: string[] = [];
  if (failoverMode === 'observe')
    sentences.push('failoverMode is observe: everything is decided and logged, nothing is done.');
  if (pause !== null) {
    const end = pause.until === null ? 'until a person resumes' : `until ${clock(pause.until)}`;
    sentences.push(`Automatic failover is paused since ${sinceOf(pause.since)}, ${end}: ${pause.reason}`);
  }
  return sentences;
}

/** The answer to the first question of every reader. */
function answer(seen: Seen, ask: Ask): JSXNode {
  const { cluster } = seen;
  // While the monitor is away the present state is not known: what was safe then may not be safe now.
  const present = seen.awaySinceMs === null ? cluster : null;
  const [tone, word] = verdictOf(present);
  document.title = `${word}${present === null ? '' : `. ${present.stack}`} – PostgreSQL failover`;
  const isPaused = cluster !== null && cluster.pause !== null;
  const switches = { type: 'button', id: 'switchover', onClick: () => ask(switchover(cluster)) };
  const pauses = { type: 'button', id: 'pause', onClick: () => ask(isPaused ? RESUME : PAUSE) };
  const forecast = cluster?.ifLeaderDied.sentence ?? 'Waiting for the monitor.';
  return h(
    'section',
    { class: `panel ${tone}`, 'aria-labelledby': 'answer-title' },
    h('h2', { id: 'answer-title', class: 'question' }, 'If the leader died now'),
    h(
      'p',
      { class: 'verdict', role: 'status', 'aria-live': 'polite', 'aria-atomic': 'true' },
      ...[h('strong', { id: 'verdict' }, `${word}.`), ' ', h('span', { id: 'if-died' }, forecast)],
    ),
    line('Now', h('span', { id: 'sentence' }, cluster?.sentence), ' ', h('code', null, cluster?.code)),
    line('Route', h('span', { id: 'route' }, cluster && routeOf(cluster))),
    ...tlsLine(cluster),
    ...(cluster?.pooler === undefined ? [] : [line('Pool', h('span', { id: 'pool' }, poolOf(cluster.pooler)))]),
    h(
      'div',
      { class: 'buttons' },
      h('button', switches, 'Switch over …'),
      h('button', pauses, isPaused ? 'Resume failover …' : 'Pause failover …'),
    ),
  );
}

/** Red when something is wrong with the certificate, or it ends within 14 days. */
function tlsLine(cluster: ClusterStatus | null): JSXNode[] {
  const tls = cluster && tlsWords(cluster.tls, Date.parse(cluster.at));
  if (tls === null) return [];
  return [line('TLS', h('span', { id: 'tls', class: tls.isBad ? 'bad' : undefined }, tls.words))];
}

function line(label: string, ...words: (JSXNode | string)[]): JSXNode {
  return h('p', null, h('span', { class: 'label' }, label), ' ', ...words);
}

/** Its colour and word. */
function verdictOf(cluster: ClusterStatus | null): ['good' | 'warn' | 'bad', string] {
  if (cluster === null) return ['bad', 'Not known'];
  const { serving, leader, ifLeaderDied } = cluster;
  if (!serving) return ['bad', leader === null ? 'No leader' : 'Writes wait'];
  const isSafe = ifLeaderDied.takesOver !== null && ifLeaderDied.loss === 'none';
  return isSafe ? ['good', 'Safe'] : ['warn', 'Attention'];
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

function poolOf({ connected, pause, pools }: PoolerStatus): string {
  if (!connected) return 'The pooler is not connected to the monitor.';
  const each = pools.map(({ role, clients, waiting, maxWaitMs, active, idle }) => {
    const waits = waiting === 0 ? 'none waits' : `${waiting} wait, the longest for ${milliseconds(maxWaitMs)}`;
    return `${role}: ${clients + waiting} clients, ${waits}; ${active} of ${active + idle} connections in use.`;
  });
  const paused = pause === 'no' ? [] : ['Statements wait for a planned change of leader.'];
  return [...paused, ...each].join(' ');
}

type Texts = readonly (string | null)[];

/** The columns after the role: a title, and for each node the value and the small text below it (null: no text). */
const COLUMNS: readonly (readonly [title: string, textsOf: (node: NodeStatus, c: ClusterStatus) => Texts])[] = [
  ['PostgreSQL', (node) => [node.state, ...problemsOf(node)]],
  ['Timeline', ({ timeline, lsn }) => [String(timeline ?? '–'), lsn]],
  ['Lag', lagOf],
  ['Acknowledges', (node, c) => [syncOf(c, node)]],
  ['Since', ({ since }) => [ago(since)]],
];

function nodes(cluster: ClusterStatus | null, ask: Ask): JSXNode {
  const titles = ['Node', 'Role', ...COLUMNS.map(([title]) => title)].map((title) => h('th', { scope: 'col' }, title));
  const head = h('thead', null, h('tr', null, ...titles, h('th', { scope: 'col', 'aria-label': 'Command' })));
  const rows = cluster?.nodes.map((node) => {
    const { name: key, role } = node;
    const asks = { type: 'button', 'aria-label': `Rebuild ${key}`, onClick: () => ask(rebuild(key)) };
    return h(
      'tr',
      { key },
      h('th', { scope: 'row' }, key),
      h('td', { 'data-label': 'Role' }, h('span', { class: `chip ${role}` }, role)),
      ...COLUMNS.map(([title, textsOf]) => h('td', { 'data-label': title }, ...texts(textsOf(node, cluster)))),
      // Only the leader has none: where a rebuild is not possible now, the answer to the command says why.
      h('td', { 'data-label': '' }, role !== 'leader' && h('button', asks, 'Rebuild …')),
    );
  });
  return h('table', null, head, h('tbody', { id: 'nodes' }, ...(rows ?? [])));
}

function texts(all: Texts): JSXNode[] {
  const [value, ...others] = all.filter((text) => text !== null);
  return [h('span', null, value), ...others.map((text) => h('small', null, text))];
}

function problemsOf({ failure, settings, order, done, slots }: NodeStatus): Texts {
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

function lagOf({ lagBytes, lagSeconds, oldReadSeconds, role }: NodeStatus): Texts {
  if (role === 'leader' || lagBytes === null) return ['–'];
  const behind = lagSeconds === null ? null : `${lagSeconds.toFixed(lagSeconds < 10 ? 1 : 0)} s`;
  return [bytes(lagBytes), behind, readOf(oldReadSeconds ?? 0)];
}

/** A reader whose transaction is so old that the rows which the leader keeps for it matter. */
function readOf(seconds: number): string | null {
  return seconds < LONG_READ_S ? null : `a reader for ${span(seconds)}: VACUUM on the leader keeps old rows for it`;
}

function syncOf(c: ClusterStatus, { sync, role, reports }: NodeStatus): string {
  if (role === 'leader') return 'itself';
  if (reports === true && sync === 'no') return 'no, kept for reports';
  if (sync === 'joining') return 'being added';
  if (sync === 'counted') return c.syncMode === 'synchronous' ? 'yes' : 'asynchronous';
  return 'no';
}

const chartsOf = part((samples: readonly Sample[]) => {
  const names = [...new Set(samples.flatMap((s) => Object.keys(s.lagBytes)))].sort();
  const lag = names.map((name) => ({ name, values: samples.map((s) => s.lagBytes[name] ?? null) }));
  const write = [{ name: 'commit', values: samples.map((s) => s.writeMs) }];
  const lags = h('div', { id: 'lag' }, ...chart(samples, lag, (value) => bytes(Math.round(value))));
  const writes = chart(samples, write, milliseconds);
  return h('div', { class: 'charts' }, section('lag', 'Lag', lags), section('write', 'Write latency', ...writes));
});

/** The newest first. */
const failoversOf = part((failovers: readonly Failover[]) => {
  const items = failovers.slice(-FAILOVERS_SHOWN).reverse().map(failoverItem);
  const none = items.length === 0 ? [h('p', null, 'None since the monitor started.')] : [];
  return section('failovers', 'Changes of leader', h('ol', { id: 'failovers' }, ...items), ...none);
});

function failoverItem({ at, from, node, term, cause, steps }: Failover): JSXNode {
  // A step after the opening (rejoining) is shown, but it is no part of the time in which writes waited.
  const opened = steps.findIndex((s) => s.name === 'opened');
  const waited = steps.slice(0, opened === -1 ? steps.length : opened + 1);
  const parts = waited.map(({ name, ms }, i) => ({ name, ms: ms - (waited[i - 1]?.ms ?? 0) }));
  const later = steps.slice(waited.length);
  const total = milliseconds(waited.at(-1)?.ms ?? 0);
  const change = ` ${from ?? 'no leader'} → ${node} in ${total} (term ${term}) `;
  const bar = parts.map(({ ms }, i) => h('span', { style: { ...colourOf(i), flexGrow: Math.max(ms, 0) } }));
  const key = [
    ...parts.map(({ name, ms }, i) => keyEntry(i, `${name} +${milliseconds(ms)}`)),
    ...later.map(({ name, ms }) => h('span', null, `${name} after ${milliseconds(ms)}`)),
  ];
  return h(
    'li',
    { class: 'failover' },
    h('p', null, timeOf(at), change, h('code', null, cause)),
    h('div', { class: 'bar', 'aria-hidden': 'true' }, ...bar),
    h('p', { class: 'legend steps' }, ...key),
  );
}

/** The newest on top. */
const eventsOf = part((events: readonly LogEvent[]) => {
  const items = events.map(({ id, at, level, subject, code, message }) => {
    const text = h('p', null, h('span', { class: 'subject' }, `${subject} `), message);
    return h('li', { key: `${at} ${id}`, class: level }, timeOf(at), h('code', null, code), text);
  });
  const list = { id: 'events', class: 'events', 'aria-labelledby': 'events-title' };
  return section('events', 'Events', h('ol', list, ...items.reverse()));
});

function timeOf(at: string): JSXNode {
  return h('time', { datetime: at }, clock(at));
}
