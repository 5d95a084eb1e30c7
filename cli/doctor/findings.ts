/**
 * Doctor's table of findings. Each part names its subjects with the values that its rows use, and then the rows: what is
 * wrong, in plain words, and what to do. The parts stand in the order of the chain from the client's port to the nodes.
 * Doctor reports causes only and leaves out their consequences, so a person acts on the first finding. Pure.
 */
import type { BackupPart, NodeStatus } from '../../failover/contract/api';
import { partsOf } from '../../failover/contract/backups';
import { type FailureCode, LogCode } from '../../failover/contract/codes';
import { ARCHIVE_SLOT, isNodeSlot } from '../../failover/contract/naming';
import { DEFAULT_STACK } from '../../scripts/lib/stack';
import { inWords } from '../../scripts/lib/updates';
import { BAD_PASSWORD, PASSWORD_BY_SQL_NEXT } from '../password-texts';
import { bytes } from '../render';
import { FindingCode } from './codes';
import type { ContainerFact, Facts, LoweredFact, NetworkFact, NodeFact } from './facts';
import { WAITS_FOR_STANDBY } from './nodes';
import { error, every, first, nested, type Row, warning } from './row';

const DISK_PERCENT_WARN = 90;
const DISK_PERCENT_FULL = 97;
const DISK_BYTES_FULL = 32 * 1024 ** 2;
const LOG_BYTES_MIN = 16 * 1024 ** 2;
const CLOCK_MS_MAX = 10_000;
const LAG_SECONDS_MAX = 10;
/** The same for a report replica, where a query may delay replay for 30 s. */
const REPORT_LAG_SECONDS_MAX = 45;
/** A restart that is longer ago is no news, ms. */
const RESTARTED_MS = 600_000;
/** Limit after which an object that keeps dead rows counts as forgotten, seconds. */
const HOLD_SECONDS_MAX = 3_600;
/** A file that waits longer than this for the archive is late, seconds. */
const ARCHIVE_SECONDS_MAX = 300;
/** An unused slot of a person that keeps more write-ahead log than this is named, bytes. */
const KEPT_BYTES_MAX = 1024 ** 3;
/**
 * PostgreSQL refuses writes at 2,100 million, and `vacuum_failsafe_age` is 1,600 million (manual, "Preventing Transaction
 * ID Wraparound Failures"). Autovacuum freezes at 200 million, so at this age it has been kept from its work for long.
 */
const UNFROZEN_MAX = 1_000_000_000;
/** How a person drops an unused slot. */
const DROP_SLOT =
  'npm run failover -- psql {name}, then: SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active, with its name';
/** A candidate that was promoted this many times within that time and does not serve fails again and again. */
const PROMOTIONS_MAX = 3;
const PROMOTIONS_MS = 600_000;
/** PostgreSQL's code for "too many connections" (manual, appendix A). */
const TOO_MANY = '53300';

/** A certificate is renewed long before this time is left, ms. */
const CERTIFICATE_MS_MIN = 14 * 24 * 3_600_000;
const CERTIFICATE_ADVICE =
  'With tlsCertificate: renew that file, which is noticed by itself. Without it: check the clock of this machine and restart the monitor’s container.';

const ENGINE = first(
  ({ engine }: Facts) => [
    { name: 'docker', kind: engine.kind, message: engine.kind === 'silent' && engine.words ? `: ${engine.words}` : '' },
  ],
  [
    error('NO_DOCKER', {
      when: ({ kind }) => kind === 'no-client',
      sentence: 'The command line client docker is not on PATH.',
      next: 'Install it (Debian: docker-cli).',
    }),
    error('ENGINE_DENIED', {
      when: ({ kind }) => kind === 'denied',
      sentence: 'This user may not use the Docker engine.',
      next: 'Add the user to the group docker and log in again, or run as root.',
    }),
    error('ENGINE_SILENT', {
      when: ({ kind }) => kind === 'silent',
      sentence: 'The Docker engine does not answer{message}.',
      next: 'Start it: systemctl start docker, or npm run setup.',
    }),
  ],
);

/** What it means that a container of a role does not work. */
const CONSEQUENCES = {
  haproxy: ': no client gets in.',
  monitor: ': the leader serves on, but no node would take over if it died.',
  node: '.',
  backend: ': fewer backends serve the HTTP API, or none does.',
  pooler: ': clients of poolPort do not get in, and the backends do not write.',
  checker: ': no restore is tested.',
  prometheus: ': no metrics are collected, and no alert is raised.',
  pgadmin: ': pgAdmin cannot be used.',
} as const;

type ContainerView = ReturnType<typeof containerViews>[number];

/** The containers; one that misses several networks is there once for each. */
function containerViews({ containers, ports, monitor: { cluster }, stack }: Facts) {
  // A container whose port is taken cannot be started, so the port is the cause.
  const barred = ports.filter(({ takenBy }) => takenBy !== null).map(({ owner }) => owner);
  const shown = containers.filter(({ name, state }) => state === 'running' || !barred.includes(name));
  return shown.flatMap((one) => {
    const { name, role, wrongNetworks, foreign } = one;
    const up = `npm run up --${stackOption(stack)} --refresh`;
    const isVital = role === 'haproxy' || (role === 'node' && cluster?.leader === name && !cluster.serving);
    const networks = foreign || wrongNetworks.length === 0 ? [WELL_CONNECTED] : wrongNetworks;
    return networks.map((network) => ({
      ...{ ...one, ...network },
      ...{ up, isVital, ended: howItEnded(one), consequence: CONSEQUENCES[role] },
    }));
  });
}

const WELL_CONNECTED: NetworkFact = { network: '', options: '', problem: null };

const stackOption = (stack: string) => (stack === DEFAULT_STACK ? '' : ` --stack ${stack}`);

function howItEnded({ exitCode, error: message, outOfMemory }: ContainerFact): string {
  if (outOfMemory) return 'was ended because the machine had no memory left';
  if (message !== '') return `could not be started (${message})`;
  return `is stopped (exit code ${exitCode}${exitCode === 137 ? ', killed' : ''})`;
}

