/** The supervisor's floor: what waits in each language, for how long, and who is there for it. */
import { Failed, get, Refused } from './api.js';
import { fill, gently, h } from './dom.js';
import { failed } from './notices.js';
import { model, state } from './state.js';
import { due } from './queue.js';
import { countdown, since } from './time.js';
import * as words from './words.js';

const LOOK_AGAIN = 500;
// Presence and load have no events of their own.
const LOOK_EVERY = 10_000;
const MOST_URGENT = 30;

export class Floor {
  #ended = new AbortController();

  constructor() {
    this.content = h('div', { class: 'floors' }, h('p', { class: 'hint' }, 'Loading …'));
    this.root = h('section', { class: 'floor scroll', tabindex: '0', 'aria-label': 'Floor' }, h('h1', {}, 'Floor'), this.content);
    const { signal } = this.#ended;
    const soon = gently(() => signal.aborted || this.again(), LOOK_AGAIN);
    model.addEventListener('change', soon, { signal });
    model.addEventListener('missed', soon, { signal });
    const timer = setInterval(() => state.link === 'live' && soon(), LOOK_EVERY);
    signal.addEventListener('abort', () => clearInterval(timer));
  }

  close() {
    this.#ended.abort();
  }

  async again() {
    let queues, agents, waiting;
    try {
      [queues, agents, waiting] = (await Promise.all([
        get('/v1/queues'), get('/v1/agents'), get(`/v1/conversations?state=waiting&limit=${MOST_URGENT}`),
      ])).map((answer) => answer.data.items);
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      if (error instanceof Refused) failed(error);
      return;
    }
    fill(this.content, languages(queues), h('div', { class: 'floors' }, urgent(waiting), people(agents)));
  }
}

function languages(queues) {
  const names = [...new Set(queues.map((queue) => queue.language))];
  const groups = names.map((name) => sum(name, queues.filter((queue) => queue.language === name)));
  groups.sort((a, b) => b.waiting - a.waiting || title(a.language).localeCompare(title(b.language)));
  const total = groups.reduce((so, group) => so + group.waiting, 0);
  return table('Queues by language', `${words.count(total, 'conversation')} waiting. What waits in several pools of its language is counted once.`,
    ['Language', 'Waiting', 'Oldest', 'First due', 'Present'],
    groups.map((group) => h('tr', { class: group.waiting && !group.present ? 'stalled' : '' },
      h('th', { scope: 'row' }, title(group.language)),
      number(group.waiting), cell(group.oldest && since(group.oldest)), cell(group.due && countdown(group.due)),
      h('td', { class: 'number' }, String(group.present), group.waiting && !group.present ? h('span', { class: 'alarm' }, ' nobody is there') : null))));
}

/** The pools of a language as one; natives and fluent colleagues are different people. */
function sum(language, pools) {
  const earliest = (name) => pools.map((pool) => pool[name]).filter(Boolean).sort()[0];
  const total = (name) => pools.reduce((so, pool) => so + pool[name], 0);
  return { language, waiting: Math.max(...pools.map((pool) => pool.waiting)), oldest: earliest('oldest_at'), due: earliest('first_due_at'), present: total('agents_present') };
}

const title = (language) => (language ? words.language(language) : 'Any language');

function urgent(waiting) {
  if (!waiting.length) return h('section', {}, h('h2', {}, 'Most urgent'), h('p', { class: 'empty' }, 'Nobody waits. What comes in and finds nobody free appears here.'));
  return table('Most urgent', 'Waiting, and held by nobody.', ['Customer', 'Channel', 'Brand', 'Language', 'Due'],
    waiting.map((c) => h('tr', {},
      h('th', { scope: 'row' }, h('a', { href: `#/c/${c.id}` }, h('bdi', {}, c.customer_name || 'Customer'))),
      cell(words.channel(c.channel)), cell(c.brand_name), cell(words.language(c.language)), cell(due(c)))));
}

function people(agents) {
  const there = agents.filter((agent) => agent.status === 'available');
  if (!there.length) return h('section', {}, h('h2', {}, 'Present'), h('p', { class: 'empty' }, 'Nobody is present. Agents appear here once they say that they are.'));
  return table('Present', `${there.length} of ${words.count(agents.length, 'agent')}.`, ['Agent', 'Languages', 'Holds', 'Free'],
    there.map((agent) => h('tr', {},
      h('th', { scope: 'row' }, h('bdi', {}, agent.name)), cell(agent.languages.map(words.language).join(', ')),
      number(agent.load), number(Math.max(0, agent.capacity - agent.load)))));
}

const cell = (content) => h('td', {}, content || '–');
const number = (value) => h('td', { class: 'number' }, String(value));

function table(caption, hint, heads, rows) {
  return h('section', {}, h('h2', {}, caption), h('p', { class: 'hint' }, hint),
    h('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': caption },
      h('table', {}, h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head)))), h('tbody', {}, rows))));
}
