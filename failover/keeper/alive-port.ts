/**
 * A port that sends back each byte that it gets. HAProxy asks here before it lets a new client go to the node: an
 * answer proves that the container was not being killed when the question came. Nothing else is read, and nothing of
 * the node is told, so the port asks for no secret. docs/decisions/0037-a-new-connection-waits-for-an-answer.md
 */
import { createServer, type Server, type Socket } from 'node:net';
import { messageOf } from '../contract/errors';

/** Each thread of HAProxy has a connection; after reloads earlier processes finish their sessions. */
const CONNECTIONS_MAX = 256;
/** Without clients HAProxy asks once a second. The port closes a connection after ten silent seconds, ms. */
const IDLE_MS = 10_000;
/** HAProxy sends one byte and waits for the answer. */
const BYTES_AT_ONCE = 16;

/**
 * Listens on all addresses of the container, as PostgreSQL does. When that fails the log says so, and HAProxy goes on
 * without asking.
 *
 * @param idleMs The port closes a connection on which no byte has come for this time, ms.
 */
export function listenAlive(port: number, log: (message: string) => void, idleMs = IDLE_MS): Server {
  const server = createServer({ noDelay: true }, (socket) => echo(socket, idleMs));
  server.maxConnections = CONNECTIONS_MAX;
  server.on('error', (error) => log(`HAProxy cannot ask on port ${port}: ${messageOf(error)}`));
  return server.listen(port);
}

function echo(socket: Socket, idleMs: number): void {
  socket.setTimeout(idleMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (bytes) => {
    // A peer that does not take its answers has a full buffer.
    if (bytes.length > BYTES_AT_ONCE || !socket.write(bytes)) socket.destroy();
  });
}
