/** Options of the programs that test or measure real stacks. */
import { parseArgs } from 'node:util';

type Defaults = Readonly<Record<string, string | false | null>>;
type Options<T extends Defaults> = {
  [K in keyof T]: T[K] extends false ? boolean : T[K] extends null ? string | null : string;
};

/**
 * Reads the program's options: `false` stands for a switch, a text for an option with this default, null for an option
 * that may be left out. @throws Error that names an unknown option.
 */
export function readOptions<T extends Defaults>(defaults: T): Options<T> {
  const option = (value: string | false | null) =>
    value === false ? ({ type: 'boolean' } as const) : ({ type: 'string' } as const);
  const options = Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, option(value)]));
  return { ...defaults, ...parseArgs({ options }).values } as Options<T>;
}
