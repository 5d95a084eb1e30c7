/** pgAdmin in a real browser: it runs a query through HAProxy, and again after the primary was killed. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PGADMIN_LOGIN_NAME } from '../../components/naming';
import { say } from '../../scripts/lib/terminal';
import { TIMEOUTS } from '../timeouts';
import { openBrowser, openPage, picture } from './lib/browser';
import { bringUp, uiStack } from './lib/stack';

const PORTS = { writePort: 24434, readPort: 24435, statsPort: 24500, backendPort: 24800, monitorPort: 24808 };
const PGADMIN_PORT = 24550;
const stack = uiStack('pga', 1, { ...PORTS, subnet: '10.211.5.0/24', pgadmin: 'true', pgadminPort: PGADMIN_PORT });
const PGADMIN = stack.container('pgadmin');
let browser: Browser;
let page: Page;

beforeAll(async () => {
  browser = await openBrowser();
  await bringUp(stack);
});
afterAll(async () => {
  if (page !== undefined) await picture(page, 'pgadmin').catch(say);
  await browser?.close();
  await stack.own.down(say);
});

/** Pulumi's own files of the stack. */
function savedState(): string {
  const folder = join(stack.own.folder, 'pulumi', '.pulumi', 'stacks');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.json'));
  expect(files).not.toEqual([]);
  return files.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n');
}

it('keeps its login and the database password out of image, environment, process list and plain state', async () => {
  const login = await stack.output('pgadminLogin');
  expect(login).toMatch(/^\S{20,}$/);
  const image = await stack.docker('inspect', '--format', '{{.Image}}', PGADMIN);
  const [inspected, history, processes, environments, modes] = await Promise.all([
    stack.docker('inspect', PGADMIN),
    stack.docker('history', '--no-trunc', image),
    stack.docker('top', PGADMIN, '-eo', 'args'),
    stack.docker('exec', PGADMIN, 'sh', '-c', 'cat /proc/[0-9]*/environ | tr "\\0" "\\n"'),
    stack.docker('exec', PGADMIN, 'sh', '-c', 'stat -c "%a %u" /var/lib/pgadmin/storage/*/pgpass'),
  ]);
  expect(processes).toContain('gunicorn');
  expect(environments).toContain('HOME=/var/lib/pgadmin');
  for (const text of [inspected, history, processes, environments]) {
    expect(text).not.toContain(login);
    expect(text).not.toContain(stack.password);
  }
  expect(savedState()).not.toContain(login);
  expect(modes).toBe('600 10005');
});

it('lets nobody in without the login', async () => {
  page = await openPage(browser, `http://127.0.0.1:${PGADMIN_PORT}/browser/`);
  page.setDefaultTimeout(TIMEOUTS.rejoin);
  await page.locator('input[name=email]').fill(PGADMIN_LOGIN_NAME);
  await page.locator('input[name=password]').fill('not-the-password');
  await page.getByRole('button', { name: 'Login' }).click();
  await page.getByText('Incorrect username or password').first().waitFor();
  expect(page.url()).toContain('/login');
});

/** Runs a query in the open query tool and waits for the answer in the grid. */
async function query(sql: string, answer: string): Promise<void> {
  await page.locator('.cm-content').first().click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(sql);
  await page.keyboard.press('F5');
  await page.getByRole('gridcell', { name: answer, exact: true }).waitFor();
}

it('runs a query before and after a failover', async () => {
  await page.goto(`http://127.0.0.1:${PGADMIN_PORT}/login`);
  await page.locator('input[name=email]').fill(PGADMIN_LOGIN_NAME);
  await page.locator('input[name=password]').fill(await stack.output('pgadminLogin'));
  await page.getByRole('button', { name: 'Login' }).click();
  await page.getByText('Servers', { exact: true }).first().dblclick();
  await page.getByText('postgres-failover (pga)').first().dblclick();
  await page.getByText('Databases').first().waitFor();
  await page.keyboard.press('Alt+Shift+Q');
  const write = (name: string) =>
    `INSERT INTO users (username, email) VALUES ('${name}', '${name}@example.com') RETURNING username`;
  await query(write('before'), 'before');
  await stack.docker('kill', stack.container('postgres-primary'));
  await query(write('after'), 'after');
});