/** It is an error when no client can write without the container. */
const severity = ({ isVital }: ContainerView) => (isVital ? 'error' : 'warning');

/** Rows of the containers of a role that do not run. */
function stoppedRows<R extends ContainerFact['role']>(role: R, prefix: Uppercase<R>): Row<ContainerView>[] {
  const row = (end: `_${string}`, states: ContainerFact['state'][], sentence: string, next: string) => ({
    ...warning<ContainerView, string>(FindingCode.parse(`${prefix}${end}`), {
      when: (one) => one.role === role && states.includes(one.state),
      sentence: `${sentence}${CONSEQUENCES[role]}`,
      next,
    }),
    severity,
  });
  return [
    row('_MISSING', ['missing'], 'There is no container {name}', '{up}'),
    row('_PAUSED', ['paused'], '{name} is paused', 'docker unpause {name}'),
    row(
      '_CRASHING',
      ['restarting'],
      '{name} ends again and again (exit code {exitCode})',
      'docker logs --tail 50 {name} shows why',
    ),
    row('_STOPPED', ['created', 'exited', 'removing', 'dead'], '{name} {ended}', 'docker start {name}'),
  ];
}

const CONTAINERS = first(containerViews, [
  error('NAME_TAKEN', {
    when: ({ foreign }) => foreign,
    sentence: 'A container that is not part of this stack has the name {name}.',
    next: 'Remove or rename it, or set namePrefix; then {up}',
  }),
  ...stoppedRows('haproxy', 'HAPROXY'),
  ...stoppedRows('monitor', 'MONITOR'),
  ...stoppedRows('node', 'NODE'),
  ...stoppedRows('backend', 'BACKEND'),
  ...stoppedRows('pooler', 'POOLER'),
  ...stoppedRows('checker', 'CHECKER'),
  ...stoppedRows('prometheus', 'PROMETHEUS'),
  ...stoppedRows('pgadmin', 'PGADMIN'),
  {
    ...warning('NETWORK_CUT', {
      when: ({ network, problem }: ContainerView) => network !== '' && problem === null,
      sentence: '{name} is not connected to the network {network}{consequence}',
      next: 'docker network connect {options}{network} {name}',
    }),
    severity,
  },
  {
    ...warning('NETWORK_WRONG', {
      when: ({ network }: ContainerView) => network !== '',
      sentence: '{name} is connected to the network {network} {problem}{consequence}',
      next: 'docker network disconnect {network} {name}; docker network connect {options}{network} {name}',
    }),
    severity,
  },
]);

const PORTS = first(
  ({ ports, containers }: Facts) =>
    ports.map((port) => ({
      ...{ ...port, name: `${port.key} ${port.port}` },
      runs: containers.some(({ name, state }) => name === port.owner && state === 'running'),
    })),
  [
    error('PORT_TAKEN', {
      when: ({ takenBy }) => takenBy !== null,
      sentence: 'Port {port} ({key}), which {owner} publishes, is taken by {takenBy}.',
      next: "Free it (ss -ltnp 'sport = :{port}' names the process) and docker start {owner}, or choose another {key}.",
    }),
    error('PORT_NOT_PUBLISHED', {
      when: ({ published, runs }) => runs && !published,
      sentence: '{owner} runs but does not publish port {port} ({key}).',
      next: 'docker restart {owner}',
    }),
  ],
);

const haproxyName = ({ containers }: Facts) => containers.find(({ role }) => role === 'haproxy')?.name ?? 'haproxy';

function isFull({ haproxy }: Facts): boolean {
  if (haproxy === undefined || haproxy.limit === 0) return false;
  return haproxy.sessions >= haproxy.limit || haproxy.queued > 0;
}

/** @param about name of the thing that the finding concerns, for example a container. */
const exhausted = <S>(when: (subject: S) => boolean, about = '{name}') =>
  error<S & { sessions: number; waiting: string }, string>('CONNECTIONS_EXHAUSTED', {
    ...{ about, when },
    sentence: 'All {sessions} connections to the leader are in use{waiting}.',
    next: 'End idle clients (SELECT pid, usename, state, state_change FROM pg_stat_activity), make pools smaller, or raise max_connections in postgresSettings.',
  });

const HAPROXY = first(
  (facts: Facts) => {
    const { haproxy, monitor } = facts;
    if (haproxy === undefined) return [];
    const {
      serving = false,
      nodes = [],
      sentence = 'the monitor has not opened the route',
      leader,
    } = monitor.cluster ?? {};
    const address = nodes.find(({ name }) => serving && name === leader)?.address;
    const waiting = haproxy.queued > 0 ? `, ${haproxy.queued} more wait` : '';
    return [
      { ...haproxy, name: haproxyName(facts), isFull: isFull(facts), waiting, leader, address, reason: sentence },
    ];
  },
  [
    error('HAPROXY_SILENT', {
      when: ({ answers }) => !answers,
      sentence: '{name} runs but does not answer on its statistics port ({message}).',
      next: 'docker restart {name}; docker logs --tail 50 {name} shows more',
    }),
    exhausted((haproxy) => haproxy.isFull),
    error('ROUTE_CLOSED', {
      when: ({ write }) => write === null,
      sentence: 'HAProxy holds new connections: {reason}.',
      next: 'A change of leader takes less than a second. If it stays: npm run failover -- events',
    }),
    error('ROUTE_WRONG', {
      when: ({ write, address }) => address !== undefined && write?.startsWith(`${address}:`) === false,
      sentence: 'HAProxy sends writes to {write}, but the leader is {leader} ({address}).',
      next: 'docker restart {name}; then the monitor sets the route again.',
    }),
  ],
);

