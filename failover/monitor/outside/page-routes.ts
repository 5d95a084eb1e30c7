/** Serves the status page (the folder `page/`, bundled by scripts/lib/page-bundle.ts): four small static files. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Hono } from 'hono';
import type { PageFiles } from '../../contract/layout';

/** Path in the browser → file of the bundled page and its type. */
const FILES = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/page.css': ['page.css', 'text/css; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript; charset=utf-8'],
  '/icon.svg': ['icon.svg', 'image/svg+xml'],
} as const;

/** @throws Error when a file is missing. */
export function readPage(folder: string): PageFiles {
  const read = (name: string) => readFileSync(join(folder, name), 'utf8');
  return {
    'index.html': read('index.html'),
    'page.css': read('page.css'),
    'page.js': read('page.js'),
    'icon.svg': read('icon.svg'),
  };
}

/** Serves every file that a browser loads for the page. */
export function pageRoutes(app: Hono, files: PageFiles): void {
  for (const [path, [name, type]] of Object.entries(FILES)) {
    app.get(path, (c) => c.body(files[name], 200, { 'Content-Type': type }));
  }
}
