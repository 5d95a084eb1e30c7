/** The stories in this folder are golden: `npx vitest run --project unit test/scenarios -u` tells them anew. */
import { describe, expect, it } from 'vitest';
import { SCENARIOS } from './scenarios';
import { tell } from './story';

describe('a scenario', () => {
  it.each(Object.entries(SCENARIOS).map(([name, one]) => ({ name, ...one })))('$name: $title', async (scenario) => {
    const text = await tell(scenario);
    expect(text).toContain('Nothing acknowledged was lost');
    await expect(text).toMatchFileSnapshot(`${scenario.name}.md`);
  });
});
