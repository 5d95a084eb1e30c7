/** `random.RandomPassword` */
import { randomBytes, randomInt } from 'node:crypto';
import { encodeBase64, hashSync } from 'bcryptjs';
import type { ResourceKind } from '../resource-kind';
import type { Rules } from '../rules';
import { flag, hasUnknown, number, type Props, text } from '../values';

const LOWER = 'abcdefghijklmnopqrstuvwxyz';
const UPPER = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const DIGITS = '0123456789';
/** The vendor's cost, which is Go's default. */
const BCRYPT_COST = 10;
const SPECIAL = '!@#$%&*()-_=+[]{}<>:?';

const rules: Rules = {
  length: { replace: true },
  special: { replace: true, default: true },
  upper: { replace: true, default: true },
  lower: { replace: true, default: true },
  // Two names for the same input; `number` is the old one.
  numeric: { replace: true, computed: true },
  number: { replace: true, computed: true },
  minUpper: { replace: true, default: 0 },
  minLower: { replace: true, default: 0 },
  minNumeric: { replace: true, default: 0 },
  minSpecial: { replace: true, default: 0 },
  overrideSpecial: { replace: true },
  keepers: { replace: true, exact: true },
};

export const randomPassword: ResourceKind = {
  type: 'random:index/randomPassword:RandomPassword',
  rules,
  deleteBeforeReplace: () => false,
  secretOutputs: ['result', 'bcryptHash'],
  check: async (inputs) => {
    if (!hasUnknown(inputs)) partsOf(inputs);
    return inputs;
  },
  create: async (inputs) => {
    const numeric = wantsDigits(inputs);
    const defaults = Object.fromEntries(
      Object.entries(rules).flatMap(([key, rule]) => ('default' in rule ? [[key, rule.default ?? null]] : [])),
    );
    const result = generate(inputs);
    const secrets = { result, bcryptHash: bcryptHash(result, randomBytes(16), BCRYPT_COST) };
    return { id: 'none', outputs: { ...defaults, numeric, number: numeric, ...inputs, ...secrets } };
  },
  read: async (_id, outputs) => outputs,
  remove: async () => undefined,
};

/**
 * The hash that is returned beside the password. It begins with `$2a$`, as the vendor's does.
 * @param salt 16 bytes
 * @param cost the logarithm of the number of rounds
 */
export function bcryptHash(password: string, salt: Buffer, cost: number): string {
  return hashSync(password, `$2a$${String(cost).padStart(2, '0')}$${encodeBase64(salt, salt.length)}`);
}

interface Parts {
  length: number;
  /** Kinds of characters, each with its smallest required number. */
  kinds: { characters: string; min: number }[];
}

function wantsDigits(inputs: Props): boolean {
  return flag(inputs, 'numeric') ?? flag(inputs, 'number') ?? true;
}

/** @throws when no such password can exist */
function partsOf(inputs: Props): Parts {
  const length = number(inputs, 'length') ?? 0;
  const kind = (wanted: boolean, characters: string, min: string) => ({
    characters: wanted ? characters : '',
    min: wanted ? (number(inputs, min) ?? 0) : 0,
  });
  const kinds = [
    kind(flag(inputs, 'lower') ?? true, LOWER, 'minLower'),
    kind(flag(inputs, 'upper') ?? true, UPPER, 'minUpper'),
    kind(wantsDigits(inputs), DIGITS, 'minNumeric'),
    kind(flag(inputs, 'special') ?? true, text(inputs, 'overrideSpecial') ?? SPECIAL, 'minSpecial'),
  ];
  const least = Math.max(
    1,
    kinds.reduce((sum, { min }) => sum + min, 0),
  );
  if (length < least) throw new Error(`length must be at least ${least}, not ${length}`);
  if (kinds.every(({ characters }) => characters === '')) {
    throw new Error('one of lower, upper, numeric and special must be true');
  }
  return { length, kinds };
}

function generate(inputs: Props): string {
  const { length, kinds } = partsOf(inputs);
  const all = kinds.map(({ characters }) => characters).join('');
  const pick = (characters: string) => characters.charAt(randomInt(characters.length));
  const picked = kinds.flatMap(({ characters, min }) => Array.from({ length: min }, () => pick(characters)));
  while (picked.length < length) picked.push(pick(all));
  // A Fisher-Yates shuffle, so that the required characters may be at any position.
  for (let i = picked.length - 1; i > 0; i--) {
    const j = randomInt(i + 1);
    [picked[i], picked[j]] = [picked[j] ?? '', picked[i] ?? ''];
  }
  return picked.join('');
}
