/** The status page in a real browser, with the monitor's shipped HTTP side and a cluster whose status the test sets. */
import type { Browser, Page } from 'playwright-core';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { healthyBackups } from '../rig/healthy-cluster';
import { openBrowser, openPage, picture } from './lib/browser';
import { FAILOVER, FakeMonitor, NODES, statusOf, TOKEN } from './lib/fake-monitor';

const NO_CANDIDATE = { sentence: 'No node could take over.', takesOver: null, loss: 'unknown' as const };
let browser: Browser;
let monitor: FakeMonitor;
let complaints: string[];

beforeAll(async () => {
  browser = await openBrowser();
  return () => browser.close();
});
beforeEach(async () => {
  complaints = [];
  monitor = new FakeMonitor();
  await monitor.start();
});
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  await monitor.stop();
  // Errors of the page's script, and everything that the content security policy blocked.
  expect(complaints).toEqual([]);
});

const open = (options = {}) => openPage(browser, monitor.url, options, complaints);
const text = (page: Page, selector: string) => page.locator(selector).innerText();
const waitForText = (page: Page, selector: string, wanted: string) =>
  page.locator(selector, { hasText: wanted }).first().waitFor();
const row = (page: Page, name: string) => page.getByRole('row', { name }).waitFor();
const press = (page: Page, name: string) => page.getByRole('button', { name }).click();
const said = (page: Page, wanted: string) => waitForText(page, '#outcome', wanted);

/** Opens the page and waits until it shows a healthy cluster. */
async function openWell(options = {}): Promise<Page> {
  const page = await open(options);
  await waitForText(page, '#verdict', 'Safe.');
  return page;
}

/** Presses both buttons of a command: `Continue` shows what would happen, `Do it` does it. */
async function confirm(page: Page): Promise<void> {
  await press(page, 'Continue');
  await press(page, 'Do it');
}

/** Adds ten minutes of samples for the charts. */
function history(): void {
  const nowMs = Date.now();
  for (let i = 0; i < 600; i++) {
    const at = new Date(nowMs - (600 - i) * 1_000).toISOString();
    const away = i > 400 && i < 420;
    const lag = away ? 40_000 * (420 - i) : 600 + 400 * Math.sin(i / 9);
    monitor.sample({ at, writeMs: away ? null : 1.4 + Math.sin(i / 17) ** 2, lagBytes: { 'postgres-replica-1': lag } });
  }
}

