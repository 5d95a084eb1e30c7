/**
 * `postgresSettings`: names and values as in PostgreSQL's own configuration file. postgres-classes.ts says which
 * settings the failover owns and which it lives with only within limits: those are refused here, with the reason.
 * PostgreSQL itself refuses invalid values in components/settings-check.ts, before anything is changed.
 */
import { z } from 'zod';
import { IDENTIFIER_BYTES_MAX } from '../failover/contract/limits';
import { nearest } from './config-values';
import { CLASSED_NAMES, classOf } from './postgres-classes';

const VALUE_LENGTH_MAX = 1_000;

export const POSTGRES_SETTINGS_ALLOWED = 'an object of PostgreSQL settings, for example {"work_mem": "8MB"}';

/**
 * Reads the object's JSON: the settings by name, sorted. Each problem names the setting, its value and what is allowed.
 */
export const PostgresSettings = z.string().transform((raw, context): Readonly<Record<string, string>> => {
  const refuse = (message: string) => context.addIssue({ code: 'custom', message });
  const entries = entriesOf(raw);
  if (entries === null)
    refuse(`postgresSettings: ${JSON.stringify(raw)} is refused; must be ${POSTGRES_SETTINGS_ALLOWED}`);
  const settings: [string, string][] = [];
  for (const [name, value] of entries ?? []) {
    const text = textOf(value);
    const problem = problemOf(name, text);
    if (problem !== null) refuse(`postgresSettings.${name}: ${JSON.stringify(value)} is refused; ${problem}`);
    else if (text !== null) settings.push([name, text]);
  }
  return Object.fromEntries(settings.sort(([a], [b]) => (a < b ? -1 : 1)));
});

function entriesOf(raw: string): [string, unknown][] | null {
  try {
    const value: unknown = JSON.parse(raw);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : null;
  } catch {
    return null;
  }
}

/** Pulumi keeps `8` as a number and `on` as text; PostgreSQL takes text. */
function textOf(value: unknown): string | null {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' ? value : null;
}

function problemOf(name: string, value: string | null): string | null {
  if (!/^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$/.test(name) || name.length > IDENTIFIER_BYTES_MAX) {
    return 'the name must be that of a PostgreSQL setting, in lower case, for example work_mem';
  }
  const classed = classOf(name);
  if (classed === null) {
    return `PostgreSQL 17 has no such setting; did you mean ${nearest(name, CLASSED_NAMES)}? Those of extensions are written with their prefix, for example auto_explain.log_min_duration`;
  }
  if (classed.class === 'owned') return `it cannot be set, because ${classed.reason}`;
  // Control characters would end a line of the file, or are not allowed in it.
  if (value === null || value.length > VALUE_LENGTH_MAX || /\p{Cc}/u.test(value)) {
    return `must be a text, a number or a boolean of at most ${VALUE_LENGTH_MAX} characters without control characters`;
  }
  if (classed.class === 'free' || classed.limit.accepts(value)) return null;
  return `must be ${classed.limit.allowed}. ${classed.limit.reason}`;
}
