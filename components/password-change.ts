/**
 * A changed `databasePassword` rolls through the running stack without a failed request: every running backend is told
 * the new password, then the monitor is replaced (which changes the role), and only when the new one is in force are the
 * backends replaced, one by one. See docs/decisions/0006-password-change.md.
 */
import * as command from '@pulumi/command';
import type * as docker from '@pulumi/docker';
import type * as pulumi from '@pulumi/pulumi';
import { ROLE_LABEL, STACK_LABEL } from './naming';
import type { Topology } from './topology';

const TELL_LIMIT = '1m0s';
const IN_FORCE_LIMIT_SECONDS = 180;

/**
 * Which backends run is asked of the engine, so that those that are about to go are told as well. The password is read
 * from stdin and handed on by a builtin of the shell: it never stands on a command line.
 */
function tellScript({ stackLabel }: Topology): string {
  const filters = [`label=${STACK_LABEL}=${stackLabel}`, `label=${ROLE_LABEL}=backend`, 'status=running'];
  return `
set -e
password=$(cat)
for backend in $(docker ps -q${filters.map((filter) => ` --filter '${filter}'`).join('')}); do
  printf '%s' "$password" | docker exec -i "$backend" learn-password
done
`.trim();
}

/** Nothing to do when the stack is new: its backends begin with the right password. */
const NOTHING = 'true';

/** Tells the running backends. What changes the role has to wait for it. */
export function tellBackends(
  topology: Topology,
  password: pulumi.Input<string>,
  parent: pulumi.Resource,
): command.local.Command {
  return new command.local.Command(
    'tell-backends-password',
    { create: NOTHING, update: tellScript(topology), stdin: password },
    { parent, customTimeouts: { update: TELL_LIMIT } },
  );
}

/** Ends when the database's owner gets in with the new password. A backend that knows no other has to wait for it. */
export function passwordInForce(
  topology: Topology,
  password: pulumi.Input<string>,
  monitor: docker.Container,
  parent: pulumi.Resource,
): command.local.Command {
  return new command.local.Command(
    'password-in-force',
    {
      create: NOTHING,
      update: `docker exec ${topology.monitor.name} wait-serving ${IN_FORCE_LIMIT_SECONDS}`,
      stdin: password,
    },
    { parent, dependsOn: [monitor] },
  );
}
