/**
 * S3 for a test: moto's server (PyPI) in a container, behind a door with TLS that the test can shut or slow down. moto itself
 * has no TLS that pgBackRest takes: its server breaks the connection off after an upload.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { promisify } from 'node:util';
import { authorityOf } from '../../failover/contract/certificates';
import { messageOf } from '../../failover/contract/errors';
import { waitFor } from './wait';

const execute = promisify(execFile);
const IMAGE = 'postgres-failover-s3:test';
const HOST = 's3.test';
const INNER_PORT = 5_000;
const START_LIMIT_MS = 60_000;
const DOCKERFILE = `FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/* \\
 && pip install --no-cache-dir --break-system-packages 'moto[server]==5.2.5'
# Otherwise it takes the first part of a host name for the bucket.
ENV S3_IGNORE_SUBDOMAIN_BUCKETNAME=1
USER 65534:65534
CMD ["moto_server", "-H", "0.0.0.0", "-p", "${INNER_PORT}"]
`;

/** Interval of the bytes of an answer that trickles, ms. */
const TRICKLE_MS = 300;
/**
 * `open`: requests pass. `shut`: connections are broken off. `silent`: connections are taken and nothing is answered.
 * `trickles`: each request gets an answer of a few bytes a second, which never ends.
 */
type Door = 'open' | 'shut' | 'silent' | 'trickles';

/** Writes the head of an answer, byte by byte, until the connection is closed. */
function trickle(socket: Duplex): void {
  socket.write('HTTP/1.1 200 OK\r\nx-slow: ');
  const next = setInterval(() => socket.write('x'), TRICKLE_MS);
  socket.on('close', () => clearInterval(next)).on('error', () => undefined);
}

export class S3Server {
  door: Door = 'open';
  private readonly sockets = new Set<Socket>();
  private server: Server | null = null;
  /** Certificate of the authority that its users have to trust, PEM. */
  ca = '';
  /** Methods of the requests, by the id of the access key that signed them. */
  readonly methods = new Map<string, Set<string>>();

  /** `name`: of the container. `address`, `port`: where nodes reach it as {@link host}. */
  constructor(
    private readonly name: string,
    readonly address: string,
    private readonly port: number,
    readonly bucket: string,
  ) {}

  /** For the hosts file of a node. */
  readonly host = HOST;

  get endpoint(): string {
    return `${HOST}:${this.port}`;
  }

  /** Builds the image and starts moto. */
  async start(): Promise<void> {
    await this.remove();
    const folder = mkdtempSync(join(tmpdir(), 's3-image-'));
    try {
      writeFileSync(join(folder, 'Dockerfile'), DOCKERFILE);
      await execute('docker', ['build', '-q', '-t', IMAGE, folder], { env: { ...process.env, DOCKER_BUILDKIT: '0' } });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    const limits = ['--memory', '256m', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges:true'];
    await execute('docker', ['run', '-d', '--name', this.name, ...limits, '-p', `127.0.0.1::${INNER_PORT}`, IMAGE]);
    const { stdout } = await execute('docker', ['port', this.name, `${INNER_PORT}/tcp`]);
    this.moto = Number(stdout.trim().split(':').at(-1));
    await waitFor('moto answers', START_LIMIT_MS, () => this.put(`/${this.bucket}`));
  }

  private moto = 0;

  private put(path: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port: this.moto, path, method: 'PUT' }, (answer) => {
        answer.resume();
        resolve(answer.statusCode === 200);
      });
      asked.on('error', reject).end();
    });
  }

  /** Opens the door; its address has to be there. */
  async listen(): Promise<void> {
    const authority = await authorityOf('a secret of the test that is long enough');
    this.ca = authority.certificate();
    const { certificate: cert, key } = authority.issue({ names: [HOST], atMs: Date.now() });
    const server = createServer({ cert, key }, (asked, answer) => {
      if (this.door === 'silent') return;
      if (this.door === 'trickles') {
        trickle(asked.socket);
        return;
      }
      const { method = '', url: path, headers } = asked;
      const key = /Credential=([^/]+)\//.exec(headers.authorization ?? '')?.[1] ?? '';
      this.methods.set(key, (this.methods.get(key) ?? new Set()).add(method));
      const passed = request({ host: '127.0.0.1', port: this.moto, method, path, headers }, (from) => {
        answer.writeHead(from.statusCode ?? 500, from.headers);
        from.pipe(answer);
      });
      passed.on('error', (error) => {
        answer.writeHead(502);
        answer.end(messageOf(error));
      });
      asked.pipe(passed);
    });
    server.on('connection', (socket: Socket) => {
      if (this.door === 'shut') {
        socket.destroy();
        return;
      }
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket)).on('error', () => undefined);
    });
    server.on('tlsClientError', () => undefined);
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(this.port, this.address, resolve);
    });
  }

  /** Changes the door, also for those who are in. */
  turn(door: Door): void {
    this.door = door;
    for (const socket of this.sockets) socket.destroy();
  }

  close(): void {
    this.turn('shut');
    this.server?.close();
  }

  async remove(): Promise<void> {
    await execute('docker', ['rm', '-f', this.name]).catch(() => undefined);
  }
}
