/** pgAdmin in a real browser: the registered cluster opens without a password, before and after a failover. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, FrameLocator, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { say } from '../../scripts/lib/terminal';
import { PGADMIN_LOGIN_NAME } from '../../stack/naming';
import { docker, sqlInside } from '../rig/docker';
import { TIMEOUTS } from '../timeouts';
import { openBrowser, openPage, picture } from './lib/browser';
import { UiStack } from './lib/stack';

/** It contains a colon and a backslash, which have to be escaped in a password file. */
const PASSWORD = String.raw`ui:pass\word`;
const stack = new UiStack('ui-pgadmin', 1, { pgadmin: 'true', databasePassword: PASSWORD });
const PRIMARY = stack.container('postgres-primary');
const REPLICA = stack.container('postgres-replica-1');
const SERVER = 'postgres-failover (ui-pgadmin)';
const URL = `http://127.0.0.1:${stack.pgadminPort}`;
/** Wait for a node of the tree to open before another double click: this would close a node that just opened, ms. */
const TREE_MS = 60_000;
const TREE_TRIES = 3;
/** URLs outside of pgAdmin that the browser requested; there must be none. */
const foreign: string[] = [];
let browser: Browser;
let page: Page;
let query: FrameLocator;
let loginPassword: string;

beforeAll(async () => {
  browser = await openBrowser();
  await stack.bringUp();
  loginPassword = await stack.output('pgadminLogin');
});
afterAll(async () => {
  await browser?.close();
  await stack.down(say);
});

async function logIn(password = loginPassword): Promise<Page> {
  const opened = await openPage(browser, URL);
  opened.setDefaultTimeout(TIMEOUTS.query);
  opened.on('request', (request) => {
    if (!/^(data:|blob:)/.test(request.url()) && !request.url().startsWith(URL)) foreign.push(request.url());
  });
  await opened.getByRole('textbox', { name: /email/i }).fill(PGADMIN_LOGIN_NAME);
  await opened.locator('input[name=password]').fill(password);
  await opened.getByRole('button', { name: 'Login' }).click();
  return opened;
}

async function enter(): Promise<Page> {
  const entered = await logIn();
  await entered.getByRole('tabpanel', { name: 'Object Explorer' }).getByText('Servers').first().waitFor();
  return entered;
}

/**
 * Opens a node of the tree and clicks its child. To open the server means to connect: pgAdmin must not ask for a
 * password.
 */
async function openInTree(node: string, child: string): Promise<void> {
  const tree = page.getByRole('tabpanel', { name: 'Object Explorer' });
  const wanted = tree.getByText(child, { exact: child === 'app' }).first();
  for (let i = 0; i < TREE_TRIES && !(await wanted.isVisible()); i++) {
    await tree.getByText(node).first().dblclick();
    await wanted.waitFor({ timeout: TREE_MS }).catch(() => null);
  }
  await wanted.click();
}

async function openQueryTool(): Promise<FrameLocator> {
  await openInTree('Servers', SERVER);
  await openInTree(SERVER, 'Databases');
  await openInTree('Databases', 'app');
  await page.getByRole('button', { name: 'Tools' }).click();
  await page.locator('[role=menuitem][data-label="Query Tool"]:not([aria-disabled=true])').click();
  const frame = page.locator('iframe:visible').last().contentFrame();
  await frame.locator('.cm-content:not([aria-readonly=true]):visible').first().waitFor();
  return frame;
}

/** Buttons of pgAdmin's question whether to reconnect after a session has ended. `getByRole` does not find them. */
const asked = () => [page, query].map((where) => where.locator('button', { hasText: 'Continue' }).first());

async function sayYes(): Promise<void> {
  for (const button of asked()) if (await button.isVisible()) await button.click();
}

/** Writes a row (a repetition does no harm) and waits until this node has answered. */
async function writes(user: string, node: string): Promise<void> {
  const values = `VALUES ('${user}', '${user}@example.com') ON CONFLICT (username) DO UPDATE SET email = EXCLUDED.email`;
  const sql = `INSERT INTO users (username, email) ${values} RETURNING username || ' by ' || current_setting('cluster_name')`;
  await sayYes();
  await query.locator('.cm-content:not([aria-readonly=true]):visible').first().click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(sql);
  const answer = query.getByText(`${user} by ${node}`, { exact: true }).first();
  await page.keyboard.press('F5');
  await Promise.any([answer, ...asked()].map((either) => either.waitFor()));
  await sayYes();
  await answer.waitFor();
}

it('refuses a wrong password', async () => {
  const refused = await logIn('not-the-password');
  await refused.getByText('Incorrect username or password').first().waitFor();
  expect(refused.url()).toContain('/login');
  await refused.context().close();
});

it('opens the registered cluster without a password, and writes', async () => {
  page = await enter();
  query = await openQueryTool();
  await writes('before', PRIMARY);
  await picture(page, 'pgadmin');
});

it('writes through the new primary after the old one was killed', async () => {
  await docker('kill', PRIMARY);
  await writes('after', REPLICA);
  expect(await rows()).toBe('after,before');
});

it('opens the cluster again after the failover, and sends no request to another host', async () => {
  await page.context().close();
  page = await enter();
  query = await openQueryTool();
  await writes('anew', REPLICA);
  expect(foreign).toEqual([]);
});

it('keeps its passwords where no other user or program can read them', async () => {
  const name = stack.container('pgadmin');
  const image = await docker('inspect', '--format', '{{.Image}}', name);
  const readable = [
    await docker('inspect', name),
    await docker('top', name, '-eo', 'pid,args'),
    await docker('history', '--no-trunc', image),
    await docker('logs', name),
    await docker('exec', name, 'sh', '-c', 'cat /proc/[0-9]*/environ'),
    savedState(),
  ].join('\n');
  expect(readable).toContain('gunicorn');
  expect(readable).toContain('HOME=/var/lib/pgadmin');
  expect(loginPassword.length).toBeGreaterThanOrEqual(20);
  for (const secret of [loginPassword, PASSWORD, JSON.stringify(PASSWORD).slice(1, -1)])
    expect(readable).not.toContain(secret);
  const passfile = '/var/lib/pgadmin/storage/admin_example.com/pgpass';
  expect(await docker('exec', name, 'stat', '-c', '%a', passfile)).toBe('600');
});

/** Text of Pulumi's state files of the stack. */
function savedState(): string {
  const folder = join(stack.folder, 'pulumi', '.pulumi', 'stacks');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.json'));
  expect(files).not.toEqual([]);
  return files.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n');
}

function rows(): Promise<string> {
  return sqlInside(REPLICA, "SELECT string_agg(username, ',' ORDER BY username) FROM users", 'app');
}