const MONITOR = every(
  (facts: Facts) => {
    const { containers, monitor, haproxy } = facts;
    const container = containers.find(({ role }) => role === 'monitor');
    // Its container was reported already.
    if (container?.state !== 'running' || container.wrongNetworks.length > 0) return [];
    const clockMs = Math.abs(facts.clockMs ?? 0);
    const isApart = monitor.cluster?.haproxy.reachable === false && haproxy?.answers === true;
    const names = { name: container.name, haproxy: haproxyName(facts), seconds: Math.round(clockMs / 1000) };
    return [{ ...names, ...monitor, isSilent: monitor.cluster === null, isApart, clockMs }];
  },
  [
    error('MONITOR_SILENT', {
      when: ({ isSilent }) => isSilent,
      sentence: '{name} runs but does not answer ({message}).',
      next: 'docker logs --tail 50 {name}, then docker restart {name}: the leader serves on meanwhile.',
    }),
    error('MONITOR_STALE', {
      when: ({ healthy, isSilent }) => !healthy && !isSilent,
      sentence: '{name} answers, but its loop stands still: no node would take over if the leader died.',
      next: 'docker restart {name}',
    }),
    warning('CLOCK', {
      about: 'clock',
      when: ({ clockMs, isSilent }) => clockMs > CLOCK_MS_MAX && !isSilent,
      sentence: "This machine's clock and the monitor's differ by {seconds} s: do not trust the times in the log.",
      next: 'Set the clock by NTP: timedatectl set-ntp true',
    }),
    error('HAPROXY_UNREACHABLE', {
      when: ({ isApart }) => isApart,
      sentence: 'HAProxy runs, but the monitor cannot reach its sockets.',
      next: 'docker restart {haproxy}',
    }),
  ],
);

const LOGIN = first(
  (facts: Facts) => {
    const { login, haproxy, monitor, containers } = facts;
    // PostgreSQL refuses a HAProxy with another address than its own.
    const isCut = containers.some(({ role, wrongNetworks }) => role === 'haproxy' && wrongNetworks.length > 0);
    if (login === undefined || isCut) return [];
    // A failed login is no new finding while no leader serves or the connections are used up.
    const isExplained = haproxy === undefined || !haproxy.answers || haproxy.write === null || isFull(facts);
    const isNews = !isExplained && monitor.cluster?.serving !== false;
    const leader = monitor.cluster?.leader ?? '<leader>';
    const asked = facts.nodes.find(({ name }) => name === leader)?.database;
    const { barred, passwordBySql: bySql } = asked ?? { barred: null, passwordBySql: false };
    const { user, database } = facts.application;
    const names = { name: 'write port', leader, user: quoted(user), database: quoted(database), barred, bySql };
    const none = { code: '', message: '', readOnly: false, standby: false, waiting: '' };
    return [{ ...none, ...login, ...names, isNews, sessions: haproxy?.sessions ?? 0 }];
  },
  [
    error('ROLE_MISSING', {
      about: '{user}',
      when: ({ barred }) => barred === 'role missing',
      sentence: 'No client gets in: a person renamed or dropped the role {user}. The failover does not make it again.',
      next: 'npm run failover -- psql {leader}, then: SELECT rolname FROM pg_roles; and ALTER ROLE … RENAME TO {user}. A renamed role keeps its password and its tables.',
    }),
    error('ROLE_CLOSED', {
      about: '{user}',
      when: ({ barred }) => barred === 'role closed',
      sentence: 'No client gets in: a person forbade the role {user} to log in.',
      next: "npm run failover -- psql {leader}, then: ALTER ROLE {user} LOGIN CONNECTION LIMIT -1 VALID UNTIL 'infinity'",
    }),
    error('ROLE_BARRED', {
      about: '{user}',
      when: ({ barred }) => barred === 'role barred',
      sentence:
        'No client gets in: a person gave the role {user} the rights of a superuser, of REPLICATION or of the failover.',
      next: 'npm run failover -- psql {leader}, then: ALTER ROLE {user} NOSUPERUSER NOREPLICATION, and REVOKE … FROM {user} for each such role in \\drg',
    }),
    error('DATABASE_MISSING', {
      about: '{database}',
      when: ({ barred }) => barred === 'database missing',
      sentence:
        'No client gets in: a person renamed or dropped the database {database}. The failover does not make it again.',
      next: 'npm run failover -- psql {leader} -- -d postgres, then: SELECT datname FROM pg_database; and ALTER DATABASE … RENAME TO {database}',
    }),
    error('DATABASE_CLOSED', {
      about: '{database}',
      when: ({ barred }) => barred === 'database closed',
      sentence: 'No client gets in: a person closed the database {database}.',
      next: 'npm run failover -- psql {leader} -- -d postgres, then: ALTER DATABASE {database} ALLOW_CONNECTIONS true CONNECTION LIMIT -1; GRANT CONNECT ON DATABASE {database} TO {user}',
    }),
    warning('PASSWORD_UNKNOWN', {
      about: 'password',
      when: ({ kind }) => kind === 'no-password',
      sentence: 'The password cannot be read, so no login was tried: {message}',
      next: 'Set the stack’s passphrase: PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE.',
    }),
    error('ROUTE_TO_STANDBY', {
      when: ({ standby }) => standby,
      sentence: 'The write port leads to a standby.',
      next: 'If a change of leader is under way (npm run failover -- status), wait for its end. Else restart the monitor’s container.',
    }),
    error('READ_ONLY', {
      about: '{leader}',
      when: ({ readOnly }) => readOnly,
      sentence: 'The leader takes no writes: default_transaction_read_only is on for this server, database or role.',
      next: 'npm run failover -- psql {leader}, then: SET default_transaction_read_only = off; ALTER DATABASE … RESET default_transaction_read_only (or ALTER ROLE …, ALTER SYSTEM …; \\drds shows where it is set)',
    }),
    error('PASSWORD_BY_SQL', {
      about: 'password',
      when: ({ code, bySql }) => bySql && BAD_PASSWORD.includes(code),
      sentence:
        'The password of {user} was changed by SQL, and the program has another one: its clients do not get in.',
      next: PASSWORD_BY_SQL_NEXT,
    }),
    error('PASSWORD_WRONG', {
      about: 'password',
      when: ({ code }) => BAD_PASSWORD.includes(code),
      sentence: "PostgreSQL refuses the stack's password ({message}).",
      next: 'npm run failover -- password use-program sets the program’s password again.',
    }),
    exhausted(({ code }) => code === TOO_MANY, 'PostgreSQL'),
    error('LOGIN_FAILED', {
      when: ({ kind, isNews }) => kind === 'failed' && isNews,
      sentence: 'A login through the write port fails: {message}.',
      next: 'Look at npm run failover -- events, and at docker logs of the leader.',
    }),
  ],
);

