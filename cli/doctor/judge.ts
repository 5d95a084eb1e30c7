/**
 * Derives findings from the facts: what is wrong, in plain words, and what to do. Only causes are reported. The
 * consequences of a reported cause are left out, so that the first finding is the one to act on. Pure.
 */

import type { ClusterStatus } from '../../failover/contract/api';
import { LogCode } from '../../failover/contract/codes';
import { bytes } from '../render';
import type {
  ContainerFact,
  DatabaseFact,
  Facts,
  HaproxyFact,
  HolderFact,
  LoginFact,
  LoweredFact,
  NodeFact,
} from './facts';

export interface Finding {
  code: string;
  /**
   * `error`: something does not work now. `warning`: everything works, but a next fault may not be survived, or
   * something will soon fail.
   */
  severity: 'error' | 'warning';
  /** Subject of the finding: a container, a file or a port. */
  about: string;
  /** What is wrong. */
  sentence: string;
  /** What to do, often a command. */
  next: string;
}

const DISK_PERCENT_WARN = 90;
const DISK_PERCENT_FULL = 97;
const DISK_BYTES_FULL = 32 * 1024 ** 2;
const LOG_BYTES_MIN = 16 * 1024 ** 2;
const CLOCK_MS_MAX = 10_000;
const LAG_SECONDS_MAX = 10;
/** Limit after which an object that keeps dead rows counts as forgotten, seconds. */
const HOLD_SECONDS_MAX = 3_600;
/** Values of `synchronous_commit` that wait for a standby's disk (manual, "Write Ahead Log"). */
const WAITS_FOR_STANDBY = ['on', 'true', 'yes', '1', 'remote_apply'];
/** A candidate that was promoted this many times within that time and does not serve fails again and again. */
const PROMOTIONS_MAX = 3;
const PROMOTIONS_MS = 600_000;
/** PostgreSQL's codes (manual, appendix A). */
const BAD_PASSWORD = ['28P01', '28000'];
const TOO_MANY = '53300';

/** Errors first; each group in the order of the chain from the client's port to the nodes. */
export function judge(facts: Facts): Finding[] {
  const engine = engineFinding(facts);
  if (engine !== null) return [engine];
  // A container whose port is taken cannot be started, so the port is the cause.
  const barred = facts.ports.filter(({ takenBy }) => takenBy !== null).map(({ owner }) => owner);
  const containers = facts.containers
    .filter(({ name, state }) => state === 'running' || !barred.includes(name))
    .flatMap((container) => containerFindings(container, facts));
  const findings = [
    ...containers,
    ...portFindings(facts),
    ...haproxyFindings(facts),
    ...monitorFindings(facts),
    ...loginFindings(facts),
    ...passfileFindings(facts),
    ...facts.nodes.flatMap((node) => nodeFindings(node, facts)),
    ...replicationFindings(facts),
    ...modeFindings(facts),
    ...logFindings(facts),
  ];
  return [...findings.filter((f) => f.severity === 'error'), ...findings.filter((f) => f.severity === 'warning')];
}

const error = (code: string, about: string, sentence: string, next: string): Finding => ({
  code,
  severity: 'error',
  about,
  sentence,
  next,
});
const warning = (...args: Parameters<typeof error>): Finding => ({ ...error(...args), severity: 'warning' });

function engineFinding({ engine }: Facts): Finding | null {
  switch (engine.kind) {
    case 'answers':
      return null;
    case 'no-client':
      return error(
        'NO_DOCKER',
        'docker',
        'The command line client docker is not on PATH.',
        'Install it (Debian: docker-cli).',
      );
    case 'denied':
      return error(
        'ENGINE_DENIED',
        'docker',
        'This user may not use the Docker engine.',
        'Add the user to the group docker and log in again, or run as root.',
      );
    case 'silent':
      return error(
        'ENGINE_SILENT',
        'docker',
        `The Docker engine does not answer${engine.words === '' ? '' : `: ${engine.words}`}.`,
        'Start it: systemctl start docker, or npm run setup.',
      );
  }
}

