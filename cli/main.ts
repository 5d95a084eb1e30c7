/** `npm run failover -- <command>`, also as `pgfailover <command>`: shows and controls a running stack. */

import { runCommand } from '../scripts/lib/command';
import { DEFAULT_STACK } from '../scripts/lib/stack';
import { hostCommands } from './host';
import { terminalIo } from './io';
import { runCli } from './program';
import { targetOf } from './target';

const io = terminalIo({ stack: DEFAULT_STACK, target: (stack = DEFAULT_STACK) => targetOf(stack) });
void runCommand((args) => runCli(args, io, hostCommands));
