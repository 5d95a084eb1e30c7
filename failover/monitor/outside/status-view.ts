/** The answer of `GET /api/v1/cluster` (api.ts), made from state and observation for a person or a script. Pure. */
import type { ClusterStatus, Failover, NodeStatus, PoolerStatus, Sample } from '../../contract/api';
import { lsnDistance } from '../../contract/lsn';
import type { SettingsStatus, Status } from '../../contract/messages';
import { isUnreached } from '../../core/facts/haproxy';
import { isReportReplica } from '../../core/facts/reports';
import { whatOf } from '../../core/facts/restores';
import type { Situation } from '../../core/facts/situation';
import { ifLeaderDied } from '../../core/forecast';
import { type ClusterState, type Decision, restoreOf, serves, type Target } from '../../core/state/cluster';

/** Maximum age of a commit whose duration is still shown, ms. */
const COMMIT_AGE_MAX_MS = 2_000;

/** For a keeper of an older release, which does not report settings: no setting waits for a restart. */
const NO_SETTINGS: SettingsStatus = { restart: 'none', pending: [], refused: null };

interface StatusInput {
  /** The newest decision. */
  decision: Pick<Decision, 'reason' | 'code' | 'rule'>;
  stack: string;
  version: string;
  lastFailover: Failover | null;
  /** Absent: clients are not offered TLS, or it is not known. */
  tls?: ClusterStatus['tls'];
  /** Undefined while no leader is open. */
  clientPlaces?: ClusterStatus['clientPlaces'];
  /** Undefined in a stack without backups. */
  backup?: ClusterStatus['backup'];
  /** Undefined in a stack without a pooler. */
  pooler?: PoolerStatus;
  /** The present wall time, ms. With the situation's monotonic time it turns the observation's times into dates. */
  wallMs: number;
}

/** The whole status except the newest log lines, which the feed adds. */
export type StatusView = Omit<ClusterStatus, 'events'>;

export function clusterStatus(s: Situation, input: StatusInput): StatusView {
  const { state, policy } = s;
  const { declared, haproxy, retiring } = s.observation;
  const { decision, wallMs } = input;
  const nameOf = (address: string) => declared.find((d) => d.address === address)?.name ?? address;
  return {
    stack: input.stack,
    version: input.version,
    at: iso(wallMs),
    serving: isServing(s),
    sentence: decision.reason,
    code: decision.code,
    rule: decision.rule,
    ifLeaderDied: ifLeaderDied(s),
    term: state.term,
    leader: state.leader,
    leaving: retiring !== undefined && retiring === state.leader ? retiring : null,
    failoverMode: policy.failoverMode ?? 'automatic',
    pause: pauseOf(state),
    syncMode: policy.syncMode,
    nodes: s.names.map((name) => nodeStatus(s, name, wallMs)),
    haproxy: {
      reachable: haproxy.reachable,
      write: haproxy.slot === null ? null : nameOf(haproxy.slot),
      read: (haproxy.read ?? []).map(nameOf),
      unreached: s.names.filter((name) => isUnreached(s, name)),
    },
    ...(input.clientPlaces && { clientPlaces: input.clientPlaces }),
    ...clientSlotsPart(s),
    ...(input.pooler !== undefined && { pooler: input.pooler }),
    ...(input.backup !== undefined && { backup: input.backup, restore: restoreStatus(s) }),
    sync: { waitsFor: s.ordered?.k ?? 0, members: s.ordered?.members ?? [], changing: state.joint.length > 1 },
    lastFailover: input.lastFailover,
    ...(input.tls && { tls: input.tls }),
  };
}

/** The slots that people made; nothing before there is one. */
function clientSlotsPart({ state, observation }: Situation): Pick<StatusView, 'clientSlots'> {
  if (state.slots === undefined) return {};
  const seen = state.leader === null ? undefined : observation.nodes[state.leader]?.clientSlots;
  const slots = seen?.term === state.slots.term ? seen.slots : [];
  const { gaps, more } = state.slots;
  return { clientSlots: { slots, gaps: gaps.map(({ term: _, ...gap }) => gap), ...(more && { more }) } };
}

