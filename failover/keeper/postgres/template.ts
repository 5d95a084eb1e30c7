/**
 * The templates that the keeper renders. The shipped bundle contains them (bundled.ts); tests and tools read them from
 * the repository.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

type Templates = Readonly<Record<string, string>>;

let bundled: Templates = {};

/** Sets the templates' texts from the bundle. */
export function useTemplates(texts: Templates): void {
  bundled = texts;
}

/** Returns the text of a template. */
export function template(name: string): string {
  return bundled[name] ?? readFileSync(join(__dirname, '../../../templates', name), 'utf8');
}
