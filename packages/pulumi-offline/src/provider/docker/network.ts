/** `docker.Network` */
import type { NetworkInspectInfo } from 'dockerode';
import { hasOwnName } from '../auto-name';
import { within, withinOrUndo } from '../operations';
import { defined, type Operation, type ResourceKind } from '../resource-kind';
import { type Rules, refreshed } from '../rules';
import { flag, isProps, objects, type Props, text, textMap, type Value } from '../values';
import { ask, askMaybe, daemon, daemonError, removeWhenFree, statusOf } from './daemon';
import { isLeftover, labelList, labelMap } from './labels';

const rules: Rules = {
  name: { replace: true },
  labels: { replace: true, set: true },
  driver: { replace: true, computed: true },
  options: { replace: true, computed: true, exact: true },
  internal: { replace: true, computed: true },
  attachable: { replace: true },
  ipv6: { replace: true },
  ipamDriver: { replace: true, default: 'default' },
  ipamOptions: { replace: true, exact: true },
  ipamConfigs: { replace: true, computed: true, set: true },
};

export const network: ResourceKind = {
  type: 'docker:index/network:Network',
  rules,
  autoName: true,
  deleteBeforeReplace: hasOwnName,
  create,
  read,
  remove,
};

async function create(inputs: Props, operation: Operation): Promise<{ id: string; outputs: Props }> {
  const name = text(inputs, 'name') ?? operation.name;
  const doing = `create the network ${name}`;
  const labels = labelMap(inputs);
  const options = {
    Name: name,
    // The daemon allows several networks with the same name, and then the name is ambiguous.
    CheckDuplicate: true,
    Labels: labels,
    Driver: text(inputs, 'driver'),
    Options: textMap(inputs, 'options'),
    Internal: flag(inputs, 'internal'),
    Attachable: flag(inputs, 'attachable'),
    EnableIPv6: flag(inputs, 'ipv6'),
    IPAM: ipam(inputs),
  };
  const make = () => withinOrUndo(operation.signal, daemon().createNetwork(options), (late) => late.remove());
  const made = await make().catch(async (error) => {
    if (statusOf(error) !== 409) throw daemonError(doing, error);
    const old = await ask(doing, daemon().getNetwork(name).inspect());
    if (!isLeftover(labels, old.Labels)) throw daemonError(doing, error);
    operation.progress(`removing the network ${name} that an interrupted run left`);
    await ask(`remove the network ${name}, which is in the way`, daemon().getNetwork(old.Id).remove());
    return ask(doing, make());
  });
  const outputs = await read(made.id, { ...inputs, __meta: '{"schema_version":"1"}' }, operation);
  if (outputs === undefined) throw new Error(`the network ${name} was removed while it was being made`);
  return { id: made.id, outputs };
}

function ipam(inputs: Props): { Driver: string; Config?: Record<string, string>[]; Options?: Record<string, string> } {
  const configs = objects(inputs, 'ipamConfigs').map((config) => ({
    ...(text(config, 'subnet') && { Subnet: text(config, 'subnet') }),
    ...(text(config, 'ipRange') && { IPRange: text(config, 'ipRange') }),
    ...(text(config, 'gateway') && { Gateway: text(config, 'gateway') }),
    ...(textMap(config, 'auxAddress') && { AuxiliaryAddresses: textMap(config, 'auxAddress') }),
  }));
  return {
    Driver: text(inputs, 'ipamDriver') ?? 'default',
    ...(configs.length > 0 && { Config: configs as Record<string, string>[] }),
    Options: textMap(inputs, 'ipamOptions'),
  };
}

async function read(id: string, outputs: Props, operation: Operation): Promise<Props | undefined> {
  const doing = `look at the network ${text(outputs, 'name') ?? id}`;
  const found = await within(operation.signal, askMaybe(doing, daemon().getNetwork(id).inspect()));
  return found && observe(found, outputs);
}

/** The daemon's values, in the form of the earlier outputs if they mean the same. */
function observe(found: NetworkInspectInfo, outputs: Props): Props {
  const seen = defined({
    name: found.Name,
    labels: labelList(found.Labels),
    driver: found.Driver,
    internal: found.Internal,
    attachable: found.Attachable,
    ingress: found.Ingress,
    ipv6: found.EnableIPv6,
    ipamDriver: found.IPAM?.Driver,
    ipamConfigs: ipamConfigs(found, outputs),
    options: found.Options ?? {},
    scope: found.Scope,
  });
  return refreshed(rules, outputs, seen);
}

/** Some engines add their own gateway to the answer. That is not a change. */
function ipamConfigs(found: NetworkInspectInfo, outputs: Props): Value[] {
  const seen = (found.IPAM?.Config ?? []).map((config) =>
    defined({
      subnet: config.Subnet,
      ipRange: config.IPRange,
      gateway: config.Gateway,
      auxAddress: config.AuxiliaryAddresses as unknown as Props | undefined,
    }),
  );
  const before = Array.isArray(outputs.ipamConfigs) ? outputs.ipamConfigs : [];
  const isPartOf = (part: Props, whole: Props) =>
    Object.entries(part).every(([key, value]) => key === 'auxAddress' || whole[key] === value);
  return seen.map((config) => before.find((old) => isProps(old) && isPartOf(old, config)) ?? config);
}

async function remove(id: string, outputs: Props, operation: Operation): Promise<void> {
  const isBusy = (error: unknown) => statusOf(error) === 403 || /active endpoints/.test(String(error));
  const remove = () => daemon().getNetwork(id).remove();
  await removeWhenFree(`remove the network ${text(outputs, 'name') ?? id}`, remove, isBusy, operation.signal);
}
