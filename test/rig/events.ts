/** What happens on a stack: the monitor's log, and what the engine does with the containers. */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Program } from './program';
import { waitFor } from './wait';

const LOG_POLL_MS = 2;

/** The monitor's log from a moment on. */
export class MonitorLog {
  private from = 0;

  constructor(private readonly path: string) {
    this.begin();
  }

  /** What was logged before this moment is left out from now on. */
  begin(): void {
    this.from = existsSync(this.path) ? statSync(this.path).size : 0;
  }

  /** What was logged since then. */
  text(): string {
    if (!existsSync(this.path)) return '';
    const file = openSync(this.path, 'r');
    try {
      const { size } = fstatSync(file);
      // A rotated log begins anew.
      const from = size < this.from ? 0 : this.from;
      const buffer = Buffer.alloc(size - from);
      readSync(file, buffer, 0, buffer.length, from);
      return buffer.toString();
    } finally {
      closeSync(file);
    }
  }

  /** Waits for a line that was not there when this was called. */
  async line(pattern: RegExp, limitMs: number): Promise<string> {
    const before = this.text().length;
    const newOnes = () => this.text().slice(before).split('\n');
    return waitFor(`${pattern} in the log`, limitMs, () => newOnes().find((l) => pattern.test(l)), LOG_POLL_MS);
  }
}

export interface DockerEvent {
  atMs: number;
  name: string;
  what: string;
}

/** The engine's word for it comes this much later at most, ms. */
const LATE_MS = 500;
const KINDS = ['kill', 'die', 'create', 'start', 'destroy'];

/** What the engine does, as it happens: the engine itself remembers only its last 256 events. */
export class DockerEvents {
  readonly all: DockerEvent[] = [];
  private readonly program: Program;

  /** Of all containers with this label, `key=value`. */
  constructor(label: string) {
    const filters = [`label=${label}`, 'type=container', ...KINDS.map((kind) => `event=${kind}`)];
    const format = '{{.TimeNano}} {{index .Actor.Attributes "name"}} {{.Action}}';
    const args = ['events', ...filters.flatMap((filter) => ['--filter', filter]), '--format', format];
    this.program = new Program('docker', args, (line) => {
      const [nanos, name = '', what = ''] = line.split(' ');
      this.all.push({ atMs: Number(nanos) / 1e6, name, what });
    });
  }

  async stop(): Promise<void> {
    await sleep(LATE_MS);
    await this.program.stop();
  }
}
