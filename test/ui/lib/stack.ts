/** The stacks of `npm run test:ui`. Each has an index (0 to 2), which fixes its ports and subnet. */
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

  /** Value of an output of the stack, also of a secret one. */
  async output(key: string): Promise<string> {
    const args = ['run', '--silent', 'pulumi', '--', 'stack', 'output', key, '--show-secrets', '--stack', this.name];
    const { stdout } = await runOk('npm', args, { env: this.env, deadlineMs: TIMEOUTS.pulumi });
    return stdout.trim().split('\n').at(-1) ?? '';
  }

  /** Brings the stack up. First it removes what an interrupted run may have left. */
  async bringUp(): Promise<void> {
    await this.down(say);
    await this.up(say);
  }
}
