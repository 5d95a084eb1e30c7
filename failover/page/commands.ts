/**
 * Commands: the person answers a question in a dialog, which first shows what will happen (the API's `dryRun`), and
 * confirms it. The token stays in this tab's session storage; it is the stack's secret output `adminToken`.
 */
import type { Answer, Command } from '../contract/api';
import { byId, make, setText } from './dom';

const TOKEN_KEY = 'adminToken';
/** Longer than a switchover may take, ms. */
const LIMIT_MS = 100_000;

interface Field {
  name: string;
  label: string;
  /** Values to choose from, with their texts; absent: a text, which must not be empty. */
  options?: readonly { value: string; text: string }[];
}

export interface Question {
  command: Command;
  title: string;
  fields: readonly Field[];
  /** `values`: those that are not empty, by the names of their fields. */
  bodyOf: (values: Record<string, string | undefined>) => Record<string, unknown>;
}

let question: Question | null = null;
/** The body that the monitor has judged and the person has to confirm; null before that. */
let judged: Record<string, unknown> | null = null;

const dialog = (): HTMLDialogElement => byId<HTMLDialogElement>('dialog');
const go = (): HTMLButtonElement => byId<HTMLButtonElement>('go');
const token = (): string | null => sessionStorage.getItem(TOKEN_KEY);

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
  judged = null;
  for (const input of inputs()) input.disabled = false;
  setText(go(), 'Continue');
  go().hidden = false;
  go().disabled = false;
  setText(byId('cancel'), 'Cancel');
  tell('', false);
}

function fieldOf({ name, label, options }: Field): HTMLElement {
  const input =
    options === undefined
      ? make('input', { attributes: { name, maxlength: 200, autocomplete: 'off', required: '' } })
      : make('select', {
          attributes: { name },
          children: options.map(({ value, text }) => make('option', { text, attributes: { value } })),
        });
  return make('label', { text: label, children: [input] });
}

function tokenField(): HTMLElement {
  const attributes = { name: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false', required: '' };
  const text = 'Token: npm run pulumi -- stack output adminToken --show-secrets';
  return make('label', { text, children: [make('input', { attributes })] });
}

function inputs(): (HTMLInputElement | HTMLSelectElement)[] {
  return [...byId('fields').querySelectorAll<HTMLInputElement | HTMLSelectElement>('input, select')];
}

async function next(): Promise<void> {
  const asked = question;
  if (asked === null) return;
  const given = inputs().map(({ name, value }) => [name, value.trim()]);
  const { token, ...values }: Record<string, string | undefined> = Object.fromEntries(
    given.filter(([, v]) => v !== ''),
  );
  if (token !== undefined) sessionStorage.setItem(TOKEN_KEY, token);
  const confirmed = judged !== null;
  const body = judged ?? asked.bodyOf(values);
  go().disabled = true;
  for (const input of inputs()) input.disabled = true;
  tell(confirmed ? 'Doing it …' : 'Asking what would happen …', false);
  const { done, message, status } = await post(asked.command, { ...body, dryRun: !confirmed });
  // The person has closed the dialog meanwhile, and has perhaps opened it for another question.
  if (question !== asked || !dialog().open) return;
  go().disabled = false;
  if (!done) return refuse(message, status);
  tell(message, false);
  if (confirmed) return finish();
  judged = body;
  setText(go(), 'Do it');
  go().focus();
}

/** Never throws: a failure is shown like a refusal. */
async function post(command: Command, body: Record<string, unknown>) {
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

function refuse(message: string, status: number): void {
  begin();
  if (status !== 401) {
    tell(`Refused: ${message}`, true);
    return;
  }
  sessionStorage.removeItem(TOKEN_KEY);
  if (!inputs().some((input) => input.name === 'token')) byId('fields').append(tokenField());
  tell('The token is not the right one.', true);
}

/** The command is done: the dialog can only be closed. */
function finish(): void {
  question = null;
  go().hidden = true;
  setText(byId('cancel'), 'Close');
  byId('cancel').focus();
}

function tell(message: string, isBad: boolean): void {
  const place = byId('outcome');
  place.className = isBad ? 'bad' : '';
  setText(place, message);
}
