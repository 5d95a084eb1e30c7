/**
 * The stack's certificate authority, and the certificates that it signs (RFC 5280). Keys, serial numbers and signatures
 * follow from one secret: ECDSA signs with a nonce that follows from key and message (RFC 6979). So everyone who has
 * the secret gets the same certificates at every time, and nothing but the secret has to be stored
 * (docs/decisions/0024-certificates-follow-from-one-secret.md).
 *
 * P-256 with SHA-256 throughout: with Ed25519 no libpq client could log in, see `pairProblem` in certificate-check.ts.
 */
import { createECDH, createHash, createPrivateKey, createPublicKey, hkdfSync, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { bits, element, identifier, integer, octets, sequence, set, TRUE, tagged, time, utf8 } from './der';

const DAY_MS = 24 * 3_600_000;
/** Life of a certificate of the nodes. */
export const LIFE_MS = 90 * DAY_MS;
/** The next certificate takes over when this part of the life is left. */
const RENEWED_AT = 1 / 3;
/** A certificate is valid this part of its life before it is handed out, for clients whose clock is late. */
const EARLY = 1 / 90;
/** Fixed, so that the authority's certificate never changes. */
const AUTHORITY_FROM_MS = Date.UTC(2026, 0, 1);
const AUTHORITY_TO_MS = Date.UTC(2049, 11, 31);
/** Input of P-256's key generation by a longer random text (FIPS 186-5, A.2.1), bytes. */
const SEED_BYTES = 48;
const ORGANISATION = 'postgres-failover';

const ALGORITHM = sequence(identifier('1.2.840.10045.4.3.2'));

/** A certificate and its private key, both as PEM. */
export interface Pair {
  readonly certificate: string;
  readonly key: string;
}

/** A server's certificate as it is handed out: with the authority that signed it, unless it is the user's own. */
export interface Leaf extends Pair {
  readonly authority?: string;
}

export interface LeafRequest {
  /** Host names and addresses for which the certificate is valid. */
  readonly names: readonly string[];
  /** The present time. Within a period of two thirds of the life the certificate is always the same one. */
  readonly atMs: number;
  /** @default {@link LIFE_MS} */
  readonly lifeMs?: number;
}

export interface Authority {
  /** Its own certificate, which clients trust (`sslrootcert`), as PEM. */
  certificate(): string;
  /** The certificate of a server at this time. */
  issue(request: LeafRequest): Pair;
}

interface Signer {
  readonly key: KeyObject;
  readonly spki: Buffer;
  sign(message: Buffer): Buffer;
}

/** The authority of this secret. The same secret gives the same authority. */
export async function authorityOf(secret: string): Promise<Authority> {
  const signerOf = await signers(secret);
  const own = signerOf('authority');
  const name = nameOf(`${ORGANISATION} CA ${keyId(own.spki).toString('hex').slice(0, 12)}`);
  return {
    certificate: () =>
      sealed(own, {
        ...{ issuer: name, subject: name, spki: own.spki },
        serial: `authority ${keyId(own.spki).toString('hex')}`,
        validity: [AUTHORITY_FROM_MS, AUTHORITY_TO_MS],
        extensions: [
          extension('2.5.29.19', true, sequence(TRUE, integer(Buffer.from([0])))),
          // keyCertSign and cRLSign.
          extension('2.5.29.15', true, bits(Buffer.from([0b0000_0110]), 1)),
          extension('2.5.29.14', false, octets(keyId(own.spki))),
        ],
      }),
    issue: ({ names, atMs, lifeMs = LIFE_MS }) => {
      const fromMs = periodOf(atMs, lifeMs);
      const serial = `leaf ${fromMs} ${lifeMs} ${JSON.stringify(names)}`;
      const leaf = signerOf(serial);
      const issued = sealed(own, {
        ...{ issuer: name, subject: nameOf(ORGANISATION), spki: leaf.spki, serial },
        validity: [fromMs - lifeMs * EARLY, fromMs + lifeMs],
        extensions: [
          extension('2.5.29.19', true, sequence()),
          // digitalSignature.
          extension('2.5.29.15', true, bits(Buffer.from([0b1000_0000]), 7)),
          extension('2.5.29.37', false, sequence(identifier('1.3.6.1.5.5.7.3.1'))),
          extension('2.5.29.17', false, sequence(...names.map(generalName))),
          extension('2.5.29.14', false, octets(keyId(leaf.spki))),
          extension('2.5.29.35', false, sequence(element(0x80, keyId(own.spki)))),
        ],
      });
      return { certificate: issued, key: leaf.key.export({ type: 'pkcs8', format: 'pem' }).toString() };
    },
  };
}

/** Begin of the period in which the certificate of this moment is the same one, ms since the epoch. */
export function periodOf(atMs: number, lifeMs = LIFE_MS): number {
  const periodMs = Math.floor(lifeMs * (1 - RENEWED_AT));
  return Math.floor(atMs / periodMs) * periodMs;
}

/** Makes the signers of this secret, one for each purpose. */
async function signers(secret: string): Promise<(purpose: string) => Signer> {
  // Loaded only here: keepers and most commands need no certificate.
  const { p256 } = await import('@noble/curves/nist.js');
  return (purpose) => {
    const seed = new Uint8Array(hkdfSync('sha256', secret, ORGANISATION, purpose, SEED_BYTES));
    const secretKey = p256.utils.randomSecretKey(seed);
    const curve = createECDH('prime256v1');
    curve.setPrivateKey(secretKey);
    const point = curve.getPublicKey();
    const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
    const [d, x, y] = [secretKey, point.subarray(1, 33), point.subarray(33)].map(base64);
    const key = createPrivateKey({ key: { kty: 'EC', crv: 'P-256', d, x, y }, format: 'jwk' });
    return {
      key,
      spki: createPublicKey(key).export({ type: 'spki', format: 'der' }),
      sign: (message) => Buffer.from(p256.sign(message, secretKey, { lowS: false, format: 'der' })),
    };
  };
}

interface Body {
  readonly serial: string;
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly validity: readonly [fromMs: number, toMs: number];
  readonly spki: Buffer;
  readonly extensions: readonly Buffer[];
}

/** The signed certificate as PEM. */
function sealed(signer: Signer, { serial, issuer, subject, validity, spki, extensions }: Body): string {
  const body = sequence(
    tagged(0, integer(Buffer.from([2]))),
    integer(serialOf(serial)),
    ALGORITHM,
    issuer,
    sequence(...validity.map(time)),
    subject,
    spki,
    tagged(3, sequence(...extensions)),
  );
  const bytes = sequence(body, ALGORITHM, bits(signer.sign(body)));
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

/** Sixteen bytes that follow from the text. The first one is never zero, so the number always has the same length. */
function serialOf(text: string): Buffer {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
}

function keyId(spki: Buffer): Buffer {
  return createHash('sha256').update(spki).digest().subarray(0, 20);
}

function nameOf(commonName: string): Buffer {
  return sequence(set(sequence(identifier('2.5.4.3'), utf8(commonName))));
}

function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  return sequence(identifier(id), ...(isCritical ? [TRUE] : []), octets(value));
}

/** A name of the extension subjectAltName: an address, or else a host name. */
function generalName(name: string): Buffer {
  const version = isIP(name);
  if (version === 0) return element(0x82, Buffer.from(name, 'latin1'));
  return element(0x87, version === 4 ? Buffer.from(name.split('.').map(Number)) : ipv6(name));
}

/** The sixteen bytes of an IPv6 address. */
function ipv6(address: string): Buffer {
  // The URL's form of it has no dots and at most one `::`.
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = plain.split('::');
  const groups = (text = '') => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const [front, back] = [groups(head), groups(tail)];
  const all = [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
