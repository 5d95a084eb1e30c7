/**
 * Gives the keeper the templates of the bundle. Only main.ts and the simulator's worker import this file, because only
 * the bundler (loader `text` for `.conf` and `.sql`) can resolve these imports.
 */
import failover from '../../../templates/failover.conf';
import ownObjects from '../../../templates/own-objects.sql';
import pgHba from '../../../templates/pg_hba.conf';
import postgresql from '../../../templates/postgresql.conf';
import users from '../../../templates/users.sql';
import { useTemplates } from './template';

useTemplates({
  ...{ 'failover.conf': failover, 'pg_hba.conf': pgHba, 'postgresql.conf': postgresql },
  ...{ 'own-objects.sql': ownObjects, 'users.sql': users },
});
