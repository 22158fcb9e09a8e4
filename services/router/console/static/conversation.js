/** One conversation: who writes, why it is here, its clock, everything said, and where to answer. */
import { accept, claim, decline, resolve, transfer, wrongLanguage } from './actions.js';
import { Failed, get, Refused } from './api.js';
import { Composer } from './composer.js';
import { fill, gently, h } from './dom.js';
import { failed, speak } from './notices.js';
import { advice } from './problems.js';
import { isMine, leads, model, state } from './state.js';
import { Timeline } from './timeline.js';
import { countdown } from './time.js';
import * as words from './words.js';

const LOOK_AGAIN = 80;
// Signed links are asked for again before they end.
const FRESH_LINKS = 10 * 60_000;

export class Conversation {
  #document = null;
  #said = null;
  #asked = 0;
  #ended = new AbortController();
  #customer = null;

  /** @param {string} id @param {{left: () => void}} then */
  constructor(id, then) {
    this.id = id;
    this.then = then;
    this.head = h('header', { class: 'head' });
    this.side = h('div', { class: 'facts' });
    this.timeline = new Timeline();
    this.composer = new Composer(id, { again: () => this.again(), resolved: then.left });
    this.root = h('section', { class: 'conversation', 'aria-label': 'Conversation' },
      this.head, this.#details(), this.timeline.root, this.composer.root);
    const { signal } = this.#ended;
    const soon = gently(() => signal.aborted || this.again(), LOOK_AGAIN);
    model.addEventListener('change', ({ detail }) => {
      if (detail.conversation_id === id && detail.n > (this.#document?.version ?? 0)) soon();
    }, { signal });
    model.addEventListener('missed', soon, { signal });
    const timer = setInterval(soon, FRESH_LINKS);
    signal.addEventListener('abort', () => clearInterval(timer));
  }

  get document() {
    return this.#document;
  }

  close() {
    this.#ended.abort();
  }

  /** Asks for the newest, and shows it. */
  async again() {
    const asked = ++this.#asked;
    let answer;
    try {
      answer = await get(`/v1/conversations/${this.id}`);
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      this.#fail(error);
      return;
    }
    // An answer that was overtaken by a later one says nothing any more.
    if (asked !== this.#asked || this.#ended.signal.aborted) return;
    this.#document = answer.data;
    this.#show();
    if (!this.#customer) await this.#askCustomer();
  }

  #fail(error) {
    if (this.#document !== null) {
      if (error instanceof Refused) failed(error);
      return;
    }
    fill(this.head, h('div', { class: 'empty' }, h('p', { role: 'alert' }, advice(error)),
      h('button', { type: 'button', onclick: () => this.again() }, 'Try again')));
  }

  async #askCustomer() {
    try {
      this.#customer = (await get(`/v1/customers/${this.#document.customer_id}`)).data;
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      return;
    }
    this.#showFacts();
  }

  #show() {
    const c = this.#document;
    this.#showHead(c);
    this.#showFacts();
    this.timeline.show(c);
    this.composer.show(c);
    this.#announce(c);
  }

  #showHead(c) {
    const focused = this.head.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    fill(this.head,
      h('div', { class: 'title' },
        h('a', { class: 'back', href: '#/', 'aria-label': 'Back to my queue' }, '←'),
        h('div', { class: 'grow' },
          h('h1', {}, h('bdi', {}, c.customer_name || 'Customer')),
          h('p', { class: 'small' }, [words.channel(c.channel), c.inbox_name, words.language(c.language), holder(c)].filter(Boolean).join(' · '))),
        clock(c)),
      h('div', { class: 'row actions' }, this.#actions(c)));
    if (focused) this.head.querySelector(`[data-focus="${focused}"]`)?.focus();
  }

  #actions(c) {
    const button = (label, key, work, look = '') => h('button', { type: 'button', class: look, 'data-focus': label, 'aria-keyshortcuts': key, onclick: work }, label);
    const may = isMine(c) || leads();
    const found = [];
    if (c.state === 'offered' && isMine(c)) {
      found.push(c.offered_until && countdown(c.offered_until, { after: ' to accept', over: 'Lapsed' }),
        button('Accept', 'A', () => this.do('accept'), 'main'), button('Decline', 'D', () => this.do('decline')));
    }
    if (c.state === 'waiting' && state.me.agent_id) found.push(button('Claim', 'C', () => this.do('claim'), 'main'));
    if ((c.state === 'assigned' && may) || (c.state !== 'resolved' && leads())) {
      found.push(button('Transfer', 'T', () => this.do('transfer')));
    }
    if (c.state !== 'resolved' && (may || c.agent_id === null)) found.push(button('Wrong language', 'L', () => this.do('wrongLanguage')));
    if ((c.state === 'assigned' && may) || (c.state !== 'resolved' && leads())) {
      found.push(button('Resolve', 'E', () => this.do('resolve')));
    }
    return found.filter(Boolean);
  }

  /** One of the actions by its name, where it is possible now. */
  async do(name) {
    const c = this.#document;
    if (c === null) return;
    const done = await { accept, claim, decline, transfer, wrongLanguage, resolve }[name](c);
    if (done && !['accept', 'claim'].includes(name)) this.then.left();
    else await this.again();
    if (done && ['accept', 'claim'].includes(name)) this.composer.focus('reply');
  }

  #details() {
    const wide = matchMedia('(min-width: 75rem)');
    const details = h('details', { class: 'side', open: wide.matches },
      h('summary', {}, 'Why it is here, and who writes'), this.side);
    wide.addEventListener('change', () => (details.open = wide.matches), { signal: this.#ended.signal });
    return details;
  }

  #showFacts() {
    const c = this.#document;
    const customer = this.#customer;
    fill(this.side,
      h('section', {}, h('h2', {}, 'Why it is here'),
        h('p', { class: 'decision' }, c.decision?.sentence ?? 'Nothing has been decided yet.')),
      h('section', {}, h('h2', {}, 'Customer'), customer ? who(customer) : h('p', { class: 'hint' }, 'Loading …')),
      (c.matter || c.subject) && h('section', {}, h('h2', {}, 'Matter'), h('p', { dir: 'auto' }, [c.matter, c.subject].filter(Boolean).join(' · '))),
    );
  }

  #announce(c) {
    const newest = c.messages.filter((message) => message.kind === 'inbound').at(-1)?.id ?? null;
    if (this.#said !== null && newest !== this.#said) speak(`New message from ${c.customer_name || 'the customer'}.`);
    this.#said = newest;
  }
}

function holder(c) {
  if (c.state === 'waiting') return 'waiting';
  if (c.state === 'resolved') return 'resolved';
  const whose = isMine(c) ? 'you' : c.agent_name;
  return c.state === 'offered' ? `held out to ${whose}` : `held by ${whose}`;
}

function clock(c) {
  if (!c.clock) return null;
  return h('p', { class: 'clock' }, h('span', { class: 'small' }, words.target(c.clock.target)),
    countdown(c.clock.due_at, { warn: c.clock.warn_at, after: ' left' }));
}

function who(customer) {
  const spoken = Object.entries(customer.languages).sort(([, a], [, b]) => b - a).map(([code]) => words.language(code));
  return h('dl', {},
    h('dt', {}, 'Name'), h('dd', {}, h('bdi', {}, customer.name || 'Not known')),
    customer.country && [h('dt', {}, 'Country'), h('dd', {}, words.country(customer.country))],
    spoken.length > 0 && [h('dt', {}, 'Writes'), h('dd', {}, spoken.join(', '))],
    customer.addresses.map((each) => [
      h('dt', {}, words.channel(each.kind)),
      h('dd', {}, h('bdi', { class: 'address', title: each.value }, each.value), h('span', { class: 'hint' }, words.knownBy(each.verified_by))),
    ]));
}
