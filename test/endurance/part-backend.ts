/** The memory of a whole stack's backend and monitor over a hundred thousand requests. */
import { Agent, request } from 'node:http';
import { docker } from '../rig/docker';
import { OwnStack } from '../rig/stack';
import { healthy } from '../rig/view';
import type { Part } from './report';

const REQUESTS = 100_000;
const LIMIT_MS = 300_000;
const SIDE_BY_SIDE = 24;
/** Every so many requests a person registers, which costs a hash of the password. */
const REGISTER_EVERY = 500;
const MB = 1024;

const stack = new OwnStack({ name: 'endurance', ports: 23_000, subnet: '10.98.70' });

interface Ask {
  method: string;
  path: string;
  body?: string;
  token?: boolean;
}

/** Requests of each kind: answered, refused, wrong, unknown. */
function nth(i: number): Ask {
  if (i % REGISTER_EVERY === 0) {
    const user = { username: `e${i}`, email: `e${i}@example.com`, password: 'correct horse battery' };
    return { method: 'POST', path: '/register', body: JSON.stringify(user) };
  }
  const all: Ask[] = [
    { method: 'GET', path: '/health' },
    { method: 'GET', path: '/ready' },
    { method: 'GET', path: '/users/me', token: true },
    { method: 'GET', path: `/no/${i}?of=${i}` },
    { method: 'POST', path: '/login', body: `{"username": ${i}}` },
    { method: 'POST', path: '/register', body: `no json ${i}` },
    { method: `X${i % 50}`.replace(/\d/g, (d) => 'ABCDEFGHIJ'[Number(d)] ?? 'A'), path: '/health' },
  ];
  return all[i % all.length] ?? { method: 'GET', path: '/health' };
}

/** Memory of a container's program, MB: of all its processes. */
async function rssMb(container: string): Promise<number> {
  const lines = (await docker('top', container, '-eo', 'pid,rss')).split('\n').slice(1);
  return Math.round(lines.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[1]), 0) / MB);
}

export const BACKEND_PART: Part = {
  name: 'backend',
  title: 'a hundred thousand requests to the backend of a whole stack, for at most five minutes',
  run: async (report, say) => {
    const agent = new Agent({ keepAlive: true, maxSockets: SIDE_BY_SIDE });
    try {
      await stack.up(() => undefined);
      await healthy(stack.seen);
      const { api } = stack.seen;
      const ask = ({ method, path, body, token }: Ask) =>
        new Promise<number>((resolve, reject) => {
          const headers = {
            'content-type': 'application/json',
            ...(token ? { authorization: 'Bearer no.such.token' } : {}),
          };
          const sent = request(`${api}${path}`, { method, agent, headers }, (answer) => {
            answer
              .resume()
              .on('end', () => resolve(answer.statusCode ?? 0))
              .on('error', reject);
          });
          sent.on('error', reject).end(body);
        });
      const [backend, monitor] = [stack.container('backend'), stack.container('failover-monitor')];
      const times: number[] = [];
      const statuses = new Map<number, number>();
      let next = 0;
      const untilCount = async (count: number) => {
        const endMs = performance.now() + LIMIT_MS;
        const one = async () => {
          while (next < count && performance.now() < endMs) {
            const fromMs = performance.now();
            const status = await ask(nth(next++)).catch(() => 0);
            times.push(performance.now() - fromMs);
            statuses.set(status, (statuses.get(status) ?? 0) + 1);
          }
        };
        await Promise.all(Array.from({ length: SIDE_BY_SIDE }, one));
      };
      await untilCount(REQUESTS / 10);
      const before = { backend: await rssMb(backend), monitor: await rssMb(monitor) };
      const lines = async () => (await (await fetch(`${api}/metrics`)).text()).split('\n').length;
      const linesBefore = await lines();
      say(`after ${next} requests: ${JSON.stringify(before)}`);
      await untilCount(REQUESTS);
      const after = { backend: await rssMb(backend), monitor: await rssMb(monitor) };
      const part = Math.floor(times.length / 10);
      report.note(
        `${next} requests, answers ${[...statuses]
          .sort(([a], [b]) => a - b)
          .map(([status, count]) => `${status}: ${count}`)
          .join(', ')}`,
      );
      report.must(next >= REQUESTS / 4, `only ${next} requests were made within the limit`);
      report.must(
        (statuses.get(0) ?? 0) === 0 && (statuses.get(500) ?? 0) === 0,
        'some requests got no answer, or status 500',
      );
      report.times('time of an answer', times, part, { factor: 1.5, plus: 5 });
      report.constant('memory of the backend', 'MB', before.backend, after.backend, { factor: 1.1, plus: 10 });
      report.constant('memory of the monitor', 'MB', before.monitor, after.monitor, { factor: 1.2, plus: 20 });
      report.constant('lines of the backend’s /metrics', '', linesBefore, await lines(), { plus: 60 });
    } finally {
      agent.destroy();
      await stack.down(() => undefined);
    }
  },
};