const BACKEND = first(
  (facts: Facts) => (facts.backend === undefined ? [] : [{ ...facts.backend, name: 'backend', facts }]),
  [
    warning('BACKEND_REFUSES', {
      when: ({ code }) => code === 'database_changed',
      sentence: 'The backend cannot do its work: {detail}',
      next: 'docker logs --tail 50 {name} has the object ("cause"). Give it its old name, place, type and privileges back: backend/README.md, What people change.',
    }),
  ],
);

const PASSFILE = first(
  ({ passfile }: Facts) => (passfile === undefined ? [] : [{ name: passfile.file, state: passfile.state }]),
  [
    warning('PASSFILE_WRONG', {
      when: ({ state }) => state === 'wrong',
      sentence:
        '{name} has a wrong password for this database: PostgreSQL refuses psql and pgAdmin that use this file.',
      next: 'Correct the line in the file. The password: npm run pulumi -- stack output databasePassword --show-secrets',
    }),
    warning('PASSFILE_OPEN', {
      when: ({ state }) => state === 'open',
      sentence: 'Other users can read {name}, so psql ignores it.',
      next: 'chmod 600 {name}',
    }),
  ],
);

/** A node that runs. */
interface NodeView extends NodeFact {
  facts: Facts;
  /** The monitor's status of it. */
  status: NodeStatus | undefined;
  isLeader: boolean;
}

function nodeViews(facts: Facts): NodeView[] {
  const { leader, nodes = [] } = facts.monitor.cluster ?? {};
  return facts.nodes.map((node) => {
    const status = nodes.find(({ name }) => name === node.name);
    return { ...node, facts, status, isLeader: leader === node.name };
  });
}

/**
 * True while the failover undoes the promotion by itself: the node's last event of this kind is valid until the node
 * follows again.
 */
function isBeingUndone({ monitor: { cluster } }: Facts, node: NodeStatus | undefined): boolean {
  if (node === undefined || node.name === cluster?.leader || node.streamingFrom !== null) return false;
  const { PROMOTED_BY_HAND } = LogCode.enum;
  return cluster?.events.some(({ code, subject }) => code === PROMOTED_BY_HAND && subject === node.name) ?? false;
}

const BY_HAND = first(
  (node: NodeView) => (isBeingUndone(node.facts, node.status) ? [node] : []),
  [
    warning('PROMOTED_BY_HAND', {
      sentence: 'A person promoted {name} by hand. HAProxy sends no client to it.',
      next: 'The failover makes it a standby again by itself. If that does not happen: npm run failover -- rebuild {name}',
    }),
  ],
);

function diskViews({ name, disk }: NodeView) {
  if (disk === null) return [];
  const { usedPercent, freeBytes } = disk;
  const isFullDisk = usedPercent >= DISK_PERCENT_FULL || freeBytes < DISK_BYTES_FULL;
  return [{ name, usedPercent, free: bytes(freeBytes), isFullDisk, isLow: usedPercent >= DISK_PERCENT_WARN }];
}

const DISK = first(diskViews, [
  error('DISK_FULL', {
    when: ({ isFullDisk }) => isFullDisk,
    sentence: 'The disk of {name} is full ({free} free, {usedPercent} % used).',
    next: 'Make room: remove what else is on that disk (docker system df) or old slots, or use a bigger disk. Then PostgreSQL goes on by itself.',
  }),
  warning('DISK_LOW', {
    when: ({ isLow }) => isLow,
    sentence: 'The disk of {name} is {usedPercent} % used ({free} free).',
    next: 'Make room before it is full.',
  }),
]);

const COPIED =
  'The monitor orders a copy from the leader by itself, one node at a time. To have it at once: npm run failover -- rebuild {name}';
const REASON = 'docker logs --tail 50 {name} shows PostgreSQL’s own reason, often a full disk or too little memory.';
const IN_PLACE = 'npm run pulumi -- config set rebuildInPlace true, then npm run up';

/** Advice for a failure, by the keeper's code. The keeper also tries again by itself. */
const ADVICE = {
  MUST_COPY: COPIED,
  REWIND_FAILED: COPIED,
  STREAM_IMPOSSIBLE: COPIED,
  WAL_MISSING: COPIED,
  DISK_TOO_SMALL: `Make room on its disk (docker system df), or allow that its old data is removed first: ${IN_PLACE}`,
  POSTGRES_CRASHED: `${REASON} When the cause is gone, PostgreSQL starts by itself.`,
  SETTLE_FAILED: `${REASON} The keeper tries three times, then the node is copied.`,
  TABLESPACE_IN_USE: `Make or empty the folder that the message names, or allow that the old data is removed first: ${IN_PLACE}`,
  PROMOTION_HANGS:
    'Check whether its replay goes on: npm run failover -- psql {name}, then: SELECT pg_get_wal_replay_pause_state(), pg_last_wal_replay_lsn()',
  SUPERUSER_LOCKED_OUT:
    'If a superuser’s session is still open, run in it: ALTER ROLE postgres LOGIN SUPERUSER. If there is none: docs/operations.md, No superuser gets in',
  LEADER_UNREACHABLE:
    'Check the network between the nodes: docker exec {name} pg_isready -h ADDRESS (npm run failover -- status --json has the addresses)',
} satisfies Partial<Record<FailureCode & FindingCode, string>>;

const FAILURE = first(
  ({ name, status }: NodeView) => {
    if (status?.failure == null) return [];
    // `CODE: message`, or `CODE: message (attempt N)`.
    const [, code = '', message = ''] = /^([A-Z][A-Z_]+): ([\s\S]*)$/.exec(status.failure) ?? [];
    return [{ name, code, message, failure: status.failure }];
  },
  [
    ...Object.entries(ADVICE).map(([known, next]) =>
      warning<{ code: string }, string>(FindingCode.parse(known), {
        when: ({ code }) => code === known,
        sentence: '{name} cannot carry out its order: {message}',
        next,
      }),
    ),
    warning('NODE_FAILED', {
      sentence: '{name} could not carry out its order: {failure}',
      next: 'The keeper tries again. docker logs --tail 50 {name} shows more. To copy a standby again: npm run failover -- rebuild {name}',
    }),
  ],
);