/** True for the containers without which no client can write. */
function isVital({ name, role }: ContainerFact, { monitor }: Facts): boolean {
  return role === 'haproxy' || (role === 'node' && monitor.cluster?.leader === name && !monitor.cluster.serving);
}

function containerFindings(container: ContainerFact, facts: Facts): Finding[] {
  const { name, role, state } = container;
  const say = isVital(container, facts) ? error : warning;
  const up = `npm run up --${facts.stack === 'dev' ? '' : ` --stack ${facts.stack}`}`;
  const consequence = CONSEQUENCES[role];
  const prefix = PREFIXES[role];
  if (container.foreign)
    return [
      error(
        'NAME_TAKEN',
        name,
        `${name} is a container of something else.`,
        `Remove or rename it, or set namePrefix; then ${up} --refresh`,
      ),
    ];
  switch (state) {
    case 'missing':
      return [say(`${prefix}_MISSING`, name, `There is no container ${name}${consequence}`, `${up} --refresh`)];
    case 'paused':
      return [say(`${prefix}_PAUSED`, name, `${name} is paused${consequence}`, `docker unpause ${name}`)];
    case 'restarting':
      return [
        say(
          `${prefix}_CRASHING`,
          name,
          `${name} ends again and again (exit code ${container.exitCode})${consequence}`,
          `Its words: docker logs --tail 50 ${name}`,
        ),
      ];
    case 'created':
    case 'exited':
    case 'removing':
    case 'dead':
      return [say(`${prefix}_STOPPED`, name, `${name} ${howItEnded(container)}${consequence}`, `docker start ${name}`)];
    case 'running':
      return container.missingNetworks.map((network) =>
        say(
          'NETWORK_CUT',
          name,
          `${name} is not connected to the network ${network}${consequence}`,
          `${reconnect(container, network, facts)}`,
        ),
      );
  }
}

const PREFIXES = {
  haproxy: 'HAPROXY',
  monitor: 'MONITOR',
  node: 'NODE',
  backend: 'BACKEND',
  prometheus: 'PROMETHEUS',
  pgadmin: 'PGADMIN',
} as const;
const CONSEQUENCES = {
  haproxy: ': no client gets in.',
  monitor: ': the leader serves on, and nobody would take over if it died.',
  node: '.',
  backend: ': its HTTP API is served by fewer, or by nobody.',
  prometheus: ': no metrics are collected, and no alert is raised.',
  pgadmin: ': pgAdmin cannot be used.',
} as const;

function howItEnded({ exitCode, error: words, outOfMemory }: ContainerFact): string {
  if (outOfMemory) return 'was ended because the machine had no memory left';
  if (words !== '') return `could not be started (${words})`;
  const killed = exitCode === 137 ? ', killed' : '';
  return `is stopped (exit code ${exitCode}${killed})`;
}

/** The command that reconnects a container. The address is fixed (S14), so the command contains it. */
function reconnect({ name }: ContainerFact, network: string, { monitor }: Facts): string {
  const address = monitor.cluster?.nodes.find((node) => node.name === name)?.address;
  return `docker network connect ${address === undefined ? '' : `--ip ${address} `}${network} ${name}`;
}

function portFindings({ ports, containers }: Facts): Finding[] {
  return ports.flatMap(({ key, port, owner, published, takenBy }) => {
    if (takenBy !== null)
      return [
        error(
          'PORT_TAKEN',
          `${key} ${port}`,
          `Port ${port} (${key}), which ${owner} publishes, is taken by ${takenBy}.`,
          `Free it (ss -ltnp 'sport = :${port}' names the process) and docker start ${owner}, or choose another ${key}.`,
        ),
      ];
    if (published || stateOf(containers, owner) !== 'running') return [];
    return [
      error(
        'PORT_NOT_PUBLISHED',
        `${key} ${port}`,
        `${owner} runs and does not publish port ${port} (${key}).`,
        `docker restart ${owner}`,
      ),
    ];
  });
}

