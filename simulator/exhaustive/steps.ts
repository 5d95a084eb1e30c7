/** All steps that can happen next from one state of the small world. */

import { compareOrders } from '../../failover/contract/messages';
import type { Action } from '../../failover/core/state/cluster';
import { act, DOWN, LETTER_A, mustNotLead, promoteByHand, put, receive } from './keeper';
import { ADDRESSES, type Decider, firstState, type Monitor, statusOf } from './monitor';
import { confirmedBy, firstWorld, type Given, length, NAMES, type Name, streams, type World } from './world';

export interface Bounds {
  /** Number of confirmations that a write needs, with two standbys. */
  k: number;
  /** Number of kills of nodes, and of starts of killed nodes. */
  crashes: number;
  starts: number;
  /** Number of losses of the connection between the monitor and a node. */
  cuts: number;
  /** Number of promotions; the first term is 1. */
  promotions: number;
  /** Number of changes of the synchronous set while a leader serves or is opened. */
  changes: number;
  writes: number;
  /** Number of statements of people, of all kinds together. @default 0 */
  hands?: number;
  /** Leaves out S4: a setting counts as soon as it is shown. */
  early?: boolean;
  /** The keepers do not store a promotion by hand (S3). */
  forgets?: boolean;
}

/** One line that describes the bounds. */
export function worldOf({ k, crashes, starts, cuts, promotions, changes, writes, hands = 0 }: Bounds): string {
  return `ANY ${k} of 2, ${crashes} crashes, ${starts} starts, ${cuts} cuts, ${promotions} promotions, ${changes} changes, ${writes} writes, ${hands} statements of people`;
}

export interface State {
  world: World;
  monitor: Monitor;
}

export interface Step {
  label: string;
  next: State;
}

/** Takes a step; null, or an unchanged world: it cannot happen. */
type Add = (label: string, world: World | null, monitor?: Monitor) => void;

/** `decide` refused a decision, because an invariant would not hold. */
export class Broken extends Error {}

export function firstOf(bounds: Bounds): State {
  const world = firstWorld(bounds.k);
  const monitor: Monitor = {
    state: firstState(bounds.k),
    last: {},
    silent: [],
    certificate: { node: 'p', term: 1, epoch: '1@1' },
    check: null,
    changes: 0,
  };
  return { world, monitor };
}

const CHANGES: ReadonlySet<string> = new Set(['SYNC_CHANGE', 'PROMOTE_SYNC']);
const CYCLES_MAX = 20;

export class Steps {
  /** Number of steps that would leave the bounds. */
  cut = 0;
  private readonly early: boolean;

  constructor(
    private readonly bounds: Bounds,
    private readonly decider: Decider,
  ) {
    this.early = bounds.early === true;
  }

  /** Throws {@link Broken} when a decision breaks an invariant. */
  from(state: State): Step[] {
    const steps: Step[] = [];
    const add: Add = (label, world, monitor = state.monitor) => {
      if (world === null || world === state.world) return;
      const acknowledged = NAMES.reduce((at, name) => acknowledge(at, name), world);
      steps.push({ label, next: { world: acknowledged, monitor } });
    };
    for (const name of NAMES) {
      this.ofNode(state, name, add);
      this.ofFaults(state, name, add);
      this.ofMonitor(state, name, steps);
    }
    add('HAProxy does what it was told', this.route(state.world));
    this.cycle(steps, 'the monitor looks', state.world, state.monitor, false);
    this.cycle(steps, 'the monitor looks after a while', state.world, state.monitor, true);
    return steps;
  }

  private ofNode(state: State, name: Name, add: Add): void {
    const { world } = state;
    const node = world.nodes[name];
    add(`${name} acts by its order (${node.accepted.target.kind})`, act(world, name));
    if (node.role === 'standby' && node.upstream !== null) {
      const next = receive(world, name);
      add(`${name} receives from ${node.upstream}`, changed(world, next, name) ? next : null);
    }
    if (!node.cut && node.up) {
      for (const given of world.sent[name]) {
        add(`${name} gets order ${given.term}.${given.seq} (${given.target.kind})`, accept(world, name, given));
      }
    }
    if (node.up && node.role === 'primary' && world.sessions.includes(name)) {
      if (world.writes < this.bounds.writes) add(`a client writes on ${name}`, write(world, name));
    }
  }