const POSTGRES = every(
  (node: NodeView) => {
    const { name, message, database, status, isLeader, facts } = node;
    const isKnown = (status?.failure ?? null) !== null || diskViews(node).some((disk) => disk.isFullDisk || disk.isLow);
    const { connections = 0, room = 1, standby = true } = database ?? {};
    return [
      {
        ...{ name, message, isSilent: database === null && !isKnown, sessions: connections, waiting: '' },
        isExhausted: isLeader && connections >= room && !isFull(facts),
        isSecond: !standby && !isLeader && facts.monitor.cluster?.serving === true,
        isAway: database !== null && status?.connected === false,
      },
    ];
  },
  [
    warning('POSTGRES_DOWN', {
      when: ({ isSilent }) => isSilent,
      sentence: '{name} runs, but its PostgreSQL does not answer ({message}).',
      next: 'The keeper starts it again by itself. If it stays down: docker logs --tail 50 {name}',
    }),
    exhausted(({ isExhausted }) => isExhausted),
    error('SECOND_PRIMARY', {
      when: ({ isSecond }) => isSecond,
      sentence: '{name} is writable but is not the leader: a person promoted it by hand.',
      next: 'HAProxy sends no client to it, and the failover makes it a standby by itself. If that does not happen: npm run failover -- rebuild {name}',
    }),
    warning('KEEPER_AWAY', {
      when: ({ isAway }) => isAway,
      sentence: '{name} runs, but its keeper is not connected to the monitor.',
      next: 'docker restart {name}',
    }),
  ],
);

/** The slots that a node should have: one for each other node that runs. */
const SLOTS = first(
  ({ name, database, isLeader, facts: { containers, slotOf } }: NodeView) => {
    if (database === null) return [];
    const peers = containers.filter((one) => one.role === 'node' && one.name !== name && one.state === 'running');
    return peers.map((peer) => {
      const slot = slotOf(peer.name);
      const found = database.slots.find((one) => one.name === slot);
      return { name, isLeader, peer: peer.name, slot, isMissing: found === undefined, isLost: found?.lost === true };
    });
  },
  [true, false].flatMap((leads) => {
    // Each start creates the slots again.
    const next = leads ? 'The leader makes it again by itself within seconds.' : 'docker restart {name}';
    return [
      warning('SLOT_MISSING', {
        when: ({ isMissing, isLeader }) => isMissing && isLeader === leads,
        sentence:
          '{name} has no replication slot for {peer} ({slot}): when {name} leads, {peer} may have to be copied again.',
        next,
      }),
      warning('SLOT_LOST', {
        when: ({ isLost, isLeader }) => isLost && isLeader === leads,
        sentence: 'The replication slot on {name} for {peer} is lost: the write-ahead log that {peer} needs is gone.',
        next,
      }),
    ];
  }),
);

const REPLAY = first(
  (node: NodeView) => (node.database?.replayPaused ? [node] : []),
  [
    warning('REPLAY_PAUSED', {
      sentence:
        'A person paused the replay on {name}: its data gets older, and it has to replay everything before it can lead.',
      next: 'npm run failover -- psql {name}, then: SELECT pg_wal_replay_resume()',
    }),
  ],
);

/** Roles and databases whose commits do not wait for a standby's disk (S7). */
const COMMITS = first(
  ({ name, database, isLeader, facts: { monitor } }: NodeView) => {
    // Every node has the same roles; those of the leader are the newest.
    if (database === null || !isLeader || monitor.cluster?.syncMode !== 'synchronous') return [];
    return database.commitSettings.map((one) => ({ name, value: one.value, ...scopeOf(one) }));
  },
  [
    warning('SYNC_COMMIT_LOWERED', {
      about: '{whose}',
      when: ({ value }) => !WAITS_FOR_STANDBY.includes(value.toLowerCase()),
      sentence:
        'synchronous_commit is {value} for {whose}: such commits do not wait for a standby’s disk, and may be lost with the leader.',
      next: 'npm run failover -- psql {name}, then: ALTER {scope} RESET synchronous_commit',
    }),
  ],
);

/** For whom a setting holds, in words and in the words of ALTER. */
function scopeOf({ role, database }: LoweredFact): { whose: string; scope: string } {
  if (role === null && database === null) return { whose: 'all roles', scope: 'ROLE ALL' };
  if (role === null) return { whose: `database ${database}`, scope: `DATABASE ${quoted(database)}` };
  if (database === null) return { whose: `role ${role}`, scope: `ROLE ${quoted(role)}` };
  return {
    whose: `role ${role} in database ${database}`,
    scope: `ROLE ${quoted(role)} IN DATABASE ${quoted(database)}`,
  };
}

/**
 * A name as a quoted SQL identifier. The creator of a role chooses its name, and the command is copied into a
 * superuser's session.
 */
function quoted(name: string | null): string {
  return `"${name?.replaceAll('"', '""')}"`;
}

const hours = (seconds: number) => `${(seconds / 3_600).toFixed(1)} h`;

const IDLE_SLOTS = first(
  ({ name, database, isLeader, facts: { containers, slotOf } }: NodeView) => {
    const slots = isLeader && database !== null ? database.slots : [];
    return slots.map(({ name: slot, heldSeconds }) => {
      const peer = containers.find((one) => one.role === 'node' && slotOf(one.name) === slot)?.name;
      return { name, slot, peer, isOld: (heldSeconds ?? 0) > HOLD_SECONDS_MAX, time: hours(heldSeconds ?? 0) };
    });
  },
  [true, false].map((isOwn) =>
    warning('SLOT_HOLDS_ROWS', {
      when: ({ isOld, peer }) => isOld && (peer !== undefined) === isOwn,
      sentence:
        'The replication slot {slot} on {name} has been unused for {time} and keeps dead rows: tables grow, and queries on them get slower.',
      next: isOwn
        ? 'docker start {peer}. If the node is not needed any more: lower replicas, then npm run up.'
        : `No node of this stack uses it. ${DROP_SLOT}`,
    }),
  ),
);

