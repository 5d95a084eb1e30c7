/**
 * The files from which PostgreSQL reads its certificate. Each pair has a folder of its own, which is complete before
 * the configuration names it, so PostgreSQL never reads a key that does not fit. A pair that PostgreSQL could not load
 * is never handed to it, because it would not start.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pairProblem } from '../../contract/certificate-check';
import { messageOf } from '../../contract/errors';
import type { TlsSettings } from '../../contract/messages';
import { unseal } from '../../contract/seal';
import { syncFolder, writeWhole } from '../../disk/durable';
import type { Place } from './place';

/** Paths of the certificate and its key, for postgresql.conf. */
export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
}

const CERTIFICATE = 'server.crt';
const KEY = 'server.key';
/** File with the name of the folder that was used last. */
const CURRENT = 'current';

export class CertificateFiles {
  /** Why the newest certificate is not used; null: it is. */
  problem: string | null = null;
  private readonly folder: string;
  /** The last request, and what it led to: most changes of the configuration do not concern the certificate. */
  private last: { request: string; files: TlsFiles | null } | null = null;

  constructor(private readonly place: Pick<Place, 'conf' | 'clusterKey'>) {
    this.folder = join(place.conf, 'tls');
  }

  /**
   * Puts the settings' certificate on the disk and returns its files. A certificate that cannot be used leaves the last
   * good one in force. Null: no TLS, because it is off or there is no certificate at all. Never throws, because a node
   * has to start without TLS, too.
   */
  async use(tls: TlsSettings | undefined): Promise<TlsFiles | null> {
    const request = JSON.stringify(tls ?? null);
    if (this.last?.request !== request) {
      try {
        const { files, problem } = await this.choose(tls);
        this.problem = problem;
        this.last = { request, files };
        return files;
      } catch (error) {
        // For example a full disk. It is tried again with the next change.
        this.problem = `the certificate for clients cannot be written: ${messageOf(error)}`;
        return this.kept();
      }
    }
    return this.last.files;
  }

  private async choose(tls: TlsSettings | undefined): Promise<{ files: TlsFiles | null; problem: string | null }> {
    if (tls === undefined || tls.mode === 'off') return { files: null, problem: null };
    const { certificate, key } = tls;
    if (certificate === undefined || key === undefined) return { files: await this.kept(), problem: null };
    const plain = unseal(this.place.clusterKey, key);
    const problem = plain === null ? 'its key was sealed with another cluster key' : pairProblem(certificate, plain);
    if (plain === null || problem !== null) {
      const files = await this.kept();
      const instead = files === null ? 'TLS is off' : 'the former one stays';
      return { files, problem: `the certificate for clients is refused, ${instead}: ${problem}` };
    }
    return { files: await this.store(certificate, plain), problem: null };
  }

  private async store(certificate: string, key: string): Promise<TlsFiles> {
    const { folder } = this;
    const name = createHash('sha256').update(certificate).update(key).digest('hex').slice(0, 16);
    const before = await this.current();
    if (before === name && (await this.kept()) !== null) return this.filesIn(name);
    if (!(await readdir(folder).catch((): string[] => [])).includes(name)) {
      const half = join(folder, `${name}.new`);
      await rm(half, { recursive: true, force: true });
      await mkdir(half, { recursive: true, mode: 0o700 });
      await writeWhole(half, CERTIFICATE, certificate);
      await writeWhole(half, KEY, key);
      await rename(half, join(folder, name));
    }
    // Also makes the folder's name durable.
    if (before !== name) await writeWhole(folder, CURRENT, name);
    // The running server may be about to read the former pair.
    const keep = [name, before, CURRENT];
    const others = (await readdir(folder)).filter((entry) => !keep.includes(entry));
    await Promise.all(others.map((entry) => rm(join(folder, entry), { recursive: true, force: true })));
    await syncFolder(folder);
    return this.filesIn(name);
  }

  /** The pair that was used last, if it is whole. */
  private async kept(): Promise<TlsFiles | null> {
    const name = await this.current();
    if (name === null) return null;
    const files = this.filesIn(name);
    const [certificate, key] = await Promise.all([files.certificate, files.key].map((path) => readText(path)));
    return certificate == null || key == null || pairProblem(certificate, key) !== null ? null : files;
  }

  private async current(): Promise<string | null> {
    const name = await readText(join(this.folder, CURRENT));
    return name !== null && /^[0-9a-f]{16}$/.test(name) ? name : null;
  }

  private filesIn(name: string): TlsFiles {
    return { certificate: join(this.folder, name, CERTIFICATE), key: join(this.folder, name, KEY) };
  }
}

async function readText(path: string): Promise<string | null> {
  return readFile(path, 'utf8').catch(() => null);
}
