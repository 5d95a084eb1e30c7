import { describe, expect, it } from 'vitest';
import { budgetFor } from '../../failover/contract/budget';
import { renderHaproxyConfig } from '../../stack/haproxy-config';

const INPUT = { holdTimeoutMs: 30_000, budget: budgetFor({}), backendHost: 'backend' };

describe('haproxy.cfg', () => {
  it('is rendered as it was reviewed, with a backend', async () => {
    await expect(renderHaproxyConfig(INPUT)).toMatchFileSnapshot('golden/haproxy-with-backend.cfg');
  });

  it('is rendered as it was reviewed, without one', async () => {
    await expect(renderHaproxyConfig({ ...INPUT, backendHost: null })).toMatchFileSnapshot('golden/haproxy.cfg');
  });

  it('is rendered as it was reviewed, with a port for clients of replication', async () => {
    const input = { ...INPUT, backendHost: null, gates: ['10.0.0.20', '10.0.0.21'], clientNetworks: ['192.0.2.0/24'] };
    const config = renderHaproxyConfig(input);
    const part = /^# Clients of replication[\s\S]*?(?=^frontend stats)/m.exec(config)?.[0] ?? '';
    await expect(part).toMatchFileSnapshot('golden/haproxy-replication.cfg');
  });

  it('starts with every slot closed (S15)', () => {
    const config = renderHaproxyConfig(INPUT);
    expect(config.match(/^ +server-template node 1-9 127\.0\.0\.1:1 disabled/gm)).toHaveLength(3);
    expect(
      config
        .match(/^ +server .*/gm)
        ?.filter((server) => !/server hold abns@(write|read|api)-held backup maxconn 1$/.test(server)),
    ).toEqual([]);
    expect(config).not.toMatch(/server-state/);
  });

  it('writes a name as it is, without HTML escapes', () => {
    const host = "a&b'c";
    expect(renderHaproxyConfig({ ...INPUT, backendHost: host })).toContain(`${host}:8000`);
  });
});
