/** The host addresses on which the ports for reading and writing are published. Pure. */
import { isIPv6 } from 'node:net';

export const IPV6_LOOPBACK = '::1';

/**
 * With loopback or every interface also ::1 where the machine has it: programs that are told `localhost` may try it
 * first, and another program's listener there must not take them.
 */
export function boundAddresses(bindAddress: string, ipv6Loopback: boolean): string[] {
  const both = ipv6Loopback && (bindAddress === '127.0.0.1' || bindAddress === '0.0.0.0');
  return both ? [bindAddress, IPV6_LOOPBACK] : [bindAddress];
}

/** True when two listeners on a port would share an address. */
export function sameAddress(a: string, b: string): boolean {
  if (isIPv6(a) !== isIPv6(b)) return false;
  return a === b || [a, b].some((address) => address === '0.0.0.0' || address === '::');
}
