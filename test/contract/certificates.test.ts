/** The stack's own certificates, judged by OpenSSL and by Node, which know nothing of the code that writes them. */
import { execFile } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { endOf, pairProblem, pairProblemAt } from '../../failover/contract/certificate-check';
import { authorityOf, LIFE_MS, periodOf } from '../../failover/contract/certificates';
import { PEM_MAX } from '../../failover/contract/limits';
import { seal, unseal } from '../../failover/contract/seal';
import { suiteFolder } from '../rig/folder';

const DAY_MS = 24 * 3_600_000;
const NAMES = ['localhost', '127.0.0.1', '::1', 'fd00::a:10.1.2.3', '*.db.example.com', '10.201.43.10'];
const NOW_MS = Date.UTC(2026, 10, 30);
const run = promisify(execFile);
const folder = suiteFolder();

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('the authority', () => {
  it('is the same for the same secret, and another one for another secret', async () => {
    const [one, again, other] = await Promise.all(['a', 'a', 'b'].map((c) => authorityOf(c.repeat(48))));
    expect(one?.certificate()).toBe(again?.certificate());
    expect(one?.certificate()).not.toBe(other?.certificate());
    // Clients keep it, so it must not change with a release.
    expect(new X509Certificate(one?.certificate() ?? '').fingerprint256).toMatchInlineSnapshot(
      `"15:6E:68:C9:E1:44:AF:05:E5:8D:7A:2A:77:F9:11:A6:1A:E6:E4:70:A5:31:23:53:CE:BA:1D:B8:AC:9C:0E:F3"`,
    );
  });

  it('and what it signs pass every check of OpenSSL, for each name', async () => {
    const ca = await authorityOf('s'.repeat(48));
    const { certificate } = ca.issue({ names: NAMES, atMs: NOW_MS });
    const [root, leaf] = [file('ca.pem', ca.certificate()), file('leaf.pem', certificate)];
    const verify = (...more: string[]) =>
      run('openssl', [
        ...['verify', '-x509_strict', '-check_ss_sig', '-purpose', 'sslserver', '-auth_level', '2'],
        ...['-attime', String(NOW_MS / 1_000), '-CAfile', root, ...more, leaf],
      ]);
    const names = ['localhost', 'x.db.example.com'].flatMap((name) => [['-verify_hostname', name]]);
    const addresses = ['127.0.0.1', '::1', 'fd00::a:a01:203', '10.201.43.10'].map((ip) => ['-verify_ip', ip]);
    for (const more of [[], ...names, ...addresses]) expect((await verify(...more)).stdout).toContain('OK');
    for (const more of [
      ['-verify_hostname', 'example.com'],
      ['-verify_ip', '127.0.0.2'],
    ])
      await expect(verify(...more)).rejects.toThrow(/mismatch/);
  });

  it('signs nothing that another authority vouches for', async () => {
    const [one, other] = await Promise.all(['a', 'b'].map((c) => authorityOf(c.repeat(48))));
    const leaf = new X509Certificate(one?.issue({ names: NAMES, atMs: NOW_MS }).certificate ?? '');
    const [right, wrong] = [one, other].map((ca) => new X509Certificate(ca?.certificate() ?? ''));
    expect(right && leaf.checkIssued(right) && leaf.verify(right.publicKey)).toBe(true);
    expect(wrong && leaf.verify(wrong.publicKey)).toBe(false);
    expect([right?.ca, leaf.ca]).toEqual([true, false]);
  });
});

