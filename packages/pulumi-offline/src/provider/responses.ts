/** Builds the answers to the engine. */
import { DiffResponse, PropertyDiff } from '@pulumi/pulumi/proto/provider_pb';
import type { ResourceKind } from './resource-kind';
import type { Change } from './rules';
import { hasSecret, markLike, type Props, secret } from './values';

/** The answer to a diff, with only the changed parts. */
export function diffResponse(changes: Change[], deleteBeforeReplace: boolean): DiffResponse {
  const replaces = changes.filter((change) => change.replace);
  const { DIFF_SOME, DIFF_NONE } = DiffResponse.DiffChanges;
  const response = new DiffResponse().setHasdetaileddiff(true);
  response.setChanges(changes.length > 0 ? DIFF_SOME : DIFF_NONE);
  response.setDiffsList(topLevel(changes)).setReplacesList(topLevel(replaces));
  response.setDeletebeforereplace(replaces.length > 0 && deleteBeforeReplace);
  for (const change of changes) {
    response.getDetaileddiffMap().set(change.path, new PropertyDiff().setKind(kindOfDiff(change)));
  }
  return response;
}

/** Outputs that stay the same in an update: all but the inputs that the program no longer gives. */
export function carryOver(kind: ResourceKind, olds: Props, news: Props): Props {
  const isRemoved = (key: string) =>
    key in kind.rules && !(key in news) && !kind.rules[key]?.computed && !('default' in (kind.rules[key] ?? {}));
  return { ...Object.fromEntries(Object.entries(olds).filter(([key]) => !isRemoved(key))), ...news };
}

/** @param marked gives the secret markers for outputs of the same name and value */
export function markOutputs(kind: ResourceKind, marked: Props, outputs: Props): Props {
  const result = markLike(marked, outputs);
  const derived = hasSecret(marked) ? (kind.outputsFromInputs ?? []) : [];
  for (const key of [...(kind.secretOutputs ?? []), ...derived]) {
    const value = result[key];
    if (value !== undefined && !hasSecret(value)) result[key] = secret(value);
  }
  return result;
}

function topLevel(changes: Change[]): string[] {
  return [...new Set(changes.map((change) => change.path.split(/[.[]/)[0] ?? change.path))];
}

function kindOfDiff(change: Change): PropertyDiff.Kind {
  const { Kind } = PropertyDiff;
  switch (change.kind) {
    case 'add':
      return change.replace ? Kind.ADD_REPLACE : Kind.ADD;
    case 'delete':
      return change.replace ? Kind.DELETE_REPLACE : Kind.DELETE;
    case 'update':
      return change.replace ? Kind.UPDATE_REPLACE : Kind.UPDATE;
  }
}
