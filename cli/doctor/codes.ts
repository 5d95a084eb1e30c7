/** Codes of doctor's findings. The table in docs/operations.md lists them with their sentences and next steps. */
import { z } from 'zod';

const STATES = ['MISSING', 'PAUSED', 'CRASHING', 'STOPPED'] as const;
type Stopped<Role extends string> = `${Role}_${(typeof STATES)[number]}`;
/** Codes of a container that does not run. */
const stopped = <Role extends string>(role: Role) => STATES.map((state): Stopped<Role> => `${role}_${state}`);

export const FindingCode = z.enum([
  ...(['NO_DOCKER', 'ENGINE_DENIED', 'ENGINE_SILENT', 'NAME_TAKEN', 'NETWORK_CUT', 'NETWORK_WRONG'] as const),
  ...stopped('HAPROXY'),
  ...stopped('MONITOR'),
  ...stopped('NODE'),
  ...stopped('BACKEND'),
  ...stopped('POOLER'),
  ...stopped('CHECKER'),
  ...stopped('PROMETHEUS'),
  ...stopped('PGADMIN'),
  ...(['PORT_TAKEN', 'PORT_NOT_PUBLISHED', 'HAPROXY_SILENT', 'HAPROXY_UNREACHABLE', 'ROUTE_CLOSED'] as const),
  ...(['ROUTE_WRONG', 'ROUTE_TO_STANDBY', 'CONNECTIONS_EXHAUSTED', 'LOGIN_FAILED', 'READ_ONLY'] as const),
  ...(['ROLE_MISSING', 'ROLE_CLOSED', 'DATABASE_MISSING', 'DATABASE_CLOSED', 'BACKEND_REFUSES'] as const),
  ...(['ROLE_BARRED', 'PASSWORD_BY_SQL'] as const),
  ...(['PASSWORD_UNKNOWN', 'PASSWORD_WRONG', 'PASSFILE_WRONG', 'PASSFILE_OPEN'] as const),
  ...(['MONITOR_SILENT', 'MONITOR_STALE', 'CLOCK', 'PAUSED', 'OBSERVE', 'LOG_MISSING', 'LOG_DISK_FULL'] as const),
  ...(['PROMOTED_BY_HAND', 'SECOND_PRIMARY', 'POSTGRES_DOWN', 'KEEPER_AWAY', 'DISK_FULL', 'DISK_LOW'] as const),
  ...(['SLOT_MISSING', 'SLOT_LOST', 'SLOT_HOLDS_ROWS', 'SLOT_KEEPS_WAL', 'SLOT_LEFT', 'ARCHIVE_LATE'] as const),
  ...(['SLOT_GAP'] as const),
  ...(['TRANSACTION_OLD', 'PREPARED_OLD', 'FREEZE_LATE'] as const),
  ...(['REPLAY_PAUSED', 'SYNC_COMMIT_LOWERED', 'NOT_STREAMING', 'LAG', 'NOT_COUNTED', 'SETTINGS_REFUSED'] as const),
  ...(['PROMOTION_REPEATED', 'NOT_SERVING', 'HAPROXY_RESTARTED', 'UPDATES_WAITING'] as const),
  ...(['CERTIFICATE_MISSING', 'CERTIFICATE_EXPIRED', 'CERTIFICATE_EXPIRES', 'CERTIFICATE_REFUSED'] as const),
  ...(['ARCHIVE_STUCK', 'ARCHIVE_GAP', 'BACKUP_FAILED', 'BACKUP_OLD'] as const),
  ...(['RESTORE_TEST_FAILED', 'RESTORE_TEST_OLD'] as const),
  // Failures that a keeper reports, under the keeper's own codes; NODE_FAILED stands for the others.
  ...(['MUST_COPY', 'REWIND_FAILED', 'STREAM_IMPOSSIBLE', 'WAL_MISSING', 'DISK_TOO_SMALL', 'SETTLE_FAILED'] as const),
  ...(['POSTGRES_CRASHED', 'TABLESPACE_IN_USE', 'PROMOTION_HANGS', 'SUPERUSER_LOCKED_OUT'] as const),
  ...(['LEADER_UNREACHABLE', 'NODE_FAILED'] as const),
]);
export type FindingCode = z.infer<typeof FindingCode>;
