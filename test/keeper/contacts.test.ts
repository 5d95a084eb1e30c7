/** Which monitors a keeper dials: those that a monitor named last, then its first contacts. */
import { afterEach, describe, expect, it } from 'vitest';
import { KeeperConfig } from '../../failover/contract/inputs';
import { contactsOf } from '../../failover/keeper/keeper';
import { MonitorLink } from '../../failover/keeper/monitor-link';
import { lead, Rig } from './fakes';

const [A, B, C] = [1, 2, 3].map((n) => ({ host: `10.0.0.${n}`, port: 7400 })) as [Contact, Contact, Contact];
type Contact = { host: string; port: number };
const CLUSTER_KEY = 'k'.repeat(32);

describe('a keeper’s input', () => {
  it('names its first contacts', () => {
    const config = { node: 'a', monitors: [A, B], clusterKey: CLUSTER_KEY };
    expect(KeeperConfig.parse(config)).toEqual(config);
  });

  it('may name one monitor, as earlier releases wrote it', () => {
    const config = { node: 'a', monitor: A, clusterKey: CLUSTER_KEY };
    expect(KeeperConfig.parse(config)).toEqual({ node: 'a', monitors: [A], clusterKey: CLUSTER_KEY });
  });

  it.each([
    ['no monitor', {}],
    ['an empty list', { monitors: [] }],
    ['more than eight', { monitors: Array.from({ length: 9 }, () => A) }],
    ['something that is not known', { monitors: [{ ...A, name: 'm' }] }],
  ])('is refused with %s', (_what, part) => {
    expect(KeeperConfig.safeParse({ node: 'a', clusterKey: CLUSTER_KEY, ...part }).success).toBe(false);
  });
});

describe('the monitors to dial', () => {
  it('are the stored ones first, then the first contacts, each once', () => {
    expect(contactsOf(undefined, [A])).toEqual([A]);
    expect(contactsOf([B, C], [A, B])).toEqual([B, C, A]);
  });

  it('are dialled in turn', async () => {
    // Nothing listens at these ports of the machine itself.
    const contacts = [1, 2].map((port) => ({ host: '127.0.0.1', port }));
    const link = new MonitorLink({ node: 'a', clusterKey: CLUSTER_KEY, contacts: () => contacts });
    const lines: string[] = [];
    const both = new Promise<void>((resolve) => {
      const log = (line: string) => {
        lines.push(line);
        if (lines.length === 2) resolve();
      };
      void link.run({ connected: () => undefined, receive: () => undefined, log });
    });
    await both;
    await link.close(100);
    expect(lines.map((line) => /at (\S+):/.exec(line)?.[1])).toEqual(['127.0.0.1:1', '127.0.0.1:2']);
  });
});

describe('the list that a monitor sends', () => {
  let rig: Rig;
  afterEach(() => rig.end());

  it('is stored, and does not make the settings new', async () => {
    rig = await Rig.leader();
    rig.settle({ monitors: [B, C] });
    await rig.done(1, lead());
    expect(rig.files.state.monitors).toEqual([B, C]);
    expect(rig.journal).not.toContain('furnish');
  });

  it('is not stored where none is sent', async () => {
    rig = await Rig.fresh();
    await rig.done(1, { kind: 'wait', reason: 'test' });
    expect(rig.files.state).not.toHaveProperty('monitors');
  });
});
