/**
 * The templates that the keeper renders. In the shipped bundle they are inside (see main.ts); in tests and tools they
 * are read from the repository.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const TEMPLATES = ['postgresql.conf', 'pg_hba.conf', 'users.sql'] as const;
export type Template = (typeof TEMPLATES)[number];

/** Put in by the bundler (esbuild `define`): file name → text. */
declare const BUNDLED_TEMPLATES: Record<Template, string>;

/** Text of a template. */
export function template(name: Template): string {
  if (typeof BUNDLED_TEMPLATES !== 'undefined') return BUNDLED_TEMPLATES[name];
  return readFileSync(join(__dirname, '../../templates', name), 'utf8');
}
