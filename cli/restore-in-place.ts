/** `restore --in-place`, `--confirm` and `--undo`: what they ask the monitor, and what they print. */
import type { Answer, ClusterStatus, Command } from '../failover/contract/api';
import type { RestoreTarget } from '../failover/contract/backups';
import type { Client } from './client';
import { type Changing, clientOf, confirmed, tellNotices } from './commands';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import { Patience } from './patience';

/** Interval between two questions for the restore's progress, ms. */
const ASK_MS = 1_000;

type Restore = NonNullable<ClusterStatus['restore']>;

/** Restores the data of the stack itself to a moment, and waits for the end. */
export function restoreInPlace(io: Io, to: RestoreTarget, options: Changing): Promise<ExitCode> {
  return begin(io, 'restore', { to }, options);
}

/** Brings the data from before the last restore back, and waits for the end. */
export function restoreUndo(io: Io, options: Changing): Promise<ExitCode> {
  return begin(io, 'restore-undo', {}, options);
}

/** Removes the data from before the last restore. */
export async function restoreConfirm(io: Io, options: Changing): Promise<ExitCode> {
  const asked = await ask(io, 'restore-confirm', {}, options);
  if (asked === null) return EXIT.ok;
  tell(io, options, asked.answer.done, asked.answer.message);
  return asked.answer.done ? EXIT.ok : EXIT.failed;
}

async function begin(io: Io, name: Command, body: Record<string, unknown>, options: Changing): Promise<ExitCode> {
  const asked = await ask(io, name, body, options);
  if (asked === null) return EXIT.ok;
  const { answer, client } = asked;
  if (!answer.done) {
    tell(io, options, false, answer.message);
    return EXIT.failed;
  }
  io.err(`${answer.message}. Ctrl-C ends only this display.`);
  const last = await follow(io, client);
  if (last === null) return EXIT.failed;
  tell(io, options, last.done, last.message);
  return last.done ? EXIT.ok : EXIT.failed;
}

/** Shows what would happen, asks for confirmation, and begins it. Null: only the plan was wanted. */
async function ask(
  io: Io,
  name: Command,
  body: Record<string, unknown>,
  options: Changing,
): Promise<{ answer: Answer; client: Client } | null> {
  const client = clientOf(io.target(options.stack));
  tellNotices(io, await client.cluster());
  if (options.dryRun || !options.yes) {
    const plan = await client.command(name, body, { dryRun: true });
    if (!plan.done) throw new Failed(EXIT.failed, `refused: ${plan.message}`);
    if (options.dryRun) {
      tell(io, options, true, plan.message);
      return null;
    }
    io.err(plan.message);
    await confirmed(io);
  }
  return { answer: await client.command(name, body, { dryRun: false }), client };
}

/** Waits for the end of the restore that is under way. Null: the person does not wait for it. */
async function follow(io: Io, client: Client): Promise<Restore['last']> {
  const patience = new Patience();
  let shown = '';
  while (!io.stopped.aborted) {
    const cluster = await patience.answerTo(client.cluster());
    if (cluster !== null) {
      const last = cluster.restore?.last ?? null;
      if (last !== null) return last;
      if (cluster.sentence !== shown) io.err(cluster.sentence);
      shown = cluster.sentence;
    }
    await io.sleep(ASK_MS);
  }
  return null;
}

function tell(io: Io, { json }: Changing, done: boolean, message: string): void {
  if (json) io.out(JSON.stringify({ done, message }, null, 2));
  else if (done) io.out(message);
  else io.err(io.paint('red', message));
}
