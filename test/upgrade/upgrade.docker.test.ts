/** Today's program takes over what earlier releases made: previewed against the state that each of them left. */
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { TIMEOUTS } from '../timeouts';
import { type Imported, importState, versions } from './fixture';

const Steps = z.object({ steps: z.array(z.object({ op: z.string(), urn: z.string() })) });
/** What may happen to a thing that holds data or that everything is connected to. */
const HARMLESS = ['same', 'update'];
/** How many of them each release's stack has: two volumes of HAProxy, the monitor's, one a node; two networks. */
const KEPT = { Volume: 6, Network: 2 };
/** What no release had yet: the volumes of the backups and of the tests of restores. */
const NEW: Readonly<Record<string, readonly string[]>> = {
  Volume: ['cluster-postgres-backup', 'cluster-backup-check-scratch'],
};

describe.each(versions())('a stack of release %s', (version) => {
  let stack: Imported | undefined;
  afterAll(() => stack?.remove());

  it(
    'finds every resource again, and keeps every volume and every network',
    async () => {
      stack = await importState(version);
      const { steps } = Steps.parse(JSON.parse(await stack.pulumi('preview', '--json', '--show-sames')));
      for (const [kind, count] of Object.entries(KEPT)) {
        const of = steps.filter(({ urn }) => urn.split('::').at(-2)?.endsWith(`:${kind}`) === true);
        const made = of.filter(({ op }) => op === 'create').map(({ urn }) => urn.split('::').at(-1));
        expect(made.sort()).toEqual([...(NEW[kind] ?? [])].sort());
        const kept = of.filter(({ op }) => op !== 'create');
        expect(kept.filter(({ op }) => !HARMLESS.includes(op))).toEqual([]);
        expect(kept).toHaveLength(count);
      }
      // Each is looked for under its former name, too, so none is taken for gone.
      expect(steps.filter(({ op }) => op === 'delete')).toEqual([]);
      // The generated secrets too: another cluster key would lock the keepers out.
      const secrets = steps.filter(({ urn }) => urn.includes('randomPassword'));
      const made = secrets.filter(({ op }) => op !== 'same');
      // The release had no TLS.
      expect(made.map(({ op, urn }) => `${op} ${urn.split('::').at(-1)}`)).toEqual([
        'create cluster-certificate-authority',
      ]);
      expect(secrets.length).toBeGreaterThan(made.length);
    },
    TIMEOUTS.firstUp,
  );
});
