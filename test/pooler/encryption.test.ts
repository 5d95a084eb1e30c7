/** Which certificate the pooler uses: the newest good one, kept over a restart. */
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { type Authority, authorityOf, type Leaf, LIFE_MS } from '../../failover/contract/certificates';
import type { SealedLeaf } from '../../failover/contract/pooler';
import { seal } from '../../failover/contract/seal';
import { Encryption } from '../../failover/pooler/encryption';

const KEY = 'k'.repeat(64);
const LIMIT_MS = 5_000;
let authority: Authority;
let [one, two]: Leaf[] = [];

beforeAll(async () => {
  authority = await authorityOf('s'.repeat(48));
  [one, two] = [1, 2].map((n) => leafOf(authority, n));
});

function leafOf(by: Authority, n: number, atMs = Date.now()): Leaf {
  const pair = by.issue({ names: ['localhost'], atMs, lifeMs: LIFE_MS + n * 1_000 });
  return { ...pair, authority: by.certificate() };
}

function given(leaf: Leaf | undefined): Leaf {
  if (leaf === undefined) throw new Error('no certificate was made');
  return leaf;
}

function frame({ certificate, key, authority: by }: Leaf, linkKey = KEY): SealedLeaf {
  return { type: 'certificate', certificate, key: seal(linkKey, key), authority: by };
}

function rig(tls: 'off' | 'on' | 'require' = 'require', kept: string | null = null) {
  const log: string[] = [];
  const disk = { kept, written: [] as (string | null)[], shown: null as string | null, isTaken: true };
  const encryption = new Encryption(
    { tls, key: KEY },
    {
      write: async (leaf) => void disk.written.push(leaf?.certificate ?? null),
      reload: async (certificate) => {
        if (disk.isTaken) disk.shown = certificate;
        return disk.isTaken;
      },
      keep: async (text) => {
        disk.kept = text;
      },
      kept: async () => disk.kept,
      log: (line) => log.push(line),
    },
  );
  /** Hands over a certificate and waits until it is used or refused. */
  const hand = async (sent: SealedLeaf) => {
    const before = encryption.problem;
    encryption.receive(sent);
    await vi.waitFor(
      () => expect(disk.shown === sent.certificate || encryption.problem !== before).toBe(true),
      LIMIT_MS,
    );
  };
  /** True when PgBouncer may be started by now. */
  const isReady = () =>
    Promise.race([encryption.ready().then(() => true), new Promise((end) => setImmediate(end, false))]);
  return { encryption, log, disk, hand, isReady };
}

describe('the certificate of the pooler', () => {
  it('is awaited with `require`: no process starts without one', async () => {
    const { encryption, disk, hand, isReady } = rig();
    await encryption.begin();
    expect([await isReady(), disk.written]).toEqual([false, [null]]);
    await hand(frame(given(one)));
    expect([await isReady(), disk.shown]).toEqual([true, given(one).certificate]);
  });

  it('is awaited for a moment with `on`, and taken when it comes later', async () => {
    const { encryption, log, hand, disk, isReady } = rig('on');
    await encryption.begin();
    expect(await isReady()).toBe(false);
    await encryption.ready(10);
    expect(log).toEqual([expect.stringMatching(/no certificate yet; clients are served without TLS/)]);
    await hand(frame(given(one)));
    expect(disk.shown).toBe(given(one).certificate);
  });

  it('is not used with `off`', async () => {
    const { encryption, disk } = rig('off', JSON.stringify(one));
    await encryption.begin();
    await encryption.ready();
    encryption.receive(frame(given(one)));
    expect(disk.written).toEqual([null]);
  });

  it('is kept, so that a start without the monitor serves', async () => {
    const before = rig();
    await before.encryption.begin();
    await before.hand(frame(given(one)));
    await vi.waitFor(() => expect(before.disk.kept).not.toBeNull());
    const { encryption, disk, isReady } = rig('require', before.disk.kept);
    await encryption.begin();
    expect([await isReady(), disk.written]).toEqual([true, [given(one).certificate]]);
  });

  it('that was kept and is damaged is not used', async () => {
    for (const kept of ['{', '{}', JSON.stringify({ ...one, key: two?.key })]) {
      const { encryption, disk, log, isReady } = rig('require', kept);
      await encryption.begin();
      expect([await isReady(), disk.written]).toEqual([false, [null]]);
      expect(log).toEqual([expect.stringMatching(/^the certificate of the last start is not used: /)]);
    }
  });

  it('stays when the next one is damaged, and the problem is told without a key', async () => {
    const { encryption, disk, hand, log } = rig();
    await encryption.begin();
    await hand(frame(given(one)));
    const other = leafOf(await authorityOf('o'.repeat(48)), 1);
    const bad: [SealedLeaf, RegExp][] = [
      [frame(given(two), 'x'.repeat(64)), /sealed with another key/],
      [{ ...frame(given(two)), certificate: 'no certificate' }, /PEM|no start line/i],
      [frame({ ...given(two), key: given(one).key }), /key does not fit/],
      [frame({ ...given(two), key: 'no key' }), /decoder|unsupported|PEM/i],
      [frame({ ...given(two), authority: other.authority }), /authority has not signed it/],
      [frame({ ...given(two), authority: 'no authority' }), /authority cannot be read/],
    ];
    for (const [sent, problem] of bad) {
      await hand(sent);
      expect(encryption.problem).toMatch(/the former one stays/);
      expect(encryption.problem).toMatch(problem);
    }
    expect(disk.written).toEqual([null, given(one).certificate]);
    expect(log.join()).not.toContain('PRIVATE');
    await hand(frame(given(two)));
    expect([encryption.problem, disk.shown]).toEqual([null, given(two).certificate]);
  });

  it('may have expired, as with the nodes', async () => {
    const { encryption, disk, hand } = rig();
    await encryption.begin();
    const old = leafOf(authority, 3, Date.now() - 2 * LIFE_MS);
    await hand(frame(old));
    expect([disk.shown, encryption.problem]).toEqual([old.certificate, null]);
  });

  it('that PgBouncer does not take gives way to the former one, on the disk too, and is tried again', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const { encryption, disk, hand } = rig();
      await encryption.begin();
      await hand(frame(given(one)));
      disk.isTaken = false;
      await hand(frame(given(two)));
      expect(disk.written).toEqual([null, given(one).certificate, given(two).certificate, given(one).certificate]);
      expect(disk.kept).toContain(JSON.stringify(given(one).certificate));
      expect(encryption.problem).toMatch(/PgBouncer does not show it/);
      disk.isTaken = true;
      await vi.advanceTimersByTimeAsync(31_000);
      expect([disk.shown, encryption.problem]).toEqual([given(two).certificate, null]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('that is the same as before, over a new connection, changes nothing', async () => {
    const { encryption, disk, hand } = rig();
    await encryption.begin();
    await hand(frame(given(one)));
    encryption.receive(frame(given(one)));
    await vi.waitFor(() => expect(encryption.problem).toBeNull());
    expect(disk.written).toEqual([null, given(one).certificate]);
  });
});
