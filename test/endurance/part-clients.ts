/** The monitor's HTTP side under readers that come and go, do not read, or ask very often. */
import { type ChildProcess, fork } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LISTENERS_MAX } from '../../failover/monitor/outside/listeners';
import { PATHS } from '../../scripts/lib/paths';
import { waitFor, within } from '../rig/wait';
import type { Part } from './report';

const MB = 1024 * 1024;
const LIMIT_MS = 60_000;
/** Listeners that come and go, and how many of them are there at once. */
const LISTENERS = 2_000;
const AT_ONCE = 40;
const REQUESTS = 20_000;
const SIDE_BY_SIDE = 20;
const PATHS_ASKED = [
  'api/v1/cluster',
  'metrics',
  'api/v1/events?after=3',
  'api/v1/failovers',
  'health',
  'nothing/here',
];
const TOKEN = { authorization: 'Bearer secret' };

interface Memory {
  heapUsed: number;
  rss: number;
  listeners: number;
}

class Server {
  private constructor(
    private readonly child: ChildProcess,
    readonly port: number,
  ) {}

  static async start(): Promise<Server> {
    const file = join(PATHS.root, 'test/endurance/api-server.ts');
    const child = fork(file, { execArgv: ['--expose-gc', '--import', 'tsx'], cwd: PATHS.root });
    const { port } = await within(
      'the server',
      LIMIT_MS,
      new Promise<{ port: number }>((resolve) => child.once('message', resolve)),
    );
    return new Server(child, port);
  }

  /** Its memory now. From now on its events have so many characters. */
  memory(chars = 200): Promise<Memory> {
    const answer = new Promise<Memory>((resolve) => this.child.once('message', resolve));
    this.child.send({ chars });
    return within('the memory', LIMIT_MS, answer);
  }

  stop(): void {
    this.child.disconnect();
  }

  /** A listener that connects, perhaps reads something, and leaves. */
  async comeAndGo(i: number): Promise<void> {
    const end = new AbortController();
    const answer = fetch(`http://127.0.0.1:${this.port}/api/v1/stream`, { signal: end.signal });
    answer.catch(() => undefined);
    if (i % 3 !== 0) {
      const { body } = await answer;
      if (i % 3 === 1) await body?.getReader().read();
    } else await sleep(i % 5);
    end.abort();
    await answer.catch(() => undefined);
  }

  /** A listener that never reads. */
  deaf(): Socket {
    const socket = connect(this.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.pause();
    socket.write('GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n\r\n');
    return socket;
  }

  /** Asks so often, each time for another path, and returns the times of the answers, ms. */
  async ask(count: number): Promise<number[]> {
    const times: number[] = [];
    let next = 0;
    const one = async () => {
      while (next < count) {
        const i = next++;
        const fromMs = performance.now();
        const answer = await fetch(`http://127.0.0.1:${this.port}/${PATHS_ASKED[i % PATHS_ASKED.length]}`, {
          headers: TOKEN,
        });
        await answer.arrayBuffer();
        times.push(performance.now() - fromMs);
      }
    };
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, one));
    return times;
  }

  async lines(): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.port}/metrics`, { headers: TOKEN })).text();
    return text.split('\n').length;
  }
}

export const CLIENTS_PART: Part = {
  name: 'clients',
  title: 'the monitor’s HTTP side under readers that come and go, do not read, or ask very often',
  run: async (report, say) => {
    const server = await Server.start();
    try {
      // All buffers are full once.
      for (let i = 0; i < AT_ONCE; i++) await server.comeAndGo(i);
      await server.ask(REQUESTS / 20);
      await sleep(25_000);
      const [before, linesBefore] = [await server.memory(), await server.lines()];
      for (let i = 0; i < LISTENERS; i += AT_ONCE) {
        await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => server.comeAndGo(i + n)));
      }
      await waitFor('all listeners are forgotten', LIMIT_MS, async () => (await server.memory()).listeners === 0);
      const gone = await server.memory();
      report.note(`${LISTENERS} listeners came and went, ${AT_ONCE} at once`);
      report.constant(
        'heap of the server after listeners that came and went',
        'MB',
        before.heapUsed / MB,
        gone.heapUsed / MB,
        { factor: 1.1, plus: 3 },
      );

      say('listeners that do not read');
      const deaf = Array.from({ length: LISTENERS_MAX }, () => server.deaf());
      await waitFor('all of them listen', LIMIT_MS, async () => (await server.memory()).listeners === LISTENERS_MAX);
      let most = 0;
      await waitFor('those that do not read are dropped', 5 * LIMIT_MS, async () => {
        // The kernel takes some megabytes of each before the server has to keep anything.
        const { heapUsed, rss, listeners } = await server.memory(20_000);
        most = Math.max(most, rss / MB, heapUsed / MB);
        return listeners === 0;
      });
      report.bounded(
        `memory of the server while ${LISTENERS_MAX} listeners do not read`,
        'MB',
        most,
        before.rss / MB + 150,
      );
      for (const socket of deaf) socket.destroy();
      await server.memory();
      await server.comeAndGo(1);

      say('requests');
      const times = await server.ask(REQUESTS);
      const after = await server.memory();
      const part = REQUESTS / 10;
      report.note(`${REQUESTS} requests with a token, so that none waits for its turn`);
      report.times('time of an answer', times, part, { factor: 1.5, plus: 1 });
      report.constant('heap of the server after all requests', 'MB', before.heapUsed / MB, after.heapUsed / MB, {
        factor: 1.1,
        plus: 3,
      });
      report.constant('lines of /metrics', '', linesBefore, await server.lines(), { plus: 2 });
    } finally {
      server.stop();
    }
  },
};
