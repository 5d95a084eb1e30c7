/**
 * The "files" of PostgreSQL's logging collector: two named pipes that the keeper reads. A pipe holds 64 KiB in the
 * kernel and nothing on a disk. So the log never fills a disk, no file has to be rotated or removed, and no line is
 * lost when the data volume is full. While the keeper does not read, PostgreSQL waits, as with any pipe.
 */
import { constants, openSync, readSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { run } from './processes';
import type { ServerLog } from './server-log';

/** A folder on a tmpfs that every container has; the template's `log_directory`. */
export const LOG_FOLDER = '/dev/shm/postgres-log';
/**
 * The template's `log_filename`, which gets the output that is not a log line, and the name that PostgreSQL derives
 * from it for `jsonlog`.
 */
const STRAY = 'postgresql.log';
const JSON_LOG = 'postgresql.json';
const MAKE_LIMIT_MS = 5_000;
const DRAIN_BYTES = 64 * 1024;
/** Most pieces that are read in one call; together they are more than a pipe holds. */
const DRAIN_PIECES_MAX = 16;

/**
 * One pipe. It is opened for reading and writing, so it has a reader before PostgreSQL opens it, and it never reports
 * end of file while no writer is there.
 */
export class Pipe {
  private readonly fd: number;
  private readonly socket: Socket;
  private readonly decoder = new StringDecoder('utf8');

  constructor(
    path: string,
    /** Takes a piece of what was written into the pipe. */
    private readonly hear: (text: string) => void,
  ) {
    this.fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    this.socket = new Socket({ fd: this.fd, readable: true, writable: false });
    this.socket.on('data', (piece: Buffer) => this.hear(this.decoder.write(piece)));
    this.socket.on('error', () => undefined);
  }

  /** Reads immediately all that PostgreSQL has written so far. */
  drain(): void {
    const buffer = Buffer.alloc(DRAIN_BYTES);
    for (let pieces = 0; pieces < DRAIN_PIECES_MAX; pieces++) {
      try {
        const length = readSync(this.fd, buffer);
        if (length === 0) return;
        this.hear(this.decoder.write(buffer.subarray(0, length)));
      } catch {
        return; // EAGAIN: it is empty.
      }
    }
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Creates both pipes in an empty folder and begins to read. */
export async function openLogPipes(log: ServerLog, folder = LOG_FOLDER): Promise<readonly Pipe[]> {
  const [strayPath, jsonPath] = [join(folder, STRAY), join(folder, JSON_LOG)];
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await run('mkfifo', ['-m', '600', strayPath, jsonPath], { limitMs: MAKE_LIMIT_MS });
  return [new Pipe(jsonPath, (text) => log.hear(text)), new Pipe(strayPath, (text) => log.hearStray(text))];
}
