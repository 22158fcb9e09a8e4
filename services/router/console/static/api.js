/** Requests to the public API: who asks, what they saw, and the same action never twice. */
import { session } from './session.js';
import { learn } from './time.js';

const PATIENCE = 20_000;
const PATIENCE_FOR_FILES = 180_000;

/** A request that came to nothing, in one of the two ways below. */
export class Failed extends Error {}

/** The API said no; `problem` is its problem document. */
export class Refused extends Failed {
  constructor(status, problem) {
    super(problem.title);
    this.status = status;
    this.problem = problem;
  }
}

/** Nothing answered, so what became of the request is not known; the same action may be tried again. */
export class Unreachable extends Failed {}

/** Listens for `unauthorized`, `reached` and `unreachable`. */
export const network = new EventTarget();

/**
 * Keys of actions that were not answered: the same action again gets the same key, and has its effect once.
 * @type {Map<string, string>}
 */
const unanswered = new Map();

/** @returns {Promise<{data: any}>} */
export const get = (path) => ask('GET', path, {});

/** Sets something; doing it twice is doing it once. */
export const put = (path, body) => ask('PUT', path, json(body));

/** An action with an effect; `etag` is what the agent saw. */
export function post(path, body, { etag = null } = {}) {
  const sent = json(body);
  return once(`${path} ${sent.body}`, path, sent, etag ? { 'If-Match': etag } : {});
}

/** @param {File} file */
export function upload(file, brand) {
  const path = `/v1/attachments?${new URLSearchParams({ brand_id: brand, name: file.name })}`;
  const sent = { body: file, headers: { 'Content-Type': 'application/octet-stream' }, patience: PATIENCE_FOR_FILES };
  return once(`${path} ${file.size} ${file.lastModified}`, path, sent, {});
}

/** For requests that are not answered in one piece. */
export const bearer = () => ({ Authorization: `Bearer ${session()?.token}` });

async function once(action, path, sent, headers) {
  const key = unanswered.get(action) ?? newKey();
  unanswered.set(action, key);
  const answer = await ask('POST', path, { ...sent, headers: { ...sent.headers, ...headers, 'Idempotency-Key': key } });
  unanswered.delete(action);
  return answer;
}

async function ask(method, path, { body, headers = {}, patience = PATIENCE }) {
  const askedAt = Date.now();
  let answer, text;
  try {
    const signal = AbortSignal.timeout(patience);
    answer = await fetch(path, { method, body, headers: { ...bearer(), ...headers }, signal, cache: 'no-store' });
    text = await answer.text();
  } catch {
    network.dispatchEvent(new Event('unreachable'));
    throw new Unreachable();
  }
  learn(answer.headers.get('Date'), askedAt, Date.now());
  network.dispatchEvent(new Event('reached'));
  if (answer.status === 401) network.dispatchEvent(new Event('unauthorized'));
  if (!answer.ok) throw new Refused(answer.status, problem(answer, text));
  return { data: JSON.parse(text) };
}

function problem(answer, text) {
  if (answer.headers.get('Content-Type')?.startsWith('application/problem+json')) return JSON.parse(text);
  return { title: `The server answered ${answer.status}`, status: answer.status, code: 'unexpected', detail: '' };
}

const json = (body) => ({ body: JSON.stringify(body ?? {}), headers: { 'Content-Type': 'application/json' } });

/** Of chance; `randomUUID` is not there on a plain address. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