function stateOf(containers: readonly ContainerFact[], name: string): string | undefined {
  return containers.find((container) => container.name === name)?.state;
}

function haproxyOf({ containers }: Facts): ContainerFact | undefined {
  return containers.find(({ role }) => role === 'haproxy');
}

function haproxyFindings(facts: Facts): Finding[] {
  const { haproxy, monitor } = facts;
  const name = haproxyOf(facts)?.name ?? 'haproxy';
  if (haproxy === undefined) return [];
  if (!haproxy.answers)
    return [
      error(
        'HAPROXY_SILENT',
        name,
        `${name} runs and does not answer on its statistics port (${haproxy.message}).`,
        `docker restart ${name}; its words: docker logs --tail 50 ${name}`,
      ),
    ];
  if (isFull(haproxy)) return [exhausted(name, haproxy.sessions, haproxy.queued)];
  const { cluster } = monitor;
  const leader = cluster?.nodes.find((node) => node.name === cluster.leader);
  if (haproxy.write === null)
    return [
      error(
        'ROUTE_CLOSED',
        name,
        `HAProxy holds new connections: ${cluster === null ? 'nobody has opened the route' : cluster.sentence}.`,
        'A change of leader takes less than a second. If it stays: npm run failover -- events',
      ),
    ];
  if (cluster?.serving !== true || leader === undefined || haproxy.write.startsWith(`${leader.address}:`)) return [];
  return [
    error(
      'ROUTE_WRONG',
      name,
      `HAProxy leads writes to ${haproxy.write}, and the leader is ${leader.name} (${leader.address}).`,
      `docker restart ${name}: the monitor sets the route anew.`,
    ),
  ];
}

function isFull(haproxy: HaproxyFact | undefined): boolean {
  if (haproxy === undefined || haproxy.limit === 0) return false;
  return haproxy.sessions >= haproxy.limit || haproxy.queued > 0;
}

function exhausted(about: string, sessions: number, waiting: number): Finding {
  return error(
    'CONNECTIONS_EXHAUSTED',
    about,
    `All ${sessions} connections to the leader are in use${waiting > 0 ? `, ${waiting} more wait` : ''}.`,
    'End idle clients (SELECT pid, usename, state, state_change FROM pg_stat_activity), make pools smaller, or raise max_connections in postgresSettings.',
  );
}

function monitorFindings(facts: Facts): Finding[] {
  const { monitor, containers, clockMs } = facts;
  const container = containers.find(({ role }) => role === 'monitor');
  const name = container?.name ?? 'failover-monitor';
  if (container?.state !== 'running' || container.missingNetworks.length > 0) return [];
  if (monitor.cluster === null)
    return [
      error(
        'MONITOR_SILENT',
        name,
        `${name} runs and does not answer (${monitor.message}).`,
        `docker logs --tail 50 ${name}, then docker restart ${name}: the leader serves on meanwhile.`,
      ),
    ];
  const findings: Finding[] = [];
  if (!monitor.healthy)
    findings.push(
      error(
        'MONITOR_STALE',
        name,
        `${name} answers, and its loop stands still: nobody would take over.`,
        `docker restart ${name}`,
      ),
    );
  if (clockMs !== null && Math.abs(clockMs) > CLOCK_MS_MAX)
    findings.push(
      warning(
        'CLOCK',
        'clock',
        `This machine's clock and the monitor's differ by ${Math.round(Math.abs(clockMs) / 1000)} s: times in the log mislead.`,
        'Set the clock by NTP: timedatectl set-ntp true',
      ),
    );
  if (!monitor.cluster.haproxy.reachable && facts.haproxy?.answers === true)
    findings.push(
      error(
        'HAPROXY_UNREACHABLE',
        name,
        'HAProxy runs, and the monitor does not reach its sockets.',
        `docker restart ${haproxyOf(facts)?.name ?? 'haproxy'}`,
      ),
    );
  return findings;
}

