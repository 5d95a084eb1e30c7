/** A real headless Chromium: Debian's, driven by playwright-core. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { runOk } from '../../../scripts/lib/exec';
import { PATHS } from '../../../scripts/lib/paths';

const PROGRAM = '/usr/bin/chromium';
const INSTALL_MS = 300_000;
/** A page's own waits, ms. */
const LIMIT_MS = 15_000;

/** Starts Chromium, which is installed first where it is missing. @throws Error when that cannot be done. */
export async function openBrowser(): Promise<Browser> {
  if (!existsSync(PROGRAM)) {
    const install = 'apt-get update -q && apt-get install -y -q --no-install-recommends chromium';
    await runOk('sh', ['-c', install], { deadlineMs: INSTALL_MS });
  }
  // Its own sandbox needs rights that root in a container does not have; it only ever loads pages of the test.
  return chromium.launch({ executablePath: PROGRAM, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

/** A page with nothing of another one in it. What it complains of is added to `complaints`. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
  complaints: string[] = [],
): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1200, height: 1000 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    // That the monitor is away or refuses something is what some tests are about.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      complaints.push(message.text());
  });
  await page.goto(url);
  return page;
}

/** Saves a picture: into docs/images with SCREENSHOTS=docs, else among the test's reports. */
export async function picture(page: Page, name: string, fullPage = false): Promise<void> {
  const folder = process.env.SCREENSHOTS === 'docs' ? join(PATHS.root, 'docs', 'images') : join(PATHS.reports, 'pages');
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage });
}
