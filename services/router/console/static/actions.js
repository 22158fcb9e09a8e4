/** What an agent does with a conversation; each asks what it needs, then does it once. */
import { post } from './api.js';
import { askLanguage, askReason, askTransfer } from './dialogs.js';
import { failed, tell } from './notices.js';
import { isStale } from './problems.js';
import { postSeen } from './seen.js';
import { refresh } from './state.js';

/** Does it, tells what became of it, and shows the newest; `false` where it was refused. */
async function act(work, done) {
  let isDone = true;
  try {
    await work();
    tell(done);
  } catch (error) {
    failed(error);
    isDone = false;
    if (!isStale(error)) return false;
  }
  try {
    await refresh();
  } catch (error) {
    failed(error);
  }
  return isDone;
}

/** For what is held out or waits: that it still does is the condition, and what was said meanwhile is none. */
const anyhow = (c, name, body = {}) => () => post(`/v1/conversations/${c.id}/${name}`, body, { etag: '*' });
const asSeen = (c, name, body) => () => postSeen(c, name, body);
const yours = (c) => `You hold the conversation with ${c.customer_name || 'the customer'} now.`;

export const accept = (c) => act(anyhow(c, 'accept'), yours(c));
export const claim = (c) => act(anyhow(c, 'claim'), yours(c));

export async function decline(c) {
  const answer = await askReason('Decline the offer', 'It goes to the next colleague at once; you are not asked again.', 'Decline');
  return answer !== null && act(anyhow(c, 'decline', { reason: answer.reason }), 'Declined.');
}

export async function transfer(c) {
  const target = await askTransfer(c);
  return target !== null && act(asSeen(c, 'transfer', target), 'Transferred.');
}

export async function wrongLanguage(c) {
  const language = await askLanguage(c.language);
  return language !== null && act(asSeen(c, 'language', { language }), 'Handed over to the speakers of that language.');
}

export async function resolve(c) {
  const answer = await askReason('Resolve', 'Its clock stops. It opens again when the customer writes.', 'Resolve');
  return answer !== null && act(asSeen(c, 'resolve', { reason: answer.reason }), 'Resolved.');
}
