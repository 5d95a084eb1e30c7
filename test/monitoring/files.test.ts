/** Alert rules and dashboard use metrics that exist, and each alert has a section that says what to do. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { Metrics } from '../../failover/monitor/outside/metrics';

const ROOT = join(__dirname, '..', '..');
const text = (...path: string[]) => readFileSync(join(ROOT, ...path), 'utf8');

const Rule = z.looseObject({ alert: z.string(), expr: z.string(), annotations: z.record(z.string(), z.string()) });
const { groups } = z
  .object({ groups: z.array(z.looseObject({ rules: z.array(Rule) })) })
  .parse(parse(text('monitoring', 'alerts.yml')));
const rules = groups.flatMap((group) => group.rules);

it('has a section of the operations page for each alert, to which its runbook leads, and none besides', () => {
  const sections = [...text('docs', 'operations.md').matchAll(/^### (PgFailover\w+)$/gm)].map(([, name]) => name);
  expect(sections).toEqual(rules.map(({ alert }) => alert));
  for (const { alert, annotations } of rules) {
    expect(annotations.runbook).toBe(`docs/operations.md#${alert.toLowerCase()}`);
  }
});

it.each(['alerts.yml', 'alerts.test.yml', 'dashboard.json'])(
  'names in %s only metrics that the monitor has',
  async (file) => {
    const { text: exposed } = await new Metrics('1', { maxLagBytes: 0 }, { nowMs: () => 0 }).text(null);
    const known = new Set([...exposed.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name));
    const used = [...text('monitoring', file).matchAll(/\bpgfailover_\w+/g)].map(([name]) =>
      name.replace(/_(bucket|sum|count)$/, ''),
    );
    expect(used.length).toBeGreaterThan(0);
    expect([...new Set(used)].filter((name) => !known.has(name))).toEqual([]);
  },
);

it.each([['operations.md'], ['failure-modes.md'], ['troubleshooting.vi.md']])(
  'names in %s only alerts that there are',
  (page) => {
    const known = rules.map(({ alert }) => alert);
    const named = [...text('docs', page).matchAll(/\bPgfailover[A-Z]\w*/gi)].map(([name]) => name);
    const links = known.map((alert) => alert.toLowerCase());
    expect(named.filter((name) => !known.includes(name) && !links.includes(name))).toEqual([]);
  },
);
