/**
 * A monitor whose process stood still between a decision and its actions, or beside which a second monitor works (S11).
 * It must not carry out an old decision.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Status } from '../../failover/contract/messages';
import { createMonitor } from '../../failover/monitor/monitor';
import type { Store } from '../../failover/monitor/ports';
import { Haproxy } from '../../failover/monitor/router/haproxy';
import { ask } from '../../failover/monitor/router/haproxy-socket';
import { STACK_SETTINGS } from '../../simulator/machine';
import { POLICY, status, view } from '../core/world';

const STALL_MS = 5_000;
const LOG = { write: () => undefined };

/** A clock that moves only when the test says that the process stood still. */
class HandClock {
  stalls = 0;
  private ms = 1_000;
  nowMs(): number {
    return this.ms;
  }
  stands(ms: number): void {
    this.ms += ms;
    this.stalls += 1;
  }
}

describe('the loop', () => {
  /** A loop over one node that has no data: its first decision changes the state, and orders follow from it. */
  function rig(
    atSave: (clock: HandClock) => void,
    accepted: Status['accepted'] = null,
    atClose: (clock: HandClock) => void = () => undefined,
  ) {
    const clock = new HandClock();
    const did: string[] = [];
    let incarnation = 1;
    const store: Store = {
      get incarnation() {
        return incarnation;
      },
      loaded: null,
      raiseAbove: async (other) => {
        incarnation = other + 1;
        return incarnation;
      },
      save: async () => {
        atSave(clock);
        saved.resolve();
      },
    };
    const saved = Promise.withResolvers<void>();
    const decided = Promise.withResolvers<void>();
    const empty = status('p', { accepted, dataId: null, postgres: { state: 'absent', streamingFrom: null } });
    const views = { p: view('p', { status: empty, recall: null }) };
    const loop = createMonitor({
      nodes: [{ name: 'p', address: '10.0.0.20' }],
      policy: POLICY,
      clusterKey: 'k'.repeat(40),
      settings: { ...STACK_SETTINGS, postgresSettings: {} },
      listen: { address: '127.0.0.1', port: 0 },
      sockets: '/none',
      models: (loop) => ({
        keepers: {
          ping: () => true,
          archive: () => undefined,
          removeKept: () => undefined,
          backup: () => undefined,
          views: () => views,
          order: (node) => did.push(`order ${node}`),
          remember: () => did.push('remember'),
          probe: () => did.push('probe'),
          retire: () => undefined,
          encrypt: () => undefined,
          forget: () => did.push('forget'),
          restart: (to) => did.push(`restart ${to}`),
          listen: async () => undefined,
          close: async () => undefined,
          port: () => 0,
        },
        router: {
          poke: () => undefined,
          clientPlaces: () => undefined,
          run: async () => undefined,
          stop: () => undefined,
          view: () => ({ reachable: true, epoch: '1@1', slot: null, closed: true, keeping: null, clean: true }),
          write: () => did.push('route'),
          read: () => did.push('read'),
          closed: async () => {
            atClose(clock);
            // HAProxy's driver does the same after each wait.
            loop.stalls();
            return true;
          },
          look: async () => {
            did.push('look');
          },
        },
        opening: { want: () => undefined, start: () => undefined, stop: () => undefined },
      }),
      store,
      clock,
      log: LOG,
      onDecision: () => decided.resolve(),
    });
    return { loop, did, saved: saved.promise, decided: decided.promise };
  }

  it('carries out its decision when it did not stand still', async () => {
    const { loop, did, decided } = rig(() => undefined);
    const ran = loop.run();
    await decided;
    loop.stop();
    await ran;
    expect(did).not.toContain('forget');
    expect(did).toContain('order p');
  });

  it('forgets what it saw and carries out nothing when it stood still while it stored its decision', async () => {
    const { loop, did, saved } = rig((clock) => clock.stands(STALL_MS));
    const ran = loop.run();
    await saved;
    loop.stop();
    await ran;
    expect(did).toEqual(['forget']);
  });

  it('carries out no more of its decision and decides again when it stood still while it waited for HAProxy', async () => {
    let closes = 0;
    const { loop, did, decided } = rig(
      () => undefined,
      null,
      (clock) => {
        closes += 1;
        if (closes === 1) clock.stands(STALL_MS);
      },
    );
    const ran = loop.run();
    await decided;
    expect(did.slice(did.indexOf('forget'))).toEqual(['forget']);
    await vi.waitFor(() => expect(did).toContain('order p'));
    loop.stop();
    await ran;
    // What it saw before no longer counts, so it first looks at HAProxy.
    expect(did.slice(did.indexOf('forget'), did.indexOf('forget') + 2)).toEqual(['forget', 'look']);
  });

  it.each([
    ['takes a higher incarnation when a keeper has accepted an order that this monitor never gave', 7, 'restart 2'],
    ['keeps its incarnation when the newest accepted order is its own', 0, 'order p'],
  ])('%s', async (_what, seq, first) => {
    const { loop, did, decided } = rig(() => undefined, { incarnation: 1, term: 0, seq, kind: 'wait' });
    const ran = loop.run();
    await decided;
    loop.stop();
    await ran;
    expect(did.filter((what) => /^(restart|order)/.test(what))[0]).toBe(first);
  });
});

