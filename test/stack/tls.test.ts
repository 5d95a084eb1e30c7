import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { checkConfig } from '../../stack/config';
import { connectionUrls, endpoints } from '../../stack/endpoints';
import { monitorConfig } from '../../stack/monitor-config';
import { tlsOf } from '../../stack/tls';
import { find, makeCluster, register, topologyOf } from '../components/mocks';

const SECRETS = {
  ...{ clusterKey: 'k'.repeat(32), authoritySecret: 'a'.repeat(32) },
  ...{ databasePassword: 'p', databaseVerifier: 'SCRAM-SHA-256$…' },
};
const Upload = z.object({ file: z.string(), content: z.string() });
const tls = (raw: Record<string, string>, host = 'box') => {
  const { settings, problems } = checkConfig(raw);
  if (settings === undefined) throw new Error(problems.join('\n'));
  return tlsOf(settings, ['haproxy', '10.201.43.10'], host);
};
const problems = (raw: Record<string, string>) => checkConfig(raw).problems;

describe('the mode of TLS', () => {
  it.each([
    [{}, 'on'],
    [{ bindAddress: '127.0.0.2' }, 'on'],
    [{ bindAddress: '0.0.0.0' }, 'require'],
    [{ bindAddress: '192.168.1.5' }, 'require'],
    [{ bindAddress: '0.0.0.0', tls: 'on' }, 'on'],
    [{ bindAddress: '0.0.0.0', tls: 'off' }, 'off'],
    [{ tls: 'require' }, 'require'],
  ])('of %j is %s', (raw, mode) => expect(tls(raw).mode).toBe(mode));

  it('is explained where it follows from the address alone', () => {
    expect(tls({ bindAddress: '0.0.0.0' }).because).toMatch(/0\.0\.0\.0, which is not loopback/);
    expect(tls({ bindAddress: '0.0.0.0', tls: 'require' }).because).toBeUndefined();
    expect(tls({}).because).toBeUndefined();
  });

  it('decides whether the connection strings ask for it', () => {
    const urls = (mode: string) => connectionUrls(topologyOf({ tls: mode }), 'p');
    expect(urls('on').write).toMatch(/\/app$/);
    expect(urls('on').innerWrite).toMatch(/\?sslmode=disable$/);
    const { write, read, innerWrite, innerRead } = urls('require');
    for (const url of [write, read]) expect(url).toMatch(/\?sslmode=require$/);
    for (const url of [innerWrite, innerRead])
      expect(url).toMatch(/@haproxy:.*\?sslmode=verify-full&sslrootcert=\/etc\/backend\/ca\.pem$/);
  });

  it('lets the backend check the certificate where that is the stack’s own', async () => {
    const uploads = async (raw: Record<string, string>) => {
      const resources = await register(() => {
        makeCluster(raw);
      });
      const found = z
        .object({ uploads: z.array(Upload) })
        .parse(find(resources, 'Container', 'backend').inputs).uploads;
      return found.find(({ file }) => file === '/etc/backend/ca.pem');
    };
    expect(await uploads({ tls: 'require' })).toMatchObject({ content: expect.stringContaining('BEGIN CERTIFICATE') });
    expect(await uploads({ tls: 'on' })).toBeUndefined();
    const own = { tls: 'require', tlsCertificate: '/c/c.pem', tlsKey: '/c/k.pem' };
    expect(await uploads(own)).toBeUndefined();
    expect(connectionUrls(topologyOf(own), 'p').innerWrite).toMatch(/\?sslmode=require$/);
    expect(topologyOf({ tls: 'require', namePrefix: 'x-' }).tls.names).toContain('haproxy');
  });
});

describe('HTTPS', () => {
  it.each([
    [{}, false],
    [{ tls: 'require' }, false],
    [{ bindAddress: '0.0.0.0' }, true],
    [{ bindAddress: '192.168.1.5', tls: 'on' }, true],
    [{ bindAddress: '0.0.0.0', tls: 'off' }, false],
  ])('with %j: %s', async (raw, https) => {
    const topology = topologyOf({ ...raw, tlsNames: 'db.example.com' });
    expect(topology.tls.https).toBe(https);
    expect(endpoints(topology).monitorUrl).toMatch(https ? /^https:/ : /^http:/);
    expect(endpoints(topology).apiUrl).toMatch(https ? /^https:/ : /^http:/);
    const config = monitorConfig(topology, SECRETS);
    expect(config.tls?.https).toEqual(https ? { backends: true } : undefined);
    // The page answers under the names for which its certificate is valid.
    expect(config.hostNames.includes('db.example.com')).toBe(https);
    const resources = await register(() => {
      makeCluster(raw);
    });
    const { ports } = find(resources, 'Container', 'failover-monitor').inputs;
    expect(ports).toMatchObject([{ internal: https ? 8443 : 8008, external: 8008 }]);
    const { stdin } = find(resources, 'Command', 'haproxy-apply-config').inputs;
    expect(/bind :8000 ssl crt \/run\/haproxy\/api\.pem/.test(String(stdin))).toBe(https);
  });

  it('decides whether those through the pooler ask for it', () => {
    const urls = (mode: string) => connectionUrls(topologyOf({ tls: mode, pooler: 'true' }), 'p');
    expect(urls('on').pool).toMatch(/:6432\/app$/);
    expect(urls('on').innerPool).toMatch(/@pooler:6432\/backends\?sslmode=disable$/);
    expect(urls('require').pool).toMatch(/\?sslmode=require$/);
    // A backend has the certificate of the stack's authority and checks PgBouncer's.
    expect(urls('require').innerPool).toMatch(/\?sslmode=verify-full&sslrootcert=/);
  });
});

