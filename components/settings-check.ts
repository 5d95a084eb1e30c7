/** Lets PostgreSQL itself check `postgresSettings` before anything is changed. */
import * as command from '@pulumi/command';
import type * as pulumi from '@pulumi/pulumi';
import { STACK_LABEL } from '../stack/naming';
import type { Topology } from '../stack/topology';

/**
 * PostgreSQL checks the settings in a container of its own, without network and data: it reads them, and starts an
 * empty database with them. If the check fails, it shows PostgreSQL's message, and everything that depends on it stays
 * unchanged. Undefined when there is nothing to check.
 */
export function checkBeforeChange(
  { postgresSettings: settings, stackLabel }: Pick<Topology, 'postgresSettings' | 'stackLabel'>,
  image: pulumi.Input<string>,
  parent: pulumi.Resource,
): command.local.Command | undefined {
  if (Object.keys(settings).length === 0) return undefined;
  const stdin = JSON.stringify(settings);
  return new command.local.Command(
    'postgres-settings-check',
    {
      create: CHECK,
      environment: { POSTGRES_IMAGE: image, LABEL: `${STACK_LABEL}=${stackLabel}` },
      stdin,
      triggers: [image, stdin],
    },
    { parent },
  );
}

const CHECK = [
  'docker run --rm --interactive --init --network none --read-only --cap-drop ALL --security-opt no-new-privileges',
  '--label "$LABEL" --tmpfs /tmp:rw,size=1g,mode=1777 "$POSTGRES_IMAGE" node /app/keeper.mjs check-settings',
].join(' ');
