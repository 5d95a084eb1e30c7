/** Looks at the user's own certificate and key before anything is created. */
import { readFileSync, type Stats, statSync } from 'node:fs';
import { pairProblem } from '../failover/contract/certificate-check';
import { IDS } from '../failover/contract/layout';
import type { OwnFile } from './tls';
import type { Topology } from './topology';

/**
 * Why the monitor could not use the files that the config names. It reads them as a user of its own, so a key that only
 * root may read is of no use. Files that this process may not look at are left to the monitor, which names its reason.
 */
export function certificateProblems({ tls: { own } }: Topology): string[] {
  if (own === undefined) return [];
  const { certificate, key } = own;
  const problems = [certificate, key].flatMap(fileProblems);
  if (problems.length > 0) return problems;
  const [pem, keyPem] = [textOf(certificate.file), textOf(key.file)];
  const problem = pem === null || keyPem === null ? null : pairProblem(pem, keyPem);
  return problem === null ? [] : [`${certificate.key}: ${certificate.file} with ${key.file} is refused; ${problem}`];
}

function fileProblems({ key, source, file }: OwnFile): string[] {
  // The engine cannot mount a folder that is not there.
  if (statOf(source) === null) return [`${key}: the folder ${source} is not there, or this user may not look at it`];
  const stats = statOf(file);
  if (stats === null) return [`${key}: the file ${file} is not there, or this user may not look at it`];
  if (!stats.isFile()) return [`${key}: ${file} is not a file`];
  if (mayBeRead(stats)) return [];
  const mode = (stats.mode & 0o777).toString(8).padStart(4, '0');
  const next = `install -m 0400 -o ${IDS.monitor} makes a copy that it can read`;
  return [
    `${key}: ${file} has mode ${mode} and owner ${stats.uid}; the monitor runs as user ${IDS.monitor} and cannot read it; ${next}`,
  ];
}

/** An access list shows as the rights of the group (acl manual, "CORRESPONDENCE BETWEEN ACL ENTRIES"). */
function mayBeRead({ mode, uid }: Stats): boolean {
  return (mode & 0o044) !== 0 || (uid === IDS.monitor && (mode & 0o400) !== 0);
}

function statOf(path: string): Stats | null {
  try {
    return statSync(path);
  } catch {
    return null;
  }
}

function textOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
