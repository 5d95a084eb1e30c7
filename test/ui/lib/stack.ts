/** The stacks that `npm run test:ui` brings up for itself: ports and subnet are fixed by an index below 3. */
import { runOk } from '../../../scripts/lib/exec';
import { say } from '../../../scripts/lib/terminal';
import { type Config, OwnStack } from '../../rig/stack';
import { TIMEOUTS } from '../../timeouts';

export class UiStack extends OwnStack {
  readonly pgadminPort: number;
  readonly prometheusPort: number;

  constructor(name: string, index: number, config: Config = {}) {
    const ports = 26_000 + index * 1_000;
    const [pgadminPort, prometheusPort] = [ports + 50, ports + 90];
    const login = { databaseName: 'app', databaseUser: 'app', databasePassword: 'ui-test-password' };
    const more = { ...login, backend: 'false', pgadminPort, prometheusPort, ...config };
    super({ name, ports, subnet: `10.98.${80 + index}`, config: more });
    this.pgadminPort = pgadminPort;
    this.prometheusPort = prometheusPort;
  }

  /** A secret or plain output of the stack. */
  async output(key: string): Promise<string> {
    const args = ['run', '--silent', 'pulumi', '--', 'stack', 'output', key, '--show-secrets', '--stack', this.name];
    const { stdout } = await runOk('npm', args, { env: this.env, deadlineMs: TIMEOUTS.pulumi });
    return stdout.trim().split('\n').at(-1) ?? '';
  }

  /** Brings it up; what an interrupted earlier run left is removed first. */
  async bringUp(): Promise<void> {
    await this.down(say);
    await this.up(say);
  }
}
