/** Files that a reader always finds complete, also after a crash of the machine. */
import { access, open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Makes changes of a folder's entries, for example renames, durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces a file. A reader finds the whole old or the whole new text. With `sync` that holds after a crash, too. */
export async function writeWhole(folder: string, name: string, text: string, mode = 0o600, sync = true): Promise<void> {
  const [temporary, path] = [join(folder, `${name}.tmp`), join(folder, name)];
  await writeFile(temporary, text, { mode, flush: sync });
  await rename(temporary, path);
  if (sync) await syncFolder(folder);
}

/** True when the path exists. */
export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
