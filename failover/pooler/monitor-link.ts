/** The pooler's connection to the monitor. */
import { type FromPooler, POOLER_NAME, POOLER_PROTOCOL, type PoolerConfig, ToPooler } from '../contract/pooler';
import { Caller } from '../link/caller';

export class MonitorLink extends Caller<ToPooler, FromPooler> {
  constructor(config: Pick<PoolerConfig, 'monitor' | 'key'>) {
    const speech = { role: 'pooler', name: POOLER_NAME, version: POOLER_PROTOCOL } as const;
    super(config, { ...speech, frames: ToPooler, more: { takesCertificate: true } });
  }
}
