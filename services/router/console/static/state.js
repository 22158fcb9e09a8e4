/** What the console knows: asked from the API, and asked again whenever the stream says that something moved. */
import { Failed, get, network, put } from './api.js';
import { gently } from './dom.js';
import { aside } from './session.js';
import { Stream } from './stream.js';

const LOOK_AGAIN = 80;
// Presence has no event of its own.
const PRESENCE_EVERY = 30_000;

/** Tells `mine`, `presence`, `link`, `change` (one conversation, with its data) and `missed` (look at everything). */
export const model = new EventTarget();

export const state = {
  /** @type {any} */ me: null,
  /** What is held out to me, then what I hold: the most urgent first. */
  mine: [],
  /** What waits in the languages that I serve. */
  waiting: [],
  /** My queues; for those who lead all. */
  queues: [],
  /** Colleagues' names by their id. @type {Map<string, string>} */
  names: new Map(),
  /** `available` or `away`; null where the caller is no agent. */
  presence: null,
  /** `connecting`, `live` or `offline`. */
  link: 'connecting',
  /** When everything shown was last known to be so, in milliseconds since 1970 by this machine. */
  knownAt: 0,
};

const stream = new Stream();
let wasLive = false;
// What the agent chose; a lease that ran out while the line was down is taken up again.
let wants = null;

const tell = (name, detail) => model.dispatchEvent(new CustomEvent(name, { detail }));

export const leads = () => ['supervisor', 'admin'].includes(state.me.role);
export const isMine = (conversation) => conversation.agent_id !== null && conversation.agent_id === state.me.agent_id;

/** Loads what the first screen shows, then follows the stream. */
export async function open() {
  state.me = (await get('/v1/me')).data;
  wants = aside.see('presence');
  stream.start();
  await Promise.all([refresh(), refreshPresence()]);
  if (state.me.role !== 'brand') quietly(learnNames);
  setInterval(() => state.link === 'live' && quietly(refreshPresence), PRESENCE_EVERY);
}

async function learnNames() {
  state.names = new Map((await get('/v1/agents')).data.items.map((agent) => [agent.agent_id, agent.name]));
  tell('missed');
}

export const close = () => stream.stop();

/** My conversations, and what waits for people like me. */
export async function refresh() {
  const asAgent = state.me.agent_id !== null;
  const [held, queues] = await Promise.all([
    get(`/v1/conversations?limit=200${asAgent ? '&agent=me' : ''}`), get('/v1/queues'),
  ]);
  state.queues = queues.data.items;
  const open = held.data.items.filter((each) => each.state === 'assigned' || each.state === 'offered');
  state.mine = [...open.filter((each) => each.state === 'offered'), ...open.filter((each) => each.state !== 'offered')];
  state.waiting = asAgent ? await waitingForMe() : [];
  tell('mine');
}

async function waitingForMe() {
  const languages = new Set(state.queues.filter((queue) => queue.waiting).map((queue) => queue.language ?? ''));
  const lists = await Promise.all([...languages].map((language) => get(`/v1/conversations?state=waiting&limit=20${language && `&language=${language}`}`)));
  const found = new Map(lists.flatMap((list) => list.data.items).map((each) => [each.id, each]));
  return [...found.values()].sort((a, b) => (a.due_at ?? '9').localeCompare(b.due_at ?? '9'));
}

export const refreshSoon = gently(() => quietly(refresh), LOOK_AGAIN);

/** @param {'available' | 'away'} status */
export async function setPresence(status) {
  wants = status;
  aside.put('presence', status);
  state.presence = (await put('/v1/presence', { status })).data.status;
  tell('presence');
}

async function refreshPresence() {
  if (state.me.agent_id === null) return;
  const { status, until } = (await get('/v1/presence')).data;
  if (status === 'away' && until === null && wants === 'available') {
    await setPresence('available');
    return;
  }
  // Whoever lets offers lapse again and again is set away.
  const wasSetAway = status === 'away' && wants === 'available';
  if (wasSetAway) wants = 'away';
  if (wasSetAway || status !== state.presence) {
    state.presence = status;
    tell('presence', { wasSetAway });
  }
}

/** A look in the background: the line being down is told by the banner, not by each request. */
async function quietly(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
  }
}

function setLink(link) {
  if (state.link === 'live') state.knownAt = Date.now();
  if (state.link === link) return;
  state.link = link;
  tell('link');
}

stream.addEventListener('open', () => setLink('live'));
stream.addEventListener('closed', () => setLink('offline'));
stream.addEventListener('begin', () => refreshSoon());
stream.addEventListener('resync', () => {
  refreshSoon();
  tell('missed');
});
stream.addEventListener('change', ({ detail }) => {
  refreshSoon();
  if (detail.kind === 'requeued') quietly(refreshPresence);
  tell('change', detail);
});
stream.addEventListener('unauthorized', () => network.dispatchEvent(new Event('unauthorized')));
stream.addEventListener('open', () => {
  // What was missed comes as events; presence and signed links do not.
  if (wasLive) {
    refreshSoon();
    quietly(refreshPresence);
    tell('missed');
  }
  wasLive = true;
});
network.addEventListener('reached', () => state.link === 'offline' && stream.nudge());
window.addEventListener('online', () => stream.nudge());
window.addEventListener('offline', () => {
  setLink('offline');
  stream.restart();
});
