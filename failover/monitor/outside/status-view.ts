/** The answer of `GET /api/v1/cluster` (api.ts): state and observation in words for a person or a script. Pure. */
import type { ClusterStatus, Failover, NodeStatus, Sample } from '../../contract/api';
import { lsnDistance } from '../../contract/lsn';
import type { SettingsStatus, Status } from '../../contract/messages';
import { isUnreached } from '../../core/facts/haproxy';
import { Situation } from '../../core/facts/situation';
import { addressOf, isDone, statusOf, viewOf } from '../../core/facts/view';
import { ifLeaderDied } from '../../core/forecast';
import { type ClusterState, type Decision, type Policy, serves, type Target } from '../../core/state/cluster';
import type { Observation } from '../../core/state/observation';
import type { Seen } from '../ports';

/** An older commit of the leader says nothing about the present, ms. */
const COMMIT_AGE_MAX_MS = 2_000;

/** For a keeper of an older release, which does not report settings: no setting waits for a restart. */
const NO_SETTINGS: SettingsStatus = { restart: 'none', pending: [], refused: null };

interface StatusInput extends Seen {
  stack: string;
  version: string;
  policy: Policy;
  readAddresses: readonly string[];
  lastFailover: Failover | null;
  /** The present monotonic and wall time, ms. They turn the observation's times into dates. */
  nowMs: number;
  wallMs: number;
}

/** The whole status except the newest log lines, which the feed adds. */
export type StatusView = Omit<ClusterStatus, 'events'>;

export function clusterStatus(input: StatusInput): StatusView {
  const { decision, observation, policy, nowMs } = input;
  const { state } = decision;
  const s = new Situation(state, observation, nowMs, policy);
  const nameOf = (address: string) => observation.declared.find((d) => d.address === address)?.name ?? address;
  const slot = observation.haproxy.slot;
  const ordered = state.joint.at(-1);
  return {
    stack: input.stack,
    version: input.version,
    at: iso(input.wallMs),
    serving: isServing(state, observation),
    sentence: decision.reason,
    code: decision.code,
    rule: decision.rule,
    ifLeaderDied: ifLeaderDied(s),
    term: state.term,
    leader: state.leader,
    leaving: observation.retiring !== undefined && observation.retiring === state.leader ? state.leader : null,
    failoverMode: policy.failoverMode ?? 'automatic',
    pause: pauseOf(state),
    syncMode: policy.syncMode,
    nodes: observation.declared.map((d) => nodeStatus(d.name, input)),
    haproxy: {
      reachable: observation.haproxy.reachable,
      write: slot === null ? null : nameOf(slot),
      read: input.readAddresses.map(nameOf),
      unreached: s.names.filter((name) => isUnreached(s, name)),
    },
    sync: { waitsFor: ordered?.k ?? 0, members: ordered?.members ?? [], changing: state.joint.length > 1 },
    lastFailover: input.lastFailover,
  };
}

/** True when clients can write: the leader runs as a primary, and HAProxy leads to it. */
export function isServing(state: ClusterState, observation: Observation): boolean {
  if (!serves(state) || state.leader === null) return false;
  const address = addressOf(observation, state.leader);
  const runs = statusOf(observation, state.leader)?.postgres.state === 'primary';
  return runs && address !== null && observation.haproxy.slot === address;
}

function pauseOf({ pause }: ClusterState): ClusterStatus['pause'] {
  if (pause === undefined) return null;
  const { reason, sinceWallMs, untilWallMs } = pause;
  return { reason, since: iso(sinceWallMs), until: untilWallMs === null ? null : iso(untilWallMs) };
}

/** What the leader reports of its leadership; null when that is not known. */
function leadOf({ leader }: ClusterState, observation: Observation): Status['lead'] {
  return leader === null ? null : (statusOf(observation, leader)?.lead ?? null);
}