/** True when clients can write: the leader runs as a primary, and HAProxy leads to it. */
export function isServing(s: Situation): boolean {
  const { slot } = s.observation.haproxy;
  const runs = serves(s.state) && s.status(s.leader)?.postgres.state === 'primary';
  return runs && slot !== null && slot === s.address(s.leader);
}

function restoreStatus(s: Situation): ClusterStatus['restore'] {
  const { restored, request } = s.state;
  const restore = restoreOf(s.state);
  const has = restored === undefined ? undefined : s.status(restored.node)?.restored;
  const isKept = restored !== undefined && restored.confirmed !== true;
  const isLast = restore === null && (request?.kind === 'restore' || request?.kind === 'undo');
  return {
    underWay: restore === null ? null : whatOf(restore),
    kept: isKept
      ? {
          ...{ node: restored.node, to: restored.words, bytes: has?.keptBytes ?? null },
          at: has === undefined ? null : iso(has.atMs),
        }
      : null,
    last: isLast ? (request.ended ?? null) : null,
  };
}

function pauseOf({ pause }: ClusterState): ClusterStatus['pause'] {
  if (pause === undefined) return null;
  const { reason, sinceWallMs, untilWallMs } = pause;
  return { reason, since: iso(sinceWallMs), until: untilWallMs === null ? null : iso(untilWallMs) };
}

/** What the leader reports of its leadership; null when that is not known. */
function leadOf(s: Situation): Status['lead'] {
  return s.status(s.leader)?.lead ?? null;
}

function iso(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

function nodeStatus(s: Situation, name: string, wallMs: number): NodeStatus {
  const view = s.view(name);
  const status = s.status(name);
  const postgres = status?.postgres;
  const { settings = NO_SETTINGS } = status ?? { settings: null };
  const lead = leadOf(s);
  const isLeader = name === s.leader;
  const lagBytes = lagBytesOf(s, name);
  return {
    name,
    address: s.address(name) ?? '',
    role: roleOf(s, name),
    state: postgres?.state ?? (view.connected ? 'unknown' : 'off'),
    timeline: postgres?.timeline ?? null,
    lsn: (isLeader ? lead?.flushLsn : postgres?.lsn) ?? null,
    lagBytes,
    lagSeconds: isLeader ? null : lagSecondsOf(postgres?.heartbeatSeenAgeMs ?? null, lagBytes),
    sync: syncOf(s.state, name),
    reports: isReportReplica(s, name),
    oldReadSeconds: secondsOf(postgres?.oldReadMs ?? null),
    streamingFrom: postgres?.streamingFrom ?? null,
    connected: view.connected,
    since: iso(wallMs - (s.nowMs - view.changedAtMs)),
    order: describe(s.state.orders[name]?.target),
    done: s.isDone(name),
    failure: status?.failure == null ? null : failureText(status.failure),
    settings,
    syncState: lead?.standbys.find((standby) => standby.name === name)?.syncState ?? null,
    slots: view.connected ? (view.slots ?? []) : [],
  };
}

/** The failure as `CODE: message`, with the number of the attempt from the second one on. */
function failureText({ code, message, tries = 1 }: NonNullable<Status['failure']>): string {
  return `${code}: ${message}${tries > 1 ? ` (attempt ${tries})` : ''}`;
}

/**
 * How far the data that this standby shows is behind the leader's flushed position, bytes; null when that is not known,
 * and for the leader.
 */
function lagBytesOf(s: Situation, name: string): number | null {
  const flushLsn = leadOf(s)?.flushLsn ?? null;
  const replayLsn = s.status(name)?.postgres.replayLsn ?? null;
  return name === s.leader || flushLsn === null || replayLsn === null
    ? null
    : Math.max(0, lsnDistance(replayLsn, flushLsn));
}

/**
 * Age of the newest transaction that the node shows, s, rounded to 0.1 s; 0 when the node has all of the leader's log.
 * Null when the age is not known.
 */
function lagSecondsOf(heartbeatAgeMs: number | null, lagBytes: number | null): number | null {
  if (lagBytes === 0) return 0;
  return secondsOf(heartbeatAgeMs);
}

/** Rounded to 0.1 s. */
function secondsOf(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms / 100) / 10;
}