describe('the status page', () => {
  it('says first which node would take over and whether acknowledged writes would be lost', async () => {
    const page = await openWell();
    expect(await text(page, '#if-died')).toContain('nothing acknowledged would be lost');
    expect(await text(page, '#sentence')).toContain('postgres-primary serves in term 3');
    expect(await text(page, '#route')).toBe(
      'HAProxy sends writes to postgres-primary, reads to postgres-replica-1; a write waits for 1 of postgres-replica-1.',
    );
    expect(await page.title()).toContain('Safe.');
    await row(page, 'postgres-replica-1 standby');
    await row(page, 'postgres-primary leader');
  });

  it.each([
    ['Writes wait.', { serving: false, code: 'NO_CANDIDATE', sentence: 'start postgres-replica-1' }],
    ['No leader.', { serving: false, leader: null }],
    ['Attention.', { ifLeaderDied: NO_CANDIDATE }],
    ['Attention.', { ifLeaderDied: { sentence: 'Up to 1 MB may go.', takesOver: 'x', loss: 'possible' as const } }],
  ])('says “%s” about such a cluster', async (word, part) => {
    const page = await openWell();
    monitor.show(statusOf(part));
    await waitForText(page, '#verdict', word);
  });

  it('shows what can be restored, and in red what is wrong with the backups', async () => {
    const page = await openWell();
    expect(await page.locator('#backup-window').count()).toBe(0);
    const backup = healthyBackups();
    monitor.show(statusOf({ backup }));
    await waitForText(page, '#backup-window', 'each moment from');
    expect(await text(page, '#backup-archive')).toContain('up to date, the newest archived change is 30 s old');
    expect(await page.locator('#backup-test').count()).toBe(0);
    const last = { result: 'failed' as const, message: 'x is damaged', label: 'L', newest: null, tookMs: 5_000 };
    const restoreTest = {
      ...{ everySeconds: 60, last: { ...last, ended: '2026-06-01T12:00:00Z' }, passed: null, passedAgeSeconds: null },
      ...{ next: null, running: null, old: null, problem: null },
    };
    monitor.show(statusOf({ backup: { ...backup, restoreTest } }));
    await waitForText(page, '#backup-test', 'failed, ');
    await waitForText(page, '[role=alert]', 'The last test of a restore failed: x is damaged');
    const gap = { from: '000000010000000000000005', to: '000000010000000000000007' };
    monitor.show(statusOf({ backup: { ...backup, window: null, archive: { ...backup.archive, gap, gaps: [gap] } } }));
    await waitForText(page, '[role=alert]', 'Gap: the files 000000010000000000000005');
    monitor.show(statusOf({ backup: { ...backup, archive: { ...backup.archive, gaps: [gap] } } }));
    await waitForText(page, '#backup-gaps', '1, before the window; the newest: 000000010000000000000005');
    expect(await page.locator('[role=alert]:visible').count()).toBe(0);
  });

  it.each([1280, 390])('draws what a restore reaches as a band, gaps in red, %i wide', async (width) => {
    const page = await openWell({ viewport: { width, height: 1000 } });
    const at = (hoursAgo: number) => new Date(Date.now() - hoursAgo * 3_600_000).toISOString();
    const backup = { ...healthyBackups(), oldest: at(4), window: { from: at(3), to: at(0) } };
    const gap = { from: '000000010000000000000005', to: '000000010000000000000007' };
    monitor.show(statusOf({ backup: { ...backup, archive: { ...backup.archive, gaps: [gap] } } }));
    const red = page.locator('#backup-band span.bad');
    await red.waitFor();
    const widthOf = async (selector: string) => (await page.locator(selector).boundingBox())?.width ?? 0;
    const share = (await widthOf('#backup-band span.bad')) / (await widthOf('#backup-band'));
    expect(share).toBeCloseTo(0.25, 1);
    const why = 'cannot be restored: the files 000000010000000000000005 to 000000010000000000000007';
    expect(await red.getAttribute('title')).toContain(why);
    await page.getByRole('img', { name: why }).waitFor();
    const colour = (selector: string) =>
      page.evaluate(`getComputedStyle(document.querySelector('${selector}')).backgroundColor`);
    expect(await colour('#backup-band .bad')).toBe('rgb(207, 34, 46)');
    expect(await colour('#backup-band .covered')).toBe('rgb(26, 127, 55)');
    await picture(page, `backups-${width}`, true);
    await page.emulateMedia({ colorScheme: 'dark' });
    await picture(page, `backups-${width}-dark`, true);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
    monitor.show(statusOf({ backup: { ...backup, oldest: at(3) } }));
    await red.waitFor({ state: 'detached' });
  });

  it('shows a failover live, with every step in milliseconds, and the old leader’s return', async () => {
    history();
    monitor.log({ code: 'STARTED', message: 'start 1 of the monitor for stack dev' });
    const page = await openWell();
    const down = { ...NODES.primary, role: 'down' as const, state: 'off', connected: false, timeline: null, lsn: null };
    monitor.show(statusOf({ serving: false, nodes: [down, { ...NODES.replica, role: 'candidate' }] }));
    monitor.log({ level: 'WARN', subject: 'postgres-primary', code: 'LEADER_DEAD', message: 'the connection broke' });
    await waitForText(page, '#verdict', 'Writes wait.');
    const leader = { ...NODES.replica, role: 'leader' as const, state: 'primary', sync: 'no' as const, lagBytes: null };
    monitor.show(statusOf({ term: 4, leader: leader.name, nodes: [down, leader], ifLeaderDied: NO_CANDIDATE }));
    monitor.failover({ ...FAILOVER, at: new Date().toISOString() });
    monitor.log({ subject: leader.name, code: 'OPENED', message: 'writes go to postgres-replica-1 in term 4' });
    await page.getByText('postgres-primary → postgres-replica-1 in 104 ms (term 4)').waitFor();
    const steps = /promoted \+68 ms[\s\S]*opened \+5\.0 ms[\s\S]*rejoined after 3120 ms/;
    expect(await text(page, '#failovers .steps')).toMatch(steps);
    expect(await text(page, '#events li:nth-child(1)')).toContain('OPENED');
    expect(await text(page, '#events li:nth-child(2)')).toContain('LEADER_DEAD');
    expect(await page.locator('#lag svg path').first().getAttribute('d')).toMatch(/^M\d/);
    const back = { ...NODES.replica, name: 'postgres-primary', streamingFrom: leader.name };
    monitor.show(statusOf({ term: 4, leader: leader.name, nodes: [back, leader] }));
    await row(page, 'postgres-primary standby');
  });

  it('says until when the certificate is valid, in red when that is soon', async () => {
    const page = await openWell();
    const until = (days: number) => new Date(Date.parse(statusOf().at) + days * 86_400_000).toISOString();
    const tls = { mode: 'on' as const, problem: null, source: 'authority' as const };
    monitor.show(statusOf({ tls: { ...tls, expires: until(60) } }));
    await waitForText(page, '#tls', 'of the stack’s authority');
    expect(await page.locator('#tls.bad').count()).toBe(0);
    monitor.show(statusOf({ tls: { ...tls, expires: until(13) } }));
    await page.locator('#tls.bad').waitFor();
  });

  it('shows a pause and the observe mode until they end', async () => {
    const page = await open();
    const pause = { reason: 'moving the rack', since: new Date(Date.now() - 7_200_000).toISOString(), until: null };
    monitor.show(statusOf({ pause, failoverMode: 'observe' }));
    await waitForText(page, '#held', 'moving the rack');
    expect(await text(page, '#held')).toMatch(/observe.*paused since .* \(2 h\), until a person resumes/);
    await page.getByRole('button', { name: 'Resume failover …' }).waitFor();
    monitor.show(statusOf());
    await page.locator('#held').waitFor({ state: 'hidden' });
  });

  it('says since when the monitor does not answer, and later continues without a missing or doubled event', async () => {
    monitor.log({ code: 'FIRST' });
    const page = await open();
    await waitForText(page, '#events', 'FIRST');
    await monitor.stop();
    await waitForText(page, '#away', 'The monitor has not answered since');
    expect(await text(page, '#live')).toBe('not connected');
    expect(await text(page, '#verdict')).toBe('Not known.');
    monitor.log({ code: 'MISSED' });
    await monitor.start();
    await page.locator('#away').waitFor({ state: 'hidden' });
    await waitForText(page, '#events', 'MISSED');
    expect(await page.locator('#events code').allInnerTexts()).toEqual(['MISSED', 'FIRST']);
  });

  it('shows text as text, never as HTML', async () => {
    const evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
    monitor.log({ message: evil, subject: evil, code: evil });
    const pause = { reason: evil, since: new Date().toISOString(), until: null };
    const nodes = [{ ...NODES.primary, name: evil, failure: evil }];
    monitor.show(statusOf({ stack: evil, sentence: evil, pause, nodes }));
    const page = await open();
    await waitForText(page, '#held', 'onerror');
    await waitForText(page, '#events', 'onerror');
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.locator('script').count()).toBe(1);
  });
});

