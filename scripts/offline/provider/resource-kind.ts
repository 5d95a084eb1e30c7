/** What the service needs to know of a resource type. All properties are plain: secrets are handled around it. */
import type { Rules } from './rules';
import type { Props, Value } from './values';

/** What an operation may use of its surroundings. */
export interface Operation {
  urn: string;
  /** The resource's name in the program. */
  name: string;
  /** Ends at the engine's cancel, at the operation's time limit (`customTimeouts`), and when the engine is gone. */
  signal: AbortSignal;
  /** Shows a line beside the resource while the operation is under way. */
  progress: (line: string) => void;
}

export interface ResourceKind {
  type: string;
  /** The inputs that are served, and what a change of each means. Others are refused by name. */
  rules: Rules;
  /** Whether the engine must delete the old one before it makes the new one. */
  deleteBeforeReplace: (inputs: Props) => boolean;
  /** Inputs get a `name` made from the resource's name when the program gives none. */
  autoName?: boolean;
  /** Outputs that are always secrets. */
  secretOutputs?: string[];
  /** Outputs that are secrets when any input is one. */
  outputsFromInputs?: string[];
  /** Completes the inputs, which may hold unknowns in a preview. @throws when they cannot be right */
  check?: (inputs: Props) => Promise<Props>;
  /** The inputs that the state was made with, where outputs do not tell. */
  inputsOf?: (outputs: Props) => Props | undefined;
  create: (inputs: Props, operation: Operation) => Promise<{ id: string; outputs: Props }>;
  /** @returns what is there now, or undefined when it is gone */
  read: (id: string, outputs: Props, operation: Operation) => Promise<Props | undefined>;
  /** Carries out a change that does not replace. @returns the outputs that differ from the old ones and the inputs */
  update?: (id: string, olds: Props, news: Props, operation: Operation) => Promise<Props>;
  /** Outputs that an update may change, so a preview does not know them. */
  changedByUpdate?: string[];
  remove: (id: string, outputs: Props, operation: Operation) => Promise<void>;
}

/** Drops what is undefined, so that optional parts can be written in place. */
export function defined(props: Record<string, Value | undefined>): Props {
  const entries = Object.entries(props).filter((entry): entry is [string, Value] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}
