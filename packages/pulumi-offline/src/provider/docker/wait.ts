/** Waits until a container is healthy, and reads its output when it does not become healthy. */
import type { Container } from 'dockerode';
import { pause, within } from '../operations';
import type { Operation } from '../resource-kind';
import { ask } from './daemon';

const LOOK_EVERY_MS = 200;
const LOG_LINES = 15;
const LOG_LIMIT_MS = 5_000;

/** @throws when it has no healthcheck, exits for good, or is not healthy in time */
export async function waitUntilHealthy(
  made: Container,
  name: string,
  limitMs: number,
  operation: Operation,
): Promise<void> {
  const deadlineMs = Date.now() + limitMs;
  let shown = '';
  for (;;) {
    const { State: state, HostConfig: host } = await within(operation.signal, ask(`look at ${name}`, made.inspect()));
    const health = state.Health;
    const restarts = (host.RestartPolicy?.Name || 'no') !== 'no';
    if (!state.Running && !state.Restarting && !restarts) {
      throw new Error(`the container ${name} exited with code ${state.ExitCode} before it was healthy`);
    }
    // A container that has no healthcheck is never healthy.
    if (!health) throw new Error(`the container ${name} has wait set, but neither it nor its image has a healthcheck`);
    if (health.Status === 'healthy') return;
    const output = health.Log?.at(-1)?.Output.trim() ?? '';
    const line = `waiting for ${name} to become healthy: ${output || health.Status}`;
    if (line !== shown) operation.progress(line);
    shown = line;
    if (Date.now() > deadlineMs) {
      const last = output ? `; its healthcheck says: ${output}` : '';
      throw new Error(`the container ${name} was not healthy within ${limitMs / 1000} s${last}`);
    }
    await pause(LOOK_EVERY_MS, operation.signal);
  }
}

/** @returns the last lines that the container wrote */
export async function lastLogLines(made: Container): Promise<string> {
  const frames = await within(
    AbortSignal.timeout(LOG_LIMIT_MS),
    made.logs({ stdout: true, stderr: true, follow: false, tail: LOG_LINES }),
  );
  return withoutFrames(frames).trim();
}

/** Without a terminal, the daemon puts eight bytes before each piece: the stream and the piece's length. */
function withoutFrames(frames: Buffer): string {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 8 <= frames.length; ) {
    const isFrame = (frames[at] ?? 9) <= 2 && frames.readUIntBE(at + 1, 3) === 0;
    if (!isFrame) return frames.toString('utf8');
    const length = frames.readUInt32BE(at + 4);
    pieces.push(frames.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return Buffer.concat(pieces).toString('utf8');
}