describe('a command on the page', () => {
  it('asks for the token once, says what will happen, and is done only after a second confirmation', async () => {
    const page = await open();
    await press(page, 'Switch over …');
    await page.getByLabel('New leader').selectOption('postgres-replica-1');
    await page.getByLabel(/^Token/).fill(TOKEN);
    await press(page, 'Continue');
    await said(page, 'switchover: this is what would happen');
    expect(monitor.asked).toEqual([]);
    await picture(page, 'confirmation');
    await press(page, 'Do it');
    await said(page, 'postgres-replica-1 leads now');
    expect(monitor.asked).toEqual([{ kind: 'switchover', to: 'postgres-replica-1' }]);
    await press(page, 'Close');
    await press(page, 'Rebuild postgres-replica-1');
    expect(await page.getByLabel(/^Token/).count()).toBe(0);
    await press(page, 'Continue');
    await said(page, 'rebuild: this is what would happen');
    await press(page, 'Do it');
    await expect.poll(() => monitor.asked.at(-1)).toEqual({ kind: 'rebuild', node: 'postgres-replica-1' });
  });

  it('does nothing when it is cancelled, also by keyboard, and gives the focus back', async () => {
    const page = await open();
    await page.getByRole('button', { name: 'Pause failover …' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'Pause automatic failover' }).waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    expect(await page.evaluate('document.activeElement.id')).toBe('pause');
    expect(monitor.asked).toEqual([]);
  });

  it('pauses for a reason and a time, and resumes', async () => {
    const page = await open();
    await press(page, 'Pause failover …');
    await page.getByLabel(/^Reason/).fill('moving the rack');
    await page.getByLabel('How long').selectOption('3600000');
    await page.getByLabel(/^Token/).fill(TOKEN);
    await confirm(page);
    await expect.poll(() => monitor.asked[0]).toMatchObject({ kind: 'pause', pause: { reason: 'moving the rack' } });
    await press(page, 'Close');
    monitor.show(statusOf({ pause: { reason: 'moving the rack', since: new Date().toISOString(), until: null } }));
    await press(page, 'Resume failover …');
    await confirm(page);
    await expect.poll(() => monitor.asked[1]).toMatchObject({ kind: 'resume' });
  });

  it('shows a message for a wrong token and for a refusal, and can be tried again', async () => {
    const page = await open();
    await press(page, 'Switch over …');
    await page.getByLabel(/^Token/).fill('wrong');
    await press(page, 'Continue');
    await said(page, 'The token is not the right one.');
    await page.getByLabel(/^Token/).fill(TOKEN);
    await press(page, 'Continue');
    monitor.answer = { done: false, message: 'postgres-replica-1 is off' };
    await press(page, 'Do it');
    await said(page, 'Refused: postgres-replica-1 is off');
    expect(monitor.asked).toHaveLength(1);
  });
});

