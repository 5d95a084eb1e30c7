/**
 * Gives the keeper the templates of the bundle. Only main.ts and the simulator's worker import this file, because only
 * the bundler (loader `text` for `.conf` and `.sql`) can resolve these imports.
 */
import pgHba from '../../../templates/pg_hba.conf';
import postgresqlConf from '../../../templates/postgresql.conf';
import users from '../../../templates/users.sql';
import { useTemplates } from './template';

useTemplates({ 'postgresql.conf': postgresqlConf, 'pg_hba.conf': pgHba, 'users.sql': users });