describe('a certificate of the nodes', () => {
  it('lives for 90 days, and its successor takes over when 30 are left', async () => {
    const ca = await authorityOf('s'.repeat(48));
    const at = (atMs: number) => ca.issue({ names: NAMES, atMs });
    let changes = 0;
    let before = at(NOW_MS);
    for (let day = 0; day < 240; day += 3) {
      const [atMs, last, now] = [NOW_MS + day * DAY_MS, before, at(NOW_MS + day * DAY_MS)];
      before = now;
      const left = (endOf(now.certificate) ?? 0) - atMs;
      expect(left).toBeGreaterThanOrEqual(30 * DAY_MS);
      expect(left).toBeLessThanOrEqual(LIFE_MS);
      expect(pairProblemAt(now.certificate, now.key, atMs)).toBeNull();
      if (now.certificate === last.certificate) continue;
      changes += 1;
      expect(now.key).not.toBe(last.key);
      expect((endOf(last.certificate) ?? 0) - atMs).toBeGreaterThan(26 * DAY_MS);
    }
    expect(changes).toBe(4);
  });

  it('is that of a server, never of an authority', async () => {
    const ca = await authorityOf('s'.repeat(48));
    const { certificate } = ca.issue({ names: NAMES, atMs: NOW_MS });
    const { stdout } = await run('openssl', ['x509', '-noout', '-text', '-in', file('server.pem', certificate)]);
    expect(stdout).toMatch(/Basic Constraints: critical\s+CA:FALSE/);
    expect(stdout).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/);
    expect(stdout).toMatch(/Extended Key Usage:\s+TLS Web Server Authentication\n/);
  });

  it('is valid a day before it is handed out, for clients whose clock is late', async () => {
    const ca = await authorityOf('s'.repeat(48));
    const { certificate, key } = ca.issue({ names: NAMES, atMs: NOW_MS });
    const handedOutMs = periodOf(NOW_MS);
    expect(pairProblemAt(certificate, key, handedOutMs - DAY_MS + 1_000)).toBeNull();
  });

  it('is a new one when the names change', async () => {
    const ca = await authorityOf('s'.repeat(48));
    const [one, two] = [['a.example'], ['b.example']].map((names) => ca.issue({ names, atMs: NOW_MS }));
    expect(one?.certificate).not.toBe(two?.certificate);
    expect(one?.key).not.toBe(two?.key);
  });
});

describe('a pair', () => {
  it('is refused when it does not fit, is no PEM, is expired or too weak, with the reason and without the key', async () => {
    const ca = await authorityOf('s'.repeat(48));
    const { certificate, key } = ca.issue({ names: NAMES, atMs: NOW_MS });
    const other = ca.issue({ names: ['x'], atMs: NOW_MS });
    expect(pairProblem(certificate, key)).toBeNull();
    expect(pairProblem(certificate, other.key)).toBe('the key does not fit the certificate');
    expect(pairProblem('nothing', key)).not.toBeNull();
    expect(pairProblem(certificate, 'nothing')).not.toBeNull();
    expect(pairProblem(`${certificate}${'\n'.repeat(PEM_MAX)}`, key)).toMatch(/^it is longer than/);
    expect(pairProblem(certificate, `${key}${'\n'.repeat(PEM_MAX)}`)).toMatch(/^it is longer than/);
    expect(pairProblem(certificate.slice(0, 300), key)).not.toBeNull();
    expect(pairProblemAt(certificate, key, NOW_MS + LIFE_MS)).toMatch(/^it expired at 20/);
    expect(pairProblemAt(certificate, key, NOW_MS - LIFE_MS)).toMatch(/^it is valid from 20/);
    const locked = createPrivateKey(key).export({
      ...{ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' },
    });
    expect(pairProblem(certificate, locked.toString())).toMatch(/passphrase/i);
  });

  it('with a signature of which channel binding knows no digest, or with a short key, is refused', async () => {
    const made = async (...algorithm: string[]) => {
      const [key, certificate] = [join(folder, 'own.key'), join(folder, 'own.pem')];
      await run('openssl', [
        ...['req', '-x509', '-nodes', ...algorithm, '-keyout', key, '-out', certificate, '-subj', '/CN=own'],
      ]);
      return pairProblem(readFileSync(certificate, 'utf8'), readFileSync(key, 'utf8'));
    };
    expect(await made('-newkey', 'ed25519')).toMatch(/Ed25519/);
    expect(await made('-newkey', 'ed448')).toMatch(/Ed25519/);
    expect(await made('-newkey', 'rsa:1024')).toMatch(/too small/);
    expect(await made('-newkey', 'rsa:2048')).toBeNull();
  });
});

describe('a sealed text', () => {
  it('is read by those that know the cluster key, unchanged, and by nobody else', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const text = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const sealed = seal('k'.repeat(48), text);
    expect(unseal('k'.repeat(48), sealed)).toBe(text);
    expect(seal('k'.repeat(48), text)).toBe(sealed);
    expect(unseal('l'.repeat(48), sealed)).toBeNull();
    expect(unseal('k'.repeat(48), '')).toBeNull();
    const changed = Buffer.from(sealed, 'base64');
    changed[40] = (changed[40] ?? 0) ^ 1;
    expect(unseal('k'.repeat(48), changed.toString('base64'))).toBeNull();
    expect(Buffer.from(sealed, 'base64').toString('latin1')).not.toContain('PRIVATE');
  });
});