describe('the page on every screen', () => {
  it('fits a phone: no sideways scrolling, every value with its name', async () => {
    history();
    monitor.failover(FAILOVER);
    monitor.log({ level: 'WARN', code: 'LEADER_DEAD', message: 'the connection to postgres-primary broke '.repeat(4) });
    const page = await openWell({ viewport: { width: 360, height: 780 }, isMobile: true, hasTouch: true });
    await waitForText(page, '#events', 'LEADER_DEAD');
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
    const label = 'getComputedStyle(document.querySelector("#nodes td"), "::before").content';
    expect(await page.evaluate(label)).toBe('"Role"');
    await picture(page, 'phone', true);
  });

  it.each(['light', 'dark'] as const)('has enough contrast in %s colours', async (colorScheme) => {
    history();
    monitor.failover(FAILOVER);
    monitor.log({ code: 'OPENED', message: 'writes go to postgres-replica-1 in term 4' });
    const page = await openWell({ colorScheme });
    await waitForText(page, '#events', 'OPENED');
    expect(await page.evaluate<string[]>(POOR_CONTRAST)).toEqual([]);
    await picture(page, colorScheme === 'light' ? 'page' : 'dark', true);
  });

  it('can be read by a screen reader: landmarks, headings, names of all controls, live regions', async () => {
    const page = await openWell();
    const tree = await page.locator('body').ariaSnapshot();
    const parts = ['banner:', 'main:', 'heading "PostgreSQL failover" [level=1]', 'table:', 'columnheader "Lag"'];
    for (const part of parts) expect(tree).toContain(part);
    const unnamed =
      'Array.from(document.querySelectorAll("button, a")).filter((e) => !e.textContent.trim() && !e.ariaLabel).length';
    expect(await page.evaluate(unnamed)).toBe(0);
    expect(await page.locator('.verdict[aria-live=polite]').count()).toBe(1);
    // The Tab key first reaches the skip link, then the first command.
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.className')).toBe('skip');
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.id')).toBe('switchover');
  });
});

/** Script for the browser: lists texts whose contrast with their background is below 4.5 (WCAG 2.2, 1.4.3). */
const POOR_CONTRAST = `(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const part = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const own = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  return [...document.body.querySelectorAll('*')].filter((e) => own(e) && e.checkVisibility()).flatMap((e) => {
    const style = getComputedStyle(e);
    const colour = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [luminance(rgb(colour)), luminance(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    return ratio < 4.5 ? [e.tagName + '.' + e.getAttribute('class') + ' "' + e.textContent.slice(0, 30) + '" ' + ratio.toFixed(2)] : [];
  });
})()`;
