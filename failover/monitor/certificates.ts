/**
 * The certificate that all nodes show to clients: of the stack's own authority, or the user's. The monitor looks at it
 * every few seconds, and a new one reaches the nodes as a change of their settings. Nothing waits for it.
 */
import { readFile, stat } from 'node:fs/promises';
import { endOf, pairProblemAt } from '../contract/certificate-check';
import { type Authority, authorityOf, type Leaf, LIFE_MS, type Pair, periodOf } from '../contract/certificates';
import { inBackground, messageOf } from '../contract/errors';
import type { TlsConfig } from '../contract/inputs';
import { PEM_MAX } from '../contract/limits';
import type { TlsSettings } from '../contract/messages';
import { seal } from '../contract/seal';
import type { Log } from './ports';

/** How often a user's own files are read, and whether the certificate is due is checked, ms. */
const LOOK_EVERY_MS = 10_000;

export interface CertificatePorts {
  /** Wall clock, ms: certificates name moments. */
  wallMs(): number;
  log: Log;
  /** Reads a file as text. @default from the disk */
  read?(path: string): Promise<string>;
}

export class Certificates {
  /** For the keepers. Without a certificate they keep the one that they have. */
  settings: TlsSettings;
  /** The same certificate for the pooler, with its key in plain; null: there is none. */
  leaf: Leaf | null = null;
  /** End of its life, ms since the epoch; null: there is none. */
  expiresAtMs: number | null = null;
  /** Why the newest one is not used; null: it is. */
  problem: string | null = null;
  private authority: Authority | null = null;
  /** The period of the authority's shown certificate. */
  private period: number | null = null;
  private shown: Pair | null = null;
  /** See {@link web}. */
  private forWeb: Pair | null = null;

  constructor(
    private readonly config: TlsConfig,
    private readonly clusterKey: string,
    private readonly ports: CertificatePorts,
  ) {
    this.settings = { mode: config.mode };
  }

  /** Resolves with true when {@link settings} changed. Never throws: the monitor works without a certificate, too. */
  async look(): Promise<boolean> {
    if (this.config.mode === 'off') return false;
    try {
      const pair = this.config.own === undefined ? await this.issued() : await this.own(this.config.own);
      if (pair === null && this.shown === null && this.config.https !== undefined) await this.standIn();
      if (pair === null || isSame(pair, this.shown)) return false;
      this.show(pair);
      return true;
    } catch (error) {
      this.refuse(`a certificate for clients cannot be made: ${messageOf(error)}`);
      return false;
    }
  }

  /**
   * What page, API and backends show: the same as the nodes. While the user's own files cannot be used at all, it is a
   * certificate of the stack's own authority, so that people can read on the page what is wrong.
   */
  get web(): Pair | null {
    return this.shown ?? this.forWeb;
  }

  /**
   * Looks again and again. `changed` gets each new state of {@link settings}.
   *
   * @param known the state that need not be told
   * @param looked called after each look, with the certificate for HTTPS
   */
  watch(
    known: TlsSettings,
    changed: (settings: TlsSettings) => void,
    looked: (web: Pair | null) => void = () => undefined,
  ): NodeJS.Timeout {
    let isBusy = false;
    let told = known;
    return setInterval(
      () => {
        if (isBusy) return;
        isBusy = true;
        inBackground(
          async () => {
            await this.look();
            if (this.settings !== told) {
              told = this.settings;
              changed(told);
            }
            looked(this.web);
          },
          undefined,
          () => {
            isBusy = false;
          },
        );
      },
      Math.min(LOOK_EVERY_MS, (this.config.lifeMs ?? LIFE_MS) / 10),
    );
  }

  private show(pair: Pair): void {
    const { mode } = this.config;
    const isFirst = this.shown === null;
    this.shown = pair;
    this.leaf = { ...pair, authority: this.config.own === undefined ? this.authority?.certificate() : undefined };
    this.expiresAtMs = endOf(pair.certificate);
    this.settings = { mode, certificate: pair.certificate, key: seal(this.clusterKey, pair.key) };
    const until = new Date(this.expiresAtMs ?? 0).toISOString();
    const whose = this.config.own === undefined ? 'of the stack’s own authority' : 'of the files that the config names';
    const what = isFirst ? 'clients are shown the certificate' : 'the nodes get a new certificate';
    this.ports.log.write('INFO', 'monitor', 'CERTIFICATE', `${what} ${whose}, valid until ${until}`);
  }

  private async standIn(): Promise<void> {
    const { problem } = this;
    this.forWeb = (await this.issued()) ?? this.forWeb;
    this.problem = problem;
  }

  /** Null while the shown one is the right one: to make one costs tens of milliseconds. */
  private async issued(): Promise<Pair | null> {
    const { secret, names, lifeMs } = this.config;
    const atMs = this.ports.wallMs();
    const period = periodOf(atMs, lifeMs);
    if (period === this.period) return null;
    this.authority ??= await authorityOf(secret);
    const pair = this.authority.issue({ names, atMs, lifeMs });
    this.period = period;
    this.problem = null;
    return pair;
  }

  /** The user's pair; null when it cannot be used, so that the last good one stays. */
  private async own(paths: { readonly certificate: string; readonly key: string }): Promise<Pair | null> {
    const { read = readPem } = this.ports;
    const texts = await Promise.all([read(paths.certificate), read(paths.key)]).catch((error: unknown) => {
      this.refuse(`the certificate for clients (tlsCertificate, tlsKey) cannot be read: ${messageOf(error)}`);
      return null;
    });
    if (texts === null) return null;
    const [certificate, key] = texts;
    if (this.shown !== null && isSame({ certificate, key }, this.shown)) {
      this.problem = null;
      return null;
    }
    const problem = pairProblemAt(certificate, key, this.ports.wallMs());
    if (problem === null) {
      this.problem = null;
      return { certificate, key };
    }
    this.refuse(`the certificate for clients (tlsCertificate, tlsKey) is refused: ${problem}`);
    return null;
  }

  private refuse(message: string): void {
    if (message === this.problem) return;
    this.problem = message;
    this.ports.log.write('WARN', 'monitor', 'CERTIFICATE_REFUSED', message);
  }
}

/** Reads a file of a size that a certificate or key may have. What is no file could keep the reader waiting. */
async function readPem(path: string): Promise<string> {
  const stats = await stat(path);
  if (!stats.isFile() || stats.size > PEM_MAX) throw new Error(`${path} is no file of at most ${PEM_MAX} bytes`);
  return readFile(path, 'utf8');
}

function isSame(a: Pair, b: Pair | null): boolean {
  return a.certificate === b?.certificate && a.key === b.key;
}
