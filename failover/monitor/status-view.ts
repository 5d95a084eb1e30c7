/** What `GET /api/v1/cluster` answers: state and observation in words that a person or a script can use. Pure. */
import { lsnDistance } from '../core/lsn';
import type { ClusterState, Decision, Observation, Target } from '../core/types';
import { addressOf, isDone, statusOf, viewOf } from '../core/view';
import type { Transition } from './timeline';

export interface LogEvent {
  at: string;
  level: string;
  subject: string;
  code: string;
  message: string;
}

export interface NodeStatus {
  name: string;
  /** leader, candidate, standby, joining, down */
  role: string;
  state: string;
  timeline: number | null;
  lsn: string | null;
  lagBytes: number | null;
  /** counted: acknowledged writes are on it; joining: being added; no */
  sync: string;
  streamingFrom: string | null;
  connected: boolean;
  /** When the keeper's connection last came or went, ISO 8601. */
  since: string;
  order: string;
  done: boolean;
  failure: string | null;
}

export interface ClusterStatus {
  stack: string;
  serving: boolean;
  sentence: string;
  code: string;
  term: number;
  leader: string | null;
  /** A leader that the config has no place for any more: it still has to hand over. */
  leaving: string | null;
  nodes: NodeStatus[];
  haproxy: { reachable: boolean; write: string | null; read: string[] };
  sync: { waitsFor: number; members: string[]; changing: boolean };
  lastTransition: Transition | null;
  events: LogEvent[];
}

export interface StatusInput {
  stack: string;
  decision: Decision;
  observation: Observation;
  readAddresses: readonly string[];
  lastTransition: Transition | null;
  events: LogEvent[];
  /** Monotonic and wall time of now, ms: turns the observation's times into dates. */
  nowMs: number;
  wallMs: number;
}

export function clusterStatus(input: StatusInput): ClusterStatus {
  const { decision, observation } = input;
  const { state } = decision;
  const nameOf = (address: string) => observation.declared.find((d) => d.address === address)?.name ?? address;
  const slot = observation.haproxy.slot;
  const address = state.leader === null ? null : addressOf(observation, state.leader);
  const ordered = state.joint.at(-1);
  return {
    stack: input.stack,
    serving: state.procedure === null && address !== null && slot === address && leaderIsUp(state, observation),
    sentence: decision.reason,
    code: decision.code,
    term: state.term,
    leader: state.leader,
    leaving: observation.retiring !== undefined && observation.retiring === state.leader ? state.leader : null,
    nodes: observation.declared.map((d) => nodeStatus(d.name, input)),
    haproxy: {
      reachable: observation.haproxy.reachable,
      write: slot === null ? null : nameOf(slot),
      read: input.readAddresses.map(nameOf),
    },
    sync: { waitsFor: ordered?.k ?? 0, members: ordered?.members ?? [], changing: state.joint.length > 1 },
    lastTransition: input.lastTransition,
    events: input.events,
  };
}

function leaderIsUp(state: ClusterState, observation: Observation): boolean {
  return state.leader !== null && statusOf(observation, state.leader)?.postgres.state === 'primary';
}

function nodeStatus(name: string, { decision, observation, nowMs, wallMs }: StatusInput): NodeStatus {
  const { state } = decision;
  const view = viewOf(observation, name);
  const status = statusOf(observation, name);
  const flushLsn = state.leader === null ? null : (statusOf(observation, state.leader)?.lead?.flushLsn ?? null);
  const replayLsn = status?.postgres.replayLsn ?? null;
  const isLeader = name === state.leader;
  return {
    name,
    role: roleOf(state, observation, name),
    state: status?.postgres.state ?? (view.connected ? 'unknown' : 'off'),
    timeline: status?.postgres.timeline ?? null,
    lsn: isLeader ? flushLsn : (status?.postgres.lsn ?? null),
    lagBytes:
      isLeader || flushLsn === null || replayLsn === null ? null : Math.max(0, lsnDistance(replayLsn, flushLsn)),
    sync: syncOf(state, name),
    streamingFrom: status?.postgres.streamingFrom ?? null,
    connected: view.connected,
    since: new Date(wallMs - (nowMs - view.changedAtMs)).toISOString(),
    order: describe(state.orders[name]?.target),
    done: isDone(status, state.orders[name]),
    failure: status?.failure == null ? null : `${status.failure.code}: ${status.failure.message}`,
  };
}

function roleOf(state: ClusterState, observation: Observation, name: string): string {
  if (!viewOf(observation, name).connected) return 'down';
  if (name === state.leader) return [undefined, 'handover'].includes(state.procedure?.kind) ? 'leader' : 'candidate';
  const status = statusOf(observation, name);
  return status?.postgres.streamingFrom != null && status.postgres.streamingFrom === state.leader
    ? 'standby'
    : 'joining';
}

function syncOf(state: ClusterState, name: string): string {
  const inAll = state.joint.length > 0 && state.joint.every((c) => c.members.includes(name));
  if (inAll) return 'counted';
  return state.joint.some((c) => c.members.includes(name)) ? 'joining' : 'no';
}

/** An order in words. */
export function describe(target: Target | undefined): string {
  switch (target?.kind) {
    case undefined:
      return 'none';
    case 'wait':
      return `wait: ${target.reason}`;
    case 'follow':
      return `follow ${target.leader} (${target.method})`;
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
