import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Budget, budgetFor, budgetInWords, budgetOf } from '../../failover/contract/budget';
import { PATIENCE_MS, Places, TELL_MS } from '../../failover/monitor/router/places';
import type { Look } from '../../failover/monitor/router/workers';

type Backend = 'write' | 'read';
const LOOK_MS = 50;

/**
 * HAProxy with one node: limits, places and queues, as `show stat` shows them. PostgreSQL refuses beyond its own
 * number.
 */
class OneNode {
  readonly limit: Record<Backend, number>;
  readonly open: Record<Backend, boolean> = { write: true, read: false };
  readonly sessions: Record<Backend, number> = { write: 0, read: 0 };
  readonly queued: Record<Backend, number> = { write: 0, read: 0 };
  readonly total: Record<Backend, number> = { write: 0, read: 0 };
  refused = 0;
  /** Most connections that PostgreSQL had at a time. */
  most = 0;
  nowMs = 0;
  private readonly places: Places;

  constructor(
    readonly budget: Budget,
    /** Sessions of keeper and monitor. */
    private readonly own = 6,
  ) {
    this.limit = { write: budget.step, read: budget.step };
    this.places = new Places(budget);
  }

  come(backend: Backend, count: number): void {
    this.queued[backend] += count;
    this.dequeue();
  }

  leave(backend: Backend, count: number): void {
    this.sessions[backend] = Math.max(0, this.sessions[backend] - count);
    this.dequeue();
  }

  /** One look and its commands, and PostgreSQL's answers to the logins. */
  pass(old: readonly Look[] = []): string[] {
    this.nowMs += LOOK_MS;
    const commands = this.places.commands([this.look(), ...old], this.nowMs);
    for (const command of commands) {
      const [, backend, limit] = /^set maxconn server (write|read)\/node1 (\d+)$/.exec(command) ?? [];
      expect(Number(limit)).toBeGreaterThan(0);
      this.limit[backend as Backend] = Number(limit);
    }
    this.dequeue();
    this.refuse();
    return commands;
  }

  passes(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) this.pass();
  }

  look(): Look {
    const servers = (['write', 'read'] as const).map((backend) => ({
      ...{ backend, backendId: '3', server: 'node1', address: '10.0.0.20', port: 5432, down: false },
      maintenance: !this.open[backend],
    }));
    const loads = (['write', 'read'] as const).flatMap((backend) => [
      {
        backend,
        server: 'node1',
        sessions: this.sessions[backend],
        total: this.total[backend],
        queued: 0,
        limit: this.limit[backend],
      },
      { backend, server: 'BACKEND', sessions: 0, total: 0, queued: this.queued[backend], limit: 1 },
    ]);
    return { worker: 0, name: 'now', servers, loads };
  }

  private dequeue(): void {
    for (const backend of ['write', 'read'] as const) {
      const free = this.open[backend] ? Math.max(0, this.limit[backend] - this.sessions[backend]) : 0;
      const next = Math.min(free, this.queued[backend]);
      this.queued[backend] -= next;
      this.sessions[backend] += next;
      this.total[backend] += next;
    }
    this.most = Math.max(this.most, this.sessions.write + this.sessions.read + this.own);
  }

  /** PostgreSQL ends what is beyond its own number for ordinary roles. */
  private refuse(): void {
    const room = this.budget.maxConnections - 15 - this.own;
    const over = Math.max(0, this.sessions.write + this.sessions.read - room);
    // The newest ones, which are those of the port that was widened.
    const port = this.limit.write > this.budget.clients - this.sessions.read ? 'write' : 'read';
    const ended = Math.min(over, this.sessions[port]);
    this.sessions[port] -= ended;
    this.sessions[port === 'write' ? 'read' : 'write'] -= over - ended;
    this.refused += over;
  }
}

describe('the budget of connections', () => {
  it('gives clients what max_connections has beyond the failover’s own', () => {
    expect(budgetFor({})).toEqual({ maxConnections: 200, clients: 176, refusals: 14, step: 80, port: 4_096 });
    expect(budgetFor({ max_connections: '250' })).toMatchObject({ clients: 226, step: 80 });
    expect(budgetFor({ max_connections: '5000' })).toMatchObject({ clients: 4_976, port: 6_000 });
    expect(budgetFor({ max_connections: 'many' })).toEqual(budgetFor({}));
    expect(budgetInWords(budgetFor({}))).toBe(
      '176 clients a node (max_connections 200 less 24 for the failover); each port holds 4096',
    );
  });

  it('leaves the keeper a connection, whatever clients do', () => {
    fc.assert(
      fc.property(fc.integer({ min: 175, max: 10_000 }), (maxConnections) => {
        const { clients, refusals } = budgetOf(maxConnections);
        expect(clients + refusals).toBeLessThan(maxConnections);
      }),
    );
  });
});

