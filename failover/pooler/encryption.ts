/**
 * The certificate that the pooler's clients see: the newest one that the monitor has sent and that PgBouncer has
 * loaded. One that cannot be used leaves the former one in force. The last good one is kept, so that a container that
 * starts again while the monitor is away serves as before.
 */
import { X509Certificate } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { endOf, pairProblem } from '../contract/certificate-check';
import type { Leaf } from '../contract/certificates';
import { inBackground, messageOf } from '../contract/errors';
import { fromJson } from '../contract/json';
import { PEM_MAX } from '../contract/limits';
import { oneLine } from '../contract/log-line';
import type { PoolerConfig, SealedLeaf } from '../contract/pooler';
import { unseal } from '../contract/seal';

/** With `tls: on`, how long the first certificate is awaited before clients are served without TLS, ms. */
const FIRST_LIMIT_MS = 3_000;
/** A certificate that PgBouncer did not take is tried again after this, ms. */
const AGAIN_MS = 30_000;
/** Longest problem that is reported to the monitor, characters. */
const PROBLEM_MAX = 1_000;

const Pem = z.string().max(PEM_MAX);
const Kept = z.object({ certificate: Pem, key: Pem, authority: Pem.optional() });

export interface EncryptionPorts {
  /** Writes PgBouncer's files; null: without a certificate. */
  write(leaf: Leaf | null): Promise<void>;
  /**
   * Makes every process read its files again. True when PgBouncer can load them: new connections see this certificate.
   */
  reload(certificate: string): Promise<boolean>;
  /** Keeps the text over a restart of the container. */
  keep(text: string): Promise<void>;
  /** The text that was kept last; null: there is none. */
  kept(): Promise<string | null>;
  log(message: string): void;
}

export class Encryption {
  /** Why the newest certificate is not in force; null: it is, or there is none. */
  problem: string | null = null;
  private used: Leaf | null = null;
  private next: SealedLeaf | null = null;
  private isBusy = false;
  private again: NodeJS.Timeout | undefined;
  private readonly first = Promise.withResolvers<void>();

  constructor(
    private readonly config: Pick<PoolerConfig, 'tls' | 'key'>,
    private readonly ports: EncryptionPorts,
  ) {}

  /**
   * Writes PgBouncer's files, with the certificate that was kept if there is one. To be called once, before the others.
   */
  async begin(): Promise<void> {
    this.used = this.config.tls === 'off' ? null : await this.kept();
    await this.ports.write(this.used);
    if (this.used !== null) this.first.resolve();
  }

  /**
   * Resolves when PgBouncer may be started. With `require` that takes a certificate. With `on` clients that want no TLS
   * are served after a moment without one; TLS is offered as soon as there is one.
   */
  async ready(limitMs = FIRST_LIMIT_MS): Promise<void> {
    const { tls } = this.config;
    if (tls === 'off') return;
    const late = delay(limitMs, false, { ref: false });
    if (!(await Promise.race([this.first.promise.then(() => true), late]))) {
      const meanwhile = tls === 'on' ? 'clients are served without TLS until then' : 'no client is served until then';
      this.ports.log(`the monitor has sent no certificate yet; ${meanwhile}`);
    }
    if (tls === 'require') await this.first.promise;
  }

  /**
   * Takes a certificate of the monitor, and returns at once. Of several that come quickly only the last one is used.
   */
  receive(frame: SealedLeaf): void {
    if (this.config.tls === 'off') return;
    clearTimeout(this.again);
    this.next = frame;
    if (this.isBusy) return;
    this.isBusy = true;
    inBackground(() => this.work());
  }

  stop(): void {
    clearTimeout(this.again);
  }

  private async work(): Promise<void> {
    while (this.next !== null) {
      const frame = this.next;
      this.next = null;
      await this.take(frame).catch((error: unknown) => {
        this.refuse(`it cannot be written: ${messageOf(error)}`);
        this.later(frame);
      });
    }
    this.isBusy = false;
  }

  private async take(frame: SealedLeaf): Promise<void> {
    const { certificate, authority } = frame;
    const key = unseal(this.config.key, frame.key);
    if (key === null) return this.refuse('its key was sealed with another key, or was damaged');
    const leaf = { certificate, key, authority };
    const problem = leafProblem(leaf);
    if (problem !== null) return this.refuse(problem);
    if (isSame(leaf, this.used)) {
      this.problem = null;
      return;
    }
    await this.ports.write(leaf);
    this.first.resolve();
    if (!(await this.ports.reload(certificate))) {
      await this.goBack();
      this.refuse('PgBouncer does not show it after a RELOAD');
      return this.later(frame);
    }
    this.used = leaf;
    this.problem = null;
    this.ports.log(
      `clients are shown a new certificate, valid until ${new Date(endOf(certificate) ?? 0).toISOString()}`,
    );
    await this.ports.keep(JSON.stringify(leaf)).catch((error: unknown) => {
      this.ports.log(`the certificate cannot be kept for the next start: ${messageOf(error)}`);
    });
  }

  /** A process that has to start again must find files that it can load. */
  private async goBack(): Promise<void> {
    if (this.used === null) return;
    await this.ports.write(this.used);
    await this.ports.reload(this.used.certificate);
  }

  private later(frame: SealedLeaf): void {
    if (this.next === null) this.again = setTimeout(() => this.receive(frame), AGAIN_MS);
  }

  private refuse(why: string): void {
    const instead = this.used === null ? 'there is none' : 'the former one stays';
    const problem = oneLine(`the pooler refuses the certificate for clients, ${instead}: ${why}`).slice(0, PROBLEM_MAX);
    if (problem !== this.problem) this.ports.log(problem);
    this.problem = problem;
  }

  private async kept(): Promise<Leaf | null> {
    const text = await this.ports.kept().catch(() => null);
    if (text === null) return null;
    const leaf = fromJson(Kept, text);
    const problem = leaf === null ? 'it is damaged' : leafProblem(leaf);
    if (problem === null) return leaf;
    this.ports.log(`the certificate of the last start is not used: ${problem}`);
    return null;
  }
}

/** Why PgBouncer cannot use this certificate; null: it can. It may have expired, as with the nodes. */
function leafProblem({ certificate, key, authority }: Leaf): string | null {
  const problem = pairProblem(certificate, key);
  if (problem !== null || authority === undefined) return problem;
  try {
    // With another authority PgBouncer could not log in to the nodes, which show the same certificate.
    const isSigned = new X509Certificate(certificate).verify(new X509Certificate(authority).publicKey);
    return isSigned ? null : 'its authority has not signed it';
  } catch (error) {
    return `its authority cannot be read: ${messageOf(error)}`;
  }
}

function isSame(a: Leaf, b: Leaf | null): boolean {
  return a.certificate === b?.certificate && a.key === b.key && a.authority === b.authority;
}
