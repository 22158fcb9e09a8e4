/** What an agent does with a conversation; each asks what it needs, then does it once. */
import { post } from './api.js';
import { askLanguage, askReason, askTransfer } from './dialogs.js';
import { failed, tell } from './notices.js';
import { isStale } from './problems.js';
import { refresh } from './state.js';

/**
 * Does it, tells what became of it, and shows the newest; `false` where it was refused.
 * @param {{id: string, version: number}} conversation as the agent saw it
 */
async function act(conversation, name, body, done) {
  let isDone = true;
  try {
    await post(`/v1/conversations/${conversation.id}/${name}`, body, { etag: `"${conversation.version}"` });
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

export const accept = (c) => act(c, 'accept', {}, `You hold the conversation with ${c.customer_name || 'the customer'} now.`);
export const claim = (c) => act(c, 'claim', {}, `You hold the conversation with ${c.customer_name || 'the customer'} now.`);

export async function decline(c) {
  const answer = await askReason('Decline the offer', 'It goes to the next colleague at once; you are not asked again.', 'Decline');
  return answer !== null && act(c, 'decline', { reason: answer.reason }, 'Declined.');
}

export async function transfer(c) {
  const target = await askTransfer(c);
  return target !== null && act(c, 'transfer', target, 'Transferred.');
}

export async function wrongLanguage(c) {
  const language = await askLanguage(c.language);
  return language !== null && act(c, 'language', { language }, 'Handed over to the speakers of that language.');
}

export async function resolve(c) {
  const answer = await askReason('Resolve', 'Its clock stops. It opens again when the customer writes.', 'Resolve');
  return answer !== null && act(c, 'resolve', { reason: answer.reason }, 'Resolved.');
}
