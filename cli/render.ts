/** Formats status and events as text and columns. Pure. */
import type { BackupPart, ClusterStatus, LogEvent, NodeStatus } from '../failover/contract/api';
import { isOnlyHere, placeName, placeWords } from '../failover/contract/backup-place';
import { formatLine, localTime } from '../failover/contract/log-line';
import { restoreWords } from '../failover/contract/restore-words';
import { gapWords, slotState } from '../failover/contract/slot-words';
import { tlsWords } from '../failover/contract/tls-words';

export type Paint = (style: 'bold' | 'dim' | 'red' | 'green' | 'yellow', text: string) => string;

const SHOWN_STEPS = 6;

/** The whole status, as lines. */
export function statusLines(cluster: ClusterStatus, paint: Paint): string[] {
  const died = cluster.ifLeaderDied;
  const lossStyle = died.loss === 'none' && died.takesOver !== null ? 'green' : 'yellow';
  return [
    `${paint('bold', `stack ${cluster.stack}`)}  term ${cluster.term}  ${serving(cluster, paint)}`,
    `If the leader died now: ${paint(lossStyle, died.sentence)}`,
    `Last decision: ${cluster.sentence} (${cluster.code})`,
    '',
    ...nodeTable(cluster.nodes, paint),
    '',
    ...routeLines(cluster),
    ...clientLines(cluster, paint),
    ...slotLines(cluster, paint),
    ...backupLines(cluster, paint),
    ...restoreWords(cluster.restore, bytes).map((words) => paint('yellow', words)),
    ...lastFailoverLines(cluster),
  ];
}

function serving(cluster: ClusterStatus, paint: Paint): string {
  return cluster.serving ? paint('green', 'writes go through') : paint('red', 'writes do NOT go through');
}

const COLUMNS: readonly (readonly [string, (node: NodeStatus) => string])[] = [
  ['node', (node) => node.name],
  ['role', (node) => node.role],
  ['state', (node) => node.state],
  ['timeline', (node) => (node.timeline === null ? '-' : String(node.timeline))],
  ['position', (node) => node.lsn ?? '-'],
  ['lag', (node) => (node.lagBytes === null ? '-' : bytes(node.lagBytes))],
  ['behind', (node) => (node.lagSeconds === null ? '-' : `${node.lagSeconds} s`)],
  ['sync', (node) => (node.role === 'leader' ? '-' : node.reports === true ? 'reports' : node.sync)],
  ['since', (node) => shortTime(node.since)],
  ['order', (node) => `${node.order}${node.done ? '' : ' …'}`],
];