function iso(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

function nodeStatus(name: string, { decision, observation, nowMs, wallMs }: StatusInput): NodeStatus {
  const { state } = decision;
  const view = viewOf(observation, name);
  const status = statusOf(observation, name);
  const postgres = status?.postgres;
  const { settings = NO_SETTINGS } = status ?? { settings: null };
  const lead = leadOf(state, observation);
  const isLeader = name === state.leader;
  const lagBytes = isLeader ? null : lagBytesOf(state, observation, name);
  return {
    name,
    address: addressOf(observation, name) ?? '',
    role: roleOf(state, observation, name),
    state: postgres?.state ?? (view.connected ? 'unknown' : 'off'),
    timeline: postgres?.timeline ?? null,
    lsn: (isLeader ? lead?.flushLsn : postgres?.lsn) ?? null,
    lagBytes,
    lagSeconds: isLeader ? null : lagSecondsOf(postgres?.heartbeatSeenAgeMs ?? null, lagBytes),
    sync: syncOf(state, name),
    streamingFrom: postgres?.streamingFrom ?? null,
    connected: view.connected,
    since: iso(wallMs - (nowMs - view.changedAtMs)),
    order: describe(state.orders[name]?.target),
    done: isDone(status, state.orders[name]),
    failure: status?.failure == null ? null : failureText(status.failure),
    settings,
    syncState: lead?.standbys.find((s) => s.name === name)?.syncState ?? null,
    slots: view.connected ? (view.slots ?? []) : [],
  };
}

/** The failure as `CODE: message`, with the number of the attempt from the second one on. */
function failureText({ code, message, tries = 1 }: NonNullable<Status['failure']>): string {
  return `${code}: ${message}${tries > 1 ? ` (attempt ${tries})` : ''}`;
}

/**
 * How far the data that this node shows is behind the leader's flushed position, bytes; null when that is not known.
 */
function lagBytesOf(state: ClusterState, observation: Observation, name: string): number | null {
  const flushLsn = leadOf(state, observation)?.flushLsn ?? null;
  const replayLsn = statusOf(observation, name)?.postgres.replayLsn ?? null;
  return flushLsn === null || replayLsn === null ? null : Math.max(0, lsnDistance(replayLsn, flushLsn));
}

/**
 * The age of the newest heartbeat on the node. The leader writes ten a second, so a node below half a second counts as
 * level.
 */
function lagSecondsOf(heartbeatAgeMs: number | null, lagBytes: number | null): number | null {
  if (lagBytes === 0) return 0;
  return heartbeatAgeMs === null ? null : Math.round(heartbeatAgeMs / 100) / 10;
}

function roleOf(state: ClusterState, observation: Observation, name: string): NodeStatus['role'] {
  const { connected, status } = viewOf(observation, name);
  if (!connected) return 'down';
  const { leader, activity } = state;
  const leads = serves(state) || activity.kind === 'handover' || activity.kind === 'restart';
  if (name === leader) return leads ? 'leader' : 'candidate';
  const streamingFrom = status?.postgres.streamingFrom ?? null;
  return streamingFrom !== null && streamingFrom === leader ? 'standby' : 'joining';
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
function writeMsOf(state: ClusterState, observation: Observation): number | null {
  const lead = leadOf(state, observation);
  const ordered = state.joint.at(-1);
  if (lead === null || ordered === undefined || lead.heartbeatAgeMs > COMMIT_AGE_MAX_MS) return null;
  const commitMs = lead.commitMs ?? null;
  if (commitMs === null || ordered.k === 0) return commitMs;
  const lags = lead.standbys.filter((s) => ordered.members.includes(s.name)).map((s) => s.flushLagMs ?? null);
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
  note({ state }: Decision, observation: Observation, nowMs: number): void {
    const ms = writeMsOf(state, observation);
    if (ms !== null) this.write = { ms, atMs: nowMs };
  }

  sample({ state }: Decision, observation: Observation, nowMs: number, wallMs: number): Sample {
    const lagBytes: Sample['lagBytes'] = {};
    for (const { name } of observation.declared) {
      const bytes = name === state.leader ? null : lagBytesOf(state, observation, name);
      if (bytes !== null) lagBytes[name] = bytes;
    }
    const { write } = this;
    const isNew = write !== null && nowMs - write.atMs < COMMIT_AGE_MAX_MS && isServing(state, observation);
    return { at: iso(wallMs), writeMs: isNew ? write.ms : null, lagBytes };
  }
}

/** Puts an order into words for people. */
export function describe(target: Target | undefined): string {
  switch (target?.kind) {
    case undefined:
      return 'none';
    case 'wait':
      return `wait: ${target.reason}`;
    case 'follow':
      return `follow ${target.leader} (${target.method}${target.restart === true ? ', restart' : ''})`;
    case 'lead':
      return target.sync.k === 0
        ? 'lead, alone'
        : `lead, ${target.sync.k} of ${target.sync.members.join(', ')} acknowledge`;
    case 'bootstrap':
    case 'freeze':
    case 'stop':
      return target.kind;
  }
}