  private ofFaults(state: State, name: Name, add: Add): void {
    const { world, monitor } = state;
    const node = world.nodes[name];
    const { crashes, cuts, starts } = world;
    if (!node.up && starts < this.bounds.starts) {
      add(`${name} is started`, { ...put(world, name, { up: true, ordered: false }), starts: starts + 1 });
    }
    if (node.cut) {
      const { [name]: _old, ...last } = monitor.last;
      const silent = monitor.silent.filter((n) => n !== name);
      const heard = { ...monitor, last, silent };
      add(`${name} and the monitor hear each other again`, put(world, name, { cut: false }), heard);
    }
    if (node.up && node.role === 'standby' && world.hands < (this.bounds.hands ?? 0)) this.ofPeople(state, name, add);
    if (!node.up || node.cut) return;
    if (crashes < this.bounds.crashes) add(`${name} crashes`, { ...crash(world, name), crashes: crashes + 1 });
    if (cuts >= this.bounds.cuts) return;
    const last = { ...monitor.last, [name]: statusOf(world, name, this.early) };
    const apart = { ...put(world, name, { cut: true }), cuts: cuts + 1 };
    add(`${name} and the monitor do not hear each other`, apart, { ...monitor, last });
  }

  private ofPeople({ world }: State, name: Name, add: Add): void {
    const counted = { ...world, hands: world.hands + 1 };
    add(`a person promotes ${name} by hand`, promoteByHand(counted, name, this.bounds.forgets === true));
    if (!world.nodes[name].held) add(`a person pauses replay on ${name}`, put(counted, name, { held: true }));
    if (!world.lost) add('a person deletes the heartbeat', { ...counted, lost: true });
  }

  /** The monitor's decisions after one more observation. */
  private ofMonitor({ world, monitor }: State, name: Name, steps: Step[]): void {
    const node = world.nodes[name];
    const { silent } = monitor;
    if (node.cut && !silent.includes(name)) {
      const waited = { ...monitor, silent: [...silent, name].sort() };
      this.cycle(steps, `the monitor waits for ${name} in vain`, world, waited, false);
    }
    if (monitor.check?.node === name && canCommit(world, name)) {
      const certificate = { node: name, term: monitor.check.term, epoch: '1@1' };
      this.cycle(steps, `${name} passes the opening check`, world, { ...monitor, certificate, check: null }, false);
    }
  }

  /**
   * Runs cycles of the monitor's loop until it decides nothing new. Adds no step when nothing changes or the bounds are
   * left.
   */
  private cycle(steps: Step[], label: string, world: World, monitor: Monitor, late: boolean): void {
    let at: State = { world, monitor };
    const codes: string[] = [];
    for (let i = 0; i < CYCLES_MAX; i++) {
      const { state, actions, code } = this.decide(at, late);
      const again = state !== at.monitor.state;
      if (again) codes.push(code);
      const changes = at.monitor.changes + (again && CHANGES.has(code) ? 1 : 0);
      if (state.term > this.bounds.promotions + 1 || changes > this.bounds.changes) {
        this.cut += 1;
        return;
      }
      at = carryOut({ world: at.world, monitor: { ...at.monitor, state, changes } }, actions);
      if (!again) break;
    }
    const said = codes.length > 0 ? `: ${codes.join(', ')}` : '';
    steps.push({ label: `${label}${said}`, next: at });
  }

  private decide(state: State, late: boolean): ReturnType<Decider['decide']> {
    try {
      return this.decider.decide(state.monitor, state.world, late);
    } catch (error) {
      throw new Broken(error instanceof Error ? error.message : String(error));
    }
  }

  private route(world: World): World | null {
    const { slot, keep } = world.wanted;
    const stay = world.sessions.filter((s) => s === keep);
    const opens = slot !== null && !stay.includes(slot) && leads(world, slot);
    const sessions = opens ? [...stay, slot] : stay;
    const same = slot === world.slot && sessions.join() === world.sessions.join();
    return same ? null : { ...world, slot, sessions };
  }
}

function leads(world: World, name: Name): boolean {
  return world.nodes[name].up && world.nodes[name].role === 'primary';
}

function changed(before: World, after: World, name: Name): boolean {
  const [a, b] = [before.nodes[name], after.nodes[name]];
  const leader = a.upstream;
  if (leader === null || a.log !== b.log || a.timeline !== b.timeline) return leader !== null;
  return before.nodes[leader].confirmed[name] !== after.nodes[leader].confirmed[name];
}

/** Works like `Keeper.accept`. */
function accept(world: World, name: Name, given: Given): World | null {
  const node = world.nodes[name];
  const age = compareOrders({ incarnation: 1, ...given }, { incarnation: 1, ...node.accepted });
  if (age < 0) return null;
  if (age === 0) return node.ordered ? null : put(world, name, { ordered: true });
  const next = { ...node, accepted: given };
  const begins = given.target.kind === 'lead' && node.role !== 'primary' && !mustNotLead(next);
  const taken = put(world, name, {
    accepted: given,
    ordered: true,
    ...(begins ? { promotingTerm: given.term } : {}),
  });
  // Orders that the keeper would always refuse are removed, because they lead to no other history.
  const left = world.sent[name].filter(
    (o) => compareOrders({ incarnation: 1, ...o }, { incarnation: 1, ...given }) >= 0,
  );
  const trimmed = { ...taken, sent: { ...taken.sent, [name]: left } };
  // A fault may strike between the storing of an order to lead and the promotion, so these are two steps. Other orders
  // begin at once.
  return given.target.kind === 'lead' ? trimmed : (act(trimmed, name) ?? trimmed);
}

