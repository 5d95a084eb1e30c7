/** `docker.Volume` */
import { hasOwnName } from '../auto-name';
import { within } from '../operations';
import type { Operation, ResourceKind } from '../resource-kind';
import { type Rules, refreshed } from '../rules';
import { type Props, text, textMap } from '../values';
import { ask, askMaybe, daemon, removeWhenFree, statusOf } from './daemon';
import { isLeftover, labelList, labelMap } from './labels';

const rules: Rules = {
  name: { replace: true, computed: true },
  labels: { replace: true, set: true },
  driver: { replace: true, computed: true },
  driverOpts: { replace: true, exact: true },
};

export const volume: ResourceKind = {
  type: 'docker:index/volume:Volume',
  rules,
  autoName: true,
  deleteBeforeReplace: hasOwnName,
  create,
  read,
  remove,
};

async function create(inputs: Props, operation: Operation): Promise<{ id: string; outputs: Props }> {
  const name = text(inputs, 'name') ?? operation.name;
  const doing = `create the volume ${name}`;
  const labels = labelMap(inputs);
  // The daemon silently adopts a volume of the same name. This is right for our own volume, which was kept for its
  // data, but not for another one.
  const old = await within(operation.signal, askMaybe(doing, daemon().getVolume(name).inspect()));
  if (old && Object.keys(labels).length > 0 && !isLeftover(labels, old.Labels)) {
    const has = JSON.stringify(old.Labels ?? {});
    throw new Error(
      `cannot ${doing}: a volume of this name exists, and its labels are not ${JSON.stringify(labels)} but ${has}. ` +
        'Remove or rename it if its data is of no use, or choose another name.',
    );
  }
  if (!old) {
    const options = {
      Name: name,
      Labels: labels,
      Driver: text(inputs, 'driver'),
      DriverOpts: textMap(inputs, 'driverOpts'),
    };
    await within(operation.signal, ask(doing, daemon().createVolume(options)));
  }
  const outputs = await read(name, { ...inputs, __meta: '{"schema_version":"1"}' }, operation);
  if (outputs === undefined) throw new Error(`the volume ${name} was removed while it was being made`);
  return { id: name, outputs: { ...outputs, labels: inputs.labels ?? [] } };
}

async function read(id: string, outputs: Props, operation: Operation): Promise<Props | undefined> {
  const found = await within(operation.signal, askMaybe(`look at the volume ${id}`, daemon().getVolume(id).inspect()));
  if (!found) return undefined;
  const seen: Props = {
    name: found.Name,
    labels: labelList(found.Labels),
    driver: found.Driver,
    driverOpts: found.Options ?? {},
    mountpoint: found.Mountpoint,
  };
  return refreshed(rules, outputs, seen);
}

async function remove(id: string, _outputs: Props, operation: Operation): Promise<void> {
  const isBusy = (error: unknown) => statusOf(error) === 409;
  await removeWhenFree(`remove the volume ${id}`, () => daemon().getVolume(id).remove(), isBusy, operation.signal);
}
