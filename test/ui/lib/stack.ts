/** The stacks that `npm run test:ui` brings up for itself: name, ports and subnet are fixed by an index below 20. */
import { runOk } from '../../../scripts/lib/exec';
import { say } from '../../../scripts/lib/terminal';
import { OwnStack, type OwnStackOptions } from '../../rig/stack';
import { TIMEOUTS } from '../../timeouts';

const PASSWORD = 'ui-test-password';

export interface UiStack {
  own: OwnStack;
  /** Published ports. */
  ports: Record<'write' | 'read' | 'stats' | 'backend' | 'monitor' | 'pgadmin' | 'prometheus', number>;
  /** Base URL of the monitor. */
  monitor: string;
  password: string;
  /** Full name of a container. */
  container: (name: string) => string;
  docker: (...args: string[]) => Promise<string>;
  /** A secret or plain output of the stack. */
  output: (name: string) => Promise<string>;
}

export function uiStack(name: string, index: number, config: OwnStackOptions['config'] = {}): UiStack {
  const base = 26_000 + index * 20;
  const ports = {
    ...{ write: base, read: base + 1, stats: base + 2, backend: base + 3, monitor: base + 4 },
    ...{ pgadmin: base + 5, prometheus: base + 6 },
  };
  const own = new OwnStack({
    name,
    config: {
      ...{ writePort: ports.write, readPort: ports.read, statsPort: ports.stats, backendPort: ports.backend },
      ...{ monitorPort: ports.monitor, subnet: `10.98.${80 + index}.0/24`, backend: 'false', switchback: 'false' },
      ...{ databaseName: 'app', databaseUser: 'app', databasePassword: PASSWORD },
      ...config,
    },
  });
  const container = (node: string) => `${own.prefix}${node}`;
  const docker = async (...args: string[]) =>
    (await runOk('docker', args, { deadlineMs: TIMEOUTS.dockerStop })).stdout.trim();
  const output = async (key: string) => {
    const args = ['run', '--silent', 'pulumi', '--', 'stack', 'output', key, '--show-secrets', '--stack', name];
    return (
      (await runOk('npm', args, { env: own.env, deadlineMs: TIMEOUTS.pulumi })).stdout.trim().split('\n').at(-1) ?? ''
    );
  };
  return { own, ports, monitor: `http://127.0.0.1:${ports.monitor}`, password: PASSWORD, container, docker, output };
}

/** What an interrupted earlier run left is removed first. */
export async function bringUp(stack: UiStack): Promise<void> {
  await stack.own.down(say);
  await stack.own.up(say);
}