describe("HAProxy's driver", () => {
  const folder = join(tmpdir(), `stall-${process.pid}`);
  let servers: Server[] = [];
  let lines: string[] = [];
  let onLine: (line: string) => void = () => undefined;

  beforeEach(async () => {
    mkdirSync(folder, { recursive: true });
    lines = [];
    onLine = () => undefined;
    servers = await Promise.all(['admin.sock', 'master.sock'].map(listen));
  });

  afterEach(async () => {
    await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))));
    rmSync(folder, { recursive: true, force: true });
  });

  /** One of HAProxy's two sockets. The slot is closed, there is no session, and each command is noted in `lines`. */
  function listen(name: string): Promise<Server> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      let text = '';
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => {
        text += chunk.toString();
      });
      socket.on('end', () => {
        if (text !== '') lines.push(text.trim());
        onLine(text);
        socket.end(name === 'admin.sock' ? ANSWER : '');
      });
    });
    return new Promise((resolve) => server.listen(join(folder, name), () => resolve(server)));
  }

  const ANSWER = `Pid: 7\nStart_time_sec: 9\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port\n3 write 1 node1 10.0.0.20 2 1 5432\n`;
  const opens = () => lines.filter((l) => /write\/node1 state ready|read\/node1/.test(l));

  function driver(clock: HandClock): Haproxy {
    const loop = { wake: () => undefined, stalls: () => clock.stalls };
    return new Haproxy({ sockets: folder, clock, log: LOG }, [{ name: 'p', address: '10.0.0.20' }], loop);
  }

  it('opens the wanted slot when the process did not stand still', async () => {
    const haproxy = driver(new HandClock());
    haproxy.write('10.0.0.20', '10.0.0.20');
    const ran = haproxy.run();
    await vi.waitFor(() => expect(opens()).not.toEqual([]));
    haproxy.stop();
    await ran;
  });

  it('sends no command for an old wish when the process stood still while it waited for an answer', async () => {
    const clock = new HandClock();
    const haproxy = driver(clock);
    const asked = Promise.withResolvers<void>();
    onLine = () => {
      // The process stands still while it waits for the first answer, the master's. The slot was not opened yet.
      if (lines.length === 1) clock.stands(STALL_MS);
      if (lines.length >= 4) asked.resolve();
    };
    haproxy.write('10.0.0.20', '10.0.0.20');
    const ran = haproxy.run();
    await asked.promise;
    expect(opens()).toEqual([]);
    // When the loop wants the slot open again, it is opened.
    haproxy.write('10.0.0.20', '10.0.0.20');
    await vi.waitFor(() => expect(opens()).not.toEqual([]));
    haproxy.stop();
    await ran;
  });

  it('changes nothing during a look that the loop asked for, whatever is wanted meanwhile', async () => {
    const haproxy = driver(new HandClock());
    const ran = haproxy.run();
    const looked = haproxy.look(5_000);
    haproxy.write('10.0.0.20', '10.0.0.20');
    haproxy.read(['10.0.0.20']);
    await looked;
    expect(haproxy.view()).toMatchObject({ reachable: true, slot: null });
    expect(opens()).toEqual([]);
    await vi.waitFor(() => expect(opens()).not.toEqual([]));
    haproxy.stop();
    await ran;
  });

  it('ends a look when HAProxy does not answer within the limit', async () => {
    const haproxy = driver(new HandClock());
    await haproxy.look(20);
    expect(haproxy.view().reachable).toBe(false);
  });

  it('checks for a stall right before it sends a command', async () => {
    await expect(ask(join(folder, 'admin.sock'), 'set server', 1_000, () => false)).rejects.toThrow('stood still');
    expect(lines).toEqual([]);
  });
});
