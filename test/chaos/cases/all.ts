/** Every fault of the matrix, in the order in which they are run. */
import type { Fault } from '../lib/trial';
import { DISK_FAULTS } from './disk';
import { HAND_FAULTS } from './hands';
import { LOAD_FAULTS } from './load';
import { MONITOR_FAULTS } from './monitor';
import { NETWORK_FAULTS } from './network';
import { NODE_FAULTS } from './nodes';
import { RESTART_FAULTS } from './restarts';

export const FAULTS: readonly Fault[] = [
  ...NODE_FAULTS,
  ...MONITOR_FAULTS,
  ...RESTART_FAULTS,
  ...NETWORK_FAULTS,
  ...HAND_FAULTS,
  ...DISK_FAULTS,
  ...LOAD_FAULTS,
];