describe('the places of a node', () => {
  it('all go to the port that is open, by steps', () => {
    const node = new OneNode(budgetFor({ max_connections: '250' }));
    node.come('write', 120);
    expect(node.sessions.write).toBe(80);
    node.passes(1_000);
    expect(node.sessions.write).toBe(120);
    node.come('write', 200);
    node.passes(1_400);
    expect(node.sessions.write).toBe(226);
    expect(node.refused).toBe(0);
  });

  it('are let out in steps, however soon the looks come', () => {
    const node = new OneNode(budgetOf(1_000));
    node.come('write', 900);
    const seen: number[] = [];
    for (let i = 0; i < 20; i++) {
      node.pass();
      seen.push(node.sessions.write);
    }
    // 80 every half second.
    expect(seen[8]).toBeLessThanOrEqual(160);
    expect(seen[19]).toBeLessThanOrEqual(320);
    expect(seen[19]).toBeGreaterThanOrEqual(240);
  });

  it('are shared by both ports, and the one with waiting clients gets what the other does not use', () => {
    const node = new OneNode(budgetFor({}));
    node.open.read = true;
    node.come('write', 150);
    node.come('read', 10);
    node.passes(1_300);
    expect(node.sessions).toEqual({ write: 150, read: 10 });
    node.leave('write', 120);
    node.come('read', 100);
    node.passes(1_300);
    expect(node.sessions).toEqual({ write: 30, read: 110 });
    expect(node.refused).toBe(0);
  });

  it('leave some to the port without waiting clients, so that its next ones get in at once', () => {
    const node = new OneNode(budgetFor({}));
    node.open.read = true;
    node.come('write', 170);
    node.pass();
    expect(node.queued.write).toBeGreaterThan(0);
    node.come('read', 5);
    expect(node.sessions.read).toBe(5);
  });

  it('are never promised twice: what both ports take together is what the node has', () => {
    const step = fc.record({
      what: fc.constantFrom('come', 'leave'),
      port: fc.constantFrom<Backend>('write', 'read'),
      count: fc.integer({ min: 0, max: 300 }),
    });
    fc.assert(
      // Too short a time for a refusal.
      fc.property(fc.array(step, { maxLength: PATIENCE_MS / LOOK_MS - 1 }), (steps) => {
        const node = new OneNode(budgetFor({}));
        node.open.read = true;
        for (const { what, port, count } of steps) {
          if (what === 'come') node.come(port, count);
          else node.leave(port, count);
          node.pass();
          expect(node.limit.write + node.limit.read).toBeLessThanOrEqual(node.budget.clients);
        }
      }),
    );
  });

  it('stay with those that have them, and who waits too long is refused by PostgreSQL', () => {
    const node = new OneNode(budgetFor({}));
    node.come('write', 176);
    node.passes(2_000);
    expect([node.sessions.write, node.refused]).toEqual([176, 0]);
    node.come('write', 30);
    node.passes(PATIENCE_MS - 2 * LOOK_MS);
    expect(node.refused).toBe(0);
    node.passes(500);
    expect(node.queued.write).toBe(0);
    expect(node.sessions.write).toBeGreaterThanOrEqual(176);
  });

  it('are given out between the refusals when one becomes free', () => {
    const node = new OneNode(budgetFor({}));
    node.come('write', 176);
    node.passes(2_000);
    node.come('write', 10_000);
    node.passes(PATIENCE_MS + 500);
    const before = node.total.write - node.refused;
    for (let i = 0; i < 40; i++) {
      node.leave('write', 1);
      node.pass();
    }
    expect(node.total.write - node.refused).toBeGreaterThan(before + 10);
  });

  it('are not widened all the time for refusals: PostgreSQL gives no place away while it refuses', () => {
    const node = new OneNode(budgetFor({}));
    node.come('write', 10_000);
    node.passes(2_000 + PATIENCE_MS);
    let widened = 0;
    const looks = (8 * TELL_MS) / LOOK_MS;
    for (let i = 0; i < looks; i++) {
      node.pass();
      if (node.limit.write > node.budget.clients) widened += 1;
    }
    expect(widened).toBeGreaterThan(looks / 4);
    expect(widened).toBeLessThan((looks * 3) / 4);
  });

  it('count the sessions of a worker that finishes old sessions', () => {
    const node = new OneNode(budgetFor({}));
    const old = new OneNode(budgetFor({}));
    old.sessions.write = 60;
    node.come('write', 200);
    for (let i = 0; i < 24; i++) node.pass([{ ...old.look(), worker: 1, name: '7' }]);
    expect(node.sessions.write).toBe(116);
  });

  it('are held, without a refusal, while no slot is open', () => {
    const node = new OneNode(budgetFor({}));
    node.open.write = false;
    node.come('write', 300);
    node.passes(10_000);
    expect(node.sessions.write).toBe(0);
    node.open.write = true;
    node.passes(PATIENCE_MS - 100);
    expect([node.sessions.write, node.refused]).toEqual([176, 0]);
  });

  it('never leave the failover without a connection, whatever comes and goes', () => {
    const step = fc.record({
      what: fc.constantFrom('come', 'leave', 'open', 'close'),
      port: fc.constantFrom<Backend>('write', 'read'),
      count: fc.integer({ min: 0, max: 300 }),
      looks: fc.integer({ min: 0, max: 40 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const node = new OneNode(budgetFor({}));
        node.open.read = true;
        for (const { what, port, count, looks } of steps) {
          if (what === 'come') node.come(port, count);
          else if (what === 'leave') node.leave(port, count);
          else node.open[port] = what === 'open';
          for (let i = 0; i < looks; i++) node.pass();
          expect(node.most).toBeLessThanOrEqual(200);
        }
      }),
    );
  });
});
