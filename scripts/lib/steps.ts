/**
 * Runs named steps in parallel if their needs allow it, and shows one line per step. On a terminal, running steps show
 * their newest line of output. Without a terminal (CI), a long step reports now and then that it still runs.
 */
import { isLive, paint, seconds } from './terminal';

/** Interval at which a running step is named when lines cannot be redrawn, ms. */
const STILL_EVERY_MS = 30_000;
const REDRAW_EVERY_MS = 200;

/**
 * Result of a step. `done`: it did something; `skipped`: everything was in place. `detail` is shown beside the name.
 */
export interface StepResult {
  outcome: 'done' | 'skipped';
  detail?: string;
}

export interface StepContext {
  /** Newest line of output, shown beside the step while it runs. */
  progress: (line: string) => void;
  /** Aborted when another step failed, so the rest of this step is not needed. */
  signal: AbortSignal;
}

export interface Step {
  name: string;
  /** Names of the steps that must have succeeded before. */
  needs?: readonly string[];
  run: (context: StepContext) => Promise<StepResult>;
}

export interface StepReport extends StepResult {
  name: string;
  ms: number;
}

/** Shows the steps; replaced in tests. */
export interface StepView {
  started: (name: string) => void;
  progress: (name: string, line: string) => void;
  finished: (report: StepReport) => void;
  failed: (name: string, ms: number, error: Error) => void;
  close: () => void;
}

/** The error of a failed step. Its message was shown already. */
export class StepFailed extends Error {
  constructor(
    readonly step: string,
    cause: unknown,
  ) {
    super(`${step} failed`, { cause });
    this.name = 'StepFailed';
  }
}

/**
 * Runs the steps. When one fails, no further step starts and the running ones are asked to stop. The failure is thrown
 * after they have stopped.
 * @throws StepFailed for the first step that failed; Error when a need is unknown or circular.
 */
export async function runSteps(steps: readonly Step[], view: StepView = stepView()): Promise<StepReport[]> {
  checkNeeds(steps);
  const abort = new AbortController();
  const reports: StepReport[] = [];
  let failure: StepFailed | null = null;
  const done = new Set<string>();
  const started = new Map<string, Promise<void>>();

  const runOne = async (step: Step): Promise<void> => {
    const begin = performance.now();
    view.started(step.name);
    try {
      const progress = (line: string) => view.progress(step.name, line);
      const result = await step.run({ progress, signal: abort.signal });
      const report = { name: step.name, ms: performance.now() - begin, ...result };
      reports.push(report);
      done.add(step.name);
      view.finished(report);
      startReady();
    } catch (error) {
      if (failure) return; // Stopped because another step failed. The other step's message counts.
      failure = new StepFailed(step.name, error);
      view.failed(step.name, performance.now() - begin, error instanceof Error ? error : new Error(String(error)));
      abort.abort();
    }
  };
  const startReady = (): void => {
    if (failure) return;
    for (const step of steps)
      if (!started.has(step.name) && (step.needs ?? []).every((need) => done.has(need)))
        started.set(step.name, runOne(step));
  };

  startReady();
  // Steps start further steps, so the map grows while it is awaited.
  for (let waited = 0; waited < started.size; ) {
    waited = started.size;
    await Promise.all(started.values());
  }
  view.close();
  if (failure) throw failure;
  return reports;
}

function checkNeeds(steps: readonly Step[]): void {
  const before = new Set<string>();
  for (const step of steps) {
    const missing = (step.needs ?? []).filter((need) => !before.has(need));
    if (missing.length > 0)
      throw new Error(`step "${step.name}" needs "${missing.join('", "')}", which does not come earlier`);
    before.add(step.name);
  }
}

/** The view for this terminal. `quiet` hides steps that had nothing to do. */
export function stepView(options: { quiet?: boolean; stream?: NodeJS.WriteStream } = {}): StepView {
  const stream = options.stream ?? process.stdout;
  const live = isLive(stream);
  const running = new Map<string, { begin: number; line: string; saidMs: number }>();
  let drawn = 0;
  const erase = () => {
    if (drawn > 0) stream.write(`\x1b[${drawn}A\x1b[0J`);
    drawn = 0;
  };
  const draw = () => {
    for (const [name, { begin, line }] of running) {
      const text = `  … ${label(name, performance.now() - begin)} ${line}`;
      stream.write(`${paint('dim', text.slice(0, stream.columns - 1))}\n`);
      drawn++;
    }
  };
  const still = () => {
    for (const [name, step] of running) {
      const nowMs = performance.now();
      if (nowMs - step.saidMs < STILL_EVERY_MS) continue;
      step.saidMs = nowMs;
      stream.write(`${`  … ${label(name, nowMs - step.begin)} ${step.line}`.trimEnd()}\n`);
    }
  };
  const redraw = () => {
    erase();
    draw();
  };
  const timer = setInterval(live ? redraw : still, REDRAW_EVERY_MS);
  const print = (text: string) => {
    erase();
    stream.write(`${text}\n`);
    if (live) draw();
  };
  return {
    started: (name) => running.set(name, { begin: performance.now(), line: '', saidMs: performance.now() }),
    progress: (name, line) => {
      const step = running.get(name);
      if (step) step.line = line;
    },
    finished: ({ name, ms, outcome, detail }) => {
      running.delete(name);
      if (outcome === 'done' || !options.quiet)
        print(`  ${paint('green', '✓')} ${label(name, ms)}${detail ? `: ${detail}` : ''}`);
    },
    failed: (name, ms, error) => {
      running.delete(name);
      print(`  ${paint('red', '✗')} ${label(name, ms)}\n${error.message.replace(/^/gm, '    ')}`);
    },
    close: () => {
      clearInterval(timer);
      erase();
    },
  };
}

function label(name: string, ms: number): string {
  return `${name} (${seconds(ms)})`;
}