function loginFindings(facts: Facts): Finding[] {
  const { login, haproxy, monitor } = facts;
  if (login === undefined) return [];
  if (login.kind === 'no-password')
    return [
      warning(
        'PASSWORD_UNKNOWN',
        'password',
        `The password cannot be read, so no login was tried: ${login.message}`,
        'Give the stack’s passphrase: PULUMI_CONFIG_PASSPHRASE or its file.',
      ),
    ];
  if (login.kind === 'in') return routeFindings(login, facts);
  if (BAD_PASSWORD.includes(login.code))
    return [
      error(
        'PASSWORD_WRONG',
        'password',
        `PostgreSQL refuses the stack's password (${login.message}): somebody changed the role by hand.`,
        `Set the role back: npm run failover -- psql ${monitor.cluster?.leader ?? '<leader>'}, then \\password; to change it for good: pulumi config set --secret databasePassword, then npm run up.`,
      ),
    ];
  if (login.code === TOO_MANY) return [exhausted('PostgreSQL', haproxy?.sessions ?? 0, 0)];
  // A failed login is no new finding while no leader serves or the connections are used up.
  const known = haproxy === undefined || !haproxy.answers || haproxy.write === null || isFull(haproxy);
  if (known || monitor.cluster?.serving === false) return [];
  return [
    error(
      'LOGIN_FAILED',
      'write port',
      `A login through the write port fails: ${login.message}.`,
      'npm run failover -- events, and docker logs of the leader',
    ),
  ];
}

function routeFindings(login: Extract<LoginFact, { kind: 'in' }>, { monitor }: Facts): Finding[] {
  const leader = monitor.cluster?.leader ?? '<leader>';
  if (login.standby)
    return [
      error(
        'ROUTE_TO_STANDBY',
        'write port',
        'The write port leads to a standby.',
        'npm run failover -- status: wait for the change of leader, else docker restart the monitor',
      ),
    ];
  if (!login.readOnly) return [];
  return [
    error(
      'READ_ONLY',
      leader,
      'The leader takes no writes: default_transaction_read_only is on for this server, database or role.',
      `npm run failover -- psql ${leader}, then: SET default_transaction_read_only = off; ALTER DATABASE … RESET default_transaction_read_only (or ALTER ROLE …, ALTER SYSTEM …; \\drds shows where it is set)`,
    ),
  ];
}

function passfileFindings({ passfile }: Facts): Finding[] {
  if (passfile?.state === 'wrong')
    return [
      warning(
        'PASSFILE_WRONG',
        passfile.file,
        `${passfile.file} has another password for this database than the stack: psql and pgAdmin that use it are refused.`,
        `Correct its line; the password: npm run pulumi -- stack output databasePassword --show-secrets`,
      ),
    ];
  if (passfile?.state === 'open')
    return [
      warning(
        'PASSFILE_OPEN',
        passfile.file,
        `${passfile.file} can be read by others, so psql ignores it.`,
        `chmod 600 ${passfile.file}`,
      ),
    ];
  return [];
}

