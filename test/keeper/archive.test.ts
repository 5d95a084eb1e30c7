/** What a node hands to the backups' repository, with pgBackRest replaced by a script that notes its calls. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { NodeArchive } from '../../failover/keeper/postgres/archive';
import type { OwnSessions } from '../../failover/keeper/postgres/own-sessions';
import type { Place } from '../../failover/keeper/postgres/place';
import { commandLine } from '../../failover/keeper/postgres/processes';
import { renderPgbackrestConf } from '../../failover/keeper/postgres/repositories';
import { testFolder } from '../rig/folder';
import { waitFor } from '../rig/wait';

const file = (timeline: number, segment: number) => `0000000${timeline}000000000000000${segment}`;
const FLUSHED = '0/600010';

let folder: string;
let wal: string;
let archive: NodeArchive;
beforeEach(() => {
  folder = testFolder();
  wal = join(folder, 'data', 'pg_wal');
  mkdirSync(wal, { recursive: true });
  mkdirSync(join(folder, 'bin'));
  vi.stubEnv('PATH', `${join(folder, 'bin')}:${process.env.PATH}`);
  script(
    'pg_controldata',
    'echo "Bytes per WAL segment: 1048576"; for n in "Database cluster state:  in production" "Database system identifier: 7" "Minimum recovery ending location: 0/0" "Latest checkpoint location: 0/100000" "Latest checkpoint\'s TimeLineID: 2" "Latest checkpoint\'s REDO location: 0/100000" "Min recovery ending loc\'s timeline: 0" "max_connections setting: 100" "max_worker_processes setting: 8" "max_wal_senders setting: 10" "max_prepared_xacts setting: 0" "max_locks_per_xact setting: 64" "wal_level setting: replica"; do echo "$n"; done',
  );
  script('pgbackrest', `echo "$@" | sed 's/.*--stanza=//; s| /.*/| |' >> ${join(folder, 'calls')}`);
  archive = new NodeArchive(place(), {} as OwnSessions, join(folder, 'run'));
  archive.begin();
  // A fork from timeline 1 to 2 within file …03.
  writeFileSync(join(wal, '00000002.history'), '1\t0/3000F0\tno recovery target specified\n');
  for (const name of [file(1, 2), file(1, 3), file(2, 3), file(2, 4), file(2, 5), file(2, 6)]) touch(name);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const place = () => ({ data: join(folder, 'data'), volume: folder, port: 5432, clusterKey: 'k'.repeat(40) }) as Place;
const touch = (name: string) => writeFileSync(join(wal, name), '');
function script(name: string, text: string): void {
  writeFileSync(join(folder, 'bin', name), `#!/bin/sh\n${text}\n`);
  chmodSync(join(folder, 'bin', name), 0o755);
}
const calls = () => (existsSync(join(folder, 'calls')) ? readFileSync(join(folder, 'calls'), 'utf8') : '').split('\n');
const pushed = () => calls().flatMap((line) => /^c7 archive-push (.*)/.exec(line)?.[1] ?? []);
async function pushAll(flushLsn = FLUSHED): Promise<void> {
  while (await archive.push(flushLsn));
}

it('hands over the history first, then what the former leader had not, in order', async () => {
  await archive.prepare(2, { lsn: '0/200000', timeline: 1, gaps: [] });
  expect(calls()[0]).toBe('c7 stanza-create');
  await pushAll();
  expect(pushed()).toEqual(['00000002.history', file(1, 2), file(2, 3), file(2, 4), file(2, 5)]);
  expect(archive.look(FLUSHED)).toEqual({ waiting: 0, waitingBytes: 0, archivedTo: '0/600000', timeline: 2, gaps: [] });
});

it('makes the repository anew when it has lost what it had, and goes on', async () => {
  await archive.prepare(2, { lsn: '0/400000', timeline: 2, gaps: [] });
  rmSync(join(folder, 'calls'));
  const words = "FileMissingError: unable to open missing file '/archive/c7/archive.info.copy' for read";
  script(
    'pgbackrest',
    `case "$*" in *stanza-create) touch ${join(folder, 'made')};; esac
     echo "$@" | sed 's/.*--stanza=//; s| /.*/| |' >> ${join(folder, 'calls')}
     [ -e ${join(folder, 'made')} ] || { echo "ERROR: [103]: no repository: ${words}" >&2; exit 103; }`,
  );
  await pushAll();
  const history = 'c7 archive-push 00000002.history';
  expect(calls().slice(0, 3)).toEqual([history, 'c7 stanza-create', history]);
  expect(archive.look(FLUSHED)).toMatchObject({ archivedTo: '0/600000', gaps: [] });
});

it('goes on where it failed', async () => {
  await archive.prepare(2, { lsn: '0/300000', timeline: 2, gaps: [] });
  await archive.push(FLUSHED);
  script('pgbackrest', 'echo "ERROR: [045]: WAL file already exists with a different checksum" >&2; exit 45');
  for (let turn = 0; turn < 2; turn++) {
    await expect(archive.push(FLUSHED)).rejects.toThrow('pgbackrest ended with 45: ERROR: [045]');
  }
  expect(archive.look(FLUSHED)).toMatchObject({ waiting: 3, archivedTo: '0/300000' });
});

