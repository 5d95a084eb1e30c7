/**
 * The templates that the keeper renders. The shipped bundle contains them (bundled.ts); tests and tools read them from
 * the repository.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

type TemplateName = 'postgresql.conf' | 'pg_hba.conf' | 'failover.conf' | 'own-objects.sql' | 'users.sql';

let bundled: Record<TemplateName, string> | null = null;

/** Sets the templates' texts from the bundle. */
export function useTemplates(texts: Record<TemplateName, string>): void {
  bundled = texts;
}

/** Returns the text of a template. */
export function template(name: TemplateName): string {
  return bundled?.[name] ?? readFileSync(join(__dirname, '../../../templates', name), 'utf8');
}
