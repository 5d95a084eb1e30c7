/** Which certificate the nodes get, and when: renewal by the clock, and the user's own files. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { endOf } from '../../failover/contract/certificate-check';
import { authorityOf, LIFE_MS, type Pair } from '../../failover/contract/certificates';
import type { TlsConfig } from '../../failover/contract/inputs';
import { PEM_MAX } from '../../failover/contract/limits';
import { seal, unseal } from '../../failover/contract/seal';
import { Certificates } from '../../failover/monitor/certificates';
import { testFolder } from '../rig/folder';

const KEY = 'k'.repeat(48);
const DAY_MS = 24 * 3_600_000;
const NOW_MS = Date.UTC(2026, 10, 30);
const CONFIG: TlsConfig = { mode: 'on', secret: 's'.repeat(48), names: ['db.example.com'] };
const OWN: TlsConfig = { ...CONFIG, own: { certificate: '/c', key: '/k' } };

let wallMs = NOW_MS;
let said: string[] = [];
let files: Record<string, string> = {};

beforeEach(() => {
  wallMs = NOW_MS;
  said = [];
  files = {};
});

function certificates(config: TlsConfig): Certificates {
  return new Certificates(config, KEY, {
    wallMs: () => wallMs,
    log: { write: (level, _, code, message) => said.push(`${level} ${code} ${message}`) },
    read: async (path) => files[path] ?? Promise.reject(new Error(`no file ${path}`)),
  });
}

describe('the stack’s own certificate', () => {
  it('is handed out once, and a new one when 30 days are left', async () => {
    const made = certificates(CONFIG);
    expect(await made.look()).toBe(true);
    const first = made.settings;
    const end = endOf(first.certificate ?? '') ?? 0;
    for (const leftDays of [60, 45, 31]) {
      wallMs = Math.max(NOW_MS, end - leftDays * DAY_MS);
      expect(await made.look()).toBe(false);
    }
    wallMs = end - 30 * DAY_MS + 1;
    expect(await made.look()).toBe(true);
    expect(made.settings.certificate).not.toBe(first.certificate);
    expect((made.expiresAtMs ?? 0) - wallMs).toBeGreaterThan(89 * DAY_MS);
    expect(said.map((line) => line.split(' ', 2).join(' '))).toEqual(['INFO CERTIFICATE', 'INFO CERTIFICATE']);
  });

  it('is the same one after a restart of the monitor, so that no node has anything to do', async () => {
    const [one, two] = [certificates(CONFIG), certificates(CONFIG)];
    await one.look();
    wallMs += 1_000;
    await two.look();
    expect(two.settings).toEqual(one.settings);
  });

  it('has its key sealed, and neither the key nor the secret is in the log', async () => {
    const made = certificates(CONFIG);
    await made.look();
    const { certificate, key = '' } = made.settings;
    const ca = await authorityOf(CONFIG.secret);
    const pair: Pair = { certificate: certificate ?? '', key: unseal(KEY, key) ?? '' };
    expect(pair).toEqual(ca.issue({ names: CONFIG.names, atMs: NOW_MS }));
    // The pooler gets the same one, and the authority by which it checks the nodes'.
    expect(made.leaf).toEqual({ ...pair, authority: ca.certificate() });
    expect(JSON.stringify(made.settings)).not.toContain('PRIVATE');
    expect(said.join()).not.toMatch(/PRIVATE|sss/);
  });

  it('is none while TLS is off', async () => {
    const made = certificates({ ...CONFIG, mode: 'off' });
    expect(await made.look()).toBe(false);
    expect(made.settings).toEqual({ mode: 'off' });
  });
});

describe('a watch', () => {
  it('tells each change once, also of a certificate that was late', async () => {
    const made = certificates({ ...CONFIG, lifeMs: 3_000 });
    const none = made.settings;
    const told: unknown[] = [];
    const watching = made.watch(none, (settings) => told.push(settings));
    await vi.waitFor(() => expect(told).toEqual([made.settings]), 5_000);
    wallMs += 2_000;
    await vi.waitFor(() => expect(told).toHaveLength(2), 5_000);
    clearInterval(watching);
    expect(told).not.toContain(none);
  });
});

describe('the user’s own files', () => {
  async function pair(secret: string, atMs = NOW_MS): Promise<Pair> {
    return (await authorityOf(secret.repeat(48))).issue({ names: ['db.example.com'], atMs });
  }
  const put = ({ certificate, key }: Pair) => {
    files = { '/c': certificate, '/k': key };
  };

  it('are handed out, and again when they change', async () => {
    const [one, two] = [await pair('a'), await pair('b')];
    put(one);
    const made = certificates(OWN);
    expect(await made.look()).toBe(true);
    expect(made.settings).toEqual({ mode: 'on', certificate: one.certificate, key: seal(KEY, one.key) });
    expect(await made.look()).toBe(false);
    put(two);
    expect(await made.look()).toBe(true);
    expect(made.settings.certificate).toBe(two.certificate);
    // Its authority is not known.
    expect(made.leaf).toEqual(two);
  });

  it('that do not fit, have expired or are away are named once, and the last good pair stays', async () => {
    const good = await pair('a');
    put(good);
    const made = certificates(OWN);
    await made.look();
    const shown = made.settings;
    said = [];
    const other = await pair('b');
    const old = await pair('c', NOW_MS - 2 * LIFE_MS);
    const cases: [Record<string, string>, RegExp][] = [
      [{ '/c': good.certificate, '/k': other.key }, /the key does not fit the certificate/],
      [{ '/c': old.certificate, '/k': old.key }, /it expired at/],
      [{ '/c': 'junk', '/k': good.key }, /is refused/],
      [{ '/c': good.certificate }, /cannot be read: no file \/k/],
    ];
    for (const [broken, words] of cases) {
      files = broken;
      expect([await made.look(), await made.look()]).toEqual([false, false]);
      expect(made.problem).toMatch(words);
      expect(made.settings).toEqual(shown);
    }
    expect(said).toHaveLength(cases.length);
    put(good);
    expect(await made.look()).toBe(false);
    expect(made.problem).toBeNull();
  });

  it('are read only when they are files of a sound size', async () => {
    const folder = testFolder();
    const [certificate, key] = [join(folder, 'certificate'), join(folder, 'key')];
    const good = await pair('a');
    writeFileSync(key, good.key);
    const problemWith = async (make: () => void) => {
      rmSync(certificate, { recursive: true, force: true });
      make();
      const made = new Certificates({ ...CONFIG, own: { certificate, key } }, KEY, {
        wallMs: () => wallMs,
        log: { write: () => undefined },
      });
      await made.look();
      return made.problem;
    };
    expect(await problemWith(() => writeFileSync(certificate, good.certificate))).toBeNull();
    expect(await problemWith(() => mkdirSync(certificate))).toMatch(/is no file of at most/);
    // Its reader would wait until a program writes into it.
    expect(await problemWith(() => execFileSync('mkfifo', [certificate]))).toMatch(/is no file of at most/);
    const long = `${good.certificate}${' '.repeat(PEM_MAX)}`;
    expect(await problemWith(() => writeFileSync(certificate, long))).toMatch(/is no file of at most/);
  });

  it('that were never good leave the nodes with what they have', async () => {
    const made = certificates(OWN);
    await made.look();
    expect(made.settings).toEqual({ mode: 'on' });
    expect(said).toEqual([expect.stringMatching(/^WARN CERTIFICATE_REFUSED .*cannot be read/)]);
  });

  it('that cannot be used is stood in for by the stack’s own on the page, and never on the nodes', async () => {
    const made = certificates({ ...OWN, https: { backends: false } });
    await made.look();
    expect(made.settings.certificate).toBeUndefined();
    expect(made.web?.certificate).toContain('BEGIN CERTIFICATE');
    expect(made.problem).toMatch(/cannot be read/);
    const stand = made.web;
    await made.look();
    expect(made.web).toBe(stand);
    const good = await pair('a');
    put(good);
    await made.look();
    expect(made.web).toEqual(good);
    expect(made.problem).toBeNull();
  });
});
