/** Installing Debian packages, where this is Debian or Ubuntu and the person is root. */
import { readFileSync } from 'node:fs';
import { run, runOk } from './exec';

const UPDATE_MS = 180_000;
const INSTALL_MS = 600_000;

/** True on Debian, Ubuntu and systems that name them in `/etc/os-release`. */
export function isDebianLike(osRelease: string): boolean {
  const ids = [...osRelease.matchAll(/^ID(?:_LIKE)?="?([^"\n]*)"?$/gm)].flatMap((match) => (match[1] ?? '').split(' '));
  return ids.includes('debian') || ids.includes('ubuntu');
}

/** True when packages can be installed here without asking the person. */
export function canInstall(): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    return isDebianLike(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return false;
  }
}

/**
 * Installs packages from the system's own sources. With `optional`, packages that the system does not know are skipped.
 * @throws CommandError with apt's last lines.
 */
export async function install(
  packages: readonly string[],
  options: { optional?: readonly string[]; progress: (line: string) => void; signal: AbortSignal },
): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const common = { env, onLine: options.progress, signal: options.signal };
  // Another apt may hold the lock (unattended upgrades on a fresh machine): wait for it, within the deadline.
  const apt = ['-o', 'DPkg::Lock::Timeout=120', '-q'];
  // A source that does not answer, for example a third party's, may not matter. The installation will show it.
  await run('apt-get', [...apt, 'update'], { ...common, deadlineMs: UPDATE_MS });
  const known: string[] = [];
  for (const name of options.optional ?? []) {
    const shown = await run('apt-cache', ['policy', name], { deadlineMs: 20_000 });
    if (/Candidate: (?!\(none\))/.test(shown.stdout)) known.push(name);
  }
  const args = [...apt, 'install', '-y', '--no-install-recommends', ...packages, ...known];
  await runOk('apt-get', args, { ...common, deadlineMs: INSTALL_MS });
}
