/** Debian's Chromium without a window, driven by playwright-core. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { runOk } from '../../../scripts/lib/exec';
import { PATHS } from '../../../scripts/lib/paths';

const PROGRAM = '/usr/bin/chromium';
const INSTALL_MS = 300_000;
/** Limit for playwright's waits on a page, ms. */
const LIMIT_MS = 15_000;

/** Starts Chromium, and installs it first if it is missing. @throws Error when it cannot be installed. */
export async function openBrowser(): Promise<Browser> {
  if (!existsSync(PROGRAM)) {
    const install = 'apt-get update -q && apt-get install -y -q --no-install-recommends chromium';
    await runOk('sh', ['-c', install], { deadlineMs: INSTALL_MS });
  }
  // Chromium's sandbox needs rights that root in a container does not have. It only loads pages of the tests.
  return chromium.launch({ executablePath: PROGRAM, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

/** Opens a page that shares no cookies or storage with other pages. Errors of its scripts are added to `complaints`. */
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
    // Failed requests are left out: in some tests the monitor is stopped or refuses a command.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      complaints.push(message.text());
  });
  await page.goto(url);
  return page;
}

/** Saves a picture of the page: with SCREENSHOTS=docs into docs/images, else into the folder of test reports. */
export async function picture(page: Page, name: string, fullPage = false): Promise<void> {
  const folder = process.env.SCREENSHOTS === 'docs' ? join(PATHS.root, 'docs', 'images') : join(PATHS.reports, 'pages');
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage });
}