const KEPT_WAL = first(
  ({ name, database, isLeader, facts: { containers, monitor, slotOf } }: NodeView) =>
    (database?.slots ?? []).map(({ name: slot, keptBytes }) => {
      const isNodes = containers.some((one) => one.role === 'node' && slotOf(one.name) === slot);
      // No program reads the copy on a standby. If no program reads the leader's slot, the leader's slot is named.
      const isCopy = !isLeader && monitor.cluster?.clientSlots?.slots.some((one) => one.name === slot) === true;
      const isOwn = isNodes || isCopy || slot === ARCHIVE_SLOT;
      return { name, slot, isOld: !isOwn && (keptBytes ?? 0) > KEPT_BYTES_MAX, size: bytes(keptBytes ?? 0) };
    }),
  [
    warning('SLOT_KEEPS_WAL', {
      when: ({ isOld }) => isOld,
      sentence:
        'The replication slot {slot} on {name}, which a person made, is not read and keeps {size} of write-ahead log; PostgreSQL gives the slot up at max_slot_wal_keep_size.',
      next: `Start the program that reads it, or ${DROP_SLOT}`,
    }),
  ],
);

/** What a failover did to slots that people made. */
const SLOT_GAPS = every(
  ({ monitor: { cluster } }: Facts) =>
    (cluster?.clientSlots?.gaps ?? []).map(({ name: slot, from, to }) => ({
      ...{ name: cluster?.stack ?? '', slot, from: from ?? 'an unknown position', to },
    })),
  [
    warning('SLOT_GAP', {
      when: ({ to }) => to !== null,
      sentence:
        'The replication slot {slot}, which a person made, has a possible gap since a failover: write-ahead log from {from} to {to} may be missing for its reader.',
      next: 'Make a new base backup with that reader, then drop the slot and make it again (docs/replication.md).',
    }),
    warning('SLOT_LOST', {
      when: ({ to }) => to === null,
      sentence: 'The replication slot {slot}, which a person made, was lost with a former leader.',
      next: 'Make it again on the leader, a logical one with failover = true; its reader begins anew (docs/replication.md).',
    }),
  ],
);

/** Slots that people made on a node that led before, and that the leader does not have. */
const LEFT_SLOTS = first(
  ({ name, isLeader, database, facts: { containers, nodes, slotOf } }: NodeView) => {
    if (!isLeader || database === null) return [];
    const here = [ARCHIVE_SLOT, ...database.slots.map((slot) => slot.name)];
    const nodesOwn = containers.flatMap((one) => (one.role === 'node' ? [slotOf(one.name)] : []));
    const isNodes = (slot: string) => nodesOwn.includes(slot) || isNodeSlot(slot, name);
    const isLeft = (slot: string) => !here.includes(slot) && !isNodes(slot);
    return nodes.flatMap((node) =>
      (node.database?.slots ?? []).map((slot) => ({
        ...{ name, other: node.name, slot: slot.name, isLeft: node.name !== name && isLeft(slot.name) },
      })),
    );
  },
  [
    warning('SLOT_LEFT', {
      when: ({ isLeft }) => isLeft,
      sentence:
        'The replication slot {slot}, which a person made, is on {other} and not on the leader {name}: the leader keeps no write-ahead log for the program that reads it.',
      next: 'Make it again on the leader; what was written before then may be missing (docs/replication.md). Then drop the old one: npm run failover -- psql {other}, then: SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active, with its name',
    }),
  ],
);

const ARCHIVE = first(
  ({ name, isLeader, database }: NodeView) => {
    const archive = isLeader ? (database?.archive ?? null) : null;
    if (archive === null) return [];
    const isLate = archive.fails || (archive.waitSeconds ?? 0) > ARCHIVE_SECONDS_MAX;
    return [{ name, isLate, what: archive.fails ? 'fails' : 'does not keep up, or hangs' }];
  },
  [
    warning('ARCHIVE_LATE', {
      when: ({ isLate }) => isLate,
      sentence:
        'The archive_command of {name} {what}: write-ahead log stays on its disk until it is archived, and the archive lacks it.',
      next: 'docker logs --tail 50 {name} has the error of the command. Mend it, or npm run pulumi -- config set --path postgresSettings.archive_mode off, then npm run up.',
    }),
  ],
);

/** The oldest transaction of each kind that prevents the removal of dead rows in all tables. */
function oldTransactions({ name, database }: NodeView) {
  const old = (database?.holders ?? []).filter(({ seconds }) => seconds > HOLD_SECONDS_MAX);
  return (['session', 'prepared'] as const).flatMap((kind) => {
    const [oldest, ...others] = old.filter((one) => one.kind === kind);
    if (oldest === undefined) return [];
    const more = others.length === 0 ? '' : ` (${others.length} more are as old)`;
    return [{ pid: 0, role: '', ...oldest, name, time: hours(oldest.seconds), more }];
  });
}

const TRANSACTIONS = first(oldTransactions, [
  warning('TRANSACTION_OLD', {
    when: ({ kind }) => kind === 'session',
    sentence:
      'A transaction of role {role} in database {database} on {name} has been open for {time}{more}: PostgreSQL keeps dead rows for it, and tables grow.',
    next: 'Let it end, or npm run failover -- psql {name}, then: SELECT pg_terminate_backend({pid})',
  }),
  warning('PREPARED_OLD', {
    when: ({ kind }) => kind === 'prepared',
    sentence:
      'A prepared transaction in database {database} has waited for {time}{more}: PostgreSQL keeps dead rows and locks for it.',
    next: 'npm run failover -- psql {name}, then: SELECT gid, prepared, owner, database FROM pg_prepared_xacts; then COMMIT PREPARED or ROLLBACK PREPARED with its gid, in that database',
  }),
]);

