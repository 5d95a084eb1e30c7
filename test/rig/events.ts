/** Events of a stack: lines of the monitor's log, and what Docker's engine does with the containers. */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Program } from './program';
import { waitFor } from './wait';

const LOG_POLL_MS = 2;

/** The monitor's log since a moment. */
export class MonitorLog {
  private from = 0;

  constructor(private readonly path: string) {
    this.begin();
  }

  /** Makes now that moment: earlier lines are left out. */
  begin(): void {
    this.from = existsSync(this.path) ? statSync(this.path).size : 0;
  }

  /** The log since that moment. */
  text(): string {
    if (!existsSync(this.path)) return '';
    const file = openSync(this.path, 'r');
    try {
      const { size } = fstatSync(file);
      // A file that became smaller was rotated, so it is read from its beginning.
      const from = size < this.from ? 0 : this.from;
      const buffer = Buffer.alloc(size - from);
      readSync(file, buffer, 0, buffer.length, from);
      return buffer.toString();
    } finally {
      closeSync(file);
    }
  }

  /** Waits for a line that is logged after this call. */
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

/** `docker events` prints an event at most this long after it happened, ms. */
const LATE_MS = 500;
const KINDS = ['kill', 'die', 'create', 'start', 'destroy'];

/** Collects the engine's events while they happen: the engine keeps only the last 256. */
export class DockerEvents {
  readonly all: DockerEvent[] = [];
  private readonly program: Program;

  /** @param label `key=value`; only events of containers with this label are collected */
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
