/** Names for resources that the program does not name, in the format of the vendor's bridge. */
import { createHash } from 'node:crypto';
import { CheckRequest } from '@pulumi/pulumi/proto/provider_pb';
import { fromStruct, type Props, revealProps } from './values';

const SUFFIX_LENGTH = 7;

/**
 * In `__defaults` the bridge notes the inputs that the program did not give. Without such a note, the bridge would take
 * all of our inputs for its own defaults, and keep them when the program removes them.
 * @returns the inputs with a `name`: the program's, the present one, or the resource's name and a suffix
 */
export function autoName(inputs: Props, request: CheckRequest): Props {
  if (inputs.name !== undefined && inputs.name !== null) return { ...inputs, __defaults: [] };
  const { mode, proposedName } = request.getAutonaming()?.toObject() ?? {};
  const { DISABLE, ENFORCE } = CheckRequest.AutonamingOptions.Mode;
  if (mode === DISABLE) throw new Error('a name is needed, because automatic naming is switched off');
  const before = revealProps(fromStruct(request.getOlds())).name;
  const seed = createHash('sha256').update(request.getRandomseed_asU8()).digest('hex').slice(0, SUFFIX_LENGTH);
  const proposed = proposedName || `${request.getName()}-${seed}`;
  return { ...inputs, name: mode === ENFORCE ? proposed : (before ?? proposed), __defaults: ['name'] };
}

/** Whether the program gave the name. Two objects with such a name cannot exist at once. */
export function hasOwnName(inputs: Props): boolean {
  return !(Array.isArray(inputs.__defaults) && inputs.__defaults.includes('name'));
}