/** Findings of a node, unless its container was reported already. */
function nodeFindings(node: NodeFact, facts: Facts): Finding[] {
  const { name, database, disk } = node;
  const status = facts.monitor.cluster?.nodes.find((one) => one.name === name);
  const isLeader = facts.monitor.cluster?.leader === name;
  if (isBeingUndone(facts.monitor.cluster, name))
    return [
      warning(
        'PROMOTED_BY_HAND',
        name,
        `${name} was promoted by hand. No client was led there.`,
        `It is made a standby again by itself. If it stays: npm run failover -- rebuild ${name}`,
      ),
    ];
  const findings: Finding[] = [];
  if (disk !== null && (disk.usedPercent >= DISK_PERCENT_FULL || disk.freeBytes < DISK_BYTES_FULL))
    findings.push(
      error(
        'DISK_FULL',
        name,
        `The disk of ${name} is full (${bytes(disk.freeBytes)} free, ${disk.usedPercent} % used).`,
        'Make room: what else is on that disk (docker system df), old slots, or a bigger disk; PostgreSQL goes on by itself.',
      ),
    );
  else if (disk !== null && disk.usedPercent >= DISK_PERCENT_WARN)
    findings.push(
      warning(
        'DISK_LOW',
        name,
        `The disk of ${name} is ${disk.usedPercent} % used (${bytes(disk.freeBytes)} free).`,
        'Make room before it is full.',
      ),
    );
  if (status?.failure != null) findings.push(failureFinding(name, status.failure));
  if (database === null) {
    if (findings.length === 0)
      findings.push(
        warning(
          'POSTGRES_DOWN',
          name,
          `${name} runs and its PostgreSQL gives no answer (${node.message}).`,
          `It is started again by itself; if it stays: docker logs --tail 50 ${name}`,
        ),
      );
    return findings;
  }
  if (isLeader && database.connections >= database.room && !isFull(facts.haproxy))
    findings.push(exhausted(name, database.connections, 0));
  if (!database.standby && facts.monitor.cluster?.serving === true && !isLeader)
    findings.push(
      error(
        'SECOND_PRIMARY',
        name,
        `${name} is writable and is not the leader: it was promoted by hand.`,
        `No client is led there, and it is made a standby by itself. If it stays: npm run failover -- rebuild ${name}`,
      ),
    );
  if (status !== undefined && !status.connected)
    findings.push(
      warning(
        'KEEPER_AWAY',
        name,
        `${name} runs, and its keeper is not connected to the monitor.`,
        `docker restart ${name}`,
      ),
    );
  return [
    ...findings,
    ...slotFindings(node, facts),
    ...pauseFindings(name, database),
    ...commitFindings(name, database, facts),
    ...holderFindings(name, database, facts),
  ];
}

/** Advice for a failure, by the keeper's code. The keeper also tries again by itself. */
const NEXT_STEPS: Readonly<Record<string, (name: string) => string>> = {
  MUST_COPY: copied,
  REWIND_FAILED: copied,
  STREAM_IMPOSSIBLE: copied,
  WAL_MISSING: copied,
  DISK_TOO_SMALL: () =>
    'Make room on its disk (docker system df), or let its old data go first: npm run pulumi -- config set rebuildInPlace true, then npm run up',
  POSTGRES_CRASHED: (name) =>
    `PostgreSQL’s own reason, often a full disk or too little memory: docker logs --tail 50 ${name}. When that is gone it starts by itself.`,
  SETTLE_FAILED: (name) =>
    `PostgreSQL’s own reason, often a full disk or too little memory: docker logs --tail 50 ${name}. It is tried three times, then the node is copied.`,
  TABLESPACE_IN_USE: () =>
    'Empty the folder that is named, or let the old data go first: npm run pulumi -- config set rebuildInPlace true, then npm run up',
  PROMOTION_HANGS: (name) =>
    `Look whether its replay goes on: npm run failover -- psql ${name}, then: SELECT pg_get_wal_replay_pause_state(), pg_last_wal_replay_lsn()`,
  SUPERUSER_LOCKED_OUT: () =>
    'In a superuser’s session that is still open: ALTER ROLE postgres LOGIN SUPERUSER. Where there is none: docs/operations.md, No superuser gets in',
  LEADER_UNREACHABLE: (name) =>
    `The way between the nodes: docker exec ${name} pg_isready -h ADDRESS (npm run failover -- status --json has the addresses)`,
};

function copied(name: string): string {
  return `The monitor has it copied from the leader by itself, one node at a time; at once: npm run failover -- rebuild ${name}`;
}

