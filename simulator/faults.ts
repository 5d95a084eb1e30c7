/** All faults by their names. */
import { AIMED, APART, FLAPPING, FROZEN } from './aimed-faults';
import { ARCHIVE } from './archive-faults';
import { DEADLINES } from './deadlines';
import { DISK_FAULTS } from './disk-faults';
import { type Faults, Nemesis } from './nemesis';
import { PEOPLE } from './people';
import { RANDOM, STARVATION } from './random-faults';
import { REPEATS } from './repeats';
import { RESTORES } from './restores';
import type { World } from './world';

/** The faults that strike together when none is named. */
const TOGETHER: Faults = { ...RANDOM, ...AIMED, ...DEADLINES, ...DISK_FAULTS, ...PEOPLE, ...REPEATS };
const KNOWN: Faults = { ...TOGETHER, ...STARVATION, ...FROZEN, ...APART, ...FLAPPING, ...ARCHIVE, ...RESTORES };

/**
 * Lets these faults strike; undefined: all that strike together.
 * @throws Error for a name that no fault has
 */
export function nemesisOf(world: World, names?: readonly string[]): Nemesis {
  const chosen = names?.map((name) => {
    const fault = KNOWN[name];
    if (fault !== undefined) return [name, fault] as const;
    throw new Error(`there is no fault ${name}; there are: ${Object.keys(KNOWN).join(', ')}`);
  });
  const areSmall = names?.every((name) => name in STARVATION) === true;
  return new Nemesis(world, chosen === undefined ? TOGETHER : Object.fromEntries(chosen), areSmall);
}
