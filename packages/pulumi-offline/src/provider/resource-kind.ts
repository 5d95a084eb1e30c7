/** Description of a resource type for the service. All properties are plain: the service handles secrets. */
import type { Rules } from './rules';
import type { Props, Value } from './values';

/** The context that an operation may use. */
export interface Operation {
  urn: string;
  /** The resource's name in the program. */
  name: string;
  /**
   * Aborted when the engine cancels, at the operation's time limit (`customTimeouts`), and when the engine has ended.
   */
  signal: AbortSignal;
  /** Shows a line beside the resource during the operation. */
  progress: (line: string) => void;
}

export interface ResourceKind {
  type: string;
  /** The supported inputs, and the effect of a change of each. Other inputs are refused by name. */
  rules: Rules;
  /** Whether the engine must delete the old object before it creates the new one. */
  deleteBeforeReplace: (inputs: Props) => boolean;
  /** If the program gives no `name`, one is made from the resource's name. */
  autoName?: boolean;
  /** Outputs that are always secrets. */
  secretOutputs?: string[];
  /** Outputs that are secrets when any input is one. */
  outputsFromInputs?: string[];
  /** Completes the inputs, which may contain unknown values in a preview. @throws when they cannot be right */
  check?: (inputs: Props) => Promise<Props>;
  /** The inputs with which the state was created, if the outputs do not contain them. */
  inputsOf?: (outputs: Props) => Props | undefined;
  create: (inputs: Props, operation: Operation) => Promise<{ id: string; outputs: Props }>;
  /** @returns the present state, or undefined when the object does not exist */
  read: (id: string, outputs: Props, operation: Operation) => Promise<Props | undefined>;
  /** Carries out a change that does not replace. @returns the outputs that differ from the old ones and the inputs */
  update?: (id: string, olds: Props, news: Props, operation: Operation) => Promise<Props>;
  /** Outputs that an update may change, so they are unknown in a preview. */
  changedByUpdate?: string[];
  remove: (id: string, outputs: Props, operation: Operation) => Promise<void>;
}

/** Removes undefined properties, so that optional ones can be written in place. */
export function defined(props: Record<string, Value | undefined>): Props {
  const entries = Object.entries(props).filter((entry): entry is [string, Value] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}
