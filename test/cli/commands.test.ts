import { beforeEach, describe, expect, it } from 'vitest';
import { EXIT } from '../../cli/exit';
import type { Run } from '../../cli/superuser';
import { ClusterStatus } from '../../failover/contract/api';
import { healthyCluster } from '../rig/healthy-cluster';
import { cli } from './console';
import { event, FakeMonitor } from './fake-monitor';

const PAUSE = { reason: 'new disk', since: '2026-11-24T20:00:00.000Z', until: null };
const PAUSED = /PAUSED since .*: new disk \(until a person resumes it/;

let monitor: FakeMonitor;
beforeEach(async () => {
  monitor = new FakeMonitor();
  await monitor.open();
  return () => monitor.close();
});

const says = (args: string, setting = {}) => cli(monitor.url, args.split(' '), setting);
const bodies = () => monitor.calls.map(({ body }) => body);

describe('status', () => {
  it('tells first who would take over, and the nodes in aligned columns', async () => {
    const { out, err, code } = await says('status');
    expect(code).toBe(EXIT.ok);
    expect(err).toEqual([]);
    expect(out[1]).toBe('If the leader died now: postgres-replica-1 takes over');
    const head = out.findIndex((line) => line.startsWith('node '));
    const at = (out[head] ?? '').indexOf('role');
    expect(out[head + 1]?.slice(at)).toMatch(/^leader +primary +3 +0\/5000060 +- +- +- +2026/);
    expect(out[head + 2]?.slice(at)).toMatch(/^standby +standby +3 +0\/5000060 +2\.0 kB +0\.1 s +counted +2026/);
  });

  it('ends with 1 while writes do not go through', async () => {
    monitor.cluster = { ...healthyCluster(), serving: false };
    const { out, code } = await says('status');
    expect(code).toBe(EXIT.failed);
    expect(out[0]).toContain('writes do NOT go through');
  });

  it('prints JSON that the API’s schema takes, and the pause on stderr alone', async () => {
    monitor.cluster = { ...healthyCluster(), pause: PAUSE };
    const { out, err } = await says('status --json');
    expect(ClusterStatus.parse(JSON.parse(out.join('\n')))).toEqual(monitor.cluster);
    expect(err).toEqual([expect.stringMatching(PAUSED)]);
  });

  it('watches on while the monitor is away', async () => {
    let looks = 0;
    const { out, err } = await says('status --watch --json', {
      goOn: () => {
        looks++;
        monitor.cluster = looks === 1 ? null : healthyCluster();
        return looks < 3;
      },
    });
    expect(out).toHaveLength(2);
    expect(err).toEqual([expect.stringContaining('the monitor is starting')]);
  });
});

describe('what somebody else wrote', () => {
  const HOSTILE = 'no\r\n\x1b[2J\x9b31m\u202e all is well';
  const STEERS = /[\p{Cc}\p{Cf}]/u;

  it.each(['status', 'status --json', 'events', 'switchover --yes'])(
    'neither begins a line nor steers the terminal: %s',
    async (args) => {
      const healthy = healthyCluster();
      const hostile = { failure: HOSTILE, order: HOSTILE };
      monitor.cluster = {
        ...healthy,
        sentence: HOSTILE,
        ifLeaderDied: { ...healthy.ifLeaderDied, sentence: HOSTILE },
        pause: { ...PAUSE, reason: HOSTILE },
        nodes: healthy.nodes.map((node) => ({ ...node, ...hostile, name: `${node.name}${HOSTILE}` })),
        sync: { ...healthy.sync, members: [HOSTILE] },
      };
      monitor.events = [{ ...event(1), message: HOSTILE, subject: HOSTILE }];
      monitor.answer = { done: false, message: HOSTILE };
      const { out, err } = await says(args);
      expect([...out, ...err].join('\n')).toContain(
        'no | \\x1b[2J\\x9b31m\\u202e all is well'.replaceAll('\\', args.includes('json') ? '\\\\' : '\\'),
      );
      for (const line of [...out, ...err]) expect(line).not.toMatch(STEERS);
    },
  );
});

describe('what nobody may forget', () => {
  it.each([
    'status',
    'events',
    'switchover --yes',
    'pause --reason again --yes',
    'resume --yes',
    'rebuild postgres-replica-1 --yes',
    'promote postgres-replica-1 --yes',
    'psql postgres-primary',
  ])('%s names the pause and observe mode on stderr', async (args) => {
    monitor.cluster = { ...healthyCluster(), pause: PAUSE, failoverMode: 'observe' };
    const { err } = await says(args);
    expect(err.filter((line) => PAUSED.test(line))).toHaveLength(1);
    expect(err.filter((line) => line.includes('failoverMode is observe'))).toHaveLength(1);
  });

  it('says until when a pause lasts', async () => {
    monitor.cluster = { ...healthyCluster(), pause: { ...PAUSE, until: '2026-11-24T22:30:00.000Z' } };
    expect((await says('status')).err[0]).toMatch(/\(until 2026-11-2\d \d\d:\d\d:00\)/);
  });
});

describe('commands that change something', () => {
  it('say what would happen, ask, and do it', async () => {
    const { code, out, err, questions } = await says('switchover --to postgres-replica-1', { yes: true });
    expect(code).toBe(EXIT.ok);
    expect(err).toEqual(['it would switchover']);
    expect(questions).toEqual(['Go on?']);
    expect(out).toEqual(['it did switchover (term 5, 12 ms)']);
    const expected = [true, false].map((dryRun) => ({ to: 'postgres-replica-1', dryRun }));
    expect(bodies()).toEqual(expected);
  });

  it.each([
    ['the person says no', false],
    ['nobody is there to be asked', null],
  ])('do nothing when %s', async (_, yes) => {
    const { code } = await says('rebuild postgres-replica-1', { yes });
    expect(code).toBe(EXIT.failed);
    expect(bodies().map(({ dryRun }) => dryRun)).toEqual([true]);
  });

  it('do nothing after a refusal of the dry run, and say it', async () => {
    monitor.answer = { done: false, message: 'nobody can take over' };
    const { code, err, questions } = await says('switchover', { yes: true });
    expect(code).toBe(EXIT.failed);
    expect(questions).toEqual([]);
    expect(err).toEqual(['switchover refused: nobody can take over']);
  });

  it('with --yes do it at once, with --dry-run never', async () => {
    await says('resume --yes');
    await says('resume --dry-run --yes');
    expect(bodies().map(({ dryRun }) => dryRun)).toEqual([false, true]);
  });

  it('print the answer as JSON', async () => {
    const { out } = await says('switchover --yes --json');
    expect(JSON.parse(out.join('\n'))).toMatchObject({ done: true, term: 5 });
  });

  it('pause takes a reason and a duration', async () => {
    const { code } = await cli(monitor.url, ['pause', '--reason', 'new disk', '--for', '30m', '--yes']);
    expect(code).toBe(EXIT.ok);
    expect(bodies()[0]).toEqual({ reason: 'new disk', forMs: 1_800_000, dryRun: false });
  });

  it.each(['5', '0s', '31d', '1 hour'])('pause refuses --for %s and names what is allowed', async (duration) => {
    const { code, err } = await cli(monitor.url, ['pause', '--reason', 'x', '--for', duration, '--yes']);
    expect(code).toBe(EXIT.usage);
    expect(err[0]).toContain('from 1s to 30d');
  });

  it('promote passes the acceptance on only when it was given', async () => {
    await says('promote postgres-replica-1 --yes');
    await says('promote postgres-replica-1 --accept-data-loss --yes');
    expect(bodies().map(({ acceptDataLoss }) => acceptDataLoss)).toEqual([false, true]);
  });

  it.each([
    [['switchover', '--to', '', '--yes'], 'The name of the node is empty. Nodes: '],
    [['switchover', '', '--yes'], 'The name of the node is empty. Nodes: '],
    [['rebuild', ' ', '--yes'], 'The name of the node is empty. Nodes: '],
    [['switchover', 'postgres-primary', '--to', 'postgres-replica-1', '--yes'], 'Two nodes are named'],
    [['psql', 'postgres-primary', '--read-only'], '--read-only leads through the read port'],
  ])('do nothing where the node is not clear: %j', async (args, words) => {
    const { code, err, programs } = await cli(monitor.url, args);
    expect(code).toBe(EXIT.usage);
    expect(err.join(' ')).toContain(words);
    expect([...bodies(), ...programs]).toEqual([]);
  });

  it('take a node’s name without the stack’s prefix', async () => {
    const cluster = healthyCluster();
    const nodes = cluster.nodes.map((node) => ({ ...node, name: `team-${node.name}` }));
    monitor.cluster = { ...cluster, nodes };
    await says('rebuild replica-1 --yes', { config: { namePrefix: 'team-' } });
    await says('rebuild postgres-replica-1 --yes', { config: { namePrefix: 'team-' } });
    expect(bodies().map(({ node }) => node)).toEqual(['team-postgres-replica-1', 'team-postgres-replica-1']);
  });
});

describe('events', () => {
  it('prints the newest ones as the log has them', async () => {
    monitor.events = [1, 2, 3].map((id) => event(id));
    const { out } = await says('events -n 2');
    expect(out).toHaveLength(2);
    expect(out[0]).toMatch(/ INFO {2}monitor +STEADY +event 2$/);
    expect(out[1]).toMatch(/event 3$/);
  });

  it('prints no past ones with -n 0, also before those that come', async () => {
    monitor.events = [1, 2, 3].map((id) => event(id));
    expect((await says('events -n 0')).out).toEqual([]);
    monitor.cluster = { ...healthyCluster(), events: monitor.events };
    let looks = 0;
    const goOn = () => {
      looks++;
      if (looks === 1) monitor.events.push(event(4));
      return looks < 3;
    };
    const { out } = await says('events -n 0 --follow --json', { goOn });
    expect(out.map((line) => JSON.parse(line).message)).toEqual(['event 4']);
  });

  it('follows, and begins anew after the monitor did', async () => {
    monitor.events = [1, 2, 3].map((id) => event(id));
    let looks = 0;
    const { out } = await says('events --follow --json', {
      goOn: () => {
        looks++;
        if (looks === 1) monitor.events.push(event(4));
        if (looks === 2) {
          monitor.events = [event(1, 'started')];
          monitor.cluster = { ...healthyCluster(), events: monitor.events };
        }
        return looks < 4;
      },
    });
    const expected = ['event 1', 'event 2', 'event 3', 'event 4', 'started'];
    expect(out.map((line) => JSON.parse(line).message)).toEqual(expected);
  });
});

describe('ends', () => {
  it('2 for an unknown command, with the nearest one', async () => {
    const { code, err } = await says('swichover');
    expect(code).toBe(EXIT.usage);
    expect(err.join('\n')).toContain('Did you mean switchover?');
  });

  it.each(['status --jsn', 'rebuild', 'pause', 'events -n many', 'completion fish', 'status extra'])(
    '2 for %s',
    async (args) => expect((await says(args)).code).toBe(EXIT.usage),
  );

  it('0 for help, which tells all exit codes', async () => {
    const { code, out } = await says('--help');
    expect(code).toBe(EXIT.ok);
    for (const value of Object.values(EXIT)) expect(out.some((line) => line.startsWith(`  ${value}  `))).toBe(true);
  });

  it('3 when the monitor does not answer, and names doctor', async () => {
    monitor.close();
    const { code, err } = await cli('http://127.0.0.1:1', ['status']);
    expect(code).toBe(EXIT.unreachable);
    expect(err.join('\n')).toMatch(/does not answer[\s\S]*failover -- doctor/);
  });

  it('3 when something else answers there', async () => {
    monitor.cluster = {} as ClusterStatus;
    expect((await says('status')).code).toBe(EXIT.unreachable);
  });

  it('4 when the token is another one', async () => {
    const { code, err } = await says('resume --yes', { token: 'wrong' });
    expect(code).toBe(EXIT.token);
    expect(err.join('\n')).not.toContain('wrong');
  });
});

describe('psql', () => {
  it('opens the superuser’s shell inside a node, with psql’s own arguments', async () => {
    const { programs } = await says('psql postgres-replica-1 -- -c SELECT');
    expect(programs[0]?.command).toBe('docker');
    const expected = ['postgres-replica-1', 'psql', '-U', 'postgres', '-d', 'app', '-c', 'SELECT'];
    expect(programs[0]?.args.slice(-8)).toEqual(expected);
  });

  it('opens it as the keeper’s role where the server refuses postgres', async () => {
    const refused = 'FATAL:  role "postgres" is not permitted to log in';
    const run: Run = async (_command, args) =>
      args.includes('failover_keeper')
        ? { code: 0, stdout: 'failover_keeper\n', tail: [] }
        : { code: 2, stdout: '', tail: [refused] };
    const { programs } = await says('psql postgres-replica-1', { run });
    expect(programs[0]?.args.slice(-5)).toEqual(['psql', '-U', 'failover_keeper', '-d', 'app']);
  });

  it('refuses a node that there is not', async () => {
    expect((await says('psql postgres-replica-9')).code).toBe(EXIT.usage);
  });
});

describe('completion', () => {
  it.each(['bash', 'zsh'])('%s knows every command and its options', async (shell) => {
    const text = (await says(`completion ${shell}`)).out.join('\n');
    for (const word of ['status', 'doctor', '--accept-data-loss', '--read-only']) expect(text).toContain(word);
    expect(text.match(/__nodes/g)).toHaveLength(1);
  });

  it('lists the nodes without asking anybody', async () => {
    const { out } = await says('__nodes', { config: { replicas: '2' } });
    expect(out).toEqual(['postgres-primary', 'postgres-replica-1', 'postgres-replica-2']);
  });
});

describe('a wrong word', () => {
  it.each([
    ['stauts', '(Did you mean status?)'],
    ['status --jsn', '(Did you mean --json?)'],
    ['switchover --yes primry', 'There is no node "primry"; did you mean postgres-primary?'],
    ['rebuild --dry-run postgres-replica-2', 'There is no node "postgres-replica-2"; did you mean postgres-replica-1?'],
  ])('is answered with the nearest right one, and nothing is done: %s', async (line, sentence) => {
    const { code, err } = await says(line);
    expect(code).toBe(EXIT.usage);
    expect(err.join('\n')).toContain(sentence);
    expect(monitor.calls).toEqual([]);
  });
});
