/** `random.RandomBytes` */
import { randomBytes as bytes } from 'node:crypto';
import type { ResourceKind } from '../resource-kind';
import { number } from '../values';

export const randomBytes: ResourceKind = {
  type: 'random:index/randomBytes:RandomBytes',
  rules: { length: { replace: true }, keepers: { replace: true, exact: true } },
  deleteBeforeReplace: () => false,
  secretOutputs: ['base64', 'hex'],
  check: async (inputs) => {
    const length = inputs.length;
    if (typeof length === 'number' && length < 1) throw new Error(`length must be at least 1, not ${length}`);
    return inputs;
  },
  create: async (inputs) => {
    const value = bytes(number(inputs, 'length') ?? 0);
    const base64 = value.toString('base64');
    return { id: base64, outputs: { ...inputs, base64, hex: value.toString('hex') } };
  },
  read: async (_id, outputs) => outputs,
  remove: async () => undefined,
};
