/**
 * Makes many clients, or serves them, in a process of its own:
 *
 *     tsx held-clients.ts dial <host> <port> <count> <first local port>
 *     tsx held-clients.ts serve <host> <port> <name>
 *
 * Prints lines of JSON. `listening`: the server accepts connections. `connected`: all clients have dialled, and each is
 * connected or closed. `first`: one client got the first answer. `over`: every client was answered or closed. A client
 * leaves when it was answered. Times are ms since the epoch.
 */

import { connect, createServer, type Socket } from 'node:net';
import { epochMs } from '../rig/wait';

/** Clients that dial at the same time: the backlog of HAProxy's listening socket takes only a few thousand. */
const BATCH = 100;
const BATCH_EVERY_MS = 5;

const say = (event: object) => console.log(JSON.stringify(event));

/**
 * Makes the clients. Each one has a local port that no earlier client had: when HAProxy closes a connection, its side
 * stays in TIME_WAIT and drops the SYN of a new client that comes from the same port.
 */
function dial(host: string, port: number, count: number, firstPort: number): void {
  let [begun, connected, answered, closed] = [0, 0, 0, 0];
  const livesMs: number[] = [];
  const settled = () => {
    if (begun === count && connected + closed >= count) say({ what: 'connected', atMs: epochMs(), connected, closed });
  };
  const over = () => {
    if (answered + closed === count) say({ what: 'over', atMs: epochMs(), answered, closed, livesMs });
  };
  const one = (localPort: number): Socket => {
    const fromMs = epochMs();
    let isAnswered = false;
    let isConnected = false;
    const socket = connect({ host, port, localPort });
    socket.once('connect', () => {
      isConnected = true;
      connected += 1;
      socket.write('hello\n');
      settled();
    });
    socket.once('data', () => {
      isAnswered = true;
      answered += 1;
      if (answered === 1) say({ what: 'first', atMs: epochMs() });
      socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.once('close', () => {
      if (!isAnswered) {
        closed += 1;
        if (isConnected) connected -= 1;
        livesMs.push(epochMs() - fromMs);
        settled();
      }
      over();
    });
    return socket;
  };
  const batch = () => {
    for (let i = 0; i < BATCH && begun < count; i++) {
      one(firstPort + begun);
      begun += 1;
    }
    if (begun < count) setTimeout(batch, BATCH_EVERY_MS);
  };
  batch();
}

function serve(host: string, port: number, name: string): void {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => socket.write(`${name}\n`));
  });
  server.listen(port, host, () => say({ what: 'listening' }));
}

const [mode, host = '', port = '', last = '', firstPort = ''] = process.argv.slice(2);
if (mode === 'dial') dial(host, Number(port), Number(last), Number(firstPort));
else serve(host, Number(port), last);
