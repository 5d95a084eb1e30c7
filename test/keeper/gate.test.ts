/** The gate for clients of replication against a server that the test plays. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PEOPLES_SLOTS_MAX, refusalOf } from '../../failover/keeper/postgres/gate/commands';
import { Frames } from '../../failover/keeper/postgres/gate/frames';
import { GATE_SESSIONS_MAX, Gate } from '../../failover/keeper/postgres/gate/gate';
import { clientName, readFirst } from '../../failover/keeper/postgres/gate/startup';
import { waitFor } from '../rig/wait';

const LIMIT_MS = 10_000;

/** A message of the protocol: its kind and its body. */
function message(kind: string, body = ''): Buffer {
  const head = Buffer.alloc(5);
  head.write(kind, 0, 'latin1');
  head.writeUInt32BE(4 + Buffer.byteLength(body), 1);
  return Buffer.concat([head, Buffer.from(body)]);
}

function startup(parameters: Readonly<Record<string, string>>, code = 196_608): Buffer {
  const body = Buffer.from(
    `${Object.entries(parameters)
      .map(([k, v]) => `${k}\0${v}\0`)
      .join('')}\0`,
  );
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + body.length, 0);
  head.writeUInt32BE(code, 4);
  return Buffer.concat([head, body]);
}

/** PostgreSQL as far as the gate knows it: it keeps what it hears, and says what the test tells it to. */
class PlayedServer {
  heard = Buffer.alloc(0);
  sockets: Socket[] = [];
  private readonly server: Server = createServer((socket) => {
    this.sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.heard = Buffer.concat([this.heard, chunk]);
    });
  });

  get text(): string {
    return this.heard.toString('latin1');
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  say(...messages: Buffer[]): void {
    this.sockets.at(-1)?.write(Buffer.concat(messages));
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

class Client {
  heard = '';
  closed = false;
  private constructor(readonly socket: Socket) {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.heard += chunk.toString('latin1');
    });
    socket.on('close', () => {
      this.closed = true;
    });
  }

  static async enter(port: number, ...first: Buffer[]): Promise<Client> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    const client = new Client(socket);
    if (first.length > 0) socket.write(Buffer.concat(first));
    return client;
  }
}

/** A free port; another program may take it only in the moment before the gate listens. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

let server: PlayedServer;
let gate: Gate;
let port: number;
let required: boolean;
let from: string;

beforeEach(async () => {
  server = new PlayedServer();
  const postgresPort = await server.listen();
  [port, required, from] = [await freePort(), false, '127.0.0.1'];
  gate = new Gate({
    ...{ port, postgresPort },
    haproxyAddress: () => from,
    tls: () => ({ required, context: null }),
    refusal: (command) => refusalOf(command, ['postgres_primary'], 0),
    failed: (error) => {
      throw error;
    },
  });
  gate.open();
  await waitFor('the gate listens', LIMIT_MS, async () => (await Client.enter(port)).socket.destroy(), 5);
});

afterEach(() => {
  gate.shut();
  server.close();
});

const ready = message('Z', 'I');
const named = (name: string) => message('S', `application_name\0${name}\0`);

/** A session for replication that PostgreSQL has let in. */
async function entered(parameters: Readonly<Record<string, string>> = {}): Promise<Client> {
  const client = await Client.enter(port, startup({ user: 'tools', replication: 'true', ...parameters }));
  await waitFor('PostgreSQL hears of it', LIMIT_MS, () => server.text.includes('tools'), 5);
  server.say(named(clientName(parameters.application_name ?? '')), ready);
  await waitFor('it is in', LIMIT_MS, () => client.heard.includes('Z'), 5);
  return client;
}

describe('a session for replication', () => {
  it('gets a name that no node has, however the client asks for another', async () => {
    await entered({ application_name: 'postgres-replica', options: '-c application_name=postgres-replica' });
    expect(server.text).toContain('application_name\0replication client postgres-replica\0');
    expect(server.text.match(/application_name\0/g)).toHaveLength(1);
  });

  it('begins no stream under another name, even in one packet with the change and the first answer', async () => {
    const client = await entered();
    client.socket.write(
      Buffer.concat([
        message('Q', "SET application_name = 'a'\0"),
        message('Q', 'START_REPLICATION 0/0\0'),
        message('d', 'an answer'),
      ]),
    );
    await waitFor('PostgreSQL hears the change', LIMIT_MS, () => server.text.includes('SET'), 5);
    server.say(message('C', 'SET\0'), named('a'), ready);
    await waitFor('the session has ended', LIMIT_MS, () => client.closed, 5);
    expect(client.heard).toContain('keeps its application_name');
    expect(server.text).not.toContain('START_REPLICATION');
    expect(server.text).not.toContain('an answer');
  });

  it('passes commands on one after the other, and what is streamed both ways', async () => {
    const client = await entered();
    client.socket.write(Buffer.concat([message('Q', 'IDENTIFY_SYSTEM\0'), message('Q', 'START_REPLICATION 0/0\0')]));
    await waitFor('the first command', LIMIT_MS, () => server.text.includes('IDENTIFY'), 5);
    expect(server.text).not.toContain('START');
    server.say(message('C', 'IDENTIFY_SYSTEM\0'), ready);
    await waitFor('the second command', LIMIT_MS, () => server.text.includes('START'), 5);
    server.say(message('W'), message('d', 'x'.repeat(300_000)), message('d', 'end'));
    await waitFor('the stream', LIMIT_MS, () => client.heard.endsWith('end'), 5);
    client.socket.write(message('d', 'an answer'));
    await waitFor('the answer', LIMIT_MS, () => server.text.endsWith('an answer'), 5);
  });

  it('uses no slot of the failover', async () => {
    const client = await entered();
    client.socket.write(message('Q', 'START_REPLICATION SLOT "postgres_primary" 0/0\0'));
    await waitFor('the session has ended', LIMIT_MS, () => client.closed, 5);
    expect(client.heard).toContain('postgres_primary belongs to the failover');
    expect(server.text).not.toContain('START');
  });

  it('takes nothing but simple commands', async () => {
    const client = await entered();
    client.socket.write(message('P', "\0SET application_name = 'a'\0\0\0"));
    await waitFor('the session has ended', LIMIT_MS, () => client.closed, 5);
    expect(server.text).not.toContain('SET');
  });

  it('ends with the gate, at once', async () => {
    const client = await entered();
    server.say(message('W'), message('d', 'early'));
    await waitFor('the stream', LIMIT_MS, () => client.heard.includes('early'), 5);
    gate.shut();
    server.say(message('d', 'late'));
    await waitFor('the session has ended', LIMIT_MS, () => client.closed, 5);
    expect(client.heard).not.toContain('late');
    await expect(Client.enter(port)).rejects.toThrow('ECONNREFUSED');
  });
});

