/** `docker.Container`: created, read, changed and removed in the same way as by the vendor's provider. */
import type { Container, ContainerInspectInfo } from 'dockerode';
import { within, withinOrUndo } from '../operations';
import type { Operation, ResourceKind } from '../resource-kind';
import { sameMeaning, withFieldDefaults } from '../rules';
import { flag, number, objects, type Props, text, texts, type Value } from '../values';
import { containerRules, defaultOutputs } from './container-rules';
import { containerSpec, resources, restartPolicy } from './container-spec';
import { observe } from './container-state';
import { ask, askMaybe, daemon, daemonError, statusOf } from './daemon';
import { isLeftover } from './labels';
import { uploadFiles } from './uploads';
import { lastLogLines, waitUntilHealthy } from './wait';

/** Inputs that the daemon changes in place. All other inputs that do not replace concern only the provider. */
const CHANGED_IN_PLACE = [
  'restart',
  'maxRetryCount',
  'memory',
  'memorySwap',
  'memoryReservation',
  'cpuShares',
  'cpuSet',
];
const REMOVE_LIMIT_MS = 60_000;

export const container: ResourceKind = {
  type: 'docker:index/container:Container',
  rules: containerRules,
  autoName: true,
  deleteBeforeReplace: () => true,
  check,
  create,
  read,
  update,
  remove,
};

async function check(inputs: Props): Promise<Props> {
  for (const port of Array.isArray(inputs.ports) ? objects(inputs, 'ports') : []) {
    if (port.external === undefined)
      throw new Error('ports: the offline kit serves ports with an external number only');
  }
  return inputs;
}

