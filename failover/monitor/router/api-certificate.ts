/**
 * The certificate of HAProxy's port for the backends. HAProxy must start while the monitor is away, so the monitor
 * writes the certificate to a file that HAProxy reads when a worker starts, and changes the running worker through the
 * admin socket (HAProxy management guide, "set ssl cert" and "commit ssl cert"). Nothing is reloaded, and no session
 * ends. docs/decisions/0032-https-beyond-loopback.md
 */
import { X509Certificate } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pair } from '../../contract/certificates';
import { inBackground, messageOf } from '../../contract/errors';
import { API_CERTIFICATE } from '../../contract/layout';
import type { Log } from '../ports';
import { ask } from './haproxy-socket';

/** Time until the next try while HAProxy does not show the certificate, ms. */
const TRY_EVERY_MS = 1_000;
/** Number of tries after which a certificate in force is looked at again, because a new worker may have started. */
const LOOK_EVERY = 10;
const ANSWER_MS = 2_000;
/** HAProxy takes a command only as a whole: `tune.bufsize` (16,384) less what the command itself needs, bytes. */
const PEM_BYTES_MAX = 15 * 1024;

export class ApiCertificate {
  private readonly file: string;
  private wanted: Pair | null = null;
  private inForce: Pair | null = null;
  private ticks = 0;
  private isBusy = false;
  private timer: NodeJS.Timeout | null = null;
  private problem: string | null = null;

  /**
   * @param sockets folder with HAProxy's sockets in this process
   * @param path the same folder in HAProxy's container, as its config names it
   */
  constructor(
    private readonly sockets: string,
    private readonly log: Log,
    private readonly path: string = sockets,
  ) {
    this.file = join(sockets, API_CERTIFICATE);
  }

  want(pair: Pair | null): void {
    this.wanted = pair;
  }

  start(): void {
    this.timer = setInterval(() => {
      const rests = this.inForce === this.wanted && this.ticks++ % LOOK_EVERY !== 0;
      if (this.isBusy || rests) return;
      this.isBusy = true;
      inBackground(() =>
        this.look().finally(() => {
          this.isBusy = false;
        }),
      );
    }, TRY_EVERY_MS);
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
  }

  /** Brings file and worker to the wanted certificate, and believes only what was read back. Never throws. */
  async look(): Promise<void> {
    const pair = this.wanted;
    if (pair === null) return;
    try {
      const pem = pemOf(pair);
      await this.write(pem);
      const wanted = new X509Certificate(pair.certificate).fingerprint.replaceAll(':', '');
      if ((await this.shown()) !== wanted) {
        await this.tell(`set ssl cert ${this.name} <<\n${pem}`);
        await this.tell(`commit ssl cert ${this.name}`);
        if ((await this.shown()) !== wanted) throw new Error('HAProxy still shows another certificate');
      }
      this.inForce = pair;
      this.problem = null;
    } catch (error) {
      this.inForce = null;
      this.refuse(`HAProxy does not show the certificate on the port of the backends: ${messageOf(error)}`);
    }
  }

  private get name(): string {
    return join(this.path, API_CERTIFICATE);
  }

  /** Writes the file if it differs. HAProxy does not start with half a file, so it is replaced as a whole. */
  private async write(pem: string): Promise<void> {
    if ((await readFile(this.file, 'utf8').catch(() => null)) === pem) return;
    const next = `${this.file}.next`;
    // The folder's group is the one that HAProxy and monitor share (setgid).
    const handle = await open(next, 'w', 0o640);
    try {
      await handle.chmod(0o640);
      await handle.writeFile(pem);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(next, this.file);
  }

  /** SHA-1 fingerprint of what the worker shows now. */
  private async shown(): Promise<string> {
    const answer = await this.ask(`show ssl cert ${this.name}`);
    const found = /^SHA1 FingerPrint: ([0-9A-F]+)$/m.exec(answer)?.[1];
    if (found === undefined) throw new Error(firstLine(answer));
    return found;
  }

  /** @throws Error with HAProxy's message when it refuses. It never contains the command, which has the key. */
  private async tell(command: string): Promise<void> {
    const answer = await this.ask(command);
    if (!/^(Transaction (created|updated)|Success!)/m.test(answer)) throw new Error(firstLine(answer));
  }

  private ask(command: string): Promise<string> {
    return ask(join(this.sockets, 'admin.sock'), command, ANSWER_MS);
  }

  private refuse(message: string): void {
    if (message === this.problem) return;
    this.problem = message;
    this.log.write('WARN', 'haproxy', 'CERTIFICATE_REFUSED', message);
  }
}

/** Certificate, chain and key, without the empty lines and texts between them: an empty line ends HAProxy's command. */
function pemOf({ certificate, key }: Pair): string {
  const blocks = `${certificate}\n${key}`.match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----/g) ?? [];
  const pem = blocks.map((block) => `${block.replaceAll(/\s*\n\s*/g, '\n')}\n`).join('');
  if (pem.length > PEM_BYTES_MAX) throw new Error(`certificate, chain and key have more than ${PEM_BYTES_MAX} bytes`);
  return pem;
}

function firstLine(answer: string): string {
  return answer.trim().split('\n')[0] || 'no answer';
}
