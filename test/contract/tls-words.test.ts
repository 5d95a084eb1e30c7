/** What page and `status` say of TLS, and what `status` says of the clients' places. */
import { expect, it } from 'vitest';
import { statusLines } from '../../cli/render';
import { tlsWords } from '../../failover/contract/tls-words';
import { healthyCluster } from '../rig/healthy-cluster';

const DAY_MS = 24 * 3_600_000;
const NOW_MS = Date.UTC(2026, 10, 30);
const after = (days: number) => new Date(NOW_MS + days * DAY_MS).toISOString();
const words = (expires: string | null, problem: string | null = null) =>
  tlsWords({ mode: 'on', expires, problem, source: 'authority' }, NOW_MS);

it('says until when the certificate is valid and whose it is, and warns 14 days before', () => {
  expect(words(after(60))).toEqual({
    words: 'offered to clients; certificate (of the stack’s authority) valid until 2027-01-29',
    isBad: false,
  });
  const own = tlsWords({ mode: 'require', expires: after(15), problem: null, source: 'files' }, NOW_MS);
  expect(own).toEqual({
    words: 'required of clients; certificate (tlsCertificate) valid until 2026-12-15',
    isBad: false,
  });
  expect(words(after(13))?.isBad).toBe(true);
  expect(words(after(-1))?.isBad).toBe(true);
});

it('is red without a certificate and with one that is refused, and not where TLS is off or not known', () => {
  expect(words(null)).toEqual({ words: 'offered to clients; there is no certificate', isBad: true });
  expect(words(after(60), 'it has expired')).toMatchObject({
    isBad: true,
    words: expect.stringMatching(/; it has expired$/),
  });
  expect(tlsWords({ mode: 'off', expires: null, problem: null }, NOW_MS)?.isBad).toBe(false);
  expect(tlsWords(undefined, NOW_MS)).toBeNull();
});

it('is a line of status, beside the places of the clients', () => {
  const lines = (more: object) => statusLines({ ...healthyCluster(), ...more }, (style, text) => `<${style}>${text}`);
  const tls = { mode: 'on' as const, expires: '2026-12-01T00:00:00.000Z', problem: null };
  expect(lines({ tls })).toContain('TLS: <red>offered to clients; certificate valid until 2026-12-01');
  const clientPlaces = { used: 12, of: 176, waiting: 0 };
  expect(lines({ clientPlaces })).toContain('Client places: 12 of 176 in use on the leader');
  expect(lines({ clientPlaces: { ...clientPlaces, waiting: 3 } })).toContain(
    'Client places: 12 of 176 in use on the leader, 3 wait',
  );
  expect(lines({}).join()).not.toMatch(/TLS|places/);
});
