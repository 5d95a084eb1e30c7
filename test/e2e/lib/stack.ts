/** The end-to-end test's own stack, beside the dev stack's ports and names, so that neither disturbs the other. */
import { OwnStack } from '../../rig/stack';

export const own = new OwnStack({
  ...{ name: 'e2e', ports: 15_000, subnet: '10.216.43' },
  config: { backendReplicas: '2' },
});
export const STACK = own.seen;
export const container = (name: string): string => own.container(name);
