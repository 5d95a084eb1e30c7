/** TLS with clients: what follows from the config. Pure but for the name of this machine. */
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import type { TlsMode } from '../failover/contract/messages';
import type { Settings } from './config';
import { speaksHttps, tlsMode } from './config-values';

/** Folders in the monitor's container with the user's own files. */
const OWN_FOLDERS = { certificate: '/run/tls/certificate', key: '/run/tls/key' } as const;

/** A user's file: the folder that is mounted, and the file's path in the monitor's container. */
export interface OwnFile {
  /** Config key. */
  readonly key: string;
  /** The file on this machine, as the config names it, and the folder that is mounted. */
  readonly file: string;
  readonly source: string;
  readonly target: string;
  readonly path: string;
}

export interface Tls {
  readonly mode: TlsMode;
  /** Why the mode is not the usual one, for people; undefined: it is, or the config names it. */
  readonly because: string | undefined;
  /** The page, the API and the backends' port speak HTTPS, because they are published beyond loopback. */
  readonly https: boolean;
  /** Names and addresses under which clients know the stack. */
  readonly names: readonly string[];
  /** The user's own certificate and key; undefined: the stack makes its own. */
  readonly own: { readonly certificate: OwnFile; readonly key: OwnFile } | undefined;
}

/** @param inner names and addresses of HAProxy inside the networks */
export function tlsOf(settings: Settings, inner: readonly string[], host = hostname()): Tls {
  const { tls, tlsNames, tlsCertificate, tlsKey, bindAddress } = settings;
  const mode = tlsMode(tls, bindAddress);
  const outer = ['localhost', '127.0.0.1', '::1', ...(bindAddress === '0.0.0.0' ? [] : [bindAddress])];
  const names = [...outer, ...(isHostName(host) ? [host] : []), ...inner, ...tlsNames];
  return {
    mode,
    https: speaksHttps(tls, bindAddress),
    because: tls === 'auto' && mode === 'require' ? `bindAddress is ${bindAddress}, which is not loopback` : undefined,
    names: [...new Set(names)],
    own:
      tlsCertificate === '' || tlsKey === ''
        ? undefined
        : {
            certificate: ownFile('tlsCertificate', tlsCertificate, OWN_FOLDERS.certificate),
            key: ownFile('tlsKey', tlsKey, OWN_FOLDERS.key),
          },
  };
}

/**
 * A folder is mounted, because a file that is replaced by another one would stay the old one in the container. The
 * files in certbot's folder `live/NAME` are links into its folder `archive`, so the folder of both is mounted.
 */
function ownFile(key: string, file: string, target: string): OwnFile {
  const certbot = /^(.+)\/live\/[^/]+\/[^/]+$/.exec(file)?.[1];
  const source = certbot ?? dirname(file);
  return { key, file, source, target, path: join(target, relative(source, file) || basename(file)) };
}

function isHostName(name: string): boolean {
  return isIP(name) !== 0 || /^[a-zA-Z0-9][a-zA-Z0-9.-]{0,252}$/.test(name);
}
