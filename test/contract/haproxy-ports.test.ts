/**
 * HAProxy's new container starts with the configuration that an earlier release wrote. It listens on the ports that
 * Docker publishes today, so that an upgrade's gap ends with the container's start.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { budgetFor } from '../../failover/contract/budget';
import { PORTS } from '../../failover/contract/layout';
import { renderHaproxyConfig } from '../../stack/haproxy-config';
import { suiteFolder } from '../rig/folder';
import { stateOf, versions } from '../upgrade/fixture';

const ROOT = join(__dirname, '../..');
const TODAY = renderHaproxyConfig({ holdTimeoutMs: 30_000, budget: budgetFor({}), backendHost: 'backend' });
const PUBLISHED = {
  write: [PORTS.haproxyWrite, PORTS.haproxyWritePublished, PORTS.haproxyWriteIpv6],
  read: [PORTS.haproxyRead, PORTS.haproxyReadPublished, PORTS.haproxyReadIpv6],
};
const State = z.object({
  deployment: z.object({ resources: z.array(z.object({ urn: z.string(), inputs: z.looseObject({}).optional() })) }),
});

const folder = suiteFolder();

/** What HAProxy's container makes of the configuration that it finds. */
function started(kept: string): string {
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(file, kept);
  execFileSync('sh', [join(ROOT, 'images/haproxy/add-ports'), file]);
  return readFileSync(file, 'utf8');
}

/** The configuration in a release's state. */
function configOfRelease(version: string): string {
  const { deployment } = State.parse(JSON.parse(readFileSync(stateOf(version), 'utf8')));
  const applied = deployment.resources.find(({ urn }) => urn.endsWith('haproxy-apply-config'));
  return z.string().parse(applied?.inputs?.stdin);
}

/** The ports on which a frontend listens, in ascending order. */
function listens(config: string, frontend: string): number[] {
  const lines = config.split(new RegExp(`^frontend ${frontend}$`, 'm'))[1]?.split(/^\S/m)[0] ?? '';
  return [...lines.matchAll(/^ +bind :(\d+)$/gm)].map(([, port]) => Number(port)).sort((a, b) => a - b);
}

describe('at its start HAProxy listens on the published ports', () => {
  it.each(versions())('with the configuration of release %s', (version) => {
    const kept = configOfRelease(version);
    expect(listens(kept, 'write')).toEqual([PORTS.haproxyWrite]);
    const config = started(kept);
    expect(listens(config, 'write')).toEqual(PUBLISHED.write);
    expect(listens(config, 'read')).toEqual(PUBLISHED.read);
    expect(listens(config, 'stats')).toEqual(listens(kept, 'stats'));
    expect(config.replaceAll(/^ +bind :543[6-9]\n/gm, '')).toBe(kept);
  });

  it('and leaves a configuration alone that has them', () => {
    expect(listens(TODAY, 'write')).toEqual(PUBLISHED.write);
    expect(started(TODAY)).toBe(TODAY);
  });
});
