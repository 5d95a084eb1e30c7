/** The status page of a real stack: it shows a failover from begin to end, and its buttons give commands. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { say } from '../../scripts/lib/terminal';
import { docker } from '../rig/docker';
import { TIMEOUTS } from '../timeouts';
import { openBrowser, openPage, picture } from './lib/browser';
import { UiStack } from './lib/stack';

const stack = new UiStack('ui-page', 0);
const PRIMARY = stack.container('postgres-primary');
const REPLICA = stack.container('postgres-replica-1');
const complaints: string[] = [];
let browser: Browser;
let page: Page;

beforeAll(async () => {
  browser = await openBrowser();
  await stack.bringUp();
  page = await openPage(browser, stack.seen.monitor, {}, complaints);
  page.setDefaultTimeout(TIMEOUTS.rejoin);
});
afterAll(async () => {
  await browser?.close();
  await stack.down(say);
});

const has = (selector: string, text: string) => page.locator(selector, { hasText: text }).first().waitFor();
const row = (name: string) => page.getByRole('row', { name }).waitFor();
const press = async (...names: string[]) => {
  for (const name of names) await page.getByRole('button', { name }).click();
};

async function isWell(leader: string): Promise<void> {
  await has('#sentence', `${leader} serves in term`);
  await has('#verdict', 'Safe.');
  await has('#if-died', 'take');
}

it('shows each step of a failover while it happens, until the old primary is back', async () => {
  await isWell(PRIMARY);
  await docker('kill', PRIMARY);
  await has('#events', 'LEADER_DEAD');
  await has('#events', 'OPENED');
  await row(`${REPLICA} leader`);
  await row(`${PRIMARY} down`);
  await has('#verdict', 'Attention.');
  await has('#failovers', `${PRIMARY} → ${REPLICA}`);
  const steps = await page.locator('#failovers li:first-child .steps').textContent();
  for (const step of ['recorded', 'closed', 'promoted', 'first commit', 'opened'])
    expect(steps).toMatch(new RegExp(`${step} \\+[\\d.]+ m?s`));
  await picture(page, 'failover', true);
  await docker('start', PRIMARY);
  await row(`${PRIMARY} standby`);
  await isWell(REPLICA);
  await has('#failovers li:first-child .steps', 'rejoined');
});

it('pauses, rebuilds a standby and switches over by its buttons, each after a confirmation', async () => {
  const token = await stack.output('adminToken');
  await press('Pause failover …');
  await page.getByLabel(/^Reason/).fill('watched by a test');
  await page.getByLabel(/^Token/).fill(token);
  await press('Continue', 'Do it');
  await has('#held', 'watched by a test');
  await press('Close', 'Resume failover …', 'Continue', 'Do it');
  await page.locator('#held').waitFor({ state: 'hidden' });
  await press('Close', `Rebuild ${PRIMARY}`, 'Continue');
  await has('#outcome', PRIMARY);
  await press('Do it');
  await has('#events', 'REBUILD');
  await press('Close');
  await isWell(REPLICA);

  await press('Switch over …');
  await page.getByLabel('New leader').selectOption(PRIMARY);
  await press('Continue');
  await has('#outcome', PRIMARY);
  await press('Do it');
  await has('#outcome', `${PRIMARY} leads now`);
  await press('Close');
  await isWell(PRIMARY);
  expect(complaints).toEqual([]);
});