function roleOf(s: Situation, name: string): NodeStatus['role'] {
  const { state, leader } = s;
  if (!s.view(name).connected) return 'down';
  const leads = serves(state) || state.activity.kind === 'handover' || state.activity.kind === 'restart';
  if (name === leader) return leads ? 'leader' : 'candidate';
  return s.status(name)?.postgres.streamingFrom === leader ? 'standby' : 'joining';
}

function syncOf({ joint }: ClusterState, name: string): NodeStatus['sync'] {
  const counting = joint.filter((c) => c.members.includes(name));
  if (counting.length === 0) return 'no';
  return counting.length === joint.length ? 'counted' : 'joining';
}

/**
 * How long a one-row commit takes: the time in which the leader flushed its last heartbeat, and in which the standbys
 * that it waits for confirmed theirs. Null when that is not known, or when no answer came lately.
 */
function writeMsOf(s: Situation): number | null {
  const { ordered } = s;
  const lead = leadOf(s);
  if (lead === null || ordered === undefined || lead.heartbeatAgeMs > COMMIT_AGE_MAX_MS) return null;
  const commitMs = lead.commitMs ?? null;
  if (commitMs === null || ordered.k === 0) return commitMs;
  const lags = lead.standbys.filter(({ name }) => ordered.members.includes(name)).map((row) => row.flushLagMs ?? null);
  const slowest = lags.filter((ms) => ms !== null).sort((a, b) => a - b)[ordered.k - 1];
  return slowest === undefined ? null : Math.round((commitMs + slowest) * 10) / 10;
}

/**
 * Collects the moments for the charts. PostgreSQL reports a standby's lag only while there are writes, so the last one
 * is kept.
 */
export class Sampler {
  private write: { ms: number; atMs: number } | null = null;

  /** Called after each cycle. */
  note(s: Situation): void {
    const ms = writeMsOf(s);
    if (ms !== null) this.write = { ms, atMs: s.nowMs };
  }

  sample(s: Situation, wallMs: number): Sample {
    const lagBytes: Sample['lagBytes'] = {};
    for (const name of s.names) {
      const bytes = lagBytesOf(s, name);
      if (bytes !== null) lagBytes[name] = bytes;
    }
    const { write } = this;
    const isNew = write !== null && s.nowMs - write.atMs < COMMIT_AGE_MAX_MS && isServing(s);
    return { at: iso(wallMs), writeMs: isNew ? write.ms : null, lagBytes };
  }
}

/** An order as text for people. */
export function describe(target: Target | undefined): string {
  switch (target?.kind) {
    case undefined:
      return 'none';
    case 'wait':
      return `wait: ${target.reason}`;
    case 'follow':
      return `follow ${target.leader} (${[
        target.method,
        ...(target.restart === true ? ['restart'] : []),
        ...(target.lateReplay === true ? ['readers may delay replay'] : []),
      ].join(', ')})`;
    case 'lead':
      return target.sync.k === 0
        ? 'lead, alone'
        : `lead, ${target.sync.k} of ${target.sync.members.join(', ')} acknowledge`;
    case 'restore':
      return `restore (${target.step}${target.from.kind === 'kept' ? ', the data from before' : ''})`;
    case 'bootstrap':
    case 'freeze':
    case 'stop':
      return target.kind;
  }
}
