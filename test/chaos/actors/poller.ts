/**
 * Looks all the time, from outside, which nodes take writes and where HAProxy leads: each node is asked over its local
 * socket, so that no cut of the network hides it, and HAProxy over its admin socket for the slot and the sessions.
 * Prints every change at once, and at the end the times in which things held.
 *
 *     poller.ts <socket of HAProxy> <node>=<address> …
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, parseServers } from '../../../failover/monitor/router/haproxy-socket';
import { emit } from '../../rig/client';
import { sessionsIn } from '../../rig/haproxy-sessions';
import { Coverage, Reigns } from '../../rig/reigns';
import { epochMs } from '../../rig/wait';
import { WritableWatch } from '../../rig/writable';

const HAPROXY_EVERY_MS = 15;
const ANSWER_LIMIT_MS = 1_000;

const [socket = '', ...pairs] = process.argv.slice(2);
const addresses = new Map(pairs.map((pair) => [pair.split('=')[0] ?? '', pair.split('=')[1] ?? '']));
const nodeAt = new Map([...addresses].map(([node, address]) => [address, node]));
const writable = new Reigns('writable');
const routed = new Reigns('routed');
const coverage = new Map<string, Coverage>();
let running = true;

function looked(source: string, atMs: number): void {
  const found = coverage.get(source) ?? new Coverage(source);
  coverage.set(source, found);
  found.look(atMs);
}

const last = new Map<string, boolean | null>();
const watch = new WritableWatch(addresses.keys(), (node, is, atMs) => {
  if (is === null) coverage.get(node)?.interrupt();
  else looked(node, atMs);
  writable.look(node, is, atMs);
  if (is !== (last.get(node) ?? null)) emit({ what: 'writable', node, writable: is, atMs });
  last.set(node, is);
});

/** Nodes that a client's write may reach now: by the slot, or over a session that is established or being so. */
function routes(answer: string): { slot: string | null; nodes: Set<string> } {
  const slots = parseServers(answer).filter((s) => s.backend === 'write' && s.port === 5432);
  const open = slots.filter((s) => !s.maintenance);
  const slot = open.length === 0 ? null : open.map((s) => s.address).join(' and ');
  const sessions = sessionsIn(answer).filter(
    (s) => s.backend === 'write' && (s.state === 'established' || s.state === 'connects'),
  );
  const used = slots.filter((slot) => sessions.some((s) => s.slot === slot.server));
  const found = [...open, ...used].map((s) => nodeAt.get(s.address));
  return { slot, nodes: new Set(found.filter((n) => n !== undefined)) };
}

async function watchHaproxy(): Promise<void> {
  let last: string | null | undefined;
  while (running) {
    const atMs = epochMs();
    try {
      const { slot, nodes } = routes(await ask(socket, 'show servers state;show sess', ANSWER_LIMIT_MS));
      looked('haproxy', atMs);
      for (const node of addresses.keys()) routed.look(node, nodes.has(node), atMs);
      if (slot !== last) emit({ what: 'slot', address: slot, atMs });
      last = slot;
    } catch {
      // A frozen HAProxy keeps its sessions: what is seen at both ends of its silence held all the time.
      coverage.get('haproxy')?.interrupt();
      if (last !== '?') emit({ what: 'slot', address: '?', atMs });
      last = '?';
    }
    await sleep(Math.max(1, HAPROXY_EVERY_MS - (epochMs() - atMs)));
  }
}

const done = watchHaproxy();
process.once('SIGTERM', () => {
  running = false;
  watch.stop();
  void done.then(() => {
    for (const reign of [...writable.all(), ...routed.all()]) emit({ what: 'reign', ...reign });
    for (const one of coverage.values()) emit({ what: 'coverage', ...one.summary() });
    process.stdout.write('', () => process.exit(0));
  });
});
