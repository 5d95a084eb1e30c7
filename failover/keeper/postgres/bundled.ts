/** Imported by main.ts and the simulator's worker alone: only the bundler (loader `text` for `.conf` and `.sql`) can read these imports. */
import pgHba from '../../../templates/pg_hba.conf';
import postgresqlConf from '../../../templates/postgresql.conf';
import users from '../../../templates/users.sql';
import { useTemplates } from './template';

useTemplates({ 'postgresql.conf': postgresqlConf, 'pg_hba.conf': pgHba, 'users.sql': users });
