/** Information for a person after `up`: the addresses of the parts, and what to try next. */
import { speaksHttps } from '../../stack/config-values';
import { NAMES, PGADMIN_LOGIN_NAME } from '../../stack/naming';
import { DEFAULT_STACK, optionOf, type StackInfo } from './stack';
import { aligned, paint } from './terminal';

const EVERY_INTERFACE = '0.0.0.0';

/**
 * The addresses of a stack's parts as aligned lines, with a first failover to try.
 * @param first the sentence above them, which says what was measured
 */
export function whereThingsAre(info: StackInfo, first: string): string {
  const value = info.value;
  const bind = value('bindAddress', '127.0.0.1');
  const host = bind === '127.0.0.1' || bind === EVERY_INTERFACE ? 'localhost' : bind;
  const prefix = value('namePrefix', '');
  const [user, database] = [value('databaseUser', 'app'), value('databaseName', 'app')];
  const psql = (port: string) => `psql -h ${host} -p ${port} -U ${user} -d ${database}`;
  const dev = info.stack === DEFAULT_STACK;
  const option = optionOf(info);
  const pooled: [string, string] = ['pooled', psql(value('poolPort', '6432'))];
  const rows: [string, string][] = [
    ['read and write', psql(value('writePort', '5434'))],
    ['read only', psql(value('readPort', '5435'))],
    ...(value('pooler', 'false') === 'true' ? [pooled] : []),
    ['password', passwordLine(info, option)],
  ];
  const scheme = speaksHttps(value('tls', 'auto'), bind) ? 'https' : 'http';
  const api = `${scheme}://${host}:${value('backendPort', '8000')}`;
  const prometheus: [string, string] = ['Prometheus', `http://${host}:${value('prometheusPort', '9090')}/alerts`];
  if (value('backend', 'true') === 'true') rows.push(['API', `${api}  (docs: ${api}/docs)`]);
  if (value('pgadmin', 'false') === 'true') {
    const password = `npm run pulumi -- stack output pgadminLogin --show-secrets${option}`;
    rows.push([
      'pgAdmin',
      `http://${host}:${value('pgadminPort', '5050')}  (${PGADMIN_LOGIN_NAME}; password: ${password})`,
    ]);
  }
  rows.push(
    ['statistics', `http://${host}:${value('statsPort', '5000')}/stats`],
    ['status page', `${scheme}://${host}:${value('monitorPort', '8008')}`],
    ...(value('monitoring', 'false') === 'true' ? [prometheus] : []),
    ['log', dev ? 'tail -f failover.log' : `tail -f logs/${info.stack}/failover.log`],
  );
  const primary = `${prefix}${NAMES.primary}`;
  const insert = `INSERT INTO users (username, email) VALUES ('test_user', 'test@example.com')`;
  const tries: [string, string][] = [
    ['stop the primary', `docker stop ${primary}`],
    ['write meanwhile', `${psql(value('writePort', '5434'))} -c "${insert}"`],
    ['start it again', `docker start ${primary}`],
    ['more replicas', `npm run pulumi -- config set replicas 3${option} && npm run up${dev ? '' : ` --${option}`}`],
    ['take it all down', `npm run destroy${dev ? '' : ` --${option}`}`],
  ];
  return ['', paint('bold', first), aligned(rows), '', paint('bold', 'Try next'), aligned(tries), ''].join('\n');
}

function passwordLine(info: StackInfo, option: string): string {
  const given = info.value('databasePassword', '');
  if (info.stack === DEFAULT_STACK && given !== '') return `${given}  (the dev stack's, public by design)`;
  return `npm run pulumi -- stack output --show-secrets${option}`;
}