describe('the gate', () => {
  it('lets in HAProxy alone', async () => {
    from = '127.0.0.9';
    const client = await Client.enter(port, startup({ user: 'tools' }));
    await waitFor('the connection is closed', LIMIT_MS, () => client.closed, 5);
    expect(server.heard).toHaveLength(0);
  });

  it('has a bounded number of sessions', async () => {
    for (let i = 0; i < GATE_SESSIONS_MAX; i++) await Client.enter(port, startup({ user: 'tools' }));
    await waitFor('all are in', LIMIT_MS, () => server.sockets.length === GATE_SESSIONS_MAX, 5);
    const more = await Client.enter(port, startup({ user: 'tools' }));
    await waitFor('one more is refused', LIMIT_MS, () => more.heard.includes('C53300') && more.closed, 5);
  });

  it('refuses sessions without TLS where that is required', async () => {
    required = true;
    const client = await Client.enter(port, startup({ user: 'tools' }));
    await waitFor('it is refused', LIMIT_MS, () => client.heard.includes('TLS only') && client.closed, 5);
    expect(server.heard).toHaveLength(0);
  });

  it('passes an ordinary session on as it is', async () => {
    const client = await Client.enter(port, startup({ user: 'tools' }), message('P', 'a statement'));
    await waitFor('PostgreSQL hears it', LIMIT_MS, () => server.text.endsWith('a statement'), 5);
    server.say(message('1'));
    await waitFor('the client hears it', LIMIT_MS, () => client.heard.startsWith('1'), 5);
  });
});

describe('first messages', () => {
  it('are refused when they are none', () => {
    expect(readFirst(Buffer.from('GET / HTTP/1.1\r\n'))).toMatchObject({ kind: 'refused' });
    expect(readFirst(startup({ user: 'x' }, 131_072))).toMatchObject({ kind: 'refused' });
    expect(readFirst(startup({ user: 'x' }).subarray(0, 12))).toEqual({ kind: 'more' });
    const cut = startup({ user: 'x' });
    cut[cut.length - 1] = 120;
    expect(readFirst(cut)).toMatchObject({ kind: 'refused' });
  });

  it.each(['true', 'on', 'yes', '1', 'database', 'oui', ''])('with replication=%s ask for replication', (value) => {
    expect(readFirst(startup({ user: 'x', replication: value }))).toMatchObject({ startup: { replicates: true } });
  });

  it.each(['false', 'OFF', 'no', '0', 'f'])('with replication=%s do not', (value) => {
    expect(readFirst(startup({ user: 'x', replication: value }))).toMatchObject({ startup: { replicates: false } });
  });
});

describe('messages', () => {
  it('come out whole, however they were cut', () => {
    const bytes = Buffer.concat([
      message('d', 'one'),
      message('Q', 'two'),
      message('Q'),
      message('d', ''),
      message('Q', 'three'),
    ]);
    for (let size = 1; size <= bytes.length; size++) {
      let passed = '';
      const whole: string[] = [];
      const frames = new Frames({
        ...{ held: new Set([81]), heldMax: 100 },
        whole: (_, m) => whole.push(m.toString('utf8', 5)),
        pass: (piece) => {
          passed += piece.toString('latin1');
        },
      });
      for (let at = 0; at < bytes.length; at += size) frames.push(bytes.subarray(at, at + size));
      expect(whole).toEqual(['two', '', 'three']);
      expect(passed).toBe(Buffer.concat([message('d', 'one'), message('d', '')]).toString('latin1'));
    }
  });
});

describe('commands', () => {
  it('that make slots are refused beyond a number', () => {
    const make = 'CREATE_REPLICATION_SLOT "mine" PHYSICAL';
    expect(refusalOf(make, [], PEOPLES_SLOTS_MAX - 1)).toBeNull();
    expect(refusalOf(make, [], PEOPLES_SLOTS_MAX)).toContain('no more than');
    expect(refusalOf('CREATE_REPLICATION_SLOT "mine" TEMPORARY PHYSICAL', [], PEOPLES_SLOTS_MAX)).toBeNull();
  });
});