describe('the names of the certificate', () => {
  it('are those of clients on this machine and in the networks, and those of the config', () => {
    expect(
      tls({ bindAddress: '192.168.1.5', tlsNames: 'db.example.com, *.pg.example.com ,2001:db8::5' }).names,
    ).toEqual([
      ...['localhost', '127.0.0.1', '::1', '192.168.1.5', 'box', 'haproxy', '10.201.43.10'],
      ...['*.pg.example.com', '2001:db8::5', 'db.example.com'],
    ]);
    expect(tls({ bindAddress: '0.0.0.0' }).names).not.toContain('0.0.0.0');
    expect(topologyOf({ pooler: 'true' }).tls.names).toEqual(expect.arrayContaining(['pooler', '10.201.43.13']));
    expect(topologyOf({}).tls.names).not.toContain('pooler');
    expect(tls({}, 'not a name').names).not.toContain('not a name');
  });

  it.each(['db_1.example.com', '10.0.0.256', '-a.example.com', 'a..b', 'a*.example.com', `${'a'.repeat(64)}.com`])(
    'do not include %s, which no client would accept',
    (name) => expect(problems({ tlsNames: name })).toEqual([expect.stringMatching(/^tlsNames: ".*" is refused/)]),
  );
});

describe('a certificate of the user’s own', () => {
  it('is read from its folder, which is mounted', () => {
    expect(tls({ tlsCertificate: '/etc/ssl/db.pem', tlsKey: '/etc/ssl/private/db.key' }).own).toEqual({
      certificate: {
        ...{ key: 'tlsCertificate', file: '/etc/ssl/db.pem', source: '/etc/ssl', target: '/run/tls/certificate' },
        path: '/run/tls/certificate/db.pem',
      },
      key: {
        ...{ key: 'tlsKey', file: '/etc/ssl/private/db.key', source: '/etc/ssl/private', target: '/run/tls/key' },
        path: '/run/tls/key/db.key',
      },
    });
  });

  it('of certbot is read through its links, whose targets are in another folder', () => {
    const folder = '/etc/letsencrypt/live/db.example.com';
    const { own } = tls({ tlsCertificate: `${folder}/fullchain.pem`, tlsKey: `${folder}/privkey.pem` });
    expect(own?.key).toMatchObject({
      ...{ source: '/etc/letsencrypt', path: '/run/tls/key/live/db.example.com/privkey.pem' },
    });
  });

  it('reaches the monitor alone, in read-only folders', async () => {
    const raw = { tlsCertificate: '/etc/ssl/db.pem', tlsKey: '/etc/ssl/private/db.key' };
    const resources = await register(() => {
      makeCluster(raw);
    });
    const { mounts } = find(resources, 'Container', 'failover-monitor').inputs;
    expect(mounts).toEqual(
      expect.arrayContaining([
        { type: 'bind', source: '/etc/ssl', target: '/run/tls/certificate', readOnly: true },
        { type: 'bind', source: '/etc/ssl/private', target: '/run/tls/key', readOnly: true },
      ]),
    );
    const others = resources.filter(({ name }) => name !== 'failover-monitor');
    expect(JSON.stringify(others.map(({ inputs }) => inputs))).not.toContain('/etc/ssl');
  });

  it('needs both files, by absolute paths', () => {
    expect(problems({ tlsKey: '/k' })).toEqual([
      'tlsCertificate: "" is refused; must name a file too, because tlsKey does',
    ]);
    expect(problems({ tlsCertificate: '/c' })).toEqual([
      'tlsKey: "" is refused; must name a file too, because tlsCertificate does',
    ]);
    for (const path of ['c.pem', '/etc/../c.pem', '/etc/']) {
      const [first] = problems({ tlsCertificate: path, tlsKey: '/k' });
      expect(first).toMatch(/^tlsCertificate: ".*" is refused; must be empty, or the absolute path/);
    }
  });
});
