/** Plays seeds for `npm run sim` in a process of its own. It gets one message per seed and sends one answer. */
import '../failover/keeper/postgres/bundled';
import { simulate } from './run';

export interface WorkerTask {
  seed: number;
  replicas?: number;
  faults?: readonly string[];
  /** The story is wanted even without a violation. */
  verbose: boolean;
}

export interface WorkerResult {
  seed: number;
  acknowledged: number;
  violations: string[];
  /** Empty when there was no violation and the story was not requested. */
  story: string[];
}

process.on('message', (task: WorkerTask) => {
  simulate({ seed: task.seed, replicas: task.replicas, faults: task.faults })
    .then(({ seed, acknowledged, violations, story }) => {
      const wanted = task.verbose || violations.length > 0 ? story : [];
      process.send?.({ seed, acknowledged, violations, story: wanted } satisfies WorkerResult);
    })
    .catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    });
});
process.on('disconnect', () => process.exit(0));
