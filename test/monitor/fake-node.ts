/**
 * A node as a process of this machine: PostgreSQL's port and the keeper's port that HAProxy asks. The test decides in
 * which order they die, as the kernel does when the container is killed.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { PORTS } from '../../failover/contract/layout';

const NOTHING = Buffer.alloc(0);

export class FakeNode {
  /** Questions that the keeper's port has answered. */
  answered = 0;
  /** Connections that have asked and got an answer. */
  readonly asking = new Set<Socket>();
  /** Clients that the postmaster's port took after the kill; the kernel ends them without an answer. */
  metDying = 0;
  /** The keeper's port gives no answers, which {@link speak} ends. */
  silent = false;
  private dying = false;
  private readonly sessions = new Set<Socket>();
  /** Connections of HAProxy, each with what it has asked and has no answer to. */
  private readonly questions = new Map<Socket, Buffer>();
  private readonly postgres: Server;
  private readonly keeper: Server;

  constructor(private readonly address: string) {
    this.postgres = createServer((socket) => this.serve(socket));
    this.keeper = createServer({ noDelay: true }, (socket) => this.answer(socket));
  }

  async listen(): Promise<void> {
    this.postgres.listen(PORTS.postgres, this.address);
    this.keeper.listen(PORTS.keeperAlive, this.address);
    await Promise.all([once(this.postgres, 'listening'), once(this.keeper, 'listening')]);
  }

  /** No process runs any more; those with sessions are the first that end. */
  kill(): void {
    this.dying = true;
    this.silent = true;
    for (const session of this.sessions) session.resetAndDestroy();
  }

  /** The postmaster ends, then the keeper, as late as HAProxy has to bear it. */
  async end(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 30));
    this.postgres.close();
    for (const session of this.sessions) session.resetAndDestroy();
    this.keeper.close();
    for (const question of this.questions.keys()) question.resetAndDestroy();
  }

  /** Answers from now on, and what was asked meanwhile, too. */
  speak(): void {
    this.silent = false;
    for (const socket of this.questions.keys()) this.send(socket);
  }

  close(): void {
    for (const server of [this.postgres, this.keeper]) server.close();
    for (const socket of [...this.sessions, ...this.questions.keys()]) socket.destroy();
  }

  private serve(socket: Socket): void {
    this.sessions.add(socket);
    forget(socket, () => this.sessions.delete(socket));
    if (this.dying) this.metDying++;
    else socket.write('many\n');
  }

  private answer(socket: Socket): void {
    this.questions.set(socket, NOTHING);
    forget(socket, () => {
      this.questions.delete(socket);
      this.asking.delete(socket);
    });
    socket.on('data', (bytes) => {
      this.questions.set(socket, bytes);
      if (!this.silent) this.send(socket);
    });
  }

  private send(socket: Socket): void {
    const asked = this.questions.get(socket) ?? NOTHING;
    if (asked.length === 0) return;
    this.questions.set(socket, NOTHING);
    this.answered++;
    this.asking.add(socket);
    socket.write(asked);
  }
}

function forget(socket: Socket, from: () => void): void {
  socket.on('error', () => undefined).on('close', from);
}
