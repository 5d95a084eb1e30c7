/** Lets PostgreSQL itself check `postgresSettings` before anything is changed. */
import * as command from '@pulumi/command';
import type * as pulumi from '@pulumi/pulumi';
import { STACK_LABEL } from '../stack/naming';

export interface SettingsCheckArgs {
  /** The settings by name, as PostgreSQL's own configuration file takes them. */
  readonly settings: Readonly<Record<string, string>>;
  /** Value of the label on everything that belongs to the stack: `<project>/<stack>`. */
  readonly stackLabel: string;
  /** The nodes' image. */
  readonly image: pulumi.Input<string>;
  /** Limit of a node's memory; 0: none. */
  readonly memoryBytes: number;
}

/**
 * PostgreSQL checks the settings in a container of its own, without network and data: it reads them, and starts an
 * empty database with them. If the check fails, it shows PostgreSQL's message, and everything that depends on it stays
 * unchanged. Empty when there is nothing to check.
 */
export function checkBeforeChange(
  name: string,
  { settings, stackLabel, image, memoryBytes }: SettingsCheckArgs,
  parent: pulumi.Resource,
): command.local.Command[] {
  if (Object.keys(settings).length === 0) return [];
  const stdin = JSON.stringify(settings);
  const check = new command.local.Command(
    name,
    {
      create: CHECK,
      environment: { POSTGRES_IMAGE: image, LABEL: `${STACK_LABEL}=${stackLabel}`, MEMORY: `${memoryBytes}` },
      stdin,
      triggers: [image, stdin, memoryBytes],
    },
    { parent },
  );
  return [check];
}

/**
 * The check as a shell command. The settings are its standard input, as a JSON object; the environment has
 * POSTGRES_IMAGE, LABEL and MEMORY (bytes). It fails when PostgreSQL refuses the settings, and says why.
 */
export const CHECK = [
  'docker run --rm --interactive --init --network none --read-only --cap-drop ALL --security-opt no-new-privileges',
  '--label "$LABEL" --memory "$MEMORY" --tmpfs /tmp:rw,size=1g,mode=1777 "$POSTGRES_IMAGE" node /app/keeper.mjs check-settings',
].join(' ');