const FREEZE = first(
  ({ name, isLeader, database }: NodeView) => {
    if (!isLeader || database === null || database.oldest.transactions < UNFROZEN_MAX) return [];
    const { oldest } = database;
    return [{ name, database: quoted(oldest.database), millions: Math.floor(oldest.transactions / 1_000_000) }];
  },
  [
    warning('FREEZE_LATE', {
      sentence:
        'Rows of database {database} on {name} have not been frozen for {millions} million transactions: at 2,100 million PostgreSQL takes no writes.',
      next: 'End what keeps dead rows (other findings name it), then npm run failover -- psql {name} -- -d {database}, then: VACUUM (FREEZE)',
    }),
  ],
);

/** Findings of a node, unless its container was reported already. */
const NODE = [
  ...[DISK, FAILURE, POSTGRES, SLOTS, REPLAY, COMMITS],
  ...[IDLE_SLOTS, KEPT_WAL, LEFT_SLOTS, ARCHIVE, FREEZE, TRANSACTIONS],
];

const SERVING = first(
  ({ monitor: { cluster }, containers }: Facts) => {
    const isKnown = containers.some(({ role, state }) => role === 'haproxy' && state !== 'running');
    if (cluster === null || cluster.serving || isKnown) return [];
    const { stack, sentence, leader, events } = cluster;
    const since = Date.parse(cluster.at) - PROMOTIONS_MS;
    const again = events.filter(({ code, at }) => code === LogCode.enum.PROMOTE_AGAIN && Date.parse(at) > since);
    const candidate = { about: leader ?? stack, candidate: leader ?? 'The candidate', node: leader ?? '<node>' };
    return [{ name: stack, sentence, times: again.length, ...candidate }];
  },
  [
    error('PROMOTION_REPEATED', {
      about: '{about}',
      when: ({ times }) => times >= PROMOTIONS_MAX,
      sentence: '{candidate} was promoted {times} times within ten minutes and did not stay up: {sentence}.',
      next: 'docker logs --tail 50 {node} shows PostgreSQL’s own reason. When the cause is gone, the promotion goes on by itself.',
    }),
    error('NOT_SERVING', {
      sentence: 'Writes do not go through: {sentence}.',
      next: 'A change of leader takes less than a second. If writes still wait: start the nodes that the sentence names, or see npm run failover -- events',
    }),
  ],
);

/** The standbys that run, while a leader serves. */
function standbyViews(facts: Facts) {
  const { containers, nodes } = facts;
  const { cluster } = facts.monitor;
  if (cluster === null || !cluster.serving) return [];
  return cluster.nodes.flatMap((node) => {
    const up = containers.find(({ name }) => name === node.name);
    const isUp = up?.state === 'running' && up.wrongNetworks.length === 0 && node.connected;
    const database = nodes.find(({ name }) => name === node.name)?.database;
    if (node.name === cluster.leader || !isUp || !database?.standby || node.failure !== null) return [];
    if (isBeingUndone(facts, node)) return [];
    // A paused replay explains the delay, so the delay is no finding of its own.
    const isLate =
      !database.replayPaused &&
      (node.lagSeconds ?? 0) > (node.reports === true ? REPORT_LAG_SECONDS_MAX : LAG_SECONDS_MAX);
    const waits = !database.replayPaused && cluster.syncMode === 'synchronous' && node.reports !== true;
    const refused = node.settings?.refused ?? null;
    return [{ ...node, isLate, isCounted: !waits || node.sync === 'counted', setting: JSON.stringify(refused) }];
  });
}

const REPLICATION = first(standbyViews, [
  warning('NOT_STREAMING', {
    when: ({ streamingFrom }) => streamingFrom === null,
    sentence: '{name} runs but does not follow the leader ({order}).',
    next: 'The keeper tries again and again. If that does not help: npm run failover -- rebuild {name}',
  }),
  warning('LAG', {
    when: ({ isLate }) => isLate,
    sentence: '{name} is {lagSeconds} s behind the leader.',
    next: 'Look for a long query on it, a slow disk or a slow network.',
  }),
  warning('NOT_COUNTED', {
    when: ({ isCounted }) => !isCounted,
    sentence: '{name} follows but is not counted yet: a write may be on the leader alone.',
    next: 'It is counted when it has caught up.',
  }),
  warning('SETTINGS_REFUSED', {
    when: ({ settings }) => settings?.refused != null,
    sentence: 'PostgreSQL of {name} refuses a setting: {setting}',
    next: 'Correct postgresSettings and npm run up.',
  }),
]);

const MODES = every(
  ({ monitor: { cluster } }: Facts) =>
    cluster === null ? [] : [{ since: '', reason: '', ...cluster.pause, ...cluster, name: cluster.stack }],
  [
    warning('PAUSED', {
      when: ({ pause }) => pause !== null,
      sentence: 'Automatic failover is paused since {since}: {reason}.',
      next: 'npm run failover -- resume',
    }),
    warning('OBSERVE', {
      when: ({ failoverMode }) => failoverMode === 'observe',
      sentence: 'failoverMode is observe: the monitor decides and logs changes of leader, but does not make them.',
      next: 'pulumi config set failoverMode automatic, then npm run up',
    }),
  ],
);

/** The certificate that clients are shown, when TLS is not off. */
const CERTIFICATE = first(
  ({ monitor: { cluster } }: Facts) => {
    const tls = cluster?.tls;
    if (cluster === null || tls === undefined || tls.mode === 'off') return [];
    const leftMs = tls.expires === null ? null : Date.parse(tls.expires) - Date.parse(cluster.at);
    return [{ name: cluster.stack, expires: tls.expires, problem: tls.problem, leftMs }];
  },
  [
    error('CERTIFICATE_EXPIRED', {
      when: ({ leftMs }) => leftMs !== null && leftMs <= 0,
      sentence: 'The certificate of PostgreSQL expired at {expires}: clients that check it do not get in.',
      next: CERTIFICATE_ADVICE,
    }),
    error('CERTIFICATE_MISSING', {
      when: ({ leftMs, problem }) => leftMs === null && problem !== null,
      sentence: 'The monitor has no certificate for the nodes; one that has none offers no TLS. {problem}',
      next: CERTIFICATE_ADVICE,
    }),
    warning('CERTIFICATE_REFUSED', {
      when: ({ problem }) => problem !== null,
      sentence: 'The newest certificate is not used, and the former one stays until {expires}: {problem}',
      next: CERTIFICATE_ADVICE,
    }),
    warning('CERTIFICATE_EXPIRES', {
      when: ({ leftMs }) => leftMs !== null && leftMs < CERTIFICATE_MS_MIN,
      sentence: 'The certificate of PostgreSQL expires at {expires}.',
      next: CERTIFICATE_ADVICE,
    }),
  ],
);

