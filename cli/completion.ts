/** Shell completion, made from the commands themselves. Pure. */
import type { Command } from 'commander';

/** The hidden command that lists the stack's nodes for completion. */
export const NODES_COMMAND = '__nodes';
/** Commands and options whose value is a node. */
const TAKES_NODE = new Set(['switchover', 'rebuild', 'promote', 'psql', '--to']);

interface Known {
  name: string;
  description: string;
  options: string[];
}

function known(program: Command): Known[] {
  return program.commands
    .filter((command) => command.name() !== NODES_COMMAND)
    .map((command) => ({
      name: command.name(),
      description: command.description(),
      options: [
        ...command.commands.map((one) => one.name()),
        ...[command, ...command.commands].flatMap((one) => one.options.map((option) => option.long ?? '')),
      ].filter((word, at, all) => word !== '' && all.indexOf(word) === at),
    }));
}

/** `eval "$(pgfailover completion bash)"` */
export function bashCompletion(program: Command): string {
  const commands = known(program);
  const cases = commands.map(({ name, options }) => `    ${name}) words="${[...options, '--help'].join(' ')}" ;;`);
  return `_pgfailover() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]} words
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')}" -- "$word"))
    return
  fi
  case "$command" in
${cases.join('\n')}
  esac
  case "$before" in
    ${[...TAKES_NODE].join('|')}) words="$words $(pgfailover ${NODES_COMMAND} 2>/dev/null)" ;;
    completion) words="bash zsh" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _pgfailover pgfailover
`;
}

/** `pgfailover completion zsh > "\${fpath[1]}/_pgfailover"` or `source <(pgfailover completion zsh)` */
export function zshCompletion(program: Command): string {
  const commands = known(program);
  const described = commands.map(({ name, description }) => `    '${name}:${description.replaceAll(/['\\]/g, '’')}'`);
  const cases = commands.map(
    ({ name, options }) =>
      `    ${name}) compadd -- ${[...options, '--help', ...(name === 'completion' ? ['bash', 'zsh'] : [])].join(' ')} ;;`,
  );
  return `#compdef pgfailover
_pgfailover() {
  local -a commands
  commands=(
${described.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case "$words[2]" in
${cases.join('\n')}
  esac
  case "$words[CURRENT-1]" in
    ${[...TAKES_NODE].join('|')}) compadd -- \${(f)"$(pgfailover ${NODES_COMMAND} 2>/dev/null)"} ;;
  esac
}
compdef _pgfailover pgfailover
`;
}
