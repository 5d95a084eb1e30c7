/** Arguments of the commands. */
import { editDistance } from '../../stack/config-values';
import { checkStackName, DEFAULT_STACK } from './stack';

/** Pulumi's commands that work on a stack and take `--stack` (docs: Pulumi CLI reference). */
const STACK_COMMANDS = new Set([
  'up',
  'update',
  'preview',
  'pre',
  'destroy',
  'down',
  'refresh',
  'config',
  'cancel',
  'logs',
  'watch',
  'import',
  'console',
  'stack',
  'state',
]);
/** Sub-commands of `stack` that need no `--stack`. */
const STACK_COMMANDS_WITHOUT = new Set(['init', 'select', 'ls', 'unselect']);
/** Sub-commands of `stack` whose own argument may name it. */
const STACK_COMMANDS_NAMING = new Set(['init', 'select', 'rm']);
/** Flags of any Pulumi command whose value is the next argument, if they can come before a sub-command. */
const GLOBAL_VALUE_FLAGS = new Set([
  '--cwd',
  '-C',
  '--color',
  '--verbose',
  '-v',
  '--profiling',
  '--tracing',
  '--memprofilerate',
]);

/** The arguments before `--`; the ones after it are data. */
function beforeData(args: readonly string[]): readonly string[] {
  const end = args.indexOf('--');
  return end < 0 ? args : args.slice(0, end);
}

/** True when Pulumi would only print help. */
export function asksForHelp(args: readonly string[]): boolean {
  return beforeData(args).some((arg) => arg === '--help' || arg === '-h');
}

/** A stack named in the arguments (`--stack x`, `--stack=x`, `-s x`, `-sx`), or undefined. */
export function namedStack(args: readonly string[]): string | undefined {
  const own = beforeData(args);
  for (const [index, arg] of own.entries()) {
    if (arg === '--stack' || arg === '-s') return own[index + 1];
    if (arg.startsWith('--stack=')) return arg.slice('--stack='.length);
    if (/^-s[^-]/.test(arg)) return arg.slice('-s'.length).replace(/^=/, '');
  }
  return undefined;
}

/** The words of a Pulumi command line that are not flags, as far as they name the command: `['stack', 'init', …]`. */
function words(args: readonly string[]): string[] {
  const found: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? '';
    if (arg === '--') break;
    if (GLOBAL_VALUE_FLAGS.has(arg)) index++;
    else if (!arg.startsWith('-')) found.push(arg);
  }
  return found;
}

/** How `npm run pulumi -- …` runs: the arguments with a stack where one is needed, and which stack that is. */
export interface PulumiCall {
  args: string[];
  /** Pulumi's command, or an empty string. */
  command: string;
  /** The stack whose passphrase is needed. */
  stack: string;
  /** The command works on a stack that has to exist. */
  needsStack: boolean;
  /** The command makes a stack, so a passphrase may be made for it. */
  creates: boolean;
}

/**
 * Adds `--stack dev` when the command takes a stack and none was given. The stack that Pulumi has selected is stored in
 * Pulumi's home, and the offline kit and the vendor's CLI have different homes.
 */
export function withStack(args: readonly string[]): PulumiCall {
  const [command = '', sub = '', third] = words(args);
  const ownName = command === 'stack' && STACK_COMMANDS_NAMING.has(sub) ? third : undefined;
  const named = namedStack(args) ?? ownName;
  // `organization/project/stack` is allowed too; only the last part names files.
  const stack = checkStackName(named?.split('/').at(-1) ?? DEFAULT_STACK);
  const takesStack = STACK_COMMANDS.has(command) && !(command === 'stack' && STACK_COMMANDS_WITHOUT.has(sub));
  const creates = command === 'stack' && sub === 'init';
  const call = { command, stack, creates };
  if (asksForHelp(args) || !takesStack || ownName !== undefined) return { ...call, args: [...args], needsStack: false };
  if (named !== undefined) return { ...call, args: [...args], needsStack: true };
  const end = args.indexOf('--');
  const at = end < 0 ? args.length : end;
  return { ...call, args: [...args.slice(0, at), '--stack', stack, ...args.slice(at)], needsStack: true };
}

/** Takes `--stack NAME` out of the arguments of `up`, `preview` and `destroy`; the rest goes on to Pulumi. */
export function splitStack(args: readonly string[]): { stack: string; rest: string[] } {
  const stack = checkStackName(namedStack(args) ?? DEFAULT_STACK);
  const end = args.indexOf('--');
  const rest = args.filter((arg, index) => {
    if (end >= 0 && index >= end) return true;
    const previous = args[index - 1];
    return (
      !(arg === '--stack' || arg === '-s' || arg.startsWith('--stack=') || /^-s[^-]/.test(arg)) &&
      previous !== '--stack' &&
      previous !== '-s'
    );
  });
  return { stack, rest };
}

/** Wrong arguments. */
export class UsageError extends Error {}

/** A flag that differs from one of ours in so few letters is taken for a mistake. */
const MISTAKE_LETTERS = 2;
/** Pulumi's own flags that differ from one of ours in so few letters (`pulumi up --help`). `doctor` names the first. */
const PULUMI_FLAGS = new Set(['--refresh']);

/**
 * Takes a flag of our own out of the arguments; the rest goes on to Pulumi.
 * @throws UsageError when an argument is nearly that flag: Pulumi would refuse it, and not know what was meant.
 */
export function takeFlag(args: readonly string[], flag: string): { isGiven: boolean; rest: string[] } {
  const rest = args.filter((arg) => arg !== flag);
  for (const arg of beforeData(rest)) {
    if (arg.startsWith('--') && !PULUMI_FLAGS.has(arg) && editDistance(arg, flag) <= MISTAKE_LETTERS)
      throw new UsageError(`${arg}: no such option; did you mean ${flag}?`);
  }
  return { isGiven: rest.length < args.length, rest };
}