/** What is wrong with the backups of one place. */
function trouble(name: string, { repository, archive, problem, old, lastJob, restoreTest }: BackupPart) {
  const inS3 = repository === 's3' ? 'in S3: ' : '';
  const isLate = (archive.lagSeconds ?? 0) > ARCHIVE_SECONDS_MAX;
  const stuck = problem ?? (isLate ? `the newest archived change is ${archive.lagSeconds} s old` : null);
  const failed = lastJob?.result === 'failed' ? `${lastJob.kind}, ${lastJob.ended}: ${lastJob.message}` : null;
  const test = restoreTest?.last;
  const untested = test?.result === 'failed' ? `${test.label ?? 'no backup'}, ${test.ended}: ${test.message}` : null;
  const say = (words: string | null) => (words === null ? null : `${inS3}${words}`);
  const { from = '', to = '' } = archive.gap ?? {};
  const hasGap = archive.gap !== null;
  const where = repository === 's3' ? ' in S3' : '';
  const tests = { untested: say(untested), testOld: say(restoreTest?.old ?? null) };
  return { name, from, to, hasGap, where, stuck: say(stuck), failed: say(failed), old: say(old), ...tests };
}

/** The backups, when they are on. */
const BACKUP = every(
  ({ monitor: { cluster } }: Facts) => {
    const backup = cluster?.backup;
    if (cluster === null || backup === undefined || !cluster.serving) return [];
    return partsOf<BackupPart>(backup).map((part) => trouble(cluster.stack, part));
  },
  [
    warning('ARCHIVE_STUCK', {
      when: ({ stuck }) => stuck !== null,
      sentence: 'The archive of the backups takes nothing: {stuck}.',
      next: 'Make room where the backups are, or remove the cause that is named. Write-ahead log waits on the leader up to backupQueue.',
    }),
    warning('ARCHIVE_GAP', {
      when: ({ hasGap }) => hasGap,
      sentence:
        'The files {from} to {to} of the write-ahead log are in no backup{where}, and no backup was made since.',
      next: 'npm run failover -- backup now --full',
    }),
    warning('BACKUP_FAILED', {
      when: ({ failed }) => failed !== null,
      sentence: 'The last job for the backups failed: {failed}.',
      next: 'Remove the cause that is named, then: npm run failover -- backup now --full',
    }),
    warning('BACKUP_OLD', {
      when: ({ old }) => old !== null,
      sentence: 'The backups are too old: {old}.',
      next: 'npm run failover -- backup status says why, npm run failover -- backup now makes one.',
    }),
    warning('RESTORE_TEST_FAILED', {
      when: ({ untested }) => untested !== null,
      sentence: 'The newest backup could not be restored when that was tested: {untested}.',
      next: 'Remove the cause that is named, then: npm run failover -- backup check',
    }),
    warning('RESTORE_TEST_OLD', {
      when: ({ untested, testOld }) => untested === null && testOld !== null,
      sentence: 'No restore was tested for two intervals: {testOld}.',
      next: 'npm run failover -- backup status says why. By hand: npm run failover -- backup check',
    }),
  ],
);

const LOG = first(
  ({ log }: Facts) => [{ ...log, name: log.file, free: bytes(log.freeBytes ?? 0) }],
  [
    warning('LOG_MISSING', {
      when: ({ there }) => !there,
      sentence: '{name} is not there: the events of the failover are not recorded in it.',
      next: 'Restart the monitor’s container. If the folder of the log was removed: npm run up',
    }),
    warning('LOG_DISK_FULL', {
      when: ({ freeBytes }) => freeBytes !== null && freeBytes < LOG_BYTES_MIN,
      sentence: 'The disk of {name} has only {free} free: the log loses events. The monitor goes on working.',
      next: 'Make room there.',
    }),
  ],
);

/** HAProxy, when the engine has started its container again of late. */
const RESTARTED = first(
  ({ containers }: Facts) =>
    containers.flatMap(({ name, role, state, restartedAt }) =>
      role === 'haproxy' && state === 'running' && restartedAt !== null && Date.now() - restartedAt < RESTARTED_MS
        ? [{ name, at: new Date(restartedAt).toISOString() }]
        : [],
    ),
  [
    warning('HAPROXY_RESTARTED', {
      sentence: 'The program of {name} ended and was started again at {at}: all sessions ended then.',
      next: 'docker logs --tail 50 {name} shows more. The signal HUP ends it; docker kill -s USR2 {name} reloads it.',
    }),
  ],
);

const UPDATES = every(
  ({ updates = [], stack }: Facts) =>
    updates.flatMap(({ containers, answer }) =>
      answer.kind === 'unknown' || answer.updates.length === 0
        ? []
        : [{ name: containers.join(', '), updates: inWords(answer.updates), option: stackOption(stack) }],
    ),
  [
    warning('UPDATES_WAITING', {
      sentence: "Packages of {name} are older than Debian's newest: {updates}.",
      next: 'npm run up --{option} --fresh',
    }),
  ],
);

/** The whole table. */
export const FINDINGS = nested((facts: Facts) => [facts], ENGINE, [
  ...[CONTAINERS, PORTS, HAPROXY, MONITOR, LOGIN, BACKEND, PASSFILE],
  nested(nodeViews, BY_HAND, NODE),
  ...[SERVING, REPLICATION, SLOT_GAPS, MODES, BACKUP, CERTIFICATE, LOG, RESTARTED, UPDATES],
]);