/** @param failure `CODE: message`, or `CODE: message (attempt N)`, as the status has it. */
function failureFinding(name: string, failure: string): Finding {
  const [, code = '', message = ''] = /^([A-Z][A-Z_]+): ([\s\S]*)$/.exec(failure) ?? [];
  const next = NEXT_STEPS[code];
  if (next !== undefined) return warning(code, name, `${name} cannot do what it was told: ${message}`, next(name));
  return warning(
    'NODE_FAILED',
    name,
    `${name} could not do what it was told: ${failure}`,
    `It is tried again; its words: docker logs --tail 50 ${name}. A standby can be made anew: npm run failover -- rebuild ${name}`,
  );
}

function pauseFindings(name: string, { replayPaused }: DatabaseFact): Finding[] {
  if (!replayPaused) return [];
  return [
    warning(
      'REPLAY_PAUSED',
      name,
      `Replay on ${name} is paused by a person: what it shows gets older, and it has to replay all of it before it can lead.`,
      `npm run failover -- psql ${name}, then: SELECT pg_wal_replay_resume()`,
    ),
  ];
}

/** Roles and databases whose commits do not wait for a standby's disk (S7). */
function commitFindings(name: string, { commitSettings }: DatabaseFact, { monitor: { cluster } }: Facts): Finding[] {
  // Every node has the same roles; those of the leader are the newest.
  if (cluster?.syncMode !== 'synchronous' || cluster.leader !== name) return [];
  return commitSettings
    .filter(({ value }) => !WAITS_FOR_STANDBY.includes(value.toLowerCase()))
    .map((one) =>
      warning(
        'SYNC_COMMIT_LOWERED',
        whose(one),
        `synchronous_commit is ${one.value} for ${whose(one)}: what is written so need not be on a standby’s disk when it is acknowledged, and may be lost with the leader.`,
        `npm run failover -- psql ${name}, then: ${reset(one)}`,
      ),
    );
}

function whose({ role, database }: LoweredFact): string {
  if (role === null) return database === null ? 'all roles' : `database ${database}`;
  return database === null ? `role ${role}` : `role ${role} in database ${database}`;
}

function reset({ role, database }: LoweredFact): string {
  if (role === null && database !== null) return `ALTER DATABASE ${quoted(database)} RESET synchronous_commit`;
  const where = database === null ? '' : ` IN DATABASE ${quoted(database)}`;
  return `ALTER ROLE ${role === null ? 'ALL' : quoted(role)}${where} RESET synchronous_commit`;
}

/**
 * A name as a quoted SQL identifier. The creator of a role chooses its name, and the command is copied into a
 * superuser's session.
 */
function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Findings about objects that prevent the removal of dead rows in all tables. */
function holderFindings(name: string, database: DatabaseFact, { monitor, containers, slotOf }: Facts): Finding[] {
  const isLeader = monitor.cluster?.leader === name;
  const slots = database.slots.filter(({ heldSeconds }) => (heldSeconds ?? 0) > HOLD_SECONDS_MAX);
  const psql = `npm run failover -- psql ${name}, then:`;
  const ofSlots = (isLeader ? slots : []).map((slot) => {
    const peer = containers.find((one) => one.role === 'node' && slotOf(one.name) === slot.name);
    return warning(
      'SLOT_HOLDS_ROWS',
      name,
      `The replication slot ${slot.name} of ${name} is unused for ${hours(slot.heldSeconds ?? 0)} and keeps dead rows: tables grow, and each look at them takes longer.`,
      peer === undefined
        ? `Nobody of this stack uses it. ${psql} SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active, with its name`
        : `docker start ${peer.name}; if it is not needed any more, lower replicas and npm run up.`,
    );
  });
  const old = database.holders.filter(({ seconds }) => seconds > HOLD_SECONDS_MAX);
  const sessions = old.filter((one) => one.kind === 'session');
  const prepared = old.filter((one) => one.kind === 'prepared');
  return [...ofSlots, ...oldSession(name, sessions, psql), ...oldPrepared(name, prepared, psql)];
}

