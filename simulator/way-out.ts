/**
 * A check for the time after all faults. Within a minute the cluster serves, or its sentence for people contains a
 * command that a person can give. The person gives the command, and then the cluster serves within a minute. Only
 * possible commands count: a node that runs already, for example, cannot be started.
 */
import type { SimNode } from './node';
import type { World } from './world';

const MINUTE_MS = 60_000;
/** Number of commands in a row after which they no longer count as a way out. */
const COMMANDS_MAX = 6;

/** Resolves with the violation; null: the cluster serves. */
export async function findWayOut(world: World): Promise<string | null> {
  const { engine } = world;
  const given = new Set<string>();
  for (let i = 0; ; i++) {
    const sinceMs = engine.nowMs;
    if (await engine.run(sinceMs + MINUTE_MS, () => world.servedSince(sinceMs) && !isSearching(world))) return null;
    const words = world.sentence;
    const command = i < COMMANDS_MAX ? commandOf(world, words, given) : null;
    if (command === null) {
      const after = given.size === 0 ? '' : ` (after ${[...given].join(', ')})`;
      return `NO WAY OUT: writes wait, and no command is named that a person could give: ${words}${after}`;
    }
    given.add(command.words);
    world.say(`a person reads "${words}" and gives the command: ${command.words}`);
    command.give();
  }
}

/**
 * True while the monitor searches for the newest state. It opens no slot meanwhile, so a write that succeeds comes from
 * an old session and does not count.
 */
function isSearching({ monitor }: World): boolean {
  return monitor?.seen?.decision.state.adopting === true;
}

interface Command {
  words: string;
  give: () => void;
}

/** The first command of the sentence that a person can give and has not given yet. */
function commandOf(world: World, sentence: string, given: ReadonlySet<string>): Command | null {
  const all = [...starts(world, sentence), ...promotions(world, sentence), ...resumes(world, sentence)];
  return all.find((c) => !given.has(c.words)) ?? null;
}

/** `start primary`, `start primary or 1 of replica-1 and replica-2`: those of the named nodes that are stopped. */
function starts(world: World, sentence: string): Command[] {
  const named = [...sentence.matchAll(/\bstart ([^;:(]+)/g)].map((m) => m[1] ?? '').join(' ');
  return world.members
    .filter((node) => !node.up && new RegExp(`(^|[\\s,])${node.name}($|[\\s,.])`).test(named))
    .map((node) => ({ words: `start ${node.name}`, give: () => node.start() }));
}

/**
 * `promote NODE`, with or without `--accept-data-loss`. If no node is named, a person tries them, beginning with the
 * one that has the most data.
 */
function promotions(world: World, sentence: string): Command[] {
  const commands: Command[] = [];
  for (const [, name = '', loss] of sentence.matchAll(/\bpromote (a node with|[\w-]+)( --accept-data-loss)?/g)) {
    const acceptDataLoss = loss !== undefined;
    const nodes = name === 'a node with' ? furthest(world) : world.members.filter((n) => n.name === name);
    for (const node of nodes) commands.push(promotion(world, node, acceptDataLoss || name === 'a node with'));
  }
  return commands;
}

function promotion(world: World, { name }: SimNode, acceptDataLoss: boolean): Command {
  return {
    words: `promote ${name}${acceptDataLoss ? ' --accept-data-loss' : ''}`,
    give: () => world.monitor?.ask({ kind: 'promote', to: name, acceptDataLoss }),
  };
}

function resumes(world: World, sentence: string): Command[] {
  if (!/\bresume\b/.test(sentence)) return [];
  return [{ words: 'resume', give: () => world.monitor?.ask({ kind: 'resume', by: 'person' }) }];
}

/**
 * Nodes with data that can lead, the one with the most data first. Partly rewound data cannot lead, because it is
 * neither of the two histories (S12).
 */
function furthest(world: World): SimNode[] {
  const length = ({ volume }: SimNode) => volume.data?.wal.length ?? 0;
  const timeline = ({ volume }: SimNode) => volume.data?.timeline ?? 0;
  return world.members
    .filter(({ volume }) => volume.data !== null && !volume.state.rewinding)
    .sort((a, b) => timeline(b) - timeline(a) || length(b) - length(a));
}

/** True when nothing can restore the data: it was only on volumes that people removed, or it is partly rewound. */
export function hasLostAll(world: World): boolean {
  return furthest(world).length === 0;
}
