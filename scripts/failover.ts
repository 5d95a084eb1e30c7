/** `npm run failover -- <command>`, also as `pgfailover <command>`: shows and controls a running stack. */
import { terminalIo } from './failover/io';
import { runCli } from './failover/program';
import { runCommand } from './lib/command';

void runCommand((args) => runCli(args, terminalIo()));