function oldSession(
  name: string,
  [oldest, ...more]: Extract<HolderFact, { kind: 'session' }>[],
  psql: string,
): Finding[] {
  if (oldest === undefined) return [];
  const { pid, role, database, seconds } = oldest;
  return [
    warning(
      'TRANSACTION_OLD',
      name,
      `A transaction of role ${role} in database ${database} on ${name} is open for ${hours(seconds)}${andMore(more)}: dead rows are kept, and tables grow.`,
      `Let it end, or ${psql} SELECT pg_terminate_backend(${pid})`,
    ),
  ];
}

function oldPrepared(
  name: string,
  [oldest, ...more]: Extract<HolderFact, { kind: 'prepared' }>[],
  psql: string,
): Finding[] {
  if (oldest === undefined) return [];
  return [
    warning(
      'PREPARED_OLD',
      name,
      `A prepared transaction in database ${oldest.database} waits for ${hours(oldest.seconds)}${andMore(more)}: dead rows and its locks are kept.`,
      `${psql} SELECT gid, prepared, owner, database FROM pg_prepared_xacts; then COMMIT PREPARED or ROLLBACK PREPARED with its gid, in that database`,
    ),
  ];
}

function hours(seconds: number): string {
  return `${(seconds / 3_600).toFixed(1)} h`;
}

function andMore(more: readonly unknown[]): string {
  return more.length === 0 ? '' : ` (${more.length} more are as old)`;
}

/**
 * True while the failover undoes the promotion by itself: the node's last event of this kind is valid until the node
 * follows again.
 */
function isBeingUndone(cluster: ClusterStatus | null, name: string): boolean {
  const node = cluster?.nodes.find((one) => one.name === name);
  if (cluster === null || node === undefined || name === cluster.leader || node.streamingFrom !== null) return false;
  return cluster.events.some(({ code, subject }) => code === LogCode.enum.PROMOTED_BY_HAND && subject === name);
}

function slotFindings({ name, database }: NodeFact, { slotOf, containers, monitor }: Facts): Finding[] {
  const slots = database?.slots ?? [];
  const peers = containers.filter((one) => one.role === 'node' && one.name !== name && one.state === 'running');
  const isLeader = monitor.cluster?.leader === name;
  return peers.flatMap((peer) => {
    const slot = slots.find((one) => one.name === slotOf(peer.name));
    // Each start creates the slots again.
    const fix = isLeader ? 'The leader makes it again by itself within seconds.' : `docker restart ${name}`;
    if (slot === undefined)
      return [
        warning(
          'SLOT_MISSING',
          name,
          `${name} has no replication slot for ${peer.name} (${slotOf(peer.name)}): once it leads, ${peer.name} may have to be copied anew.`,
          fix,
        ),
      ];
    if (slot.lost)
      return [
        warning(
          'SLOT_LOST',
          name,
          `The replication slot of ${name} for ${peer.name} is lost: write-ahead log that it needs is gone.`,
          fix,
        ),
      ];
    return [];
  });
}

