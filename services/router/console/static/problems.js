/** What to do about a refusal; the API says what was wrong. */
import { Refused, Unreachable } from './api.js';

const TO_DO = {
  already_theirs: 'Choose somebody else.',
  busy: 'Somebody else is changing this at the same moment. Try again.',
  changed: 'It has changed since you looked. The newest is shown now: read it, then try again. Your text is kept.',
  content_too_large: 'Make it smaller, or send a link.',
  internal: 'This is not your fault. Try again, and tell whoever runs Dragoman if it stays so.',
  invalid_request: 'Something in it has not the form that is asked for.',
  no_capacity: 'Finish or transfer something first, or choose a colleague with room.',
  no_file: 'The file is empty.',
  no_such_agent: 'Choose somebody who serves this brand.',
  no_such_file: 'Take the file out and attach it again.',
  no_such_pool: 'Choose a queue that serves this brand and channel.',
  not_found: 'It is gone, or it is not for you to see.',
  not_there: 'Be present first, or choose a colleague who is there.',
  not_your_queue: 'It waits for speakers of another language.',
  not_yours: 'Ask whoever holds it, or a supervisor.',
  too_large: 'Files may have 25 MB; send a link to a larger one.',
  too_many_requests: 'Wait a moment.',
  unauthorized: 'Sign in again.',
  unavailable: 'Dragoman is away for a moment. Try again; your text is kept.',
  wrong_state: 'Somebody was quicker. The newest is shown now.',
};

/** A failed action as two sentences: what is wrong, and what to do. */
export function advice(error) {
  if (error instanceof Unreachable) {
    return 'No connection. Nothing is lost: try again when you are back online; it will not be done twice.';
  }
  if (!(error instanceof Refused)) throw error;
  const { title, detail, code } = error.problem;
  return sentences(title, detail, TO_DO[code]);
}

/** Whether the cure is to look again. */
export const isStale = (error) => error instanceof Refused && [404, 409, 412].includes(error.status);

function sentences(...parts) {
  const ended = parts.filter(Boolean).map((part) => (/[.!?]$/.test(part) ? part : `${part}.`));
  return [...new Set(ended)].join(' ');
}
