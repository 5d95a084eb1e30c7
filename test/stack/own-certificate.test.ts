import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { authorityOf } from '../../failover/contract/certificates';
import { certificateProblems } from '../../stack/own-certificate';
import { topologyOf } from '../components/mocks';
import { suiteFolder } from '../rig/folder';

const folder = suiteFolder();
const files = { tlsCertificate: join(folder, 'chain.pem'), tlsKey: join(folder, 'key.pem') };
const problems = (changes: Record<string, string> = {}) => certificateProblems(topologyOf({ ...files, ...changes }));
let otherKey = '';

beforeAll(async () => {
  otherKey = (await authorityOf('o'.repeat(48))).issue({ names: ['localhost'], atMs: Date.now() }).key;
});

beforeEach(async () => {
  const { certificate, key } = (await authorityOf('s'.repeat(48))).issue({ names: ['localhost'], atMs: Date.now() });
  writeFileSync(files.tlsCertificate, certificate);
  writeFileSync(files.tlsKey, key);
  chmodSync(files.tlsKey, 0o644);
});

describe('before a deployment, a certificate of the user’s own', () => {
  it('is no problem when it can be used, nor when there is none', () => {
    expect(problems()).toEqual([]);
    expect(certificateProblems(topologyOf())).toEqual([]);
  });

  it('is named with its key when folder or file is not there', () => {
    expect(problems({ tlsCertificate: '/no/such/folder/c.pem', tlsKey: join(folder, 'none.pem') })).toEqual([
      'tlsCertificate: the folder /no/such/folder is not there, or this user may not look at it',
      `tlsKey: the file ${join(folder, 'none.pem')} is not there, or this user may not look at it`,
    ]);
  });

  it('is refused when the monitor cannot read the key, with a command that makes a copy for it', () => {
    chmodSync(files.tlsKey, 0o600);
    expect(problems()).toEqual([
      `tlsKey: ${files.tlsKey} has mode 0600 and owner ${process.getuid?.()}; the monitor runs as user 10002 and cannot ` +
        'read it; install -m 0400 -o 10002 makes a copy that it can read',
    ]);
  });

  it('is refused when the key is another one’s', () => {
    writeFileSync(files.tlsKey, otherKey);
    expect(problems()).toEqual([
      `tlsCertificate: ${files.tlsCertificate} with ${files.tlsKey} is refused; the key does not fit the certificate`,
    ]);
  });
});
