/**
 * Carries a changed `databasePassword` through the running stack without a failed request. First every running backend
 * learns the new password. Then the monitor is replaced, which changes the role. When the new password is in force, the
 * backends are replaced one by one. See docs/decisions/0006-password-change.md.
 */
import * as command from '@pulumi/command';
import type * as docker from '@pulumi/docker';
import type * as pulumi from '@pulumi/pulumi';
import { LEFT_STOPPED } from '../failover/contract/naming';
import { ROLE_LABEL, STACK_LABEL } from '../stack/naming';

const TELL_LIMIT = '1m0s';
const IN_FORCE_LIMIT_SECONDS = 180;

/**
 * The engine is asked which backends run, so that backends that are about to be removed learn the password, too. The
 * script reads the password from stdin and passes it on with a shell builtin, so it never appears on a command line.
 */
function tellScript(stackLabel: string): string {
  const filters = [`label=${STACK_LABEL}=${stackLabel}`, `label=${ROLE_LABEL}=backend`, 'status=running'];
  return `
set -e
password=$(cat)
for backend in $(docker ps -q${filters.map((filter) => ` --filter '${filter}'`).join('')}); do
  printf '%s' "$password" | docker exec -i "$backend" learn-password
done
`.trim();
}

/** A new stack needs no change, because its backends start with the right password. */
const NOTHING = 'true';

/** Gives the running backends the new password. The step that changes the role must wait for this one. */
export function tellBackends(
  name: string,
  stackLabel: string,
  password: pulumi.Input<string>,
  parent: pulumi.Resource,
): command.local.Command {
  return new command.local.Command(
    name,
    { create: NOTHING, update: tellScript(stackLabel), stdin: password },
    { parent, customTimeouts: { update: TELL_LIMIT } },
  );
}

/**
 * Waits until the database's owner can log in with the new password. A backend that knows only the new password must
 * wait for this step.
 */
export function passwordInForce(
  name: string,
  monitorName: string,
  password: pulumi.Input<string>,
  monitor: docker.Container,
  parent: pulumi.Resource,
): command.local.Command {
  return new command.local.Command(
    name,
    {
      create: NOTHING,
      update: `docker exec -e ${LEFT_STOPPED} ${monitorName} wait-serving ${IN_FORCE_LIMIT_SECONDS}`,
      stdin: password,
    },
    { parent, dependsOn: [monitor] },
  );
}
