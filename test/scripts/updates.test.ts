import { describe, expect, it } from 'vitest';
import { inWords, upgradesIn } from '../../scripts/lib/updates';

/** `apt-get --simulate --with-new-pkgs upgrade` of Debian 13: two upgrades, and a package that comes with one. */
const SIMULATED = `Reading package lists...
Calculating upgrade...
The following NEW packages will be installed:
  libnew1
Inst libssl3t64 [3.5.1-1] (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
Inst libnew1 (1.0-1 Debian:13.1/stable [amd64])
Inst postgresql-17 [17.5-1] (17.6-0+deb13u1 Debian:13.1/stable [amd64]) []
Conf libssl3t64 (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
`;

describe('the updates of an image', () => {
  it('are what apt would upgrade', () => {
    expect(upgradesIn(SIMULATED)).toEqual([
      { package: 'libssl3t64', has: '3.5.1-1', newest: '3.5.1-1+deb13u1' },
      { package: 'postgresql-17', has: '17.5-1', newest: '17.6-0+deb13u1' },
    ]);
    expect(upgradesIn('Reading package lists...\n0 upgraded, 0 newly installed.\n')).toEqual([]);
  });

  it('are told with PostgreSQL first, and the rest of many as a number', () => {
    const other = (name: string) => ({ package: name, has: '1', newest: '2' });
    expect(inWords(upgradesIn(SIMULATED))).toBe(
      'postgresql-17 17.5-1 → 17.6-0+deb13u1, libssl3t64 3.5.1-1 → 3.5.1-1+deb13u1',
    );
    expect(inWords(['a', 'b', 'c', 'd', 'e', 'f'].map(other))).toMatch(/^a 1 → 2, .*d 1 → 2 and 2 more$/);
  });
});
