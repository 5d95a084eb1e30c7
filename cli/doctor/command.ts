/** `doctor`: checks the whole chain and says what is wrong and what to do. */
import { oneLine } from '../../failover/contract/log-line';
import { type Common, tellNotices } from '../commands';
import { EXIT, type ExitCode } from '../exit';
import type { Io } from '../io';
import type { Target } from '../target';
import type { Facts } from './facts';
import { judge } from './judge';
import { look } from './look';
import type { Finding } from './row';

/** @param see gathers the facts; tests pass their own function. */
export async function doctor(
  io: Io,
  options: Common & { json?: boolean; updates?: boolean },
  see: (target: Target, options: { updates?: boolean }) => Promise<Facts> = look,
): Promise<ExitCode> {
  const target = io.target(options.stack);
  const facts = await see(target, options);
  const findings = judge(facts).map(readable);
  const { cluster } = facts.monitor;
  if (cluster !== null) tellNotices(io, cluster);
  const unknown = facts.updates?.find(({ answer }) => answer.kind === 'unknown')?.answer;
  // No finding: a machine without a network is none the worse for it.
  if (unknown?.kind === 'unknown')
    io.err(`Whether there are updates is not known: Debian's archive does not answer (${oneLine(unknown.reason)}).`);
  if (options.json) io.out(JSON.stringify({ stack: target.stack, findings }, null, 2));
  else tell(io, target.stack, findings, cluster?.ifLeaderDied.sentence ?? null);
  return exitCode(findings);
}

/** The exit code of the worst finding. */
export function exitCode(findings: readonly Finding[]): ExitCode {
  if (findings.length === 0) return EXIT.ok;
  return findings.some(({ severity }) => severity === 'error') ? EXIT.failed : EXIT.attention;
}

/** The finding contains texts of the engine, PostgreSQL and HAProxy, which must not control the terminal. */
function readable(finding: Finding): Finding {
  const { about, sentence, next } = finding;
  return { ...finding, about: oneLine(about), sentence: oneLine(sentence), next: oneLine(next) };
}

function tell(io: Io, stack: string, findings: readonly Finding[], ifLeaderDied: string | null): void {
  if (findings.length === 0) io.out(io.paint('green', `Nothing is wrong with stack ${stack}.`));
  for (const { code, severity, sentence, next } of findings) {
    io.out(
      `${io.paint(severity === 'error' ? 'red' : 'yellow', severity === 'error' ? '✗' : '!')} ${sentence}  [${code}]`,
    );
    io.out(`  → ${next}`);
  }
  if (ifLeaderDied === null) return;
  // The monitor does not know which sessions lowered `synchronous_commit` and so gave up the promise.
  const lowered = findings.some(({ code }) => code === 'SYNC_COMMIT_LOWERED');
  const except = lowered ? ', except for what SYNC_COMMIT_LOWERED names' : '';
  io.out(`If the leader died now: ${ifLeaderDied}${except}`);
}
