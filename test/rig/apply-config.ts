/** Gives a real HAProxy container a configuration, as the program does. */
import { execFile } from 'node:child_process';

/** Resolves with what apply-config says. @throws Error with HAProxy's message when it refuses the configuration */
export function applyConfig(container: string, config: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile('docker', ['exec', '-i', container, 'apply-config'], (error, stdout, stderr) =>
      error === null ? resolve(stdout.trim()) : reject(new Error(stderr)),
    );
    child.stdin?.end(config);
  });
}
