import { cpus, totalmem } from 'node:os';

/** The machine in words, for pages of results: its cores and its memory. */
export function machineSize(): string {
  return `${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`;
}
