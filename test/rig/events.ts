/** What the engine does with the stack's containers, as it happens: the engine itself remembers only its last 256 events. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

export interface DockerEvent {
  atMs: number;
  name: string;
  what: string;
}

/** The engine's word for it comes this much later at most, ms. */
const LATE_MS = 500;
const KINDS = ['kill', 'die', 'create', 'start', 'destroy'];

export class Events {
  readonly all: DockerEvent[] = [];
  private readonly child;

  /** Of all containers with this label, `key=value`. */
  constructor(label: string) {
    const filters = [`label=${label}`, 'type=container', ...KINDS.map((kind) => `event=${kind}`)];
    const format = '{{.TimeNano}} {{index .Actor.Attributes "name"}} {{.Action}}';
    const args = ['events', ...filters.flatMap((filter) => ['--filter', filter]), '--format', format];
    this.child = spawn('docker', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      const [nanos, name = '', what = ''] = line.split(' ');
      this.all.push({ atMs: Number(nanos) / 1e6, name, what });
    });
  }

  async stop(): Promise<void> {
    await sleep(LATE_MS);
    this.child.kill('SIGTERM');
  }
}
