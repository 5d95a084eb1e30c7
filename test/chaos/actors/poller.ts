/**
 * Looks all the time, from outside, which nodes take writes and where HAProxy leads: each node is asked over its local
 * socket, so that no cut of the network hides it, and HAProxy over its admin socket for the slot and the sessions.
 * Prints every change at once, and at the end the times in which things held.
 *
 *     poller.ts <socket of HAProxy> <node>=<address> …
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, parseServers } from '../../../failover/monitor/router/haproxy-socket';
import { sessionsIn } from '../../rig/haproxy-sessions';
import { epochMs } from '../lib/events';
import { Coverage, Reigns } from '../lib/reigns';
import { emit } from './client';

const NODE_EVERY_SECONDS = 0.02;
const NODE_AGAIN_MS = 200;
const HAPROXY_EVERY_MS = 15;
const ANSWER_LIMIT_MS = 1_000;
/** A node's own clock is believed within this; one that was moved is not. */
const CLOCK_TRUST_MS = 5_000;

const [socket = '', ...pairs] = process.argv.slice(2);
const addresses = new Map(pairs.map((pair) => [pair.split('=')[0] ?? '', pair.split('=')[1] ?? '']));
const nodeAt = new Map([...addresses].map(([node, address]) => [address, node]));
const writable = new Reigns('writable');
const routed = new Reigns('routed');
const coverage = new Map<string, Coverage>();
const children = new Set<ChildProcess>();
let running = true;

function looked(source: string, atMs: number): void {
  const found = coverage.get(source) ?? new Coverage(source);
  coverage.set(source, found);
  found.look(atMs);
}

/** Keeps a session inside the node that tells its state again and again. */
function watchNode(node: string): void {
  const sql = 'SELECT (extract(epoch from clock_timestamp()) * 1000)::numeric(20,1), not pg_is_in_recovery()';
  const args = ['exec', '-i', node, 'psql', '-U', 'postgres', '-AtqX', '-F', ' '];
  const child = spawn('docker', args, { stdio: ['pipe', 'pipe', 'ignore'] });
  children.add(child);
  let last: boolean | null = null;
  const turned = (now: boolean | null, atMs: number) => {
    if (now !== last) emit({ what: 'writable', node, writable: now, atMs });
    last = now;
  };
  child.stdin.on('error', () => undefined); // The node went away before it could be asked.
  child.stdin.write(`${sql} \\watch ${NODE_EVERY_SECONDS}\n`);
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [, toldMs, is] = /^([\d.]+) ([tf])$/.exec(line) ?? [];
    if (toldMs === undefined) return;
    const nowMs = epochMs();
    const atMs = Math.abs(nowMs - Number(toldMs)) < CLOCK_TRUST_MS ? Number(toldMs) : nowMs;
    looked(node, atMs);
    if (is === 't') writable.see(node, atMs);
    else writable.end(node);
    turned(is === 't', atMs);
  });
  child.on('close', () => {
    children.delete(child);
    writable.end(node);
    coverage.get(node)?.interrupt();
    turned(null, epochMs());
    if (running) setTimeout(() => running && watchNode(node), NODE_AGAIN_MS);
  });
}

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
      for (const node of addresses.keys()) {
        if (nodes.has(node)) routed.see(node, atMs);
        else routed.end(node);
      }
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

for (const node of addresses.keys()) watchNode(node);
const done = watchHaproxy();
process.once('SIGTERM', () => {
  running = false;
  for (const child of children) child.kill();
  void done.then(() => {
    for (const reign of [...writable.all(), ...routed.all()]) emit({ what: 'reign', ...reign });
    for (const one of coverage.values()) emit({ what: 'coverage', ...one.summary() });
    process.stdout.write('', () => process.exit(0));
  });
});
