/** `npm run failover -- <command>`, also as `pgfailover <command>`: shows and controls a running stack. */

import { runCommand } from '../scripts/lib/command';
import { terminalIo } from './io';
import { runCli } from './program';

void runCommand((args) => runCli(args, terminalIo()));
