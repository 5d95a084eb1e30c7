/** The monitor's PostgreSQL client over the simulated network. It has the part of `pg.Client` that the monitor uses. */

import { EventEmitter } from 'node:events';
import pg from 'pg';
import { currentProcess, type Process } from './engine';
import { Channel } from './links';
import { networkOf } from './network';
import type { Reply, Request, Session } from './postgres';

/** Round trips of a connection: TCP's handshake, the start-up message, and SCRAM's two messages. */
const ROUND_TRIPS = 4;

interface Options {
  host: string;
  connectionTimeoutMillis: number;
  query_timeout: number;
}

export class SimPgClient extends EventEmitter {
  readonly connection = { stream: { destroy: () => this.drop() } };
  private readonly process: Process;
  private session: Session | null = null;
  private down: Channel | null = null;
  private up: Channel | null = null;
  private gone = false;
  private readonly onDeath = () => this.drop();

  constructor(private readonly options: Options) {
    super();
    const process = currentProcess();
    if (process === undefined) throw new Error('a simulated client outside of the simulation');
    this.process = process;
    process.onDeath.add(this.onDeath);
  }

  async connect(): Promise<void> {
    const { process, options } = this;
    const network = networkOf(process);
    const limit = process.engine.nowMs + options.connectionTimeoutMillis;
    await process.engine.sleep(process.engine.random.delay(15) + this.roundTripsMs(), process);
    for (;;) {
      if (process.engine.nowMs > limit) throw new Error('timeout expired');
      // The host that has the address when the packet arrives.
      const host = network.hostOf(options.host);
      const server = network.postgres.get(host);
      if (server !== undefined && network.reaches(process.host, host) && server.process.state === 'running') {
        const session = server.open('monitor');
        if (session === null && !server.postmasterFrozen) throw new Error('the database system is not accepting');
        if (session !== null && !server.table.mayConnect) {
          server.closeSession(session);
          throw databaseError('permission denied for database "postgres"', '42501');
        }
        if (session !== null) {
          this.session = session;
          this.up = new Channel(network, process.host, host);
          this.down = new Channel(network, host, process.host);
          session.onClosed = () => this.down?.send(process, () => this.lost());
          return;
        }
      } else if (server === undefined && !network.down.has(host)) throw new Error('ECONNREFUSED');
      await process.engine.sleep(20, process);
    }
  }

  private roundTripsMs(): number {
    const { process, options } = this;
    const network = networkOf(process);
    const host = network.hostOf(options.host);
    let ms = 0;
    for (let trip = 0; trip < ROUND_TRIPS; trip++)
      ms += network.latency(process.host, host) + network.latency(host, process.host);
    return ms;
  }

  query(text: string, values: readonly unknown[] = []): Promise<{ rows: unknown[] }> {
    const request = requestOf(text, values);
    const { process, session, up } = this;
    return new Promise((resolve, reject) => {
      if (session === null || up === null || this.gone) {
        reject(new Error('not connected'));
        return;
      }
      const limit = process.engine.after(this.options.query_timeout, process, () => reject(new Error('timeout')));
      const fail = () => {
        limit.cancelled = true;
        reject(new Error('Connection terminated'));
      };
      this.once('end', fail);
      const answer = (reply: Reply) => {
        limit.cancelled = true;
        this.off('end', fail);
        if (!reply.ok) reject(databaseError(reply.error, reply.code));
        else if (reply.kind === 'identity') resolve({ rows: [{ name: reply.name, recovery: reply.recovery }] });
        else
          resolve({
            rows: reply.kind === 'committed' ? [{ node: request.kind === 'commit' ? request.as : null }] : [],
          });
      };
      up.send(session.postgres.process, () =>
        session.execute(request, (reply) => this.down?.send(process, () => answer(reply))),
      );
    });
  }

  async end(): Promise<void> {
    this.drop();
  }

  private drop(): void {
    if (this.gone) return;
    this.leave();
    const { session } = this;
    if (session !== null) this.up?.send(session.postgres.process, () => session.postgres.closeSession(session));
  }

  private lost(): void {
    if (this.gone) return;
    this.leave();
    this.emit('end');
  }

  private leave(): void {
    this.gone = true;
    this.process.onDeath.delete(this.onDeath);
  }
}

/** Translates the two statements of the opening checks. */
function requestOf(text: string, values: readonly unknown[]): Request {
  if (!text.startsWith('INSERT')) return { kind: 'identity' };
  return text.includes('cluster_name') ? { kind: 'commit', as: String(values[1]) } : { kind: 'commit' };
}

function databaseError(message: string, code: string | undefined): Error {
  return Object.assign(new pg.DatabaseError(message, message.length, 'error'), { code });
}
