/** Everything with this customer, over all inboxes, in the order in which it was written. */
import { get, post } from './api.js';
import { attachments } from './attachments.js';
import { h, reconcile } from './dom.js';
import { failed, tell } from './notices.js';
import { state } from './state.js';
import { at, day, now } from './time.js';
import * as words from './words.js';

const PAGE = 100;
// Pixels that are no distance to whoever reads the newest.
const NEAR_END = 60;
// Signed links work for fifteen minutes: what carries one is drawn anew before.
const LINKS_LAST = 600_000;

export class Timeline {
  #older = new Map();
  #cursor = null;
  #ended = false;
  #document = null;
  #isAtEnd = true;

  constructor() {
    this.list = h('ol', { class: 'timeline', 'aria-label': 'Messages, oldest first' });
    this.more = h('button', { type: 'button', class: 'quiet earlier', hidden: true, onclick: () => this.#earlier() }, 'Show earlier messages');
    this.root = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'History with this customer' }, this.more, this.list);
    this.#follow();
  }

  /** @param {any} document a ConversationDocument */
  show(document) {
    const wasAtEnd = this.#isAtEnd;
    this.#document = document;
    // The conversation's document brings the newest fifty of the customer; fewer than that are all there is.
    this.more.hidden = this.#ended || document.timeline.length < 50;
    reconcile(this.list, entries(this.#all(), document.id), (entry) => entry.key, look, (entry) => this.#make(entry));
    if (wasAtEnd) this.#toEnd();
  }

  /** What was read last stays in sight also where the room for it, or a picture in it, changes its size. */
  #follow() {
    const sizes = new ResizeObserver(() => this.#isAtEnd && this.#toEnd());
    sizes.observe(this.root);
    sizes.observe(this.list);
    this.root.addEventListener('scroll', () => {
      this.#isAtEnd = this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < NEAR_END;
    });
  }

  #toEnd() {
    this.root.scrollTop = this.root.scrollHeight;
  }

  #all() {
    const here = { channel: this.#document.channel, inbox_id: this.#document.inbox_id };
    const told = [...this.#older.values(), ...this.#document.timeline, ...this.#document.messages.map((each) => ({ ...each, ...here }))];
    const known = new Map(told.map((message) => [message.id, message]));
    return [...known.values()].sort((a, b) => order(a).localeCompare(order(b)));
  }

  async #earlier() {
    const query = new URLSearchParams({ limit: String(PAGE), ...(this.#cursor && { cursor: this.#cursor }) });
    try {
      const { data } = await get(`/v1/customers/${this.#document.customer_id}/timeline?${query}`);
      for (const message of data.items) this.#older.set(message.id, message);
      this.#cursor = data.next;
      this.#ended = data.next === null;
    } catch (error) {
      failed(error);
      return;
    }
    const fromEnd = this.root.scrollHeight - this.root.scrollTop;
    this.show(this.#document);
    this.root.scrollTop = this.root.scrollHeight - fromEnd;
    if (this.#ended) this.root.focus();
  }

  #make(entry) {
    if (entry.day) return h('li', { class: 'day' }, h('span', {}, entry.day));
    if (entry.from) return h('li', { class: 'elsewhere' }, entry.from);
    return entryOf(entry.message, this.#document);
  }
}

const order = (message) => `${message.occurred_at} ${message.received_at} ${message.id}`;

/** Messages with a line for every day, and one wherever another conversation goes on. */
function entries(messages, own) {
  const found = [];
  let lastDay = '';
  let last = null;
  for (const message of messages) {
    const today = day(message.occurred_at);
    if (today !== lastDay) found.push({ key: `day ${today} ${message.id}`, day: today });
    if (message.conversation_id !== (last ?? messages[0].conversation_id) || (last === null && message.conversation_id !== own)) {
      const from = message.conversation_id === own ? 'This conversation' : `Another conversation on ${words.channel(message.channel)}`;
      found.push({ key: `from ${message.id}`, from });
    }
    found.push({ key: message.id, message });
    lastDay = today;
    last = message.conversation_id;
  }
  return found;
}

/** What an entry shows, without the signatures of links, which are others at every look. */
function look({ message, day: today, from }) {
  if (!message) return today ?? from;
  const plain = JSON.stringify([message, state.names.get(message.author_id)], (name, value) => (name === 'href' ? Boolean(value) : value));
  return message.attachments.some((file) => file.href) ? `${plain} ${Math.floor(now() / LINKS_LAST)}` : plain;
}

function entryOf(message, conversation) {
  const who = author(message, conversation);
  const isForeign = message.conversation_id !== conversation.id;
  return h('li', { class: `entry ${message.kind}${isForeign ? ' foreign' : ''}`, 'data-message': message.id },
    h('article', { 'aria-label': message.language ? `${who}, in ${words.language(message.language)}` : who },
      h('header', {}, h('bdi', { class: 'who' }, who), kind(message), at(message.occurred_at)),
      message.text && h('p', { class: 'words', dir: 'auto', lang: message.language }, message.text),
      attachments(message),
      message.kind === 'reply' && delivery(message)),
  );
}

function author(message, conversation) {
  if (message.kind === 'inbound' || message.kind === 'unrecognised') return conversation.customer_name || 'Customer';
  if (message.author_id === state.me.agent_id && message.author_id) return 'You';
  if (message.author_kind === 'automatic') return 'Automatic';
  return message.kind === 'elsewhere' ? conversation.brand_name : state.names.get(message.author_id) ?? 'Colleague';
}

function kind(message) {
  const said = { note: 'Note, only for colleagues', unrecognised: 'A kind of message that is not supported yet', elsewhere: 'Answered elsewhere' }[message.kind];
  return said ? h('span', { class: 'kind' }, said) : null;
}

/** What became of a reply, and what can be done about it. */
function delivery(message) {
  const action = (label, how, done) => h('button', {
    type: 'button', class: 'quiet', 'data-focus': `${how} ${message.id}`,
    async onclick({ target }) {
      target.disabled = true;
      try {
        await post(`/v1/replies/${message.id}/${how}`);
        tell(done);
      } catch (error) {
        failed(error);
        target.disabled = false;
      }
    },
  }, label);
  return h('footer', { class: 'delivery', 'data-state': message.state },
    h('span', {}, words.replyState(message.state), message.reason && `: ${message.reason.replaceAll('_', ' ')}`),
    message.state === 'queued' && action('Stop it', 'withdraw', 'It is being stopped.'),
    message.state === 'refused' && action('Try again', 'replay', 'It is being tried again.'),
    message.state === 'unknown' && action('Send again, though it may arrive twice', 'replay', 'It is being sent again.'));
}
