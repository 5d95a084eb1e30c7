/** The options of `restore` that work on the stack itself. */
import type { Command } from 'commander';
import type { Changing } from './commands';
import { EXIT, type ExitCode, Failed } from './exit';
import type { Io } from './io';
import { targetOf } from './restore-target';

export interface InPlaceOptions extends Changing {
  to?: string;
  inPlace?: boolean;
  confirm?: boolean;
  undo?: boolean;
}

/** Adds the options to a command. */
export function inPlaceOptions(restore: Command): Command {
  return restore
    .option('--in-place', 'replaces the data of the stack itself; the data of now are kept until --confirm or --undo')
    .option('--confirm', 'removes the data from before the last restore in place')
    .option('--undo', 'brings the data from before the last restore in place back');
}

/** Carries the command out if one of these options is given; null: none is. */
export async function runInPlace(io: Io, options: InPlaceOptions): Promise<ExitCode | null> {
  const chosen = [options.inPlace, options.confirm, options.undo].filter((one) => one === true);
  if (chosen.length === 0) return null;
  if (chosen.length > 1) throw new Failed(EXIT.usage, 'Give one of --in-place, --confirm and --undo.');
  const { restoreConfirm, restoreInPlace, restoreUndo } = await import('./restore-in-place.js');
  if (options.inPlace) {
    if (options.to === undefined) throw new Failed(EXIT.usage, 'Say what to restore: --to TIME, latest or a backup.');
    return restoreInPlace(io, targetOf(options.to), options);
  }
  if (options.to !== undefined) throw new Failed(EXIT.usage, '--to goes with --in-place only.');
  return options.confirm ? restoreConfirm(io, options) : restoreUndo(io, options);
}
