/** The resources of the kit's tests: one tiny container with all that belongs to one. Used inline and from a folder. */
import * as command from '@pulumi/command';
import * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import * as random from '@pulumi/random';

export interface BoxOptions {
  /** Begins the name of everything that is made. */
  prefix: string;
  /** The third number of the network's address 10.211.x.0. */
  subnet: number;
  /** Absolute path of the build context. */
  context: string;
  greeting?: string;
  envs?: string[];
  memory?: number;
  /** Healthy only when this file exists. */
  healthyFile?: string;
  waitTimeout?: number;
  withCommand?: boolean;
}

export function makeBox(options: BoxOptions) {
  const { prefix } = options;
  const labels = [
    { label: 'org.example.kit-test', value: prefix },
    { label: 'org.example.role', value: 'box' },
  ];
  const password = new random.RandomPassword('password', { length: 24, special: false });
  const image = new docker.Image('image', {
    imageName: `${prefix}:test`,
    skipPush: true,
    build: {
      context: options.context,
      args: { GREETING: options.greeting ?? 'hello' },
      platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
      builderVersion: 'BuilderV1',
    },
  });
  const network = new docker.Network(
    'network',
    { name: `${prefix}-net`, labels, ipamConfigs: [{ subnet: `10.211.${options.subnet}.0/24` }] },
    { deleteBeforeReplace: true },
  );
  const volume = new docker.Volume('volume', { name: `${prefix}-data`, labels }, { ignoreChanges: ['labels'] });
  const box = new docker.Container(
    'box',
    {
      name: `${prefix}-box`,
      image: image.repoDigest,
      labels,
      envs: ['Z=last', 'A=first', ...(options.envs ?? [])],
      uploads: [{ file: '/etc/box/password', content: password.result, permissions: '0444' }],
      mounts: [{ type: 'volume', source: volume.name, target: '/data' }],
      networksAdvanced: [{ name: network.name, ipv4Address: `10.211.${options.subnet}.20`, aliases: ['box', 'a-box'] }],
      healthcheck: {
        tests: ['CMD', 'test', '-e', options.healthyFile ?? '/greeting'],
        interval: '500ms',
        timeout: '2s',
        retries: 2,
      },
      wait: true,
      waitTimeout: options.waitTimeout ?? 30,
      init: true,
      memory: options.memory ?? 64,
      memorySwap: options.memory ?? 64,
      capabilities: { drops: ['ALL'] },
      securityOpts: ['no-new-privileges:true'],
      tmpfs: { '/tmp': 'size=8m' },
    },
    { deleteBeforeReplace: true, replaceOnChanges: ['healthcheck', 'mounts', 'tmpfs', 'init'] },
  );
  const talk =
    options.withCommand &&
    new command.local.Command(
      'talk',
      {
        create: 'read line; echo "$line to $NAME"',
        update: 'echo "after $PULUMI_COMMAND_STDOUT"',
        delete: `echo "$PULUMI_COMMAND_STDOUT" > ${JSON.stringify(`${options.context}/../said-at-the-end`)}`,
        stdin: 'hello\n',
        environment: { NAME: options.greeting ?? 'nobody' },
        triggers: [box.id],
      },
      { dependsOn: box },
    );
  return {
    address: box.networkDatas.apply((datas) => datas.find((data) => data.networkName === `${prefix}-net`)?.ipAddress),
    greeting: pulumi.output(options.greeting ?? 'hello'),
    password: password.result,
    said: talk ? talk.stdout : pulumi.output(''),
  };
}
