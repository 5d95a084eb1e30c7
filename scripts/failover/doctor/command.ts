import type { Common } from '../commands';
import { EXIT, type ExitCode } from '../exit';
import type { Io } from '../io';

export async function doctor(_io: Io, _options: Common & { json?: boolean }): Promise<ExitCode> {
  return EXIT.ok;
}