function write(world: World, name: Name): World {
  const letter = String.fromCharCode(LETTER_A + world.writes);
  return put({ ...world, writes: world.writes + 1 }, name, { log: world.nodes[name].log + letter });
}

/**
 * Acknowledges every write on this leader that its setting allows, as early as possible. A later acknowledgement could
 * only reduce what can be lost.
 */
function acknowledge(world: World, name: Name): World {
  const node = world.nodes[name];
  const { inForce } = node;
  if (inForce === null || !leads(world, name) || !world.sessions.includes(name)) return world;
  const added = [...node.log].filter((w, i) => !world.acknowledged.includes(w) && confirmedBy(node, inForce, i + 1));
  if (added.length === 0) return world;
  return { ...world, acknowledged: [...world.acknowledged, ...added].sort().join('') };
}

/** True when the monitor's own commit succeeds. It waits for the members like any other commit. */
function canCommit(world: World, name: Name): boolean {
  const node = world.nodes[name];
  if (!leads(world, name) || node.inForce === null) return false;
  const there = node.inForce.members.filter(
    (m) => world.nodes[m as Name].upstream === name && streams(world, m as Name),
  );
  return there.length >= node.inForce.k;
}

function crash(world: World, name: Name): World {
  const gone = put(world, name, { ...DOWN, up: false, cut: false, clean: false, confirmed: {}, ordered: false });
  return { ...gone, sessions: world.sessions.filter((s) => s !== name) };
}

function nameOf(address: string | null): Name | null {
  return NAMES.find((n) => ADDRESSES[n] === address) ?? null;
}

function carryOut({ world, monitor }: State, actions: readonly Action[]): State {
  let { sent, wanted } = world;
  let check: Monitor['check'] = null;
  for (const action of actions) {
    if (action.kind === 'order') sent = send(world, sent, action.node as Name, action.order);
    else if (action.kind === 'certify') check = { node: action.node as Name, term: action.term };
    else if (action.kind === 'route-write') {
      const { route } = action;
      if (route.kind === 'closed') wanted = { slot: null, keep: route.keep as Name | null };
      else wanted = { slot: route.kind === 'open' ? nameOf(route.address) : null, keep: nameOf(route.address) };
    }
  }
  const isSame = sent === world.sent && wanted.slot === world.wanted.slot && wanted.keep === world.wanted.keep;
  return { world: isSame ? world : { ...world, sent, wanted }, monitor: { ...monitor, check } };
}

function send(world: World, sent: World['sent'], name: Name, order: Given): World['sent'] {
  if (sent[name].some((o) => o.term === order.term && o.seq === order.seq)) return sent;
  const { accepted, ordered } = world.nodes[name];
  const age = compareOrders({ incarnation: 1, ...order }, { incarnation: 1, ...accepted });
  if (age < 0 || (age === 0 && ordered)) return sent;
  return { ...sent, [name]: [...sent[name], order].sort((x, y) => x.term - y.term || x.seq - y.seq) };
}

/** Checks what must hold in every state. Returns a sentence for each violation. */
export function violationsOf({ world, monitor }: State): string[] {
  const found: string[] = [];
  const writable = NAMES.filter((n) => leads(world, n) && (world.slot === n || world.sessions.includes(n)));
  if (writable.length > 1) found.push(`TWO ROUTES: ${writable.join(' and ')} take writes`);
  const entry = monitor.state.ledger.findLast((e) => e.opened);
  if (entry !== undefined) {
    const node = world.nodes[entry.node as Name];
    const lost = [...world.acknowledged].filter((w) => !node.log.includes(w));
    if (lost.length > 0 && entry.dataId === `1:${entry.node}${node.directory}`)
      found.push(
        `LOST: ${lost.join()} was acknowledged, ${entry.node}, opened in term ${entry.term}, does not have it`,
      );
  }
  const { leader, activity, term } = monitor.state;
  const candidate = activity.kind === 'promote' && leader !== null ? world.nodes[leader as Name] : null;
  if (candidate?.role === 'primary' && candidate.leadTerm === term) {
    const lost = [...world.acknowledged].filter((w) => !candidate.log.includes(w));
    if (lost.length > 0)
      found.push(`LOST: ${lost.join()} was acknowledged, ${leader}, promoted in term ${term}, does not have it`);
  }
  for (const name of NAMES) {
    const { upstream, log } = world.nodes[name];
    if (upstream === null || !streams(world, name)) continue;
    const source = world.nodes[upstream].log;
    if (source.slice(0, log.length) !== log)
      found.push(
        `DIFFERENT: ${name} streams from ${upstream}, but has ${log} and not ${source.slice(0, length(world.nodes[name]))}`,
      );
  }
  return found;
}