it('writes down what is not there any more, before it goes on', async () => {
  await archive.prepare(2, { lsn: '0/100000', timeline: 1, gaps: [] });
  rmSync(join(wal, file(2, 4)));
  await pushAll();
  expect(pushed()).toEqual(['00000002.history', file(1, 2), file(2, 3), file(2, 5)]);
  const gaps = [
    { from: file(1, 1), to: file(1, 1) },
    { from: file(2, 4), to: file(2, 4) },
  ];
  expect(archive.look(FLUSHED).gaps).toEqual(gaps);
  const next = new NodeArchive(place(), {} as OwnSessions, join(folder, 'run'));
  next.begin();
  await next.prepare(2, null);
  expect(next.look(FLUSHED).gaps).toEqual(gaps);
  // What it hears from the leader before it takes the place of its own list.
  const heard = [{ from: file(1, 0), to: file(1, 0) }];
  await next.prepare(2, { lsn: '0/500000', timeline: 2, gaps: heard });
  expect(next.look(FLUSHED).gaps).toEqual(heard);
  const later = new NodeArchive(place(), {} as OwnSessions, join(folder, 'run'));
  later.begin();
  await later.prepare(2, null);
  expect(later.look(FLUSHED).gaps).toEqual(heard);
});

it('keeps a list of gaps for each place of the backups', async () => {
  const gaps = (from: string) => [{ from, to: from }];
  const of = (name: 'local' | 's3') => new NodeArchive(place(), {} as OwnSessions, join(folder, 'run'), name);
  await of('local').changeGaps(() => gaps(file(1, 1)));
  await of('s3').changeGaps(() => gaps(file(1, 2)));
  const [local, s3] = [of('local'), of('s3')];
  await Promise.all([local, s3].map((one) => one.changeGaps((before) => before)));
  expect([local, s3].map((one) => one.look(FLUSHED).gaps)).toEqual([gaps(file(1, 1)), gaps(file(1, 2))]);
});

it('writes down nothing over a list of gaps that it cannot read, and hands over nothing', async () => {
  writeFileSync(join(folder, 'archive-gaps.json'), '[{"from":"x"}]');
  await expect(archive.prepare(2, null)).rejects.toThrow('archive-gaps.json');
  expect(await archive.push(FLUSHED)).toBe(false);
});

it('lets go what waits beyond the limit, and writes it down', async () => {
  await archive.prepare(2, { lsn: '0/200000', timeline: 1, gaps: [] });
  await archive.letGo(FLUSHED, 4 * 1024 ** 2);
  expect(archive.look(FLUSHED).gaps).toEqual([]);
  await archive.letGo(FLUSHED, 2 * 1024 ** 2);
  expect(archive.look(FLUSHED)).toMatchObject({ waiting: 2, gaps: [{ from: file(1, 2), to: file(2, 3) }] });
  await archive.letGo(FLUSHED, 1024 ** 2);
  expect(archive.look(FLUSHED)).toMatchObject({ waiting: 1, gaps: [{ from: file(1, 2), to: file(2, 4) }] });
  await pushAll();
  expect(pushed()).toEqual(['00000002.history', file(2, 5)]);
});

it.each([
  ['when it is told to', () => archive.shut()],
  ['when PostgreSQL shuts down', () => archive.close()],
])('ends pgBackRest and its children %s', async (_, end) => {
  await archive.prepare(2, { lsn: '0/500000', timeline: 2, gaps: [] });
  script('pgbackrest', `sleep 300 & echo $! > ${join(folder, 'pid')}; wait`);
  const push = archive.push(FLUSHED);
  await waitFor(
    'it runs',
    5_000,
    () => existsSync(join(folder, 'pid')) && readFileSync(join(folder, 'pid'), 'utf8') !== '',
  );
  end();
  await expect(push).rejects.toThrow();
  const child = Number(readFileSync(join(folder, 'pid'), 'utf8'));
  // A process that has ended has no command line any more.
  await waitFor('its child is gone', 5_000, async () => !(await commandLine(child)));
});

it('hands over nothing once PostgreSQL shuts down, until it starts again', async () => {
  await archive.prepare(2, null);
  archive.close();
  expect(await archive.push(FLUSHED)).toBe(false);
  await expect(archive.prepare(2, null)).rejects.toThrow('shut down');
  archive.begin();
  await archive.prepare(2, null);
  expect(await archive.push(FLUSHED)).toBe(true);
});

it('encrypts the repository with a passphrase that is not the cluster key', () => {
  const clusterKey = 'k'.repeat(40);
  const text = renderPgbackrestConf({ data: '/data', port: 5432, clusterKey }, 'c1');
  expect(text).toContain('repo1-cipher-type=aes-256-cbc\n');
  expect(text).toMatch(/^repo1-cipher-pass=[0-9a-f]{64}$/m);
  expect(text).not.toContain(clusterKey);
  // Without it pgBackRest warns, and with a small one a command that a person runs would remove backups.
  expect(text).toContain('repo1-retention-full=9999999\n');
  // pgBackRest asks for archive_mode otherwise.
  expect(text).toContain('[global:backup]\narchive-check=n\n');
});
