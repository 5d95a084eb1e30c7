/**
 * Plays each scenario and compares its text with the story in this folder.
 * `npx vitest run --project unit test/scenarios -u` writes the stories again.
 */
import { describe, expect, it } from 'vitest';
import { SCENARIOS } from './scenarios';
import { storyOf } from './story';

describe('a scenario', () => {
  it.each(Object.entries(SCENARIOS).map(([name, one]) => ({ name, ...one })))('$name: $title', async (scenario) => {
    const text = await storyOf(scenario);
    expect(text).toContain('Nothing acknowledged was lost');
    await expect(text).toMatchFileSnapshot(`${scenario.name}.md`);
  });
});
