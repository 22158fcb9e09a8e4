/** The first screen of whoever is not signed in. */
import { fill, h } from './dom.js';
import { leave, NotSignedIn } from './oidc.js';
import { begin } from './session.js';

/** Shows what this deployment offers, and `why` somebody is here again. */
export async function showSignIn(root, { why = '', onSignedIn }) {
  const ways = h('div', { class: 'ways' });
  const problem = h('p', { class: 'problem', role: 'alert' }, why);
  fill(root,
      h('section', { class: 'signin', 'aria-labelledby': 'signin-title' },
      h('h1', { id: 'signin-title' }, 'Sign in to Dragoman'),
      h('p', { class: 'lead' }, 'Customers’ messages, in the language you grew up with.'),
      problem, ways),
  );
  try {
    const answer = await fetch('/v1/sign-in', { cache: 'no-store' });
    if (!answer.ok) throw new TypeError();
    const { development_tokens: hasTokens, openid } = await answer.json();
    if (hasTokens) ways.append(withToken(onSignedIn));
    if (openid?.client_id) ways.append(atIssuer(openid, problem, hasTokens ? '' : 'main'));
    if (!ways.firstChild) ways.append(withKey(onSignedIn));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    problem.textContent = 'Dragoman cannot be reached. Check your connection.';
    ways.append(h('button', { type: 'button', class: 'main', onclick: () => showSignIn(root, { why, onSignedIn }) }, 'Try again'));
  }
  (ways.querySelector('input') ?? ways.querySelector('button')).focus();
}

function atIssuer(issuer, problem, look) {
  return h('button', {
    type: 'button', class: look,
    async onclick({ target }) {
      target.disabled = true;
      try {
        await leave(issuer);
      } catch (error) {
        problem.textContent = error instanceof NotSignedIn ? error.message : 'The issuer cannot be reached.';
        target.disabled = false;
      }
    },
  }, `Sign in at ${new URL(issuer.issuer).host}`);
}

function withToken(onSignedIn) {
  return tokenForm({
    label: 'Agent’s handle', hint: 'This is the embedded default: any agent of the configuration, such as anna, claire or sam (a supervisor).',
    input: h('input', { id: 'handle', name: 'handle', required: true, autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false' }),
    token: (value) => `dev-${value.trim().toLowerCase()}`, onSignedIn,
  });
}

function withKey(onSignedIn) {
  return tokenForm({
    label: 'API key', hint: 'This deployment has no issuer; a key of an agent works too.',
    input: h('input', { id: 'handle', name: 'key', type: 'password', required: true, autocomplete: 'off' }),
    token: (value) => value.trim(), onSignedIn,
  });
}

function tokenForm({ label, hint, input, token, onSignedIn }) {
  input.setAttribute('aria-describedby', 'handle-hint');
  return h('form', {
    onsubmit(event) {
      event.preventDefault();
      begin({ token: token(input.value) });
      onSignedIn();
    },
  },
  h('label', { for: input.id }, label), input, h('p', { class: 'hint', id: 'handle-hint' }, hint),
  h('button', { class: 'main' }, 'Sign in'));
}
