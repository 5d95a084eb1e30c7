/** The part of `tar-stream` that is used; the package brings no types. */
declare module 'tar-stream' {
  import type { Readable } from 'node:stream';

  interface Header {
    name: string;
    mode: number;
    mtime: Date;
    uid: number;
    gid: number;
    type?: 'file' | 'directory' | 'symlink';
    linkname?: string;
  }
  interface Pack extends Readable {
    entry(header: Header, content?: Buffer): void;
    finalize(): void;
  }
  export function pack(): Pack;
}