async function create(inputs: Props, operation: Operation): Promise<{ id: string; outputs: Props }> {
  const name = text(inputs, 'name') ?? operation.name;
  const made = await makeReplacingLeftover(name, inputs, operation);
  try {
    await within(operation.signal, connect(made, name, inputs));
    await within(operation.signal, uploadFiles(made, name, objects(inputs, 'uploads')));
    if (flag(inputs, 'start') ?? true) await start(made, name, inputs, operation);
    const base = { ...defaultOutputs(), envs: [], labels: [], ...inputs, __meta: '{"schema_version":"2"}' };
    const outputs = await read(made.id, withFieldDefaults(containerRules, base), operation);
    if (outputs === undefined) throw new Error(`the container ${name} was removed while it was being made`);
    return { id: made.id, outputs: { ...outputs, mustRun: flag(inputs, 'mustRun') ?? true } };
  } catch (error) {
    // A container that was only partly created would get in the way of the next run. Its output is what a person needs.
    const log = await lastLogLines(made).catch(() => '');
    const undone = made.remove({ force: true, v: true });
    await within(AbortSignal.timeout(REMOVE_LIMIT_MS), undone).catch(() => undefined);
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${reason}${log && `\nThe last lines that ${name} wrote:\n${log}`}`);
  }
}

async function makeReplacingLeftover(name: string, inputs: Props, operation: Operation): Promise<Container> {
  const doing = `create the container ${name}`;
  const spec = containerSpec(inputs);
  const make = () =>
    withinOrUndo(operation.signal, daemon().createContainer(spec), (late) => late.remove({ force: true }));
  operation.signal.throwIfAborted();
  try {
    return await make();
  } catch (error) {
    const old = statusOf(error) === 409 ? await askMaybe(doing, daemon().getContainer(name).inspect()) : undefined;
    if (!old || !isLeftover(spec.Labels ?? {}, old.Config.Labels)) throw daemonError(doing, error);
    operation.progress(`removing the container ${name} that an interrupted run left`);
    await ask(
      `remove the container ${name}, which is in the way`,
      daemon().getContainer(old.Id).remove({ force: true }),
    );
    return ask(doing, make());
  }
}

/** Moves the container from the default bridge to the program's networks. */
async function connect(made: Container, name: string, inputs: Props): Promise<void> {
  const networks = objects(inputs, 'networksAdvanced');
  if (networks.length === 0) return;
  if ((text(inputs, 'networkMode') ?? 'bridge') === 'bridge') {
    await ask(
      `take ${name} from the default network`,
      daemon().getNetwork('bridge').disconnect({ Container: made.id }),
    );
  }
  for (const network of networks) {
    const target = text(network, 'name') ?? '';
    const address = { IPv4Address: text(network, 'ipv4Address'), IPv6Address: text(network, 'ipv6Address') };
    const linkLocal = texts(network, 'linkLocalIps');
    const endpoint = {
      Aliases: texts(network, 'aliases'),
      IPAMConfig: { ...address, ...(linkLocal.length > 0 && { LinkLocalIPs: linkLocal }) },
      MacAddress: text(network, 'macAddress'),
    };
    const call = daemon().getNetwork(target).connect({ Container: made.id, EndpointConfig: endpoint });
    await ask(`connect ${name} to the network ${target}`, call);
  }
}

async function start(made: Container, name: string, inputs: Props, operation: Operation): Promise<void> {
  await within(operation.signal, ask(`start the container ${name}`, made.start()));
  if (flag(inputs, 'wait')) {
    await waitUntilHealthy(made, name, (number(inputs, 'waitTimeout') ?? 60) * 1000, operation);
  }
}

async function read(id: string, outputs: Props, operation: Operation): Promise<Props | undefined> {
  const doing = `look at the container ${text(outputs, 'name') ?? id}`;
  const found = await within(operation.signal, askMaybe(doing, daemon().getContainer(id).inspect()));
  if (!found) return undefined;
  const networks = await within(operation.signal, ask(doing, daemon().listNetworks()));
  return observe(found, outputs, new Set(networks.map((network) => network.Id)));
}

async function update(id: string, olds: Props, news: Props, operation: Operation): Promise<Props> {
  const name = text(news, 'name') ?? id;
  const it = daemon().getContainer(id);
  const isChanged = (key: string) => {
    const rule = containerRules[key];
    const wanted = (props: Props): Value | undefined => props[key] ?? rule?.default;
    return rule !== undefined && !sameMeaning(rule, wanted(olds), wanted(news));
  };
  if (CHANGED_IN_PLACE.some(isChanged)) {
    const change = { ...resources(news), RestartPolicy: restartPolicy(news) };
    await within(operation.signal, ask(`change the container ${name}`, it.update(change)));
  }
  const found: ContainerInspectInfo = await ask(`look at the container ${name}`, it.inspect());
  const shouldRun = (flag(news, 'mustRun') ?? true) && (flag(news, 'start') ?? true);
  if (shouldRun && isChanged('mustRun') && !found.State.Running) await start(it, name, news, operation);
  const base = withFieldDefaults(containerRules, { ...olds, ...defaultOutputs(), ...news });
  const outputs = await read(id, base, operation);
  if (outputs === undefined) throw new Error(`the container ${name} is gone; run a refresh`);
  return outputs;
}

async function remove(id: string, outputs: Props, operation: Operation): Promise<void> {
  const name = text(outputs, 'name') ?? id;
  const it = daemon().getContainer(id);
  if (!flag(outputs, 'attach')) {
    // Only this value counts, as with the vendor's provider; `stopTimeout` is for `docker stop`.
    const graceSeconds = number(outputs, 'destroyGraceSeconds') ?? 0;
    const stop = it.stop({ t: graceSeconds }).catch((error) => {
      const isStopped = statusOf(error) === 304;
      if (!isStopped && statusOf(error) !== 404) throw daemonError(`stop the container ${name}`, error);
    });
    await within(operation.signal, stop);
  }
  const removeVolumes = flag(outputs, 'removeVolumes') ?? true;
  const removed = it.remove({ force: true, v: removeVolumes }).catch((error) => {
    const isGoing = /already in progress/.test(String(error));
    if (!isGoing && statusOf(error) !== 404) throw daemonError(`remove the container ${name}`, error);
  });
  await within(operation.signal, removed);
  // The name and the addresses are free only after the container was really removed.
  const removal = it.wait({ condition: 'removed' }).catch(() => undefined);
  await within(AbortSignal.any([operation.signal, AbortSignal.timeout(REMOVE_LIMIT_MS)]), removal);
}
