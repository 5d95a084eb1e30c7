/**
 * Requests to a stack's own servers. Where they speak HTTPS, the server proves itself before anything is sent to it: by
 * the stack's authority, or by the very certificate that the config names.
 */
import { X509Certificate } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import { isIP } from 'node:net';
import { connect, rootCertificates, type TLSSocket } from 'node:tls';

/** More than any answer of the monitor has, bytes. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;

export interface Trust {
  /** Certificates of authorities, as PEM. */
  readonly authorities: readonly string[];
  /** The public authorities count, too, because the certificate is the user's own. */
  readonly isPublic: boolean;
  /** This certificate counts under every name: it is the file that the config names, as PEM. */
  readonly pinned?: string;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Limit of the whole request, ms. */
  readonly limitMs: number;
}

/**
 * Sends a request and resolves with the answer. `trust` is asked for `https://` only.
 * @throws Error when there is no answer in time, or the server does not prove itself; then nothing was sent to it.
 */
export async function fetchTrusting(
  url: string,
  { limitMs, ...init }: Ask,
  trust: () => Promise<Trust>,
): Promise<Response> {
  const signal = AbortSignal.timeout(limitMs);
  if (!url.startsWith('https:')) return fetch(url, { ...init, signal });
  const to = new URL(url);
  const socket = await dial(to, await trust(), signal);
  try {
    return await ask(socket, to, init, signal);
  } finally {
    socket.destroy();
  }
}

function dial(to: URL, { authorities, isPublic, pinned }: Trust, signal: AbortSignal): Promise<TLSSocket> {
  const host = to.hostname.replace(/^\[|\]$/g, '');
  return new Promise((resolve, reject) => {
    const socket = connect({
      ...{ host, port: Number(to.port || '443'), ca: [...authorities, ...(isPublic ? rootCertificates : [])] },
      ...(isIP(host) === 0 && { servername: host }),
      // It is checked below, where the pinned one counts, too.
      rejectUnauthorized: false,
    });
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.once('error', fail);
    socket.once('secureConnect', () => {
      if (socket.authorized || isPinned(socket, pinned)) resolve(socket);
      else fail(new Error(`its certificate is not trusted: ${String(socket.authorizationError)}`));
    });
    abortWith(signal, fail);
  });
}

function isPinned(socket: TLSSocket, pinned: string | undefined): boolean {
  const shown = socket.getPeerX509Certificate();
  return pinned !== undefined && shown !== undefined && new X509Certificate(pinned).raw.equals(shown.raw);
}

function ask(socket: TLSSocket, to: URL, init: Omit<Ask, 'limitMs'>, signal: AbortSignal): Promise<Response> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', headers = {}, body } = init;
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const options = { path: `${to.pathname}${to.search}`, headers: { host: to.host, ...headers, ...length } };
    const sent = request({ ...options, method, createConnection: () => socket }, (answer) => {
      whole(answer).then((text) => resolve(new Response(text, { status: answer.statusCode ?? 500 })), reject);
    });
    sent.once('error', reject);
    abortWith(signal, (error) => {
      reject(error);
      sent.destroy();
    });
    sent.end(body);
  });
}

async function whole(answer: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > BODY_BYTES_MAX) throw new Error('the answer is too long');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function abortWith(signal: AbortSignal, fail: (error: Error) => void): void {
  const late = () => fail(new Error('no answer in time'));
  if (signal.aborted) late();
  else signal.addEventListener('abort', late, { once: true });
}
