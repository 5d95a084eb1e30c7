/** The small grammars of config values: durations, sizes, subnets, and the nearest known word. Pure. */
import type { TlsMode } from '../failover/contract/messages';

/** Durations are written `2s`, `500ms`. */
export const DURATIONS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 };
/** Longer ones are written `36h`, `7d`. */
export const LONG_DURATIONS_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 24 * 3_600_000 };
/** Sizes are written as PostgreSQL writes them: `16MB`, powers of 1024. */
export const BYTES: Readonly<Record<string, number>> = { B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3, TB: 1024 ** 4 };

/** A whole number with a unit, converted to the unit of 1; undefined when it does not parse or lies outside min…max. */
export function parseQuantity(
  raw: string,
  units: Readonly<Record<string, number>>,
  min: number,
  max: number,
): number | undefined {
  const match = /^(\d{1,12})([a-zA-Z]+)$/.exec(raw);
  const factor = match?.[2] && Object.hasOwn(units, match[2]) ? units[match[2]] : undefined;
  if (factor === undefined) return undefined;
  const value = Number(match?.[1]) * factor;
  return value >= min && value <= max ? value : undefined;
}

/** An IPv4 network as numbers; undefined when the text is not `a.b.c.d/n` with all host bits zero. */
export function parseSubnet(raw: string): { readonly base: number; readonly bits: number } | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(raw);
  if (!match) return undefined;
  const [a = 0, b = 0, c = 0, d = 0, bits = 0] = match.slice(1).map(Number);
  if ([a, b, c, d].some((byte) => byte > 255) || bits > 32) return undefined;
  const base = ((a * 256 + b) * 256 + c) * 256 + d;
  return base % 2 ** (32 - bits) === 0 ? { base, bits } : undefined;
}

const SUBNET_BITS_MIN = 16;
const SUBNET_BITS_MAX = 24;
const PRIVATE_NETWORKS = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'];

/**
 * True for a private network (RFC 1918) of /16 to /24: large enough for the fixed addresses, and small enough to find a
 * free one.
 */
export function inPrivateSubnet(raw: string): boolean {
  const subnet = parseSubnet(raw);
  return (
    subnet !== undefined &&
    subnet.bits >= SUBNET_BITS_MIN &&
    subnet.bits <= SUBNET_BITS_MAX &&
    PRIVATE_NETWORKS.some((network) => overlaps(network, raw))
  );
}

/** True when two IPv4 networks share an address; false when either does not parse (an IPv6 network, for example). */
export function overlaps(a: string, b: string): boolean {
  const [first, second] = [parseSubnet(a), parseSubnet(b)];
  if (!first || !second) return false;
  const size = 2 ** (32 - Math.min(first.bits, second.bits));
  return Math.floor(first.base / size) === Math.floor(second.base / size);
}

/** The address with the given number in an IPv4 network, for example 20 in 10.201.43.0/24 → 10.201.43.20. */
export function addressIn(subnet: string, host: number): string {
  const network = parseSubnet(subnet);
  if (!network) throw new Error(`${subnet} is not an IPv4 network`);
  const value = network.base + host;
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}

/** The candidate with the smallest edit distance (Levenshtein); among equal ones, the first. */
export function nearest(word: string, candidates: readonly string[]): string {
  const byDistance = candidates.map((name) => ({
    name,
    distance: editDistance(word.toLowerCase(), name.toLowerCase()),
  }));
  return byDistance.reduce((best, next) => (next.distance < best.distance ? next : best)).name;
}

/** How many letters have to be changed, added or taken away (Levenshtein). */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/** The mode that a config means; `auto` and unknown words depend on the address. */
export function tlsMode(tls: string, bindAddress: string): TlsMode {
  if (tls === 'off' || tls === 'on' || tls === 'require') return tls;
  return isLoopback(bindAddress) ? 'on' : 'require';
}

/** Whether page, API and the backends' port speak HTTPS: beyond loopback, unless the config turns TLS off. */
export function speaksHttps(tls: string, bindAddress: string): boolean {
  return tlsMode(tls, bindAddress) !== 'off' && !isLoopback(bindAddress);
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.');
}
