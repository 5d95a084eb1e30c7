/** Names for resources that the program does not name, made as the vendor's bridge makes them. */
import { createHash } from 'node:crypto';
import { CheckRequest } from '@pulumi/pulumi/proto/provider_pb';
import { fromStruct, type Props, revealProps } from './values';

const SUFFIX_LENGTH = 7;

/**
 * `__defaults` is the bridge's own note of what the program did not say. Without one it would take every input of ours for
 * a default of its own, and keep it when the program takes it out.
 * @returns the inputs with a `name`: the program's, the one it has had so far, or the resource's name and a suffix
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

/** Whether the name is the program's own, so that two objects of it cannot exist at once. */
export function hasOwnName(inputs: Props): boolean {
  return !(Array.isArray(inputs.__defaults) && inputs.__defaults.includes('name'));
}