/** Findings about running standbys, from the monitor's status. */
function replicationFindings({ monitor, containers, nodes }: Facts): Finding[] {
  const { cluster } = monitor;
  if (cluster === null || !cluster.serving) return notServing(cluster, containers);
  return cluster.nodes.flatMap((node) => {
    const up = containers.find(({ name }) => name === node.name);
    const fine = up?.state === 'running' && up.missingNetworks.length === 0;
    const database = nodes.find(({ name }) => name === node.name)?.database;
    if (node.name === cluster.leader || !fine || !node.connected || database?.standby !== true || node.failure !== null)
      return [];
    if (isBeingUndone(cluster, node.name)) return [];
    if (node.streamingFrom === null)
      return [
        warning(
          'NOT_STREAMING',
          node.name,
          `${node.name} runs and does not follow the leader (${node.order}).`,
          `It is tried again and again; if it stays: npm run failover -- rebuild ${node.name}`,
        ),
      ];
    if (database.replayPaused) return settingsFindings(node);
    if ((node.lagSeconds ?? 0) > LAG_SECONDS_MAX)
      return [
        warning(
          'LAG',
          node.name,
          `${node.name} is ${node.lagSeconds} s behind the leader.`,
          'Look for a long query on it, a slow disk or a slow network.',
        ),
      ];
    if (cluster.syncMode === 'synchronous' && node.sync !== 'counted')
      return [
        warning(
          'NOT_COUNTED',
          node.name,
          `${node.name} follows and is not counted yet: a write may be on the leader alone.`,
          'It is counted when it has caught up.',
        ),
      ];
    return settingsFindings(node);
  });
}

function settingsFindings({ name, settings }: ClusterStatus['nodes'][number]): Finding[] {
  if (settings?.refused == null) return [];
  return [
    warning(
      'SETTINGS_REFUSED',
      name,
      `PostgreSQL of ${name} refuses a setting: ${JSON.stringify(settings.refused)}`,
      'Correct postgresSettings and npm run up.',
    ),
  ];
}

function notServing(cluster: ClusterStatus | null, containers: readonly ContainerFact[]): Finding[] {
  if (cluster === null || containers.some(({ role, state }) => role === 'haproxy' && state !== 'running')) return [];
  const since = Date.parse(cluster.at) - PROMOTIONS_MS;
  const again = cluster.events.filter(({ code, at }) => code === LogCode.enum.PROMOTE_AGAIN && Date.parse(at) > since);
  if (again.length >= PROMOTIONS_MAX)
    return [
      error(
        'PROMOTION_REPEATED',
        cluster.leader ?? cluster.stack,
        `${cluster.leader ?? 'The candidate'} was promoted ${again.length} times within ten minutes and did not stay up: ${cluster.sentence}.`,
        `PostgreSQL’s own reason: docker logs --tail 50 ${cluster.leader ?? '<node>'}. When that is gone it goes on by itself.`,
      ),
    ];
  return [
    error(
      'NOT_SERVING',
      cluster.stack,
      `Writes do not go through: ${cluster.sentence}.`,
      'A change of leader takes less than a second; if it stays, start the nodes that are named here, or see npm run failover -- events',
    ),
  ];
}

function modeFindings({ monitor: { cluster } }: Facts): Finding[] {
  if (cluster === null) return [];
  const findings: Finding[] = [];
  if (cluster.pause !== null)
    findings.push(
      warning(
        'PAUSED',
        cluster.stack,
        `Automatic failover is paused since ${cluster.pause.since}: ${cluster.pause.reason}.`,
        'npm run failover -- resume',
      ),
    );
  if (cluster.failoverMode === 'observe')
    findings.push(
      warning(
        'OBSERVE',
        cluster.stack,
        'failoverMode is observe: changes of leader are decided and logged, and not made.',
        'pulumi config set failoverMode automatic, then npm run up',
      ),
    );
  return findings;
}

function logFindings({ log }: Facts): Finding[] {
  if (!log.there)
    return [
      warning(
        'LOG_MISSING',
        log.file,
        `${log.file} is not there: nobody can read afterwards what happened.`,
        'docker restart the monitor; if its folder was removed: npm run up',
      ),
    ];
  if (log.freeBytes !== null && log.freeBytes < LOG_BYTES_MIN)
    return [
      warning(
        'LOG_DISK_FULL',
        log.file,
        `The disk of ${log.file} has ${bytes(log.freeBytes)} free: events are lost to the log (the monitor works on).`,
        'Make room there.',
      ),
    ];
  return [];
}
