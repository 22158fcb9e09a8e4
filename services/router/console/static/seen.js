/** An action holds for what the agent saw. What nobody has to read before it, like a receipt, is no reason to ask again. */
import { get, post, Refused } from './api.js';

const MOST_TRIES = 4;

/**
 * Posts to a conversation as it was seen. Where it changed since and none of it matters, again to the newest.
 * @param {any} document a ConversationDocument
 */
export async function postSeen(document, name, body) {
  const path = `/v1/conversations/${document.id}`;
  let version = document.version;
  for (let tries = 1; ; tries += 1) {
    try {
      return await post(`${path}/${name}`, body, { etag: `"${version}"` });
    } catch (error) {
      if (!(error instanceof Refused && error.status === 412) || tries === MOST_TRIES) throw error;
      const newest = (await get(path)).data;
      if (gist(newest) !== gist(document)) throw error;
      version = newest.version;
    }
  }
}

/** What somebody who acts on it has to know: whose it is, its language, and everything that was said. */
function gist({ state, agent_id: agent, language, messages }) {
  return JSON.stringify([state, agent, language, messages.map((message) => message.id)]);
}