/** A table whose columns are as wide as their widest cell. A node's failure has a line of its own. */
export function nodeTable(nodes: readonly NodeStatus[], paint: Paint): string[] {
  const rows = nodes.map((node) => COLUMNS.map(([, cell]) => cell(node)));
  const head = COLUMNS.map(([name]) => name);
  const widths = head.map((name, at) => Math.max(name.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd();
  return [
    paint('dim', line(head)),
    ...nodes.flatMap((node, at) => {
      const text = line(rows[at] ?? []);
      const shown = node.role === 'down' ? paint('red', text) : node.role === 'leader' ? paint('bold', text) : text;
      return node.failure === null ? [shown] : [shown, `  ${paint('red', `${node.name}: ${node.failure}`)}`];
    }),
  ];
}

function routeLines({ haproxy, sync, syncMode }: ClusterStatus): string[] {
  const route = haproxy.reachable
    ? `writes → ${haproxy.write ?? 'closed (connections are held)'}, reads → ${haproxy.read.join(', ') || 'none'}`
    : 'HAProxy does not answer the monitor';
  const waits =
    syncMode === 'asynchronous'
      ? 'asynchronous: a write waits for no standby'
      : sync.waitsFor === 0
        ? 'no standby is counted: a write waits for none'
        : `a write waits for ${sync.waitsFor} of ${sync.members.join(', ')}${sync.changing ? ' (being changed)' : ''}`;
  return [`Route: ${route}`, `Replication: ${waits}`];
}

function clientLines({ clientPlaces: places, tls, at }: ClusterStatus, paint: Paint): string[] {
  const words = tlsWords(tls, Date.parse(at));
  const waiting = places === undefined || places.waiting === 0 ? '' : `, ${places.waiting} wait`;
  return [
    ...(places === undefined ? [] : [`Client places: ${places.used} of ${places.of} in use on the leader${waiting}`]),
    ...(words === null ? [] : [`TLS: ${words.isBad ? paint('red', words.words) : words.words}`]),
  ];
}

/** Replication slots that people made. */
function slotLines({ clientSlots }: ClusterStatus, paint: Paint): string[] {
  if (clientSlots === undefined) return [];
  const { slots, gaps, more } = clientSlots;
  const words = slots.map((slot) => `${slot.name} (${slot.type}, ${slotState(slot)})`);
  const list = `Slots: ${words.length === 0 ? 'none' : words.join(', ')}${more === true ? ', and more' : ''}`;
  return [list, ...gaps.map((gap) => paint('yellow', `Slot ${gapWords(gap)} (docs/replication.md#replication-slots)`))];
}

function backupLines({ backup }: ClusterStatus, paint: Paint): string[] {
  if (backup === undefined) return [];
  const { second } = backup;
  const lines = [partLine('Backups', backup, paint)];
  if (second !== undefined) lines.push(partLine(`Backups in ${placeName(second.repository)}`, second, paint));
  if (isOnlyHere(backup)) lines.push(placeWords(backup));
  return lines;
}

function partLine(title: string, backup: BackupPart, paint: Paint): string {
  const { window, next, old, problem, lastJob } = backup;
  const reach = window === null ? 'none yet' : `${shortTime(window.from)} to ${shortTime(window.to)} can be restored`;
  const failed = lastJob?.result === 'failed' ? `the last job failed: ${lastJob.message}` : null;
  const trouble = problem ?? failed ?? old;
  const plan = next === null ? '' : `, next ${next.kind} ${shortTime(next.at)}`;
  return `${title}: ${reach}${plan}${trouble === null ? '' : `; ${paint('red', trouble)}`}`;
}

function lastFailoverLines({ lastFailover }: ClusterStatus): string[] {
  if (lastFailover === null) return [];
  const { at, from, node, cause, steps } = lastFailover;
  const told = steps.slice(0, SHOWN_STEPS).map((step) => `${step.name} ${step.ms} ms`);
  return [`Last change of leader: ${shortTime(at)} ${from ?? 'none'} → ${node} (${cause}): ${told.join(', ')}`];
}

/** Notices of a pause and of observe mode, which must not be forgotten: for stderr of every command. */
export function notices(cluster: Pick<ClusterStatus, 'pause' | 'failoverMode'>): string[] {
  const { pause, failoverMode } = cluster;
  return [
    ...(pause === null
      ? []
      : [
          `Automatic failover is PAUSED since ${shortTime(pause.since)}: ${pause.reason} ` +
            `(${pause.until === null ? 'until a person resumes it: npm run failover -- resume' : `until ${shortTime(pause.until)}`})`,
        ]),
    ...(failoverMode === 'observe'
      ? ['failoverMode is observe: the monitor decides and logs changes of leader, but does NOT make them.']
      : []),
  ];
}

/** An event in the format of failover.log. */
export function eventLine(event: LogEvent): string {
  return formatLine(new Date(event.at), event.level, event.subject, event.code, event.message, event.rule);
}

/** `16.0 MB`, powers of 1024 as PostgreSQL has them. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const at = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1024 ** at;
  return `${at === 0 ? value : value.toFixed(1)} ${units[at]}`;
}

/** Local time without milliseconds: `2026-11-24 21:55:22`. */
function shortTime(at: string): string {
  return localTime(new Date(at)).slice(0, 19).replace('T', ' ');
}
