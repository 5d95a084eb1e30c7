/** Copies files into a container before it starts. */
import { readFileSync } from 'node:fs';
import type { Container } from 'dockerode';
import { pack } from 'tar-stream';
import { flag, type Props, text } from '../values';
import { ask } from './daemon';

/** @throws naming the file that cannot be uploaded */
export async function uploadFiles(made: Container, name: string, uploads: Props[]): Promise<void> {
  if (uploads.length === 0) return;
  const archive = pack();
  for (const upload of uploads) {
    const file = text(upload, 'file') ?? '';
    archive.entry(
      { name: file.replace(/^\/+/, ''), mode: modeOf(upload, file), mtime: new Date(), uid: 0, gid: 0 },
      contentOf(upload, file),
    );
  }
  archive.finalize();
  await ask(`upload files into ${name}`, made.putArchive(archive, { path: '/' }));
}

function contentOf(upload: Props, file: string): Buffer {
  const content = text(upload, 'content');
  const base64 = text(upload, 'contentBase64');
  const source = text(upload, 'source');
  if ([content, base64, source].filter((part) => part !== undefined).length !== 1) {
    throw new Error(`uploads: ${file} needs exactly one of content, contentBase64 and source`);
  }
  if (source !== undefined) return readFileSync(source);
  return base64 !== undefined ? Buffer.from(base64, 'base64') : Buffer.from(content ?? '', 'utf8');
}

function modeOf(upload: Props, file: string): number {
  const permissions = text(upload, 'permissions');
  if (permissions === undefined) return flag(upload, 'executable') ? 0o744 : 0o644;
  if (!/^0[0-7]{3}$/.test(permissions)) {
    throw new Error(`uploads: permissions of ${file} must be four octal digits such as 0640, not ${permissions}`);
  }
  return Number.parseInt(permissions, 8);
}
