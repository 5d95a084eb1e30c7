/** Every fault of the matrix, in the order in which they are run. */
import type { Fault } from '../lib/trial';
import { MONITOR_FAULTS } from './monitor';
import { NODE_FAULTS } from './nodes';
import { RESTART_FAULTS } from './restarts';

export const FAULTS: readonly Fault[] = [...NODE_FAULTS, ...MONITOR_FAULTS, ...RESTART_FAULTS];
