/**
 * Commands: asked for in a dialog that first shows what will happen (the API's `dryRun`), then done. The token stays in this
 * tab's session storage; it is the stack's secret output `adminToken`.
 */
import type { Answer, Command } from '../contract/api';
import { byId, make, setText } from './dom';

const TOKEN_KEY = 'adminToken';
/** Longer than a switchover may take, ms. */
const LIMIT_MS = 100_000;

interface Field {
  name: string;
  label: string;
  /** Values to choose from, with their words; absent: a text. */
  options?: readonly { value: string; text: string }[];
  required?: boolean;
}

export interface Question {
  command: Command;
  title: string;
  fields: readonly Field[];
  bodyOf: (values: Record<string, string>) => Record<string, unknown>;
}

/** What a press of the button does next. `closed`: what comes back of a call is for nobody. */
type Stage = { kind: 'asking' } | { kind: 'confirming'; body: Record<string, unknown> } | { kind: 'done' };

let question: Question | null = null;
let stage: Stage = { kind: 'asking' };

const dialog = (): HTMLDialogElement => byId<HTMLDialogElement>('dialog');
const go = (): HTMLButtonElement => byId<HTMLButtonElement>('go');

/** Once, at the start. */
export function listenForCommands(): void {
  byId('form').addEventListener('submit', (event) => {
    event.preventDefault();
    next().catch((error: unknown) => tell(String(error), true));
  });
  byId('cancel').addEventListener('click', () => dialog().close());
}

/** Opens the dialog; the browser gives the focus back to the button when it is closed. */
export function ask(asked: Question): void {
  question = asked;
  setText(byId('dialog-title'), asked.title);
  byId('fields').replaceChildren(...asked.fields.map(fieldOf), ...(token() === null ? [tokenField()] : []));
  begin();
  dialog().showModal();
}

function begin(): void {
  stage = { kind: 'asking' };
  for (const input of inputs()) input.disabled = false;
  setText(go(), 'Continue');
  go().hidden = false;
  go().disabled = false;
  setText(byId('cancel'), 'Cancel');
  tell('', false);
}

function fieldOf({ name, label, options, required }: Field): HTMLElement {
  const input =
    options === undefined
      ? make('input', { attributes: { name, maxlength: '200', autocomplete: 'off' } })
      : make('select', {
          attributes: { name },
          children: options.map(({ value, text }) => make('option', { text, attributes: { value } })),
        });
  input.required = required === true;
  return make('label', { text: label, children: [input] });
}

function tokenField(): HTMLElement {
  const input = make('input', {
    attributes: { name: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false' },
  });
  input.required = true;
  const text = 'Token: npm run pulumi -- stack output adminToken --show-secrets';
  return make('label', { text, children: [input] });
}

function inputs(): (HTMLInputElement | HTMLSelectElement)[] {
  return [...byId('fields').querySelectorAll<HTMLInputElement | HTMLSelectElement>('input, select')];
}

function values(): Record<string, string> {
  return Object.fromEntries(inputs().map((input) => [input.name, input.value.trim()]));
}

async function next(): Promise<void> {
  const asked = question;
  if (asked === null || stage.kind === 'done') return;
  const given = values();
  if (given.token !== undefined) sessionStorage.setItem(TOKEN_KEY, given.token);
  const body = stage.kind === 'confirming' ? stage.body : asked.bodyOf(given);
  const confirmed = stage.kind === 'confirming';
  go().disabled = true;
  for (const input of inputs()) input.disabled = true;
  tell(confirmed ? 'Doing it …' : 'Asking what would happen …', false);
  const outcome = await post(asked.command, { ...body, dryRun: !confirmed });
  // Closed meanwhile, and perhaps opened for something else.
  if (question !== asked || !dialog().open) return;
  go().disabled = false;
  if (!outcome.done) return refuse(outcome);
  if (confirmed) return finish(outcome.message);
  stage = { kind: 'confirming', body };
  tell(outcome.message, false);
  setText(go(), 'Do it');
  go().focus();
}

interface Outcome {
  done: boolean;
  message: string;
  status: number;
}

/** Never throws: what goes wrong is told like a refusal. */
async function post(command: Command, body: Record<string, unknown>): Promise<Outcome> {
  try {
    const response = await fetch(`/api/v1/${command}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token() ?? ''}` },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    const answer = (await response.json()) as Partial<Answer> & { error?: string };
    const message = answer.message ?? answer.error ?? response.statusText;
    return { done: response.ok && answer.done === true, message, status: response.status };
  } catch (error) {
    return { done: false, message: `The monitor does not answer: ${String(error)}`, status: 0 };
  }
}

function refuse({ message, status }: Outcome): void {
  begin();
  if (status === 401) {
    sessionStorage.removeItem(TOKEN_KEY);
    if (!inputs().some((input) => input.name === 'token')) byId('fields').append(tokenField());
    tell('The token is not the right one.', true);
    return;
  }
  tell(`Refused: ${message}`, true);
}

function finish(message: string): void {
  stage = { kind: 'done' };
  tell(message, false);
  go().hidden = true;
  setText(byId('cancel'), 'Close');
  byId('cancel').focus();
}

function tell(message: string, isBad: boolean): void {
  const place = byId('outcome');
  place.className = isBad ? 'bad' : '';
  setText(place, message);
}

function token(): string | null {
  return sessionStorage.getItem(TOKEN_KEY);
}
