/** pgAdmin in a real browser: it runs a query through HAProxy, and again after the primary was killed. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PGADMIN_LOGIN_NAME } from '../../components/naming';
import { say } from '../../scripts/lib/terminal';
import { TIMEOUTS } from '../timeouts';
import { openBrowser, openPage } from './lib/browser';
import { bringUp, uiStack } from './lib/stack';

const base = uiStack('ui-pgadmin', 1);
const stack = uiStack('ui-pgadmin', 1, { pgadmin: 'true', pgadminPort: base.ports.pgadmin });
let browser: Browser;
let page: Page;

beforeAll(async () => {
  browser = await openBrowser();
  await bringUp(stack);
});
afterAll(async () => {
  await browser?.close();
  await stack.own.down(say);
});

/** Runs a query in the open query tool and waits for the answer in the grid. */
async function query(sql: string, answer: string): Promise<void> {
  await page.locator('.cm-content').first().click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(sql);
  await page.keyboard.press('F5');
  await page.locator('.rdg-cell', { hasText: answer }).first().waitFor();
}

it('keeps its secrets out of image, environment and process list', async () => {
  const pgadmin = stack.container('pgadmin');
  const login = await stack.output('pgadminLogin');
  const [inspected, image, processes, mode] = await Promise.all([
    stack.docker('inspect', '--format', '{{json .Config}}', pgadmin),
    stack.docker('inspect', '--format', '{{.Image}}', pgadmin).then((id) => stack.docker('history', '--no-trunc', id)),
    stack.docker('top', pgadmin, '-eo', 'args'),
    stack.docker('exec', pgadmin, 'stat', '-c', '%a', '/var/lib/pgadmin/storage/admin_example.com/pgpass'),
  ]);
  for (const text of [inspected, image, processes]) {
    expect(text).not.toContain(login);
    expect(text).not.toContain(stack.password);
  }
  expect(mode).toBe('600');
});

it('runs a query before and after a failover', async () => {
  page = await openPage(browser, `http://127.0.0.1:${stack.ports.pgadmin}/login`);
  page.setDefaultTimeout(TIMEOUTS.rejoin);
  await page.locator('input[name=email]').fill(PGADMIN_LOGIN_NAME);
  await page.locator('input[name=password]').fill(await stack.output('pgadminLogin'));
  await page.getByRole('button', { name: 'Login' }).click();
  await page.getByText('Servers', { exact: true }).first().dblclick();
  await page.getByText('postgres-failover (ui-pgadmin)').first().dblclick();
  await page.getByText('Databases').first().waitFor();
  await page.keyboard.press('Alt+Shift+Q');
  const write = (name: string) =>
    `INSERT INTO users (username, email) VALUES ('${name}', '${name}@example.com') RETURNING username`;
  await query(write('before'), 'before');
  await stack.docker('kill', stack.container('postgres-primary'));
  await query(write('after'), 'after');
});
